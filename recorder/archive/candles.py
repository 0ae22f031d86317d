"""Candles as the exchange published them: a row for each new or changed candle, and events for changes and losses.

The latest content of a candle is remembered as a hash of 8 bytes, for as many intervals as an answer can reach back. It
is read from the archive when the first answer of a series is drained, and kept in memory only.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive.datasets import OHLC, Branch
from recorder.archive.event_rows import event, iso
from recorder.archive.parquet import SET_APART, FileFacts, OpenFile
from recorder.archive.segment_tables import SegmentTables
from recorder.core.event_kinds import EventKind
from recorder.core.model import TIMEFRAMES, Candle, Event, plain
from recorder.errors import RecorderError

REMEMBERED: Final = 768
"""Intervals of a series whose content is remembered: the 720 that an answer can contain (API.md 6.6), and some more for
an answer that arrives a little late. 6 kB per series. Older ones are read from the archive."""

_PRICES: Final = ("open", "high", "low", "close", "vwap", "volume")
_CONTENT: Final = (*_PRICES, "count")
_BATCH: Final = 16_384
_US_PER_MINUTE: Final = 60_000_000

_Content: TypeAlias = tuple[Decimal | int, ...]
"""The values of :data:`_CONTENT`. Numbers compare equal however many trailing zeros they were printed with."""


@dataclass(frozen=True, slots=True)
class AddedCandles:
    """Result of one answer: how many rows it added, and events about earlier ones.

    ``unreadable`` is the error that prevented a comparison with the archive; then all of the answer's candles count as
    new.
    """

    rows: int = 0
    events: tuple[Event, ...] = ()
    unreadable: RecorderError | None = None


class CandleArchive:
    """The exchange's candles in the archive: :meth:`take` adds what is new in the answers of a segment, in order.

    Only one process may write it: the daemon.
    """

    def __init__(self, tables: SegmentTables) -> None:
        self._tables = tables
        self._series: dict[tuple[str, str], _Series] = {}
        self._groups: dict[Path, list[_Group]] = {}
        tables.on_loss(self._series.clear)

    def take(self, candles: Sequence[Candle], seen_us: int) -> AddedCandles:
        """Add one answer's candles, which are of one series and in order; ``seen_us`` is when it was received.

        A row that revises another counts as seen after it, even if the host's clock was set back in between: readers
        use the row that was seen last.
        """
        if not candles:
            return AddedCandles()
        unreadable: RecorderError | None = None
        try:
            series = self._known(candles)
        except SET_APART as error:
            series, unreadable = self._forgotten(candles), error
        lost = series.lost_before(candles[0])
        new: list[tuple[int, Candle]] = []
        doubtful: list[Candle] = []
        for candle in candles:
            digest = _digest(candle.time_us, _content(candle))
            held = series.digest(candle.time_us)
            if held == digest:
                continue
            if held == _NOT_HELD:
                new.append((seen_us, candle))
            else:
                doubtful.append(candle)
            series.remember(candle.time_us, digest)
        revised: list[Event] = []
        if doubtful:
            try:
                changed = self._changed(doubtful)
            except SET_APART as error:
                changed, unreadable = [(candle, None) for candle in doubtful], error
            new += [(seen_us if was is None else max(seen_us, was.seen_us + 1), candle) for candle, was in changed]
            revised = [_revised(seen_us, candle, was.content) for candle, was in changed if was is not None]
        self._tables.add(Branch(OHLC, candles[0].timeframe), new)
        events = revised if lost is None else [_lost(seen_us, candles[0], *lost), *revised]
        return AddedCandles(len(new), tuple(events), unreadable)

    def _known(self, candles: Sequence[Candle]) -> _Series:
        """Return the remembered series; read it from the archive if necessary. Raises CorruptFile."""
        last = candles[-1]
        key = (last.pair, last.timeframe)
        if key not in self._series:
            series = _Series(last)
            from_us = last.time_us - (REMEMBERED - 1) * series.step_us
            for time_us, held in self._archived(*key, from_us, None):
                series.remember(time_us, _digest(time_us, held.content))
            if series.newest_us is None:
                series.newest_us = self._newest(*key)
            self._series[key] = series
        return self._series[key]

    def _forgotten(self, candles: Sequence[Candle]) -> _Series:
        """Begin the series as if nothing were stored."""
        last = candles[-1]
        series = self._series[last.pair, last.timeframe] = _Series(last)
        return series

    def _changed(self, candles: Sequence[Candle]) -> list[tuple[Candle, _StoredCandle | None]]:
        """Return the candles that are not stored with this content, and what is stored of each. Raises CorruptFile."""
        pair, timeframe = candles[0].pair, candles[0].timeframe
        from_us, to_us = candles[0].time_us, candles[-1].time_us
        held = dict(self._archived(pair, timeframe, from_us, to_us))
        # Rows not yet written come after all archived ones, in this order.
        waiting = self._tables.waiting(Branch(OHLC, timeframe))
        held |= dict(_rows(_within(waiting, pair, from_us, to_us)))
        found = ((candle, held.get(candle.time_us)) for candle in candles)
        return [(candle, was) for candle, was in found if was is None or was.content != _content(candle)]

    def _archived(
        self, pair: str, timeframe: str, from_us: int, to_us: int | None
    ) -> Iterator[tuple[int, _StoredCandle]]:
        """Yield (time, archived content) within a time range; of a candle's rows, the one seen latest comes last."""
        branch, segments = Branch(OHLC, timeframe), self._tables.segments
        with segments.locked(branch):
            found = [
                part
                for facts in segments.files(branch)
                for part in self._read(facts, pair, from_us, to_us, ["pair", "time", *_CONTENT, "seen"])
            ]
        if found:
            yield from _rows(pa.concat_tables(found).sort_by([("time", "ascending"), ("seen", "ascending")]))

    def _newest(self, pair: str, timeframe: str) -> int | None:
        """Return the start of the newest archived candle, however old it is; None if there is none."""
        branch, segments = Branch(OHLC, timeframe), self._tables.segments
        with segments.locked(branch):
            held = segments.files(branch)
            for leaf in reversed(segments.layout.leaves(branch)):
                times_us = [
                    int(pc.max(part["time"]).cast(pa.int64()).as_py())
                    for facts in held
                    if facts.path.parent == leaf
                    for part in self._read(facts, pair, 0, None, ["pair", "time"])
                ]
                if times_us:
                    return max(times_us)
        return None

    def _read(
        self, facts: FileFacts, pair: str, from_us: int, to_us: int | None, columns: Sequence[str]
    ) -> list[pa.Table]:
        """Read one pair's rows in a time range from one file: only the row groups that may have some."""
        path = facts.path
        if path not in self._groups:
            self._groups = {path: groups for path, groups in self._groups.items() if path.exists()}
            with OpenFile(path) as file:
                self._groups[path] = [_group(file, number) for number in file.groups]
        wanted = [group.number for group in self._groups[path] if group.may_hold(pair, from_us, to_us)]
        if not wanted:
            return []
        with OpenFile(path) as file:
            parts = file.read(_BATCH, groups=wanted, columns=columns)
            found = [_within(part, pair, from_us, to_us) for part in parts]
        return [table for table in found if table.num_rows]


_NOT_HELD: Final = 0


class _Series:
    """The remembered state of one pair and timeframe: a hash per recent interval, and the newest start."""

    __slots__ = ("_digests", "_end", "newest_us", "step_us")

    def __init__(self, newest: Candle) -> None:
        self.step_us = TIMEFRAMES[newest.timeframe] * _US_PER_MINUTE
        self.newest_us: int | None = None
        self._end = newest.time_us // self.step_us + 1
        self._digests = array("Q", bytes(8 * REMEMBERED))

    def digest(self, time_us: int) -> int | None:
        """Return the hash of the stored candle, _NOT_HELD, or None if it is older than what is remembered."""
        number = time_us // self.step_us
        if number >= self._end:
            return _NOT_HELD
        return self._digests[number % REMEMBERED] if number >= self._end - REMEMBERED else None

    def remember(self, time_us: int, digest: int) -> None:
        number = time_us // self.step_us
        for passed in range(max(self._end, number - REMEMBERED + 1), number + 1):
            self._digests[passed % REMEMBERED] = _NOT_HELD
        self._end = max(self._end, number + 1)
        if number >= self._end - REMEMBERED:
            self._digests[number % REMEMBERED] = digest
        self.newest_us = max(self.newest_us or 0, time_us)

    def lost_before(self, first: Candle) -> tuple[int, int] | None:
        """Return the first and last start missing between the stored candles and an answer beginning with ``first``."""
        if self.newest_us is None or first.time_us <= self.newest_us + self.step_us:
            return None
        return self.newest_us + self.step_us, first.time_us - self.step_us


@dataclass(frozen=True, slots=True)
class _Group:
    """The content of a row group according to its statistics; pairs in UTF-8."""

    number: int
    first_pair: bytes
    last_pair: bytes
    first_us: int
    last_us: int

    def may_hold(self, pair: str, from_us: int, to_us: int | None) -> bool:
        """Return whether it may have rows of a pair in a time range, both ends included."""
        named = self.first_pair <= pair.encode() <= self.last_pair
        return named and self.last_us >= from_us and (to_us is None or self.first_us <= to_us)


def _group(file: OpenFile, number: int) -> _Group:
    return _Group(number, *file.limits("pair", number), *file.limits("time", number))


def _within(rows: pa.Table, pair: str, from_us: int, to_us: int | None) -> pa.Table:
    """Return the rows of one pair in a time range, both ends included."""
    times_us = rows["time"].cast(pa.int64())
    wanted = pc.and_(pc.equal(rows["pair"], pair), pc.greater_equal(times_us, from_us))
    return rows.filter(wanted if to_us is None else pc.and_(wanted, pc.less_equal(times_us, to_us)))


@dataclass(frozen=True, slots=True)
class _StoredCandle:
    """The content of an archived row, and when it was seen."""

    seen_us: int
    content: _Content


def _rows(table: pa.Table) -> Iterable[tuple[int, _StoredCandle]]:
    columns: list[list[Any]] = [table[name].to_pylist() for name in _CONTENT]
    times_us, seen_us = (table[name].cast(pa.int64()).to_pylist() for name in ("time", "seen"))
    return zip(times_us, map(_StoredCandle, seen_us, zip(*columns, strict=True)), strict=True)


def _content(candle: Candle) -> _Content:
    return (candle.open, candle.high, candle.low, candle.close, candle.vwap, candle.volume, candle.count)


def _digest(time_us: int, content: _Content) -> int:
    """Return a 64-bit hash that is equal for equal numbers, and never _NOT_HELD; valid within one process.

    Python hashes equal numbers equally, whatever their type and trailing zeros. The time is included, so that two
    candles within one interval, should that ever happen, are not confused.
    """
    return hash((time_us, content)) & 0xFFFF_FFFF_FFFF_FFFF or 1


def _revised(seen_us: int, candle: Candle, was: _Content) -> Event:
    changed = [
        (name, before, now) for name, before, now in zip(_CONTENT, was, _content(candle), strict=True) if before != now
    ]
    return event(
        seen_us,
        EventKind.OHLC_REVISED,
        candle.pair,
        timeframe=candle.timeframe,
        time=iso(candle.time_us),
        was={name: _text(before) for name, before, _ in changed},
        now={name: _text(now) for name, _, now in changed},
    )


def _lost(seen_us: int, found: Candle, first_us: int, last_us: int) -> Event:
    step_us = TIMEFRAMES[found.timeframe] * _US_PER_MINUTE
    return event(
        seen_us,
        EventKind.OHLC_LOST,
        found.pair,
        timeframe=found.timeframe,
        first=iso(first_us),
        last=iso(last_us),
        count=(last_us - first_us) // step_us + 1,
    )


def _text(value: Decimal | int) -> str:
    return plain(Decimal(value))
