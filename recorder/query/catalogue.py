"""The SQL of this package: plain files under ``queries/``, one query each.

Contains how the files are found, the order in which they build on each other, which is derived from the names they use,
and the parsed headers of what is run by name: the analyses, and some macros. Contains no SQL of its own but the call of
such a macro.
"""

from __future__ import annotations

import difflib
import glob
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache
from graphlib import TopologicalSorter
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Any, Final

from recorder.archive import schema_versions
from recorder.archive.datasets import DATASETS, TRADES, WITHOUT_IDS, Dataset
from recorder.archive.layout import Layout
from recorder.errors import UsageError
from recorder.query import arguments, statement_pairs, table_rows

_OF_CONNECT: Final = "macros/candles_of"
"""Used by recorder.connect() alone."""
_FORM: Final = re.compile(r"sources/\w+/stored")
"""The files that are written once for each table without ids."""
_PLAIN_ROWS: Final = "sources/plain/stored"
_NO_ROWS: Final = "sources/lacking/stored"
"""Stands in for _PLAIN_ROWS for tables that an archive lacks."""
_PLAIN_IMPORTS: Final = "sources/plain/imported"
_NO_IMPORTS: Final = "sources/lacking/imported"
"""Stands in for what _PLAIN_IMPORTS creates of tables of history files that an archive lacks."""
ABSENT: Final = "sources/snapshot/absent_spans"
"""Collects the void and disowned ids of the snapshot for ASKED_ABSENT, which reads the events at each query."""
ASKED_ABSENT: Final = "sources/plain/absent_spans"
_SIMPLE: Final = "sources/whole"
"""Macros for ordinary snapshots, in place of those in sources/snapshot, which work for any."""
DATA: Final = "recorder_data"
"""The DuckDB variable that names the archive's folder."""
SCHEMA: Final = "recorder_schema"
"""The DuckDB variable with the schema version of trades that is read."""
GLOBS: Final = "recorder_globs"
"""The DuckDB variable with the patterns of the files of all tables."""
KEYED_GLOBS: Final = "recorder_keyed_globs"
"""The same of tables whose rows are identified by a key of their own, not by the segment that brought them."""
ANALYSIS: Final = "analysis"
"""The folder of the queries that are more than a macro and are run by name."""

_PARAMETER: Final = re.compile(r"-- \$(?P<name>\w+) +(?P<kind>[A-Z]+(\[\])?)(?: = (?P<default>.+?))?  +(?P<help>\S.*)")
_OFFERED: Final = re.compile(
    r"^-- (?P<asks>.+\?)\n--\n(?P<header>(?:-- \$.+\n)+)--\n-- by (?P<order>\w+)(?P<without>, without pair)?\n"
    r"CREATE OR REPLACE MACRO (?P<name>\w+)\(",
    re.MULTILINE,
)
"""The comment that offers a macro by name, right above it: what it asks, its parameters, and the order of its rows."""
_COMMENT: Final = re.compile(r"--.*")
_CREATE: Final = "CREATE OR REPLACE "
_CREATED: Final = re.compile(r"CREATE OR REPLACE (?:MACRO|VIEW|TABLE) (\w+(?:\(|\b))")
_USED: Final = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)\b(?!\()|\b(\w+\()")
"""Names of views and tables, and of macros with their parenthesis: a view and a macro may share a name."""
_WORD: Final = re.compile(r"\w+")
_EVERY: Final = frozenset({"trades", "sound_trades(", "footer_files("})
"""Objects built from all trades, or from their footers."""
_NAMED: Final = "pair_files("
"""The macro built from the files of one pair."""
_NAMED_IMPORTED: Final = "pair_imported_files("
"""The same of the imported tables."""
_IMPORTED_FILES: Final = frozenset({"imported_files(", _NAMED_IMPORTED})
"""The macros that list files of imported tables."""
_EVERY_IMPORTED: Final = frozenset({"imported_files(", *(f"stored_{one.name}(" for one in WITHOUT_IDS if one.imported)})
"""What is built from the imported tables of all pairs."""
_OF_EVENTS: Final = frozenset({"stored_events(", "absent_spans(", "known_promises("})
"""What is built from events: the last two are tables of the connection's snapshot."""
_CERTIFIED: Final = frozenset({"certificates"})
_TIMED: Final = "time_limits("
"""The macro built from the time limits of all files of the snapshot, which are read only for it."""
_HIDING: Final = frozenset({"getvariable", "query_table"})
"""Functions that look up an object by a name that need not appear in the statement."""
_UNNAMED: Final = re.compile(
    r"\b(?:query_table|show|describe|information_schema|(?:duckdb|pg|pragma|sqlite)_\w+)\b", re.IGNORECASE
)
"""Words of statements that list what a connection has, or find it by a computed name."""
_VARIABLE: Final = re.compile(r"getvariable\('(\w+)'\)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a query: ``kind`` is a DuckDB type, ``default`` its text, None where it must be given."""

    name: str
    kind: str
    default: str | None
    help: str

    def value(self, written: object) -> object:
        """Return the value passed to DuckDB for what a user wrote. Raise UsageError if it is invalid."""
        if written == "NULL":
            return None
        if not isinstance(written, str):
            return written
        try:
            return _READERS.get(self.kind, str)(written)
        except (ValueError, InvalidOperation, KeyError):
            raise UsageError(f"{self.name} = {written!r} is no {self.kind}: {self.help}") from None


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query that is run by name: its purpose, its parameters and its SQL."""

    name: str
    asks: str
    parameters: tuple[Parameter, ...]
    text: str

    def bound(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Return a value for every parameter, from the given ones and the defaults.

        Raise UsageError for one that is unknown, missing, or not of its type.
        """
        names = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in names:
                raise UsageError(f"{self.name} has no parameter {name!r}; {_hint(name, names)}")
        values: dict[str, Any] = {}
        for parameter in self.missing(given):
            raise UsageError(f"{self.name} needs {parameter.name}, {parameter.kind}: {parameter.help}")
        for parameter in self.parameters:
            written = given.get(parameter.name)
            values[parameter.name] = parameter.value(parameter.default if written is None else written)
        return values

    def missing(self, given: Mapping[str, object]) -> list[Parameter]:
        """Return the required parameters that are not given."""
        return [one for one in self.parameters if one.default is None and given.get(one.name) is None]


def questions() -> list[NamedQuery]:
    """Return every named query, sorted by name: the analyses, and the macros that are offered by name."""
    found = [*map(_analysis, _within(ANALYSIS)), *_offered()]
    return sorted(found, key=lambda one: one.name)


def question(name: str) -> NamedQuery:
    """Return the query ``name``. Raise UsageError, which names similar ones, if there is none."""
    there = {one.name: one for one in questions()}
    if name not in there:
        raise UsageError(f"there is no query {name!r}; {_hint(name, list(there))}")
    return there[name]


def _analysis(name: str) -> NamedQuery:
    sql = text(f"{ANALYSIS}/{name}")
    first, *rest = sql.splitlines()
    return NamedQuery(name, first.removeprefix("-- "), _parameters(rest[: rest.index("")]), sql)


def _offered() -> Iterator[NamedQuery]:
    """Yield the macros that are offered by name; the comment above each is all that there is to the query."""
    for file in _within("macros"):
        for found in _OFFERED.finditer(text(f"macros/{file}")):
            name, parameters = found["name"], _parameters(found["header"].splitlines())
            columns = "* EXCLUDE (pair)" if found["without"] else "*"
            passed = ", ".join(f"${one.name}" for one in parameters)
            sql = f"SELECT {columns}\nFROM {name}({passed})\nORDER BY {found['order']};\n"
            yield NamedQuery(name, found["asks"], parameters, sql)


def _parameters(header: Iterable[str]) -> tuple[Parameter, ...]:
    found = [_PARAMETER.fullmatch(line) for line in header if line.startswith("-- $")]
    return tuple(Parameter(*match.group("name", "kind", "default", "help")) for match in found if match)


def text(name: str) -> str:
    """Return the SQL file ``name``, given without ``.sql``, from an installed wheel or from the repository."""
    written = _written(name)
    return table_rows.filled(written) if _FORM.fullmatch(name) else written


def _written(name: str) -> str:
    return _root().joinpath(*f"{name}.sql".split("/")).read_text(encoding="utf-8")


def engine_text(engine: str) -> str:
    """Return the text, with placeholders, that gives another engine its views: SQL, or Python for polars."""
    found = {entry.name.partition(".")[0]: entry for entry in _root().joinpath("engines").iterdir()}
    return found[engine].read_text(encoding="utf-8")


def simpler(part: str, *, simple: bool) -> str:
    """Return the SQL that switches the macros of a ``part`` of a snapshot to their simple or their general form."""
    short = text(f"{_SIMPLE}/{part}")
    if simple:
        return short
    made = set(_CREATED.findall(short))
    general = _statements(text(f"sources/snapshot/{part}"))
    return "".join(one for one in general if made.issuperset(_CREATED.findall(one)))


def script(data: Path) -> str:
    """Return one script that gives any DuckDB client the views and macros over the archive at ``data``."""
    lacking = _lacking(data)
    return "\n".join([_preamble(_variables(data, lacking)), *_plain_texts(lacking)])


def stored(data: Path) -> str:
    """Return the same views and macros for a database file, which keeps neither variables nor settings."""
    lacking = _lacking(data)
    values = _variables(data, lacking)
    return _VARIABLE.sub(lambda used: values.get(used[1], "NULL"), "\n".join(_plain_texts(lacking)))


def _lacking(data: Path) -> tuple[Dataset, ...]:
    """Return the tables that the archive at ``data`` lacks, because an earlier release recorded it."""
    layout = Layout(data)
    return tuple(dataset for dataset in DATASETS if layout.lacks(dataset))


def _plain_texts(lacking: Sequence[Dataset]) -> Iterator[str]:
    there = [dataset for dataset in WITHOUT_IDS if dataset not in lacking]
    for name in plain():
        if name == _PLAIN_ROWS:
            yield table_rows.filled(_written(name), lacking)
            if lacking:
                yield table_rows.filled(_written(_NO_ROWS), there)
        elif name == _PLAIN_IMPORTS and any(dataset.imported for dataset in lacking):
            yield _imports(lacking)
        else:
            yield text(name)


def _imports(lacking: Sequence[Dataset]) -> str:
    """Return the macros of the tables of history files, some of which an archive lacks."""
    tables = ", ".join(f"'{dataset.name}'" for dataset in lacking if dataset.imported)
    there = {f"pair_{dataset.name}(" for dataset in DATASETS if dataset.imported and dataset not in lacking}
    plainly = _statements(text(_PLAIN_IMPORTS))
    others = _statements(Template(_written(_NO_IMPORTS)).substitute(tables=tables))
    return "\n".join(
        [one for one in others if there.isdisjoint(_CREATED.findall(one))]
        + [one for one in plainly if not there.isdisjoint(_CREATED.findall(one))]
    )


def plain() -> tuple[str, ...]:
    """Return the views and macros that any DuckDB client can run over an archive's folder, in order of dependency."""
    return tuple(name for name in _ordered("plain") if name != _OF_CONNECT)


def snapshot() -> tuple[str, ...]:
    """Return the same over one snapshot of an archive, which recorder.connect() provides, and its own query."""
    return _ordered("snapshot")


def files(statement: str) -> tuple[str, ...]:
    """Return the SQL files of :func:`snapshot` that create what a statement may use, in order of dependency.

    All of them if it may find a view or macro that it does not name.
    """
    return _files("snapshot", statement)


def _files(source: str, statement: str) -> tuple[str, ...]:
    every = _ordered(source)
    if _UNNAMED.search(statement):
        return every
    words = set(_WORD.findall(statement.lower()))
    used = {file for word in words for file in _files_of(source).get(word, ())}
    return tuple(file for file in every if file in used)


@cache
def _files_of(source: str) -> Mapping[str, frozenset[str]]:
    """Return for each view, table and macro, by its bare name, the files that create it and what it is built from."""
    code = _code(source)
    needed = _needs(code)
    whole: dict[str, frozenset[str]] = {}
    found: dict[str, frozenset[str]] = {}
    for file in _ordered(source):
        whole[file] = frozenset({file}).union(*(whole[other] for other in needed[file]))
        for name in _CREATED.findall(code[file]):
            bare = name.removesuffix("(")
            found[bare] = found.get(bare, frozenset()) | whole[file]
    return found


@dataclass(frozen=True, slots=True)
class Needs:
    """The parts of an archive that a statement may need, judged by its words: too many rather than too few.

    Trades of all pairs (``every``), or of those passed to macros, if any (``named``); and ``tables`` without ids. A
    statement that uses trades through views of all pairs alone (``plainly``) may be confined to certain pairs. One that
    ``certifies`` uses events through the view certificates alone, which can be answered without them. One that is
    ``timed`` needs to know between which times the trades of each file lie. Of imported tables, only one that needs
    ``every_imported`` file uses more than those of the pairs that are passed to macros.
    """

    every: bool
    named: bool
    tables: tuple[Dataset, ...]
    plainly: bool = False
    certifies: bool = False
    timed: bool = False
    every_imported: bool = False


def needs(statement: str) -> Needs:
    """Return what a statement over the views and macros of recorder.connect() may need."""
    words = set(_WORD.findall(statement.lower()))
    if not words.isdisjoint(_HIDING):
        return Needs(every=True, named=True, tables=WITHOUT_IDS, timed=True, every_imported=True)
    views = words & statement_pairs.VIEWS
    others = _reached(words - views)
    reached = others | _reached(views)
    plainly = bool(views) and others.isdisjoint(_EVERY) and _NAMED not in reached
    return Needs(
        every=not reached.isdisjoint(_EVERY),
        named=_NAMED in reached,
        tables=tuple(
            table
            for table in WITHOUT_IDS
            if f"stored_{table.name}(" in reached or (table.imported and not reached.isdisjoint(_IMPORTED_FILES))
        ),
        plainly=plainly,
        certifies={word for word in words if not _OF_EVENTS.isdisjoint(_sources().get(word, ()))} == _CERTIFIED,
        timed=_TIMED in reached,
        every_imported=not (others if plainly else reached).isdisjoint(_EVERY_IMPORTED),
    )


def _reached(words: Iterable[str]) -> set[str]:
    """Return everything that the views and macros among these words are built from."""
    return {source for word in words for source in _sources().get(word, ())}


@cache
def _sources() -> Mapping[str, frozenset[str]]:
    """Return for each view and macro, by its bare name, everything it is built from, as ``_CREATED`` finds names.

    Tables are filled when a snapshot is taken, and need nothing afterwards.
    """
    parts: dict[str, set[str]] = {}
    for code in _code("snapshot").values():
        for part in (part for part in _statements(code) if not part.startswith(f"{_CREATE}TABLE")):
            made = _CREATED.findall(part)
            parts.setdefault(made[0], set()).update(used for pair in _USED.findall(part) for used in pair if used)
    found: dict[str, set[str]] = {}
    for name in TopologicalSorter({name: used - {name} for name, used in parts.items()}).static_order():
        found[name] = {name}.union(*(found[used] for used in parts.get(name, ()) if used != name))
    named: dict[str, set[str]] = {}
    for name, made_of in found.items():
        named.setdefault(name.removesuffix("("), set()).update(made_of)
    return {name: frozenset(made_of) for name, made_of in named.items() if name in names()}


def _statements(code: str) -> list[str]:
    """Return each statement that creates a view, macro or table."""
    return [f"{_CREATE}{part}" for part in code.split(_CREATE)[1:]]


@cache
def macros() -> frozenset[str]:
    """Return the names of the macros of recorder.connect()."""
    return frozenset(name.removesuffix("(") for name in _created() if name.endswith("("))


@cache
def names() -> frozenset[str]:
    """Return the names of all views, tables and macros of recorder.connect()."""
    return frozenset(name.removesuffix("(") for name in _created())


def _created() -> list[str]:
    return [name for part in snapshot() for name in _CREATED.findall(text(part))]


@cache  # saves 5 ms of each connect()
def _ordered(source: str) -> tuple[str, ...]:
    """Return all views and macros, each after its dependencies; sources name the existing files, or a snapshot's."""
    needs = _needs(_code(source))
    return tuple(TopologicalSorter({name: sorted(needed) for name, needed in needs.items()}).static_order())


def _code(source: str) -> dict[str, str]:
    """Return the SQL of all views and macros without its comments, by name."""
    names = [f"{folder}/{name}" for folder in (f"sources/{source}", "macros", "views") for name in _within(folder)]
    return {name: _COMMENT.sub("", text(name)) for name in names}


def _needs(code: Mapping[str, str]) -> dict[str, set[str]]:
    """Return each file's dependencies: the files that create what it names after FROM or JOIN, or calls."""
    home = {created: name for name in code for created in _CREATED.findall(code[name])}
    return {
        name: {home[used] for pair in _USED.findall(code[name]) for used in pair if used in home} - {name}
        for name in code
    }


def preamble(data: Path) -> str:
    """Return the SQL that begins every connection; see :func:`_preamble`."""
    return _preamble(_variables(data))


def _preamble(values: Mapping[str, str]) -> str:
    """Return the SQL that begins every connection: times are UTC, and the archive is at ``data``.

    For one pair of the view trades, or one timeframe of ohlc, DuckDB estimates a single row unless its first file
    matches. To the left of an ASOF join it would then compare that one row, in truth a million, with each on the right.
    """
    settings = ("TimeZone='UTC'", "asof_loop_join_threshold = 0")
    variables = (f"VARIABLE {name} = {value}" for name, value in values.items())
    return "".join(f"SET {one};\n" for one in (*settings, *variables))


def _variables(data: Path, lacking: Container[Dataset] = ()) -> dict[str, str]:
    # The folder becomes part of globs, so its special characters must be escaped.
    folder = glob.escape(str(data)).replace("'", "''")
    return {
        DATA: f"'{folder}'",
        SCHEMA: str(schema_versions.current(TRADES.name)),
        GLOBS: _patterns(folder, (dataset for dataset in DATASETS if dataset not in lacking)),
        KEYED_GLOBS: _patterns(folder, (dataset for dataset in DATASETS if dataset.by_key)),
    }


def _patterns(folder: str, datasets: Iterable[Dataset]) -> str:
    return "[" + ", ".join(f"'{folder}/{table_rows.glob_of(dataset)}'" for dataset in datasets) + "]"


def _within(folder: str) -> list[str]:
    names = (entry.name for entry in _root().joinpath(*folder.split("/")).iterdir())
    return sorted(name.removesuffix(".sql") for name in names if name.endswith(".sql"))


def _hint(name: str, there: list[str]) -> str:
    begun = [one for one in there if name and one.startswith(name)]
    near = begun[:3] or difflib.get_close_matches(name, there, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(there)}"


def _decimal(written: str) -> Decimal:
    value = Decimal(written)
    if not value.is_finite():
        raise ValueError(written)
    return value


def _boolean(written: str) -> bool:
    return {"true": True, "false": False}[written.lower()]


def _moment(written: str) -> datetime:
    start_us = arguments.time_range(written, None).start_us
    return _EPOCH + timedelta(microseconds=start_us or 0)


def _interval(written: str) -> str:
    if not written[:1].isdigit():
        raise ValueError(written)
    return written


def _list(written: str) -> list[str]:
    return written.split(",")


_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "BIGINT": int,
    "DECIMAL": _decimal,
    "BOOLEAN": _boolean,
    "TIMESTAMPTZ": _moment,
    "INTERVAL": _interval,
    "VARCHAR[]": _list,
}


def _root() -> Traversable:
    package = resources.files("recorder")
    packaged = package / "_queries"
    # An editable install leaves the SQL where people read it, beside the package.
    return packaged if packaged.is_dir() else Path(str(package)).parent / "queries"
