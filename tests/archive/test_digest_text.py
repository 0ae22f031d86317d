from __future__ import annotations

import hashlib
import re
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.archive.digest_text import digest_text
from recorder.archive.schema import trades_table
from recorder.core.model import Trade


def rows(*numbers: tuple[int, str, str, str]) -> pa.Table:
    return trades_table(
        [
            Trade("A/B", trade_id, 0, Decimal(price), Decimal(qty), side, "limit", "", "rest", None)  # type: ignore[arg-type]
            for trade_id, price, qty, side in numbers
        ]
    )


@pytest.mark.parametrize(
    ("price", "qty", "text"),
    [
        ("1e-10", "100", "0.0000000001,100"),
        ("0.1", "0.10000000", "0.1,0.1"),
        ("100.00", "0.00000001", "100,0.00000001"),
        ("105000.50", "1234567890.00", "105000.5,1234567890"),
        ("0", "0", "0,0"),
        ("18446744.073709551615", "184467440737.09551615", "18446744.073709551615,184467440737.09551615"),
        ("18446744.073709551616", "1", "18446744.073709551616,1"),
        ("9999999999999999", "99999999999999999999.99999999", "9999999999999999,99999999999999999999.99999999"),
        ("-1.50", "-0.5", "-1.5,-0.5"),
    ],
)
def test_decimals_are_plain_with_neither_exponent_nor_trailing_zeros(price: str, qty: str, text: str) -> None:
    assert digest_text(rows((7, price, qty, "sell"))) == [f"7,{text},sell\n".encode()]
    # Beside others of other widths it reads the same.
    others = digest_text(rows((7, price, qty, "sell"), (1_000_000, "12.5", "3.25", "buy")))
    assert others == [f"7,{text},sell\n1000000,12.5,3.25,buy\n".encode()]


def test_what_is_strange_is_written_as_it_stands() -> None:
    assert digest_text(rows((-3, "1", "2", "hold"))) == [b"-3,1,2,hold\n"]
    assert digest_text(rows()) == [b""]


def test_the_rows_of_the_document_have_the_hash_that_it_names() -> None:
    document = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    section = document[document.index("### Canonical rows") :]
    text = re.findall(r"```csv\n(.*?)```", section, re.DOTALL)[0]
    (digest,) = re.findall(r"`([0-9a-f]{64})`", section)
    lines = [line.split(",") for line in text.splitlines()]
    assert hashlib.sha256(text.encode()).hexdigest() == digest
    assert {Decimal("1e-10"), Decimal(100), Decimal("0.1")} <= {Decimal(price) for _, price, _, _ in lines}
    made = rows(*((int(trade_id), price, qty, side) for trade_id, price, qty, side in lines))
    assert digest_text(made) == [text.encode()]


PRICES = st.integers(0, 10**13) | st.integers(0, 10**20) | st.integers(1, 10**8).map(lambda n: n * 10**11)
TRADES = st.tuples(
    st.integers(0, 2**63 - 1) | st.integers(0, 2000),
    PRICES.map(lambda n: Decimal(n).scaleb(-12)),
    (st.integers(0, 10**12) | st.integers(0, 10**22)).map(lambda n: Decimal(n).scaleb(-8)),
    st.sampled_from(["buy", "sell"]),
)


@given(st.lists(TRADES, min_size=1, max_size=30), st.data())
def test_it_is_the_plain_text_of_each_row_wherever_it_is_cut(
    trades: list[tuple[int, Decimal, Decimal, str]], data: st.DataObject
) -> None:
    def text(number: Decimal) -> str:
        digits = f"{number:f}"
        return digits.rstrip("0").rstrip(".") if "." in digits else digits

    lines = [f"{trade_id},{text(price)},{text(qty)},{side}\n" for trade_id, price, qty, side in trades]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(trades)), max_size=4)))
    edges = [0, *cuts, len(trades)]
    made = rows(*((trade_id, str(price), str(qty), side) for trade_id, price, qty, side in trades))
    # A slice does not begin where its buffers do.
    padded = pa.concat_tables([made.slice(0, 1), made]).combine_chunks().slice(1)
    for table in (made, padded):
        assert digest_text(table, cuts) == ["".join(lines[start:stop]).encode() for start, stop in pairwise(edges)]
