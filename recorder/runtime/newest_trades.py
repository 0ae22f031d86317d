"""Pages of trades that are newer than what is held: where they begin, and what is journalled of them.

A page with news is journalled like a frame. It could be asked for again, but this way it is seen by live readers at
once and reaches the archive with the next drain, instead of as a small file a page.
"""

from __future__ import annotations

from typing import Final

from recorder.core.ledger import Ledger
from recorder.core.plausibility import SAME_US, is_time
from recorder.core.trade_ids import runs_of
from recorder.journal import segment
from recorder.kraken import records, rest_api
from recorder.kraken.parse import TradesPage
from recorder.net.http import HttpAnswer
from recorder.runtime.context import Context
from recorder.runtime.inbox import Inbound

OVERLAP_NS: Final = 1_000_000
"""How far before the last trade held to begin: REST's printed times lie up to 1.3 µs off, stamps are cut to µs."""


def newest_held(ledger: Ledger, pair: str, now_us: int) -> str | None:
    """Return ``since`` for a request of what is newer than all that is held; None, the newest page, where nothing is.

    So it is where the newest trade is stamped with a time at which it cannot have been made.
    """
    last_us = ledger.of(pair).last_us
    return None if last_us is None or not is_time(last_us, now_us) else str(last_us * 1000 - OVERLAP_NS)


async def fetch_newer(
    context: Context, ledger: Ledger, request: rest_api.Request, pair: str
) -> tuple[HttpAnswer, TradesPage]:
    """Ask for a page of ``pair``, and journal it if it has anything new. Raises ExchangeError.

    That is an id, or a trade made after all that is held, under whichever id: the exchange may count from 1 again.
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
    """Return the highest id on a page; 0 where there is none."""
    return page.trades[-1].trade_id if page.trades else 0
