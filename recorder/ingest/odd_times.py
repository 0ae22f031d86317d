"""Trades with impossible times: stored as received, and reported once whatever their source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from recorder.archive.event_rows import iso
from recorder.core.model import Trade
from recorder.core.plausibility import AHEAD_US, EARLIEST_US

CLOCK_ROWS: Final = 10
"""Minimum number of trades that show the host's clock to be behind, if most of them are stamped after receipt."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OddTimesReport:
    """Event content for such trades of ``pair``: ``source`` and receive time of the lowest id, and the reason."""

    pair: str
    received_ns: int
    source: str
    reason: str


class OddTimes:
    """Collects such trades among ``rows`` checked together, to report them once per pair, since there may be many."""

    def __init__(self) -> None:
        self.rows = 0
        self._odd: dict[str, dict[int, tuple[Trade, int, str]]] = {}

    def check(self, rows: Sequence[Trade], received_ns: int, source: str) -> None:
        """Check rows that were received together."""
        self.rows += len(rows)
        until_us = received_ns // 1000 + AHEAD_US
        for row in rows:
            if not EARLIEST_US <= row.time_us <= until_us:
                self.add(row, received_ns, source)

    def add(self, row: Trade, received_ns: int, source: str) -> None:
        """Add a row with an impossible time."""
        self._odd.setdefault(row.pair, {}).setdefault(row.trade_id, (row, received_ns, source))

    def reports(self) -> list[OddTimesReport]:
        """Return the reports; none if most rows have impossible times.

        In that case the host's clock is behind, which other events report.
        """
        if self.rows >= CLOCK_ROWS and 2 * sum(map(len, self._odd.values())) > self.rows:
            return []
        return [_report(pair, found) for pair, found in self._odd.items()]


def _report(pair: str, found: dict[int, tuple[Trade, int, str]]) -> OddTimesReport:
    row, received_ns, source = found[min(found)]
    sentence = f"trade {row.trade_id} is stamped {iso(row.time_us)} and came at {iso(received_ns // 1000)}"
    others = f", and so are {len(found) - 1} others" if len(found) > 1 else ""
    reason = f"{sentence}{others}: stored as it came"
    log.warning("implausible time", pair=pair, reason=reason)
    return OddTimesReport(pair, received_ns, source, reason)
