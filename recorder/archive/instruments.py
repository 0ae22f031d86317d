"""What the exchange listed, and since when: one row per change of a pair."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from recorder.archive import files
from recorder.archive.coverage import read_facts
from recorder.archive.files import Layout
from recorder.archive.schema import Footer, instruments_table
from recorder.core.model import Instrument, plain
from recorder.disk import Disk


class InstrumentArchive:
    """The instruments table, for writing. One process writes it: the daemon."""

    def __init__(self, layout: Layout, disk: Disk, *, staging: Path) -> None:
        self._layout = layout
        self._disk = disk
        self._staging = staging
        self._latest: dict[str, Instrument] | None = None

    def append(self, valid_from_us: int, listing: Iterable[Instrument], *, segment: int) -> int:
        """Add the instruments that differ from what is archived of them; return how many.

        ``segment`` is the journal segment the listing was drained from. Drained again it adds nothing, since
        nothing differs then.
        """
        latest = self._load() if self._latest is None else self._latest
        changed = [instrument for instrument in listing if latest.get(instrument.pair) != instrument]
        if changed:
            table = instruments_table([(valid_from_us, instrument) for instrument in changed])
            path = self._layout.instruments / f"{valid_from_us}-{uuid.uuid4().hex[:16]}.parquet"
            footer = Footer("instruments", segments=(segment,))
            files.write(table, footer, path, self._disk, staged_in=self._staging)
        self._latest = latest | {instrument.pair: instrument for instrument in changed}
        return len(changed)

    def latest(self) -> list[Instrument]:
        """Return what is archived of each pair, the newest row."""
        return list(self._load().values())

    def _load(self) -> dict[str, Instrument]:
        rows = [
            row
            for path in self._layout.instruments.glob("*.parquet")
            if read_facts(path).rows
            for row in pq.read_table(path).to_pylist()
        ]
        rows.sort(key=lambda row: row.pop("valid_from"))
        latest = {}
        for row in rows:
            for field in ("tick_size", "ordermin", "costmin"):
                row[field] = None if row[field] is None else plain(row[field])
            latest[row["pair"]] = Instrument(**row)
        return latest
