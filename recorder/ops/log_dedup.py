"""Suppression of repeated log lines: lines are printed or only counted, since a thousand failing pairs are one message.

Lines are of the same *kind* if level, event, process and reason are equal, except for names and numbers in the reason,
so that the process of quotes takes no line from trades. The first lines of a kind in a minute are printed, and the
first few of equal ones; of the rest the last one is printed when the minute is over, with their number. So the first
line of any kind is never suppressed, even one error among a thousand others, and the last state is always shown in the
end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

WINDOW_S: Final = 60.0
LINES: Final = 10
"""Lines of one kind printed per window: enough to see what they have in common."""
EQUAL: Final = 3
"""Equal lines printed per window: two reloads within a minute show two answers."""
KINDS: Final = 256
"""Kinds remembered at once: there are about fifty events, and few have more than one reason at a time."""
_NUMBERED: Final = re.compile(r"\w*\d\w*")
_SHORTEST_NAME: Final = 3

Line: TypeAlias = dict[str, Any]
"""Content of a line: ``event`` and further fields."""
LogLine: TypeAlias = tuple[str, Line]
"""A level and a line of it."""


@dataclass(slots=True)
class _Equal:
    """Number of equal lines printed and suppressed in this window."""

    printed: int = 1
    held_back: int = 0


@dataclass(slots=True)
class _Kind:
    """The window of a kind: its start, the lines printed in it, and the number of suppressed lines, with the newest.

    ``others`` counts those that equal no printed line.
    """

    level: str
    since_s: float
    equals: dict[object, _Equal] = field(default_factory=dict)
    others: int = 0
    newest: Line = field(default_factory=dict)

    def printed(self) -> int:
        return sum(equal.printed for equal in self.equals.values())

    def summary(self) -> Iterator[LogLine]:
        """Yield the newest of the suppressed lines, if there are any, with their number."""
        held_back = self.others + sum(equal.held_back for equal in self.equals.values())
        if held_back:
            alike = not self.others and sum(equal.held_back > 0 for equal in self.equals.values()) == 1
            yield self.level, self.newest | {"repeated" if alike else "held_back": held_back}


class LogDedup:
    """Processes lines in order. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._kinds: dict[object, _Kind] = {}  # by start of the window, oldest first

    def add(self, level: str, line: Mapping[str, Any], now_s: float) -> list[LogLine]:
        """Return the lines to print now: summaries of suppressed lines, and this line unless it is suppressed."""
        shape = _shape(line)
        name, kept = (
            (level, line.get("event"), line.get("process"), shape),
            {key: line[key] for key in line if key != "exc_info"},
        )
        same = repr([(key, value) for key, value in sorted(kept.items()) if key != "reason" and not _measure(key)])
        printed_line = dict(line)
        kind = self._kinds.get(name)
        if kind is not None and now_s >= kind.since_s + WINDOW_S:
            equal = kind.equals.get(same)
            if equal is not None and equal.held_back:
                printed_line["repeated"], equal.held_back = equal.held_back, 0
        lines = self.due(now_s)
        kind = self._kinds.get(name)
        if kind is None:
            if len(self._kinds) >= KINDS:
                lines += self._forget(next(iter(self._kinds)))
            kind = self._kinds[name] = _Kind(level, now_s)
        equal = kind.equals.get(same)
        if kind.printed() < LINES and (equal is None or equal.printed < EQUAL):
            if equal is None:
                kind.equals[same] = _Equal()
            else:
                equal.printed += 1
            return [*lines, (level, printed_line)]
        kind.newest = kept
        if equal is None:
            kind.others += 1
        else:
            equal.held_back += 1
        return lines

    def due(self, now_s: float) -> list[LogLine]:
        """Return the summaries of windows that are over."""
        lines: list[LogLine] = []
        while self._kinds:
            oldest = next(iter(self._kinds))
            if now_s < self._kinds[oldest].since_s + WINDOW_S:
                break
            lines += self._forget(oldest)
        return lines

    def rest(self) -> list[LogLine]:
        """Return the summaries of all windows: nothing follows them."""
        return [ended for name in list(self._kinds) for ended in self._forget(name)]

    def _forget(self, name: object) -> list[LogLine]:
        return list(self._kinds.pop(name).summary())


def _shape(line: Mapping[str, Any]) -> str:
    """Return a line's reason without what may differ within a kind: numbers, and names in other fields."""
    reason = str(line.get("reason", ""))
    for key, value in line.items():
        if key != "reason" and isinstance(value, str) and len(value) >= _SHORTEST_NAME:
            reason = reason.replace(value, "…")
    return _NUMBERED.sub("…", reason)


def _measure(key: str) -> bool:
    """Return whether a field is in seconds, which differ from line to line but do not distinguish lines."""
    return key.endswith("_s")
