"""Reports each thing once; repeats are suppressed.

Pure. The memory lasts for one run; the next start reports it again.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

REMEMBERED: Final = 20_000
"""Number of things remembered, some 2 MB; beyond that the oldest are forgotten, and would be reported again."""


class ReportOnce:
    """Remembers what was reported. Threads may share one: at worst two of them report the same thing."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._reported: dict[int, None] = {}

    def is_first(self, *thing: Hashable) -> bool:
        """Return whether this thing has not been reported yet, and mark it as reported."""
        key = hash(thing)
        if key in self._reported:
            return False
        self._reported[key] = None
        if len(self._reported) > self._remembered:
            self._reported.pop(next(iter(self._reported)), None)
        return True
