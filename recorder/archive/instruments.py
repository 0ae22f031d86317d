"""What the exchange listed, and since when: one row per change of a pair."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from recorder.archive import listing as rules
from recorder.archive.coverage import FileFacts
from recorder.archive.files import Layout
from recorder.archive.listing import Changes
from recorder.archive.read import batches
from recorder.archive.schema import instruments_table
from recorder.archive.segments import Segments, Waiting
from recorder.archive.tables import INSTRUMENTS, Branch
from recorder.core.model import Instrument, plain
from recorder.disk import Disk
from recorder.errors import CorruptFile

_BATCH: Final = 32_768
_History: TypeAlias = dict[str, list[tuple[int, Instrument]]]
"""Of each pair the rows archived: since when (µs since 1970 UTC), and what. Oldest first."""


class InstrumentArchive:
    """The instruments table, for writing: :meth:`take` the listings of a segment, then :meth:`write` what changed.

    One process writes it: the daemon. Drained again, a segment adds nothing even when later listings have been
    archived since: (pair, valid_from) is the key.
    """

    def __init__(self, layout: Layout, disk: Disk, *, staging: Path) -> None:
        self._segments = Segments(layout, disk, staging=staging)
        self._history: _History | None = None
        self._waiting: Waiting[tuple[int, Instrument]] | None = None

    def begin(self) -> None:
        """Begin a segment. What was taken and never written is forgotten."""
        if self._waiting is not None:
            self._waiting = self._history = None

    def take(self, valid_from_us: int, listing: Sequence[Instrument]) -> Changes:
        """Take a whole listing, and tell what it changes of what was archived for that moment. Raises CorruptFile."""
        history = self._load() if self._history is None else self._history
        before = ((pair, _before(rows, valid_from_us)) for pair, rows in history.items())
        found = rules.changes({pair: row for pair, row in before if row is not None}, listing, valid_from_us)
        self._wait(history, valid_from_us, found.rows)
        return found

    def append(self, valid_from_us: int, listing: Sequence[Instrument], *, segment: int) -> int:
        """Add at once those of some instruments that changed, and conclude nothing about others; return how many."""
        history = self._load() if self._history is None else self._history
        changed = [row for row in listing if _before(history.get(row.pair, []), valid_from_us) != row]
        self._wait(history, valid_from_us, changed)
        self.write(segment)
        return len(changed)

    def holds(self, segment: int) -> bool:
        """Tell whether rows of that segment are archived."""
        return self._segments.holds(INSTRUMENTS, segment)

    def write(self, segment: int) -> None:
        """Add what was taken, durably."""
        if self._waiting is not None:
            self._segments.add(Branch(INSTRUMENTS), self._waiting.table(), segment=segment)
            self._waiting = None

    def remembered(self) -> list[Instrument]:
        """Return the newest row of each pair that ever was listed; ``delisted`` are those that are not any more."""
        return [rows[-1][1] for rows in self._load().values()]

    def _wait(self, history: _History, valid_from_us: int, rows: Sequence[Instrument]) -> None:
        if rows:
            self._waiting = self._waiting or Waiting(instruments_table)
            self._waiting.add((valid_from_us, row) for row in rows)
        for row in rows:
            insort(history.setdefault(row.pair, []), (valid_from_us, row), key=_moment)
        self._history = history

    def _load(self) -> _History:
        history: _History = {}
        branch = Branch(INSTRUMENTS)
        with self._segments.locked(branch):
            for facts in self._segments.files(branch):
                for valid_from_us, row in _rows(facts):
                    history.setdefault(row.pair, []).append((valid_from_us, row))
        for rows in history.values():
            rows.sort(key=_moment)
        return history


def _rows(facts: FileFacts) -> list[tuple[int, Instrument]]:
    try:
        with pq.ParquetFile(facts.path, page_checksum_verification=True) as parquet:
            table = pa.concat_tables([INSTRUMENTS.columns.empty_table(), *batches(parquet, facts.footer, _BATCH)])
    except (pa.ArrowInvalid, OSError) as error:  # pyarrow's words for damage are both
        raise CorruptFile(f"cannot read listings from {facts.path}: {error}") from error
    moments_us = table["valid_from"].cast(pa.int64()).to_pylist()
    rows = table.drop_columns("valid_from").to_pylist()
    for row in rows:
        for field in ("tick_size", "ordermin", "costmin"):
            row[field] = None if row[field] is None else plain(row[field])
    return [(valid_from_us, Instrument(**row)) for valid_from_us, row in zip(moments_us, rows, strict=True)]


def _before(rows: Sequence[tuple[int, Instrument]], valid_from_us: int) -> Instrument | None:
    """Return what was archived of a pair for that moment."""
    index = bisect_right(rows, valid_from_us, key=_moment)
    return rows[index - 1][1] if index else None


def _moment(row: tuple[int, Instrument]) -> int:
    return row[0]
