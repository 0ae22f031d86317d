"""Snapshots of the archive: which rows belong to one point in time, in files and in the journal's tail.

Contains the order in which a snapshot is taken, and how a retained snapshot is found again after a compaction. Rows
never change and ids identify them, so a snapshot is its set of ids; files are only where they currently are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from recorder.archive.datasets import BY_NAME, EVENTS, WITHOUT_IDS, Dataset
from recorder.archive.footer import Footer
from recorder.archive.layout import Layout
from recorder.archive.stored_evidence import DatedClaims
from recorder.core.evidence import Promise
from recorder.core.trade_ids import Run, Spans, joined
from recorder.errors import StorageError
from recorder.lazy_imports import pc
from recorder.object_store import located
from recorder.query import file_order
from recorder.query.journal_tail import NONE, TOGETHER, JournalTail, JournalTails, pending, runs_in
from recorder.query.refused_files import FAULTS, Fault, failing_path
from recorder.query.table_snapshot import TableFiles, TableSnapshot, TableSnapshots
from recorder.query.trade_files import PairFiles, TradeFiles

_NOBODY: Final = ("",)
"""No pair has this name. Where no pair is known, macros treat any pair as one without trades, except one with faults.
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows of one snapshot.

    ``files`` hold only rows that belong to it; ``cut_files`` hold others too, so only the ids in ``archived`` count
    there. ``tail`` has the trades that were only in the journal, and ``tails`` the journalled rows of tables without
    ids, by name, which may be in the archive as well. ``runs`` are the ids of each pair, over files and tail,
    and ``promises`` those in their footers, except the files ``unread``, as are the ``imported`` ids, whose rows come
    from history files; ``pairs`` are those with trades. All lists end
    with the table's empty schema file: an empty list is an error in DuckDB, and one that begins with it is planned
    badly (:mod:`recorder.query.file_order`). ``stamped`` are the files of the tables without ids. ``footers`` have for
    each pair the metadata of its ``files``, where those were read. ``faults`` are the reasons why no file of a pair may
    be read; ``refused`` the same by the path that is listed instead of such files. If it
    ``lacks_events``, they were left out because one of their files cannot be read, and nothing is proven.
    """

    files: tuple[str, ...]
    cut_files: tuple[str, ...]
    unread: tuple[str, ...]
    archived: Mapping[str, Spans]
    tail: pa.Table
    runs: Mapping[str, tuple[Run, ...]]
    pairs: tuple[str, ...]
    stamped: TableSnapshot
    promises: Mapping[str, Promise] = field(default_factory=dict)
    imported: Mapping[str, Spans] = field(default_factory=dict)
    footers: Mapping[str, Mapping[str, Footer]] = field(default_factory=dict)
    faults: Mapping[str, Fault] = field(default_factory=dict)
    refused: Mapping[str, Fault] = field(default_factory=dict)
    lacks_events: bool = False
    tails: Mapping[str, pa.Table] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether all its rows are in ``files``, which hold no others."""
        return len(self.cut_files) == 1 and not self.tail.num_rows

    def without_events(self) -> Snapshot:
        """Return the snapshot without its events, so that nothing is proven."""
        schema_file = self.stamped.tables[EVENTS.name].files[-1:]
        tables = {**self.stamped.tables, EVENTS.name: TableFiles(schema_file, schema_file)}
        tails = {name: rows for name, rows in self.tails.items() if name != EVENTS.name}
        return replace(self, stamped=replace(self.stamped, tables=tables), lacks_events=True, tails=tails)

    def without(self, damaged: Mapping[str, Fault]) -> Snapshot:
        """Return the snapshot with these files refused, and whatever a query cannot separate from them.

        For trades that is the pair, for other tables the folder.
        """
        trades = {path for path in damaged if path in self.files or path in self.cut_files}
        homes = {str(located(path).parent.parent if path in trades else located(path).parent) for path in damaged}
        behind = {failing_path(str(located(path).parent)): fault for path, fault in damaged.items()}

        def kept(paths: Sequence[str], behind: Iterable[str] = ()) -> tuple[str, ...]:
            left = [path for path in paths[:-1] if not any(path.startswith(f"{home}/") for home in homes)]
            return (*(left or paths[-1:]), *behind, paths[-1])

        of_trades = [failing_path(str(located(path).parent)) for path in trades]
        tables = {
            name: TableFiles(
                kept(held.files, (failing_path(str(located(path).parent)) for path in damaged if path in held.files)),
                kept(held.cut_files),
            )
            for name, held in self.stamped.tables.items()
        }
        return replace(
            self,
            files=kept(self.files, of_trades),
            cut_files=kept(self.cut_files),
            unread=kept(self.unread, of_trades),
            stamped=replace(self.stamped, tables=tables),
            refused={**self.refused, **behind},
        )


class Snapshots:
    """Takes snapshots of the archive at ``data``. Every method may raise FileNotFoundError: then retry."""

    def __init__(self, data: Path, *, live: bool) -> None:
        """Open the archive. Raise NoSuchArchive."""
        self._listing = TradeFiles(data)
        self._layout = Layout(data)
        self._stamped = TableSnapshots(self._layout)
        self._journalled = JournalTail(data) if live else None
        self._journalled_rows = [JournalTails(data, datasets) for datasets in TOGETHER if live]
        self._disowned = DatedClaims(self._layout)

    def pairs(self) -> list[str]:
        """Return the pairs that have trades now, in no order."""
        journalled = self._journalled.read()["pair"].unique().to_pylist() if self._journalled else []
        return list(dict.fromkeys([*self._listing.pairs(), *journalled]))

    def archived(self) -> list[str]:
        """Return the pairs that have files now, in no order."""
        return self._listing.pairs()

    def listed(self, pairs: Collection[str] | None = None, tables: Collection[Dataset] = ()) -> Snapshot:
        """Take a snapshot of the archive without its journal, and without reading footers.

        It contains only these ``pairs``. Only of them, and of these tables, are rows checked for being stored twice.
        """
        found = self._listing.of(pairs or ())
        faults = _faults(found)
        listed: dict[str, list[str]] = {}
        for pair in self._listing.pairs():
            try:
                listed[pair] = [] if pair in faults else self._listing.paths(pair)
            except FAULTS as error:
                faults[pair] = error
        known = tuple(pair for pair, files in listed.items() if files and (pairs is None or pair in pairs))
        moment = self._moment(list(listed.values()), faults, known, tables)
        return replace(moment, unread=moment.files, promises=_promises(found))

    def without_trades(self, *tables: Dataset, pairs: Collection[str] | None = None) -> Snapshot:
        """Take a snapshot of the tables without ids alone; ``tables`` are checked as in :meth:`listed`.

        Tables that are partitioned by pair contain only these ``pairs``.
        """
        tails = self._tails(tables, pairs)
        return replace(self._moment([], {}, (), tables, of_tables=pairs), tails=tails)

    def take(self, *pairs: str, tables: Collection[Dataset] = (), of_tables: Collection[str] | None = None) -> Snapshot:
        """Take a snapshot of these pairs, or of all: the journal first, then the archive.

        In this order a row may be seen twice, which its id resolves, but can never be missed. ``tables`` are checked as
        in :meth:`listed`, and only of them and of events are rows taken from the journal; those that are partitioned by
        pair contain only the pairs ``of_tables``, unless that is None. Events are read before
        trades: a note about a trade may be missing for a moment, but never the trade that a note is about.
        """
        tails = self._tails(tables)
        journalled = self._journalled.read() if self._journalled else NONE
        if pairs and journalled.num_rows:
            journalled = journalled.filter(pc.is_in(journalled["pair"], pa.array(pairs, pa.string())))
        met = self._listing.of(pairs or self._listing.pairs())
        faults = _faults(met)
        found = {name: files for name, files in met.items() if name not in faults}
        archived = {name: files.ids for name, files in found.items()}
        tail = pending(journalled, archived | self._let_go(archived) if journalled.num_rows else archived)
        runs = {name: files.runs for name, files in found.items()}
        for name, more in runs_in(tail).items():
            if name not in faults:
                runs[name] = tuple(joined((*runs.get(name, ()), *more)))
        known = tuple(name for name, of_pair in runs.items() if of_pair)
        moment = self._moment([list(files.footers) for files in found.values()], faults, known, tables, of_tables)
        footers = {name: files.footers for name, files in found.items()}
        promises = _promises(found)
        imported = {name: files.imported for name, files in found.items() if files.imported}
        moment = replace(moment, promises=promises, imported=imported)
        return replace(moment, archived=archived, tail=tail, runs=runs, footers=footers, tails=tails)

    def _tails(self, tables: Collection[Dataset], pairs: Collection[str] | None = None) -> dict[str, pa.Table]:
        """Return what the journals have of ``tables``, and of events, which tell which trades are missing.

        Of tables that are partitioned by pair, only rows of these ``pairs``.
        """
        wanted = {EVENTS, *tables}
        found: dict[str, pa.Table] = {}
        for tails in self._journalled_rows:
            if wanted.intersection(tails.datasets):
                found |= {table.name: rows for table, rows in tails.read().items() if table in wanted}
        if pairs is None:
            return found
        names = pa.array(pairs, pa.string())
        return {
            name: rows.filter(pc.is_in(rows["pair"], names)) if BY_NAME[name].by_pair else rows
            for name, rows in found.items()
        }

    def _moment(
        self,
        groups: Sequence[Sequence[str]],
        faults: Mapping[str, Fault],
        pairs: tuple[str, ...],
        tables: Collection[Dataset],
        of_tables: Collection[str] | None = None,
    ) -> Snapshot:
        """Return the snapshot of these files, group by group, and of pairs with ``faults``."""
        instead = {self._listing.instead_of(pair): fault for pair, fault in faults.items()}
        stamped = self._stamped.now(tables, of_tables)
        return Snapshot(
            files=self._planned(groups, instead),
            cut_files=self._planned(),
            unread=self._planned((), instead),
            archived={},
            tail=NONE,
            runs={},
            pairs=pairs or (_NOBODY if faults else ()),
            stamped=stamped,
            faults=faults,
            refused={**instead, **stamped.refused},
        )

    def _let_go(self, archived: Mapping[str, Spans]) -> dict[str, Spans]:
        """Return, for pairs with disowned ids, the ids that will not be archived any more: disowned or archived."""
        return {pair: Spans([*archived.get(pair, ()), *ids]) for pair, ids in self._disowned.by_pair().items()}

    def pin(self) -> Snapshot:
        """Take a snapshot of all pairs that :meth:`find_again` can find in other files."""
        moment = self.take(tables=WITHOUT_IDS)
        return replace(moment, stamped=self._stamped.pin(moment.stamped))

    def pin_tables(self, *tables: Dataset, pairs: Collection[str] | None = None) -> Snapshot:
        """Take a snapshot as :meth:`without_trades` does that :meth:`find_again` can find in other files."""
        moment = self.without_trades(*tables, pairs=pairs)
        return replace(moment, stamped=self._stamped.pin(moment.stamped))

    def find_again(self, kept: Snapshot) -> Snapshot:
        """Return the same rows in the files that hold them now.

        A pair with files that must not be read now, or with rows that are gone, is among the faults; such folders of
        tables without ids are refused.
        """
        found = self._listing.of(kept.archived)
        faults = {pair: fault for pair, fault in kept.faults.items() if pair not in kept.archived} | _faults(found)
        for pair, ids in kept.archived.items():
            if pair in faults:
                continue
            lost = [span for wanted in ids for span in found[pair].ids.missing(wanted)]
            if lost:
                faults[pair] = StorageError(
                    f"ids {lost[0]} of {pair} were in the archive and are gone from {self._layout.pair_dir(pair)}: "
                    "were files deleted or moved by hand? refresh() takes what is there now"
                )
        readable = {pair: ids for pair, ids in kept.archived.items() if pair not in faults}
        whole, cut = _fit(readable, found)
        stamped = self._stamped.find_again(kept.stamped)
        instead = {self._listing.instead_of(pair): fault for pair, fault in faults.items()}
        files = self._planned(whole, instead)
        named = zip(readable, whole, strict=True)
        return replace(
            kept,
            files=files,
            footers={pair: {path: found[pair].footers[path] for path in paths} for pair, paths in named},
            cut_files=self._planned(cut),
            unread=self._planned((), instead),
            stamped=stamped,
            faults=faults,
            refused={**instead, **stamped.refused},
        )

    def _planned(self, groups: Iterable[Sequence[str]] = (), instead: Iterable[str] = ()) -> tuple[str, ...]:
        return file_order.planned(groups, file_order.named_rows, self._listing.schema_file, instead)


def _promises(found: Mapping[str, PairFiles]) -> dict[str, Promise]:
    return {pair: files.promise for pair, files in found.items() if files.promise is not None}


def _faults(met: Mapping[str, PairFiles]) -> dict[str, Fault]:
    return {pair: files.fault for pair, files in met.items() if files.fault is not None}


def _fit(archived: Mapping[str, Spans], found: Mapping[str, PairFiles]) -> tuple[list[list[str]], list[list[str]]]:
    """Split the files of each pair into those with only rows archived at that time, and those with some."""
    whole: list[list[str]] = []
    cut: list[list[str]] = []
    for pair, ids in archived.items():
        whole.append([])
        cut.append([])
        for path, footer in found[pair].footers.items():
            held = [run.span for run in footer.runs]
            if all(ids.covers(span) for span in held):
                whole[-1].append(path)
            elif any(ids.within(span) for span in held):
                cut[-1].append(path)
    return whole, cut
