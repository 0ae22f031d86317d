"""What an export reads: the rows of one pair and kind in batches, in the order of a replay, from one snapshot.

Contains where an export stops because rows are missing, and what its sidecar reports about that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recorder.errors import UsageError
from recorder.exports.book_stream import BookStream
from recorder.exports.local_times import UNKNOWN, Times
from recorder.exports.overlaps import OneSession
from recorder.exports.request import Kind, Request
from recorder.lazy_imports import pc
from recorder.query import arguments, recorded_books, recorded_quotes
from recorder.query.arguments import Instant
from recorder.query.connect import Archive
from recorder.query.dataframes import METADATA
from recorder.query.id_runs import text as moment_text

BATCH: Final = 250_000
"""Rows in memory at once: some 30 MB."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ENDS: Final = """
    SELECT epoch_us(min(first_time)), epoch_us(max(last_time)) FROM coverage WHERE pair = $pair
"""
_RECORDED: Final = {Kind.QUOTES: recorded_quotes.HELD_PAIRS, Kind.BOOK: recorded_books.HELD_PAIRS}
_BOOK_BEGINS: Final = "SELECT epoch_us(min(first_received)) FROM book_sessions WHERE pair = $pair"
_REFUTED: Final = """
    SELECT session, max(last_message) AS message
    FROM book_sessions
    WHERE pair = $pair AND mismatches > 0
    GROUP BY session
"""
_AHEAD: Final = f"""
    SELECT max(ahead) FROM (
        SELECT epoch_us(max(time - received)) AS ahead
        FROM trades
        WHERE pair = $pair AND ($start IS NULL OR time >= make_timestamptz($start))
            AND ($stop IS NULL OR time < make_timestamptz($stop))
        UNION ALL
        SELECT epoch_us(max(time - received)) FROM book WHERE {recorded_books.IN_RANGE}
    )
"""  # noqa: S608 -- built of constants
_DIGITS: Final = """
    SELECT max(length(rtrim(split_part({column}::VARCHAR, '.', 2), '0')))::INTEGER FROM {table} WHERE pair = $pair
"""
_LISTED: Final = """
    SELECT base, quote, pair_decimals, lot_decimals, tick_size, ordermin, costmin
    FROM instruments
    WHERE pair = $pair
    ORDER BY valid_from DESC
"""
_OVERLAPPING: Final = "rows_of_overlapping_sessions"
"""The fact that tells how many rows are left out, since an earlier session of the pair was under way."""
_SHOWN: Final = 3
"""Pairs in a message."""


@dataclass(frozen=True, slots=True)
class BookBatch:
    """Rows of a book: ``rows`` of the table, without those that a replay does not need.

    ``replaces`` marks those of a whole book that replaces what was before.
    """

    rows: pa.Table
    replaces: npt.NDArray[np.bool_]


class Rows:
    """Reads the rows of a request. Raises GapError before the first batch of a series, if rows of it are missing."""

    def __init__(self, archive: Archive, request: Request, kinds: Sequence[Kind], *, from_book: bool = False) -> None:
        """Read from ``archive``; with ``from_book``, trades from the beginning of their pair's book on."""
        self.request = request
        self.kinds = kinds
        self._archive = archive
        self._limits = arguments.time_range(request.start, request.stop)
        self._from_book = from_book
        self._recorded: dict[Kind, set[str]] = {}

    @property
    def pairs(self) -> tuple[str, ...]:
        """The pairs of the request."""
        return self.request.pairs

    def has(self, pair: str, kind: Kind) -> bool:
        """Return whether to export this kind of a pair. Raise UsageError if it was named, and no pair has it."""
        if kind not in self.kinds:
            return False
        if kind not in _RECORDED:
            return True
        if kind not in self._recorded:
            self._recorded[kind] = set(self._archive.sql(_RECORDED[kind], to="arrow").column(0).to_pylist())
        held = self._recorded[kind]
        if kind in self.request.kinds and held.isdisjoint(self.pairs):
            arguments.pair(pair, held, of=kind)
        return pair in held

    def check(self) -> None:
        """Raise GapError if rows of any series are missing, or warn, as is requested."""
        for pair in self.pairs:
            for kind in self.kinds:
                if self.has(pair, kind):
                    self._check(pair, kind)

    def _check(self, pair: str, kind: Kind) -> None:
        on_gap = self.request.on_gap
        match kind:
            case Kind.TRADES:
                self._archive.batches(pair, self._start(pair), self.request.stop, on_gap=on_gap, check=True)
            case Kind.CANDLES:
                for timeframe in self.request.timeframes:
                    limits = self._limits.in_bars(timeframe)
                    ends = (_moment(limits.start_us), _moment(limits.stop_us))
                    self._archive.batches(pair, *ends, on_gap=on_gap, check=True)
            case Kind.QUOTES:
                self._archive.quote_batches(pair, self.request.start, self.request.stop, on_gap=on_gap, check=True)
            case Kind.BOOK:
                self._archive.book_batches(pair, self.request.start, self.request.stop, on_gap=on_gap, check=True)

    def trades(self, pair: str, *, exact: bool) -> Iterator[pa.Table]:
        """Yield trades in ascending id, with the columns of :meth:`Archive.trades`."""
        start, stop = self._start(pair), self.request.stop
        return self._archive.batches(pair, start, stop, rows=BATCH, on_gap="ignore", to="arrow", decimals=exact)

    def quotes(self, pair: str, *, exact: bool) -> Iterator[pa.Table]:
        """Yield quotes of one session at a time, by message, with the columns of :meth:`Archive.quotes`."""
        start, stop = self.request.start, self.request.stop
        return _of_one_session(
            pair,
            self._archive.quote_batches(pair, start, stop, rows=BATCH, on_gap="ignore", to="arrow", decimals=exact),
        )

    def candles(self, pair: str, timeframe: str, *, exact: bool) -> Iterator[pa.Table]:
        """Yield candles by time, with the columns of :meth:`Archive.candles`; bars without trades have no row."""
        first_us, last_us = (column[0].as_py() for column in self._sql(_ENDS, pair=pair).columns)
        width_us = arguments.timeframe_us(timeframe)
        limits = self._limits.in_bars(timeframe)
        at_us = first_us // width_us * width_us
        at_us = at_us if limits.start_us is None else max(at_us, limits.start_us)
        stop_us = last_us + 1 if limits.stop_us is None else min(last_us + 1, limits.stop_us)
        while at_us < stop_us:
            until_us = min(at_us + BATCH * width_us, stop_us)
            ends = (_moment(at_us), _moment(until_us))
            found = self._archive.candles(pair, timeframe, *ends, on_gap="ignore", to="arrow", decimals=exact)
            if found.num_rows:
                yield found
            at_us += BATCH * width_us

    def book(self, pair: str, *, exact: bool) -> Iterator[BookBatch]:
        """Yield the rows of a book, of one session at a time, by message and position, from a whole book on."""
        stream, start, stop = BookStream(self._refuted(pair)), self.request.start, self.request.stop
        for found in _of_one_session(
            pair,
            self._archive.book_batches(pair, start, stop, rows=BATCH, on_gap="ignore", to="arrow", decimals=exact),
        ):
            whole = pc.is_in(found["kind"].cast(pa.string()), pa.array(["snapshot", "checkpoint"])).to_numpy()
            session, message = (found[name].to_numpy() for name in ("session", "message"))
            kept, replaces = stream.choose(session, message, whole, micros(found, "received"))
            kept &= pc.is_valid(found["side"]).to_numpy()
            yield BookBatch(found.filter(pa.array(kept)), replaces[kept])

    def ahead_us(self, pair: str) -> int:
        """Return by how much trades and books were received before they were made, at most, by the two clocks."""
        begins = arguments.moment("start", self._start(pair))
        return int(self._sql(_AHEAD, pair=pair, **self._ends() | {"start": begins}).column(0)[0].as_py() or 0)

    def digits(self, pair: str, table: str, columns: Sequence[str]) -> int:
        """Return the number of digits after the point that the values in these columns of a table need."""
        found = (self._sql(_DIGITS.format(column=column, table=table), pair=pair) for column in columns)
        return max(one.column(0)[0].as_py() or 0 for one in found)

    def listings(self, pair: str) -> list[dict[str, Any]]:
        """Return the listings of a pair, newest first: base, quote, digits, tick size and minima."""
        found: list[dict[str, Any]] = self._sql(_LISTED, pair=pair, exact=True).to_pylist()
        return found

    def _start(self, pair: str) -> Instant:
        """Return from when trades of a pair are read. Raise UsageError if that is with its book, and there is none."""
        if not self._from_book:
            return self.request.start
        if not self.has(pair, Kind.BOOK):
            raise UsageError(
                f"this tool needs the book of {pair}, and none is recorded, or chosen: add the pair to books.pairs of "
                "the configuration, and export what is recorded from then on"
            )
        begins_us = self._sql(_BOOK_BEGINS, pair=pair).column(0)[0].as_py()
        return _moment(max(begins_us, self._limits.start_us or begins_us))

    def _refuted(self, pair: str) -> set[tuple[int, int]]:
        return {(one["session"], one["message"]) for one in self._sql(_REFUTED, pair=pair).to_pylist()}

    def _ends(self) -> dict[str, Any]:
        return {"start": self._limits.start_us, "stop": self._limits.stop_us}

    def _sql(self, text: str, *, exact: bool = False, **params: object) -> pa.Table:
        named: Mapping[str, Any] = params
        return self._archive.sql(text, to="arrow", decimals=exact, **named)


class Tally:
    """Counts the rows of a series, and collects what its batches report about missing rows."""

    def __init__(self) -> None:
        self.rows = 0
        self._facts: dict[str, Any] = {}
        self._incomplete = 0

    def add(self, rows: pa.Table) -> None:
        """Add a batch."""
        time = rows["time"] if rows["time"].null_count < rows.num_rows else rows["received"]
        if rows.num_rows:
            ends = pc.min_max(time.cast(pa.int64())).as_py()
            self._facts.setdefault("first_time", moment_text(ends["min"]))
            self._facts["last_time"] = moment_text(ends["max"])
        if "trade_id" in rows.column_names and rows.num_rows:
            self._facts.setdefault("first_id", rows["trade_id"][0].as_py())
            self._facts["last_id"] = rows["trade_id"][-1].as_py()
        if "complete" in rows.column_names:
            self._incomplete += pc.sum(pc.invert(rows["complete"])).as_py() or 0
        else:
            self._report(json.loads((rows.schema.metadata or {}).get(METADATA, b"{}")))
        self.rows += rows.num_rows

    def _report(self, attrs: Mapping[str, Any]) -> None:
        for name in ("missing", "begins", "unknown", "outside", _OVERLAPPING):
            for value in attrs.get(name, {}).values():
                if value:
                    self._facts[name] = value

    def facts(self) -> dict[str, Any]:
        """Return the facts for a sidecar."""
        found = dict(self._facts)
        if self._incomplete:
            found["incomplete_candles"] = self._incomplete
        return found


def _of_one_session(pair: str, batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows that were received while no earlier session was under way; report the others in the metadata."""
    one = OneSession()
    for found in batches:
        kept = one.choose(found["session"].to_numpy(), micros(found, "received"))
        metadata = dict(found.schema.metadata or {})
        if one.left_out:
            facts = json.loads(metadata.get(METADATA, b"{}")) | {_OVERLAPPING: {pair: one.left_out}}
            metadata[METADATA] = json.dumps(facts).encode()
        yield found.filter(pa.array(kept)).replace_schema_metadata(metadata)


def micros(rows: pa.Table, column: str) -> Times:
    """Return times in µs since 1970 UTC, UNKNOWN where there is none."""
    found: Times = rows[column].cast(pa.int64()).fill_null(int(UNKNOWN)).to_numpy()
    return found


def _moment(us: int | None) -> datetime | None:
    return None if us is None else _EPOCH + timedelta(microseconds=us)


def nothing(request: Request) -> UsageError:
    """Return the error of a request that finds no row."""
    named = ", ".join(request.pairs[:_SHOWN])
    return UsageError(f"the archive has no rows of {named} in this range: `recorder look` shows what it has")
