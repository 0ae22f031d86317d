"""Search for the anchor of a promise: the highest id that was made before the promise's time.

Contains the choice of the next page and what an answer proves. The highest id older than the time is known from a page
with rows on both sides of it, or from one that ends before it and had room for more. If an answer begins after the
time, the next request starts further back; a page full of older rows shows that the time is ahead, and the distance
between the two is halved. If nothing is proven, the caller searches again.

An anchor that is too low promises more than there was, and costs requests. One that is too high would lose trades
silently. So where an answer leaves several ids possible, the lower one is taken.
"""

from __future__ import annotations

from typing import Final

from recorder.core.model import Instrument
from recorder.core.plausibility import is_before
from recorder.kraken import rest_api
from recorder.kraken.trade_pages import TradesPage

LOOK_BACK_NS: Final = tuple(60_000_000_000 * 16**step for step in range(7))
"""How far before the time to begin, in turn, until an answer has a row from before it: from a minute to decades, longer
than the exchange has existed. After the last one the first trade of all is requested."""
CLOSE_NS: Final = 1_000_000_000
"""A full page of older rows is followed from its end once the time is this near: no second contains more than a
page."""
REQUESTS: Final = 100
"""Number of answers that end an unsuccessful search: halving thirty years down to a second takes thirty."""


class AnchorSearch:
    """One search for the anchor of a promise from ``time_us`` (µs since 1970 UTC) on, for the pair of ``instrument``.

    ``after_id`` is the result, None until it is found.
    """

    def __init__(self, time_us: int, instrument: Instrument) -> None:
        self._time_us = time_us
        self._instrument = instrument
        wanted_ns = time_us * 1000
        self._begins_ns = [wanted_ns - back_ns for back_ns in LOOK_BACK_NS if back_ns < wanted_ns] + [0]
        self._older_ns: int | None = None  # from here on a whole page was older than the time
        self._newer_ns = wanted_ns  # from here on nothing was older
        self._since_ns: int | None = self._begins_ns.pop(0)
        self._empty = False
        self._left = REQUESTS
        self.after_id: int | None = None

    def request(self) -> rest_api.Request | None:
        """Return the next request; None when this search is over."""
        if self.after_id is not None or self._left == 0:
            return None
        since_ns = None if self._since_ns is None else str(self._since_ns)
        return rest_api.trades(self._instrument, since_ns=since_ns)

    def add_page(self, page: TradesPage) -> None:
        """Process one answer."""
        self._left -= 1
        older = [trade for trade in page.trades if is_before(trade.time_us, self._time_us)]
        newer = [trade.trade_id for trade in page.trades if trade.time_us >= self._time_us]
        if self._since_ns is None:
            # The newest page must not contradict that there was nothing at all.
            self.after_id = None if older or page.odd or page.rows >= rest_api.PAGE_LIMIT else 0
            self._left = 0
        elif older and (newer or page.rows < rest_api.PAGE_LIMIT):
            # Times can step back a little: ids above a promised row are promised too.
            self.after_id = min([max(trade.trade_id for trade in older), *(trade_id - 1 for trade_id in newer)])
        elif older:
            self._go_on(self._since_ns, max(trade.time_us for trade in older) * 1000)
        else:
            self._go_back(self._since_ns, first_id=min(newer, default=None))

    def _go_on(self, since_ns: int, newest_ns: int) -> None:
        """Begin nearer to the time: a whole page was older."""
        self._older_ns = max(newest_ns, since_ns + 1)  # a page of a single timestamp must advance too
        far = self._newer_ns - self._older_ns > CLOSE_NS
        self._since_ns = (self._older_ns + self._newer_ns) // 2 if far else self._older_ns

    def _go_back(self, since_ns: int, *, first_id: int | None) -> None:
        """Begin further back: nothing was older."""
        if since_ns == 0:
            # The exchange has no trade before its first one; whether lower ids exist does not matter here.
            self.after_id = None if first_id is None else 0
            self._since_ns = None
            return
        self._newer_ns = since_ns
        if self._older_ns is not None:
            far = self._newer_ns - self._older_ns > CLOSE_NS
            self._since_ns = (self._older_ns + self._newer_ns) // 2 if far else self._older_ns
        else:
            self._since_ns = self._begins_ns.pop(0)
