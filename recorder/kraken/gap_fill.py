"""Filling the gaps of a pair from REST Trades: the choice of the next page, and what an answer proves.

Only ids that were received close a gap, so a wrong guess here costs a request and never a trade. Every missing id in a
page is used, whichever gap it was requested for; the next request goes where a page closes most. The guesses must hold
whether ``since`` is inclusive or exclusive, however short pages are cut, whatever the value of ``last``, and where many
trades share one nanosecond (API.md 6.7):

- a page begins at or before the last row of the previous one, so that pages overlap by id, or at a known trade further
  on, if everything between is stored;
- ids that a page skips, with rows on both sides of them, are given up for this attempt;
- ids that must be before the start of a page are requested from further back, and given up after the furthest.

Skipped ids are reported as :attr:`GapFill.skipped`, ids of rows that cannot be read as :attr:`GapFill.odd`. One answer
is no proof: a replica of the exchange may lag.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median_low
from types import MappingProxyType
from typing import Final

from recorder.core.model import Instrument, Trade
from recorder.core.plausibility import EARLIEST_US, begin_us, is_time
from recorder.core.repair_planning import best_page
from recorder.core.trade_ids import Gap, Span, Spans
from recorder.kraken import rest_api
from recorder.kraken.odd_rows import OddRow
from recorder.kraken.trade_pages import TradesPage

OVERLAPS_NS: Final = (1_000_000, 1_000_000_000, 60_000_000_000)
"""How far before the last known trade to begin: 1 ms covers REST's printed doubles and stamps cut to µs. If a page
begins behind ids that must be before it, a second, and then a minute, are tried."""
PRINT_NS: Final = 1_300
"""Maximum error of a time that REST printed and we cut to µs: 1 µs by the cut, 119 ns by the double, and as much by its
printed text (API.md 7.3)."""
LAST_NS: Final = 1_000_000
"""``last`` is the exact time of a page's last row; a value further from the printed time is something else. Prints of
2013 have four digits and are up to 0.1 ms off."""
STALLED_PAGES: Final = 4
"""Number of consecutive answers with no id above the highest seen after which their gap is given up. A page full of
trades of one nanosecond needs three: from before it, from it, and from after it."""
STEP_BACK_NS: Final = OVERLAPS_NS[1]
"""Times increase with ids except for small steps back. If the first of several overlapping answers begins this long
before a row, they cannot have left out a later id because of its time."""
FAR: Final = 1_000_000
"""A row whose id is this far above the one below it, more than a day of the busiest pair, may be invalid and proves
nothing of the ids between. It does where ids really jump: when its page continues from there."""
DAY_US: Final = 86_400_000_000
JUMP_ROWS: Final = 3
"""Minimum number of rows above a jump, all made after all those below it: a single invalid id has others beside it."""
FRESH_ROWS: Final = rest_api.PAGE_LIMIT - 10
"""Number of ids after a known trade that a page is planned to reach: it begins a little before that trade."""
FRUITLESS_PAGES: Final = 200
"""Number of consecutive answers without a missing id that end the attempt, whatever else they bring: more than a whole
minute of overlap contains on the busiest day."""


class GapFill:
    """One attempt at ``gaps`` of ``instrument``, lowest first; a later attempt retries what it leaves open.

    ``attempts`` counts, by the first id of a gap, the earlier attempts that did not close it: later ones begin further
    back, because the first may have begun too late. ``missing`` is everything missing of the pair, including these
    gaps: rows of it that come along are used too. ``now_us`` is the host's clock, which may be wrong.
    """

    def __init__(
        self,
        gaps: Sequence[Gap],
        instrument: Instrument,
        *,
        attempts: Mapping[int, int] = MappingProxyType({}),
        missing: Spans | None = None,
        now_us: int | None = None,
    ) -> None:
        self._instrument = instrument
        self._attempts = attempts
        self._gaps = gaps
        self._firsts = [gap.span.first for gap in gaps]
        self._open = Spans(gap.span for gap in gaps)  # requested, and neither found nor given up
        self._missing = self._open.copy() if missing is None else missing
        self._found = Spans()
        self._skipped = Spans()
        self._unread: dict[Span, OddRow] = {}
        # When the trade below each open span was made: the request for the span begins there.
        self._times_us = {gap.span.first - 1: begin_us(gap, attempts.get(gap.span.first, 0), now_us) for gap in gaps}
        self._fruitless = 0
        self._highest = self._stalled = 0  # of the answers that overlap each other
        self._since_ns = self._unbroken_ns = 0  # start of the next answer, and of the first that it overlaps
        self._reached_us = 0  # the latest plausible time of a row of those
        self._wanted: int | None = None  # the lowest open id of the target page
        self._overlap = 0
        # The newest gap first: recent rows are queried most.
        self._page = Span(self._firsts[-1], self._firsts[-1] + FRESH_ROWS - 1) if gaps else None
        self._aim()

    @property
    def skipped(self) -> list[Span]:
        """The missing ids that an answer skipped, with the ids on both sides, and that no other answer had."""
        unread = Spans(self._unread)
        stepped = (part for span in self._skipped for part in unread.missing(span))
        return [part for span in stepped for part in self._found.missing(span)]

    @property
    def odd(self) -> list[OddRow]:
        """The unreadable rows that may have missing ids, and that no other answer had in readable form."""
        return [row for span, row in sorted(self._unread.items()) if self._found.missing(span)]

    @property
    def given_up(self) -> list[Span]:
        """The ids of the gaps that were requested and not received, lowest first."""
        settled = (part for gap in self._gaps for part in self._open.missing(gap.span))
        return [part for span in settled for part in self._found.missing(span)]

    def request(self) -> rest_api.Request | None:
        """Return the next request; None when all is found, or when this attempt cannot continue."""
        if self._wanted is None:
            return None
        return rest_api.trades(self._instrument, since_ns=str(self._since_ns))

    def add_page(self, page: TradesPage) -> list[Trade]:
        """Process one answer; return its rows that were missing, in ascending id."""
        fresh: list[Trade] = []
        for trade in page.trades:
            if trade.trade_id in self._missing and trade.trade_id not in self._found:
                self._found.add(Span(trade.trade_id, trade.trade_id))
                fresh.append(trade)
        self._fruitless = 0 if fresh else self._fruitless + 1
        self._note_odd(page)
        self._note_skipped(page)
        if self._wanted is not None:
            self._advance(page, self._wanted)
        if self._wanted is not None and self._fruitless >= FRUITLESS_PAGES:
            self._give_up(self._wanted)
            self._wanted = None
        return fresh

    def pass_over(self) -> bool:
        """Give up the current gap for this attempt: nothing of its answer can be read.

        Returns whether there is another gap to continue with; if not, nothing is given up.
        """
        if self._wanted is None:
            return False
        gap = self._gap_of(self._wanted).span
        if not any(span.first > gap.last or span.last < gap.first for span in self._open):
            return False
        self._give_up(self._wanted)
        self._aim()
        return self._wanted is not None

    def _note_odd(self, page: TradesPage) -> None:
        for row in page.odd:
            if row.span is not None and self._missing.within(row.span):
                self._unread.setdefault(row.span, row)

    def _note_skipped(self, page: TradesPage) -> None:
        """Record the ids between consecutive rows of an answer, except those that an unreadable row may have.

        Ids follow times, so for a row with an implausible time the rows below it prove that it was made after them.
        """
        unread = Spans(row.span for row in page.odd if row.span is not None)
        until_us = _until_us(page.trades)
        for above, (before, after) in enumerate(pairwise(page.trades), 1):
            if EARLIEST_US <= before.time_us <= until_us:
                self._reached_us = max(self._reached_us, before.time_us)
            step = after.trade_id - before.trade_id
            stepped = 1 < step < FAR or (step >= FAR and _goes_on(page.trades[:above], page.trades[above:]))
            if stepped and self._reached_us * 1000 - self._unbroken_ns >= STEP_BACK_NS:
                between = Span(before.trade_id + 1, after.trade_id - 1)
                self._skipped.update(part for span in self._missing.within(between) for part in unread.missing(span))

    def _advance(self, page: TradesPage, wanted: int) -> None:
        """Choose where the next page begins."""
        if not page.trades:
            # After known rows, nothing has happened yet. Otherwise the attempt may have begun too late.
            if self._highest or not self._look_further_back(wanted):
                self._open.remove(Span(wanted, max(wanted, self._open.last or 0)))
                self._aim()
            return
        lowest, highest, newest = page.trades[0].trade_id, page.trades[-1].trade_id, self._newest(page)
        self._stalled = 0 if highest > self._highest else self._stalled + 1
        self._highest = max(self._highest, highest)
        self._open.remove(Span(lowest, highest))
        self._times_us[highest] = newest.time_us
        if wanted < lowest:
            if self._look_further_back(wanted):
                return
            self._open.remove(Span(wanted, lowest - 1))
        if self._stalled >= STALLED_PAGES:
            self._give_up(wanted)
        self._follow(self._end_us(page, newest), page.last)
        self._aim()

    def _newest(self, page: TradesPage) -> Trade:
        """Return the last row of a page whose time fits that of the trade above its gap; the last row if none does."""
        for trade in reversed(page.trades):
            above = bisect_right(self._firsts, trade.trade_id)
            gap = self._gaps[max(0, above - 1)]
            if trade.trade_id > gap.span.last and above < len(self._gaps):
                gap = self._gaps[above]
            until_us = None if trade.trade_id > gap.span.last else gap.before_us
            if trade.time_us >= EARLIEST_US and (until_us is None or is_time(trade.time_us, until_us)):
                return trade
        return page.trades[-1]

    def _end_us(self, page: TradesPage, newest: Trade) -> int:
        """Return when the last row of a page was made, even if it cannot be read, as long as its time is plausible."""
        end_us = page.odd_end_us
        before_us = self._gap_of(max(newest.trade_id, self._firsts[0])).before_us
        if end_us is None or end_us < newest.time_us or (before_us is not None and not is_time(end_us, before_us)):
            return newest.time_us
        return end_us

    def _follow(self, ended_us: int, last: str | None) -> None:
        """Begin the next page just before the end of this one, or a little after its start if it did not advance."""
        printed_ns = ended_us * 1000
        if last is not None and last.isdecimal() and abs(int(last) - printed_ns) <= LAST_NS:
            touching_ns, step_ns = int(last) - 1, 1
        else:  # the last resort (API.md 6.7)
            touching_ns, step_ns = printed_ns - PRINT_NS, PRINT_NS
        stepped_ns = self._since_ns + step_ns
        self._since_ns = max(touching_ns, stepped_ns)
        if stepped_ns > touching_ns:
            self._unbroken_ns, self._reached_us = self._since_ns, 0

    def _aim(self) -> None:
        """Choose the lowest open id of the target page, or of a new one, and where to begin to find it soonest."""
        left = self._open.within(self._page) if self._page else []
        if not left:
            self._page = best_page(self._open, FRESH_ROWS)
            left = self._open.within(self._page) if self._page else []
        wanted = left[0].first if left else None
        if wanted is None or wanted == self._wanted:
            self._wanted = wanted
            return
        self._wanted = wanted
        gap = self._gap_of(wanted)
        self._overlap = min(self._attempts.get(gap.span.first, 0), len(OVERLAPS_NS) - 1)
        within = wanted == self._highest + 1 and wanted > gap.span.first
        begins_ns = self._before(wanted)
        on_the_way = wanted > self._highest and self._unbroken_ns <= begins_ns <= self._since_ns
        if not within and not on_the_way:
            self._begin(begins_ns)

    def _begin(self, since_ns: int) -> None:
        self._highest = self._stalled = self._reached_us = 0
        self._since_ns = self._unbroken_ns = since_ns

    def _look_further_back(self, wanted: int) -> bool:
        """Begin again from further before ``wanted``; return False if this is the furthest already."""
        if self._overlap + 1 >= len(OVERLAPS_NS):
            return False
        self._overlap += 1
        self._begin(self._before(wanted))
        return True

    def _before(self, wanted: int) -> int:
        return max(0, self._times_us[wanted - 1] * 1000 - OVERLAPS_NS[self._overlap])

    def _give_up(self, wanted: int) -> None:
        """Give up the rest of the gap that contains ``wanted``."""
        self._open.remove(Span(wanted, self._gap_of(wanted).span.last))

    def _gap_of(self, wanted: int) -> Gap:
        return self._gaps[bisect_right(self._firsts, wanted) - 1]


def _goes_on(below: Sequence[Trade], above: Sequence[Trade]) -> bool:
    """Return whether these rows are consecutive in time and number, although their ids jump between them.

    Rows with implausible times are ignored.
    """
    if len(above) < JUMP_ROWS or above[JUMP_ROWS - 1].trade_id - above[0].trade_id >= FAR:
        return False
    until_us = _until_us(above)
    later = [row.time_us for row in above if EARLIEST_US <= row.time_us <= until_us]
    earlier = [row.time_us for row in below if EARLIEST_US <= row.time_us <= until_us]
    return len(later) >= JUMP_ROWS and min(later) >= max(earlier, default=0)


def _until_us(rows: Sequence[Trade]) -> int:
    """Return the latest plausible time of these rows: a day after their median, without rows from before the exchange.

    0 if all are from before it.
    """
    made_us = [row.time_us for row in rows if row.time_us >= EARLIEST_US]
    return median_low(made_us) + DAY_US if made_us else 0
