"""One WebSocket connection to the ticker channel: its frames numbered by session and message (API.md 8.7).

Frames of quotes have no ids. What can be known instead is that a connection delivers everything in order, from the
snapshot after a subscription until it ends: that is a *session* of a pair, and its frames are counted. A session is
named by when its first frame was received (ns since 1970 by the host's clock, unique for each pair); its messages
count from 0, and include frames that could not be read as long as their pair can be. So a number that is missing
tells of a frame that is not stored.

A session ends with the connection, with the acknowledged end of its subscription, and with a snapshot that nobody asked
for. It is known to have run until the last sign of life before that: data, or a heartbeat, which comes every second.
Nothing is known of the time after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from recorder.core.report_limit import ReportLimit
from recorder.core.report_once import ReportOnce
from recorder.errors import Malformed
from recorder.kraken import ticker_frames, wire
from recorder.kraken.channels import QUOTES, Channel
from recorder.kraken.ticker_frames import TopRow
from recorder.kraken.websocket_session import (
    SUBSCRIBE_BATCH,
    ChannelSession,
    Common,
    Kind,
    UnknownFrame,
    UnreadableFrame,
)


class NumberedRows(msgspec.Struct, frozen=True, gc=False):
    """Data of the channel in one frame, with the session of each pair and the message number of its first row in it."""

    numbers: dict[str, tuple[int, int]]
    frame: bytes
    received_ns: int


class SessionEnd(msgspec.Struct, frozen=True, gc=False):
    """The end of a session of ``pair``, after ``messages`` messages; it is known to have run until ``until_ns``."""

    pair: str
    session: int
    messages: int
    until_ns: int


class SessionsEnded(msgspec.Struct, frozen=True):
    """Sessions that ended; each belongs in the journal, behind its last frame."""

    ends: tuple[SessionEnd, ...]


class SessionNumbers:
    """The numbers of sessions, for all connections of a run: each pair's are ascending, whatever the clock does."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def next(self, pair: str, received_ns: int) -> int:
        """Return the number of a session whose first frame is received now."""
        number = max(received_ns, self._last.get(pair, 0) + 1)
        self._last[pair] = number
        return number


class _Running:
    """A session that has not ended: its number, how many messages it has, and when the newest one was received."""

    __slots__ = ("last_ns", "messages", "number")

    def __init__(self, number: int) -> None:
        self.number, self.messages, self.last_ns = number, 0, number


class QuoteSession(ChannelSession[TopRow, NumberedRows | SessionsEnded]):
    """The state machine of a connection, and of the sessions on it. ``numbers`` are shared by all connections.

    ``reported`` remembers what was reported of odd quotes. After the connection has ended, :meth:`closed` returns what
    is left to be carried out.
    """

    def __init__(
        self,
        pairs: Iterable[str],
        numbers: SessionNumbers,
        *,
        channel: Channel[TopRow] = QUOTES,
        batch: int = SUBSCRIBE_BATCH,
        limit: ReportLimit | None = None,
        reported: ReportOnce | None = None,
    ) -> None:
        super().__init__(channel, pairs, batch=batch, limit=limit)
        self._numbers = numbers
        self._reported = ReportOnce() if reported is None else reported
        self._running: dict[str, _Running] = {}
        self._heard_ns = 0

    def receive(
        self, frame: bytes, now_s: float, *, received_ns: int
    ) -> Sequence[Common | NumberedRows | SessionsEnded]:
        """See :class:`ChannelSession`."""
        effects = super().receive(frame, now_s, received_ns=received_ns)
        if self.heard_s == now_s:  # it was a sign of life
            self._heard_ns = max(self._heard_ns, received_ns)
        return effects

    def closed(self) -> list[Common | NumberedRows | SessionsEnded]:
        """End all sessions, after the connection has ended for whatever reason."""
        return list(self._end(list(self._running)))

    def _came(
        self, claims: list[TopRow], frame: bytes, received_ns: int
    ) -> Sequence[Common | NumberedRows | SessionsEnded]:
        numbers: dict[str, tuple[int, int]] = {}
        effects: list[Common | NumberedRows | SessionsEnded] = []
        for row in claims:
            pair = row.pair
            running = self._running.get(pair)
            if running is None or (row.begins and pair not in numbers):
                effects += self._end([pair])
                running = self._running[pair] = _Running(self._numbers.next(pair, received_ns))
            if pair not in numbers:
                numbers[pair] = running.number, running.messages
            running.messages += 1
            running.last_ns = received_ns
            if row.odd is not None and self._reported.is_first("odd quote", pair, row.odd):
                effects.append(UnreadableFrame(f"a quote of {pair} with {row.odd}: stored as it came", pair))
        effects.append(NumberedRows(numbers, frame, received_ns))
        return effects

    def _salvaged(
        self, frame: bytes, error: Malformed, now_s: float, received_ns: int
    ) -> Sequence[Common | NumberedRows | SessionsEnded]:
        """Store the frame as it came, and number the rows that can be read as a frame of their own.

        A row that cannot be read counts as a message of its pair's session, if there is one.
        """
        found = ticker_frames.salvaged(frame)
        if found.frame is None:
            raise error
        self._count(found.unread)
        odd = UnreadableFrame(f"a ticker frame with a row that cannot be read: {found.reason}")
        rows = self._rows(self._channel.claims(found.frame), found.frame, now_s, received_ns)
        return [UnknownFrame("unreadable", frame, received_ns), odd, *rows]

    def _unread(self, frame: bytes, reason: str, received_ns: int) -> Sequence[Common | NumberedRows | SessionsEnded]:
        """Count the frame for its pairs; if these cannot be read, end all sessions: any may have lost a frame."""
        effects = super()._unread(frame, reason, received_ns)
        pairs = ticker_frames.pairs_of_unread(frame)
        self._count(pairs)
        return effects if pairs else [*effects, *self._end(list(self._running))]

    def _count(self, pairs: Iterable[str]) -> None:
        for pair in pairs:
            if (running := self._running.get(pair)) is not None:
                running.messages += 1

    def _judge(
        self, frame: wire.Frame, now_s: float
    ) -> tuple[Kind | None, Sequence[Common | NumberedRows | SessionsEnded]]:
        kind, effects = super()._judge(frame, now_s)
        return kind, [*effects, *self._end(self._unsubscribed(frame))]

    def _end(self, pairs: Sequence[str]) -> list[SessionsEnded]:
        running = [(pair, self._running.pop(pair)) for pair in pairs if pair in self._running]
        ends = tuple(
            SessionEnd(pair, one.number, one.messages, max(one.last_ns, self._heard_ns)) for pair, one in running
        )
        return [SessionsEnded(ends)] if ends else []
