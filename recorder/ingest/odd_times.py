"""Trades that cannot have been made when they are stamped: stored as they came, and told of once, however they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from recorder.archive.event_rows import iso
from recorder.core.model import Trade
from recorder.core.plausibility import AHEAD_US, EARLIEST_US

CLOCK_ROWS: Final = 10
"""So many trades at least tell the host's clock, if most of them are stamped after they came."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OddTimesReport:
    """What an event says of such trades of ``pair``: the ``source`` of the lowest, when it came, and the reason."""

    pair: str
    received_ns: int
    source: str
    reason: str


class OddTimes:
    """Finds them among ``rows`` that are looked at together, so many: once of each pair, they may be many."""

    def __init__(self) -> None:
        self.rows = 0
        self._odd: dict[str, dict[int, tuple[Trade, int, str]]] = {}

    def check(self, rows: Sequence[Trade], received_ns: int, source: str) -> None:
        """Look at rows that came at once."""
        self.rows += len(rows)
        until_us = received_ns // 1000 + AHEAD_US
        for row in rows:
            if not EARLIEST_US <= row.time_us <= until_us:
                self.add(row, received_ns, source)

    def add(self, row: Trade, received_ns: int, source: str) -> None:
        """Take a row that is stamped so."""
        self._odd.setdefault(row.pair, {}).setdefault(row.trade_id, (row, received_ns, source))

    def reports(self) -> list[OddTimesReport]:
        """Return what is to be told; nothing where most are stamped so.

        Then it is the host's clock that is behind, and other events say so.
        """
        if self.rows >= CLOCK_ROWS and 2 * sum(map(len, self._odd.values())) > self.rows:
            return []
        return [_told(pair, found) for pair, found in self._odd.items()]


def _told(pair: str, found: dict[int, tuple[Trade, int, str]]) -> OddTimesReport:
    row, received_ns, source = found[min(found)]
    said = f"trade {row.trade_id} is stamped {iso(row.time_us)} and came at {iso(received_ns // 1000)}"
    others = f", and so are {len(found) - 1} others" if len(found) > 1 else ""
    reason = f"{said}{others}: stored as it came"
    log.warning("odd time", pair=pair, reason=reason)
    return OddTimesReport(pair, received_ns, source, reason)
