"""Requests for trades newer than those stored: where a page begins, and which pages are journalled.

A page with new trades is journalled like a frame. It could be requested again, but this way live readers see it at
once, and it reaches the archive with the next drain instead of as one small file per page.
"""

from __future__ import annotations

from typing import Final

from recorder.core.ledger import Ledger
from recorder.core.plausibility import SAME_US, is_time
from recorder.core.trade_ids import runs_of
from recorder.journal import segment
from recorder.kraken import records, rest_api
from recorder.kraken.trade_pages import TradesPage
from recorder.net.http import HttpAnswer
from recorder.runtime.context import Context
from recorder.runtime.inbox import Inbound

OVERLAP_NS: Final = 1_000_000
"""Start this long before the last stored trade: times printed by REST are off by up to 1.3 µs, ours are cut to µs."""


def newest_held(ledger: Ledger, pair: str, now_us: int) -> str | None:
    """Return ``since`` for a request of all trades newer than those stored; None requests the newest page.

    None if no trade is stored, or if the newest one has an impossible time.
    """
    last_us = ledger.of(pair).last_us
    return None if last_us is None or not is_time(last_us, now_us) else str(last_us * 1000 - OVERLAP_NS)


async def fetch_newer(
    context: Context, ledger: Ledger, request: rest_api.Request, pair: str
) -> tuple[HttpAnswer, TradesPage]:
    """Request a page of ``pair``, and journal it if it brings anything new. Raises ExchangeError.

    New is an id that is not stored, or a trade made after all stored ones whatever its id: the exchange may count from
    1 again.
    """
    answer, page = await context.exchange.trades(request, pair)
    account = ledger.of(pair)
    newest_us = max((row.time_us for row in page.trades), default=0)
    later = account.last_us is not None and newest_us > max(account.last_us, account.aside_us) + SAME_US
    if later or any(row.trade_id not in account.spans and row.trade_id not in account.disowned for row in page.trades):
        account.aside_us = newest_us if later else account.aside_us
        line = segment.encode(answer.recv_ns, records.rest_source(request, pair), answer.body)
        await context.inbox.put(Inbound(line, runs_of(page.trades), source="rest"))
    if page.trades:
        account.shown_id = max(account.shown_id, page.trades[-1].trade_id)
    return answer, page


def highest(page: TradesPage) -> int:
    """Return the highest id on a page; 0 if it is empty."""
    return page.trades[-1].trade_id if page.trades else 0
