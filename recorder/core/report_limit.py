"""How often what nobody knows is kept and told: each kind so often in an hour, and then only counted.

An exchange that begins to send something new may send it a thousand times a second, and nothing of it can be asked for
by a name that we know. The first ones of a kind say all there is to say, and how many there were is told at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST: Final = 20
"""So many of one kind within :data:`WINDOW_S` are kept and told."""
WINDOW_S: Final = 3600.0
"""From the first of a kind to the telling of how many more there were."""
KINDS: Final = 100
"""So many kinds are told apart at a time: their names come from the wire. All others together are one kind more."""
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
        """Count one of this kind; return whether it is to be kept and told."""
        if kind not in self._windows and len(self._windows) >= KINDS:
            kind = OTHERS
        window = self._windows.setdefault(kind, _Window(now_s + WINDOW_S))
        window.seen += 1
        return window.seen <= MOST

    def suppressed(self, now_s: float) -> list[tuple[str, int]]:
        """Return of each kind whose hour is over how many were only counted, if any were, and begin anew."""
        ended = [kind for kind, window in self._windows.items() if window.ends_s <= now_s]
        counted = [(kind, self._windows.pop(kind).seen - MOST) for kind in ended]
        return [(kind, more) for kind, more in counted if more > 0]
