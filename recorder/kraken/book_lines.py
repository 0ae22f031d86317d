"""Journal lines of books: what their sources name, and the rows that follow from a line.

Each line stands by itself: the source has the session, the number of the message, and the prices that fell out of the
window, so that the rows of a line depend on no earlier one, and a line that is lost is noticed by its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from recorder.core.model import BookKind, BookPart, BookRow
from recorder.errors import Malformed
from recorder.kraken.book import Book, Digits, Evicted, Level, printed
from recorder.kraken.book_frames import BookMessage

MOST_EVICTED: Final = 2_000
"""Prices that one message can push out and a source name: as many as the deepest book has levels."""
_PLACE: Final = re.compile(
    r"(?P<pair>[^=&]+)=(?P<session>\d{1,19})\.(?P<message>\d{1,19})"
    r"(?:&depth=(?P<depth>\d{1,4})&digits=(?P<price>\d{1,2})\.(?P<qty>\d{1,2}))?"
    r"(?:&bids=(?P<bids>[\d.,]+))?(?:&asks=(?P<asks>[\d.,]+))?(?P<mismatch>&mismatch)?",
    re.ASCII,
)
_SHOWN: Final = 300

EndReason = Literal["disconnected", "unsubscribed", "replaced", "mismatch", "unreadable", "killed"]
"""Why a session ended: its connection ended; the pair left; another snapshot came; a checksum did not hold; a frame
could not be read, or its numbers had more digits; or the recorder was killed."""


class BookEnd(msgspec.Struct, frozen=True, gc=False):
    """The end of a session of ``pair``, after ``messages`` messages; it is known to have run until ``until_ns``."""

    pair: str
    session: int
    messages: int
    until_ns: int
    reason: EndReason


class BookPlace(NamedTuple):
    """The message of a line, the subscription if the line shows it, and what the message pushed out, as text."""

    pair: str
    session: int
    message: int
    depth: int | None
    digits: Digits | None
    bids: Sequence[str]
    asks: Sequence[str]
    mismatch: bool


def named(pair: str, session: int) -> str:
    """Return how the place of each message of a session begins.

    >>> named("BTC/USD", 17)
    'BTC%2FUSD=17.'
    """
    return f"{quote(pair, safe='')}={session}."


def shown(book: Book) -> str:
    """Return the part of a place that shows the subscription, for lines with a whole book."""
    return f"&depth={book.depth}&digits={book.digits.price}.{book.digits.qty}"


def pushed_out(evicted: Evicted, digits: Digits) -> str:
    """Return the part of a place that names what was pushed out. Raises ValueError if it is too much."""
    if len(evicted.bids) + len(evicted.asks) > MOST_EVICTED:
        raise ValueError("it pushes out more levels than the deepest book has")
    sides = (("bids", evicted.bids), ("asks", evicted.asks))
    return "".join(
        f"&{name}={','.join(printed(price, digits.price) for price in prices)}" for name, prices in sides if prices
    )


MISMATCH: Final = "&mismatch"
"""The end of a place whose checksum did not hold."""


def place(source: str) -> BookPlace:
    """Return the place that a source names. Raises Malformed."""
    found = _PLACE.fullmatch(source.partition("?")[2])
    if found is None:
        raise Malformed(f"a source that does not tell session and message of a book: {source[:_SHOWN]}")
    digits = None if found["price"] is None else Digits(int(found["price"]), int(found["qty"]))
    bids, asks = ((found[side] or "").split(",") if found[side] else () for side in ("bids", "asks"))
    depth = None if found["depth"] is None else int(found["depth"])
    session, message = int(found["session"]), int(found["message"])
    return BookPlace(unquote(found["pair"]), session, message, depth, digits, bids, asks, bool(found["mismatch"]))


def checkpoint(pair: str, book: Book, checksum: int, stamp: str | None) -> bytes:
    """Return a whole book as the row of a snapshot would have it."""

    def listed(levels: Iterable[Level]) -> str:
        return ",".join(f'{{"price":{price},"qty":{qty}}}' for price, qty in book.printed(levels))

    of_time = "" if stamp is None else f',"timestamp":"{stamp}"'
    symbol = msgspec.json.encode(pair).decode()
    return (
        f'{{"symbol":{symbol},"bids":[{listed(book.bids)}],"asks":[{listed(book.asks)}],'
        f'"checksum":{checksum}{of_time}}}'
    ).encode()


def rows(message: BookMessage, at: BookPlace, kind: BookKind, *, received_us: int) -> list[BookRow]:
    """Return the rows of one message: its levels in its order, then what it pushed out. Raises Malformed."""
    if message.pair != at.pair:
        raise Malformed(f"a message of {message.pair} whose source names {at.pair}")
    checksum = None if kind == "update" else message.checksum
    found = list(_levels(message, at, kind))
    last = len(found) - 1
    return [
        BookRow(
            at.pair,
            message.time_us,
            received_us,
            at.session,
            at.message,
            position,
            of_kind,
            side,
            price,
            qty,
            checksum if position == last else None,
        )
        for position, (of_kind, side, price, qty) in enumerate(found)
    ]


_Change = tuple[BookKind, Literal["bid", "ask"] | None, str | None, str | None]


def _levels(message: BookMessage, at: BookPlace, kind: BookKind) -> Iterator[_Change]:
    if not (message.bids or message.asks or at.bids or at.asks):
        yield kind, None, None, None
    for price, qty in message.bids:
        yield kind, "bid", price.decode(), qty.decode()
    for price, qty in message.asks:
        yield kind, "ask", price.decode(), qty.decode()
    for gone in at.bids:
        yield "evicted", "bid", gone, "0"
    for gone in at.asks:
        yield "evicted", "ask", gone, "0"


def part(at: BookPlace, *, received_us: int, is_checkpoint: bool = False) -> BookPart:
    """Return what one message is of its session."""
    is_proof = not (is_checkpoint or at.mismatch)
    return BookPart(
        at.pair,
        at.session,
        at.message,
        at.message,
        1,
        int(not at.mismatch),
        int(at.mismatch),
        received_us,
        received_us if is_proof else None,
        at.depth,
        None if at.digits is None else at.digits.price,
        None if at.digits is None else at.digits.qty,
        None,
        None,
        received_us,
    )


def ended_part(end: BookEnd, *, seen_us: int) -> BookPart:
    """Return what its end is of a session."""
    return BookPart(
        end.pair,
        end.session,
        None,
        end.messages - 1,
        0,
        0,
        0,
        None,
        None,
        None,
        None,
        None,
        end.until_ns // 1000,
        end.reason,
        seen_us,
    )
