"""Quotes as a stream delivers them: their journal lines, numbered by session and message."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from recorder.clock import Clock
from recorder.collectors.stream import Listeners
from recorder.core.report_limit import ReportLimit
from recorder.core.report_once import ReportOnce
from recorder.journal import segment
from recorder.kraken import records
from recorder.kraken.channels import QUOTES, Channel
from recorder.kraken.quote_session import NumberedRows, QuoteSession, SessionNumbers, SessionsEnded
from recorder.kraken.ticker_frames import TopRow
from recorder.runtime.inbox import Inbound


class QuoteFeed:
    """The quotes of all connections of a run, which share the numbers of sessions and what was reported."""

    def __init__(self, clock: Clock, channel: Channel[TopRow] = QUOTES) -> None:
        self._clock = clock
        self._channel = channel
        self._numbers = SessionNumbers()
        self._limit = ReportLimit()
        self._reported = ReportOnce()

    @property
    def channel(self) -> str:
        """See :class:`recorder.collectors.feed.Feed`."""
        return self._channel.name

    def session(self, pairs: Collection[str]) -> QuoteSession:
        """See :class:`recorder.collectors.feed.Feed`."""
        return QuoteSession(pairs, self._numbers, channel=self._channel, limit=self._limit, reported=self._reported)

    def line(self, data: NumberedRows | SessionsEnded, connection: int) -> Inbound:
        """See :class:`recorder.collectors.feed.Feed`."""
        if isinstance(data, NumberedRows):  # nearly always
            source = records.numbered_source(self.channel, connection, data.numbers)
            return Inbound(segment.encode(data.received_ns, source, data.frame, parsed=True), [])
        source, ends = records.ended_source(self.channel, connection), records.encode_ends(data.ends)
        return Inbound(segment.encode(self._clock.wall_ns(), source, ends, parsed=True), [])


class _NoOne:
    """Does nothing with what a stream of quotes tells: nothing can be promised or polled; trades report the status."""

    async def make(self, pairs: Collection[str]) -> None:
        pass

    async def acknowledged(self, pair: str, time_in_us: int | None) -> None:
        pass

    def take_over(self, pair: str) -> None:
        pass

    def hand_back(self, pair: str) -> None:
        pass

    async def report(
        self, source: str, system: str, upcoming_maintenance: list[dict[str, Any]], emergency: list[dict[str, Any]], /
    ) -> None:
        pass


def listeners(refresh_soon: Callable[[], None]) -> Listeners:
    """Return the collaborators of a stream of quotes: ``refresh_soon`` is called when Kraken does not know a pair."""
    no_one = _NoOne()
    return Listeners(no_one, no_one, no_one, refresh_soon)
