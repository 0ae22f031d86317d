"""Tardis CSV: trades, quotes and book changes as the gzipped CSV files, one per UTC day, that Tardis delivers.

``timestamp`` and ``local_timestamp`` are in µs. A day is one of ``local_timestamp``, which never falls within the files
of a series. Where the exchange stated no time, ``timestamp`` is ``local_timestamp``. Numbers are exact.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any, Final, Self

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from recorder.exports.folder import NewFolder
from recorder.exports.local_times import UNKNOWN, LocalTimes, Times
from recorder.exports.request import Kind, Request, Series, file_names
from recorder.exports.rows import Rows, Tally, micros

_EXCHANGE: Final = "kraken"
_DAY_US: Final = 86_400_000_000
_TYPES: Final = {Kind.TRADES: "trades", Kind.QUOTES: "quotes", Kind.BOOK: "incremental_book_L2"}
"""Tardis' names of the kinds."""
_ENDS: Final = f"'{_EXCHANGE}' AS exchange, $pair AS symbol, timestamp, local_timestamp"
_PLAIN: Final = "rtrim(rtrim({0}::VARCHAR, '0'), '.') AS {1}"
_COLUMNS: Final = {
    Kind.TRADES: (
        f"{_ENDS}, trade_id AS id, side, {_PLAIN.format('price', 'price')}, {_PLAIN.format('qty', 'amount')}"
    ),
    Kind.QUOTES: ", ".join(
        (
            _ENDS,
            _PLAIN.format("ask_qty", "ask_amount"),
            _PLAIN.format("ask", "ask_price"),
            _PLAIN.format("bid", "bid_price"),
            _PLAIN.format("bid_qty", "bid_amount"),
        )
    ),
    Kind.BOOK: (
        f"{_ENDS}, is_snapshot, side, {_PLAIN.format('price', 'price')}, "
        f"coalesce(nullif(rtrim(rtrim(qty::VARCHAR, '0'), '.'), ''), '0') AS amount"
    ),
}
_OPTIONS: Final = pacsv.WriteOptions(include_header=False, quoting_style="none")


class TardisCsv:
    """Files for whatever reads those of Tardis."""

    name = "tardis-csv"
    layout = "CSV files of Tardis, as hftbacktest 2.4.4 converts them"
    kinds = (Kind.TRADES, Kind.QUOTES, Kind.BOOK)
    is_exact = True
    needs_book = False

    def check(self, request: Request) -> None:
        """Raise UsageError for pairs whose files would have the same name."""
        file_names(request.pairs, "/", "-")

    def write(self, rows: Rows, folder: NewFolder) -> Iterator[Series]:
        """Write a file for each pair, kind and day."""
        names = file_names(rows.pairs, "/", "-")
        for pair in rows.pairs:
            for kind in self.kinds:
                if rows.has(pair, kind):
                    yield _written(rows, folder, pair, kind, names[pair])


def _written(rows: Rows, folder: NewFolder, pair: str, kind: Kind, name: str) -> Series:
    tally, times = Tally(), LocalTimes()
    with _Days(folder, pair, kind, name) as days:
        for batch, replaces in _batches(rows, pair, kind):
            tally.add(batch)
            made_us, received_us = micros(batch, "time"), micros(batch, "received")
            local_us = times.of(made_us, received_us)
            made_us = np.where(made_us == UNKNOWN, local_us, made_us)
            days.write(batch, made_us, local_us, replaces)
    return Series(pair, kind, tally.rows, facts=tally.facts() | times.facts())


def _batches(rows: Rows, pair: str, kind: Kind) -> Iterator[tuple[pa.Table, npt.NDArray[np.bool_] | None]]:
    match kind:
        case Kind.BOOK:
            yield from ((batch.rows, batch.replaces) for batch in rows.book(pair, exact=True))
        case Kind.QUOTES:
            yield from ((batch, None) for batch in rows.quotes(pair, exact=True))
        case _:
            yield from ((batch, None) for batch in rows.trades(pair, exact=True))


class _Days:
    """The files of one series, of which one is open: that of the day whose rows come."""

    def __init__(self, folder: NewFolder, pair: str, kind: Kind, name: str) -> None:
        self._folder, self._pair, self._kind, self._name = folder, pair, kind, name
        self._client = duckdb.connect()
        self._text = f"SELECT {_COLUMNS[kind]} FROM rows"  # noqa: S608 -- a constant
        self._day: date | None = None
        self._open = contextlib.ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()
        self._client.close()

    def write(self, rows: pa.Table, made_us: Times, local_us: Times, replaces: npt.NDArray[np.bool_] | None) -> None:
        """Write rows, whose local times ascend, to the files of their days."""
        rows = rows.append_column("timestamp", pa.array(made_us)).append_column("local_timestamp", pa.array(local_us))
        if replaces is not None:
            rows = rows.append_column("is_snapshot", pa.array(replaces))
        days = local_us // _DAY_US
        starts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)] if len(days) else []
        for start, stop in pairwise(starts):
            self._client.register("rows", rows.slice(start, stop - start))
            texts: pa.Table = self._client.sql(self._text, params={"pair": self._pair}).to_arrow_table()
            self._client.unregister("rows")
            self._of(datetime.fromtimestamp(int(local_us[start]) // 1_000_000, UTC).date(), texts.schema).write_table(
                texts
            )

    def _of(self, day: date, columns: pa.Schema) -> pacsv.CSVWriter:
        if self._writer is None or day != self._day:
            self._open.close()
            name = f"{_EXCHANGE}_{_TYPES[self._kind]}_{day}_{self._name}.csv.gz"
            file = self._open.enter_context(self._folder.file(name))
            packed = self._open.enter_context(pa.CompressedOutputStream(file, "gzip"))
            packed.write(",".join(columns.names).encode() + b"\n")
            self._writer = self._open.enter_context(pacsv.CSVWriter(packed, columns, write_options=_OPTIONS))
            self._day = day
        return self._writer
