"""``recorder import``: add Kraken's downloadable history files to the archive, alone or beside a running daemon."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from recorder import config
from recorder import disk as rim
from recorder.archive import open_archive
from recorder.archive.imported_files import Prefer
from recorder.archive.layout import Layout
from recorder.archive.load_ledger import DAMAGE
from recorder.archive.quarantine import Quarantine
from recorder.archive.trades import TradeArchive
from recorder.cli import import_report
from recorder.cli.import_report import Apart
from recorder.cli.interrupts import on_interrupt
from recorder.cli.screen import Screen, echo
from recorder.cli.status import counted
from recorder.clock import SystemClock
from recorder.collectors import listing
from recorder.config import Config
from recorder.core.throttling import Pace
from recorder.disk import Disk
from recorder.errors import ExchangeError, UnreadableFile, UsageError
from recorder.history import join as between
from recorder.history import listed_names
from recorder.history.contents import Contents, look_inside
from recorder.history.job import READ_TIMES, ImportJob
from recorder.history.listed_names import ListedNames
from recorder.history.members import Member, find
from recorder.kraken.history_files import NameBook, names_given
from recorder.net.http import Http, client_session, proxy_for
from recorder.net.rate_limit import SharedRateLimit
from recorder.ops import log, process_setup
from recorder.ops.metrics import Metrics
from recorder.runtime.exchange_client import Exchange
from recorder.runtime.notes import QuarantineNotes


def import_history(
    paths: Annotated[list[Path], typer.Argument(help="ZIPs as downloaded, folders with them, or single CSVs.")],
    *,
    pair: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this pair, as BTC/USD or XBTUSD; may be repeated.")
    ] = None,
    as_: Annotated[
        list[str] | None,
        typer.Option(
            "--as", metavar="NAME=PAIR", help="The pair of a file name that no listing knows: XBTUSD=BTC/USD."
        ),
    ] = None,
    prefer: Annotated[
        Prefer | None,
        typer.Option(help="Where days or candles without ids differ: keep the held ones, or take the new."),
    ] = None,
    join: Annotated[
        bool, typer.Option("--join", help="Make what is missing from the imported trades on gaps, to be fetched.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is inside.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all of it.")] = False,
    data: Annotated[Path | None, typer.Option(help="The archive's folder, instead of archive.path.")] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
) -> None:
    """Add Kraken's history files to the archive: each row exactly once, beside a recorder if need be.

    It says what is inside before it reads, and unpacks nothing. Trades with ids become trades like all others; those
    without ids, and candles, have tables of their own, bulk_trades and bulk_ohlc. Rows that are stored already are
    compared and not overwritten, unless --prefer new asks for it. What lies between imported trades and recorded ones
    is history: it is not fetched unless you ask for it, with --join. Exit code 1 if rows differ, or a file is refused.
    It can be stopped at any time: the next call goes on, and skips what is done.
    """
    process_setup.prepare()
    settings = config.load(config_file)
    layout = Layout((data or settings.archive.path).resolve())
    found = find(paths)
    inside = look_inside(found, _names(settings, layout, found.members, as_ or ()))
    inside.keep(pair or ())
    if not as_json:
        import_report.print_inside(inside)
    if dry_run or not inside.members:
        _finish(inside, None, [], as_json=as_json, dry_run=dry_run)
        return
    process_setup.as_owner(layout.data)
    in_use = f"another import into {layout.data} is under way: wait for its end"
    with open_archive.opened(layout, Disk(), alone=layout.locks / "import.lock", in_use=in_use) as archive:
        job = ImportJob(archive, room=functools.partial(rim.room, layout.data), prefer=prefer)
        with on_interrupt(functools.partial(_kept, job)):
            _import(job, inside)
            _finish(inside, job, _apart(archive, job, join=join), as_json=as_json, dry_run=dry_run)


def _names(settings: Config, layout: Layout, members: Sequence[Member], given: Sequence[str]) -> NameBook:
    """Return the names that the archive, the user, and if that is not enough the exchange knows."""
    own = dict(names_given(given))
    known = listed_names.archived(layout)
    if any(member.name.altname not in known.pairs and member.name.altname not in own for member in members):
        try:
            known = known.joined(asyncio.run(_listed(settings, layout)))
        except ExchangeError as error:
            echo(f"recorder: the listing could not be had ({error}); names are looked up in the archive", err=True)
    return NameBook(known.pairs, known.assets, own)


async def _listed(settings: Config, layout: Layout) -> ListedNames:
    log.configure(settings.ops.log)
    clock, exchange = SystemClock(), settings.exchange
    with tempfile.TemporaryDirectory(prefix="recorder-") as folder:
        aside = Layout(Path(folder))  # a listing that cannot be read is an error here, and quarantined nowhere
        async with client_session(proxy_for(exchange.rest_url, exchange.proxy)) as client:
            http = Http(
                client,
                exchange.rest_url,
                pace=Pace(exchange.requests_per_second),
                clock=clock,
                rate_limit=SharedRateLimit(layout.rate_limit, clock) if layout.exists else None,
            )
            notes = QuarantineNotes(Quarantine(aside, Disk(), staging=aside.data), clock)
            reading = await listing.read(Exchange(http, notes, metrics=Metrics()))
    return listed_names.of(one for listed in reading.listings for one in listed.entries)


def _import(job: ImportJob, inside: Contents) -> None:
    with _bar() as bar, contextlib.ExitStack() as at_end:
        at_end.callback(job.note)
        task = bar.add_task("", total=READ_TIMES * sum(one.member.size for one in inside.members))
        for one in inside.members:
            bar.update(task, description=one.pair)
            try:
                job.member(one, functools.partial(bar.advance, task))
            except (UsageError, *DAMAGE) as error:
                if isinstance(error, UnreadableFile) and not error.of_itself:  # the disk is at fault, not a file
                    raise
                inside.refused.append((str(one.member), str(error)))
        job.tidy(lambda pair: bar.update(task, description=f"{pair}: merging files"))


def _kept(job: ImportJob) -> str:
    added = sum(one.added for one in job.results.values())
    return f"{counted(added, 'trade')} of whole files added, and part of the last one; call it again to go on"


def _apart(archive: TradeArchive, job: ImportJob, *, join: bool) -> list[Apart]:
    """Return what lies between imported trades and others; with ``join``, after making gaps of it."""
    first_ids = job.first_ids()
    ledger = between.read(archive, list(first_ids))
    joined = between.join(archive, ledger, first_ids, SystemClock().wall_ns() // 1000) if join else {}
    found = [Apart(pair, sum(len(gap.span) for gap in ledger.of(pair).history_gaps())) for pair in first_ids]
    return [one for one in (*found, *(Apart(pair, ids, joined=True) for pair, ids in joined.items())) if one.ids]


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f} %"),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Screen(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


def _finish(inside: Contents, job: ImportJob | None, apart: Sequence[Apart], *, as_json: bool, dry_run: bool) -> None:
    """Print the results. Raises typer.Exit with code 1 if rows differ, or a file was refused."""
    results, earlier = ({}, {}) if job is None else (job.results, job.earlier)
    if as_json:
        import_report.print_json(inside, results, earlier, apart, dry_run=dry_run)
    else:
        import_report.print_results(inside, results, earlier, apart)
    if inside.refused or any(kind.count for one in results.values() for _, kind in one.problems):
        raise typer.Exit(1)
