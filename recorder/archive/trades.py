"""Exactly-once appending of trades: take the lock, update coverage, write only ids that are new.

It holds for repeated trades from any source and any process, and after any crash, because the id decides: an id that is
stored or disowned is not new.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive import archive_id, locks, parquet
from recorder.archive.coverage import Coverage
from recorder.archive.datasets import TRADES, Branch
from recorder.archive.footer import Footer, held_runs, imported_ids
from recorder.archive.layout import Layout
from recorder.archive.parquet import FileFacts, OpenFile
from recorder.archive.read_trades import of_rows
from recorder.archive.schema import REFUSED, trades_table
from recorder.archive.stored_evidence import DatedClaims
from recorder.core import evidence
from recorder.core.evidence import Promise
from recorder.core.model import PAIR_LIMIT, Trade, is_pair
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Disk
from recorder.errors import Unstorable

MAX_ROWS: Final = 5_000_000
"""Largest number of rows in a file (DESIGN 6)."""


def _check_name(pair: str) -> None:
    if not is_pair(pair):
        raise Unstorable(f"{pair[:PAIR_LIMIT]!r} is no name of a pair that a folder can have")


class TradeArchive:
    """The trades table, for writing. Calls block; different pairs may be written from different threads.

    ``promised`` returns the promise of a pair as known to the writer. It is stored in each file that is written.
    """

    def __init__(self, layout: Layout, disk: Disk, *, staging: Path) -> None:
        self.layout = layout
        self.id = archive_id.read(layout.data)
        self.promised: Callable[[str], Promise | None] = lambda _: None
        self.coverage = Coverage(layout, disk)
        self.claimed = DatedClaims(layout)
        self.staging = staging
        self.disk = disk

    def append(self, pair: str, trades: Sequence[Trade]) -> Spans:
        """Add the trades of ``pair`` whose ids are neither stored nor disowned; return the ids added, durable.

        Of rows with the same id, the first counts. Raises Unstorable if a value does not fit the schema, or the pair's
        name cannot be a folder name.
        """
        if not trades:
            return Spans()
        _check_name(pair)
        with locks.writing(self.layout, self.disk, Branch(TRADES, pair)):
            return self.append_locked(pair, trades, but=self.claimed.ids(pair))

    def append_locked(self, pair: str, trades: Sequence[Trade], *, but: Spans) -> Spans:
        """Add trades as :meth:`append` does, except the ids in ``but``. The caller holds the pair's lock."""
        files = self.coverage.files(pair)
        held = Spans(run.span for file in files for run in file.footer.runs)
        held.update(but)
        added, promise = Spans(), self.promise_of(pair, files)
        for year, rows in _by_year(_fresh(trades, held)):
            for start in range(0, len(rows), MAX_ROWS):
                written = self._write(pair, year, rows[start : start + MAX_ROWS], promise)
                added.update(run.span for run in written.runs)
        return added

    def append_rows(self, pair: str, rows: pa.Table) -> Spans:
        """Add rows, ascending in id and each id once, as :meth:`append` adds trades; return the ids added, durable.

        They have the columns of the table, and fit it. Made for millions: no row becomes an object.
        """
        _check_name(pair)
        with locks.writing(self.layout, self.disk, Branch(TRADES, pair)):
            files, added = self.coverage.files(pair), Spans()
            held = Spans(run.span for file in files for run in file.footer.runs)
            held.update(self.claimed.ids(pair))
            promise = self.promise_of(pair, files)
            for year, part in tables_by_year(rows_outside(rows, held)):
                for start in range(0, part.num_rows, MAX_ROWS):
                    written = self._write_table(pair, year, part.slice(start, MAX_ROWS), promise)
                    added.update(run.span for run in written.runs)
        return added

    def promise_of(self, pair: str, files: Iterable[FileFacts]) -> Promise | None:
        """Return the promise of ``pair`` according to the writer and to its files."""
        return evidence.earliest(self.promised(pair), *{file.footer.promise for file in files})

    def repeated(self, pair: str, trades: Sequence[Trade]) -> list[tuple[Trade, Trade]]:
        """Return the trades whose id is already stored, in order, each with the stored row; :meth:`append` drops them.

        Of stored ids, only those in the row group of the last one are compared, so that it costs one read. Raises
        UnsoundFile, UnreadableFile, Unstorable.
        """
        _check_name(pair)
        if not trades:
            return []
        ids = [trade.trade_id for trade in trades]
        news = _ascend(ids)
        with locks.writing(self.layout, self.disk, Branch(TRADES, pair)):
            span = Span(ids[0], ids[-1]) if news else Span(min(ids), max(ids))
            again = Spans(self.coverage.spans(pair).within(span))
            if news and not again:  # the usual case: nothing is repeated
                return []
            first_of = {trade.trade_id: trade for trade in reversed(trades)}
            last = next((trade_id for trade_id in reversed(ids) if trade_id in again), None)
            stored = {} if last is None else self._stored_near(pair, last, pa.array(first_of, pa.int64()))
        before = ((trade, stored.get(trade.trade_id, first_of[trade.trade_id])) for trade in trades)
        return [(trade, held) for trade, held in before if held is not trade]

    def stored(self, pair: str, trade_id: int) -> Trade | None:
        """Return the row with this id if it is stored, else None. Raises UnsoundFile, UnreadableFile."""
        with locks.writing(self.layout, self.disk, Branch(TRADES, pair)):
            return self._stored_near(pair, trade_id, pa.array([trade_id], pa.int64())).get(trade_id)

    def _stored_near(self, pair: str, trade_id: int, wanted: pa.Array) -> dict[int, Trade]:
        """Return the ``wanted`` rows of the row group that has this id, by id."""
        for facts in self.coverage.files(pair):
            if any(trade_id in run.span for run in facts.footer.runs):
                with OpenFile(facts.path) as file:
                    for group in file.groups:
                        low, high = file.limits("trade_id", group)
                        if low <= trade_id <= high:
                            rows = file.table(columns=TRADES.columns.names, groups=[group])
                            rows = rows.filter(pc.is_in(rows["trade_id"], value_set=wanted))
                            return {row.trade_id: row for row in of_rows(rows, pair)}
        return {}

    def _write(self, pair: str, year: int, rows: Sequence[Trade], promise: Promise | None) -> Footer:
        try:
            table = trades_table(rows)
        except REFUSED as error:
            raise Unstorable(f"a trade of {pair} does not fit the archive's schema: {error}") from error
        return self._write_table(pair, year, table, promise)

    def _write_table(self, pair: str, year: int, table: pa.Table, promise: Promise | None) -> Footer:
        directory = self.layout.year_dir(pair, year)
        self.disk.make_dir(directory)
        runs = held_runs(table, pair)
        footer = Footer(TRADES.name, pair, runs, promise=promise, archive=self.id, imported=imported_ids(table))
        named = runs[0].span.first, runs[-1].span.last
        written = parquet.write_new(table, footer, directory, self.disk, named=named, staged_in=self.staging)
        self.coverage.add_file(pair, written)
        return footer


def _ascend(ids: Sequence[int]) -> bool:
    """Return whether ids are unique and in order, as they nearly always are in the stream."""
    return all(map(operator.lt, ids, ids[1:]))


def _fresh(trades: Sequence[Trade], held: Spans) -> Sequence[Trade]:
    """Return the trades not stored, one per id, in ascending id."""
    ids = [trade.trade_id for trade in trades]
    if not _ascend(ids):
        by_id: dict[int, Trade] = {}
        for trade in trades:
            by_id.setdefault(trade.trade_id, trade)
        ids = sorted(by_id)
        trades = [by_id[trade_id] for trade_id in ids]
    if not held.within(Span(ids[0], ids[-1])):
        return trades
    return [trade for trade in trades if trade.trade_id not in held]


def _by_year(trades: Sequence[Trade]) -> list[tuple[int, Sequence[Trade]]]:
    """Split trades by the UTC year of their time, keeping their order."""
    if not trades:
        return []
    times_us = [trade.time_us for trade in trades]
    first, last = _year(min(times_us)), _year(max(times_us))
    if first == last:
        return [(first, trades)]
    years: dict[int, list[Trade]] = {}
    for trade in trades:
        years.setdefault(_year(trade.time_us), []).append(trade)
    return [(year, years[year]) for year in sorted(years)]


def tables_by_year(rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Split rows by the UTC year of their time, keeping their order."""
    if not rows.num_rows:
        return
    ends = pc.min_max(rows["time"].cast(pa.int64())).as_py()
    first, last = _year(ends["min"]), _year(ends["max"])
    if first == last:
        yield first, rows
        return
    years = pc.year(rows["time"])
    for year in sorted(pc.unique(years).to_pylist()):
        yield year, rows.filter(pc.equal(years, year))


def rows_outside(rows: pa.Table, spans: Spans) -> pa.Table:
    """Return the rows, ascending in id, whose ids are not in the spans: without a copy if that is all of them."""
    if not rows.num_rows or not spans.within(Span(rows["trade_id"][0].as_py(), rows["trade_id"][-1].as_py())):
        return rows
    return rows.filter(pc.invert(ids_within(rows, spans)))


def ids_within(rows: pa.Table, spans: Spans) -> pa.Array:
    """Return for each row whether its id is in the spans."""
    if not spans:
        return pa.array(np.zeros(rows.num_rows, np.bool_))
    ids = rows["trade_id"].to_numpy()
    firsts, lasts = (np.array(edges) for edges in zip(*((span.first, span.last) for span in spans), strict=True))
    at = np.searchsorted(firsts, ids, side="right") - 1
    return pa.array((at >= 0) & (ids <= lasts[at]))


def _year(time_us: int) -> int:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).year
