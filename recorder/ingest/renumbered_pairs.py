"""Supervision of pairs that the exchange has renumbered, until their ids can be compared again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

import structlog

from recorder.archive import renumbering
from recorder.archive.quarantine import QuarantinedRow
from recorder.archive.trades import TradeArchive
from recorder.core.backoff import GrowingDelay
from recorder.core.evidence import Renumbered
from recorder.core.ledger import Ledger
from recorder.core.model import Instrument, Trade
from recorder.core.plausibility import is_same
from recorder.errors import CorruptLine, ExchangeError, Malformed, StorageError, UnreadableFile
from recorder.journal import segment
from recorder.kraken import records, rest_api
from recorder.runtime.context import Context
from recorder.runtime.newest_trades import OVERLAP_NS

ROUND_S: Final = 60.0
"""Interval of checks whether a pair's folder has been moved away, in seconds."""
RETRY_S: Final = 60.0
LAST_RETRY_S: Final = 3600.0
"""REST is asked again after 1 min, 2 min, … up to an hour: a relisting is permanent."""

log = structlog.get_logger()


class RenumberedPairs:
    """Supervises ``instruments`` (by pair, live). ``settled`` is called with pairs whose account must be read again."""

    def __init__(
        self,
        ledger: Ledger,
        archive: TradeArchive,
        context: Context,
        *,
        instruments: Mapping[str, Instrument],
        settled: Callable[[Collection[str]], None],
        round_s: float = ROUND_S,
    ) -> None:
        self._ledger = ledger
        self._archive = archive
        self._exchange = context.exchange
        self._clock = context.clock
        self._instruments = instruments
        self._settled = settled
        self._round_s = round_s
        self._waits: dict[str, tuple[GrowingDelay, float]] = {}
        context.metrics.renumbered.set_function(lambda: len(self._renumbered()))

    async def run(self) -> None:
        """Check at intervals until cancelled."""
        while True:
            renumbered = self._renumbered()
            self._waits = {pair: wait for pair, wait in self._waits.items() if pair in renumbered}
            for pair, found in renumbered.items():
                try:
                    if await asyncio.to_thread(self._begin_anew, pair, found) or await self._is_resolved(pair, found):
                        self._settled([pair])
                except (StorageError, UnreadableFile) as error:
                    log.error("renumbered pair not checked", pair=pair, reason=str(error))
            await self._clock.sleep(self._round_s)

    def _renumbered(self) -> dict[str, Renumbered]:
        found = {pair: self._ledger.of(pair).renumbered for pair in list(self._ledger)}
        return {pair: one for pair, one in found.items() if one is not None}

    def _begin_anew(self, pair: str, found: Renumbered) -> bool:
        added = renumbering.begin_anew(self._archive, pair, found, quarantined_trades, now_us=self._now_us())
        if added is None:
            return False
        log.warning(
            "renumbered pair started again",
            pair=pair,
            rows=added.count(),
            reason="its folder was moved out of the archive",
        )
        return True

    async def _is_resolved(self, pair: str, found: Renumbered) -> bool:
        """Ask REST, if due, and return whether it shows the stored trades again."""
        growing, due_s = self._waits.get(pair, (GrowingDelay(RETRY_S, LAST_RETRY_S), 0.0))
        instrument = self._instruments.get(pair)
        if instrument is None or due_s > self._clock.monotonic():
            return False
        self._waits[pair] = growing, self._clock.monotonic() + growing.failed()
        stored = await asyncio.to_thread(self._archive.stored, pair, found.span.first)
        if stored is None:
            return False
        request = rest_api.trades(instrument, since_ns=str(stored.time_us * 1000 - OVERLAP_NS))
        try:
            _, page = await self._exchange.trades(request, pair)
        except ExchangeError as error:
            log.warning("renumbered pair not requested", pair=pair, reason=str(error))
            return False
        if not any(row.trade_id == stored.trade_id and is_same(row, stored) for row in page.trades):
            return False
        await asyncio.to_thread(renumbering.settle, self._archive, pair, now_us=self._now_us(), anew=False)
        log.warning("pair numbered as stored again", pair=pair, trade_id=stored.trade_id)
        return True

    def _now_us(self) -> int:
        return self._clock.wall_ns() // 1000


def quarantined_trades(kept: QuarantinedRow) -> Iterator[Trade]:
    """Yield the trades in a line of the quarantine; none if the line is no longer valid."""
    try:
        yield from records.trades(segment.decode(kept.line))
    except (CorruptLine, Malformed) as error:  # the line was edited, and stays for people to inspect
        log.error("line in quarantine not understood", pair=kept.pair, reason=str(error))
