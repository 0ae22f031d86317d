"""Fetching of missing trades from REST Trades, in batches that go directly to the archive.

Trades that can be requested again need no journal: rows count as stored once they are archived. However a batch ends,
even by an error or a stop, the rows received so far are archived first. Both the daemon's repair and ``recorder
backfill`` use it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from recorder.archive.trades import TradeArchive
from recorder.clock import Clock
from recorder.core.ledger import Ledger
from recorder.core.model import Instrument, Trade
from recorder.core.repair_planning import Fill, Work
from recorder.core.trade_ids import Span, Spans
from recorder.errors import ExchangeError, Malformed
from recorder.ingest import odd_times
from recorder.ingest.quarantined_pairs import patiently
from recorder.kraken import records
from recorder.kraken.gap_fill import GapFill
from recorder.kraken.history_start import HistoryStart
from recorder.kraken.odd_rows import OddRow
from recorder.ops.metrics import Metrics
from recorder.runtime.exchange_client import Exchange
from recorder.runtime.waiting import to_the_end

BATCH_ROWS: Final = 50_000
"""Rows fetched before they are archived: few files, and little to fetch again after a crash."""
BATCH_S: Final = 30.0
"""Or this time, if any rows have come; then more urgent work has its turn. A batch without rows so far continues: it
would start again at the same place, and never get further at a slow pace."""


UNREAD_PAGES: Final = 3
"""Completely unreadable answers whose gaps are left for later; more of them mean that the exchange has changed its
answers."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Result of a batch: the number of rows archived, and the error that stopped it, if any.

    The gaps ``given_up`` were requested and not served, answers stepped over ``skipped`` ids, and rows ``odd`` for
    missing ids cannot be read. ``odd_times`` reports rows with impossible times.
    """

    rows: int
    skipped: tuple[Span, ...] = ()
    given_up: tuple[Span, ...] = ()
    odd: tuple[OddRow, ...] = ()
    problem: ExchangeError | None = None
    odd_times: tuple[odd_times.OddTimesReport, ...] = ()


class Fetcher:
    """Executes planned work for ``instruments`` (by pair).

    ``stored`` counts by pair the rows that it added to the archive, without those that other processes added.
    """

    def __init__(
        self,
        ledger: Ledger,
        archive: TradeArchive,
        exchange: Exchange,
        *,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._ledger = ledger
        self._archive = archive
        self._exchange = exchange
        self._instruments = instruments
        self._clock = clock
        self._metrics = metrics
        self.stored: Counter[str] = Counter()
        self._anew: set[str] = set()

    def plan_anew(self, pair: str) -> None:
        """End the current batch of ``pair`` after its next answer: the plan it was made for is outdated."""
        self._anew.add(pair)

    async def fetch(
        self,
        work: Work,
        *,
        attempts: Mapping[int, int] = MappingProxyType({}),
        received: Callable[[int], None] | None = None,
    ) -> Fetched:
        """Fetch one batch. ``attempts`` counts, by the first id of a gap, answers without it, to start further back.

        ``received`` is called after each answer with the number of rows received in the batch, which are not archived
        yet. Raises DiskError, StorageError. An unusable answer is reported in the result. If cancelled, it ends once
        the received rows are archived.
        """
        instrument = self._instruments.get(work.pair)
        if instrument is None:  # removed in the meantime
            return Fetched(0)
        asking = self._filling(work, instrument, attempts) if isinstance(work, Fill) else HistoryStart(work, instrument)
        rows, odd = list[Trade](), odd_times.OddTimes()
        reports: tuple[odd_times.OddTimesReport, ...] = ()
        problem: ExchangeError | None = None
        unread = 0
        until_s = self._clock.monotonic() + BATCH_S
        self._anew.discard(work.pair)
        try:
            while len(rows) < BATCH_ROWS and (not rows or self._clock.monotonic() < until_s):
                request = asking.request()
                if request is None or work.pair in self._anew or work.pair not in self._instruments:  # a live mapping
                    break
                try:
                    answer, page = await self._exchange.trades(request, work.pair)
                except Malformed:  # it must not block the other gaps of the pair
                    unread += 1
                    if not isinstance(asking, GapFill) or unread > UNREAD_PAGES or not asking.pass_over():
                        raise
                    continue
                fresh = asking.add_page(page)
                odd.check(fresh, answer.recv_ns, records.rest_source(request, work.pair))
                rows += fresh
                if received is not None:
                    received(len(rows))
        except ExchangeError as error:
            problem = error
        finally:
            if rows:
                reports = tuple(odd.reports())
                await to_the_end(self._keep(work.pair, rows))
        return Fetched(
            len(rows),
            tuple(asking.skipped),
            tuple(asking.given_up),
            tuple(asking.odd),
            odd_times=reports,
            problem=problem,
        )

    def _filling(self, work: Fill, instrument: Instrument, attempts: Mapping[int, int]) -> GapFill:
        missing = Spans(gap.span for gap in self._ledger.of(work.pair).gaps())
        missing.update(gap.span for gap in work.gaps)
        now_us = self._clock.wall_ns() // 1000
        return GapFill(work.gaps, instrument, attempts=attempts, missing=missing, now_us=now_us)

    async def _keep(self, pair: str, rows: list[Trade]) -> None:
        if self._ledger.of(pair).renumbered is not None:  # these are not the missing trades
            return
        await patiently(self._clock, lambda: asyncio.to_thread(self._store, pair, rows))
        disowned = self._ledger.of(pair).disowned
        self._ledger.observe_trades(row for row in rows if row.trade_id not in disowned)
        self._metrics.refilled.inc(len(rows))

    def _store(self, pair: str, rows: list[Trade]) -> None:
        self.stored[pair] += self._archive.append(pair, rows).count()
