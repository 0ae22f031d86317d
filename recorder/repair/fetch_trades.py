"""Fetch from REST Trades what is missing, a batch at a time, straight into the archive.

What can be asked for again needs no journal: rows count as held once they are archived. However a batch ends, be it
with an error or because the process is asked to stop, what has come of it is archived first. The daemon's repair and
``recorder backfill`` both fetch so.
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
from recorder.kraken.parse import OddRow
from recorder.ops.metrics import Metrics
from recorder.runtime.exchange_client import Exchange
from recorder.runtime.waiting import to_the_end

BATCH_ROWS: Final = 50_000
"""Rows fetched before they are archived: few files, and little to fetch again after a crash."""
BATCH_S: Final = 30.0
"""Or so long, if any have come; then whatever is more urgent has its turn. What has found nothing yet goes on: it would
begin anew at the same place, and at a slow pace never get further."""


UNREAD_PAGES: Final = 3
"""So many answers of which nothing can be read leave their gaps for later; with more it is no odd page: the exchange
answers otherwise than it did."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one batch brought: rows archived, and what stopped it, if anything did.

    ``given_up`` of the gaps was asked for and did not come, answers stepped over ``skipped``, and had rows for missing
    ids, ``odd``, that cannot be read. ``odd_times`` tells of rows that cannot have been made when they are stamped.
    """

    rows: int
    skipped: tuple[Span, ...] = ()
    given_up: tuple[Span, ...] = ()
    odd: tuple[OddRow, ...] = ()
    problem: ExchangeError | None = None
    odd_times: tuple[odd_times.OddTimesReport, ...] = ()


class Fetcher:
    """Carries out work of the plan for ``instruments`` (by pair).

    ``stored`` counts by pair the rows that it has added to the archive; those that others had added are not counted.
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
        """Let a batch of ``pair`` that is under way end after its next answer: it was planned for what is no more."""
        self._anew.add(pair)

    async def fetch(
        self,
        work: Work,
        *,
        attempts: Mapping[int, int] = MappingProxyType({}),
        came: Callable[[int], None] | None = None,
    ) -> Fetched:
        """Fetch one batch. ``attempts`` counts, by the first id of a gap, answers without it: it looks further back.

        ``came`` hears after each answer how many rows of the batch have come; they are not archived yet. Raises
        DiskError, StorageError. An answer that cannot be used is told in the result. Cancelled, it ends once what has
        come is archived.
        """
        instrument = self._instruments.get(work.pair)
        if instrument is None:  # it has left meanwhile
            return Fetched(0)
        asking = self._filling(work, instrument, attempts) if isinstance(work, Fill) else HistoryStart(work, instrument)
        rows, odd = list[Trade](), odd_times.OddTimes()
        told: tuple[odd_times.OddTimesReport, ...] = ()
        problem: ExchangeError | None = None
        unread = 0
        until_s = self._clock.monotonic() + BATCH_S
        self._anew.discard(work.pair)
        try:
            while len(rows) < BATCH_ROWS and (not rows or self._clock.monotonic() < until_s):
                request = asking.request()
                if request is None or work.pair in self._anew or work.pair not in self._instruments:  # which is live
                    break
                try:
                    answer, page = await self._exchange.trades(request, work.pair)
                except Malformed:  # others of the pair's gaps must not stand still behind it
                    unread += 1
                    if not isinstance(asking, GapFill) or unread > UNREAD_PAGES or not asking.pass_over():
                        raise
                    continue
                fresh = asking.add_page(page)
                odd.check(fresh, answer.recv_ns, records.rest_source(request, work.pair))
                rows += fresh
                if came is not None:
                    came(len(rows))
        except ExchangeError as error:
            problem = error
        finally:
            if rows:
                told = tuple(odd.reports())
                await to_the_end(self._keep(work.pair, rows))
        return Fetched(
            len(rows), tuple(asking.skipped), tuple(asking.given_up), tuple(asking.odd), odd_times=told, problem=problem
        )

    def _filling(self, work: Fill, instrument: Instrument, attempts: Mapping[int, int]) -> GapFill:
        missing = Spans(gap.span for gap in self._ledger.of(work.pair).gaps())
        missing.update(gap.span for gap in work.gaps)
        now_us = self._clock.wall_ns() // 1000
        return GapFill(work.gaps, instrument, attempts=attempts, missing=missing, now_us=now_us)

    async def _keep(self, pair: str, rows: list[Trade]) -> None:
        if self._ledger.of(pair).renumbered is not None:  # these are not the trades that are missing
            return
        await patiently(self._clock, lambda: asyncio.to_thread(self._store, pair, rows))
        disowned = self._ledger.of(pair).disowned
        self._ledger.observe_trades(row for row in rows if row.trade_id not in disowned)
        self._metrics.refilled.inc(len(rows))

    def _store(self, pair: str, rows: list[Trade]) -> None:
        self.stored[pair] += self._archive.append(pair, rows).count()
