"""Composition root: builds every object from the configuration and runs them in one TaskGroup.

Starting is always recovery: take the archive lock, cut and close the journal, load the ledger from footers and journal,
and only then send the first request. To stop: end the stream, commit the inbox, drain the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, Protocol

import aiohttp
import structlog

from recorder.archive import load_ledger, open_archive, quarantine, read_trades
from recorder.archive.check_readable import Guard
from recorder.archive.file_faults import diagnose
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.layout import Layout
from recorder.archive.parquet import looked_at_first
from recorder.archive.quarantine import Reason
from recorder.archive.segment_tables import SegmentTables, highest
from recorder.archive.trades import TradeArchive
from recorder.clock import Clock, SystemClock
from recorder.collectors.candles import CandleCollector
from recorder.collectors.connections import PAIRS_A_LINE, Connections
from recorder.collectors.exchange_status import ExchangeStatus, StatusPoller
from recorder.collectors.first_listing import first_listing
from recorder.collectors.pair_list import LISTING_S, SOON_S, PairList
from recorder.collectors.promises import Promises
from recorder.collectors.silent_pairs import SilentPairWatch
from recorder.collectors.trade_poll import PollCollector
from recorder.collectors.trade_stream import Listeners
from recorder.config import Config
from recorder.core.ledger import Ledger
from recorder.core.throttling import Pace
from recorder.core.trade_ids import Spans
from recorder.daemon.certify_days import CertifyDays
from recorder.daemon.clock_watch import ClockWatch
from recorder.daemon.config_reload import ConfigSource, LiveSettings, Reload, candles
from recorder.daemon.disk_space import DiskSpaceWatch
from recorder.daemon.heartbeat import Heartbeat, Parts
from recorder.daemon.maintenance import ROUND_S as UPKEEP_S
from recorder.daemon.maintenance import Maintenance
from recorder.daemon.reconcile_with_disk import Reconcile
from recorder.daemon.report_disk_usage import DiskUsage
from recorder.disk import Disk, undisturbed
from recorder.errors import ConfigError
from recorder.ingest.commit import Commit
from recorder.ingest.drain import Drainer
from recorder.ingest.drain_schedule import DrainSchedule
from recorder.ingest.parked_ids import ParkedIds, waiting
from recorder.ingest.quarantined_pairs import HealthyPairs, QuarantinedPairs, patiently
from recorder.ingest.renumbered_pairs import RenumberedPairs
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import records
from recorder.kraken.channels import TRADES
from recorder.net.http import Http, client_session, proxy_for
from recorder.net.rate_limit import AttemptLimit, SharedRateLimit
from recorder.net.websocket import dial
from recorder.ops import process_setup, start_message
from recorder.ops.metrics import Metrics
from recorder.ops.server import Face, serve
from recorder.ops.service_manager import Notifier
from recorder.repair.anchors import Anchors
from recorder.repair.catch_up import CatchUp
from recorder.repair.confirm_days import ConfirmDays
from recorder.repair.fetch_trades import Fetcher
from recorder.repair.gap_repair import Repair
from recorder.repair.id_jumps import FarIds
from recorder.runtime.context import Context
from recorder.runtime.exchange_client import Exchange, note_refusals
from recorder.runtime.inbox import Inbox
from recorder.runtime.notes import Notes
from recorder.runtime.waiting import first_of

THREADS: Final = 9
"""One blocking thread each for journal, drain, repair, upkeep, memory, reconcile, disk space, survey and reload."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals in seconds that are not configurable, and the pairs per connection; tests use smaller values."""

    upkeep_s: float = UPKEEP_S
    listing_s: float = LISTING_S
    listing_soon_s: float = SOON_S
    pairs_a_line: int = PAIRS_A_LINE


@dataclass(slots=True)
class Stop:
    """Requests to end a run: ``asked`` drains first, ``hurried`` leaves the drain to the next start."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)
    served: bool = False
    """Whether the exchange acknowledged a subscription or answered a poll while it ran."""

    def serve(self) -> None:
        """Note that it did."""
        self.served = True

    def signal(self) -> None:
        """Handle one signal: the first asks to stop, the second hurries."""
        if self.asked.is_set():
            self.hurried.set()
        self.asked.set()

    def on_signals(self) -> None:
        """Handle SIGTERM and SIGINT of this process from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.signal)


async def record(
    config: Config,
    stop: Stop,
    *,
    clock: Clock | None = None,
    disk: Disk | None = None,
    random: Random | None = None,
    rhythm: Intervals | None = None,
    source: ConfigSource | None = None,
) -> None:
    """Record until ``stop`` is requested. ``source`` is where ``config`` was read, to read it again on request.

    Raises ConfigError (a pair does not exist), ArchiveInUse, DiskError (also after an orderly end because the disk is
    full), StorageError. In every case the recorded data is on disk, and the next start continues from there.
    """
    clock, disk = clock or SystemClock(), disk or Disk()
    layout = Layout(config.archive.path.resolve())
    in_use = f"another recorder holds the archive {layout.data}: stop it first, or record elsewhere with --data"
    with (
        ThreadPoolExecutor(THREADS, "recorder") as threads,
        open_archive.opened(layout, disk, alone=layout.lock, in_use=in_use) as archive,
        contextlib.ExitStack() as opened,
    ):
        asyncio.get_running_loop().set_default_executor(threads)
        guard = Guard()
        opened.callback(guard.rest)
        opened.enter_context(looked_at_first(guard.look))
        above = await asyncio.to_thread(highest, layout)
        journal = Journal(layout.data, disk, staging=archive.staging, now_ns=clock.wall_ns(), above=above)
        opened.callback(journal.close)
        # Every thread must have finished with the journal and the staging folder before these are closed and removed.
        opened.callback(threads.shutdown)
        if journal.recovered:
            log.warning("cut a torn line", reason=str(journal.recovered))
        ledger, quarantined = Ledger(), QuarantinedPairs(layout)
        archive.promised = ledger.promise
        await patiently(clock, lambda: asyncio.to_thread(rebuild, ledger, archive, journal, quarantined))
        await asyncio.to_thread(guard.rest)
        await asyncio.to_thread(process_setup.release_memory)
        dice = random or Random()  # noqa: S311 -- spreads retries
        basis = _Foundation(disk, clock, dice, archive, journal, ledger, quarantined)
        await _run(config, stop, basis, rhythm or Intervals(), source or ConfigSource(lambda: config))


def rebuild(ledger: Ledger, archive: TradeArchive, journal: Journal, quarantined: QuarantinedPairs) -> None:
    """Rebuild ``ledger`` from closed segments, footers and events, its only sources.

    Pairs whose files cannot be trusted are added to ``quarantined``. Raises DiskAtFault, and DiskError if no single
    pair is the cause.
    """
    lines = (line for path in journal.closed() for line in segment.entries(path))
    loaded = load_ledger.load(ledger, archive.layout, records.claims(lines), coverage=archive.coverage)
    faults = {pair: diagnose(archive.layout, pair, error) for pair, error in loaded.damaged.items()}
    quarantined.found(faults, of=len(loaded.damaged) + len(loaded.rows))
    waiting = quarantine.ids(archive.layout, Reason.WAITING)
    quarantined.expect_rows(
        pair for pair, ids in waiting.items() if pair not in faults and not _holds(archive, pair, ids)
    )
    for finding in loaded.findings:
        log.error("events not read", file=str(finding.file), reason=finding.problem, remedy=finding.remedy)


def _holds(archive: TradeArchive, pair: str, ids: Spans) -> bool:
    held = undisturbed(lambda: archive.coverage.spans(pair), f"the files of {pair}")
    return all(held.covers(span) for span in ids)


class Task(Protocol):
    """A task that runs until it is cancelled, which may happen at any time."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Run the task."""
        ...


@dataclass(frozen=True, slots=True)
class _Foundation:
    """The basis of a run: the host's disk, clock and random numbers, and the archive, open for writing."""

    disk: Disk
    clock: Clock
    random: Random
    archive: TradeArchive
    journal: Journal
    ledger: Ledger
    quarantined: QuarantinedPairs


async def _run(config: Config, stop: Stop, basis: _Foundation, rhythm: Intervals, source: ConfigSource) -> None:
    """Record until ``stop`` is requested; nothing is recorded if that happens before the pairs are known."""
    layout, clock, metrics, inbox = basis.archive.layout, basis.clock, Metrics(), Inbox()
    notes, pace = Notes(inbox, clock), Pace(config.exchange.requests_per_second)
    metrics.pace.set_function(lambda: pace.per_s)
    pulse = Heartbeat(layout.data, inbox, clock=clock, metrics=metrics, notifier=Notifier())
    async with (
        client_session(proxy_for(config.exchange.rest_url, config.exchange.proxy)) as client,
        serve(config.ops, Face(metrics, pulse.state, pulse.about)),
    ):
        http = Http(
            client,
            config.exchange.rest_url,
            pace=pace,
            clock=clock,
            refused=note_refusals(notes, metrics),
            ended=pulse.ended,
            turns=SharedRateLimit(layout.turns, clock),
        )
        metrics.rest_wait.set_function(http.paused_s)
        pulse.asks(http.paused_s)
        context = Context(Exchange(http, notes, metrics=metrics), inbox, notes, metrics, clock)
        run = _Run(config, basis, context, pulse, client, pace=pace, rhythm=rhythm, source=source, stop=stop)
        await run.until_stopped()


class _Run:
    """One run: every object, created once, and the order in which tasks start and end."""

    def __init__(
        self,
        config: Config,
        basis: _Foundation,
        context: Context,
        pulse: Heartbeat,
        client: aiohttp.ClientSession,
        *,
        pace: Pace,
        rhythm: Intervals,
        source: ConfigSource,
        stop: Stop,
    ) -> None:
        self._config, self._basis, self._context, self._pulse, self._stop = config, basis, context, pulse, stop
        archive, ledger, clock = basis.archive, basis.ledger, basis.clock
        self._tables = SegmentTables(archive.layout, basis.disk, staging=archive.staging)
        self._listings = InstrumentArchive(self._tables)
        self._roster = roster = PairList(
            config.pairs,
            context,
            listing_s=rhythm.listing_s,
            soon_s=rhythm.listing_soon_s,
            last_id=lambda pair: ledger.of(pair).spans.last or 0,
        )
        pairs = roster.instruments
        self._sound = sound = HealthyPairs(pairs, basis.quarantined)
        basis.quarantined.measured(context.metrics)
        repair = Repair(
            ledger,
            Fetcher(ledger, archive, context.exchange, instruments=sound, clock=clock, metrics=context.metrics),
            context,
            instruments=sound,
            history_from_us=config.trades.backfill_from,
            earlier_names=roster.earlier_names,
            damaged=self._damaged,
        )
        self._hole_seen = repair.hole_seen
        self._commit = Commit(
            basis.journal,
            ledger,
            context,
            sync_every_s=config.journal.sync_every,
            hole_seen=repair.hole_seen,
            parking=ParkedIds(ledger, functools.partial(waiting, archive.layout)),
        )
        reconcile = Reconcile(
            ledger,
            archive,
            basis.journal,
            context,
            planner=repair,
            drain_soon=self._commit.drain_due,
            quarantined=basis.quarantined,
            look_s=rhythm.upkeep_s,
        )
        drainer = self._drainer()
        self._drain = DrainSchedule(
            drainer,
            basis.journal,
            self._commit,
            every_s=config.drain_every_s,
            pairs=pairs,
            drained=reconcile.drained,
            clock=clock,
        )
        upkeep = Maintenance(
            archive,
            basis.disk,
            context,
            keep_s=config.journal.keep,
            now_s=pulse.now_s,
            round_s=rhythm.upkeep_s,
            quarantined=basis.quarantined,
        )
        self._space = DiskSpaceWatch(
            archive.layout,
            basis.disk,
            context,
            history_waits=lambda waits: repair.hold_history(waits=waits),
            full=stop.asked.set,
            raw=upkeep.raw,
        )
        ohlc = CandleCollector(
            context, instruments=pairs, wanted=candles(config), unknown=lambda _: roster.refresh_soon()
        )
        live = LiveSettings(pace, ohlc, self._commit, upkeep, drainer, self._drain, repair)
        roster.tell(ohlc, self._drain, repair)
        self._tasks: list[Task] = [
            roster,
            repair,
            upkeep,
            reconcile,
            self._space,
            CertifyDays(ledger, archive, context, now_s=pulse.now_s, round_s=rhythm.upkeep_s),
            DiskUsage(archive.layout.data, self._space, context),
            RenumberedPairs(
                ledger, archive, context, instruments=pairs, settled=reconcile.drained, round_s=rhythm.upkeep_s
            ),
            pulse,
            ohlc,
            Reload(config, source, roster, live.apply),
            *self._collectors(client, rhythm.pairs_a_line),
        ]

    def _drainer(self) -> Drainer:
        return Drainer(
            self._basis.journal,
            self._basis.archive,
            self._tables,
            keep_raw=self._config.journal.keep > 0,
            latest_s=self._pulse.latest_s,
            metrics=self._context.metrics,
            told=self._context.notes.told,
            quarantined=self._basis.quarantined,
        )

    def _damaged(self, pair: str, error: Exception) -> None:
        layout, ledger = self._basis.archive.layout, self._basis.ledger
        self._basis.quarantined.found({pair: diagnose(layout, pair, error)}, of=sum(1 for _ in ledger))

    def _collectors(self, client: aiohttp.ClientSession, pairs_a_line: int) -> list[Task]:
        """Return the tasks that request and receive trades, and subscribe them to changes of the pair list."""
        config, ledger, context, roster = self._config, self._basis.ledger, self._context, self._roster
        pairs, sound = roster.instruments, self._sound
        promises = Promises(
            ledger,
            context,
            now_s=self._pulse.now_s,
            latest_s=self._pulse.latest_s,
            earlier_names=roster.earlier_names,
            recorded=self._recorded_here,
            served=self._stop.serve,
        )
        poll = PollCollector(
            ledger,
            context,
            instruments=pairs,
            promises=promises,
            refresh_soon=roster.refresh_soon,
            everything=not config.trades.stream,
            served=self._stop.serve,
            rests=self._basis.quarantined.is_paused,
        )
        standing = ExchangeStatus(context.notes)
        tail = CatchUp(ledger, context, instruments=sound)
        lines = Connections(
            pairs,
            lambda: dial(client, config.exchange.ws_url),
            context,
            listeners=Listeners(promises, poll, standing, roster.refresh_soon),
            attempts=AttemptLimit(self._basis.archive.layout.attempts, context.clock),
            random=self._basis.random,
            pairs_a_line=pairs_a_line,
            channel=replace(TRADES, params=config.exchange.subscribe_params),
        )
        roster.tell(poll, lines)
        confirm = ConfirmDays(ledger, tail, instruments=sound, now_s=self._pulse.now_s, clock=context.clock)
        far_ids = FarIds(ledger, tail, instruments=sound, clock=context.clock, hole_seen=self._hole_seen)
        anchors = Anchors(ledger, context, instruments=sound, promised=promises.made_some, tail=tail)
        always: list[Task] = [poll, StatusPoller(context, standing), confirm, anchors, ClockWatch(context), far_ids]
        if not config.trades.stream:
            return always
        self._pulse.listen(lines.silent_s, lines.wait_s)
        return [*always, lines, SilentPairWatch(ledger, context, instruments=sound, tail=tail, stream=lines)]

    def _recorded_here(self, pair: str, trade_id: int) -> bool:
        """Return whether an archived trade came from the exchange; False while the pair's files cannot be trusted."""
        if self._basis.quarantined.is_paused(pair):
            return False
        return read_trades.recorded(self._basis.archive.coverage, pair, trade_id)

    async def until_stopped(self) -> None:
        """Record until a stop is requested, then end each task in the order in which a trade passes through them."""
        listed, mistake = False, None
        async with asyncio.TaskGroup() as group:
            # Commit from the start: notes written before the pair list is known are journalled too, however long that
            # takes.
            committing = group.create_task(self._commit.run())
            try:
                listed = await first_listing(self._roster, self._context, self._listings, stop=self._stop.asked)
            except ConfigError as error:  # raised below, so that it is not wrapped in an exception group
                mistake = error
            draining = await self._recorded(group) if listed else None
            committing.cancel()
            await asyncio.wait([committing])
            await self._commit.flush()
            if draining is not None:
                self._drain.stop()
                await first_of(asyncio.wait([draining]), self._stop.hurried.wait())
                draining.cancel()
        if mistake is not None:
            raise mistake
        self._space.check()
        if listed:
            log.info("stopped", pairs=len(self._roster.instruments))

    async def _recorded(self, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        """Run the recording tasks until a stop is requested; return the drain task, which continues."""
        self._introduce()
        interruptible = [group.create_task(task.run()) for task in self._tasks]
        draining = group.create_task(self._drain.run())
        await self._stop.asked.wait()
        self._pulse.stopping()
        log.info("stopping: draining the journal; a second signal leaves that to the next start")
        for running in interruptible:
            running.cancel()
        await asyncio.wait(interruptible)
        return draining

    def _introduce(self) -> None:
        """Log what is recorded from now on, and pass it to the metrics and the service manager."""
        pairs, ledger = self._roster.instruments, self._basis.ledger
        self._context.metrics.watch(ledger, pairs)
        for said, told in start_message.lines(self._config, self._basis.archive.layout.data, ledger, list(pairs)):
            log.info(said, **told)
        self._pulse.begun(Parts(pairs, self._commit, self._drain, self._space, self._basis.quarantined))
