"""Fetch what is newer than the last trade held of a pair: for one that traded unheard.

The answers are journalled, as polled ones are (:mod:`recorder.tasks.poll`), so that live readers see them at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from recorder.core.ledger import Ledger, runs
from recorder.core.model import Instrument
from recorder.errors import ExchangeError, Malformed
from recorder.journal import segment
from recorder.kraken import parse, rest
from recorder.kraken.parse import TradesPage
from recorder.net.http import Http
from recorder.ops.metrics import Metrics
from recorder.tasks.inbox import Inbound, Inbox
from recorder.tasks.notes import Notes
from recorder.tasks.poll import OVERLAP_NS

log = structlog.get_logger()


class Tail:
    """Fetches the newest trades of ``instruments`` (by pair, live)."""

    def __init__(
        self,
        ledger: Ledger,
        inbox: Inbox,
        http: Http,
        *,
        instruments: Mapping[str, Instrument],
        notes: Notes,
        metrics: Metrics,
    ) -> None:
        self._ledger = ledger
        self._inbox = inbox
        self._http = http
        self._instruments = instruments
        self._notes = notes
        self._metrics = metrics

    async def behind(self, pair: str) -> int | None:
        """Fetch up to the newest trade; return the highest id that is held or was fetched, None where that failed.

        At most two requests: if the first page from the last trade held on is full, the newest page comes next, and
        what lies between them is a hole between held ids, which the repair fetches.
        """
        instrument = self._instruments.get(pair)
        if instrument is None:  # delisted meanwhile
            return None
        account = self._ledger.of(pair)
        since_ns = None if account.last_us is None else str(max(0, account.last_us * 1000 - OVERLAP_NS))
        newest = account.spans.last or 0
        try:
            page = await self._page(rest.trades(instrument, since_ns=since_ns), pair)
            newest = max(newest, _highest(page))
            if since_ns is not None and len(page.trades) >= rest.PAGE_LIMIT:
                newest = max(newest, _highest(await self._page(rest.trades(instrument), pair)))
        except ExchangeError as error:
            self._metrics.rest_failed(error)
            log.warning("tail not fetched", pair=pair, reason=str(error))
            return None
        return newest

    async def _page(self, request: rest.Request, pair: str) -> TradesPage:
        """Ask for one page, and journal it if it has news."""
        answer = await self._http.get(request)
        try:
            page = parse.trades_page(answer.result, pair)
        except Malformed as error:
            error.body = answer.body
            await self._notes.unreadable(request, error, pair=pair)
            raise
        held = self._ledger.of(pair).spans
        if any(trade.trade_id not in held for trade in page.trades):
            line = segment.encode(answer.recv_ns, parse.poll_source(request, pair), answer.body)
            await self._inbox.put(Inbound(line, runs(page.trades)))
        return page


def _highest(page: TradesPage) -> int:
    return page.trades[-1].trade_id if page.trades else 0
