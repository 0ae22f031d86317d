"""Rows of history files as columns, exactly, at millions of rows a second.

pyarrow reads whole blocks of lines. It accepts some texts that are no rows, and refuses a block for one odd line. So
its result is checked, and a refused block is halved until the odd line stands alone, which ``kraken/history_files.py``
judges. The rows are the same as if it had judged every line.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive.schema import PRICE, QTY, REFUSED, TIME, TRADES, trades_table
from recorder.core.evidence import LAST_US
from recorder.core.model import PRECISION, PRICE_SCALE, QTY_SCALE, Trade
from recorder.kraken.history_files import ORDER_TYPES, SIDES, OddLine, text_lines, trade_of
from recorder.lazy_imports import Lazy

csv = Lazy("pyarrow.csv")

ONE_BY_ONE: Final = 2_048
"""Bytes of a refused block, some thirty lines, from which on each line is read by itself."""
_WORD: Final = pa.dictionary(pa.int32(), pa.string())
_SECONDS: Final = pa.decimal128(20, 9)
"""Nanoseconds, of which the archive keeps microseconds; a 64-bit integer holds them until 2262."""
_ID: Final = pa.decimal128(18, 0)  # pyarrow would also read hexadecimal integers
_COLUMNS: Final = {
    "price": PRICE,
    "qty": QTY,
    "seconds": _SECONDS,
    "side": _WORD,
    "ord_type": _WORD,
    "misc": pa.string(),
    "trade_id": _ID,
}
_NS_PER_US: Final = 1_000
_LINE: Final = re.compile(rb"[^\r\n]+")


class OddText(NamedTuple):
    """A line that is no row: where it begins in its block, its bytes without their end, and why."""

    at: int
    line: bytes
    why: str


class Block(NamedTuple):
    """The rows of some lines, in their order, with the columns of trades; and the lines that are no rows."""

    rows: pa.Table
    odd: list[OddText]


def read_trades(lines: bytes, pair: str, at: int = 0) -> Block:
    """Read whole lines of the layout ``TRADES`` without a header, which begin ``at`` this byte of their block."""
    rows = _rows(lines)
    if rows is not None:
        return Block(rows, [])
    cut = lines.find(b"\n", len(lines) // 2) + 1
    if len(lines) <= ONE_BY_ONE or not 0 < cut < len(lines):
        return _one_by_one(lines, pair, at)
    first, second = read_trades(lines[:cut], pair, at), read_trades(lines[cut:], pair, at + cut)
    return Block(pa.concat_tables([first.rows, second.rows]), first.odd + second.odd)


def first_line_end(text: bytes) -> int:
    """Return where the first line that is not empty ends."""
    found = _LINE.search(text)
    return 0 if found is None else found.end()


def _one_by_one(lines: bytes, pair: str, at: int) -> Block:
    rows, odd = list[Trade](), list[OddText]()
    for found in _LINE.finditer(lines):
        try:
            rows.extend(trade_of(line, pair) for line in text_lines(found[0]))
        except OddLine as error:
            odd.append(OddText(at + found.start(), found[0], str(error)))
    return Block(trades_table(rows), odd)


def _rows(lines: bytes) -> pa.Table | None:
    """Return the rows of a block, None if a line of it may be none."""
    try:
        read = csv.read_csv(
            pa.BufferReader(lines),
            read_options=csv.ReadOptions(column_names=list(_COLUMNS), block_size=len(lines) + 1, use_threads=False),
            parse_options=csv.ParseOptions(quote_char=False),
            convert_options=csv.ConvertOptions(column_types=_COLUMNS, null_values=[], strings_can_be_null=False),
        )
    except REFUSED:
        return None
    if not read.num_rows:
        return None
    read = read.combine_chunks()
    price, qty, seconds, side, ord_type, misc, trade_id = (column.chunk(0) for column in read.columns)
    if not (_within(price, PRICE_SCALE) and _within(qty, QTY_SCALE) and _at_least(trade_id, 1)):
        return None
    if not (_at_least(seconds, 0) and pc.max(seconds).as_py() <= LAST_US // 1_000_000):
        return None
    sides = [SIDES.get(word) for word in side.dictionary.to_pylist()]
    if None in sides:
        return None
    types = [ORDER_TYPES.get(word, word) for word in ord_type.dictionary.to_pylist()]
    count = read.num_rows
    return pa.table(
        [
            pa.array(_low_words(trade_id)),
            pa.array(_low_words(seconds) // _NS_PER_US).cast(TIME),
            price,
            qty,
            pa.array(sides, pa.string()).take(side.indices),
            pa.array(types, pa.string()).take(ord_type.indices),
            misc,
            pa.repeat(pa.scalar("bulk", pa.string()), count),
            pa.nulls(count, TIME),
        ],
        schema=TRADES,
    )


def _within(numbers: pa.Array, scale: int) -> bool:
    """Return whether all are from zero up and have no more digits than the type: pyarrow.csv does not check that."""
    ends = pc.min_max(numbers).as_py()
    return bool(ends["min"] >= 0 and ends["max"] < Decimal(10) ** (PRECISION - scale))


def _at_least(numbers: pa.Array, least: int) -> bool:
    return bool(pc.min(numbers).as_py() >= least)


def _low_words(decimals: pa.Array) -> npt.NDArray[np.int64]:
    """Return the unscaled values of decimals that fit 64 bits: the lower halves of 128-bit integers."""
    words = np.frombuffer(decimals.buffers()[1], np.int64)[::2]
    return np.ascontiguousarray(words[decimals.offset : decimals.offset + len(decimals)])
