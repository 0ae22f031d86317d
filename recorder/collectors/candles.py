"""Recording of candles from REST OHLC, every pair in every timeframe, before they leave the exchange's window.

Answers are journalled like frames, since a candle cannot be requested again once 720 later ones are committed. Only an
answer that could be read counts: an unreadable one is stored separately, noted, and requested again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from recorder.core.candle_schedule import CandleSchedule, HeldWindow, Series
from recorder.core.model import Instrument
from recorder.core.report_once import ReportOnce
from recorder.errors import ExchangeError, Retry, UnknownPair
from recorder.journal import segment
from recorder.kraken import ohlc_answers, records, rest_api
from recorder.kraken.ohlc_answers import CandleAnswer
from recorder.runtime.context import Context
from recorder.runtime.inbox import Inbound
from recorder.runtime.waiting import first_of

_US_PER_S: Final = 1_000_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Timeframes recorded for each pair, the minimum time between requests for a series, and the desired pace."""

    timeframes: Sequence[str]
    refresh_s: float
    per_s: float


class CandleCollector:
    """Requests the candles ``wanted`` of ``instruments`` (by pair, a live mapping).

    ``unknown`` is called with a pair that the exchange does not know; the pair is retried, at growing intervals, until
    :meth:`follow` removes it.
    """

    def __init__(
        self,
        context: Context,
        *,
        instruments: Mapping[str, Instrument],
        wanted: Wanted,
        unknown: Callable[[str], None],
    ) -> None:
        self._exchange = context.exchange
        self._inbox = context.inbox
        self._clock = context.clock
        self._metrics = context.metrics
        self._instruments = instruments
        self._timeframes = wanted.timeframes
        self._unknown = unknown
        self._schedule = CandleSchedule(refresh_s=wanted.refresh_s, per_s=wanted.per_s)
        self._reaches: dict[Series, HeldWindow] = {}
        self._wake = asyncio.Event()
        self._reported = ReportOnce()
        self.follow(instruments.values(), ())
        context.metrics.candle_slack.set_function(lambda: self._schedule.slack_s(self._now_s()))

    def follow(self, added: Iterable[Instrument], removed: Iterable[str]) -> None:
        """Start recording candles of the pairs ``added``, and stop those of the pairs ``removed``."""
        for pair in removed:
            for timeframe in self._timeframes:
                self._forget(Series(pair, timeframe))
        now_s = self._now_s()  # one time for all, so that series with the shortest window come first
        for instrument in added:
            for timeframe in self._timeframes:
                series = Series(instrument.pair, timeframe)
                if series not in self._schedule:
                    self._reaches[series] = HeldWindow(series.interval_s)
                    self._schedule.add(series, now_s, held_until_s=None)
        self._wake.set()

    def want(self, wanted: Wanted) -> None:
        """Change the candles to record: series that remain continue where they are."""
        self._timeframes = wanted.timeframes
        for series in self._schedule.series():
            if series.timeframe not in self._timeframes:
                self._forget(series)
        self._schedule.change(self._now_s(), refresh_s=wanted.refresh_s, per_s=wanted.per_s)
        self.follow(self._instruments.values(), ())

    async def run(self) -> None:
        """Request candles until cancelled."""
        while True:
            self._wake.clear()
            series = self._schedule.next(self._now_s())
            if series is not None:
                await self._turn(series)
            elif (wait_s := self._schedule.wait_s(self._now_s())) is None:
                await self._wake.wait()
            else:
                await first_of(self._clock.sleep(wait_s), self._wake.wait())

    async def _turn(self, series: Series) -> None:
        """Request one series, and return it to the schedule."""
        instrument = self._instruments.get(series.pair)
        if instrument is None:
            self._forget(series)
            return
        reach = self._reaches[series]
        since_s = reach.since_s()
        request = rest_api.ohlc(instrument, series.timeframe, since_s=since_s)
        try:
            read = functools.partial(ohlc_answers.parse_answer, pair=series.pair, timeframe=series.timeframe)
            answer, candles = await self._exchange.request(request, read, pair=series.pair)
        except ExchangeError as error:
            self._failed(series, error)
            return
        line = segment.encode(answer.recv_ns, records.rest_source(request, series.pair), answer.body)
        await self._inbox.put(Inbound(line, [], source="rest"))
        self._metrics.candle_answers.labels(series.timeframe).inc()
        for row in candles.odd:
            if self._reported.is_first(series, row.raw):
                log.error(
                    "candle stored but not understood", pair=series.pair, timeframe=series.timeframe, reason=row.reason
                )
        if _added(reach, candles, series, whole=since_s is None):
            # A pair that has never traded has no candle from before now.
            until_s = self._now_s() // reach.interval_s * reach.interval_s if reach.until_s is None else reach.until_s
            self._schedule.answered(series, self._now_s(), held_until_s=until_s)
        else:
            log.warning(
                "candles do not continue the stored ones; requesting all", pair=series.pair, timeframe=series.timeframe
            )
            self._schedule.failed(series, self._now_s())

    def _failed(self, series: Series, error: ExchangeError) -> None:
        self._schedule.failed(series, self._now_s())
        level = log.error if error.retry is Retry.NEVER else log.warning
        level("candles not fetched", pair=series.pair, timeframe=series.timeframe, reason=str(error))
        if isinstance(error, UnknownPair):
            self._unknown(series.pair)

    def _forget(self, series: Series) -> None:
        self._schedule.remove(series)
        self._reaches.pop(series, None)

    def _now_s(self) -> float:
        return self._clock.wall_ns() / 1e9


def _added(reach: HeldWindow, candles: CandleAnswer, series: Series, *, whole: bool) -> bool:
    """Add an answer to the window of its series; return whether it continues the stored candles.

    An unreadable row counts as well: it is stored as received, and would be the same in the next answer.
    """
    if candles.first_us is None or candles.last_us is None:
        return reach.take_none(whole=whole)
    first_s = candles.first_us // _US_PER_S
    until_s = candles.last_us // _US_PER_S + reach.interval_s
    if whole and reach.until_s is not None and first_s > reach.until_s:
        log.error(
            "candles lost: the exchange no longer serves them",
            pair=series.pair,
            timeframe=series.timeframe,
            missing=(first_s - reach.until_s) // reach.interval_s,
        )
    return reach.take(first_s, until_s, whole=whole)
