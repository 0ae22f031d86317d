"""What the exchange listed, and since when: one row per change of a pair."""

from __future__ import annotations

import uuid
from bisect import bisect_right, insort
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from recorder.archive import files
from recorder.archive.coverage import read_facts
from recorder.archive.files import Layout
from recorder.archive.schema import Footer, instruments_table
from recorder.core.model import Instrument, plain
from recorder.disk import Disk

_History: TypeAlias = dict[str, list[tuple[int, Instrument]]]
"""Of each pair the rows archived: since when (µs since 1970 UTC), and what. Oldest first."""


class InstrumentArchive:
    """The instruments table, for writing. One process writes it: the daemon."""

    def __init__(self, layout: Layout, disk: Disk, *, staging: Path) -> None:
        self._layout = layout
        self._disk = disk
        self._staging = staging
        self._history: _History | None = None

    def append(self, valid_from_us: int, listing: Iterable[Instrument], *, segment: int) -> int:
        """Add the instruments that differ from what was archived of them for that moment; return how many.

        ``segment`` is the journal segment the listing was drained from. Drained again it adds nothing, even when
        later listings have been archived since: (pair, valid_from) is the key.
        """
        history = self._load() if self._history is None else self._history
        changed = [instrument for instrument in listing if _before(history, instrument, valid_from_us) != instrument]
        if changed:
            table = instruments_table([(valid_from_us, instrument) for instrument in changed])
            path = self._layout.instruments / f"{valid_from_us}-{uuid.uuid4().hex[:16]}{files.SUFFIX}"
            footer = Footer("instruments", segments=(segment,))
            files.write(table, footer, path, self._disk, staged_in=self._staging)
        for instrument in changed:
            insort(history.setdefault(instrument.pair, []), (valid_from_us, instrument), key=_moment)
        self._history = history
        return len(changed)

    def latest(self) -> list[Instrument]:
        """Return what is archived of each pair, the newest row."""
        return [rows[-1][1] for rows in self._load().values()]

    def _load(self) -> _History:
        # What a process wrote that died before the name was durable must not be taken for archived.
        self._disk.sync_dir(self._layout.instruments)
        history: _History = {}
        for path in self._layout.instruments.glob(f"*{files.SUFFIX}"):
            if not read_facts(path).rows:
                continue
            with pq.ParquetFile(path) as parquet:
                table = parquet.read()
            moments_us = table["valid_from"].cast(pa.int64()).to_pylist()
            for valid_from_us, row in zip(moments_us, table.drop_columns("valid_from").to_pylist(), strict=True):
                for field in ("tick_size", "ordermin", "costmin"):
                    row[field] = None if row[field] is None else plain(row[field])
                history.setdefault(row["pair"], []).append((valid_from_us, Instrument(**row)))
        for rows in history.values():
            rows.sort(key=_moment)
        return history


def _before(history: _History, instrument: Instrument, valid_from_us: int) -> Instrument | None:
    """Return what was archived of the instrument's pair for that moment."""
    rows = history.get(instrument.pair, [])
    index = bisect_right(rows, valid_from_us, key=_moment)
    return rows[index - 1][1] if index else None


def _moment(row: tuple[int, Instrument]) -> int:
    return row[0]
