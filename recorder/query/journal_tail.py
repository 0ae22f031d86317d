"""The tail: journalled trades that are not in the archive yet.

Reads the journal forward only, and converts its rows to columns. Uses the drain's parser, so that a row is the same
before and after it moves. Unreadable lines are left to the drain, which reports them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from recorder.archive.footer import held_runs
from recorder.archive.schema import TRADES, trades_table
from recorder.core.model import Trade
from recorder.core.trade_ids import Run, Span, Spans
from recorder.disk import undisturbed
from recorder.errors import CorruptLine, Malformed
from recorder.journal import segment

TAIL: Final = pa.schema([pa.field("pair", pa.string(), nullable=False), *TRADES])
"""The columns of the tail: those of trades, and the pair, which files have in their path."""
NONE: Final = pa.Table.from_batches([], TAIL)
"""A tail without rows. (``empty_table()`` would import pandas.)"""

_CHUNK: Final = 1 << 22
"""Bytes of journal parsed at once; bounds the memory taken by Python objects."""
_PIECES: Final = 64
"""The maximum number of chunks of a column before they are combined; many small ones slow every scan."""


class JournalTail:
    """The trades in the journal, including repeats, as of the last :meth:`read`."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._read: dict[Path, tuple[int, pa.Table]] = {}

    def read(self) -> pa.Table:
        """Read on from where the last call ended; return all journalled trades, oldest first.

        Reads whole lines only, and returns none before it is durable. Call it before the archive is listed: a row may
        move meanwhile, but is then in the listing.
        """
        # If a segment was retired during the read, its rows are in the archive now, so begin anew.
        self._read = undisturbed(self._all, f"the segments in {self._journal}")
        return pa.concat_tables([NONE, *(table for _, table in self._read.values())])

    def _all(self) -> dict[Path, tuple[int, pa.Table]]:
        return {path: self._read_on(path) for path in segment.segments(self._journal)}

    def _read_on(self, path: Path) -> tuple[int, pa.Table]:
        offset, table = self._read.get(path, (0, NONE))
        size = path.stat().st_size
        while offset < size:
            lines, following = segment.whole_lines(path, offset, limit=_CHUNK)
            if following == offset:
                break
            offset = following
            table = pa.concat_tables([table, _columns(list(_trades(lines)))])
            if table["trade_id"].num_chunks > _PIECES:
                table = table.combine_chunks()
            self._read[path] = offset, table
        return offset, table


def _trades(lines: list[bytes]) -> Iterator[Trade]:
    from recorder.kraken import records  # noqa: PLC0415 -- only a live connection parses

    for line in lines:
        with contextlib.suppress(CorruptLine, Malformed):
            yield from records.trades(segment.decode(line))


def _columns(trades: list[Trade]) -> pa.Table:
    pairs = pa.array([trade.pair for trade in trades], pa.string())
    return trades_table(trades).add_column(0, TAIL.field("pair"), pairs)


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
