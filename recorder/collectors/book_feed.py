"""Books as a stream delivers them: their journal lines, verified and numbered; and what a killed run left unended."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import msgspec
import structlog

from recorder.clock import Clock
from recorder.core.report_limit import ReportLimit
from recorder.core.report_once import ReportOnce
from recorder.errors import CorruptLine, Malformed
from recorder.journal import segment
from recorder.kraken import book_lines, records
from recorder.kraken.book import Digits
from recorder.kraken.book_frames import BookMessage
from recorder.kraken.book_lines import BookEnd
from recorder.kraken.book_session import BookLine, BooksEnded, BookSession
from recorder.kraken.channels import Channel
from recorder.kraken.quote_session import SessionNumbers
from recorder.runtime.inbox import Inbound

log = structlog.get_logger()


class BookFeed:
    """The books of all connections of a run, which share the numbers of sessions and what was reported.

    ``channel`` has the ``depth`` among its params; ``digits`` returns the listed digits of a pair, None if it is not
    listed.
    """

    def __init__(
        self, clock: Clock, channel: Channel[BookMessage], *, depth: int, digits: Callable[[str], Digits | None]
    ) -> None:
        self._clock = clock
        self._channel = channel
        self._depth = depth
        self._digits = digits
        self._numbers = SessionNumbers()
        self._limit = ReportLimit()
        self._reported = ReportOnce()
        self._sessions: weakref.WeakSet[BookSession] = weakref.WeakSet()

    @property
    def channel(self) -> str:
        """See :class:`recorder.collectors.feed.Feed`."""
        return self._channel.name

    def session(self, pairs: Collection[str]) -> BookSession:
        """See :class:`recorder.collectors.feed.Feed`."""
        made = BookSession(
            pairs,
            self._numbers,
            channel=self._channel,
            depth=self._depth,
            digits=self._digits,
            limit=self._limit,
            reported=self._reported,
        )
        self._sessions.add(made)
        return made

    def line(self, data: BookLine | BooksEnded, connection: int) -> Inbound:
        """See :class:`recorder.collectors.feed.Feed`."""
        if isinstance(data, BookLine):  # nearly always
            return Inbound(_encoded(data, connection), [])
        for end in data.ends:
            if end.reason in {"mismatch", "unreadable"}:
                log.warning("book lost, and subscribed again", pair=end.pair, reason=end.reason, messages=end.messages)
        return Inbound(ended(data.ends, connection, self._clock.wall_ns()), [])

    def heads(self) -> list[bytes]:
        """Return the lines that a segment begins with: a checkpoint of each session that runs."""
        now_ns = self._clock.wall_ns()
        written = (line for session in self._sessions for line in session.checkpoints(now_ns))
        return [_encoded(line, 0) for line in written]


def _encoded(line: BookLine, connection: int) -> bytes:
    at = line.place
    source = records.checkpoint_source(at) if line.is_checkpoint else records.book_source(connection, at)
    return segment.encode(line.received_ns, source, line.payload, parsed=True)


def ended(ends: Iterable[BookEnd], connection: int, now_ns: int) -> bytes:
    """Return the line about the ends of sessions on a connection, 0 if no connection of this run is meant."""
    return segment.encode(
        now_ns, records.ended_source("book", connection), records.encode_book_ends(list(ends)), parsed=True
    )


def left_unended(segments: Iterable[Path]) -> list[BookEnd]:
    """Return the ends of the sessions that a killed run left without one, given its undrained segments in order.

    Each segment begins with a line of each session that ran, so that none is overlooked. A session is known to have run
    until its last message. Blocks: it reads the segments.
    """
    running: dict[tuple[str, int], BookEnd] = {}
    for path in segments:
        for entry in segment.entries(path):
            if not isinstance(entry, CorruptLine):
                for end, has_ended in _ends_in(entry):
                    if has_ended:
                        running.pop((end.pair, end.session), None)
                    else:
                        before = running.get((end.pair, end.session))
                        until_ns = max(end.until_ns, 0 if before is None else before.until_ns)
                        running[end.pair, end.session] = msgspec.structs.replace(end, until_ns=until_ns)
    return list(running.values())


def _ends_in(entry: segment.Entry) -> Iterator[tuple[BookEnd, bool]]:
    """Yield what a line records of a session: how long it ran at least, and whether it has ended."""
    try:
        match records.read(entry):
            case records.StreamedBook():
                at = book_lines.place(entry.source)
                yield BookEnd(at.pair, at.session, at.message + 1, 0 if at.mismatch else entry.recv_ns, "killed"), False
            case records.EndedBooks() as noted:
                for end in noted.ends():
                    yield end, True
            case _:
                pass
    except Malformed:  # the drain reads the same lines and reports them
        return
