"""``recorder backfill``: fetch the trades of a time range, alone or beside a running daemon."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from recorder import config
from recorder import disk as rim
from recorder.archive import load_ledger, merge_archive, open_archive
from recorder.archive.compaction import compact
from recorder.archive.layout import Layout
from recorder.archive.load_ledger import Damage
from recorder.archive.quarantine import Quarantine
from recorder.archive.segment_tables import Segments
from recorder.archive.trades import TradeArchive
from recorder.cli import times
from recorder.cli.resolve_pairs import resolve_pairs
from recorder.cli.screen import Screen, echo, text
from recorder.clock import Clock, SystemClock
from recorder.config import Config
from recorder.core.ledger import Ledger
from recorder.core.model import Instrument
from recorder.core.throttling import Pace
from recorder.disk import Disk
from recorder.errors import CheckFailed, UsageError
from recorder.journal import live_read
from recorder.kraken import records, rest_api
from recorder.net.http import Http, client_session, proxy_for
from recorder.net.rate_limit import SharedRateLimit
from recorder.ops import log, process_setup
from recorder.ops.metrics import Metrics
from recorder.query import arguments
from recorder.repair import backfill as job
from recorder.repair.backfill import Backfill, Stretch
from recorder.repair.fetch_trades import BATCH_S, Fetcher
from recorder.runtime.exchange_client import Exchange
from recorder.runtime.notes import QuarantineNotes

LISTING: Final = "listing"
"""The value of --from that means the first trade ever."""
BYTES_PER_TRADE: Final = 10
"""On disk after compaction, measured on real trades (benchmarks/drain.py)."""

SPEED_S: Final = 4 * BATCH_S
"""The time over which the displayed speed is averaged: trades are stored, and counted, a batch at a time."""

console = Screen(stderr=True)


def backfill(
    pairs: Annotated[list[str], typer.Argument(help="Pairs, by any name Kraken knows them by: BTC/USD, XBTUSD.")],
    *,
    from_: Annotated[
        str,
        typer.Option("--from", metavar="TIME", callback=times.given, help=f"{times.FORMS}; listing for all there is."),
    ],
    to: Annotated[
        str | None, typer.Option(metavar="TIME", callback=times.given, help="Not included; now if left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")] = False,
    data: Annotated[Path | None, typer.Option(help="The archive's folder, instead of archive.path.")] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
) -> None:
    """Fetch the history of pairs into the archive. It can be stopped at any time: the next call resumes.

    Ctrl-C and SIGTERM store what was fetched, report how much that is, and exit 130.
    """
    settings = config.load(config_file)
    clock = SystemClock()
    from_us, to_us = _range(from_, to, now_us=clock.wall_ns() // 1000)
    layout = Layout((data or settings.archive.path).resolve())
    log.configure(settings.ops.log)
    if not dry_run:
        process_setup.as_owner(layout.data)
    process_setup.prepare()
    with contextlib.ExitStack() as stack:
        if dry_run and not layout.exists:
            # A missing archive is the same as an empty one, and a dry run creates none.
            layout = Layout(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recorder-"))))
        try:
            asyncio.run(_run(settings, layout, _Wanted(tuple(pairs), from_us, to_us), clock, dry_run=dry_run))
        except asyncio.CancelledError:  # by SIGTERM
            raise KeyboardInterrupt from None


def _range(from_: str, to: str | None, *, now_us: int) -> tuple[int, int]:
    """Return the start and the end of the range, in µs since 1970 UTC; 0 means the first trade ever."""
    from_us = 0 if from_ == LISTING else arguments.moment("--from", from_) or 0
    to_us = now_us if to is None else arguments.moment("--to", to) or 0
    if from_us >= to_us:
        raise UsageError(
            f"--from {from_} is not before {'now' if to is None else f'--to {to}'}: there is no such range"
        )
    return from_us, to_us


@dataclass(frozen=True, slots=True)
class _Wanted:
    names: tuple[str, ...]
    from_us: int
    to_us: int


async def _run(settings: Config, layout: Layout, wanted: _Wanted, clock: Clock, *, dry_run: bool) -> None:
    pace = Pace(settings.exchange.requests_per_second)
    proxy = proxy_for(settings.exchange.rest_url, settings.exchange.proxy)
    if (this := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    async with _opened(layout) as archive, client_session(proxy) as client:
        http = Http(
            client,
            settings.exchange.rest_url,
            pace=pace,
            clock=clock,
            rate_limit=SharedRateLimit(layout.rate_limit, clock),
        )
        metrics, ledger = Metrics(), Ledger()
        archive.promised = ledger.promise
        exchange = Exchange(
            http, QuarantineNotes(Quarantine(layout, Disk(), staging=archive.staging), clock), metrics=metrics
        )
        listed_us, instruments = await resolve_pairs(exchange, wanted.names)
        fetcher = Fetcher(ledger, archive, exchange, instruments=instruments, clock=clock, metrics=metrics)
        tidy = functools.partial(_compact, archive, clock)
        work = Backfill(
            ledger,
            archive.coverage,
            fetcher,
            exchange,
            instruments=instruments,
            tidy=tidy,
            room=functools.partial(rim.room, layout.data),
            clock=clock,
        )
        stretches = [await work.find(pair, wanted.from_us, wanted.to_us) for pair in instruments]
        for pair, stretch in zip(instruments, stretches, strict=True):
            if stretch is None:
                console.print(f"{pair}: nothing was traded in this range")
        refused = await asyncio.to_thread(_load, ledger, archive, list(instruments))
        found = [stretch for stretch in stretches if stretch is not None and stretch.pair not in refused]
        if dry_run:
            for stretch in found:
                _estimate(stretch, sum(len(hole.span) for hole in work.missing(stretch)), pace.per_s)
        else:
            await asyncio.to_thread(_note, archive, [(listed_us, instruments[stretch.pair]) for stretch in found])
            try:
                await _fill(work, found, pace)
            except BaseException:
                console.print(f"{_stored(fetcher.stored)}; run it again to continue")
                raise
            if found:
                console.print(_stored(fetcher.stored))
        for pair, error in refused.items():
            console.print(text(f"{pair} is refused: {error}", "red"), soft_wrap=True)
        for error in refused.values():
            raise error


def _stored(by_pair: Mapping[str, int]) -> str:
    """Return a message about what was added to the archive.

    >>> _stored({"BTC/USD": 51_000, "ETH/EUR": 3})
    'stored 51,000 trades of BTC/USD, 3 trades of ETH/EUR'
    """
    parts = [f"{rows:,} trades of {pair}" for pair, rows in by_pair.items() if rows]
    return f"stored {', '.join(parts) or 'nothing new'}"


def _note(archive: TradeArchive, listed: Sequence[tuple[int, Instrument]]) -> None:
    """Archive the listing of the pairs that have none yet: without it the decimals of their prices are unknown."""
    segments = Segments(archive.layout, archive.disk, staging=archive.staging)
    merge_archive.listed(archive.layout, segments, listed)


def _load(ledger: Ledger, archive: TradeArchive, pairs: Sequence[str]) -> dict[str, Damage]:
    """Load the stored ids, including those in a daemon's journal, and the known ids that do not exist.

    Return the pairs with files that cannot be trusted: which of their ids are missing is unknown.

    Rows in the journal have the time of their arrival. Ids recorded in a damaged file of events are requested again.
    """
    claims = records.claims(live_read.entries(archive.layout.journal))
    return load_ledger.load(ledger, archive.layout, claims, coverage=archive.coverage, pairs=pairs).damaged


@contextlib.asynccontextmanager
async def _opened(layout: Layout) -> AsyncIterator[TradeArchive]:
    # The thread that writes to the staging folder must finish before the folder is removed.
    with open_archive.opened(layout, Disk()) as archive, ThreadPoolExecutor(1, "backfill") as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        yield archive


def _estimate(stretch: Stretch, missing: int, per_s: float) -> None:
    requests = -(-missing // rest_api.PAGE_LIMIT)
    time, megabytes = _duration(requests / per_s), missing * BYTES_PER_TRADE / 1e6
    echo(
        f"{stretch.pair}: ids {stretch.span}, {len(stretch.span):,} trades, {missing:,} missing: "
        f"{requests:,} requests, {time} at {per_s:g} a second, some {megabytes:,.1f} MB"
    )


async def _fill(work: Backfill, stretches: Sequence[Stretch], pace: Pace) -> None:
    unserved = 0
    with _bars(pace) as bars:
        for stretch in stretches:
            bar = bars.add_task(stretch.pair, total=len(stretch.span), waiting="")

            def tell(progress: job.Progress, bar: TaskID = bar) -> None:
                coming = f"+ {progress.coming:,} to be stored" if progress.coming else ""
                bars.update(bar, completed=progress.held, waiting=progress.waiting or coming)

            left = await work.fill(stretch, tell)
            unserved += sum(map(len, left))
            for span in left:
                console.print(f"{stretch.pair}: the exchange does not serve ids {span}")
    if unserved:
        raise CheckFailed(
            f"{unserved:,} trades were not served: run it again later; `recorder run` keeps requesting them and finds "
            "out whether they exist"
        )


def _compact(archive: TradeArchive, clock: Clock, pair: str) -> None:
    """Merge the small files of the batches, as far as that is worthwhile."""
    now_s = clock.wall_ns() / 1e9
    today = datetime.fromtimestamp(now_s, UTC).date()
    while compact(archive, pair, today=today, now_s=now_s) is not None:
        pass


@contextlib.contextmanager
def _bars(pace: Pace) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f} %"),
        _Rate(),
        _Left(pace),
        TextColumn("{task.fields[waiting]}", style="yellow", markup=False),
    )
    with Progress(*columns, console=console, speed_estimate_period=SPEED_S) as bars:
        yield bars


class _Rate(ProgressColumn):
    """Recent trades per second."""

    def render(self, task: Task) -> Text:
        return text(f"{task.speed:,.0f} trades/s" if task.speed else "")


class _Left(ProgressColumn):
    """The remaining pages, and how long they take at the present pace."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def render(self, task: Task) -> Text:
        pages = -(-int(task.remaining or 0) // rest_api.PAGE_LIMIT)
        return text(f"{pages:,} pages, {_duration(pages / self._pace.per_s)}" if pages else "done")


def _duration(seconds: float) -> str:
    """Return a readable duration.

    >>> _duration(42), _duration(300), _duration(7_300), _duration(200_000)
    ('42 s', '5 min', '2 h 1 min', '2 d 7 h')
    """
    for size, unit, smaller_size, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // smaller_size:.0f} {smaller}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
