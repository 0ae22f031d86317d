"""Merging another archive of the same pairs into this one, for example from a recorder on a second machine.

Trades are identified by id. A trade whose id is not stored is appended like any other, under the pair's lock, so a
merge can run beside a daemon, be interrupted at any time, and be repeated. Like a backfill, it ends when disk space is
low. A trade that both archives have is compared and never written. Of the other archive, files are only read: nothing
in it is locked, renamed or changed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive import integrity, stored_evidence, verify_tables
from recorder.archive.check_readable import check_bytes, check_for_parsing
from recorder.archive.coverage import Coverage
from recorder.archive.datasets import INSTRUMENTS, TRADES, Branch, Dataset
from recorder.archive.footer import held_runs
from recorder.archive.instrument_changes import as_archived
from recorder.archive.integrity import Finding
from recorder.archive.layout import Layout, names_of_leaf, period_of
from recorder.archive.merged_files import MergedFiles
from recorder.archive.ordered_merge import Batches, in_order, key
from recorder.archive.parquet import ROW_GROUP, SET_APART, FileFacts, OpenFile, read_facts
from recorder.archive.segment_tables import Segments
from recorder.archive.stored_evidence import DatedClaims
from recorder.archive.trades import TradeArchive, ids_within, rows_outside
from recorder.archive.verify_trades import readable_files
from recorder.core import evidence
from recorder.core.disk_limits import require
from recorder.core.evidence import Promise
from recorder.core.model import Instrument, plain
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Room, undisturbed
from recorder.errors import CorruptFile, UnsoundFile

APPENDED_ROWS: Final = 100_000
"""Trades written at once, some 100 MB as objects: as many as a drain writes."""
TIDY_FILES: Final = 8
"""Files written before they are merged, as in a backfill: a long history would otherwise create thousands."""
WRITTEN_ROWS: Final = ROW_GROUP
"""Rows of a table without ids that are collected before they are written together."""
_BATCH: Final = 32_768
_STRICT: Final = ("price", "qty", "side", "ord_type")
"""Fields that the exchange reports identically on every interface; a difference is a disagreement."""
_COMPARED: Final = ["trade_id", "time", *_STRICT, "misc", "source"]
DOUBLE_US: Final = 1
"""REST prints times as doubles, which can differ by a microsecond from those of the stream (API.md 7.3)."""


Difference: TypeAlias = tuple[int, str, str, str]
"""A difference between two rows with the same id: the id, the field, our value, their value."""
Differences: TypeAlias = Callable[[pa.Table, pa.Table], Iterator[Difference]]
"""Yields the differences between our rows and their rows of the same ids, in order."""


_Chosen: TypeAlias = tuple[OpenFile, Sequence[int]]
"""A file, and its row groups to read."""
Only: TypeAlias = Callable[[Branch, pa.Table], pa.Table]
"""Returns some of these rows of a branch."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A trade that the archives store with different content; neither can be shown to be right from here."""

    pair: str
    trade_id: int
    field: str
    ours: str
    theirs: str


@dataclass(slots=True)
class Tally:
    """Result for the trades of one pair: rows that were new, rows that both archives have, and fields that differ."""

    added: int = 0
    compared: int = 0
    disagreements: int = 0


def promises(ours: Layout, theirs: Layout) -> Callable[[str], Promise | None]:
    """Return a function that gives the promise of a pair in either archive, so that merged files keep it.

    Our own files are left out: their promise is read when they are appended to. Raises UnknownVersion, StorageError.
    """
    both = [stored_evidence.read(layout) for layout in (ours, theirs)]

    @functools.cache
    def promised(pair: str) -> Promise | None:
        of_files = undisturbed(lambda: _promised_in(theirs, pair), f"the files of {pair}")
        return evidence.earliest(*(one.promise(pair) for one in both), *of_files)

    return promised


def _promised_in(layout: Layout, pair: str) -> set[Promise | None]:
    branch, found = Branch(TRADES, pair), set[Promise | None]()
    for path in layout.files(branch):
        with contextlib.suppress(*SET_APART):  # its rows are left out, too
            found.add(integrity.check_place(read_facts(path), branch).footer.promise)
    return found


class StoredTrades:
    """Compares trades from elsewhere with those that are stored, pair by pair, and finds those that are not.

    ``coverage`` and ``disowned`` are of the same archive. ``disagreed`` is called with each disagreement, which
    ``differences`` finds in two tables of the same ids.
    """

    def __init__(
        self,
        coverage: Coverage,
        disowned: DatedClaims,
        *,
        disagreed: Callable[[Disagreement], None],
        differences: Differences | None = None,
    ) -> None:
        self._coverage = coverage
        self._differences = differences or _differences
        self._disowned = disowned
        self._disagreed = disagreed
        self._tallies: dict[str, Tally] = {}
        self._trusted: set[str] = set()
        self.refused: dict[str, Finding] = {}

    def tally(self, pair: str) -> Tally:
        """Return the result for ``pair`` so far."""
        return self._tallies.setdefault(pair, Tally())

    def refuses(self, pair: str) -> bool:
        """Return whether the stored ids of ``pair`` are unknown; if so, :attr:`refused` has the damaged file."""
        if pair not in self._trusted and pair not in self.refused:
            try:
                self._held(pair)
            except SET_APART as error:
                self.refused[pair] = Finding.of(error)
            else:
                self._trusted.add(pair)
        return pair in self.refused

    def settled(self, pair: str) -> Spans:
        """Return the ids of ``pair`` that are stored or disowned."""
        return Spans([*self._held(pair), *self._disowned.ids(pair)])

    def fresh(self, pair: str, rows: pa.Table) -> pa.Table:
        """Compare rows, ascending in id, and return those that are neither stored nor disowned."""
        held = self._held(pair)
        if common := Spans(part for run in held_runs(rows, pair) for part in held.within(run.span)):
            self._compare(pair, rows.filter(ids_within(rows, common)), common)
        return rows_outside(rows, Spans([*held, *self._disowned.ids(pair)]))

    def _held(self, pair: str) -> Spans:
        return undisturbed(lambda: self._coverage.spans(pair), f"the files of {pair}")

    def _compare(self, pair: str, theirs: pa.Table, common: Spans) -> None:
        ids, tally = theirs["trade_id"].combine_chunks(), self.tally(pair)
        ours = undisturbed(lambda: self._ours(pair, pc.unique(ids), common), f"the files of {pair}")
        if ours.num_rows < len(ids):  # an id comes several times
            ours = ours.take(pa.array(np.searchsorted(ours["trade_id"].to_numpy(), ids.to_numpy())))
        tally.compared += theirs.num_rows
        for trade_id, field, one, other in self._differences(ours, theirs):
            tally.disagreements += 1
            self._disagreed(Disagreement(pair, trade_id, field, one, other))

    def _ours(self, pair: str, ids: pa.Array, common: Spans) -> pa.Table:
        """Return our rows with these ids, in order."""
        found = [
            rows
            for facts in self._coverage.files(pair)
            if any(common.within(run.span) for run in facts.footer.runs)
            for rows in _rows_of(facts, ids, common)
        ]
        ours = pa.concat_tables(found).sort_by("trade_id")
        if not ours["trade_id"].combine_chunks().equals(ids):
            raise CorruptFile(f"files of {pair} do not hold the ids that their footers claim: see `recorder verify`")
        return ours


class TradeMerge:
    """Merges trades of another archive, pair by pair: :meth:`add` them, then :meth:`finish` the pair.

    Without an ``archive`` to write to, trades are only counted and compared. ``disagreed`` is called with each
    disagreement. ``tidy`` merges the small files of a pair from time to time. ``room`` measures the archive's disk
    before each file is written: if space is low, every method that writes raises DiskError, which states how many
    trades were added. ``files`` tells which files of the other archive need not be read again. ``brought`` are the
    added ids by pair.
    """

    def __init__(
        self,
        layout: Layout,
        archive: TradeArchive | None,
        *,
        disagreed: Callable[[Disagreement], None],
        tidy: Callable[[str], None],
        room: Callable[[], Room],
        files: MergedFiles | None = None,
    ) -> None:
        self._archive = archive
        self._files = files
        self._disputed: dict[str, Spans] = {}
        coverage = archive.coverage if archive is not None else Coverage(layout)
        disowned = archive.claimed if archive is not None else DatedClaims(layout)
        self._disagreed = disagreed
        self._stored = StoredTrades(coverage, disowned, disagreed=self._dispute)
        self._tidy = tidy
        self._room = room
        self._waiting: list[pa.Table] = []
        self._written = 0
        self.brought: dict[str, Spans] = {}
        # For a dry run only: the other journal and the other archive may have the same trades.
        self._counted: dict[str, Spans] = {}

    def year(self, pair: str, leaf: Path) -> list[Finding]:
        """Add a year of ``pair``, the folder ``leaf`` of the other archive; return findings about files left out."""
        merged = self._merged(pair, leaf)
        with readable_files(leaf, pair, but=merged) as (readable, findings):
            size = max(1, _BATCH // max(1, len(readable)))
            for rows in in_order(((file.facts.first_id, _opener(file, size)) for file in readable), TRADES.order):
                self.add(pair, _each_once(rows))
            facts = [file.facts for file in readable]
        self.finish(pair)
        if self._files is not None and not self._stored.refuses(pair):
            disputed = self._disputed.get(pair, Spans())
            agreed = [one.path.name for one in facts if not _touches(one, disputed)]
            self._files.note(leaf, [*merged, *agreed])
            self._files.skipped += len(merged)
        return findings

    def _merged(self, pair: str, leaf: Path) -> frozenset[str]:
        """Return the names of files that were merged and compared before, and whose ids are all stored."""
        names = frozenset[str]() if self._files is None else self._files.of(leaf)
        if not names or self._stored.refuses(pair):
            return frozenset()
        settled = self._stored.settled(pair)
        return frozenset(name for name in names if _is_within(leaf / name, settled))

    def add(self, pair: str, rows: pa.Table) -> None:
        """Add rows of ``pair``, ascending in id, each id once. Does nothing if the pair's own files are not trusted."""
        if self._stored.refuses(pair):
            return
        fresh = self._stored.fresh(pair, rows)
        if self._archive is None:
            counted = self._counted.setdefault(pair, Spans())
            fresh = rows_outside(fresh, counted)
            counted.update(run.span for run in held_runs(rows, pair))
        if fresh.num_rows:
            self._waiting.append(fresh)
            if sum(part.num_rows for part in self._waiting) >= APPENDED_ROWS:
                self._write(pair)

    def finish(self, pair: str) -> None:
        """Write the remaining rows of ``pair``."""
        self._write(pair)
        if self._written:
            self._merge_small(pair)

    def tally(self, pair: str) -> Tally:
        """Return the result for ``pair`` so far."""
        return self._stored.tally(pair)

    @property
    def refused(self) -> dict[str, Finding]:
        """The pairs whose own files cannot be trusted, each with the damaged file."""
        return self._stored.refused

    def _dispute(self, one: Disagreement) -> None:
        self._disputed.setdefault(one.pair, Spans()).add(Span(one.trade_id, one.trade_id))
        self._disagreed(one)

    def _write(self, pair: str) -> None:
        if not self._waiting:
            return
        rows, self._waiting = pa.concat_tables(self._waiting), []
        if self._archive is None:
            self.tally(pair).added += rows.num_rows
            return
        self._require_room(pair)
        added = self._archive.append_rows(pair, rows)
        self.brought.setdefault(pair, Spans()).update(added)
        self.tally(pair).added += added.count()
        self._written += 1
        if self._written >= TIDY_FILES:
            self._merge_small(pair)

    def _merge_small(self, pair: str) -> None:
        self._require_room(pair)
        self._tidy(pair)
        self._written = 0

    def _require_room(self, pair: str) -> None:
        _require(self._room, f"{pair}: stopped with {self.tally(pair).added:,} of its trades added")


def _is_within(path: Path, ids: Spans) -> bool:
    """Return whether all ids of a file of trades are among these, by its footer; not if it is gone, or damaged."""
    try:
        return all(ids.covers(run.span) for run in read_facts(path).footer.runs)
    except (*SET_APART, FileNotFoundError):
        return False


def _touches(facts: FileFacts, ids: Spans) -> bool:
    return any(ids.within(run.span) for run in facts.footer.runs)


def _opener(file: OpenFile, size: int) -> Batches:
    def batches() -> Iterator[pa.Table]:
        for rows in file.read(size):
            yield rows.cast(TRADES.columns)

    return batches


def _each_once(rows: pa.Table) -> pa.Table:
    """Drop rows that are in two files of the other archive, which only happens if files are copied by hand."""
    fresh = np.diff(rows["trade_id"].to_numpy(), prepend=-1) > 0
    return rows if fresh.all() else rows.filter(pa.array(fresh))


def _rows_of(facts: FileFacts, ids: pa.Array, common: Spans) -> list[pa.Table]:
    """Read the rows with these ids from one of our files: only the row groups that may have some."""
    with OpenFile(facts.path) as file:
        limits = ((group, Span(*file.limits("trade_id", group))) for group in file.groups)
        groups = [group for group, ids_in in limits if common.within(ids_in)]
        parts = file.read(_BATCH, groups=groups, columns=_COMPARED)
        return [rows.filter(pc.is_in(rows["trade_id"], value_set=ids)) for rows in parts]


def _differences(ours: pa.Table, theirs: pa.Table) -> Iterator[Difference]:
    """Yield where rows with the same id differ in a field that should be equal."""
    same_way = pc.equal(ours["source"], theirs["source"])
    late = pc.greater(apart_us(ours, theirs), pc.if_else(same_way, 0, DOUBLE_US))
    # The stream does not report this field.
    misc = pc.and_(same_way, pc.not_equal(ours["misc"], theirs["misc"]))
    yield from differences(ours, theirs, time=late, misc=misc)


def apart_us(ours: pa.Table, theirs: pa.Table) -> pa.ChunkedArray:
    """Return how far apart the times of the rows are, in µs."""
    return pc.abs(pc.subtract(ours["time"].cast(pa.int64()), theirs["time"].cast(pa.int64())))


def differences(ours: pa.Table, theirs: pa.Table, **others: pa.ChunkedArray) -> Iterator[Difference]:
    """Yield where rows with the same id differ in a field that is the same on every interface, or in ``others``."""
    wrong = {name: pc.not_equal(ours[name], theirs[name]) for name in _STRICT} | others
    for field, differs in wrong.items():
        for index in pc.indices_nonzero(differs.combine_chunks()).to_pylist():
            trade_id = ours["trade_id"][index].as_py()
            yield trade_id, field, _text(ours[field][index].as_py()), _text(theirs[field][index].as_py())


def _text(value: Any) -> str:  # noqa: ANN401 -- whatever a column holds
    if hasattr(value, "as_tuple"):
        return plain(value)
    return str(value.isoformat().replace("+00:00", "Z")) if hasattr(value, "isoformat") else str(value)


def rows_of(
    dataset: Dataset,
    ours: Layout,
    segments: Segments | None,
    other: Layout,
    *,
    room: Callable[[], Room],
    only: Only = lambda _, rows: rows,
    files: MergedFiles | None = None,
    tidy: Callable[[Branch], None] = lambda _: None,
) -> tuple[int, list[Finding]]:
    """Add the rows of a table of the ``other`` archive whose ``merged_by`` is not stored, exactly as they are there.

    ``only`` returns which of such rows of a branch are to be added. Returns how many rows were added, or would be
    without ``segments``, and the findings about files, which are left out. A stored row stays as it is, whatever the
    other archive has. ``room`` measures our disk before each file is written; if space is low, DiskError states how
    many rows were added. ``files`` tells which files of the other archive need not be read again, and ``tidy`` merges
    the small files that earlier merges left in a branch.
    """
    job = _TableMerge(ours, segments, room, only, files, tidy)
    findings = [finding for branch in other.branches(dataset) for finding in job.branch(branch, other)]
    return job.added, findings


@dataclass(slots=True)
class _TableMerge:
    """The merge of one table, folder by folder; see :func:`rows_of`."""

    ours: Layout
    segments: Segments | None
    room: Callable[[], Room]
    only: Only
    files: MergedFiles | None
    tidy: Callable[[Branch], None]
    added: int = 0

    def branch(self, branch: Branch, other: Layout) -> list[Finding]:
        """Add the rows of a branch of the other archive; return the findings about its files."""
        here = {leaf: self.ours.leaf(branch, period_of(leaf)) for leaf in other.leaves(branch)}
        merged = {leaf: self._merged(leaf, here[leaf]) for leaf in here}
        if self.segments is not None:
            self.tidy(branch)  # before anything is noted, which names the files that are left
        return [finding for leaf in here for finding in self._leaf(branch, leaf, here[leaf], merged[leaf])]

    def _merged(self, leaf: Path, here: Path) -> frozenset[str]:
        """Return the names of files in ``leaf`` that were merged before, and of which nothing can be missing here."""
        merged = frozenset[str]() if self.files is None else self.files.of_unchanged(leaf, names_of_leaf(here))
        return merged.intersection(names_of_leaf(leaf)) if merged else merged

    def _leaf(self, branch: Branch, leaf: Path, here: Path, merged: frozenset[str]) -> list[Finding]:
        """Add the rows of one folder, except those of the files ``merged`` before."""
        waiting: list[pa.Table] = []
        whole = True
        with contextlib.ExitStack() as stack:
            theirs, findings = verify_tables.opened(leaf, branch, stack, but=merged)
            held = _ours_opened(here, branch, stack, check=check_for_parsing) if theirs else []
            for rows in _fresh_rows(branch.dataset, theirs, held):
                fresh = self.only(branch, rows)
                whole &= fresh is rows
                waiting.append(fresh)
                self.added += fresh.num_rows
                if sum(part.num_rows for part in waiting) >= WRITTEN_ROWS:
                    self._write(branch, waiting)
                    waiting = []
        self._write(branch, waiting)
        if self.files is not None:
            now = names_of_leaf(here)
            whole &= {file.path.name for file in held} <= set(now)
            self.files.note(leaf, [*merged, *(file.path.name for file in theirs if whole)], ours=now)
            self.files.skipped += len(merged)
        return findings

    def _write(self, branch: Branch, waiting: Sequence[pa.Table]) -> None:
        _add(self.segments, branch, waiting, self.added, self.room)


def _fresh_rows(dataset: Dataset, theirs: Sequence[OpenFile], held: Sequence[OpenFile]) -> Iterator[pa.Table]:
    """Yield the rows of ``theirs`` whose key none of ``held`` has, in bounded memory: both are in order of keys."""
    by = dataset.merged_by
    keys = in_order(_ordered_files(_with_keys(held, theirs, by), pa.schema(map(dataset.columns.field, by))), by)
    stored = next(keys, None)
    for rows in in_order(_ordered_files([(file, file.groups) for file in theirs], dataset.columns), dataset.order):
        last, fresh = key(by, rows, -1), rows
        while stored is not None:
            fresh = fresh.join(stored, list(by), join_type="left anti")
            if key(by, stored, -1) >= last:  # the next rows may have these keys too
                break
            stored = next(keys, None)
        if fresh.num_rows:
            yield fresh.select(dataset.columns.names).cast(dataset.columns)


def _with_keys(held: Sequence[OpenFile], theirs: Sequence[OpenFile], by: Sequence[str]) -> list[_Chosen]:
    """Return of our files the row groups that may have a key of ``theirs``."""
    spans = {name: [file.span(name) for file in theirs] for name in by}
    ends = {
        name: (min(low for low, _ in found), max(high for _, high in found)) for name, found in spans.items() if found
    }
    chosen: list[_Chosen] = []
    for file in held if theirs else ():
        groups = [group for group in file.groups if all(_meet(file.limits(name, group), ends[name]) for name in by)]
        if groups:
            check_bytes(file.path)
            chosen.append((file, groups))
    return chosen


def _meet(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    """Return whether two closed ranges have a value in common."""
    return bool(one[0] <= other[1] and other[0] <= one[1])


def _ordered_files(chosen: Sequence[_Chosen], columns: pa.Schema) -> list[tuple[None, Batches]]:
    size = max(1, _BATCH // max(1, len(chosen)))

    def opener(file: OpenFile, groups: Sequence[int]) -> Batches:
        return lambda: (rows.cast(columns) for rows in file.read(size, columns=columns.names, groups=groups))

    return [(None, opener(file, groups)) for file, groups in chosen]


def listings(
    ours: Layout,
    segments: Segments | None,
    other: Layout,
    late: Iterable[tuple[int, Instrument]] = (),
    *,
    room: Callable[[], Room],
) -> tuple[int, list[Finding]]:
    """Add the listings of pairs that have none in this archive. Returns and raises as :func:`rows_of` does.

    ``late`` are rows from the other archive's journal, each with its time in µs: they count for pairs that have no row
    in its table.
    """
    branch = Branch(INSTRUMENTS)
    with contextlib.ExitStack() as stack:
        theirs, findings = verify_tables.opened(other.leaf(branch, None), branch, stack)
        known = pa.array(_pairs(_ours_opened(ours.leaf(branch, None), branch, stack)), pa.string())
        columns = INSTRUMENTS.columns
        parts = [columns.empty_table(), *(rows.cast(columns) for file in theirs for rows in file.read(_BATCH))]
    rows = pa.concat_tables(parts)
    fresh = rows.filter(pc.invert(pc.is_in(rows["pair"], value_set=known)))
    listed_pairs = frozenset((*known.to_pylist(), *pc.unique(fresh["pair"]).to_pylist()))
    fresh = pa.concat_tables([fresh, _listed(late, listed_pairs)])
    _add(segments, branch, [fresh], fresh.num_rows, room)
    return fresh.num_rows, findings


def listed(
    ours: Layout,
    segments: Segments | None,
    rows: Iterable[tuple[int, Instrument]],
    *,
    room: Callable[[], Room] | None = None,
) -> int:
    """Add listings, each with its time in µs, of pairs that have none in this archive.

    Returns how many rows were added, and raises, as :func:`listings` does. Without ``room`` the disk's limits are not
    checked: one row for each of a few pairs is less than what the limits leave for it.
    """
    branch = Branch(INSTRUMENTS)
    with contextlib.ExitStack() as stack:
        known = frozenset(_pairs(_ours_opened(ours.leaf(branch, None), branch, stack)))
    fresh = _listed(rows, known)
    _add(segments, branch, [fresh], fresh.num_rows, room)
    return int(fresh.num_rows)


def _listed(rows: Iterable[tuple[int, Instrument]], known: frozenset[str]) -> pa.Table:
    return INSTRUMENTS.build([(moment_us, as_archived(row)) for moment_us, row in rows if row.pair not in known])


def _add(
    segments: Segments | None,
    branch: Branch,
    waiting: Sequence[pa.Table],
    found: int,
    room: Callable[[], Room] | None,
) -> None:
    """Write the collected rows, the last of ``found`` new ones."""
    rows = sum(part.num_rows for part in waiting)
    if segments is None or not rows:
        return
    name = f"{branch.dataset.name} {branch.value}" if branch.value else branch.dataset.name
    if room is not None:
        _require(room, f"{name}: stopped with {found - rows:,} rows added")
    segments.add(branch, pa.concat_tables(waiting), segment=None)


def _require(room: Callable[[], Room], stopped: str) -> None:
    found = room()
    require(found.free, found.total, stopped=stopped)


def _ours_opened(
    leaf: Path, branch: Branch, stack: contextlib.ExitStack, *, check: Callable[[Path], None] | None = None
) -> list[OpenFile]:
    found, findings = integrity.opened(leaf, branch, stack, check=check)
    for finding in findings:  # otherwise its content would be treated as missing
        raise UnsoundFile(finding.file, finding.problem, finding.remedy)
    return [file for file in found if file.rows]


def _pairs(opened: Iterable[OpenFile]) -> list[str]:
    return sorted(
        {
            pair
            for file in opened
            for rows in file.read(_BATCH, columns=["pair"])
            for pair in pc.unique(rows["pair"]).to_pylist()
        }
    )
