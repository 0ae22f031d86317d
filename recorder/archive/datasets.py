"""The registry of datasets: one entry for each table of the archive, with everything that is specific to it.

Folders, locks, schema files, encodings, the writer of tables without ids, compaction, checks and remedies follow from
it. ``docs/adding-a-dataset.md`` describes how to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, unquote

import pyarrow as pa

from recorder.archive import schema
from recorder.core import session_parts
from recorder.core.segment_names import MAIN_JOURNAL

Period = Literal["year", "date"]
"""The part of the UTC time by which a table is split, and the key of its folders: ``year=2025``,
``date=2025-11-10``."""
Encoding = Literal["delta", "words"]
"""How the values of a column are stored: as differences between neighbours, or once each in a dictionary."""

_PERIODS: Final[Mapping[Period, Callable[[date], str]]] = {
    "year": lambda moment: str(moment.year),
    "date": lambda moment: moment.isoformat()[: len("2025-11-10")],
}
"""How the folder of a period is named; years before 1000 have no leading zeros."""

NO_PARTITION: Final = "__none__"
"""Partition value of the empty file that each table is created with; no pair or timeframe has this name. Hive's own
name for null is not used because pandas cannot read a column of names that contains a null."""
SCHEMA_FILE: Final = "schema.parquet"
"""The name of that file."""
MARKET_JOURNAL: Final = "journal_market"
"""The journal of what comes many times as often as trades, and must never delay them."""
BOOKS_JOURNAL: Final = "journal_books"
"""The journal of books, which come several times as often again: its segments are large and seldom drained."""
LOCKED_WITH: Final[Mapping[str, str]] = {BOOKS_JOURNAL: MARKET_JOURNAL}
"""Journals that the process of another one writes too: one lock is for both."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One table: a folder of this name. Entries are equal if their names are.

    ``build`` makes columns of parsed rows. ``order`` are the columns by which the rows of each file are sorted.
    ``time`` is the column whose ``period`` splits the table into folders; without a period it is not split by time.
    ``partition`` is the key of another split, and not a column of the files. ``encodings`` are those of single columns;
    other columns are stored plain. ``remedy`` describes what to do about a damaged file.

    Rows with ids are identified by them; others by the journal segment they were drained from, or with ``by_key`` by
    their own values, so that a new row of a segment that was written before is still added. ``stamp`` is the column
    with the time at which such a row came. ``journal`` is the journal that the rows come from, whose process
    alone writes the table while it records. ``fold`` joins rows of one segment, in the order of arrival, that become a
    single row.

    ``noun`` is what reports call the rows. A table ``added_later`` is lacking where only an earlier release recorded;
    readers take it for empty. ``merged_by`` are the first columns of ``order``, by which `recorder merge`
    tells whether a row of another archive is stored here; a table without any is not merged by this rule.

    An ``imported`` table comes from history files and from no journal. Each of its folders has one file, which an
    import replaces as a whole, and whose footer says which rows of which member it holds; nothing else merges it.
    """

    name: str
    columns: pa.Schema = field(repr=False, compare=False)
    build: Callable[[Sequence[Any]], pa.Table] = field(repr=False, compare=False)
    order: tuple[str, ...] = field(compare=False)
    time: str = field(compare=False)
    remedy: str = field(repr=False, compare=False)
    encodings: Mapping[str, Encoding] = field(repr=False, compare=False)
    partition: str | None = field(default=None, compare=False)
    period: Period | None = field(default=None, compare=False)
    has_ids: bool = field(default=False, compare=False)
    by_key: bool = field(default=False, compare=False)
    stamp: str | None = field(default=None, compare=False)
    journal: str = field(default=MAIN_JOURNAL, compare=False)
    fold: Callable[[Sequence[Any]], list[Any]] | None = field(default=None, repr=False, compare=False)
    noun: str = field(default="rows", compare=False)
    added_later: bool = field(default=False, compare=False)
    merged_by: tuple[str, ...] = field(default=(), compare=False)
    imported: bool = field(default=False, compare=False)

    @property
    def by_pair(self) -> bool:
        """Whether each of its folders, and so of its files, is of one pair."""
        return self.partition == "pair"

    def period_of(self, moment: date) -> str | None:
        """Return the name of the period of a UTC time or day; None if the table has no periods.

        >>> TRADES.period_of(date(2025, 11, 10)), TRADES.period_of(date(1, 1, 1))
        ('2025', '1')
        """
        return None if self.period is None else _PERIODS[self.period](moment)


TRADES: Final = Dataset(
    "trades",
    schema.TRADES,
    schema.trades_table,
    order=("trade_id",),
    time="time",
    remedy="move it out of the archive, and put the file of this name from a back-up in its place: without one its ids "
    "are then a hole, and fetched again, but when they were received (`received`) is lost",
    encodings={
        "trade_id": "delta",
        "time": "delta",
        "price": "words",
        "side": "words",
        "ord_type": "words",
        "misc": "words",
        "source": "words",
        "received": "delta",
    },
    partition="pair",
    period="year",
    has_ids=True,
)
OHLC: Final = Dataset(
    "ohlc",
    schema.OHLC,
    schema.ohlc_table,
    order=("pair", "time", "seen"),
    time="time",
    remedy="move it out of the archive and merge a back-up; candles that are in none are not fetched again, except the "
    "last 720 of a series, and `ohlc_filled` builds them from trades",
    encodings={
        "pair": "words",
        "time": "delta",
        "open": "words",
        "close": "words",
        "count": "delta",
        "source": "words",
        "seen": "delta",
    },
    partition="timeframe",
    period="year",
    stamp="seen",
    noun="candles",
    merged_by=("pair", "time"),
)
EVENTS: Final = Dataset(
    "events",
    schema.EVENTS,
    schema.events_table,
    order=("time",),
    time="time",
    remedy="put the file of this name from a back-up in its place, or move it out of the archive: then its events are "
    "lost, and only what they say about ids is requested again",
    encodings={"time": "delta", "kind": "words", "pair": "words"},
    period="year",
    stamp="time",
)
INSTRUMENTS: Final = Dataset(
    "instruments",
    schema.INSTRUMENTS,
    schema.instruments_table,
    order=("pair", "valid_from"),
    time="valid_from",
    remedy="put the file of this name from a back-up in its place, or move it out of the archive: then what is listed "
    "now is archived anew, and what was listed before is lost",
    encodings={"pair": "words", "valid_from": "delta"},
    by_key=True,
    stamp="valid_from",
)
QUOTES: Final = Dataset(
    "quotes",
    schema.QUOTES,
    schema.quotes_table,
    order=("session", "message"),
    time="received",
    remedy="put the file of this name from a back-up in its place, or move it out of the archive: then its quotes are "
    "lost, which nobody can fetch again, and `quote_sessions` goes on counting them",
    encodings={"time": "delta", "received": "delta", "message": "delta"},
    partition="pair",
    period="year",
    stamp="received",
    journal=MARKET_JOURNAL,
    noun="quotes",
    added_later=True,
    merged_by=("session", "message"),
)
QUOTE_SESSIONS: Final = Dataset(
    "quote_sessions",
    schema.QUOTE_SESSIONS,
    schema.sessions_table,
    order=("pair", "session", "seen"),
    time="seen",
    remedy="put the file of this name from a back-up in its place, or move it out of the archive: then the quotes of "
    "its sessions remain, and nothing tells any more whether some are missing among them",
    encodings={
        "pair": "words",
        "session": "delta",
        "first_message": "delta",
        "last_message": "delta",
        "rows": "delta",
        "first_received": "delta",
        "last_received": "delta",
        "ended": "delta",
        "seen": "delta",
    },
    period="year",
    stamp="seen",
    journal=MARKET_JOURNAL,
    noun="sessions of quotes",
    added_later=True,
    fold=session_parts.joined,
    merged_by=("pair", "session", "seen"),
)
BOOK: Final = Dataset(
    "book",
    schema.BOOK,
    schema.book_table,
    order=("session", "message", "position"),
    time="received",
    remedy="put the file of this name from a back-up in its place, or move it out of the archive: then its messages "
    "are lost, which nobody can fetch again, and no book is verified from there to the next checkpoint",
    encodings={
        "time": "delta",
        "received": "delta",
        "session": "words",
        "message": "delta",
        "position": "delta",
        "kind": "words",
        "side": "words",
        "price": "words",
    },
    partition="pair",
    period="date",
    stamp="received",
    journal=BOOKS_JOURNAL,
    noun="rows of books",
    added_later=True,
    merged_by=("session", "message", "position"),
)
BOOK_SESSIONS: Final = Dataset(
    "book_sessions",
    schema.BOOK_SESSIONS,
    schema.book_sessions_table,
    order=("pair", "session", "seen"),
    time="seen",
    remedy="put the file of this name from a back-up in its place, or move it out of the archive: then the rows of its "
    "sessions remain, and none of their books is verified",
    encodings={
        "pair": "words",
        "session": "delta",
        "first_message": "delta",
        "last_message": "delta",
        "messages": "delta",
        "verified": "delta",
        "mismatches": "words",
        "first_received": "delta",
        "last_received": "delta",
        "depth": "words",
        "price_digits": "words",
        "qty_digits": "words",
        "ended": "delta",
        "end_reason": "words",
        "seen": "delta",
    },
    period="year",
    stamp="seen",
    journal=BOOKS_JOURNAL,
    noun="sessions of books",
    added_later=True,
    fold=session_parts.joined_books,
    merged_by=("pair", "session", "seen"),
)

MARKET_EVENTS: Final = replace(
    EVENTS,
    name="market_events",
    remedy="put the file of this name from a back-up in its place, or move it out of the archive: then its events "
    "about connections are lost, and nothing else depends on it",
    journal=MARKET_JOURNAL,
    added_later=True,
)

BOOK_EVENTS: Final = replace(
    MARKET_EVENTS,
    name="book_events",
    remedy="put the file of this name from a back-up in its place, or move it out of the archive: then its events "
    "about the connections of books are lost, and nothing else depends on it",
    journal=BOOKS_JOURNAL,
)

BULK_TRADES: Final = Dataset(
    "bulk_trades",
    schema.BULK_TRADES,
    schema.bulk_trades_table,
    order=("time", "row"),
    time="time",
    remedy="move it out of the archive, and import the history files with the trades of its pair again",
    encodings={"time": "delta", "row": "delta", "price": "words", "member": "words"},
    partition="pair",
    period="year",
    noun="trades of history files",
    added_later=True,
    imported=True,
)
BULK_OHLC: Final = Dataset(
    "bulk_ohlc",
    schema.BULK_OHLC,
    schema.bulk_ohlc_table,
    order=("timeframe", "time"),
    time="time",
    remedy="move it out of the archive, and import the history files with the candles of its pair again",
    encodings={
        "timeframe": "words",
        "time": "delta",
        "open": "words",
        "close": "words",
        "count": "delta",
        "member": "words",
        "row": "delta",
    },
    partition="pair",
    period="year",
    noun="candles of history files",
    added_later=True,
    imported=True,
)

DATASETS: Final = (
    TRADES,
    OHLC,
    EVENTS,
    INSTRUMENTS,
    QUOTES,
    QUOTE_SESSIONS,
    MARKET_EVENTS,
    BOOK,
    BOOK_SESSIONS,
    BOOK_EVENTS,
    BULK_TRADES,
    BULK_OHLC,
)
BY_NAME: Final[Mapping[str, Dataset]] = {dataset.name: dataset for dataset in DATASETS}
_elsewhere: dict[str, Dataset] = {}
"""Tables that lie in folders of their own; filled by the modules that define them."""
WITHOUT_IDS: Final = tuple(dataset for dataset in DATASETS if not dataset.has_ids)
EVENTS_OF: Final[Mapping[str, Dataset]] = {one.journal: one for one in (EVENTS, MARKET_EVENTS, BOOK_EVENTS)}
"""The table of events of each journal. Each has its own, so that no process waits for a lock that another one holds."""


def add_elsewhere(*tables: Dataset) -> None:
    """Make files of tables readable and writable that are no part of an archive."""
    _elsewhere.update((table.name, table) for table in tables)


def entry(name: str) -> Dataset:
    """Return the entry of a table, of an archive or elsewhere. Raises KeyError."""
    return BY_NAME[name] if name in BY_NAME else _elsewhere[name]


def journals() -> tuple[str, ...]:
    """Return the names of all journals that rows come from, the main one first."""
    return tuple(dict.fromkeys(one.journal for one in DATASETS if not one.imported))


def written_by(journal: str) -> tuple[Dataset, ...]:
    """Return the tables whose rows come from this journal."""
    return tuple(dataset for dataset in DATASETS if dataset.journal == journal and not dataset.imported)


def remedy(path: Path | str) -> str:
    """Return the remedy for a damaged file; its path determines the table."""
    parts = Path(path).parts
    if parts[-1] == SCHEMA_FILE:
        return "remove it; `recorder run` writes it anew when it starts"
    known = {**_elsewhere, **BY_NAME}
    return next((known[part].remedy for part in reversed(parts) if part in known), TRADES.remedy)


@dataclass(frozen=True, slots=True)
class Branch:
    """The part of a dataset that one lock guards: one partition, or the whole dataset if it is not partitioned."""

    dataset: Dataset
    value: str | None = None

    @property
    def pair(self) -> str | None:
        """The pair that all its rows are of; None if the dataset is not partitioned by pair."""
        return self.value if self.dataset.by_pair else None

    @property
    def folder(self) -> str:
        """The name of its partition's folder. The value is percent-encoded, so that it cannot lead anywhere else."""
        return f"{self.dataset.partition}={quote(self.value or '', safe='')}"

    @property
    def name(self) -> str:
        """The name of its lock, and of its folder during an exchange; unique among all branches of all datasets."""
        if self.value is None:
            return f"table={self.dataset.name}"
        first = next(dataset for dataset in DATASETS if dataset.partition == self.dataset.partition)
        return self.folder if first == self.dataset else f"table={self.dataset.name},{self.folder}"


def branch_named(name: str) -> Branch | None:
    """Return the branch of this name; None if there is no such branch."""
    for dataset in DATASETS:
        branch = Branch(dataset)
        if dataset.partition is not None:
            _, found, value = name.rpartition(f"{dataset.partition}=")
            branch = Branch(dataset, unquote(value)) if found else branch
        if branch.name == name:
            return branch
    return None
