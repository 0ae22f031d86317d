"""Which lines of closed segments have trades of which pair, and these trades in batches of limited size.

Trades are read a few pairs at a time, so that each pair gets one file per drain, whatever the number of trades and
pairs.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from recorder.core.model import Trade
from recorder.errors import CorruptLine
from recorder.ingest.drained_segment import DrainedSegment
from recorder.ingest.line_positions import LinePositions
from recorder.journal import segment
from recorder.journal.segment import Entry
from recorder.kraken import records
from recorder.kraken.records import ParkedTrades, TradeRecord

BATCH_TRADES: Final = 25_000
"""Trades parsed before they are appended: limits memory to about 50 MB, two batches, whatever the size of the drain."""
TRADE_BYTES: Final = 150
"""Minimum size in bytes of a trade in a frame, approximately: used to estimate how many trades a pair brings."""
LinesByPair: TypeAlias = dict[str, list[tuple[DrainedSegment, LinePositions]]]


def index_trades(segments: Iterable[DrainedSegment]) -> LinesByPair:
    """Index the lines with trades by pair, and the other lines of each segment.

    Each line is indexed once: one with trades of several pairs belongs to the pair of its first row.
    """
    found: LinesByPair = {}
    for closed in segments:
        received_ns = 0
        of_pair = defaultdict[str, LinePositions](functools.partial(LinePositions, closed.path))
        for entry, offset, size in segment.located(closed.path):
            if isinstance(entry, CorruptLine):
                closed.lost = True
                closed.corrupt.append(entry)
                closed.report_malformed(received_ns, "journal", str(entry))  # after the last line whose time is known
                continue
            received_ns = entry.recv_ns
            pair = records.streamed_pair(entry)  # of nearly all of millions of lines
            if pair is None:
                pair = _pair_in(entry, closed, offset, size)
            if pair is not None:
                of_pair[pair].add(offset, size)
        for pair, lines in of_pair.items():
            found.setdefault(pair, []).append((closed, lines))
    return found


def _pair_in(entry: Entry, closed: DrainedSegment, offset: int, size: int) -> str | None:
    """Return whose trade is the first in a line; a line without trades is one of the others."""
    record = records.read(entry)
    if not isinstance(record, TradeRecord):
        closed.others.add(offset, size)
        return None
    if isinstance(record, ParkedTrades):
        closed.parked.add(offset, size)
    pair = record.first_pair()
    rows = closed.trades(entry) if pair is None else []
    return rows[0].pair if rows else pair


def trade_batches(found: LinesByPair) -> Iterator[dict[str, list[Trade]]]:
    """Yield trades by pair, in batches: all trades of a pair in one batch, unless they alone exceed the limit."""
    batch, waiting = defaultdict[str, list[Trade]](list), 0
    for pair, parts in found.items():
        coming = sum(sum(lines.sizes) for _, lines in parts) // TRADE_BYTES
        if batch and waiting + coming > BATCH_TRADES:
            yield _sorted(batch)
            batch, waiting = defaultdict(list), 0
        for closed, lines in parts:
            for entry in lines.entries():
                rows = closed.trades(entry)
                batch[pair] += rows
                waiting += len(rows)
                if waiting >= BATCH_TRADES:
                    yield _sorted(batch)
                    batch, waiting = defaultdict(list), 0
    yield _sorted(batch)


def _sorted(batch: dict[str, list[Trade]]) -> dict[str, list[Trade]]:
    """Return the batch by the pair of each row; nearly always a line has rows of one pair only."""
    if all({row.pair for row in rows} <= {pair} for pair, rows in batch.items()):
        return batch
    by_pair = defaultdict[str, list[Trade]](list)
    for rows in batch.values():
        for row in rows:
            by_pair[row.pair].append(row)
    return by_pair
