"""Parsing of v2 ticker frames (API.md 8.7): the best bid and ask of pairs, exact, without floats.

The live session and the drain parse frames here, so that what was numbered is what is archived. A frame nearly always
has one row, which shows the whole top of the book: no row depends on an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from recorder.core.model import TopOfBook, fits_price, fits_qty
from recorder.core.plausibility import EARLIEST_US
from recorder.errors import Malformed
from recorder.kraken import frame_rows, odd_rows, timestamps, wire

CHANNEL: Final = "ticker"
SNAPSHOT: Final = "snapshot"
"""The type of the frame that a subscription begins with."""
_NOT_ASCII: Final = "it is not ASCII"
_SHOWN: Final = 40


class TopRow(msgspec.Struct, frozen=True, gc=False):
    """What a row of a frame is good for before it is stored: its pair, and whether it begins a subscription.

    ``odd`` says what is unusual about a row that is stored as it came; None if nothing is.
    """

    pair: str
    begins: bool
    odd: str | None = None


class ReadableRows(NamedTuple):
    """The readable rows of a frame with others that cannot be read: a frame of them alone, byte for byte, and why.

    ``frame`` is None if no row can be read. ``unread`` are the pairs of the other rows, where these can be read.
    """

    frame: bytes | None
    reason: str
    unread: tuple[str, ...]


def rows(frame: bytes) -> list[TopRow]:
    """Return the rows of one v2 ticker frame, after checking all that is stored of them. Raises Malformed."""
    try:
        content = _content(frame)
        begins = content.type == SNAPSHOT
        return [TopRow(entry.symbol, begins, _checked(entry)) for entry in content.data]
    except wire.UNREADABLE as error:
        raise _unread(error) from error


def quotes(frame: bytes, numbers: Mapping[str, tuple[int, int]], *, received_ns: int) -> list[TopOfBook]:
    """Return the quotes in one v2 ticker frame, in its order. Raises Malformed; never returns part of a frame.

    ``numbers`` are the session of each pair and the message number of its first row here; further rows count on.
    """
    received_us = received_ns // 1000
    made: list[TopOfBook] = []
    counted: dict[str, int] = {}
    try:
        for entry in _content(frame).data:
            _checked(entry)
            pair = entry.symbol
            if pair not in numbers:
                raise ValueError(f"its source names no session of {pair}")
            session, message = numbers[pair]
            before = counted.get(pair, 0)
            counted[pair] = before + 1
            made.append(
                TopOfBook(
                    pair,
                    None if entry.timestamp is None else timestamps.micros(entry.timestamp),
                    received_us,
                    entry.bid,
                    entry.bid_qty,
                    entry.ask,
                    entry.ask_qty,
                    entry.last,
                    session,
                    message + before,
                )
            )
    except wire.UNREADABLE as error:
        raise _unread(error) from error
    return made


def salvaged(frame: bytes) -> ReadableRows:
    """Read the rows of a frame one by one, so that a malformed row costs only itself. Raises Malformed if it has none.

    This is many times slower than :func:`rows`, which refuses such frames.
    """
    try:
        content = wire.raw_frame(frame)
    except wire.UNREADABLE as error:
        raise _unread(error) from error
    good, unread, reasons = list[bytes](), list[str](), list[str]()
    for raw in content.data or ():
        try:
            if not bytes(raw).isascii():
                raise ValueError(_NOT_ASCII)
            _checked(wire.top_entry(raw))
            good.append(bytes(raw))
        except wire.UNREADABLE as error:
            reasons.append(str(error)[: odd_rows.REASON_LIMIT])
            name = frame_rows.symbol(raw)
            if name is not None:
                unread.append(name)
    if not reasons:
        raise Malformed("a ticker frame without a row")
    readable = frame_rows.framed(CHANNEL, content.type, good) if good else None
    return ReadableRows(readable, reasons[0], tuple(unread))


def pairs_of_unread(frame: bytes) -> Sequence[str]:
    """Return the pair of each row of a frame that cannot be read, as far as it can be; none if that is uncertain."""
    return frame_rows.pairs(CHANNEL, frame)


def only(frame: bytes, wanted: Callable[[str], bool]) -> bytes | None:
    """Return a ticker frame with only the rows whose symbol is ``wanted``, byte for byte; None if there are none."""
    return frame_rows.only(CHANNEL, frame, wanted)


def _content(frame: bytes) -> wire.TopFrame:
    """Decode one ticker frame. Raises one of :data:`wire.UNREADABLE`."""
    if not frame.isascii():  # as all names of pairs are
        raise ValueError(_NOT_ASCII)
    content: wire.TopFrame = wire.top_frame(frame)
    if not content.data:
        raise ValueError("it has no row")
    return content


def _checked(entry: wire.TopEntry) -> str | None:
    """Return what is unusual about a row that can be stored, None if nothing is. Raises ValueError if it cannot be."""
    bid, ask, bid_qty, ask_qty, last = entry.bid, entry.ask, entry.bid_qty, entry.ask_qty, entry.last
    for price in (bid, ask, last):
        if price is not None and not fits_price(price):
            raise ValueError(f"a price of {entry.symbol} does not fit: {_printed(bid, ask, last)}")
    for qty in (bid_qty, ask_qty):
        if qty is not None and not fits_qty(qty):
            raise ValueError(f"a quantity of {entry.symbol} does not fit: {_printed(bid_qty, ask_qty)}")
    if entry.timestamp is not None and timestamps.micros(entry.timestamp) < EARLIEST_US:
        return f"the time {entry.timestamp}"
    if not (bid and ask and bid_qty and ask_qty and last):
        return "a price or a quantity that is zero or null"
    return "a bid that is not below the ask" if bid >= ask else None


def _printed(*numbers: Decimal | None) -> str:
    return ", ".join(str(number)[:_SHOWN] for number in numbers)


def _unread(error: Exception) -> Malformed:
    return Malformed(f"a ticker frame that cannot be read: {str(error)[: odd_rows.REASON_LIMIT]}")
