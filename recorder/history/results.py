"""What an import of one member found: counts, and a few examples of what is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

EXAMPLES: Final = 10
"""Examples of each kind of problem that a report keeps; all are counted."""


@dataclass(slots=True)
class Examples:
    """How many there are of something, and the first few."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < EXAMPLES:
            self.first.append(text)


@dataclass(slots=True)
class MemberResult:
    """What one member had, whatever its layout; importers extend it.

    ``rows`` were read, of which ``added`` were new and ``compared`` were stored already, or came twice; ``first_us``
    and ``last_us`` are their earliest and latest time (µs since 1970 UTC). ``differing`` are differences from stored
    rows. ``odd`` lines are no rows.
    """

    rows: int = 0
    added: int = 0
    compared: int = 0
    first_us: int | None = None
    last_us: int | None = None
    differing: Examples = field(default_factory=Examples)
    odd: Examples = field(default_factory=Examples)

    @property
    def problems(self) -> list[tuple[str, Examples]]:
        """What differs from stored rows, by kind: any makes the import report a failure."""
        return [("differs", self.differing)]

    def detail(self) -> dict[str, Any]:
        """Return what the event ``imported`` says of it."""
        counts = {"rows": self.rows, "added": self.added, "compared": self.compared}
        return {**counts, "odd_lines": asdict(self.odd), "differing": asdict(self.differing)}
