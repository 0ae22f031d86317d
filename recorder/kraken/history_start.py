"""Search for the start of wanted history: the last trade before a time, or the first trade of all.

Once that trade is stored, what is between it and the others is an ordinary gap, which :mod:`recorder.kraken.gap_fill`
fills. So history needs no cursor: the stored ids show its progress.
"""

from __future__ import annotations

from typing import Final

from recorder.core.ledger import History
from recorder.core.model import Instrument, Trade
from recorder.core.plausibility import is_before
from recorder.core.trade_ids import Span
from recorder.kraken import rest_api
from recorder.kraken.odd_rows import OddRow
from recorder.kraken.trade_pages import TradesPage

LOOK_BACK_NS: Final = tuple(1_000_000 * 16**step for step in range(10))
"""How far before the time to begin, in turn, until an answer has a trade from before it: from a millisecond to two
years. After the last one the first trade of all is requested."""


class HistoryStart:
    """One attempt. It proves nothing by itself: only rows that were received count."""

    def __init__(self, history: History, instrument: Instrument) -> None:
        self._history = history
        self._instrument = instrument
        wanted_ns = history.from_us * 1000
        self._begins_ns = [wanted_ns - back_ns for back_ns in LOOK_BACK_NS if back_ns < wanted_ns] + [0]
        self.skipped: list[Span] = []
        """The ids below the first row of an answer that was requested from the first trade of all."""
        self.given_up: list[Span] = []
        """Always empty: ids that were requested and not received; which ids history has is not known."""
        self.odd: list[OddRow] = []
        """Always empty: unreadable rows; those of history are requested again once it is a gap."""

    def request(self) -> rest_api.Request | None:
        """Return the next request; None when this attempt is over."""
        return rest_api.trades(self._instrument, since_ns=str(self._begins_ns[0])) if self._begins_ns else None

    def add_page(self, page: TradesPage) -> list[Trade]:
        """Process one answer; return its wanted rows, in ascending id."""
        since_ns = self._begins_ns.pop(0)
        below = [trade for trade in page.trades if trade.trade_id < self._history.before_id]
        if since_ns == 0:
            # If it begins above a stored trade, it is some other page than requested; and an unreadable first row
            # exists, whatever its id is.
            if page.trades and 1 < page.trades[0].trade_id <= self._history.before_id and not page.begins_oddly:
                self.skipped = [Span(1, page.trades[0].trade_id - 1)]
            return below
        before = [index for index, trade in enumerate(below) if is_before(trade.time_us, self._history.from_us)]
        if before or (below and below[0].trade_id == 1):
            self._begins_ns.clear()
            return below[before[-1] if before else 0 :]
        return []
