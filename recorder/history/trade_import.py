"""Importing members of the newer layout, which has ids, into the table of trades.

Exactly once by id, under the pair's lock, beside a running recorder. A row that is stored already is compared and never
written. Millions of rows are stored together; how far that is, is noted beside the locks (``history/progress.py``), so
that the next call goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from recorder.archive import merge_archive
from recorder.archive.bulk_append import BulkAppend
from recorder.archive.compaction import FULL_ROWS, compact
from recorder.archive.footer import TIME_DIGITS, held_runs
from recorder.archive.merge_archive import DOUBLE_US, Difference, Disagreement, StoredTrades, apart_us
from recorder.archive.trades import TradeArchive
from recorder.clock import SystemClock
from recorder.core.disk_limits import require
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Room, undisturbed
from recorder.history import columns
from recorder.history.ahead import ahead
from recorder.history.columns import Block
from recorder.history.contents import Entry
from recorder.history.members import Digest
from recorder.history.odd_lines import OddLines, line_ends
from recorder.history.progress import Progress, ProgressFile
from recorder.history.results import EXAMPLES, TradesResult

COMMITTED_ROWS: Final = FULL_ROWS
"""Rows after whose reading all are stored: as many as make a file that no merge touches. An import that is killed reads
as many again, in some four seconds."""
HELD_BACK: Final = 16_384
"""Rows that wait for the next ones, so that small disorder in the ids of a file ends no file of the archive."""


class TradeImport:
    """Imports members of the layout ``TRADES``, one after the other.

    ``room`` measures the archive's disk while rows are written. Rows of history files never make a promise: each file
    that is written keeps that of the files beside it.
    """

    def __init__(self, archive: TradeArchive, *, room: Callable[[], Room]) -> None:
        self._archive = archive
        self._room = room
        self._progress = ProgressFile(archive)

    def member(self, entry: Entry, digest: Digest, done: Callable[[int], None]) -> TradesResult:
        """Import one member; ``done`` is called with the bytes read. Return what it had.

        Raises UsageError if it cannot be read, UnsoundFile, UnreadableFile or UnknownVersion if the pair's stored files
        cannot be trusted, DiskError. What was stored until then stays.
        """
        begun = self._progress.read(entry.pair, digest)
        if begun is None or not self._holds(entry.pair, begun.result.ids):
            begun = Progress(entry.pair, digest.sha256, 0, TradesResult())
        work = _Member(self._archive, entry, begun.result, room=self._room)
        with work.append:
            for piece in _pieces(entry, begun.offset):
                work.add(piece)
                if work.uncommitted >= COMMITTED_ROWS:
                    work.commit()
                    self._progress.write(Progress(entry.pair, digest.sha256, piece.end, work.result))
                done(piece.size)
            work.commit()
        return work.result

    def holds(self, pair: str, detail: Mapping[str, Any]) -> bool:
        """Return whether all that was imported, according to the ``detail`` of an event, is still stored."""
        try:
            ids = msgspec.convert(detail.get("ids"), list[tuple[int, int]])
        except ValueError:  # none are listed where they are many
            return False
        return self._holds(pair, ids)

    def _holds(self, pair: str, ids: list[tuple[int, int]]) -> bool:
        stored = undisturbed(lambda: self._archive.coverage.spans(pair), f"the files of {pair}")
        stored.update(self._archive.claimed.ids(pair))
        return all(first <= last and stored.covers(Span(first, last)) for first, last in ids)

    def tidy(self, pair: str) -> None:
        """Merge the files of ``pair`` that were written, as far as that is worthwhile."""
        now_s = SystemClock().wall_ns() / 1e9
        today = datetime.fromtimestamp(now_s, UTC).date()
        while compact(self._archive, pair, today=today, now_s=now_s) is not None:
            pass


class _Piece(NamedTuple):
    """Some lines of a member: their number of bytes, where they end, and the number of lines before them."""

    size: int
    end: int
    lines: int
    text: bytes
    block: Block


class _Member:
    """One member while it is imported: rows go through :meth:`add`, and are stored with :meth:`commit`.

    That is within the context ``append``, at whose end the others are dropped.
    """

    def __init__(self, archive: TradeArchive, entry: Entry, result: TradesResult, *, room: Callable[[], Room]) -> None:
        self.result = result
        self.uncommitted = 0
        self._pair = entry.pair
        self._room = room
        self._odd = OddLines(archive, entry)
        self._stored = StoredTrades(
            archive.coverage, archive.claimed, disagreed=self._disagreed, differences=self._differences
        )
        self.append = BulkAppend(archive, entry.pair, stored=self._added)
        self._ids = Spans(Span(first, last) for first, last in result.ids)
        self._compared = result.compared
        self._waiting: pa.Table | None = None
        self._repeats: list[pa.Table] = []
        self._last_id = 0

    def add(self, piece: _Piece) -> None:
        """Add rows, in any order of their ids, and set lines aside that are none."""
        rows, odd = piece.block
        self._odd.add(odd, piece.text, piece.lines, self.result.odd)
        if rows.num_rows:
            self.result.saw(rows)
            self.uncommitted += rows.num_rows
            self._take(rows if self._waiting is None else pa.concat_tables([self._waiting, rows]), HELD_BACK)

    def commit(self) -> None:
        """Store all rows that were added."""
        if self._waiting is not None:
            self._take(self._waiting, 0)
        self._finish()
        self.uncommitted = 0
        self.result.ids = [(span.first, span.last) for span in self._ids]
        self.result.compared = self._compared + self._stored.tally(self._pair).compared

    def _take(self, rows: pa.Table, held_back: int) -> None:
        """Append rows in the order of their ids, except the last few, which wait for the next ones."""
        rows = in_order(rows)
        taken = max(0, rows.num_rows - held_back)
        self._waiting = rows.slice(taken) if held_back else None
        part, repeats = first_of_each_id(rows.slice(0, taken))
        if not part.num_rows:
            return
        if part["trade_id"][0].as_py() <= self._last_id:
            self.append.finish()  # its rows may be among those that are not stored yet
        found = self._room()
        require(found.free, found.total, stopped=f"{self._pair}: stopped with {self.result.added:,} trades added")
        self._ids.update(run.span for run in held_runs(part, self._pair))
        self.append.add(self._stored.fresh(self._pair, part))
        self._last_id = part["trade_id"][-1].as_py()
        if repeats.num_rows:
            self._repeats.append(repeats)
            if sum(one.num_rows for one in self._repeats) >= HELD_BACK:
                self._finish()

    def _finish(self) -> None:
        """Store the rows that are appended, and compare those whose ids came again with them."""
        self.append.finish()
        if self._repeats:
            repeats, self._repeats = in_order(pa.concat_tables(self._repeats)), []
            self._stored.fresh(self._pair, repeats)

    def _added(self, ids: Spans) -> None:
        self.result.added += ids.count()

    def _disagreed(self, one: Disagreement) -> None:
        self.result.differing.add(f"{one.trade_id} {one.field}: {one.ours} here, {one.theirs} there")

    def _differences(self, ours: pa.Table, theirs: pa.Table) -> Iterator[Difference]:
        result = self.result
        far = apart_us(ours, theirs).to_numpy()
        allowed_us = max(DOUBLE_US, 10 ** (TIME_DIGITS - result.time_digits) - 1)
        late = np.flatnonzero(far > allowed_us)
        if len(late):
            result.most_apart_us = max(result.most_apart_us, int(far.max()))
            for index in late[: EXAMPLES - len(result.apart.first)].tolist():
                here, there = ours["time"][index].as_py(), theirs["time"][index].as_py()
                result.apart.first.append(f"{ours['trade_id'][index].as_py()}: {here} here, {there} there")
            result.apart.count += len(late)
        yield from merge_archive.differences(ours, theirs)


def _pieces(entry: Entry, offset: int) -> Iterator[_Piece]:
    """Yield the rows of a member, those up to the byte ``offset`` without any; other threads read and parse ahead."""
    header = entry.detected.header

    def parsed(blocks: Iterator[bytes]) -> Iterator[_Piece]:
        end, lines = 0, 0
        for text in blocks:
            end += len(text)
            if end <= offset:
                block = columns.read_trades(b"", entry.pair)
            else:
                begins = columns.first_line_end(text) if header and end == len(text) else 0
                block = columns.read_trades(text[begins:], entry.pair, begins)
            yield _Piece(len(text), end, lines, text, block)
            lines += line_ends(text)

    yield from ahead(parsed(ahead(entry.member.blocks())))


def in_order(rows: pa.Table) -> pa.Table:
    """Return rows in ascending id, those of equal ids in the order that they had."""
    ids = rows["trade_id"].to_numpy()
    return rows if np.all(np.diff(ids) >= 0) else rows.take(pa.array(np.argsort(ids, kind="stable")))


def first_of_each_id(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the first row of each id, of rows that ascend in id, and the rows whose ids came before."""
    first = np.diff(rows["trade_id"].to_numpy(), prepend=-1) != 0
    return (rows, rows.slice(0, 0)) if first.all() else (rows.filter(pa.array(first)), rows.filter(pa.array(~first)))
