"""Fetch one hole from REST Trades: which page to ask for next, and what an answer proves.

Only ids that were given close a hole, so a wrong guess here costs a request and never a trade. The guesses must
hold whether ``since`` is inclusive or exclusive, however short pages are cut, whatever ``last`` says, and where
many trades share one nanosecond (API.md 6.7)::

    each page begins at or before the row that the previous one ended with, so that pages touch by id;
    ids that a page steps over, though it carries rows on both sides of them, are given up for this attempt;
    ids that lie before a page begins are looked for from further back, and given up after the furthest.
"""

from __future__ import annotations

from typing import Final

from recorder.core.ledger import Hole
from recorder.core.model import Instrument, Span, Trade
from recorder.core.spans import Spans
from recorder.kraken import rest
from recorder.kraken.parse import TradesPage

OVERLAPS_NS: Final = (1_000_000, 1_000_000_000, 60_000_000_000)
"""How far before the last known trade to begin: 1 ms covers REST's printed doubles (119 ns off) and stamps cut to
µs. Where a page begins behind ids that must lie earlier, a second, and then a minute, are tried."""
PRINT_NS: Final = 1_300
"""How far a time printed by REST and cut to µs may lie from the true one: 1 µs by the cut, 119 ns by the double, as
much again by its printed text."""
STALLED_PAGES: Final = 4
"""Answers in a row that bring no id higher than before end the attempt. Three are needed where trades that share one
nanosecond fill a page: from before it, from it, and from after it."""
FRUITLESS_PAGES: Final = 200
"""So many answers in a row without a missing id end the attempt, whatever else they bring; the hole stays open and
is tried again later. A whole overlap of a minute is far shorter, even in the busiest one."""


class Refill:
    """One attempt at one hole of ``instrument``."""

    def __init__(self, hole: Hole, instrument: Instrument) -> None:
        self.hole = hole
        self._instrument = instrument
        self._found = Spans()
        self._passed = Spans()
        """Ids found, and ids given up for this attempt: the next one wanted is the lowest in neither."""
        self._anchor = (hole.span.first - 1, hole.after_us)
        """The highest known trade below the next one wanted: id, time in µs."""
        self._overlap = 0
        self._highest = 0
        self._stalled = 0
        self._fruitless = 0
        self._since_ns = self._behind_anchor()

    @property
    def missing(self) -> list[Span]:
        """What of the hole has not been found yet."""
        return self._found.missing(self.hole.span)

    def request(self) -> rest.Request | None:
        """Return the next request; None when all is found, or when this attempt has no way on."""
        if self._wanted() is None or self._stalled >= STALLED_PAGES or self._fruitless >= FRUITLESS_PAGES:
            return None
        return rest.trades(self._instrument, since_ns=str(self._since_ns))

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
        """Choose where the next page begins."""
        if not page.trades:
            # Nothing is there from here on. Had this attempt begun too late, earlier rows would show it.
            self._look_further_back()
            return
        lowest, highest = page.trades[0].trade_id, page.trades[-1].trade_id
        self._stalled = 0 if highest > self._highest else self._stalled + 1
        self._highest = max(self._highest, highest)
        wanted = self._wanted()
        if wanted is not None and lowest > wanted and not self._look_further_back():
            self._passed.add(Span(wanted, lowest - 1))
        self._pass_over(page)
        wanted = self._wanted()
        if wanted is not None and highest < wanted:
            self._follow(page)
