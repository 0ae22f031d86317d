"""The canonical text of trades that their SHA-256 is computed from: equal trades give equal bytes anywhere.

``trade_id,price,qty,side`` and a line feed, in ascending id; decimals are plain, without exponent or trailing zeros
(docs/format.md). numpy formats the digits of all rows at once: some 130 ns a row where text kernels take 500.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recorder.core.model import PRICE_SCALE, QTY_SCALE, plain

_Bytes = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]
_Numbers = npt.NDArray[np.uint64] | npt.NDArray[np.uint32]

_SMALL: Final = 9
"""Largest number of digits that fits 32 bits, which divide several times as fast."""
_ZEROS: Final = (8, 3, 1)
"""Numbers of trailing zeros to remove at once: the last 11 or 10 of the 12 decimals are zero in most prices."""
_BUY: Final = np.frombuffer(b"buy\n ", np.uint8)
_SELL: Final = np.frombuffer(b"sell\n", np.uint8)


def digest_text(rows: pa.Table, cuts: Sequence[int] = ()) -> list[bytes]:
    """Return the canonical text of ``rows``, split before each of the rows numbered in ``cuts``, ascending."""
    edges = [0, *cuts, rows.num_rows]
    if not rows.num_rows:
        return [b""] * (len(edges) - 1)
    ids = rows["trade_id"].combine_chunks().to_numpy()
    sells = _sells(rows["side"])
    price, qty = _unscaled(rows["price"]), _unscaled(rows["qty"])
    if price is None or qty is None or sells is None or ids.min() < 0:
        lines = _lines(rows)
        return ["".join(lines[start:stop]).encode() for start, stop in pairwise(edges)]
    text, kept = _set(ids.astype(np.uint64), price, qty, sells)
    # Rows are consecutive in memory, so splitting the mask splits the text.
    lengths = [int(np.count_nonzero(kept[start:stop])) for start, stop in pairwise(edges)]
    content = text.reshape(-1)[kept.reshape(-1)].tobytes()
    ends = np.cumsum([0, *lengths]).tolist()
    return [content[start:stop] for start, stop in pairwise(ends)]


def _lines(rows: pa.Table) -> list[str]:
    """Return the lines, formatted one by one: for numbers beyond 64 bits and other unusual values."""
    columns = [rows[name].to_pylist() for name in ("trade_id", "price", "qty", "side")]
    return [
        f"{trade_id},{plain(price)},{plain(qty)},{side}\n" for trade_id, price, qty, side in zip(*columns, strict=True)
    ]


def _sells(column: pa.ChunkedArray) -> _Mask | None:
    """Return which trades were sells; None if one is neither a sell nor a buy."""
    array = column.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    words = array.dictionary.to_pylist()
    if not {"buy", "sell"}.issuperset(words) or array.null_count:
        return None
    sells: _Mask = np.array([word == "sell" for word in words], np.bool_)[array.indices.to_numpy()]
    return sells


def _unscaled(column: pa.ChunkedArray) -> npt.NDArray[np.uint64] | None:
    """Return decimals as unscaled integers; None if one is negative or does not fit 64 bits."""
    array = column.combine_chunks()
    halves = np.frombuffer(array.buffers()[1], np.uint64).reshape(-1, 2)[array.offset : array.offset + len(array)]
    return None if halves[:, 1].any() else halves[:, 0]


def _set(
    ids: _Numbers, price: npt.NDArray[np.uint64], qty: npt.NDArray[np.uint64], sells: _Mask
) -> tuple[_Bytes, _Mask]:
    """Format each row as a line of fixed width; return the lines, and a mask of the bytes that count."""
    parts = [_split(price, PRICE_SCALE), _split(qty, QTY_SCALE)]
    widths = [(_width(whole), digits) for whole, _, digits in parts]
    id_width = _width(ids)
    width = id_width + sum(2 + whole + digits for whole, digits in widths) + 1 + len(_SELL)
    text = np.empty((len(ids), width), np.uint8)
    kept = np.ones((len(ids), width), np.bool_)
    _set_whole(text[:, :id_width], kept[:, :id_width], ids)
    at = id_width + 1
    text[:, id_width] = ord(",")
    for (whole, fraction, _), (whole_width, digits) in zip(parts, widths, strict=True):
        point = at + whole_width
        end = point + 1 + digits
        _set_whole(text[:, at:point], kept[:, at:point], whole)
        text[:, point] = ord(".")
        kept[:, point] = _set_fraction(text[:, point + 1 : end], kept[:, point + 1 : end], fraction)
        text[:, end] = ord(",")
        at = end + 1
    text[:, at:] = np.where(sells[:, None], _SELL, _BUY)
    kept[:, -1] = sells
    return text, kept


def _split(numbers: npt.NDArray[np.uint64], scale: int) -> tuple[_Numbers, _Numbers, int]:
    """Return the part before the point, the part after it, and the number of digits of the latter."""
    unit = np.uint64(10**scale)
    whole = numbers // unit
    fraction = numbers - whole * unit
    for zeros in _ZEROS:  # few of the digits are used in most cases
        while scale >= zeros and not (fraction % np.uint64(10**zeros)).any():
            fraction, scale = fraction // np.uint64(10**zeros), scale - zeros
    return whole, fraction, scale


def _width(numbers: _Numbers) -> int:
    return len(str(numbers.max()))


def _set_whole(text: _Bytes, kept: _Mask, numbers: _Numbers) -> None:
    """Write integers right-aligned; leading zeros do not count, except for the last digit."""
    width = text.shape[1]
    always = len(str(numbers.min()))
    left = numbers.astype(np.uint32) if width <= _SMALL else numbers
    ten = left.dtype.type(10)
    for column in range(width - 1, -1, -1):
        if width - column > always:
            kept[:, column] = left > 0
        tens = left // ten
        text[:, column] = (left - tens * ten).astype(np.uint8) + ord("0")
        left = tens


def _set_fraction(text: _Bytes, kept: _Mask, numbers: _Numbers) -> _Mask:
    """Write the digits after the point; trailing zeros do not count. Return which rows have any that do."""
    width = text.shape[1]
    left = numbers.astype(np.uint32) if width <= _SMALL else numbers
    ten = left.dtype.type(10)
    counts = np.zeros(len(numbers), np.bool_)
    for column in range(width - 1, -1, -1):
        tens = left // ten
        digit = (left - tens * ten).astype(np.uint8)
        counts |= digit > 0
        text[:, column] = digit + ord("0")
        kept[:, column] = counts
        left = tens
    return counts
