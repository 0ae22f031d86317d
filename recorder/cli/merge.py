"""``recorder merge``: merge another archive of the same pairs into this one, by id."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final, assert_never

import pyarrow as pa
import typer
from rich import box
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from recorder import config
from recorder import disk as rim
from recorder.archive import merge_archive, merge_history, merged_files, open_archive
from recorder.archive.compaction import compact, compact_segments
from recorder.archive.datasets import EVENTS, INSTRUMENTS, WITHOUT_IDS, Branch, Dataset
from recorder.archive.integrity import Finding
from recorder.archive.layout import Layout, existing
from recorder.archive.merge_archive import Disagreement, Only, Tally, TradeMerge
from recorder.archive.merge_evidence import MergedEvidence
from recorder.archive.merge_sessions import NUMBERED, OF_BOOKS, OF_QUOTES, Counted, Numbered, SessionMerge
from recorder.archive.merged_files import MergedFiles
from recorder.archive.schema import trades_table
from recorder.archive.segment_tables import Segments
from recorder.archive.trades import TradeArchive
from recorder.cli.interrupts import on_interrupt
from recorder.cli.screen import Screen, echo, text
from recorder.cli.status import counted
from recorder.clock import SystemClock
from recorder.core.model import Instrument, Trade
from recorder.core.pair_registry import settled
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Disk, Room
from recorder.errors import CorruptLine, Malformed, StorageError, UsageError
from recorder.journal import segment
from recorder.kraken import records
from recorder.kraken.records import (
    Header,
    ListingRecord,
    NotedFrame,
    PublishedCandles,
    TableRows,
    TradeRecord,
    UnknownRecord,
    UnreadableRecord,
)
from recorder.ops import process_setup

LISTED: Final = 1000
"""The maximum number of disagreements listed; all are counted. This many have a common cause, not chance."""
_MERGED: Final = tuple(dataset for dataset in WITHOUT_IDS if dataset.merged_by)
_MESSAGES: Final[Mapping[Numbered, str]] = {OF_QUOTES: "quotes", OF_BOOKS: "messages of books"}
_JOURNALLED: Final = 50_000
"""The maximum number of trades of the other journal in memory, some 50 MB."""


def merge(
    other: Annotated[Path, typer.Argument(help="The folder of the other archive; it is only read.")],
    data: Annotated[Path | None, typer.Option(help="The archive's folder, instead of archive.path.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count and compare.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all of it.")] = False,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
) -> None:
    """Add everything that another archive of the same pairs has and this one has not; may run beside a recorder.

    Trades are merged by id, candles by their time, quotes and books by session and message, listings by pair, and what
    came from history files by day and candle. The certificate of a day is merged if its trades here are the same, and
    so are void ids and what `recorder import --join` noted; other events are not. Common rows are compared and never
    overwritten. Exit code 1 if they disagree, or a file of the other archive is not sound. It can be stopped at any
    time: the next call resumes. Called again, it reads only files that are new there.
    """
    layout = Layout((data or config.load(config_file).archive.path).resolve())
    theirs = _other(other, layout)
    if not dry_run:
        process_setup.as_owner(layout.data)
    process_setup.prepare()
    found = _MergeReport()
    with (
        on_interrupt(lambda: _kept(found, dry_run=dry_run)),
        _opened(layout, dry_run=dry_run) as (archive, segments),
        contextlib.nullcontext() if archive is None else merged_files.remembered(archive, theirs) as files,
    ):
        room = functools.partial(rim.room, layout.data)
        tidy = functools.partial(_tidy, archive)
        if archive is not None:
            archive.promised = merge_archive.promises(layout, theirs)
        job = TradeMerge(layout, archive, disagreed=found.disagreed, tidy=tidy, room=room, files=files)
        found.brought = job.brought
        for dataset in (EVENTS, INSTRUMENTS):
            _tidy_table(segments, Branch(dataset))
        waiting = rim.undisturbed(lambda: _journal(job, theirs), f"the segments in {theirs.journal}")
        found.unread = waiting.candles
        with Progress(console=Screen(stderr=True), transient=True, disable=not Screen(stderr=True).is_terminal) as bar:
            pairs = theirs.pairs()
            evidence = None if archive is None or files is None else MergedEvidence(archive, theirs, files)
            for pair in bar.track(pairs, description="merging"):
                for year in theirs.years(pair):
                    found.findings += job.year(pair, year)
                if evidence is not None and pair not in job.refused:
                    taken = evidence.take(pair, now_us=SystemClock().wall_ns() // 1000)
                    found.certified += taken.days
                    found.void += taken.void
                    found.joined += taken.joined
        found.findings += job.refused.values()
        found.tallies = {pair: job.tally(pair) for pair in sorted({*pairs, *waiting.pairs})}
        _add_tables(found, layout, theirs, archive, segments=segments, files=files, room=room)
        late = list(waiting.listed.values())
        found.listings, unsound = merge_archive.listings(layout, segments, theirs, late, room=room)
        found.findings += unsound
        found.skipped = 0 if files is None else files.skipped
    if as_json:
        echo(json.dumps(_as_json(found, dry_run=dry_run), indent=2, ensure_ascii=False))
    else:
        _print(found, theirs, dry_run=dry_run)
    if found.findings or found.count:
        raise typer.Exit(1)


def _add_tables(
    found: _MergeReport,
    layout: Layout,
    theirs: Layout,
    archive: TradeArchive | None,
    *,
    segments: Segments | None,
    files: MergedFiles | None,
    room: Callable[[], Room],
) -> None:
    """Merge the tables without ids, and report what came; without an archive that is open, only count."""
    only = _filters(found, layout, theirs)
    for dataset in _MERGED:
        found.added[dataset.noun], unsound = merge_archive.rows_of(
            dataset,
            layout,
            segments,
            theirs,
            room=room,
            only=only.get(dataset, lambda _, rows: rows),
            files=files,
            tidy=functools.partial(_tidy_table, segments),
        )
        found.findings += unsound
    disk = None if archive is None else archive.disk
    for brought in merge_history.tables(layout, theirs, disk, room=room):
        found.added[brought.dataset.noun] = brought.added
        found.findings += brought.findings


def _filters(found: _MergeReport, layout: Layout, theirs: Layout) -> Mapping[Dataset, Only]:
    """Return what to merge of tables whose rows are numbered; count what waits in the other journals."""
    only = dict[Dataset, Only]()
    for tables in NUMBERED:
        sessions = SessionMerge(tables, layout, theirs, _numbered(layout, tables))
        only |= {tables.rows: sessions.not_journalled, tables.sessions: sessions.not_counted}
        found.unread_messages[tables] = sum(spans.count() for spans in _numbered(theirs, tables).values())
    return only


def _kept(found: _MergeReport, *, dry_run: bool) -> str:
    """Return what a merge that was interrupted has added."""
    if dry_run:
        return "nothing was changed"
    added = sum(ids.count() for ids in found.brought.values())
    return f"{counted(added, 'trade')} added, which stay: call it again to go on"


def _other(other: Path, layout: Layout) -> Layout:
    theirs = existing(other.resolve())
    if theirs.data == layout.data:
        raise UsageError(f"{other} is the archive itself: name another one, and this one with --data")
    return theirs


@dataclass(slots=True)
class _MergeReport:
    """The result of a merge. The first LISTED disagreements are stored, and all are counted."""

    brought: Mapping[str, Spans] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    first: list[Disagreement] = field(default_factory=list)
    count: int = 0
    added: dict[str, int] = field(default_factory=dict)
    """How many rows of tables without ids, by what the rows are called."""
    listings: int = 0
    certified: int = 0
    void: int = 0
    joined: int = 0
    """Pairs of which ids are wanted from now on, because they are in the other archive."""
    skipped: int = 0
    unread: int = 0
    unread_messages: dict[Numbered, int] = field(default_factory=dict)
    """How many quotes, and messages of books, wait in the other journals."""
    findings: list[Finding] = field(default_factory=list)

    def disagreed(self, one: Disagreement) -> None:
        """Add one disagreement."""
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(one)


@contextlib.contextmanager
def _opened(layout: Layout, *, dry_run: bool) -> Iterator[tuple[TradeArchive | None, Segments | None]]:
    """Open the archive for writing, one merge at a time; a dry run writes nothing at all."""
    if dry_run:
        yield None, None
        return
    in_use = f"another merge into {layout.data} is under way: wait for its end"
    with open_archive.opened(layout, Disk(), alone=layout.locks / "merge.lock", in_use=in_use) as archive:
        yield archive, Segments(layout, archive.disk, staging=archive.staging)


def _tidy(archive: TradeArchive | None, pair: str) -> None:
    """Merge the small files of a pair, as far as that is worthwhile."""
    today, now_s = _now()
    while archive is not None and compact(archive, pair, today=today, now_s=now_s) is not None:
        pass


def _tidy_table(segments: Segments | None, branch: Branch) -> None:
    """Merge the small files of a branch, which no recorder does in an archive of merges alone."""
    today, now_s = _now()
    while segments is not None and compact_segments(segments, branch, today=today, now_s=now_s) is not None:
        pass


def _now() -> tuple[date, float]:
    """Return the UTC day, and the time in seconds since 1970."""
    now_s = SystemClock().wall_ns() / 1e9
    return datetime.fromtimestamp(now_s, UTC).date(), now_s


@dataclass(slots=True)
class _Journalled:
    """The contents of the other journal: pairs with trades, and the answers left there with candles or listings."""

    pairs: set[str] = field(default_factory=set)
    candles: int = 0
    listed: dict[str, tuple[int, Instrument]] = field(default_factory=dict)
    """The first listing of each pair, and its time in µs since 1970 UTC."""

    def lists(self, moment_us: int, listing: ListingRecord) -> None:
        """Add an answer of AssetPairs."""
        with contextlib.suppress(Malformed):
            for pair, row in settled(listing.listed(), {})[0].items():
                self.listed.setdefault(pair, (moment_us, row))


def _journal(job: TradeMerge, theirs: Layout) -> _Journalled:
    """Merge the trades of the other journal, which may not be in its archive yet: before the archive, where they move.

    Raise FileNotFoundError for a segment that was drained meanwhile; its trades are stored already, or in its archive.
    """
    found = _Journalled()
    by_pair: dict[str, list[Trade]] = {}
    in_hand = 0
    for path in segment.segments(theirs.journal):
        for entry in segment.entries(path):
            if isinstance(entry, CorruptLine):
                continue
            match records.read(entry):
                case TradeRecord() as carrying:
                    with contextlib.suppress(Malformed):  # its own drain reports it
                        for row in carrying.trades():
                            by_pair.setdefault(row.pair, []).append(row)
                            in_hand += 1
                case PublishedCandles():
                    found.candles += 1
                case ListingRecord() as listing:
                    found.lists(entry.recv_ns // 1000, listing)
                case TableRows() | Header() | NotedFrame() | UnreadableRecord() | UnknownRecord():
                    pass
                case never:
                    assert_never(never)
            if in_hand >= _JOURNALLED:
                _take(job, by_pair)
                found.pairs |= by_pair.keys()
                by_pair, in_hand = {}, 0
    _take(job, by_pair)
    found.pairs |= by_pair.keys()
    return found


def _numbered(layout: Layout, tables: Numbered) -> Counted:
    """Return the messages in a journal, which its drain will bring: to be read before the archive is."""
    folder = layout.journal_dir(tables.rows.journal)

    def look() -> Counted:
        found: dict[tuple[str, int], Spans] = {}
        for entry in (entry for path in segment.segments(folder) for entry in segment.entries(path)):
            if isinstance(entry, CorruptLine):
                continue
            record = records.read(entry)
            if isinstance(record, TableRows) and record.table == tables.rows.name:
                with contextlib.suppress(Malformed):  # its drain reports it
                    for row in (row for rows in record.parts().values() for row in rows):
                        found.setdefault((row.pair, row.session), Spans()).add(Span(row.message, row.message))
        return found

    return rim.undisturbed(look, f"the segments in {folder}")


def _take(job: TradeMerge, by_pair: dict[str, list[Trade]]) -> None:
    for pair, rows in by_pair.items():
        by_id = {row.trade_id: row for row in reversed(rows)}
        job.add(pair, _table(pair, [by_id[trade_id] for trade_id in sorted(by_id)]))
        job.finish(pair)


def _table(pair: str, rows: Sequence[Trade]) -> pa.Table:
    try:
        return trades_table(rows)
    except pa.ArrowInvalid as error:
        raise StorageError(f"a trade of {pair} in the other journal does not fit the schema: {error}") from error


def _print(found: _MergeReport, theirs: Layout, *, dry_run: bool) -> None:
    console = Screen()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("pair", "would be added" if dry_run else "added", "in both", "disagreements"):
        table.add_column(heading, justify="left" if heading == "pair" else "right", no_wrap=True)
    for pair, tally in found.tallies.items():
        wrong = text(f"{tally.disagreements:,}", "red" if tally.disagreements else "")
        table.add_row(text(pair), f"{tally.added:,}", f"{tally.compared:,}", wrong)
    console.print_table(table)
    for one in found.first:
        console.print(
            text(f"{one.pair} {one.trade_id} {one.field}: {one.ours} here, {one.theirs} there", "red"), soft_wrap=True
        )
    if found.count > len(found.first):
        echo(f"and {found.count - len(found.first):,} more")
    for finding in found.findings:
        line = Text.assemble((str(finding.file), "bold"), f" {finding.problem}: it was left out; {finding.remedy}")
        console.print(line, soft_wrap=True)
    for sentence in _summary(found, theirs, dry_run=dry_run):
        echo(sentence)


def _summary(found: _MergeReport, theirs: Layout, *, dry_run: bool) -> Iterator[str]:
    """Yield what came, and what did not."""
    verb = "would be added" if dry_run else "added"
    rows = [f"{count:,} {noun}" for noun, count in (found.added | {"listings": found.listings}).items()]
    came = f"{', '.join(rows)}, what was certified of {found.certified:,} days and {counted(found.void, 'void id')}"
    yield f"{came} {verb}; other events are not merged"
    if found.skipped:
        yield f"{counted(found.skipped, 'file')} merged before: not read again (`--dry-run` compares everything)"
    if found.joined:
        yield f"what is missing above imported trades of {counted(found.joined, 'pair')} is a gap from now on, as there"
    waiting = {f"{found.unread:,} answers with candles": theirs.journal} if found.unread else {}
    for tables, count in found.unread_messages.items():
        if count:
            waiting[f"{count:,} {_MESSAGES[tables]}"] = theirs.journal_dir(tables.rows.journal)
    for what, journal in waiting.items():
        yield f"{what} wait in {journal}: start and stop the recorder there, which drains them, and merge again"
    if found.count:
        yield "which of the two is right cannot be decided here: the stored content stays"


def _as_json(found: _MergeReport, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "pairs": [{"pair": pair, **asdict(tally)} for pair, tally in found.tallies.items()],
        "disagreements": found.count,
        "listed": [asdict(one) for one in found.first],
        **{f"{noun.replace(' ', '_')}_added": count for noun, count in found.added.items()},
        "listings_added": found.listings,
        "certified_days_added": found.certified,
        "void_ids_added": found.void,
        "files_merged_before": found.skipped,
        "joined_pairs_added": found.joined,
        "candle_answers_in_journal": found.unread,
        **{
            f"{_MESSAGES[tables].replace(' ', '_')}_in_journal": count
            for tables, count in found.unread_messages.items()
        },
        "findings": [{"file": str(one.file), "problem": one.problem, "remedy": one.remedy} for one in found.findings],
    }
