"""Requests for trades newer than the last stored one, of pairs that are behind, or to confirm that none came.

Answers are journalled, as polled ones are (:mod:`recorder.runtime.newest_trades`), so that live readers see them at
once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from recorder.core.evidence import Confirmed
from recorder.core.ledger import Ledger
from recorder.core.model import Instrument
from recorder.errors import ExchangeError
from recorder.kraken import rest_api
from recorder.runtime.context import Context
from recorder.runtime.newest_trades import fetch_newer, highest, newest_held

CLOCK_S: Final = 60
"""An answer is only valid for a time this long before its receipt: it may take half a minute, or come from a cache."""
_US_PER_S: Final = 1_000_000

log = structlog.get_logger()


class CatchUpFetcher(Protocol):
    """Fetches trades newer than the last stored one."""

    async def fetch_newest(self, pair: str) -> int | None:
        """Fetch up to the newest trade; return the highest id stored or fetched, None on failure."""
        ...


class CatchUp:
    """Fetches the newest trades of ``instruments`` (by pair, live)."""

    def __init__(self, ledger: Ledger, context: Context, *, instruments: Mapping[str, Instrument]) -> None:
        self._ledger = ledger
        self._context = context
        self._instruments = instruments

    async def fetch_newest(self, pair: str) -> int | None:
        """Fetch up to the newest trade; return the highest id stored or fetched, None on failure.

        At most two requests: if the first page from the last stored trade on is full, or does not even contain that
        trade, the newest page follows, and the trades between them are a hole between stored ids, which the repair
        fetches.
        """
        instrument = self._instruments.get(pair)
        if instrument is None:  # delisted in the meantime
            return None
        since_ns = newest_held(self._ledger, pair, self._now_us())
        newest = self._ledger.of(pair).spans.last or 0
        try:
            _, page = await fetch_newer(
                self._context, self._ledger, rest_api.trades(instrument, since_ns=since_ns), pair
            )
            astray = highest(page) < newest  # the page began at the newest stored trade, and should contain it
            newest = max(newest, highest(page))
            if since_ns is not None and (astray or page.rows >= rest_api.PAGE_LIMIT):
                _, page = await fetch_newer(self._context, self._ledger, rest_api.trades(instrument), pair)
                newest = max(newest, highest(page))
        except ExchangeError as error:
            log.warning("newest trades not fetched", pair=pair, reason=str(error))
            return None
        return newest

    async def confirm(self, pair: str) -> bool:
        """Request trades after the newest known one, and note it if there are none; return whether that was so.

        Only an answer that ends with this trade and had room for more proves it, and only until the earlier of the
        server's and the host's time: a clock that is ahead must not confirm a time that has not come. For a pair that
        has not traded since it was promised, the newest known trade is the anchor of the promise.
        """
        instrument, newest = self._instruments.get(pair), self._ledger.of(pair).newest()
        if instrument is None or newest is None or self._ledger.of(pair).renumbered is not None:
            return False
        last_id, _ = newest
        held, since_ns = last_id == self._ledger.of(pair).spans.last, None
        try:
            if held:
                since_ns = newest_held(self._ledger, pair, self._now_us())
                request = rest_api.trades(instrument, since_ns=since_ns)
                answer, page = await fetch_newer(self._context, self._ledger, request, pair)
            else:  # the newest trade alone, which need not be stored if it is the anchor
                answer, page = await self._context.exchange.trades(rest_api.trades(instrument, count=1), pair)
        except ExchangeError as error:
            log.warning("not confirmed", pair=pair, reason=str(error))
            return False
        if not held and highest(page) > last_id:
            await self.fetch_newest(pair)
        if (
            answer.date_s is None
            or page.ends_oddly
            or highest(page) != last_id
            or self._ledger.of(pair).newest() != newest
        ):
            return False
        if since_ns is not None and page.rows >= rest_api.PAGE_LIMIT:
            return False  # trades at the same time may follow on the next page
        until_us = min(answer.date_s * _US_PER_S, answer.recv_ns // 1000) - CLOCK_S * _US_PER_S
        await self._context.notes.evidence(Confirmed(pair, last_id, until_us))
        return True

    def _now_us(self) -> int:
        return self._context.clock.wall_ns() // 1000
