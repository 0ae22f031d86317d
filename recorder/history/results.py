"""What an import of one member found: counts, and a few examples of what is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

import pyarrow as pa

from recorder.archive.footer import TIME_DIGITS, time_digits
from recorder.lazy_imports import pc

EXAMPLES: Final = 10
"""Examples of each kind of problem that a report keeps; all are counted."""


LISTED_SPANS: Final = 1_000
"""Spans of ids that the note of a member lists at most. Real members have one; one with more is read again."""


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
        """Return what the event ``imported`` contains of it."""
        counts = {"rows": self.rows, "added": self.added, "compared": self.compared}
        return {**counts, "odd_lines": asdict(self.odd), "differing": asdict(self.differing)}


@dataclass(slots=True)
class TradesResult(MemberResult):
    """What a member of trades with ids had.

    ``apart`` are times that differ from stored ones beyond the ``time_digits`` printed in the member, by
    ``most_apart_us`` at most; ``differing`` are other fields that do. ``ids`` are the spans of its ids, each as its
    first and its last one.
    """

    ids: list[tuple[int, int]] = field(default_factory=list)
    time_digits: int = 0
    apart: Examples = field(default_factory=Examples)
    most_apart_us: int = 0

    @property
    def problems(self) -> list[tuple[str, Examples]]:
        """What differs from stored rows, by kind."""
        return [("differs", self.differing), ("time", self.apart)]

    def detail(self) -> dict[str, Any]:
        """Return what the event ``imported`` contains of it."""
        first, last = (self.ids[0][0], self.ids[-1][1]) if self.ids else (None, None)
        ids: dict[str, Any] = {"first_id": first, "last_id": last}
        if len(self.ids) <= LISTED_SPANS:
            ids["ids"] = self.ids
        apart = {**asdict(self.apart), "most_us": self.most_apart_us}
        # Not super(): with slots, the decorator has replaced the class that it would look for.
        return {**MemberResult.detail(self), **ids, "time_digits": self.time_digits, "times_apart": apart}

    def saw(self, rows: pa.Table) -> None:
        """Count rows that were read."""
        times = pc.min_max(rows["time"].cast(pa.int64())).as_py()
        self.rows += rows.num_rows
        self.first_us = times["min"] if self.first_us is None else min(self.first_us, times["min"])
        self.last_us = times["max"] if self.last_us is None else max(self.last_us, times["max"])
        if self.time_digits < TIME_DIGITS:
            self.time_digits = max(self.time_digits, time_digits(rows["time"]))
