"""What was told is told once: what comes again and again, and is the same, is passed over.

Pure. It is remembered for one run; a start tells it again.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

REMEMBERED: Final = 20_000
"""Things remembered, some 2 MB; of more the oldest are forgotten, and would be told again."""


class ReportOnce:
    """Remembers what was told. Threads may share one: at worst two of them tell the same thing."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._told: dict[int, None] = {}

    def is_first(self, *thing: Hashable) -> bool:
        """Return whether this thing has not been told yet; it has been from now on."""
        key = hash(thing)
        if key in self._told:
            return False
        self._told[key] = None
        if len(self._told) > self._remembered:
            self._told.pop(next(iter(self._told)), None)
        return True
