"""Fetch one gap from REST Trades: which page to ask for next, and what an answer proves.

Only ids that were given close a gap, so a wrong guess here costs a request and never a trade. The guesses must
hold whether ``since`` is inclusive or exclusive, however short pages are cut, whatever ``last`` says, and where
many trades share one nanosecond (API.md 6.7):

- each page begins at or before the row that the previous one ended with, so that pages touch by id;
- ids that a page steps over, carrying rows on both sides of them, are given up for this attempt;
- ids that must lie before a page begins are looked for from further back, and given up after the furthest.

Ids that an answer stepped over are told as :attr:`Refill.skipped`. Once is no proof: a copy of the exchange may lag.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from recorder.core.ids import Gap, Span, Spans
from recorder.core.model import Instrument, Trade
from recorder.kraken import rest
from recorder.kraken.parse import TradesPage

OVERLAPS_NS: Final = (1_000_000, 1_000_000_000, 60_000_000_000)
"""How far before the last known trade to begin: 1 ms covers REST's printed doubles and stamps cut to µs. Where a
page begins behind ids that must lie earlier, a second, and then a minute, are tried."""
PRINT_NS: Final = 1_300
"""How far a time that REST printed and we cut to µs may lie from the true one: 1 µs by the cut, 119 ns by the double,
and as much by its printed text (API.md 7.3)."""
LAST_NS: Final = 1_000_000
"""``last`` is the exact time of a page's last row; one that lies further from the printed time is something else.
Prints of 2013 have four digits and lie up to 0.1 ms away."""
STALLED_PAGES: Final = 4
"""So many answers in a row with no id above the highest seen end the attempt. A page full of trades of one
nanosecond needs three: from before it, from it, and from after it."""
STEP_BACK_NS: Final = OVERLAPS_NS[1]
"""Times go up with ids but for small steps back. Answers that touch, the first of which begins so long before a row,
can have left nothing out after it for its time."""
FRUITLESS_PAGES: Final = 200
"""So many answers in a row without a missing id end the attempt, whatever else they bring: more than a whole minute
of overlap holds on the busiest day."""


class Refill:
    """One attempt at one gap of ``instrument``; what it leaves open, a later attempt tries again.

    ``attempt`` counts from 0: later ones begin further back, since the first may have begun too late.
    """

    def __init__(self, gap: Gap, instrument: Instrument, *, attempt: int = 0) -> None:
        assert gap.after_us is not None  # between trades that are held: asking begins at the one below
        self._gap = gap
        self._instrument = instrument
        self._found = Spans()
        self._skipped = Spans()
        self._settled = Spans()  # ids found, and ids given up
        self._anchor = (gap.span.first - 1, gap.after_us)  # the nearest known trade below the first unsettled id
        self._least_overlap = min(attempt, len(OVERLAPS_NS) - 1)
        self._overlap = self._least_overlap
        self._highest = 0
        self._stalled = 0
        self._fruitless = 0
        self._since_ns = self._before_anchor()
        self._unbroken_ns = self._since_ns  # where the answers began that touch each other up to the last one

    @property
    def missing(self) -> list[Span]:
        """What of the gap has not been found yet."""
        return self._found.missing(self._gap.span)

    @property
    def skipped(self) -> list[Span]:
        """What of the gap an answer stepped over, carrying the ids on both sides, and no other answer had."""
        return [part for span in self._skipped for part in self._found.missing(span)]

    def request(self) -> rest.Request | None:
        """Return the next request; None when all is found, or when this attempt has no way on."""
        if self._wanted() is None or self._stalled >= STALLED_PAGES or self._fruitless >= FRUITLESS_PAGES:
            return None
        return rest.trades(self._instrument, since_ns=str(self._since_ns))

    def take(self, page: TradesPage) -> list[Trade]:
        """Take one answer; return its rows that were missing, in ascending id."""
        fresh: list[Trade] = []
        for trade in page.trades:
            if trade.trade_id in self._gap.span and trade.trade_id not in self._found:
                self._found.add(Span(trade.trade_id, trade.trade_id))
                fresh.append(trade)
        self._fruitless = 0 if fresh else self._fruitless + 1
        self._note_skipped(page)
        self._advance(page)
        return fresh

    def _note_skipped(self, page: TradesPage) -> None:
        whole = Spans([self._gap.span])
        for before, after in pairwise(page.trades):
            stepped = after.trade_id > before.trade_id + 1
            if stepped and before.time_us * 1000 - self._unbroken_ns >= STEP_BACK_NS:
                self._skipped.update(whole.within(Span(before.trade_id + 1, after.trade_id - 1)))

    def _advance(self, page: TradesPage) -> None:
        """Choose where the next page begins."""
        if not page.trades:
            # Behind rows seen already, nothing has happened yet. Otherwise the attempt may have begun too late.
            if self._highest or not self._look_further_back():
                self._stalled = STALLED_PAGES
            return
        lowest, newest = page.trades[0].trade_id, page.trades[-1]
        highest = newest.trade_id
        self._stalled = 0 if highest > self._highest else self._stalled + 1
        self._highest = max(self._highest, highest)
        wanted = self._wanted()
        self._settle(Span(lowest, highest))
        if wanted is not None and wanted < lowest:
            if self._look_further_back():
                return
            self._settle(Span(wanted, lowest - 1))
        if highest > self._anchor[0]:
            self._anchor = (highest, newest.time_us)
        self._follow(newest, page.last)

    def _follow(self, newest: Trade, last: str | None) -> None:
        """Begin the next page just before this one ends, or a little after where this one began if it led nowhere."""
        printed_ns = newest.time_us * 1000
        if last is not None and last.isdecimal() and abs(int(last) - printed_ns) <= LAST_NS:
            touching_ns, step_ns = int(last) - 1, 1
        else:  # the last resort (API.md 6.7)
            touching_ns, step_ns = printed_ns - PRINT_NS, PRINT_NS
        stepped_ns = self._since_ns + step_ns
        self._since_ns = max(touching_ns, stepped_ns)
        if stepped_ns > touching_ns:
            self._unbroken_ns = self._since_ns

    def _look_further_back(self) -> bool:
        """Begin again from further before the anchor; False when this is the furthest already."""
        if self._overlap + 1 >= len(OVERLAPS_NS):
            return False
        self._overlap += 1
        self._highest = self._stalled = 0
        self._since_ns = self._unbroken_ns = self._before_anchor()
        return True

    def _settle(self, span: Span) -> None:
        wanted = self._wanted()
        self._settled.add(span)
        if self._wanted() != wanted:
            self._overlap = self._least_overlap

    def _wanted(self) -> int | None:
        """Return the lowest id that is neither found nor given up."""
        unsettled = self._settled.missing(self._gap.span)
        return unsettled[0].first if unsettled else None

    def _before_anchor(self) -> int:
        return max(0, self._anchor[1] * 1000 - OVERLAPS_NS[self._overlap])
