"""Status of an archive, read from disk alone: correct whether a daemon runs or not.

Fast at any age of the archive: of the tables that grow for ever only the newest files are read.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, assert_never

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive import duplicate_files, integrity, load_ledger, locks, quarantine, renumbering
from recorder.archive.coverage import Coverage
from recorder.archive.datasets import (
    BOOK_EVENTS,
    EVENTS,
    INSTRUMENTS,
    MARKET_EVENTS,
    OHLC,
    TRADES,
    WITHOUT_IDS,
    Branch,
    Dataset,
)
from recorder.archive.file_faults import diagnose
from recorder.archive.layout import Layout, existing, listed
from recorder.archive.load_ledger import DAMAGE, LoadResult
from recorder.archive.parquet import OpenFile
from recorder.core.event_kinds import ROUTINE, EventKind
from recorder.core.evidence import Promise
from recorder.core.ledger import Ledger
from recorder.core.model import TIMEFRAMES, Candle, Event
from recorder.core.trade_ids import Gap, GapState
from recorder.disk import undisturbed
from recorder.errors import CorruptFile, Malformed
from recorder.journal import live_read
from recorder.journal.segment import Entry, segments
from recorder.kraken import records
from recorder.kraken.records import (
    Header,
    ListingRecord,
    Note,
    NotedFrame,
    PublishedCandles,
    TableRows,
    TradeRecord,
    UnknownRecord,
    UnreadableRecord,
)

EVENT_ROWS: Final = 1_000_000
"""Limit of events that are read, newest first, in a fraction of a second; years of a quiet archive."""
CANDLE_ROWS: Final = 2_000_000
"""Limit of candles per timeframe that are read for its series, newest first: a day of 1m of 1,000 pairs."""
LAST_EVENTS: Final = 5
"""Number of newest events shown, without routine ones that every start or quiet day creates for every pair."""
_TELLING: Final = (EventKind.MAINTENANCE, EventKind.OHLC_LOST)

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class PairStatus:
    """Status of one pair: times in µs since 1970 UTC. ``promise`` begins the complete range; None: none was noted.

    ``absent`` counts the ids of each state that are neither stored nor open, if there are any: unreadable ones are
    missing like the ``holes``, void and disowned ones need not be stored.
    """

    pair: str
    rows: int
    first_id: int
    last_id: int
    first_us: int
    last_us: int
    journalled: int
    holes: tuple[Gap, ...]
    promise: Promise | None = None
    absent: Mapping[GapState, int] = field(default_factory=dict)

    @property
    def anchored(self) -> bool:
        """Whether the first promised trade is known."""
        return self.promise is not None and self.promise.after_id is not None


@dataclass(frozen=True, slots=True)
class QuarantinedPair:
    """A pair with an untrusted file: problem, remedy, and the number and size of the lines waiting since."""

    file: str
    problem: str
    remedy: str
    lines: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class CandleStatus:
    """The exchange's candles of one timeframe: number of pairs, and start of the newest candle (µs since 1970 UTC).

    ``lost`` candles are counted by their events; the view ``ohlc_gaps`` counts them in the table itself.
    """

    timeframe: str
    series: int
    last_us: int
    lost: int


@dataclass(frozen=True, slots=True)
class TableStatus:
    """A table without ids: its archived rows, and when the newest came (µs since 1970 UTC); None if it has none."""

    table: str
    rows: int
    newest_us: int | None


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """Status of the whole archive. ``listing`` is the exchange's status of each pair ever listed, or ``delisted``.

    ``exchange`` contains the newest ``maintenance`` event of each source (``rest``, ``ws``), ``events`` the newest ones
    except routine, oldest first. ``events_since_us`` is the time back to which events were read; None: all were.
    ``unanchored`` are the pairs, including those without trades, whose first promised trade is not known yet;
    ``renumbered`` those that the exchange has renumbered, each with the remedy. ``damaged`` lists what could not be
    read, each with the file and the remedy: a pair with such a file is listed there instead of in ``pairs``, and the
    content of other tables is given without that file. ``vanished`` counts by pair, including those without trades, the
    ids that were certified, are gone, and are not fetched again unless requested. ``quarantine`` counts quarantined
    data by reason: lines and bytes. ``quarantined`` are the quarantined pairs, by name, whose lines wait.
    """

    pairs: list[PairStatus]
    candles: list[CandleStatus]
    listing: Mapping[str, str]
    exchange: list[Event]
    events: list[Event]
    events_since_us: int | None
    unanchored: Sequence[str] = ()
    vanished: Mapping[str, int] = field(default_factory=dict)
    renumbered: Mapping[str, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    quarantine: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    quarantined: Mapping[str, QuarantinedPair] = field(default_factory=dict)
    tables: Sequence[TableStatus] = ()


def read(data: Path) -> list[PairStatus]:
    """Return the status of every pair in the archive and its journal, sorted by pair.

    Raises NoSuchArchive; CorruptFile for an invalid file; UnknownVersion.
    """
    damaged: list[str] = []
    layout = existing(data)
    found = _pairs(layout, list(live_read.entries(layout.journal)), damaged)
    if damaged:
        raise CorruptFile(damaged[0])
    return found.pairs


def recorder_beside(data: Path) -> str | None:
    """Return what the disk alone tells of the recorder that holds the archive, in a clause; None if none is seen to."""
    layout = Layout(data)
    if not locks.is_held(layout.lock):
        return None
    written_s = max(map(_written_s, segments(layout.journal)), default=0.0)
    moment = f"{datetime.fromtimestamp(written_s, UTC):%Y-%m-%d %H:%M:%S}"
    return "another process records into it" + (f", and last wrote at {moment} UTC" if written_s else "")


def _written_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # retired in the meantime
        return 0.0


def everything(data: Path) -> ArchiveStatus:
    """Return the status of the whole archive, as far as it can be read. Raises NoSuchArchive."""
    layout = existing(data)
    damaged: list[str] = []
    # The journal first, then the archive: a row may move between the two, but is never missed.
    journal = list(live_read.entries(layout.journal))
    events, candles = _journalled(journal)
    happened = _tried(lambda: _events(layout, events), damaged) or _Happened()
    found = _pairs(layout, journal, damaged)
    tables = [_tried(partial(_table, layout, dataset), damaged) for dataset in WITHOUT_IDS]
    return ArchiveStatus(
        pairs=found.pairs,
        candles=_tried(lambda: _candles(layout, candles, happened.lost), damaged) or [],
        listing=_tried(lambda: _listing(layout), damaged) or {},
        exchange=[happened.latest[source] for source in sorted(happened.latest)],
        events=happened.newest,
        events_since_us=happened.since_us,
        unanchored=found.unanchored,
        vanished=found.vanished,
        renumbered={pair: renumbering.remedy(layout, pair) for pair in found.renumbered},
        damaged=list(dict.fromkeys(damaged)),
        quarantine=quarantine.sizes(layout),
        quarantined=_quarantined(layout, found.loaded),
        tables=[table for table in tables if table is not None],
    )


def _quarantined(layout: Layout, loaded: LoadResult) -> dict[str, QuarantinedPair]:
    waiting = quarantine.waiting(layout, loaded.damaged.keys())
    found = {pair: diagnose(layout, pair, error) for pair, error in sorted(loaded.damaged.items())}
    return {
        pair: QuarantinedPair(one.file, one.problem, one.remedy, *waiting.get(pair, (0, 0)))
        for pair, one in found.items()
    }


def _tried(look: Callable[[], _Answer], damaged: list[str]) -> _Answer | None:
    """Return the result of ``look``; None, with a sentence added to ``damaged``, if a file is damaged."""
    try:
        return undisturbed(look, "the archive's files")
    except DAMAGE as error:
        damaged.append(str(error))
        return None


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs with stored trades, pairs without an anchor, renumbered pairs, and the number of vanished ids by pair."""

    pairs: list[PairStatus]
    unanchored: list[str]
    vanished: dict[str, int]
    renumbered: list[str]
    loaded: LoadResult


def _pairs(layout: Layout, journal: Iterable[Entry], damaged: list[str]) -> _Pairs:
    """Return the status of the pairs."""
    ledger, coverage = Ledger(), Coverage(layout)
    loaded = load_ledger.load(ledger, layout, records.claims(journal), coverage=coverage)
    unsound = {pair: str(error) for pair, error in loaded.damaged.items()} | _doubled(coverage, loaded.rows)
    damaged += unsound.values()
    astray = _tried(partial(integrity.misspelled_folders, layout, TRADES), damaged) or ()
    damaged += (f"{one.file} {one.problem}: {one.remedy}" for one in astray)
    damaged += (f"{finding.file} {finding.problem}: {finding.remedy}" for finding in loaded.findings)
    readable = (pair for pair in sorted(ledger) if ledger.of(pair).spans and pair not in unsound)
    promises = {pair: ledger.of(pair).promise for pair in sorted(ledger)}
    unanchored = [pair for pair, promise in promises.items() if promise is not None and promise.after_id is None]
    lost = {pair: ledger.of(pair).given_up().count() for pair in sorted(ledger) if pair not in loaded.damaged}
    return _Pairs(
        [_status(pair, ledger, loaded.rows.get(pair, 0)) for pair in readable],
        unanchored,
        {pair: count for pair, count in lost.items() if count},
        [pair for pair in sorted(ledger) if ledger.of(pair).renumbered is not None],
        loaded,
    )


def _doubled(coverage: Coverage, pairs: Iterable[str]) -> dict[str, str]:
    """Return the problem of each pair with an id in two files, whose number of rows is therefore unknown."""
    found: dict[str, str] = {}
    for pair in pairs:
        problems: list[str] = []
        _tried(partial(_check_once, coverage, pair), problems)
        if problems:
            found[pair] = problems[0]
    return found


def _table(layout: Layout, dataset: Dataset) -> TableStatus:
    """Count the rows of a table; the newest is in the last period of a branch. Raises UnsoundFile for duplicates."""
    duplicate_files.check(duplicate_files.in_table(layout, dataset))
    rows, stamps_us, stamp = 0, list[int](), dataset.stamp or dataset.time
    for branch in layout.branches(dataset):
        leaves = layout.leaves(branch)
        for leaf in leaves:
            for name in listed(leaf):
                with OpenFile(leaf / name) as file:
                    rows += file.rows
                    if file.rows and leaf == leaves[-1]:
                        stamps_us.append(file.span(stamp)[1])
    return TableStatus(dataset.name, rows, max(stamps_us, default=None))


def _check_once(coverage: Coverage, pair: str) -> None:
    duplicate_files.check(
        duplicate_files.same_ids((run, file.path) for file in coverage.files(pair) for run in file.footer.runs)
    )


def _status(pair: str, ledger: Ledger, archived: int) -> PairStatus:
    account = ledger.of(pair)
    first_id, last_id = account.spans.first, account.spans.last
    assert first_id is not None
    assert last_id is not None
    rows = account.spans.count()
    return PairStatus(
        pair=pair,
        rows=rows,
        first_id=first_id,
        last_id=last_id,
        first_us=account.time_us(first_id),
        last_us=account.time_us(last_id),
        journalled=rows - archived,
        holes=tuple(account.gaps()),
        promise=account.promise,
        absent={name: ids.count() for name, ids in account.absent().by_state() if ids},
    )


@dataclass(slots=True)
class _Happened:
    """Results from the events, collected newest first."""

    newest: list[Event] = field(default_factory=list)
    latest: dict[str, Event] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    since_us: int | None = None


def _journalled(journal: Iterable[Entry]) -> tuple[list[Event], list[Candle]]:
    """Return the events and the candles in the journal."""
    events, candles = list[Event](), list[Candle]()
    for entry in journal:
        with contextlib.suppress(Malformed):  # the drain reports it
            match records.read(entry):
                case Note() as note:
                    events.append(note.event())
                case PublishedCandles() as answer:
                    candles += answer.candles()
                case (
                    TradeRecord()
                    | ListingRecord()
                    | TableRows()
                    | Header()
                    | NotedFrame()
                    | UnreadableRecord()
                    | UnknownRecord()
                ):
                    pass
                case never:
                    assert_never(never)
    return events, candles


def _events(layout: Layout, journalled: Sequence[Event]) -> _Happened:
    happened = _Happened()
    _take(happened, journalled)
    seen = {(event.time_us, event.kind, event.pair) for event in journalled}
    happened.since_us = _add_events(happened, layout, EVENTS, seen, limit=EVENT_ROWS)
    for table in (MARKET_EVENTS, BOOK_EVENTS):
        beside = _Happened()
        _add_events(beside, layout, table, seen, limit=1)  # the newest are enough: nothing else is in these
        _take(happened, beside.newest)
    return happened


def _add_events(
    happened: _Happened, layout: Layout, dataset: Dataset, seen: Container[tuple[int, str, str | None]], *, limit: int
) -> int | None:
    """Add archived events, newest first, of ``limit`` rows or a row group; return since when (µs), None if of all."""
    rows, since_us = 0, None
    for path, _ in _newest_first(layout, Branch(dataset)):
        with OpenFile(path, words=["kind"]) as file:
            for group in reversed(file.groups):  # a file is sorted by time
                if rows and rows + file.rows_in(group) > limit:
                    return since_us
                rows += file.rows_in(group)
                archived = _telling(file, group, want_newest=len(happened.newest) < LAST_EVENTS)
                # Events moved from the journal to the archive in the meantime appear twice.
                _take(happened, [one for one in archived if (one.time_us, one.kind, one.pair) not in seen])
                since_us = file.limits(dataset.time, group)[0]
    return None


def _take(happened: _Happened, events: Sequence[Event]) -> None:
    shown = [*happened.newest, *(event for event in events if event.kind not in ROUTINE)]
    happened.newest = sorted(shown, key=lambda event: event.time_us)[-LAST_EVENTS:]
    for event in events:
        if event.kind == EventKind.MAINTENANCE:
            source = str(_detail(event).get("source"))
            if source not in happened.latest or happened.latest[source].time_us < event.time_us:
                happened.latest[source] = event
        elif event.kind == EventKind.OHLC_LOST:
            detail = _detail(event)
            timeframe = str(detail.get("timeframe"))
            happened.lost[timeframe] = happened.lost.get(timeframe, 0) + int(detail.get("count", 0))


def _detail(event: Event) -> dict[str, Any]:
    detail = json.loads(event.detail)
    return detail if isinstance(detail, dict) else {}


def _telling(file: OpenFile, group: int, *, want_newest: bool) -> list[Event]:
    """Return the events of one row group about the exchange and lost candles, and its newest if wanted."""
    kinds = file.table(columns=["kind"], groups=[group])["kind"]
    kept = set(pc.indices_nonzero(pc.is_in(kinds, value_set=pa.array(_TELLING))).to_pylist())
    if want_newest:
        shown = pc.indices_nonzero(pc.invert(pc.is_in(kinds, value_set=pa.array(ROUTINE)))).to_pylist()
        kept |= set(shown[-LAST_EVENTS:])
    if not kept:
        return []
    rows = file.table(columns=EVENTS.columns.names, groups=[group]).take(pa.array(sorted(kept)))
    times_us = rows["time"].cast(pa.int64()).to_pylist()
    others = (rows[name].to_pylist() for name in ("kind", "pair", "detail"))
    return [Event(*values) for values in zip(times_us, *others, strict=True)]


def _candles(layout: Layout, journalled: Iterable[Candle], lost: Mapping[str, int]) -> list[CandleStatus]:
    pairs: dict[str, set[str]] = {}
    last_us: dict[str, int] = {}
    for candle in journalled:
        pairs.setdefault(candle.timeframe, set()).add(candle.pair)
        last_us[candle.timeframe] = max(last_us.get(candle.timeframe, 0), candle.time_us)
    for branch in layout.branches(OHLC):
        timeframe, rows = str(branch.value), 0
        for path, count in _newest_first(layout, branch):
            if rows and rows + count > CANDLE_ROWS:
                break
            rows += count
            with OpenFile(path, words=["pair"]) as file:
                table = file.table(columns=["pair"])
                newest_us = file.span(OHLC.time)[1]
            pairs.setdefault(timeframe, set()).update(table["pair"].unique().to_pylist())
            last_us[timeframe] = max(last_us.get(timeframe, 0), newest_us)
    return [
        CandleStatus(timeframe, len(pairs[timeframe]), last_us[timeframe], lost.get(timeframe, 0))
        for timeframe in TIMEFRAMES
        if timeframe in pairs
    ]


def _listing(layout: Layout) -> dict[str, str]:
    """Return the newest status of each pair ever listed."""
    newest: dict[str, tuple[int, str]] = {}
    for path in layout.files(Branch(INSTRUMENTS)):
        with OpenFile(path) as file:
            table = file.table(columns=["pair", "valid_from", "status"])
            since_us = table["valid_from"].cast(pa.int64()).to_pylist()
        for pair, *row in zip(table["pair"].to_pylist(), since_us, table["status"].to_pylist(), strict=True):
            newest[pair] = max(newest.get(pair, (0, "")), (row[0], row[1]))
    return {pair: status for pair, (_, status) in newest.items()}


def _newest_first(layout: Layout, branch: Branch) -> Iterator[tuple[Path, int]]:
    """Yield the files of a branch that have rows, with their number, newest first; year by year."""
    for leaf in reversed(layout.leaves(branch)):
        found = []
        for name in listed(leaf):
            with OpenFile(leaf / name) as file:
                if file.rows:
                    found.append((file.span(branch.dataset.time)[1], leaf / name, file.rows))
        yield from ((path, rows) for _, path, rows in sorted(found, reverse=True))
