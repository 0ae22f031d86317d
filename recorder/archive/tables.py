"""The registry of tables: what there is, how its rows are sorted, and how its files are parted into folders.

Folders, locks, the files that tables are born with and compaction all follow from it. A new dataset is one schema, one
parser, one view and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

import pyarrow as pa

from recorder.archive import schema


@dataclass(frozen=True, slots=True)
class Table:
    """One table: a folder of this name. ``order`` names the columns by which the rows of each file are sorted.

    ``partition`` names what parts the table into folders and is no column of the files, ``year_of`` the time whose UTC
    year parts it further; None where there is no such part. ``remedy`` says what to do about a damaged file of it.
    """

    name: str
    columns: pa.Schema = field(repr=False)
    order: tuple[str, ...]
    remedy: str = field(repr=False)
    partition: str | None = None
    year_of: str | None = None


TRADES: Final = Table(
    "trades",
    schema.TRADES,
    ("trade_id",),
    "move it out of the archive; its ids are then a hole, and fetched again",
    partition="pair",
    year_of="time",
)
OHLC: Final = Table(
    "ohlc",
    schema.OHLC,
    ("pair", "time", "seen"),
    "move it out of the archive and merge a back-up; candles that are in none are not fetched again, except the last "
    "720 of a series, and `ohlc_filled` builds them from trades",
    partition="timeframe",
    year_of="time",
)
EVENTS: Final = Table(
    "events",
    schema.EVENTS,
    ("time",),
    "put the file of this name from a back-up in its place, or move it out of the archive: then what it told is lost, "
    "and only what it said of ids is asked for again",
    year_of="time",
)
INSTRUMENTS: Final = Table(
    "instruments",
    schema.INSTRUMENTS,
    ("pair", "valid_from"),
    "put the file of this name from a back-up in its place, or move it out of the archive: then what is listed now is "
    "archived anew, and what was listed before is lost",
)

TABLES: Final = (TRADES, OHLC, EVENTS, INSTRUMENTS)


@dataclass(frozen=True, slots=True)
class Branch:
    """A part of a table that one lock guards: one partition, or the whole of a table that has none."""

    table: Table
    value: str | None = None

    @property
    def name(self) -> str:
        """The name of its lock, and of its folder while it is exchanged: no pair of whatever name can take another's.

        The value is percent-encoded, as in Hive partitions.
        """
        if self.value is None:
            return f"table={self.table.name}"
        return f"{self.table.partition}={quote(self.value, safe='')}"


def branch_named(name: str) -> Branch | None:
    """Return the branch of this name; None where there can be none."""
    kind, _, value = name.partition("=")
    for table in TABLES:
        if table.partition is None and (kind, value) == ("table", table.name):
            return Branch(table)
        if table.partition is not None and kind == table.partition:
            return Branch(table, unquote(value))
    return None
