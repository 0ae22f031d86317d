"""Blocks of lines without ids read as columns are what reading line by line gives, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recorder.history.numbered_rows import CLASSIC, OHLCVT, LineFormat, Odd, count_lines, read_ahead
from recorder.kraken.history_files import OddLine, candle_of, classic_of, text_lines
from tests.history.numbers import NUMBERS

TIMES = st.sampled_from(["1672531436", "1672531471", "0", "-1", "1672531436.5", "253402300800", "1e9", "0x10", ""])
VOLUMES = st.one_of(
    NUMBERS, st.sampled_from(["1E-8", "1E+2", "1620.6707044300001", "0.12345678901234567", "3.0000000000000004E-8"])
)
COUNTS = st.sampled_from(["1", "0", "-1", "2.5", "1e3", "1" * 19, ""])
NOISE = st.text(',0123456789.\r"x ', max_size=20)


def check(form: LineFormat, one: Callable[[str], Any], content: bytes, before: int) -> None:
    rows, odd = [], []
    for number, line in enumerate(text_lines(content), before + 1):
        try:
            rows.append((*one(line), number))
        except OddLine as error:
            odd.append(Odd(number, line, str(error)))
    found = form.read(content, before)
    assert found.odd == odd
    assert found.lines == len(rows) + len(odd)
    assert found.rows.schema == form.columns()
    times = found.rows["time"].cast(pa.int64()).to_pylist()
    others = [column.to_pylist() for column in found.rows.columns[1:]]
    assert list(zip([time // 1_000_000 for time in times], *others, strict=True)) == rows


@given(
    st.lists(st.one_of(st.tuples(TIMES, NUMBERS, NUMBERS).map(",".join), NOISE), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    st.integers(0, 9),
)
@example(["1672531436,90.54,1.1", "1672531436,90.54,1.1", ""], "\n", 0)
@example(["1672531436,1e-05,99999999999999999999.1"], "\n", 0)
def test_trades_are_what_the_lines_say(lines: list[str], end: str, before: int) -> None:
    check(CLASSIC, classic_of, end.join(lines).encode(), before)


@given(
    st.lists(st.one_of(st.tuples(TIMES, *[NUMBERS] * 4, VOLUMES, COUNTS).map(",".join), NOISE), max_size=5),
    st.sampled_from(["\n", "\r\n"]),
)
@example(["1594818000,0.19,0.19,0.18,0.18,1E+2,3", "1594818000,1,1,1,1,1E-19,3"], "\n")
def test_candles_are_what_the_lines_say(lines: list[str], end: str) -> None:
    check(OHLCVT, candle_of, end.join(lines).encode(), 0)


@given(st.text("ab\n\r", max_size=12))
def test_lines_are_counted_whatever_ends_them(text: str) -> None:
    assert count_lines(text.encode()) == len(text_lines(text.encode()))


@pytest.mark.parametrize("skipped", [0, 1, 1_000, 1_500, 2_500, 9_999])
def test_what_is_skipped_is_counted(skipped: int) -> None:
    blocks = [b"".join(b"%d,1,2\n" % (10**9 + at) for at in range(first, first + 1_000)) for first in (0, 1_000, 2_000)]
    found = [row for _, read in read_ahead(blocks, CLASSIC, skipped) for row in read.rows["row"].to_pylist()]
    assert found == [*range(min(3_000, skipped // 1_000 * 1_000) + 1, 3_001)]
