"""Parsing of v2 book frames (API.md 8.8): the levels of a snapshot, or those that changed, as exact text.

The live session and the drain parse frames here, so that what was verified is what is archived. A frame has one row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from recorder.errors import Malformed
from recorder.kraken import frame_rows, odd_rows, timestamps, wire
from recorder.kraken.book import PriceQty

CHANNEL: Final = "book"
SNAPSHOT: Final = "snapshot"
"""The type of the frame that a subscription begins with."""


class BookMessage(msgspec.Struct, frozen=True, gc=False):
    """One row of a book frame: the whole book of ``pair`` if it ``begins`` a subscription, or else changes.

    ``bids`` and ``asks`` are in the row's order: a price may come several times, and the last counts. ``checksum`` is
    the exchange's, of the state after them. ``time_us`` is the exchange's, in µs since 1970 UTC, and ``stamp`` the same
    as it came; both are None if the row has none.
    """

    pair: str
    begins: bool
    bids: list[PriceQty]
    asks: list[PriceQty]
    checksum: int
    time_us: int | None
    stamp: str | None


def messages(frame: bytes) -> list[BookMessage]:
    """Return the rows of one v2 book frame. Raises Malformed; never returns part of a frame.

    The texts of levels are read by :class:`recorder.kraken.book.Book`, which knows their digits.
    """
    try:
        if not frame.isascii():  # as all names of pairs are
            raise ValueError("it is not ASCII")
        content: wire.BookFrame = wire.book_frame(frame)
        if not content.data:
            raise ValueError("it has no row")
        begins = content.type == SNAPSHOT
        return [_message(entry, begins=begins) for entry in content.data]
    except wire.UNREADABLE as error:
        raise _unread(error) from error


def stored_message(row: bytes) -> BookMessage:
    """Return a row that was journalled without its frame, as checkpoints are. Raises Malformed."""
    try:
        return _message(wire.book_entry(row), begins=True)
    except wire.UNREADABLE as error:
        raise _unread(error) from error


def single_rows(frame: bytes) -> list[bytes]:
    """Return a readable frame with several rows as frames with one row each, byte for byte."""
    content = wire.raw_frame(frame)
    return [frame_rows.framed(CHANNEL, content.type, [bytes(raw)]) for raw in content.data or ()]


def only(frame: bytes, wanted: Callable[[str], bool]) -> bytes | None:
    """Return a book frame with only the rows whose symbol is ``wanted``, byte for byte; None if there are none."""
    return frame_rows.only(CHANNEL, frame, wanted)


def pairs_of_unread(frame: bytes) -> Sequence[str]:
    """Return the pair of each row of a frame that cannot be read, as far as it can be; none if that is uncertain."""
    return frame_rows.pairs(CHANNEL, frame)


def _message(entry: wire.BookEntry, *, begins: bool) -> BookMessage:
    return BookMessage(
        entry.symbol,
        begins,
        [(bytes(level.price), bytes(level.qty)) for level in entry.bids],
        [(bytes(level.price), bytes(level.qty)) for level in entry.asks],
        entry.checksum,
        None if entry.timestamp is None else timestamps.micros(entry.timestamp),
        entry.timestamp,
    )


def _unread(error: Exception) -> Malformed:
    return Malformed(f"a book frame that cannot be read: {str(error)[: odd_rows.REASON_LIMIT]}")
