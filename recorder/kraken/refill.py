"""Fetch one hole from REST Trades: which page to ask for next, and what an answer proves.

Pages overlap the trade before the hole, rows are taken by id, and only held ids close a hole: so it does not
matter whether ``since`` is inclusive or exclusive, whether a page was capped, or what ``last`` says (API.md 6.7).
"""

from __future__ import annotations

from typing import Final

from recorder.core.ledger import Hole
from recorder.core.model import Instrument, Span, Trade
from recorder.core.spans import Spans
from recorder.kraken import rest
from recorder.kraken.parse import TradesPage

OVERLAPS_NS: Final = (1_000_000, 1_000_000_000, 60_000_000_000)
"""How far before the last held trade to begin: 1 ms covers REST's printed doubles (119 ns off) and stamps cut to
µs. Where a page steps over ids that must lie earlier, a second, and then a minute, are tried."""
FRUITLESS_PAGES: Final = 3
"""So many answers in a row without a missing id end the attempt: the hole stays open and is tried again later."""


class Refill:
    """One attempt at one hole of ``instrument``."""

    def __init__(self, hole: Hole, instrument: Instrument) -> None:
        self.hole = hole
        self._instrument = instrument
        self._found = Spans()
        self._overlap = 0
        self._fruitless = 0
        self._since_ns = self._start()

    @property
    def missing(self) -> list[Span]:
        """What of the hole has not been found yet."""
        return self._found.missing(self.hole.span)

    def request(self) -> rest.Request | None:
        """Return the next request; None when all is found, or when this attempt has no way on."""
        if not self.missing or self._fruitless >= FRUITLESS_PAGES or self._overlap >= len(OVERLAPS_NS):
            return None
        return rest.trades(self._instrument, since_ns=self._since_ns)

    def take(self, page: TradesPage) -> list[Trade]:
        """Take one answer; return its rows that were missing, in ascending id."""
        fresh: list[Trade] = []
        for trade in page.trades:
            if trade.trade_id in self.hole.span and trade.trade_id not in self._found:
                self._found.add(Span(trade.trade_id, trade.trade_id))
                fresh.append(trade)
        self._fruitless = 0 if fresh else self._fruitless + 1
        self._advance(page)
        return fresh

    def _advance(self, page: TradesPage) -> None:
        missing = self.missing
        if not missing:
            return
        if page.trades and page.trades[-1].trade_id > missing[0].last:
            # The page begins behind ids it should hold, or steps over them: look from further back.
            self._overlap += 1
            if self._overlap < len(OVERLAPS_NS):
                self._since_ns = self._start()
            return
        following = page.last
        if following is None and page.trades:
            # Last resort (API.md 6.7): the newest row's own time, which may lie a little late, and so begins earlier.
            following = str(page.trades[-1].time_us * 1000 - 1000)
        if following is None:
            self._fruitless = FRUITLESS_PAGES  # nothing at all came: the exchange has no more
        elif following == self._since_ns and len(page.trades) >= rest.PAGE_LIMIT:
            # A whole page inside one nanosecond: never seen, and the only way on is to step.
            self._since_ns = str(int(following) + 1)
        elif following.isdecimal() and int(following) >= int(self._since_ns):
            self._since_ns = following
        else:
            self._fruitless += 1

    def _start(self) -> str:
        """Return where to begin: the overlap before the trade that precedes the first missing id."""
        return str(max(0, self.hole.after_us * 1000 - OVERLAPS_NS[self._overlap]))
