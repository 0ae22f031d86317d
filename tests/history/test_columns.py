"""Blocks of lines read as columns are what reading line by line gives, to the last digit."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from recorder.archive import read_trades as archived
from recorder.archive.schema import TRADES, trades_table
from recorder.history import columns
from recorder.kraken.history_files import OddLine, text_lines, trade_of
from tests.history.numbers import NUMBERS

TIMES = st.one_of(
    st.decimals(10**9, 2 * 10**9, places=6).map(str),
    st.decimals(10**9, 10**12, places=10).map(str),
    st.sampled_from(["1767225600", "1767225600.1234567891", "-1", "0", "253402300799.5", "253402300800", "1e9", ""]),
)
IDS = st.one_of(
    st.integers(1, 10**18 - 1).map(str), st.sampled_from(["0", "-5", "5.0", "5.5", "1e3", "0x10", "1" * 19, ""])
)
LINES = st.one_of(
    st.tuples(
        NUMBERS,
        NUMBERS,
        TIMES,
        st.sampled_from(["b", "s", "B", "buy", ""]),
        st.sampled_from(["l", "m", "x", ""]),
        st.sampled_from(["", "a b", '"', "é"]),
        IDS,
    ).map(",".join),
    st.text(',0123456789.\r"x', max_size=20),
)
GOOD = "90250.10000,0.00012000,1767225600.123456,b,l,,91234567"


def check(content: bytes) -> columns.Block:
    rows, odd = [], []
    for line in text_lines(content):
        try:
            rows.append(trade_of(line, "A/B"))
        except OddLine as error:
            odd.append((line, str(error)))
    found = columns.read_trades(content, "A/B")
    assert found.rows.schema == TRADES
    assert [(one.line.decode(errors="replace").removeprefix("\ufeff"), one.why) for one in found.odd] == odd
    assert all(content[one.at :].startswith(one.line) for one in found.odd)
    assert found.rows.equals(trades_table(rows))
    assert list(archived.of_rows(found.rows, "A/B")) == list(archived.of_rows(trades_table(rows), "A/B"))
    return found


@given(st.lists(LINES, max_size=6), st.sampled_from(["\n", "\r\n"]))
@example(["99999999999999999.1,1,1767225600,b,l,,1"], "\n")
@example(["1,1,1767225600,b,l,,0x10"], "\n")
@example(["9999999999999999.9,1,1767225600.123456789,s,m,,5.0"], "\r\n")
@example([" 1,1,1767225600,b,l,,1", "1,1,1767225600,b,,,1"], "\n")
@example(['1,1,1767225600,b,l,",1', '1,1,1767225600,b,l,",2'], "\n")
def test_columns_are_what_the_lines_say(lines: list[str], end: str) -> None:
    check(end.join(lines).encode())


def test_bytes_that_are_no_text_cost_nothing_but_themselves() -> None:
    content = (
        "\n".join([GOOD] * 3).encode() + b"\n" + GOOD.replace(",,", ",?,").encode().replace(b"?", b"\xff") + b"\n\xff,"
    )
    found = check(content)
    assert found.rows.num_rows == 4
    assert found.rows["misc"].to_pylist() == ["", "", "", "\ufffd"]
    assert len(found.odd) == 1


def test_one_odd_line_among_thousands_costs_only_itself() -> None:
    lines = [GOOD.replace("91234567", str(number)) for number in range(1, 5_001)]
    lines[3_333] = "Price,Volume,Timestamp,Type,Miscellaneous,Trade ID"
    found = check("\n".join(lines).encode())
    assert found.rows["trade_id"].to_pylist() == [*range(1, 3_334), *range(3_335, 5_001)]
    assert [one.line.decode() for one in found.odd] == [lines[3_333]]


def test_nothing_is_no_rows() -> None:
    assert check(b"").rows.num_rows == 0
    assert check(b"\n\r\n").rows.num_rows == 0
