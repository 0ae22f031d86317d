"""Rows of members without ids, as columns, each with its number: the place of its line among those that are not empty.

The rows are what ``kraken/history_files.py`` reads line by line. As in :mod:`recorder.history.columns`, pyarrow reads
whole blocks, its result is checked, and a refused block is halved until the odd line stands alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive.schema import PRICE, PRINTED_QTY, QTY, REFUSED, TIME
from recorder.core.evidence import LAST_US
from recorder.history.ahead import ahead
from recorder.kraken.history_files import OddLine, candle_of, classic_of, text_lines
from recorder.lazy_imports import Lazy

csv = Lazy("pyarrow.csv")

ONE_BY_ONE: Final = 2_048
"""Bytes of a refused block, some thirty lines, from which on each line is read by itself."""
_WHOLE: Final = pa.decimal128(18, 0)  # pyarrow would also read hexadecimal integers
_SECOND_US: Final = 1_000_000


class Odd(NamedTuple):
    """A line that is no row, its number, and why."""

    row: int
    line: str
    why: str


class Numbered(NamedTuple):
    """The rows of some lines in their order, the lines that are no rows, and how many lines there were."""

    rows: pa.Table
    odd: list[Odd]
    lines: int


@dataclass(frozen=True, slots=True)
class LineFormat:
    """A layout whose first field is the time in whole seconds.

    ``kinds`` are the types of the fields as they are read. ``one`` reads a line. Rows have the column ``time``, the
    other fields, and ``row``.
    """

    kinds: Mapping[str, pa.DataType]
    one: Callable[[str], tuple[Any, ...]]

    def columns(self) -> pa.Schema:
        """Return the columns of the rows."""
        others = list(self.kinds.items())[1:]
        kinds = [(name, pa.int64() if kind == _WHOLE else kind) for name, kind in others]
        return pa.schema([("time", TIME), *kinds, ("row", pa.int64())])

    def read(self, lines: bytes, before: int = 0) -> Numbered:
        """Read whole lines, of which ``before`` came before."""
        count = count_lines(lines)
        rows = self._rows(lines, before, count)
        if rows is not None:
            return Numbered(rows, [], count)
        cut = lines.find(b"\n", len(lines) // 2) + 1
        if len(lines) <= ONE_BY_ONE or not 0 < cut < len(lines):
            return self._one_by_one(lines, before)
        first = self.read(lines[:cut], before)
        second = self.read(lines[cut:], before + first.lines)
        return Numbered(pa.concat_tables([first.rows, second.rows]), first.odd + second.odd, first.lines + second.lines)

    def _one_by_one(self, lines: bytes, before: int) -> Numbered:
        rows, odd, number = list[tuple[Any, ...]](), list[Odd](), before
        for number, line in enumerate(text_lines(lines), before + 1):
            try:
                rows.append((*self.one(line), number))
            except OddLine as error:
                odd.append(Odd(number, line, str(error)))
        return Numbered(self._table(rows), odd, number - before)

    def _table(self, rows: list[tuple[Any, ...]]) -> pa.Table:
        columns = self.columns()
        values = list(zip(*rows, strict=True)) or [()] * len(columns)
        arrays = [pa.array([seconds * _SECOND_US for seconds in values[0]], pa.int64()).cast(TIME)]
        for field, column in zip(list(columns)[1:], values[1:], strict=True):
            decimal = pa.types.is_decimal(field.type)
            arrays.append(
                pa.array(map(str, column), pa.string()).cast(field.type) if decimal else pa.array(column, field.type)
            )
        return pa.table(arrays, schema=columns)

    def _rows(self, lines: bytes, before: int, count: int) -> pa.Table | None:
        """Return the rows of a block, None if a line of it may be none."""
        try:
            read = csv.read_csv(
                pa.BufferReader(lines),
                read_options=csv.ReadOptions(
                    column_names=list(self.kinds), block_size=len(lines) + 1, use_threads=False
                ),
                parse_options=csv.ParseOptions(quote_char=False),
                convert_options=csv.ConvertOptions(
                    column_types=dict(self.kinds), null_values=[], strings_can_be_null=False
                ),
            )
        except REFUSED:
            return None
        if not read.num_rows or read.num_rows != count:
            return None
        first, *others = (column.combine_chunks() for column in read.columns)
        if not (_within(first) and pc.max(first).as_py() <= LAST_US // _SECOND_US and all(map(_within, others))):
            return None
        return pa.table(
            [
                pa.array(_low_words(first) * _SECOND_US).cast(TIME),
                *(pa.array(_low_words(one)) if one.type == _WHOLE else one for one in others),
                pa.array(np.arange(before + 1, before + 1 + count)),
            ],
            schema=self.columns(),
        )


CLASSIC: Final = LineFormat({"seconds": _WHOLE, "price": PRICE, "qty": QTY}, classic_of)
OHLCVT: Final = LineFormat(
    {
        "seconds": _WHOLE,
        **dict.fromkeys(("open", "high", "low", "close"), PRICE),
        "volume": PRINTED_QTY,
        "count": _WHOLE,
    },
    candle_of,
)


def read_ahead(blocks: Iterable[bytes], form: LineFormat, skipped: int = 0) -> Iterator[tuple[int, Numbered]]:
    """Yield the rows of each block, and its size in bytes; other threads inflate and read the next ones meanwhile.

    Blocks that end before the row ``skipped`` has come are only counted, which is a hundred times as fast.
    """

    def read() -> Iterator[tuple[int, Numbered]]:
        number = 0
        for block in ahead(iter(blocks)):
            if number < skipped and number + (count := count_lines(block)) <= skipped:
                found = Numbered(form.columns().empty_table(), [], count)
            else:
                found = form.read(block, number)
            number += found.lines
            yield len(block), found

    return ahead(read())


def count_lines(lines: bytes) -> int:
    r"""Return the number of lines that are not empty, whatever ends them.

    >>> count_lines(b"a\nb\n"), count_lines(b"a\r\n\r\nb"), count_lines(b"\na\rb\r"), count_lines(b"")
    (2, 2, 2, 0)
    """
    text = np.frombuffer(lines, np.uint8)
    ends = text == ord("\n")
    if b"\r" in lines:
        ends |= text == ord("\r")
    # A line begins at a byte that ends none, at the beginning or after one that does.
    return int(np.count_nonzero(ends[:-1] > ends[1:])) + int(len(ends) and not ends[0])


def _within(numbers: pa.Array) -> bool:
    """Return whether all are from zero up and have no more digits than the type: pyarrow.csv does not check that."""
    ends = pc.min_max(numbers).as_py()
    kind = numbers.type
    return bool(ends["min"] >= 0 and ends["max"] < 10 ** (kind.precision - kind.scale))


def _low_words(decimals: pa.Array) -> npt.NDArray[np.int64]:
    """Return the unscaled values of decimals that fit 64 bits: the lower halves of 128-bit integers."""
    words = np.frombuffer(decimals.buffers()[1], np.int64)[::2]
    return np.ascontiguousarray(words[decimals.offset : decimals.offset + len(decimals)])
