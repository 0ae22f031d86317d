"""One DuckDB connection: loads this package's SQL, pins it to a snapshot, and returns Arrow tables.

Contains the conversion of a relation's columns. Does not know when to retry.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa

from recorder.archive.datasets import EVENTS, EVENTS_OF, OHLC, QUOTE_SESSIONS, QUOTES, TRADES, WITHOUT_IDS, Dataset
from recorder.archive.parquet import Stamp, not_opened, stamp
from recorder.core.evidence import Promise
from recorder.core.trade_ids import Run, Spans
from recorder.errors import UsageError
from recorder.lazy_imports import pc
from recorder.object_store import is_address, located
from recorder.query import catalogue, journal_tail, read_only_sql, refused_files
from recorder.query.decimal_to_double import decimal_to_double
from recorder.query.explain_error import FAULTS, explain_error
from recorder.query.snapshot import Snapshot
from recorder.query.table_snapshot import Extent, TableFiles

if TYPE_CHECKING:
    from recorder.query.object_files import ObjectFiles

_OURS: Final = "recorder_"
"""The prefix of the tables that this class fills."""
_INTERRUPTED: Final = ("Query interrupted", "INTERRUPT Error")
"""How DuckDB's exceptions begin after Ctrl-C, and after :meth:`Engine.interrupt`."""
_DECIMAL: Final = "decimal"
_WIDE: Final = frozenset({"hugeint", "uhugeint"})
"""DuckDB types that are converted to double at once unless exact ones are requested."""
_SPANS: Final = """
CREATE OR REPLACE TABLE recorder_spans AS
SELECT
    unnest($pairs::VARCHAR[]) AS pair,
    unnest($firsts::BIGINT[]) AS first_id,
    unnest($lasts::BIGINT[]) AS last_id,
    make_timestamptz(unnest($first_us::BIGINT[])) AS first_time,
    make_timestamptz(unnest($last_us::BIGINT[])) AS last_time
"""
_IDS: Final = """
CREATE OR REPLACE TABLE recorder_{} AS
SELECT
    unnest($pairs::VARCHAR[]) AS pair,
    unnest($firsts::BIGINT[]) AS first_id,
    unnest($lasts::BIGINT[]) AS last_id
"""
_SETTINGS: Final = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_scan_all_frames": "true",  # FROM df, where df is the caller's: DuckDB would search only our functions
}
_PROMISES: Final = """
CREATE OR REPLACE TABLE recorder_promises AS
SELECT
    unnest($pairs::VARCHAR[]) AS pair,
    unnest($times_us::BIGINT[]) AS time_us,
    unnest($after_ids::BIGINT[]) AS after_id,
    unnest($assumed::BOOLEAN[]) AS assumed
"""
_TRADES: Final = ("files", "cut_files", "unread")
"""The variables that list files of trades, as named in a snapshot."""
_NEW_EVENTS: Final = """
    SELECT t.*
    FROM tail_now AS t
    WHERE NOT EXISTS (
        FROM recorder_archived_{}() AS a
        WHERE a.time >= make_timestamptz($since_us) AND a.time = t.time AND a.kind = t.kind
            AND a.pair IS NOT DISTINCT FROM t.pair AND a.detail = t.detail
    )
"""
_NEW_ROWS: Final[Mapping[str, str]] = {
    **{events.name: _NEW_EVENTS.format(events.name) for events in EVENTS_OF.values()},
    QUOTES.name: """
        SELECT t.*
        FROM tail_now AS t
        WHERE NOT EXISTS (
            FROM recorder_archived_quotes() AS a
            WHERE a.received >= make_timestamptz($since_us)
                AND a.pair = t.pair AND a.session = t.session AND a.message = t.message
        )
    """,
    # A segment whose rows moved meanwhile may have had more lines by then, so its archived row may tell of more.
    QUOTE_SESSIONS.name: """
        SELECT t.*
        FROM tail_now AS t
        WHERE NOT EXISTS (
            FROM recorder_archived_quote_sessions() AS a
            WHERE a.seen >= make_timestamptz($since_us) AND a.pair = t.pair AND a.session = t.session
                AND CASE
                    WHEN t.first_message IS NULL THEN a.ended = t.ended
                    ELSE t.first_message BETWEEN a.first_message AND a.last_message
                END
        )
    """,
    OHLC.name: """
        WITH
        told AS (SELECT *, row(open, high, low, close, vwap, volume, count) AS content FROM tail_now),
        held AS (
            SELECT pair, timeframe, time, max(seen) AS seen,
                arg_max(row(open, high, low, close, vwap, volume, count), seen) AS content
            FROM recorder_archived_ohlc()
            WHERE time >= make_timestamptz($since_us)
            GROUP BY pair, timeframe, time
        ),
        compared AS (
            SELECT t.*, coalesce(
                lag(t.content) OVER (PARTITION BY t.pair, t.timeframe, t.time ORDER BY t.seen), h.content
            ) AS before
            FROM told AS t
            LEFT JOIN held AS h USING (pair, timeframe, time)
            WHERE h.seen IS NULL OR t.seen > h.seen
        )
        SELECT * EXCLUDE (content, before)
        FROM compared
        WHERE content IS DISTINCT FROM before
    """,
}
"""The journalled rows, in ``tail_now``, that the drain will add to a table; the others are there by now."""
_PAIRS: Final = "SET VARIABLE recorder_pairs = $pairs::VARCHAR[]"
_TIME_LIMITS: Final = (
    "DELETE FROM recorder_time_limits WHERE list_contains($files, file)",
    "INSERT INTO recorder_time_limits FROM time_limits_in($files)",
)
_UNTIL: Final = """
SET VARIABLE recorder_until = map(
    $folders::VARCHAR[], list_transform($stamps::BIGINT[], lambda stamp: make_timestamptz(stamp))
)
"""


class Engine:
    """An in-memory DuckDB of its own that reads the archive at ``data``. For one thread."""

    def __init__(self, data: Path, bounds: Mapping[str, str] | None = None, *, confined: bool = False) -> None:
        """Store DuckDB's settings (threads, memory_limit), and try them. Raise UsageError.

        If ``confined``, a statement reads no file outside ``data``, and none of the caller's frames.
        """
        self._data = data
        self._bounds = dict(bounds or {})
        self._confined = confined
        self._snapshot: Snapshot | None = None
        self._lists: dict[str, tuple[str, ...]] = {}
        self._tables: dict[str, object] = {}
        self._created: set[str] = set()
        self._simple: dict[str, bool] = {}
        self._timed: dict[str, Stamp] = {}
        self._objects = _objects(data)
        if self._bounds:
            _ = self._connection

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        """DuckDB, started at the first query because starting takes as long as a query. Nothing is loaded yet."""
        # Temporary files go to the system's temporary folder: by default they would go to the current directory, which
        # may be the archive, or not writable.
        spill = Path(tempfile.gettempdir()) / f"recorder-{os.getpid()}-{id(self):x}"
        try:
            connection = duckdb.connect(config={**_SETTINGS, "temp_directory": str(spill), **self._bounds})
        except duckdb.Error as error:
            raise UsageError(f"DuckDB: {_first_paragraph(error)}") from error
        if self._confined:
            folder = str(self._data).replace("'", "''")
            connection.execute(f"SET allowed_directories = ['{folder}']; SET enable_external_access = false")
        if self._objects is not None:
            connection.register_filesystem(self._objects)
        connection.execute(f"{catalogue.preamble(self._data)}SET lock_configuration = true;")
        return connection

    def pin(self, snapshot: Snapshot) -> None:
        """Pin the views and macros to ``snapshot``. Each is created by the first statement that may use it."""
        if snapshot is self._snapshot:
            return
        if self._snapshot is None:
            for table in WITHOUT_IDS:
                self._fill_tail(table, 0, journal_tail.empty(table))
        self._hold(snapshot)
        self._simplify("trades", simple=snapshot.is_whole)
        self._snapshot = snapshot

    def _hold(self, snapshot: Snapshot) -> None:
        self._list(snapshot)
        self._set_until(snapshot.stamped.folders)
        for table in WITHOUT_IDS:
            self._hold_tail(table, snapshot)
        self._fill("pairs", snapshot.pairs, lambda: self._know(snapshot.pairs))
        self._fill("lacks_events", snapshot.lacks_events, lambda: self._lack_events(snapshot.lacks_events))
        self._fill("spans", snapshot.runs, lambda: self._connection.execute(_SPANS, _spans(snapshot.runs)))
        promises = snapshot.promises
        self._fill("promises", promises, lambda: self._connection.execute(_PROMISES, _promised(promises)))
        # Only files that also hold later rows must be cut to the ids of the snapshot.
        archived = snapshot.archived if len(snapshot.cut_files) > 1 else {}
        for name, ids in (("archived", archived), ("imported", snapshot.imported)):
            self._fill(name, ids, functools.partial(self._connection.execute, _IDS.format(name), _ids(ids)))
        self._fill("tail", snapshot.tail if snapshot.tail.num_rows else 0, lambda: self._load(snapshot.tail))

    def _list(self, snapshot: Snapshot) -> None:
        for name in _TRADES:
            self._set(name, getattr(snapshot, name))
        for name, held in snapshot.stamped.tables.items():
            self._set(f"{name}_files", held.files)
            self._set(f"{name}_cut_files", held.cut_files)

    def _hold_tail(self, table: Dataset, snapshot: Snapshot) -> None:
        """Keep the journalled rows of a table that are not archived yet; none if the archived ones cannot be read.

        A query that needs these will fail for the same reason.
        """
        tail = snapshot.tails.get(table.name)
        if tail is None or not tail.num_rows:
            self._fill_tail(table, 0, journal_tail.empty(table))
            return
        try:
            self._create(catalogue.files(_NEW_ROWS[table.name]), snapshot)
            self._fill_tail(table, (tail, snapshot.stamped.tables[table.name], snapshot.stamped.folders), tail)
        except FAULTS:
            self._tables.pop(f"{table.name}_tail", None)
            self._load(journal_tail.empty(table), table)

    def _fill_tail(self, table: Dataset, content: object, tail: pa.Table) -> None:
        self._fill(f"{table.name}_tail", content, lambda: self._load(tail, table))

    def _provide(self, text: str) -> None:
        """Create the views and macros that a statement may use and that are not there yet."""
        if self._snapshot is not None:
            files = catalogue.files(text)
            self._create(files, self._snapshot)
            if catalogue.ABSENT in files:
                self._know_absent(self._snapshot)

    def _create(self, files: Sequence[str], snapshot: Snapshot) -> None:
        """Create the views and macros of these SQL files that are not there yet; all at once would take 150 ms."""
        new = [name for name in files if name not in self._created]
        if not new:
            return
        without = _without_files(snapshot)
        self._list(without)  # creating a view opens its files, and only the schema file cannot vanish
        try:
            for name in new:
                if name == catalogue.ABSENT:  # filled here, because what it is made from takes long to plan
                    self._list(snapshot)
                    self._know_absent(snapshot)
                    self._list(without)
                else:
                    self._connection.execute(catalogue.text(name))
                self._created.add(name)
        finally:
            self._list(snapshot)
        self._simplify("trades", simple=snapshot.is_whole)

    def _simplify(self, part: str, *, simple: bool) -> None:
        """Switch macros, if they are there, to what the snapshot needs and no more, unless they are already."""
        if f"sources/snapshot/{part}" in self._created and self._simple.get(part, False) is not simple:
            self._connection.execute(catalogue.simpler(part, simple=simple))
            self._simple[part] = simple

    def _know_absent(self, snapshot: Snapshot) -> None:
        """Collect the ids that need not be stored, unless the events are unchanged.

        If an event file cannot be read, this is left to the queries that need the ids, and so is the error.
        """
        events = snapshot.stamped.tables[EVENTS.name]
        state = (events, snapshot.stamped.folders, frozenset(snapshot.faults), self._tables.get(f"{EVENTS.name}_tail"))
        if self._tables.get("absent") == state:
            return
        self._tables.pop("absent", None)
        # A pair that must not be read is not queried; its promise must not make queries of other pairs fail.
        readable = tuple(path for path in snapshot.unread if path not in snapshot.refused)
        if self._gathered(readable):
            self._tables["absent"] = state
        elif not self._gathered(readable[-1:]):  # nor because of a file that has not been checked
            # Creating the macro opens a file too.
            self._set("events_files", events.files[-1:])
            self._connection.execute(catalogue.text(catalogue.ASKED_ABSENT))
            self._set("events_files", events.files)
        self._set("unread", snapshot.unread)

    def _gathered(self, unread: tuple[str, ...]) -> bool:
        """Collect the ids, adding the promises of these files to the known ones; return whether all could be read."""
        self._set("unread", unread)
        try:
            self._connection.execute(catalogue.text(catalogue.ABSENT))
        except FAULTS:
            return False
        return True

    def _lack_events(self, lacking: bool) -> None:  # noqa: FBT001 -- the value of a variable
        self._connection.execute("SET VARIABLE recorder_lacks_events = $lacking", {"lacking": lacking})

    def _set_until(self, folders: Mapping[str, Extent]) -> None:
        if self._tables.get("until") != folders:
            stamps = [extent.last_us for extent in folders.values()]
            self._connection.execute(_UNTIL, {"folders": list(folders), "stamps": stamps})
            self._tables["until"] = folders

    def _fill(self, name: str, content: object, fill: Callable[[], object]) -> None:
        """Fill a table, unless it was last filled from this ``content``: making one takes a millisecond."""
        before = self._tables.get(name)
        if before is None or (before is not content and (isinstance(content, pa.Table) or before != content)):
            fill()
            self._tables[name] = content

    def _load(self, tail: pa.Table, table: Dataset = TRADES) -> None:
        name, rows, params = "recorder_tail", "FROM tail_now", {}
        if table != TRADES:
            name = f"recorder_{table.name}_tail"
        if table != TRADES and tail.num_rows:
            rows = _NEW_ROWS[table.name]
            params = {"since_us": pc.min(tail[table.time]).cast(pa.int64()).as_py()}
        self._connection.register("tail_now", tail)
        try:
            self._connection.execute(f"CREATE OR REPLACE TABLE {name} AS {rows}", params)
        finally:
            self._connection.unregister("tail_now")

    def _set(self, name: str, paths: tuple[str, ...]) -> None:
        """Set the variable to its files, unless it has them: passing thousands of names takes milliseconds."""
        if self._lists.get(name) != paths:
            self._connection.execute(f"SET VARIABLE recorder_{name} = $paths", {"paths": list(paths)})
            self._lists[name] = paths

    def know_times(self, snapshot: Snapshot) -> None:
        """Read between which times the trades of each file lie, unless that is known and the file unchanged.

        By DuckDB: damage in the metadata of row groups can make pyarrow, which reads the footers, end the process.
        """
        paths = (path for path in (*snapshot.files, *snapshot.cut_files) if path not in snapshot.refused)
        stamps = {path: stamp(path) for path in paths}
        new = [path for path, found in stamps.items() if self._timed.get(path) != found]
        if new:
            self._read_times(new)
            self._timed |= stamps

    def _read_times(self, files: list[str]) -> None:
        with self._telling():
            for statement in _TIME_LIMITS:
                self._provide(statement)
                self._connection.execute(statement, {"files": files})

    def know(self, pair: str) -> None:
        """Make the macros accept this pair as one of the snapshot's, until the next snapshot."""
        known: Any = self._tables["pairs"]
        if pair not in known:
            self._tables["pairs"] = (*known, pair)
            self._know((*known, pair))

    def _know(self, pairs: Sequence[str]) -> None:
        self._connection.execute(_PAIRS, {"pairs": list(pairs)})

    def register(self, name: str, rows: object) -> None:
        """Make ``rows``, a frame of any kind, available to statements under this name. Raise UsageError."""
        if not name.isidentifier() or name.startswith(_OURS) or name.lower() in catalogue.names():
            raise UsageError(f"a frame cannot be called {name!r}: give it a word of its own, such as 'signals'")
        try:
            self._connection.register(name, rows)
        except FAULTS as error:
            raise UsageError(f"DuckDB: {_first_paragraph(error)}") from error

    def listed(self) -> list[str]:
        """Return the files that a query may have read, trades last."""
        refused = self._snapshot.refused if self._snapshot is not None else {}
        lists = sorted(self._lists.items(), key=_is_of_trades)
        return [path for _, paths in lists for path in paths if path not in refused]

    def check(self, text: str) -> None:
        """Raise UsageError unless ``text``, which a user wrote, is one statement that only reads."""
        try:
            read_only_sql.check(self._connection, text)
        except FAULTS as error:
            raise UsageError(f"DuckDB: {_first_paragraph(error)}") from error

    def tree(self, text: str) -> str:
        """Return DuckDB's parse tree of a statement, as JSON; an object with an ``error`` where it has no tree."""
        ((tree,),) = self._connection.execute("SELECT json_serialize_sql($text)", {"text": text}).fetchall()
        return str(tree)

    def fetch(self, text: str, params: Mapping[str, object] | None = None, *, exact: bool = False) -> pa.Table:
        """Run one statement and return its rows.

        Unless ``exact``, decimals become the doubles nearest to them. Raise UsageError for what DuckDB cannot do;
        StorageError where it names a file that is damaged or of another version; duckdb.IOException where a file could
        not be read.
        """
        with self._telling():
            relation = self._relation(text, params)
            kinds = [kind.id for kind in relation.types]
            if exact:
                return relation.to_arrow_table()
            if not _WIDE.isdisjoint(kinds):
                relation = relation.project(_projection(relation, _WIDE))
            return self._rounded(relation.to_arrow_table(), kinds)

    def pieces(self, text: str, params: Mapping[str, object], rows: int, *, exact: bool) -> Iterator[pa.Table]:
        """Run one statement and yield its rows as :meth:`fetch` returns them, ``rows`` at a time, while DuckDB works.

        Only the yielded rows take memory, in their converted form.
        """
        with self._telling():
            relation = self._relation(text, params)
            kinds = [kind.id for kind in relation.types]
            batches = relation.to_arrow_reader(rows)
            batch: list[pa.RecordBatch] = []  # an empty batch first, for the schema
        try:
            while True:
                with self._telling():
                    table = pa.Table.from_batches(batch, batches.schema)
                    piece = table if exact else self._rounded(table, kinds)
                yield piece
                with self._telling():
                    batch = [one for one in (next(batches, None),) if one is not None]
                if not batch:
                    return
        finally:
            batches.close()

    def _relation(self, text: str, params: Mapping[str, object] | None) -> duckdb.DuckDBPyRelation:
        self._provide(text)
        try:
            relation = self._connection.sql(text, params=dict(params or {}))
        except duckdb.CatalogException:
            if self._snapshot is None or self._created.issuperset(catalogue.snapshot()):
                raise
            self._create(catalogue.snapshot(), self._snapshot)  # for the names that DuckDB's sentence suggests
            relation = self._connection.sql(text, params=dict(params or {}))
        if relation is None:
            raise UsageError(f"there is no SQL statement in {text!r}")
        return relation

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Convert failures of DuckDB to errors as described in :meth:`fetch`."""
        try:
            yield
        except FAULTS as error:
            if str(error).startswith(_INTERRUPTED):
                raise KeyboardInterrupt from None
            if (
                self._snapshot is not None
                and (fault := refused_files.refused_file(error, self._snapshot.refused)) is not None
            ):
                raise fault.with_traceback(None) from None
            if self._objects is not None and (failed := self._objects.failure()) is not None:
                raise _of_object(*failed) from None
            if isinstance(error, duckdb.IOException):
                raise
            found = explain_error(error, self._data, self.listed())
            raise found or UsageError(f"DuckDB: {_first_paragraph(error)}") from error

    def rounded(self, table: pa.Table) -> pa.Table:
        """Return rows that were not fetched here as :meth:`fetch` returns them unless ``exact``."""
        return self._rounded(table, [_DECIMAL if pa.types.is_decimal(kind) else "" for kind in table.schema.types])

    def _rounded(self, table: pa.Table, kinds: Sequence[str]) -> pa.Table:
        """Return the table with doubles for decimals; DuckDB casts those with more digits than numpy can divide."""
        left = []
        for position, kind in enumerate(kinds):
            if kind == _DECIMAL:
                column = decimal_to_double(table.column(position))
                if column is None:
                    left.append(position)
                else:
                    table = table.set_column(position, table.field(position).name, column)
        if left:
            few = pa.table([table.column(position) for position in left], names=[f"c{position}" for position in left])
            # On a cursor, because the connection may be in the middle of a result.
            relation = self._connection.cursor().from_arrow(few)
            cast = relation.project(_projection(relation, {_DECIMAL})).to_arrow_table()
            for column, position in zip(cast.columns, left, strict=True):
                table = table.set_column(position, table.field(position).name, column)
        return table

    def interrupt(self) -> None:
        """End the query that another thread waits for, if there is one: it raises KeyboardInterrupt there."""
        if "_connection" in self.__dict__:
            self._connection.interrupt()

    def close(self) -> None:
        """Close the connection, if there is one, and clear all caches."""
        if "_connection" in self.__dict__:
            self._connection.close()


def _objects(data: Path) -> ObjectFiles | None:
    """Return the objects of an archive in object storage, for DuckDB."""
    if not is_address(data):
        return None
    from recorder.query.object_files import ObjectFiles  # noqa: PLC0415 -- an extra

    return ObjectFiles(str(data))


def _of_object(path: str, error: Exception) -> Exception:
    """Return the error that explains why DuckDB could not read an object."""
    return not_opened(located(path), error) if isinstance(error, OSError) else error


def _without_files(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot of the schema files alone."""
    schema = snapshot.files[-1:]
    tables = {name: TableFiles(held.files[-1:], held.files[-1:]) for name, held in snapshot.stamped.tables.items()}
    stamped = replace(snapshot.stamped, tables=tables)
    return replace(snapshot, files=schema, cut_files=schema, unread=schema, stamped=stamped)


def _projection(relation: duckdb.DuckDBPyRelation, inexact: Collection[str]) -> str:
    """Return the select list with doubles instead of these types. By position: names may be repeated or unusual."""
    selected = []
    for position, (name, kind) in enumerate(zip(relation.columns, relation.types, strict=True), start=1):
        cast = "::DOUBLE" if kind.id in inexact else ""
        quoted = name.replace('"', '""')
        selected.append(f'#{position}{cast} AS "{quoted}"')
    return ", ".join(selected)


def _is_of_trades(listed: tuple[str, tuple[str, ...]]) -> bool:
    return listed[0] in _TRADES


def _first_paragraph(error: Exception) -> str:
    return str(error).split("\n\n", maxsplit=1)[0].replace("\n", " ")


def _spans(runs: Mapping[str, Sequence[Run]]) -> dict[str, list[Any]]:
    """Return the columns of these runs as lists: Arrow would import pandas to check whether they are its own."""
    every = [(pair, run) for pair, of_pair in runs.items() for run in of_pair]
    return {
        "pairs": [pair for pair, _ in every],
        "firsts": [run.span.first for _, run in every],
        "lasts": [run.span.last for _, run in every],
        "first_us": [run.first_us for _, run in every],
        "last_us": [run.last_us for _, run in every],
    }


def _promised(promises: Mapping[str, Promise]) -> dict[str, list[Any]]:
    return {
        "pairs": list(promises),
        "times_us": [promise.time_us for promise in promises.values()],
        "after_ids": [promise.after_id for promise in promises.values()],
        "assumed": [promise.assumed for promise in promises.values()],
    }


def _ids(by_pair: Mapping[str, Spans]) -> dict[str, list[Any]]:
    every = [(pair, span) for pair, spans in by_pair.items() for span in spans]
    return {
        "pairs": [pair for pair, _ in every],
        "firsts": [span.first for _, span in every],
        "lasts": [span.last for _, span in every],
    }
