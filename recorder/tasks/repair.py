"""Fill the holes between held ids from REST Trades, the newest first, one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from recorder.archive.append import TradeArchive
from recorder.clock import Clock
from recorder.core.ledger import Hole, Ledger
from recorder.core.model import Instrument, Trade
from recorder.core.plan import newest_first
from recorder.errors import ExchangeError, Retry
from recorder.kraken import parse
from recorder.kraken.refill import Refill
from recorder.net.http import Http
from recorder.ops.metrics import Metrics
from recorder.tasks.waiting import first_of

BATCH_ROWS: Final = 50_000
"""Rows fetched before they are archived: few files, and little to fetch again after a crash."""
FIRST_RETRY_S: Final = 5.0
LAST_RETRY_S: Final = 300.0
"""A hole that could not be filled is tried again after 5 s, 10 s, … 5 min. It is never given up."""

log = structlog.get_logger()


class Repair:
    """Watches the ledger for holes of ``instruments`` (by pair) and closes them."""

    def __init__(
        self,
        ledger: Ledger,
        archive: TradeArchive,
        http: Http,
        *,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._ledger = ledger
        self._archive = archive
        self._http = http
        self._instruments = instruments
        self._clock = clock
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._retry: dict[tuple[str, int], tuple[float, float]] = {}

    def hole_seen(self) -> None:
        """Look at the ledger soon."""
        self._wake.set()

    async def run(self) -> None:
        """Fill holes until cancelled."""
        while True:
            self._wake.clear()
            due_s = await self._round()
            await first_of(self._clock.sleep(due_s), self._wake.wait())

    async def _round(self) -> float:
        """Try every hole that is due; return seconds until the next one is."""
        holes = newest_first(hole for pair in self._instruments for hole in self._ledger.holes(pair))
        open_keys = {(hole.pair, hole.span.first) for hole in holes}
        self._retry = {key: value for key, value in self._retry.items() if key in open_keys}
        for hole in holes:
            not_before_s, wait_s = self._retry.get((hole.pair, hole.span.first), (0.0, FIRST_RETRY_S))
            if self._clock.monotonic() < not_before_s:
                continue
            if not await self._fill(hole):
                retry_s = self._clock.monotonic() + wait_s
                self._retry[hole.pair, hole.span.first] = (retry_s, min(LAST_RETRY_S, wait_s * 2))
        waits = [not_before_s - self._clock.monotonic() for not_before_s, _ in self._retry.values()]
        return max(0.0, min(waits, default=LAST_RETRY_S))

    async def _fill(self, hole: Hole) -> bool:
        """Fetch one hole as far as it goes; tell whether it is closed."""
        log.info("hole", pair=hole.pair, first_id=hole.span.first, last_id=hole.span.last, missing=len(hole.span))
        refill = Refill(hole, self._instruments[hole.pair])
        rows: list[Trade] = []
        problem: ExchangeError | None = None
        while (request := refill.request()) is not None:
            try:
                answer = await self._http.get(request)
                rows += refill.take(parse.trades_page(answer.result, hole.pair))
            except ExchangeError as error:
                self._metrics.rest_failed(error)
                problem = error
                break
            if len(rows) >= BATCH_ROWS:
                await self._keep(hole.pair, rows)
                rows = []
        await self._keep(hole.pair, rows)
        if not refill.missing:
            self._metrics.holes_closed.inc()
            log.info("hole closed", pair=hole.pair, first_id=hole.span.first, last_id=hole.span.last)
            return True
        reason = str(problem) if problem else "the exchange did not serve these ids"
        level = log.error if problem and problem.retry is Retry.NEVER else log.warning
        level("hole stays open", pair=hole.pair, missing=sum(map(len, refill.missing)), reason=reason)
        return False

    async def _keep(self, pair: str, rows: list[Trade]) -> None:
        """Archive rows, then count them as held: what can be asked for again needs no journal."""
        if rows:
            await asyncio.to_thread(self._archive.append, pair, rows)
            self._ledger.observe_trades(rows)
            self._metrics.refilled.inc(len(rows))
