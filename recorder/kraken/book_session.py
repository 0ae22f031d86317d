"""One WebSocket connection to the book channel: its messages numbered, applied, and verified (API.md 8.8, 9).

A *session* of a pair begins with a snapshot, and only with one: what comes before it changes a book that nobody knows.
It is named by when its snapshot was received (ns since 1970 by the host's clock, unique for each pair). Its messages
count from 0: the exchange's frames, and the checkpoints that :meth:`BookSession.checkpoints` and time add, which are
the whole book as it then is. None counts as received before the one before it, even if the clock is set back. The
checksum of each frame is compared; it covers the best ten levels of each side.

A session ends with its connection, with the subscription, with another snapshot, and with a message whose checksum does
not hold or that cannot be read: from the message before it on the book is not known, and the pair is subscribed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from recorder.core.backoff import next_delay_s
from recorder.core.report_limit import ReportLimit
from recorder.core.report_once import ReportOnce
from recorder.errors import Malformed
from recorder.kraken import book_frames, book_lines, wire
from recorder.kraken.book import NOTHING, Book, Digits, Evicted
from recorder.kraken.book_frames import BookMessage
from recorder.kraken.book_lines import BookEnd, EndReason
from recorder.kraken.channels import Channel
from recorder.kraken.quote_session import SessionNumbers
from recorder.kraken.subscriptions import FIRST_WAIT_S, LAST_WAIT_S
from recorder.kraken.websocket_session import (
    REASON_LIMIT,
    SUBSCRIBE_BATCH,
    ChannelSession,
    Common,
    Kind,
    UnknownFrame,
    UnreadableFrame,
)

CHECKPOINT_NS: Final = 600 * 1_000_000_000
"""A message this long after the last checkpoint is followed by one: so much of a session is read at most for the book
at a moment."""
SNAPSHOT_S: Final = 10.0
"""Seconds for which the snapshot of a pair may be lacking: it follows the acknowledgement within half a second (API.md
8.2)."""
RELIABLE_NS: Final = 60 * 1_000_000_000
"""A session that ran for this long is followed by another one at once, whatever ended it."""
_DAY_NS: Final = 86_400 * 1_000_000_000


class BookLine(msgspec.Struct, frozen=True, gc=False):
    """One message for the journal: its place (``book_lines``), and a frame as received, or a checkpoint."""

    place: str
    payload: bytes
    received_ns: int
    is_checkpoint: bool = False


class BooksEnded(msgspec.Struct, frozen=True):
    """Sessions that ended; each belongs in the journal, behind its last message."""

    ends: tuple[BookEnd, ...]


Data = BookLine | BooksEnded


class _Running:
    """A session that has not ended."""

    __slots__ = ("book", "checkpoint_ns", "checksum", "last_ns", "messages", "named", "number", "stamp")

    def __init__(self, pair: str, number: int, book: Book) -> None:
        self.number, self.book, self.named = number, book, book_lines.named(pair, number)
        self.messages = self.checksum = 0
        self.stamp: str | None = None
        self.last_ns = number
        self.checkpoint_ns = 0

    def take(self) -> str:
        """Return how the place of the next message begins, and count it."""
        place = f"{self.named}{self.messages}"
        self.messages += 1
        return place

    def holds_at(self, message: BookMessage, received_ns: int) -> None:
        """Record the message that the state is that of, now."""
        self.checksum, self.stamp, self.last_ns = message.checksum, message.stamp, received_ns

    def wait(self, now_ns: int) -> None:
        """Set when a message is to be followed by the next checkpoint: later, or on another UTC date."""
        self.checkpoint_ns = min(now_ns + CHECKPOINT_NS, (now_ns // _DAY_NS + 1) * _DAY_NS)


class BookSession(ChannelSession[BookMessage, Data]):
    """The state machine of a connection, and of the sessions on it. ``numbers`` are shared by all connections.

    ``channel`` has the ``depth`` among its params. ``digits`` returns the listed digits of a pair, None if it is not
    listed. ``reported`` remembers what was reported of odd books.
    """

    def __init__(
        self,
        pairs: Iterable[str],
        numbers: SessionNumbers,
        *,
        channel: Channel[BookMessage],
        depth: int,
        digits: Callable[[str], Digits | None],
        batch: int = SUBSCRIBE_BATCH,
        limit: ReportLimit | None = None,
        reported: ReportOnce | None = None,
    ) -> None:
        super().__init__(channel, pairs, batch=batch, limit=limit)
        self._numbers = numbers
        self._depth = depth
        self._digits = digits
        self._reported = ReportOnce() if reported is None else reported
        self._running: dict[str, _Running] = {}
        self._heard_ns = 0
        self._late_since: dict[str, float] = {}
        """Since when each pair is subscribed whose snapshot did not come."""
        self._failures: dict[str, int] = {}
        """Consecutive sessions of each pair that soon ended for what they contained."""
        self._anew: dict[str, float] = {}
        """When each pair that is not subscribed for such a reason is subscribed again."""

    def receive(self, frame: bytes, now_s: float, *, received_ns: int) -> Sequence[Common | Data]:
        """See :class:`ChannelSession`."""
        effects = super().receive(frame, now_s, received_ns=received_ns)
        if self.heard_s == now_s:  # it was a sign of life
            self._heard_ns = max(self._heard_ns, received_ns)
        return effects

    def tick(self, now_s: float) -> list[Common | Data]:
        """See :class:`ChannelSession`."""
        effects = super().tick(now_s)
        due = [pair for pair, due_s in self._anew.items() if due_s <= now_s and pair in self._pairs]
        for pair in due:
            del self._anew[pair]
        effects += [self._subscribe(batch, now_s) for batch in self._asking.batches(due)]
        late = [pair for pair, since_s in self._late_since.items() if now_s - since_s >= SNAPSHOT_S]
        for pair in late:
            del self._late_since[pair]
            if pair in self.subscribed:
                effects += self._subscribe_anew(pair, now_s)
        return effects

    def drop(self, symbols: Iterable[str]) -> list[Common | Data]:
        """See :class:`ChannelSession`."""
        gone = list(symbols)
        for pair in gone:
            self._anew.pop(pair, None)
        return super().drop(gone)

    def closed(self) -> list[Common | Data]:
        """End all sessions, after the connection has ended for whatever reason."""
        return list(self._end(list(self._running), "disconnected"))

    def checkpoints(self, now_ns: int) -> list[BookLine]:
        """Return the whole book of each session that runs, as its next message, received ``now_ns``."""
        return [self._checkpoint(pair, one, max(now_ns, one.last_ns)) for pair, one in self._running.items()]

    def _came(self, claims: list[BookMessage], frame: bytes, received_ns: int) -> Sequence[Common | Data]:
        if len(claims) == 1:  # as always
            return self._message(claims[0], frame, received_ns)
        effects: list[Common | Data] = []
        for message, single in zip(claims, book_frames.single_rows(frame), strict=True):
            effects += self._message(message, single, received_ns)
        return effects

    def _message(self, message: BookMessage, frame: bytes, received_ns: int) -> Sequence[Common | Data]:
        pair = message.pair
        if message.begins:
            return self._snapshot(message, frame, received_ns)
        running = self._running.get(pair)
        if running is None:
            return ()  # it changes a book that nobody knows
        received_ns = max(received_ns, running.last_ns)  # the host's clock may be set back
        book = running.book
        try:
            evicted = book.apply(message.bids, message.asks)
            gone = "" if evicted is NOTHING else book_lines.pushed_out(evicted, book.digits)
        except ValueError as error:
            return self._refuse(pair, str(error), frame, received_ns)
        line = BookLine(f"{running.take()}{gone}", frame, received_ns)
        if book.checksum != message.checksum:
            return self._mismatched(pair, line)
        running.holds_at(message, received_ns)
        if received_ns < running.checkpoint_ns and not book.is_crossed:  # nearly always
            return (line,)
        return [line, *self._beside(pair, running, received_ns)]

    def _beside(self, pair: str, running: _Running, received_ns: int) -> list[Common | Data]:
        """Return what follows a message beside itself: the report that its book is crossed, and a checkpoint."""
        effects: list[Common | Data] = []
        if running.book.is_crossed and self._reported.is_first("crossed book", pair):
            effects.append(UnreadableFrame(f"a book of {pair} whose best bid is not below its best ask", pair))
        if received_ns >= running.checkpoint_ns:
            effects.append(self._checkpoint(pair, running, received_ns))
        return effects

    def _snapshot(self, message: BookMessage, frame: bytes, received_ns: int) -> Sequence[Common | Data]:
        """Begin a session with a snapshot, which ends the one before."""
        pair = message.pair
        effects: list[Common | Data] = [*self._end([pair], "replaced")]
        self._late_since.pop(pair, None)
        try:
            book, evicted = self._new_book(message)
            gone = book_lines.pushed_out(evicted, book.digits)
        except ValueError as error:
            return [*effects, *self._refuse(pair, str(error), frame, received_ns)]
        running = self._running[pair] = _Running(pair, self._numbers.next(pair, received_ns), book)
        line = BookLine(f"{running.take()}{book_lines.shown(book)}{gone}", frame, received_ns)
        if book.checksum != message.checksum:
            return [*effects, *self._mismatched(pair, line)]
        running.holds_at(message, received_ns)
        running.wait(received_ns)
        return [*effects, line, *self._beside(pair, running, received_ns)]

    def _new_book(self, message: BookMessage) -> tuple[Book, Evicted]:
        """Return the book of a snapshot, and what is beyond its depth, in the digits with which its checksum holds.

        They are the listed ones, unless the listing has changed since we read it: then those of the snapshot. Raises
        ValueError.
        """
        seen = Digits.seen([*message.bids, *message.asks])
        listed = self._digits(message.pair)
        possible = [seen] if listed is None or listed.price < seen.price or listed.qty < seen.qty else [listed, seen]
        for digits in possible:
            book = Book(self._depth, digits)
            evicted = book.apply(message.bids, message.asks)
            if book.checksum == message.checksum:
                break
        return book, evicted

    def _checkpoint(self, pair: str, running: _Running, now_ns: int) -> BookLine:
        book = running.book
        running.wait(now_ns)
        payload = book_lines.checkpoint(pair, book, running.checksum, running.stamp)
        return BookLine(f"{running.take()}{book_lines.shown(book)}", payload, now_ns, is_checkpoint=True)

    def _mismatched(self, pair: str, line: BookLine) -> list[Common | Data]:
        """Store the message whose checksum does not hold, end the session before it, and subscribe anew."""
        ended = BookLine(line.place + book_lines.MISMATCH, line.payload, line.received_ns)
        return [ended, *self._fail(pair, "mismatch")]

    def _refuse(self, pair: str, reason: str, frame: bytes, received_ns: int) -> list[Common | Data]:
        """Store a frame whose levels cannot be read as they stand, end the session, and subscribe anew."""
        unread = UnreadableFrame(f"a book frame of {pair} that cannot be applied: {reason}"[:REASON_LIMIT], pair)
        return [UnknownFrame("unreadable", frame, received_ns), unread, *self._fail(pair, "unreadable")]

    def _fail(self, pair: str, reason: EndReason) -> list[Common | Data]:
        running = self._running.get(pair)
        if running is not None and running.last_ns - running.number >= RELIABLE_NS:
            self._failures.pop(pair, None)
        return [*self._end([pair], reason), *self._subscribe_anew(pair, self._heard_s)]

    def _subscribe_anew(self, pair: str, now_s: float) -> list[Common | Data]:
        """End a subscription and ask for another: at once, or with growing waits if that did not help."""
        if pair not in self._pairs:  # it was dropped, and this came late
            return []
        failures = self._failures[pair] = self._failures.get(pair, 0) + 1
        self.subscribed.discard(pair)
        effects: list[Common | Data] = [self._unsubscribe([pair])]
        if failures == 1:
            effects.append(self._subscribe([pair], now_s))
        else:
            wait_s = next_delay_s(failures - 1, first_s=FIRST_WAIT_S, last_s=LAST_WAIT_S)
            self._anew[pair] = now_s + wait_s
        return effects

    def _salvaged(
        self,
        frame: bytes,  # noqa: ARG002 -- a book with a gap is none: the pairs of the whole frame begin anew
        error: Malformed,
        now_s: float,  # noqa: ARG002
        received_ns: int,  # noqa: ARG002
    ) -> Sequence[Common | Data]:
        raise error

    def _unread(self, frame: bytes, reason: str, received_ns: int) -> Sequence[Common | Data]:
        """End the sessions of the frame's pairs; if these cannot be read, all: any may have lost a message."""
        effects = list(super()._unread(frame, reason, received_ns))
        for pair in book_frames.pairs_of_unread(frame) or list(self._running):
            if pair in self._running:
                effects += self._fail(pair, "unreadable")
        return effects

    def _judge(self, frame: wire.Frame, now_s: float) -> tuple[Kind | None, Sequence[Common | Data]]:
        kind, effects = super()._judge(frame, now_s)
        left = [pair for pair in self._unsubscribed(frame) if pair not in self._pairs]
        return kind, [*effects, *self._end(left, "unsubscribed")]

    def _acknowledged(self, symbol: str | None, time_in: str | None, now_s: float) -> Sequence[Common | Data]:
        effects = super()._acknowledged(symbol, time_in, now_s)
        if symbol is not None and symbol in self.subscribed and symbol not in self._running:
            self._late_since.setdefault(symbol, now_s)
        return effects

    def _end(self, pairs: Sequence[str], reason: EndReason) -> list[BooksEnded]:
        """End sessions: known until the last sign of life, but where a message was lost until the one before it."""
        running = [(pair, self._running.pop(pair)) for pair in pairs if pair in self._running]
        in_doubt = reason in {"mismatch", "unreadable"}
        ends = tuple(
            BookEnd(
                pair, one.number, one.messages, one.last_ns if in_doubt else max(one.last_ns, self._heard_ns), reason
            )
            for pair, one in running
        )
        return [BooksEnded(ends)] if ends else []
