"""Anchors: finds the id after which the promise of each pair begins, and retries until it is known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from recorder.core.backoff import GrowingDelay
from recorder.core.evidence import Anchored
from recorder.core.ledger import Ledger
from recorder.core.model import Instrument
from recorder.errors import ExchangeError
from recorder.kraken.anchor_search import AnchorSearch
from recorder.repair.catch_up import CatchUpFetcher
from recorder.runtime.context import Context
from recorder.runtime.waiting import first_of

FIRST_RETRY_S: Final = 5.0
LAST_RETRY_S: Final = 300.0
"""A search that failed or proved nothing is repeated after 5 s, 10 s, … 5 min, without end."""
GRACE_S: Final = 5.0
"""By this time after a search, trades that it showed have come by the stream too, if at all: a snapshot is pending."""
EVERY_S: Final = 60.0
"""Interval of checks for pairs without anchor, whatever noted their promise: a merge by another process, for
example."""

log = structlog.get_logger()


class Anchors:
    """Searches the anchors of ``instruments`` (by pair, live), one pair after the other.

    ``promised`` is set whenever there are new promises. If a search shows newer trades than are stored, ``catch_up``
    fetches them: a subscription that is silent from the start would miss them.
    """

    def __init__(
        self,
        ledger: Ledger,
        context: Context,
        *,
        instruments: Mapping[str, Instrument],
        promised: asyncio.Event,
        catch_up: CatchUpFetcher,
    ) -> None:
        self._ledger = ledger
        self._exchange = context.exchange
        self._notes = context.notes
        self._clock = context.clock
        self._instruments = instruments
        self._promised = promised
        self._catch_up_fetcher = catch_up
        self._waits: dict[str, GrowingDelay] = {}
        self._due_s: dict[str, float] = {}

    async def run(self) -> None:
        """Search until cancelled."""
        while True:
            self._promised.clear()
            shown: dict[str, int] = {}
            for pair in self._lacking():
                if self._due_s.get(pair, 0.0) <= self._clock.monotonic():
                    shown[pair] = await self._look(pair)
            await self._catch_up(shown)
            due_s = min((self._due_s.get(pair, 0.0) for pair in self._lacking()), default=float("inf"))
            wait_s = min(EVERY_S, max(0.0, due_s - self._clock.monotonic()))
            await first_of(self._clock.sleep(wait_s), self._promised.wait())

    def _lacking(self) -> list[str]:
        promises = {pair: self._ledger.of(pair).promise for pair in self._instruments}
        return [pair for pair, promise in promises.items() if promise is not None and promise.after_id is None]

    async def _catch_up(self, shown: Mapping[str, int]) -> None:
        """Fetch trades that answers have shown and that are not stored: for each pair up to the highest id."""
        if any(shown.values()):
            await self._clock.sleep(GRACE_S)
        for pair, highest in shown.items():
            newest = self._ledger.of(pair).newest()
            if newest is not None and highest > newest[0]:
                await self._catch_up_fetcher.fetch_newest(pair)

    async def _look(self, pair: str) -> int:
        """Search once for the anchor of ``pair``, and schedule a retry if it is not found.

        Return the highest id shown, 0 if there is none.
        """
        instrument, promise = self._instruments.get(pair), self._ledger.of(pair).promise
        if instrument is None or promise is None:  # removed in the meantime
            return 0
        reason = "no answer has trades from both sides of the promise"
        look, highest = AnchorSearch(promise.time_us, instrument), 0
        try:
            while (request := look.request()) is not None:
                _, page = await self._exchange.trades(request, pair)
                look.add_page(page)
                highest = max([highest, *(trade.trade_id for trade in page.trades)])
        except ExchangeError as error:
            reason = str(error)
        if look.after_id is None:
            wait_s = self._waits.setdefault(pair, GrowingDelay(FIRST_RETRY_S, LAST_RETRY_S)).failed()
            self._due_s[pair] = self._clock.monotonic() + wait_s
            log.warning("the beginning of a pair is not known yet", pair=pair, reason=reason, retry_in_s=round(wait_s))
            return 0
        self._waits.pop(pair, None)
        self._due_s.pop(pair, None)
        await self._notes.durable_evidence([Anchored(pair, promise.time_us, look.after_id)])
        return highest
