"""Appending millions of trades of one pair from history files, as few large files that are written meanwhile.

Small files would each be merged later, which takes longer than writing them. So rows are written to a file in staging,
outside the table and without a lock. When it is complete it moves into the table under the pair's lock, if none of its
ids is stored or disowned by then; what another process stored meanwhile is left out, as everywhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pyarrow as pa

from recorder.archive import locks
from recorder.archive.datasets import TRADES, Branch
from recorder.archive.footer import TIME_DIGITS, Footer, Imported, held_runs, time_digits
from recorder.archive.layout import SUFFIX, new_name
from recorder.archive.parquet import FINAL_LEVEL, ROW_GROUP, FileFacts, GrowingFile, OpenFile
from recorder.archive.trades import MAX_ROWS, TradeArchive, tables_by_year
from recorder.core.trade_ids import Run, Spans, joined


class BulkAppend:
    """Appends rows of history files to ``pair``, in ascending id, each id once: :meth:`add` them, then :meth:`finish`.

    Each :meth:`finish` completes a file, as does a new year. What is not stored when the context ends is dropped.
    ``stored`` is called with the ids that are stored, durably, whenever a file is complete. Every method raises
    DiskError, and UnsoundFile if the pair's stored files cannot be trusted.
    """

    def __init__(self, archive: TradeArchive, pair: str, stored: Callable[[Spans], None]) -> None:
        self._archive = archive
        self._pair = pair
        self._stored = stored
        self._file: GrowingFile | None = None
        self._year = 0
        self._runs: list[Run] = []
        self._digits = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._archive.disk.unlink(self._file.path)
        self._file, self._runs, self._digits = None, [], 0

    def add(self, rows: pa.Table) -> None:
        """Add rows that follow those added before."""
        for year, part in tables_by_year(rows):
            if self._file is not None and (year != self._year or self._file.rows + part.num_rows > MAX_ROWS):
                self.finish()
            if self._file is None:
                staged = self._archive.staging / f"{uuid.uuid4().hex}{SUFFIX}"
                self._file = GrowingFile(staged, TRADES.columns, TRADES.name, self._archive.disk, level=FINAL_LEVEL)
                self._year = year
            self._file.add(part)
            self._runs[-1:] = joined([*self._runs[-1:], *held_runs(part, self._pair)])
            if self._digits < TIME_DIGITS:
                self._digits = max(self._digits, time_digits(part["time"]))

    def finish(self) -> None:
        """Store the rows that are not stored yet."""
        file, self._file = self._file, None
        if file is None:
            return
        with file:
            if not self._moved(file):
                self._add_missing(file)
        self._runs, self._digits = [], 0

    def _moved(self, file: GrowingFile) -> bool:
        """Complete the file, and move it into the table unless that would store an id twice; return whether it was."""
        archive, pair = self._archive, self._pair
        with locks.writing(archive.layout, archive.disk, Branch(TRADES, pair)):
            files = archive.coverage.files(pair)
            taken = Spans(run.span for one in files for run in one.footer.runs)
            taken.update(archive.claimed.ids(pair))
            runs, promise = tuple(self._runs), archive.promise_of(pair, files)
            imported = tuple(Imported(run.span, self._digits) for run in runs)
            footer = Footer(TRADES.name, pair, runs, promise=promise, archive=archive.id, imported=imported)
            digest = file.finish(footer)
            if any(taken.within(run.span) for run in runs):
                return False
            folder = archive.layout.year_dir(pair, self._year)
            archive.disk.make_dir(folder)
            path = folder / new_name(runs[0].span.first, runs[-1].span.last, digest)
            archive.disk.rename(file.path, path)
            archive.disk.sync_dir(folder)
            archive.coverage.add_file(pair, FileFacts(path, footer, file.rows, path.stat().st_size))
        self._stored(Spans(run.span for run in runs))
        return True

    def _add_missing(self, file: GrowingFile) -> None:
        """Add the rows of the complete file whose ids are not stored by now."""
        with OpenFile(file.path) as staged:
            for rows in staged.read(ROW_GROUP):
                self._stored(self._archive.append_rows(self._pair, rows.cast(TRADES.columns)))
        self._archive.disk.unlink(file.path)
