"""``recorder import``: add Kraken's downloadable history files to the archive, alone or beside a running daemon."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from recorder import config
from recorder import disk as rim
from recorder.archive import open_archive
from recorder.archive.coverage import Coverage
from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.event_rows import event
from recorder.archive.imported_files import Prefer
from recorder.archive.layout import Layout
from recorder.archive.quarantine import Quarantine
from recorder.archive.segment_tables import Segments
from recorder.archive.trades import TradeArchive
from recorder.cli import import_report
from recorder.cli.import_report import Apart
from recorder.cli.interrupts import on_interrupt
from recorder.cli.screen import Screen, echo
from recorder.cli.status import counted
from recorder.clock import SystemClock
from recorder.collectors import listing
from recorder.config import Config
from recorder.core.event_kinds import EventKind
from recorder.core.throttling import Pace
from recorder.core.trade_ids import Spans
from recorder.disk import Disk
from recorder.errors import ExchangeError, RecorderError, UnsoundFile, UsageError
from recorder.history import listed_names
from recorder.history.contents import Contents, Entry, look_inside
from recorder.history.importers import IMPORTED, importers
from recorder.history.listed_names import ListedNames
from recorder.history.members import Member, find
from recorder.history.results import MemberResult
from recorder.kraken.history_files import NameBook, names_said
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is inside.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all of it.")] = False,
    data: Annotated[Path | None, typer.Option(help="The archive's folder, instead of archive.path.")] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
) -> None:
    """Add Kraken's quarterly files of trades to the archive: each trade exactly once, beside a recorder if need be.

    It says what is inside before it reads, and unpacks nothing. Rows that are stored already are compared and never
    overwritten. What lies between imported trades and recorded ones is history: it is not fetched unless you ask for
    it. Files of the older layout without ids, and candles, are listed and left out. Exit code 1 if rows differ, or a
    file is refused. It can be stopped at any time: the next call goes on.
    """
    settings = config.load(config_file)
    layout = Layout((data or settings.archive.path).resolve())
    found = find(paths)
    inside = look_inside(found.members, found.left, _names(settings, layout, found.members, as_ or ()))
    inside.keep(pair or ())
    if not as_json:
        import_report.print_inside(inside)
    wanted = [one for one in inside.members if one.detected.layout in IMPORTED]
    if dry_run or not wanted:
        _finish(inside, {}, [], as_json=as_json, dry_run=dry_run)
        return
    process_setup.as_owner(layout.data)
    process_setup.prepare()
    results: dict[str, MemberResult] = {}

    def kept() -> str:
        return (
            f"{counted(sum(one.added for one in results.values()), 'trade')} of whole files added, and what was "
            "written of the last one; call it again to go on"
        )

    in_use = f"another import into {layout.data} is under way: wait for its end"
    with (
        on_interrupt(kept),
        open_archive.opened(layout, Disk(), alone=layout.locks / "import.lock", in_use=in_use) as archive,
    ):
        _import(archive, wanted, inside, results, prefer)
        _finish(inside, results, _apart(archive.coverage, _pairs(wanted, results)), as_json=as_json, dry_run=dry_run)


def _names(settings: Config, layout: Layout, members: Sequence[Member], said: Sequence[str]) -> NameBook:
    """Return the names that the archive, the user, and if that is not enough the exchange knows."""
    own = dict(names_said(said))
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


def _import(
    archive: TradeArchive,
    wanted: Sequence[Entry],
    inside: Contents,
    results: dict[str, MemberResult],
    prefer: Prefer | None,
) -> None:
    room = functools.partial(rim.room, archive.layout.data)
    by_layout = importers(archive, room=room, now_us=SystemClock().wall_ns() // 1000, prefer=prefer)
    segments = Segments(archive.layout, archive.disk, staging=archive.staging)
    total = sum(one.member.size for one in wanted)
    with _bar() as bar:
        task = bar.add_task("", total=total)
        for one in wanted:
            bar.update(task, description=one.pair)
            try:
                result = by_layout[one.detected.layout].member(one, functools.partial(bar.advance, task))
            except RecorderError as error:
                if not isinstance(error, UsageError | UnsoundFile):
                    raise
                inside.refused.append((str(one.member), str(error)))
                continue
            results[str(one.member)] = result
            now_us = SystemClock().wall_ns() // 1000
            detail: dict[str, Any] = {"file": one.member.file.name, "member": one.member.path or one.member.file.name}
            detail |= {"layout": one.detected.layout, "bytes": one.member.size, **result.detail()}
            noted = event(now_us, EventKind.IMPORTED, one.pair, **detail)
            segments.add(Branch(EVENTS), EVENTS.build([noted]), segment=None)
        for pair, importer in dict.fromkeys(
            (one.pair, by_layout[one.detected.layout]) for one in wanted if str(one.member) in results
        ):
            bar.update(task, description=f"{pair}: merging files")
            importer.tidy(pair)


def _pairs(wanted: Sequence[Entry], results: Mapping[str, MemberResult]) -> list[str]:
    """Return the pairs of which a member was imported: the files of others may not be sound."""
    return list(dict.fromkeys(one.pair for one in wanted if str(one.member) in results))


def _apart(coverage: Coverage, pairs: Sequence[str]) -> list[Apart]:
    found = []
    for pair in pairs:
        held: Spans = rim.undisturbed(functools.partial(coverage.spans, pair), f"the files of {pair}")
        if held.first is not None and held.last is not None:
            ids = held.last - held.first + 1 - held.count()
            found += [Apart(pair, ids)] if ids else []
    return found


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


def _finish(
    inside: Contents,
    results: Mapping[str, MemberResult],
    apart: Sequence[Apart],
    *,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Print the results. Raises typer.Exit with code 1 if rows differ, or a file was refused."""
    if as_json:
        import_report.print_json(inside, results, apart, dry_run=dry_run)
    else:
        import_report.print_results(inside, results, apart)
    if inside.refused or any(kind.count for one in results.values() for _, kind in one.problems):
        raise typer.Exit(1)
