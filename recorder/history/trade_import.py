"""Importing members of the newer layout, which has ids, into the table of trades.

The rows go the way of all trades: exactly once by id, under the pair's lock, beside a running recorder. A row that is
stored already is compared and never written. So an import can be interrupted at any time, and the next one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recorder.archive import merge_archive
from recorder.archive.compaction import compact
from recorder.archive.footer import time_digits
from recorder.archive.merge_archive import DOUBLE_US, Difference, Disagreement, TradeMerge, apart_us
from recorder.archive.trades import TradeArchive
from recorder.clock import SystemClock
from recorder.disk import Room
from recorder.errors import UnsoundFile
from recorder.history import columns
from recorder.history.columns import Block
from recorder.history.contents import Entry
from recorder.history.results import EXAMPLES, Examples, MemberResult
from recorder.lazy_imports import pc

SHOWN: Final = 200
"""Characters of an odd line that a report keeps."""
WRITTEN_ROWS: Final = 330_000
"""Rows written at once, some 3 MB: the fewest from which on a file is merged only once (archive/compaction.py)."""
_MICROSECONDS: Final = 6


@dataclass(slots=True)
class TradesResult(MemberResult):
    """What a member of trades with ids had.

    ``apart`` are times that differ from stored ones beyond the ``time_digits`` printed in the member, by
    ``most_apart_us`` at most; ``differing`` are other fields that do.
    """

    first_id: int | None = None
    last_id: int | None = None
    time_digits: int = 0
    apart: Examples = field(default_factory=Examples)
    most_apart_us: int = 0

    @property
    def problems(self) -> list[tuple[str, Examples]]:
        """What differs from stored rows, by kind."""
        return [("differs", self.differing), ("time", self.apart)]

    def detail(self) -> dict[str, Any]:
        """Return what the event ``imported`` says of it."""
        ids = {"first_id": self.first_id, "last_id": self.last_id, "time_digits": self.time_digits}
        apart = {**asdict(self.apart), "most_us": self.most_apart_us}
        # Not super(): with slots, the decorator has replaced the class that it would look for.
        return {**MemberResult.detail(self), **ids, "times_apart": apart}

    def saw(self, rows: pa.Table) -> None:
        """Count rows that were read."""
        ids, times = pc.min_max(rows["trade_id"]).as_py(), pc.min_max(rows["time"].cast(pa.int64())).as_py()
        self.rows += rows.num_rows
        self.first_id, self.last_id = _wider(self.first_id, self.last_id, ids)
        self.first_us, self.last_us = _wider(self.first_us, self.last_us, times)
        if self.time_digits < _MICROSECONDS:
            self.time_digits = max(self.time_digits, time_digits(rows["time"]))


def _wider(first: int | None, last: int | None, ends: dict[str, int]) -> tuple[int, int]:
    return min(ends["min"], ends["min"] if first is None else first), max(ends["max"], last or 0)


class TradeImport:
    """Imports members of the layout ``TRADES``, one after the other.

    ``room`` measures the archive's disk before each file is written. Rows of history files never make a promise: each
    file that is written keeps that of the files beside it.
    """

    def __init__(self, archive: TradeArchive, *, room: Callable[[], Room]) -> None:
        self._archive = archive
        self._result = TradesResult()
        self._merge = TradeMerge(
            archive.layout,
            archive,
            disagreed=self._disagreed,
            tidy=lambda _: None,
            room=room,
            differences=self._differences,
            at_once=WRITTEN_ROWS,
        )

    def member(self, entry: Entry, done: Callable[[int], None] = lambda _: None) -> TradesResult:
        """Import one member; ``done`` is called with the bytes read. Return what it had.

        A member of a ZIP is checked against its checksum before anything of it is stored. Raises UsageError if it
        cannot be read, UnsoundFile if the pair's stored files cannot be trusted, DiskError. What was imported until
        then stays.
        """
        pair = entry.pair
        entry.member.check()
        result = self._result = TradesResult()
        tally = self._merge.tally(pair)
        before = tally.added, tally.compared
        try:
            self._read(entry, done)
        finally:  # the rows that wait to be written are of this pair
            self._merge.finish(pair)
        result.added, result.compared = tally.added - before[0], tally.compared - before[1]
        return result

    def tidy(self, pair: str) -> None:
        """Merge the files of ``pair`` that were written, as far as that is worthwhile."""
        now_s = SystemClock().wall_ns() / 1e9
        today = datetime.fromtimestamp(now_s, UTC).date()
        while compact(self._archive, pair, today=today, now_s=now_s) is not None:
            pass

    def _read(self, entry: Entry, done: Callable[[int], None]) -> None:
        result, pair, last_id = self._result, entry.pair, 0
        for size, (rows, odd) in _read_ahead(entry):
            for line, why in odd:
                result.odd.add(f"{line[:SHOWN]!r}: {why}")
            if rows.num_rows:
                result.saw(rows)
                for part in ascending(rows):
                    if part["trade_id"][0].as_py() <= last_id:
                        self._merge.finish(pair)  # its rows may be among those that wait to be written
                    self._merge.add(pair, part)
                    last_id = part["trade_id"][-1].as_py()
                    self._check(pair)
            done(size)

    def _check(self, pair: str) -> None:
        if (found := self._merge.refused.get(pair)) is not None:
            raise UnsoundFile(found.file, found.problem, found.remedy)

    def _disagreed(self, one: Disagreement) -> None:
        self._result.differing.add(f"{one.trade_id} {one.field}: {one.ours} here, {one.theirs} there")

    def _differences(self, ours: pa.Table, theirs: pa.Table) -> Iterator[Difference]:
        result = self._result
        far = apart_us(ours, theirs).to_numpy()
        allowed_us = max(DOUBLE_US, 10 ** (_MICROSECONDS - result.time_digits) - 1)
        late = np.flatnonzero(far > allowed_us)
        if len(late):
            result.most_apart_us = max(result.most_apart_us, int(far.max()))
            for index in late[: EXAMPLES - len(result.apart.first)].tolist():
                here, there = ours["time"][index].as_py(), theirs["time"][index].as_py()
                result.apart.first.append(f"{ours['trade_id'][index].as_py()}: {here} here, {there} there")
            result.apart.count += len(late)
        yield from merge_archive.differences(ours, theirs)


def _read_ahead(entry: Entry) -> Iterator[tuple[int, Block]]:
    """Yield each block of a member, and its size in bytes; the next is read by another thread meanwhile."""
    blocks = entry.member.blocks()
    if entry.detected.header:
        blocks = _without_header(blocks)

    def read() -> tuple[int, Block] | None:
        block = next(blocks, None)
        return None if block is None else (len(block), columns.read_trades(block, entry.pair))

    with ThreadPoolExecutor(1, "history") as thread:
        ahead = thread.submit(read)
        while (found := ahead.result()) is not None:
            ahead = thread.submit(read)
            yield found


def _without_header(blocks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(blocks, b"")
    yield first[first.find(b"\n") + 1 :]
    yield from blocks


def ascending(rows: pa.Table) -> Iterator[pa.Table]:
    """Yield rows in tables that ascend in id, each id once: usually one; more where an id comes several times."""
    ids = rows["trade_id"].to_numpy()
    if np.any(np.diff(ids) <= 0):
        rows = rows.take(pa.array(np.argsort(ids, kind="stable")))
        ids = rows["trade_id"].to_numpy()
    while len(ids):
        first = np.diff(ids, prepend=ids[0] - 1) != 0
        yield rows if first.all() else rows.filter(pa.array(first))
        rows = rows.filter(pa.array(~first))
        ids = rows["trade_id"].to_numpy()
