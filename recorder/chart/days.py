"""The chart of days: what is proven of each day of many pairs, or their volume; its data, from plain rows to JSON.

Pure: it knows neither an archive nor pandas. ``assets/days.js`` draws it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from recorder.core.safe_text import printable

STATUSES: Final = {
    "complete": "every trade is stored",
    "partial": "every trade since the promise is stored",
    "open": "trades may be missing",
    "pending": "not over yet",
    "empty": "there were none",
    "unknown": "the exchange's ids cannot be compared",
}
"""Statuses of certificates, and what they mean."""
SURE: Final = frozenset({"complete", "empty"})
"""With these statuses a volume is that of all trades, with others it may be more."""


class Cell(NamedTuple):
    """A day, or a week or a month of days, from ``first`` to before ``after``: its worst status, and sums.

    ``open`` counts the days that are open; ``volume`` is in the base currency, None in a calendar.
    """

    first: date
    after: date
    status: str
    open: int
    trades: int
    missing: int
    volume: Decimal | None = None


@dataclass(frozen=True, slots=True)
class DayChart:
    """Cells of each pair, all of the same ``unit``; ``notes`` are sentences for its head."""

    title: str
    notes: Sequence[str]
    unit: Literal["day", "week", "month"]
    cells: Mapping[str, Sequence[Cell]]

    @property
    def has_volume(self) -> bool:
        """Return whether it shows volumes, rather than statuses only."""
        return any(cell.volume is not None for cells in self.cells.values() for cell in cells)

    @property
    def ends(self) -> tuple[date, date]:
        """Return the first day of all, and the one after the last."""
        found = [cell for cells in self.cells.values() for cell in cells]
        return min(cell.first for cell in found), max(cell.after for cell in found)

    def data(self) -> dict[str, Any]:
        """Return the chart as ``assets/days.js`` reads it: dates as days since 1970, statuses as numbers."""
        first, after = self.ends
        return {
            "kind": "volume" if self.has_volume else "calendar",
            "title": self.title,
            "notes": [printable(note) for note in self.notes],
            "unit": self.unit,
            "from": _number(first),
            "until": _number(after),
            "statuses": list(STATUSES.items()),
            "pairs": [
                {
                    "name": printable(pair),
                    "base": printable(pair).partition("/")[0],
                    "cells": [_encoded(cell) for cell in cells],
                }
                for pair, cells in self.cells.items()
            ],
        }

    def json(self) -> str:
        """Return :meth:`data` as compact JSON."""
        return json.dumps(self.data(), ensure_ascii=False, separators=(",", ":"))


_ORDER: Final = {status: place for place, status in enumerate(STATUSES)}


def _encoded(cell: Cell) -> list[Any]:
    volume = None if cell.volume is None else f"{cell.volume:f}"
    first, after = _number(cell.first), _number(cell.after)
    return [first, after, _ORDER[cell.status], cell.open, cell.trades, volume, cell.missing]


def _number(day: date) -> int:
    return (day - date(1970, 1, 1)).days
