"""The tail: journalled trades, candles, quotes and events that are not in the archive yet.

Reads the journal forward only, and converts its rows to columns. Uses the drain's parser, so that a row is the same
before and after it moves. Unreadable lines are left to the drain, which reports them; so are listings, which it
compares with what is archived, and the events that it finds itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recorder.archive import schema
from recorder.archive.datasets import (
    BY_NAME,
    EVENTS,
    EVENTS_OF,
    MARKET_EVENTS,
    OHLC,
    QUOTE_SESSIONS,
    QUOTES,
    TRADES,
    Dataset,
)
from recorder.archive.footer import held_runs
from recorder.archive.layout import Layout
from recorder.archive.schema import REFUSED
from recorder.core.model import Trade
from recorder.core.trade_ids import Run, Span, Spans
from recorder.disk import undisturbed
from recorder.errors import CorruptLine, Malformed
from recorder.journal import segment
from recorder.query import table_rows

TAIL: Final = pa.schema([pa.field("pair", pa.string(), nullable=False), *schema.TRADES])
"""The columns of the tail of trades: theirs, and the pair, which files have in their path."""
NONE: Final = pa.Table.from_batches([], TAIL)
"""A tail without rows. (``empty_table()`` would import pandas.)"""

_CHUNK: Final = 1 << 22
"""Bytes of journal parsed at once; bounds the memory taken by Python objects."""
_PIECES: Final = 64
"""The maximum number of chunks of a column before they are combined; many small ones slow every scan."""


_TICKER: Final = b'"source":"ws:ticker:'
_NOTE: Final = b'"source":"note"'
_SOURCES: Final = {
    OHLC: (b'"source":"rest:/0/public/OHLC?',),
    EVENTS: (_NOTE,),
    QUOTES: (_TICKER,),
    QUOTE_SESSIONS: (_TICKER, b'"source":"ended:ticker:'),
    MARKET_EVENTS: (_NOTE,),
}
"""What lines with rows of these tables have near their beginning; all others need not be decoded."""
TOGETHER: Final = ((OHLC,), (EVENTS,), (QUOTES, QUOTE_SESSIONS), (MARKET_EVENTS,))
"""The tables without ids that have a tail; those whose rows are in the same lines are read together."""
_SOURCE_WITHIN: Final = 96


class JournalTails:
    """The rows of some tables in the journal that they come from, including repeats, as of the last :meth:`read`."""

    def __init__(self, data: Path, datasets: Sequence[Dataset]) -> None:
        self.datasets = tuple(datasets)
        (name,) = {dataset.journal for dataset in datasets}
        self._journal = Layout(data).journal_dir(name)
        self._none = {dataset: empty(dataset) for dataset in datasets}
        self._read: dict[Path, tuple[int, dict[Dataset, pa.Table]]] = {}

    def read(self) -> dict[Dataset, pa.Table]:
        """Read on from where the last call ended; return all journalled rows, oldest first.

        Reads whole lines only, and returns none before it is durable. Call it before the archive is listed: a row may
        move meanwhile, but is then in the listing.
        """
        # If a segment was retired during the read, its rows are in the archive now, so begin anew.
        self._read = undisturbed(self._all, f"the segments in {self._journal}")
        tables = [tables for _, tables in self._read.values()]
        return {
            dataset: pa.concat_tables([none, *(found[dataset] for found in tables)])
            for dataset, none in self._none.items()
        }

    def _all(self) -> dict[Path, tuple[int, dict[Dataset, pa.Table]]]:
        return {path: self._read_on(path) for path in segment.segments(self._journal)}

    def _read_on(self, path: Path) -> tuple[int, dict[Dataset, pa.Table]]:
        offset, tables = self._read.get(path, (0, self._none))
        size = path.stat().st_size
        while offset < size:
            lines, following = segment.whole_lines(path, offset, limit=_CHUNK)
            if following == offset:
                break
            offset, tables = following, self._extended(tables, lines)
            self._read[path] = offset, tables
        return offset, tables

    def _extended(self, tables: Mapping[Dataset, pa.Table], lines: list[bytes]) -> dict[Dataset, pa.Table]:
        found: dict[Dataset, list[pa.Table]] = {dataset: [table] for dataset, table in tables.items()}
        for dataset, table in _columns(self.datasets, lines):
            found[dataset].append(table)
        joined = {dataset: pa.concat_tables(parts) for dataset, parts in found.items()}
        return {
            dataset: table.combine_chunks() if table.column(0).num_chunks > _PIECES else table
            for dataset, table in joined.items()
        }


class JournalTail:
    """The trades in the journal of the archive at ``data``, including repeats, as of the last :meth:`read`."""

    def __init__(self, data: Path) -> None:
        self._tails = JournalTails(data, (TRADES,))

    def read(self) -> pa.Table:
        """Return all journalled trades, oldest first; see :meth:`JournalTails.read`."""
        return self._tails.read()[TRADES]


def empty(dataset: Dataset) -> pa.Table:
    """Return a tail without rows, in the order of the columns that SQL gives the table."""
    if dataset == TRADES:
        return NONE
    names, columns = table_rows.columns(dataset), dataset.columns
    fields = [columns.field(name) if name in columns.names else _partition(name) for name in names]
    return pa.Table.from_batches([], pa.schema(fields))


def _partition(name: str) -> pa.Field:
    return pa.field(name, pa.date32() if name == "date" else pa.string(), nullable=False)


def _columns(datasets: Sequence[Dataset], lines: list[bytes]) -> Iterator[tuple[Dataset, pa.Table]]:
    if TRADES in datasets:
        yield TRADES, trade_columns(list(_trades(lines)))
        return
    sources = tuple({source for dataset in datasets for source in _SOURCES[dataset]})
    found: dict[tuple[Dataset, str | None], list[Any]] = {}
    for line in lines:
        if any(source in line[:_SOURCE_WITHIN] for source in sources):
            with contextlib.suppress(CorruptLine, Malformed):
                for dataset, partition, rows in _rows(segment.decode(line)):
                    if dataset in datasets:
                        found.setdefault((dataset, partition), []).extend(rows)
    for (dataset, partition), rows in found.items():
        for table in _tables(dataset, partition, rows if dataset.fold is None else dataset.fold(rows)):
            yield dataset, table


def _rows(entry: segment.Entry) -> Iterator[tuple[Dataset, str | None, Sequence[Any]]]:
    """Yield the rows of a line as the drain adds them to tables. Raises Malformed."""
    from recorder.kraken import records  # noqa: PLC0415 -- only a live connection parses

    match records.read(entry):
        case records.PublishedCandles() as answer:
            candles = answer.candles()
            seen_us = entry.recv_ns // 1000
            yield OHLC, candles[0].timeframe if candles else None, [(seen_us, one) for one in candles]
        case records.Note() as note:
            for events in EVENTS_OF.values():  # only those of this journal are wanted
                yield events, None, [note.event()]
        case records.TableRows() as given:
            for table, parts in given.tables().items():
                for partition, rows in parts.items():
                    yield BY_NAME[table], partition, rows


def _tables(dataset: Dataset, partition: str | None, rows: Sequence[Any]) -> Iterator[pa.Table]:
    """Yield rows as columns; one that does not fit the table is left out, since the drain reports it."""
    try:
        yield _table(dataset, partition, rows)
    except REFUSED:
        for row in rows:
            with contextlib.suppress(*REFUSED):
                yield _table(dataset, partition, [row])


def _table(dataset: Dataset, partition: str | None, rows: Sequence[Any]) -> pa.Table:
    table = dataset.build(rows)
    if dataset.partition is not None:
        values = pa.array([partition] * table.num_rows, pa.string())
        table = table.append_column(_partition(dataset.partition), values)
    return table.select(table_rows.columns(dataset))


def _trades(lines: list[bytes]) -> Iterator[Trade]:
    from recorder.kraken import records  # noqa: PLC0415 -- only a live connection parses

    for line in lines:
        with contextlib.suppress(CorruptLine, Malformed):
            yield from records.trades(segment.decode(line))


def trade_columns(trades: list[Trade]) -> pa.Table:
    """Return trades as columns of :data:`TAIL`."""
    pairs = pa.array([trade.pair for trade in trades], pa.string())
    return schema.trades_table(trades).add_column(0, TAIL.field("pair"), pairs)


def pending(journalled: pa.Table, archived: Mapping[str, Spans]) -> pa.Table:
    """Return the tail: the first row of each (pair, id) that is not archived, sorted by pair and id."""
    if not journalled.num_rows:
        return journalled
    words = journalled["pair"].combine_chunks().dictionary_encode()
    codes = words.indices.to_numpy()
    ids = journalled["trade_id"].to_numpy()
    order = np.lexsort((ids, codes))  # stable, so that of equal ids the first journalled comes first
    codes, ids = codes[order], ids[order]
    kept = np.ones(len(ids), dtype=bool)
    kept[1:] = (codes[1:] != codes[:-1]) | (ids[1:] != ids[:-1])
    for code, pair in enumerate(words.dictionary.to_pylist()):
        low, high = np.searchsorted(codes, [code, code + 1])
        held = archived.get(pair, Spans()).within(Span(int(ids[low]), int(ids[high - 1])))
        for span in held:
            first, after = np.searchsorted(ids[low:high], [span.first, span.last + 1])
            kept[low + first : low + after] = False
    return journalled.take(pa.array(order[kept]))


def runs_in(tail: pa.Table) -> dict[str, tuple[Run, ...]]:
    """Return the runs of ids of each pair in a tail sorted by pair and id."""
    if not tail.num_rows:
        return {}
    pairs = tail["pair"].combine_chunks().dictionary_encode()
    codes = pairs.indices.to_numpy()
    bounds = np.flatnonzero(np.diff(codes, prepend=-1, append=-1))
    names = pairs.dictionary.to_pylist()
    return {
        names[codes[low]]: held_runs(tail.slice(low, high - low), names[codes[low]])
        for low, high in zip(bounds.tolist(), bounds[1:].tolist(), strict=False)
    }
