"""Rate limit for reports of unknown input: each kind is stored and reported a few times an hour, then only counted.

An exchange that begins to send something new may send it a thousand times a second. The first few of a kind show what
it is, and the number of suppressed ones is reported at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST: Final = 20
"""Number of reports of one kind that are stored and logged within :data:`WINDOW_S`."""
WINDOW_S: Final = 3600.0
"""Seconds from the first report of a kind to the report of how many were suppressed."""
KINDS: Final = 100
"""Number of kinds counted separately at a time: their names come from the wire. All others together are one more
kind."""
OTHERS: Final = "other kinds"


@dataclass(slots=True)
class _Window:
    ends_s: float
    seen: int = 0


class ReportLimit:
    """Counts by kind. Times are monotonic seconds of one clock."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def allows(self, kind: str, now_s: float) -> bool:
        """Count one of this kind; return whether to store and report it."""
        if kind not in self._windows and len(self._windows) >= KINDS:
            kind = OTHERS
        window = self._windows.setdefault(kind, _Window(now_s + WINDOW_S))
        window.seen += 1
        return window.seen <= MOST

    def suppressed(self, now_s: float) -> list[tuple[str, int]]:
        """Return how many of each kind whose hour is over were suppressed, if any, and reset these counts."""
        ended = [kind for kind, window in self._windows.items() if window.ends_s <= now_s]
        counted = [(kind, self._windows.pop(kind).seen - MOST) for kind in ended]
        return [(kind, more) for kind, more in counted if more > 0]
