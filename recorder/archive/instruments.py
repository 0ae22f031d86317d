"""The exchange's listings and their times: one row per change of a pair."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import pyarrow as pa
from msgspec.structs import replace

from recorder.archive import instrument_changes as rules
from recorder.archive.datasets import INSTRUMENTS, SCHEMA_FILE, Branch
from recorder.archive.instrument_changes import Changes
from recorder.archive.integrity import check_place
from recorder.archive.parquet import FileFacts, OpenFile, read_facts
from recorder.archive.segment_tables import SegmentTables
from recorder.core.model import Instrument, plain
from recorder.core.pair_registry import DELISTED, Listed
from recorder.disk import undisturbed

_BATCH: Final = 32_768
_History: TypeAlias = dict[str, list[tuple[int, Instrument]]]
"""The archived rows of each pair: since when (µs since 1970 UTC), and what. Oldest first."""


class InstrumentArchive:
    """The listings of each pair and their times: :meth:`add` the listings of a segment, :meth:`delist` pairs.

    Only one process may write it: the daemon. Draining a segment again adds nothing, even if later listings have been
    archived since: (pair, valid_from) is the key.
    """

    def __init__(self, tables: SegmentTables) -> None:
        self._tables = tables
        self._history: _History | None = None
        tables.on_loss(self._forget)

    def add(self, valid_from_us: int, listed: Listed) -> Changes:
        """Add a complete listing, and return what it changes compared with the archived state at that time.

        Raises CorruptFile, UnreadableFile.
        """
        history = self._load() if self._history is None else self._history
        before = ((pair, _before(rows, valid_from_us)) for pair, rows in history.items())
        found = rules.changes({pair: row for pair, row in before if row is not None}, listed, valid_from_us)
        self._wait(history, valid_from_us, found.rows)
        return found

    def delist(self, valid_from_us: int, pair: str) -> None:
        """Record that a pair is no longer listed from this time on. Raises CorruptFile, UnreadableFile."""
        history = self._load() if self._history is None else self._history
        before = _before(history.get(pair, ()), valid_from_us)
        gone = () if before is None or before.status == DELISTED else (replace(before, status=DELISTED),)
        self._wait(history, valid_from_us, gone)

    def keys(self) -> dict[str, str]:
        """Return the listed pairs by their keys. Raises CorruptFile, UnreadableFile."""
        history = self._load() if self._history is None else self._history
        newest = (rows[-1][1] for rows in history.values())
        return {one.key: one.pair for one in newest if one.status != DELISTED}

    def remembered(self) -> list[Instrument]:
        """Return the newest row of each pair that was ever listed; ``delisted`` are those that no longer are.

        As a reader does, without a lock, so that a process that only asks never keeps the one that writes waiting.
        Raises CorruptFile, UnreadableFile, StorageError.
        """
        layout, branch = self._tables.segments.layout, Branch(INSTRUMENTS)

        def look() -> _History:
            paths = (path for path in layout.files(branch) if path.name != SCHEMA_FILE)
            return _history(check_place(read_facts(path), branch) for path in paths)

        found = undisturbed(look, f"the files of {INSTRUMENTS.name}")
        return [rows[-1][1] for rows in found.values()]

    def _wait(self, history: _History, valid_from_us: int, rows: Sequence[Instrument]) -> None:
        self._tables.add(Branch(INSTRUMENTS), ((valid_from_us, row) for row in rows))
        for row in rows:
            insort(history.setdefault(row.pair, []), (valid_from_us, row), key=_moment)
        self._history = history

    def _forget(self) -> None:
        self._history = None

    def _load(self) -> _History:
        branch, segments = Branch(INSTRUMENTS), self._tables.segments
        with segments.locked(branch):
            return _history(segments.files(branch))


def _history(files: Iterable[FileFacts]) -> _History:
    history: _History = {}
    for facts in files:
        for valid_from_us, row in _rows(facts.path):
            history.setdefault(row.pair, []).append((valid_from_us, row))
    for rows in history.values():
        rows.sort(key=_moment)
    return history


def _rows(path: Path) -> list[tuple[int, Instrument]]:
    with OpenFile(path) as file:
        table = pa.concat_tables([INSTRUMENTS.columns.empty_table(), *file.read(_BATCH)])
    moments_us = table["valid_from"].cast(pa.int64()).to_pylist()
    rows = table.drop_columns("valid_from").to_pylist()
    for row in rows:
        for field in ("tick_size", "ordermin", "costmin"):
            row[field] = None if row[field] is None else plain(row[field])
    return [(valid_from_us, Instrument(**row)) for valid_from_us, row in zip(moments_us, rows, strict=True)]


def _before(rows: Sequence[tuple[int, Instrument]], valid_from_us: int) -> Instrument | None:
    """Return the archived state of a pair at that time."""
    index = bisect_right(rows, valid_from_us, key=_moment)
    return rows[index - 1][1] if index else None


def _moment(row: tuple[int, Instrument]) -> int:
    return row[0]
