"""Fetching of the trades of a pair in a time range, except those stored already.

The stored trades record the progress, so it can be stopped at any time and continues from there, in this process or
another. Beside a daemon on the same archive, both fetch what is missing, and the id decides.

It ends when the disk is low. If it waited, it would use up the space that a daemon frees by removing raw segments; and
its caller, a person or a script, should know that history needs a larger disk.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from recorder.archive.coverage import Coverage
from recorder.clock import Clock
from recorder.core.backoff import GrowingDelay
from recorder.core.disk_limits import require
from recorder.core.ledger import History, Ledger
from recorder.core.model import Instrument
from recorder.core.repair_planning import TOGETHER, Fill
from recorder.core.trade_ids import Gap, Span
from recorder.disk import Room, undisturbed
from recorder.errors import CheckFailed, ExchangeError, Retry
from recorder.kraken import rest_api
from recorder.kraken.history_start import HistoryStart
from recorder.kraken.trade_pages import TradesPage
from recorder.repair.fetch_trades import Fetcher
from recorder.runtime.exchange_client import Exchange

ATTEMPTS: Final = 3
"""Attempts at a hole without result before it is left, each starting further back than the one before."""
FIRST_RETRY_S: Final = 5.0
TIDY_BATCHES: Final = 8
"""Batches archived before their files are merged: a long history would create thousands of files. Together they are
just enough for the next tier (archive/compaction.py)."""
LAST_RETRY_S: Final = 300.0
"""An unreachable exchange is tried again after 5 s, 10 s, … 5 min, without end."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """An unbroken range of ids of ``pair``: the first was made at ``first_us``, and all before ``to_us``."""

    pair: str
    span: Span
    first_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a backfill: ids of the stretch that are stored or void, and the reason if it waits.

    ``coming`` counts trades received and not stored yet.
    """

    held: int
    coming: int = 0
    waiting: str = ""


class Backfill:
    """Backfills ``instruments`` (by pair). ``coverage`` is that of the archive; the fetcher adds to it.

    ``tidy`` merges the small files of a pair from time to time, and ``room`` measures the archive's disk before each
    batch. Both block, and are called in a thread.
    """

    def __init__(
        self,
        ledger: Ledger,
        coverage: Coverage,
        fetcher: Fetcher,
        exchange: Exchange,
        *,
        instruments: Mapping[str, Instrument],
        tidy: Callable[[str], None],
        room: Callable[[], Room],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._coverage = coverage
        self._fetcher = fetcher
        self._exchange = exchange
        self._instruments = instruments
        self._tidy = tidy
        self._room = room
        self._clock = clock

    async def find(self, pair: str, from_us: int, to_us: int) -> Stretch | None:
        """Find the ids traded from ``from_us`` on before ``to_us`` (µs since 1970 UTC); None if there are none.

        The last trade before the range is included, because without it the beginning of the range is unknown. A
        ``from_us`` of 0 is the first trade of all. Sends a few requests. Raises ExchangeError; CheckFailed for a
        renumbered pair, whose new trades are not the missing ones.
        """
        if self._ledger.of(pair).renumbered is not None:
            raise CheckFailed(
                f"the exchange numbers {pair} anew: `recorder status` says what to do before it is fetched"
            )
        instrument = self._instruments[pair]
        last_id = await self._last_before(instrument, to_us)
        if last_id is None:
            return None
        reach = HistoryStart(History(pair, from_us, last_id + 1, to_us), instrument)
        while (request := reach.request()) is not None:
            rows = reach.add_page(await self._page(request, pair))
            if rows:
                return Stretch(pair, Span(rows[0].trade_id, last_id), rows[0].time_us, to_us)
        return None

    def missing(self, stretch: Stretch) -> list[Gap]:
        """Return the gaps of ``stretch`` neither archived now nor known to be absent, lowest ids first."""
        pair = stretch.pair
        undisturbed(lambda: self._coverage.observe_into(self._ledger, pair), f"the files of {pair}")
        account = self._ledger.of(pair)
        return [
            Gap(
                pair,
                part,
                after_us=stretch.first_us if absent.first == stretch.span.first else account.time_us(absent.first - 1),
                before_us=stretch.to_us if absent.last == stretch.span.last else account.time_us(absent.last + 1),
            )
            for absent in account.spans.missing(stretch.span)
            for part in account.absent().settled().missing(absent)
        ]

    async def fill(self, stretch: Stretch, tell: Callable[[Progress], None]) -> list[Span]:
        """Fetch what is missing of ``stretch``; return what the exchange did not serve.

        ``tell`` is called at every step. Raises ExchangeError only if a retry cannot help, and DiskError if the disk is
        low: a batch and a merge, and a daemon's last drain, fit into the space left below that limit.
        """
        attempts: Counter[int] = Counter()  # by the first id of a gap that was not served
        batches, wait = 0, GrowingDelay(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            holes = self.missing(stretch)
            held = len(stretch.span) - sum(len(hole.span) for hole in holes)
            tell(Progress(held))
            left = tuple(hole for hole in holes if attempts[hole.span.first] < ATTEMPTS)
            if not left:
                await asyncio.to_thread(self._tidy, stretch.pair)
                return [hole.span for hole in holes]
            room = await asyncio.to_thread(self._room)
            stopped = f"{stretch.pair}: stopped at {held:,} of {len(stretch.span):,} trades"
            require(room.free, room.total, stopped=stopped)
            work = Fill(stretch.pair, left[:TOGETHER])
            fetched = await self._fetcher.fetch(work, attempts=attempts, received=_coming(held, tell))
            attempts.update(span.first for span in fetched.given_up)
            if fetched.problem is not None and fetched.problem.retry is Retry.NEVER:
                raise fetched.problem
            if fetched.rows:
                batches += 1
                wait.reset()
                if batches % TIDY_BATCHES == 0:
                    await asyncio.to_thread(self._tidy, stretch.pair)
            elif fetched.problem is not None:
                tell(Progress(held, waiting=str(fetched.problem)))
                await self._clock.sleep(wait.failed())

    async def _last_before(self, instrument: Instrument, to_us: int) -> int | None:
        """Return the id of the last trade before ``to_us``; None if there is none."""
        page = await self._page(rest_api.trades(instrument, since_ns=str(to_us * 1000 - 1)), instrument.pair)
        later = [trade.trade_id for trade in page.trades if trade.time_us >= to_us]
        if later:
            return min(later) - 1 or None
        newest = await self._page(rest_api.trades(instrument), instrument.pair)
        return newest.trades[-1].trade_id if newest.trades else None

    async def _page(self, request: rest_api.Request, pair: str) -> TradesPage:
        """Request a page until there is an answer, unless a retry cannot help."""
        wait = GrowingDelay(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            try:
                _, page = await self._exchange.trades(request, pair)
            except ExchangeError as error:
                if error.retry is Retry.NEVER:
                    raise
                await self._clock.sleep(wait.failed())
            else:
                return page


def _coming(held: int, tell: Callable[[Progress], None]) -> Callable[[int], None]:
    return lambda rows: tell(Progress(held, coming=rows))
