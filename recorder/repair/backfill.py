"""Fetch the trades of a pair in a range of time, whatever of it is held already.

What is held says how far it has come, so it can be stopped at any moment and goes on from there, in this process or
another. Beside a daemon on the same archive both fetch what is missing, and the id decides.

On a disk that is low it ends. Were it to wait, it would take what a daemon beside it frees of raw segments; and who has
called it, a person or a script, should know that history needs a larger disk.
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
from recorder.kraken.parse import TradesPage
from recorder.repair.fetch_trades import Fetcher
from recorder.runtime.exchange_client import Exchange

ATTEMPTS: Final = 3
"""Attempts at a hole that bring nothing before it is left, each looking further back than the one before."""
FIRST_RETRY_S: Final = 5.0
TIDY_BATCHES: Final = 8
"""So many batches are archived before their files are merged: a long history would make thousands. Together they are
just enough for the next tier (archive/compaction.py)."""
LAST_RETRY_S: Final = 300.0
"""While the exchange cannot be reached it is tried again after 5 s, 10 s, … 5 min, for as long as it takes."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Ids of ``pair`` without a break: ``first_us`` is when the first was made, after ``to_us`` comes none of them."""

    pair: str
    span: Span
    first_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill has come: ids of the stretch that are stored or void, and why it waits, if it does.

    ``coming`` counts trades that have come and are not stored yet.
    """

    held: int
    coming: int = 0
    waiting: str = ""


class Backfill:
    """Backfills ``instruments`` (by pair). ``coverage`` is what the archive holds; the fetcher adds to it.

    ``tidy`` merges the small files of a pair, now and then, and ``room`` asks the archive's disk, before each batch.
    Both block, and are called in a thread.
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
        """Ask which ids were traded from ``from_us`` on before ``to_us`` (µs since 1970 UTC); None where none were.

        The last trade before the range belongs to it, because without it nobody can tell where the range begins. A
        ``from_us`` of 0 is the first trade of all. Takes a few requests. Raises ExchangeError; CheckFailed for a pair
        that is numbered anew, of which nothing that comes is what is missing.
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
        """Return what of ``stretch`` is neither in the archive now nor known to need no holding, lowest ids first."""
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

        ``tell`` hears of every step. Raises ExchangeError only for what asking again cannot mend, and DiskError where
        the disk is low: a batch and a merge fit into what is left below the mark, and a daemon's last drain.
        """
        attempts: Counter[int] = Counter()  # by the first id of what did not come
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
            fetched = await self._fetcher.fetch(work, attempts=attempts, came=_coming(held, tell))
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
        """Return the id of the last trade before ``to_us``; None where there is none."""
        page = await self._page(rest_api.trades(instrument, since_ns=str(to_us * 1000 - 1)), instrument.pair)
        later = [trade.trade_id for trade in page.trades if trade.time_us >= to_us]
        if later:
            return min(later) - 1 or None
        newest = await self._page(rest_api.trades(instrument), instrument.pair)
        return newest.trades[-1].trade_id if newest.trades else None

    async def _page(self, request: rest_api.Request, pair: str) -> TradesPage:
        """Ask until there is an answer, unless asking again cannot mend what is wrong."""
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
