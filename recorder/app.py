"""Composition root: builds every object from the configuration and runs them in one TaskGroup.

Starting is always recovery: take the archive lock, cut and close the journal, load the ledger from footers and journal,
and only then send the first request. To stop: end the stream, commit the inbox, drain the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
from recorder.collectors.connections import PAIRS_PER_CONNECTION, Connections
from recorder.collectors.exchange_status import ExchangeStatus, StatusPoller
from recorder.collectors.first_listing import first_listing
from recorder.collectors.pair_list import LISTING_S, SOON_S, PairList
from recorder.collectors.promises import Promises
from recorder.collectors.silent_pairs import SilentPairWatch
from recorder.collectors.stream import Listeners
from recorder.collectors.trade_feed import TradeFeed
from recorder.collectors.trade_poll import PollCollector
from recorder.config import Config
from recorder.core.ledger import Ledger
from recorder.core.throttling import Pace
from recorder.core.trade_ids import Spans
from recorder.daemon.certify_days import CertifyDays
from recorder.daemon.child_process import ChildProcess
from recorder.daemon.clock_watch import ClockWatch
from recorder.daemon.config_reload import ConfigSource, LiveSettings, Reload, candles
from recorder.daemon.disk_space import DiskSpaceWatch
from recorder.daemon.heartbeat import Heartbeat, Parts
from recorder.daemon.maintenance import ROUND_S as UPKEEP_S
from recorder.daemon.maintenance import Maintenance
from recorder.daemon.market_process import MarketProcess, leaves_work
from recorder.daemon.reconcile_with_disk import Reconcile
from recorder.daemon.report_disk_usage import DiskUsage
from recorder.daemon.status_line import StatusLine
from recorder.disk import Disk, undisturbed
from recorder.errors import ConfigError
from recorder.ingest.commit import Commit
from recorder.ingest.drain import Drainer
from recorder.ingest.drain_schedule import DrainSchedule
from recorder.ingest.durable_trades import DurableTrades
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
from recorder.page.daemon_overview import DaemonOverview
from recorder.page.opened import address_of, limits_for, page_over
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
from recorder.runtime.stop import Stop
from recorder.runtime.waiting import first_of

THREADS: Final = 9
"""One blocking thread each for journal, drain, repair, maintenance, memory, reconcile, disk space and usage, reload."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals in seconds that are not configurable, and the pairs per connection; tests use smaller values."""

    maintenance_s: float = UPKEEP_S
    listing_s: float = LISTING_S
    listing_soon_s: float = SOON_S
    pairs_per_connection: int = PAIRS_PER_CONNECTION


async def record(
    config: Config,
    stop: Stop,
    *,
    clock: Clock | None = None,
    disk: Disk | None = None,
    random: Random | None = None,
    intervals: Intervals | None = None,
    source: ConfigSource | None = None,
    show: Callable[[str], None] | None = None,
) -> None:
    """Record until ``stop`` is requested. ``source`` is where ``config`` was read, to read it again on request.

    ``show`` gets a line about the recording once a second, and must not block.

    Raises ConfigError (a pair does not exist), ArchiveInUse, DiskError (also after an orderly end because the disk is
    full), StorageError. In every case the recorded data is on disk, and the next start continues from there.
    """
    clock, disk = clock or SystemClock(), disk or Disk()
    layout = Layout(config.archive.path.resolve())
    in_use = f"another recorder holds the archive {layout.data}: stop it first, or record elsewhere with --data"
    with (
        ThreadPoolExecutor(THREADS, "recorder") as threads,
        open_archive.opened(layout, disk, alone=layout.lock, in_use=in_use, journals=True) as archive,
        contextlib.ExitStack() as opened,
    ):
        asyncio.get_running_loop().set_default_executor(threads)
        guard = Guard()
        opened.callback(guard.rest)
        opened.enter_context(looked_at_first(guard.look))
        highest_number = await asyncio.to_thread(highest, layout)
        journal = Journal(
            layout.data, disk, staging=archive.staging, now_ns=clock.wall_ns(), above=highest_number, archive=archive.id
        )
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
        generator = random or Random()  # noqa: S311 -- spreads retries
        durable = DurableTrades(clock)
        foundation = _Foundation(disk, clock, generator, archive, journal, ledger, quarantined, durable)
        await _run(
            config, stop, foundation, intervals or Intervals(), source or ConfigSource(lambda: config), show=show
        )


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


def account_of(config: Config, context: Context) -> ChildProcess:
    """Return what runs the process that records an account; loaded only for it.

    The key may be in the environment of this process too.
    """
    process_setup.no_core()
    from recorder.daemon.account_process import AccountProcess  # noqa: PLC0415 -- see above

    return AccountProcess(config, context)


class Task(Protocol):
    """A task that runs until it is cancelled, which may happen at any time."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Run the task."""
        ...


@dataclass(frozen=True, slots=True)
class _Foundation:
    """The basis of a run: the host's disk, clock and random numbers, the archive, open for writing, and its state."""

    disk: Disk
    clock: Clock
    random: Random
    archive: TradeArchive
    journal: Journal
    ledger: Ledger
    quarantined: QuarantinedPairs
    durable: DurableTrades


async def _run(
    config: Config,
    stop: Stop,
    foundation: _Foundation,
    intervals: Intervals,
    source: ConfigSource,
    *,
    show: Callable[[str], None] | None,
) -> None:
    """Record until ``stop`` is requested; nothing is recorded if that happens before the pairs are known."""
    layout, clock, metrics, inbox = foundation.archive.layout, foundation.clock, Metrics(), Inbox()
    notes, pace = Notes(inbox, clock), Pace(config.exchange.requests_per_second)
    metrics.pace.set_function(lambda: pace.per_s)
    heartbeat = Heartbeat(layout.data, inbox, clock=clock, metrics=metrics, notifier=Notifier())
    overview = DaemonOverview(heartbeat, foundation.ledger, foundation.durable, notes, pace=pace, clock=clock)
    async with (
        client_session(proxy_for(config.exchange.rest_url, config.exchange.proxy)) as client,
        page_over(overview, layout.data, config, clock) as page,
        serve(config.ops, Face(metrics, heartbeat.state, heartbeat.about), limits_for(page), more=page),
    ):
        if page is not None:
            log.info("page", address=address_of(config.ops))
        http = Http(
            client,
            config.exchange.rest_url,
            pace=pace,
            clock=clock,
            refused=note_refusals(notes, metrics),
            ended=heartbeat.ended,
            rate_limit=SharedRateLimit(layout.rate_limit, clock),
        )
        metrics.rest_wait.set_function(http.paused_s)
        heartbeat.watch_requests(http.paused_s)
        context = Context(Exchange(http, notes, metrics=metrics), inbox, notes, metrics, clock)
        run = _Run(
            config,
            foundation,
            context,
            heartbeat,
            client,
            pace=pace,
            intervals=intervals,
            source=source,
            stop=stop,
        )
        if show is not None:
            run.show(show)
        await run.until_stopped()


class _Run:
    """One run: every object, created once, and the order in which tasks start and end."""

    def __init__(
        self,
        config: Config,
        foundation: _Foundation,
        context: Context,
        heartbeat: Heartbeat,
        client: aiohttp.ClientSession,
        *,
        pace: Pace,
        intervals: Intervals,
        source: ConfigSource,
        stop: Stop,
    ) -> None:
        self._config, self._foundation, self._context, self._heartbeat, self._stop = (
            config,
            foundation,
            context,
            heartbeat,
            stop,
        )
        archive, ledger, clock = foundation.archive, foundation.ledger, foundation.clock
        self._tables = SegmentTables(archive.layout, foundation.disk, staging=archive.staging)
        self._listings = InstrumentArchive(self._tables)
        self._pair_list = pair_list = PairList(
            config.pairs,
            context,
            listing_s=intervals.listing_s,
            soon_s=intervals.listing_soon_s,
            last_id=lambda pair: ledger.of(pair).spans.last or 0,
        )
        pairs = pair_list.instruments
        self._healthy = healthy = HealthyPairs(pairs, foundation.quarantined)
        foundation.quarantined.measured(context.metrics)
        repair = Repair(
            ledger,
            Fetcher(ledger, archive, context.exchange, instruments=healthy, clock=clock, metrics=context.metrics),
            context,
            instruments=healthy,
            history_from_us=config.trades.backfill_from,
            earlier_names=pair_list.earlier_names,
            damaged=self._damaged,
        )
        self._hole_seen = repair.hole_seen
        self._commit = Commit(
            foundation.journal,
            ledger,
            context,
            sync_every_s=config.journal.sync_every,
            hole_seen=repair.hole_seen,
            parking=ParkedIds(ledger, functools.partial(waiting, archive.layout)),
            durable=foundation.durable.take,
        )
        reconcile = Reconcile(
            ledger,
            archive,
            foundation.journal,
            context,
            planner=repair,
            drain_soon=self._commit.drain_due,
            quarantined=foundation.quarantined,
            look_s=intervals.maintenance_s,
        )
        drainer = self._drainer()
        self._drain = DrainSchedule(
            drainer,
            foundation.journal,
            self._commit,
            every_s=config.drain_every_s,
            pairs=pairs,
            drained=reconcile.drained,
            clock=clock,
        )
        maintenance = Maintenance(
            archive,
            foundation.disk,
            context,
            keep_s=config.journal.keep,
            now_s=heartbeat.now_s,
            round_s=intervals.maintenance_s,
            quarantined=foundation.quarantined,
        )
        self._market = market = MarketProcess(config, context, has_work=functools.partial(leaves_work, archive.layout))
        heartbeat.watch_quotes(lambda: market.about)
        self._account = account = account_of(config, context) if config.account.record else None
        heartbeat.watch_account(lambda: None if account is None else account.about)

        def spare(waits: bool) -> None:  # noqa: FBT001 -- the watch's own word
            market.hold(waits=waits)
            repair.hold_history(waits=waits)

        self._disk_space = DiskSpaceWatch(
            archive.layout,
            foundation.disk,
            context,
            spare=spare,
            spare_books=lambda waits: market.hold_books(waits=waits),
            full=stop.requested.set,
            raw=maintenance.raw,
        )
        candle_collector = CandleCollector(
            context, instruments=pairs, wanted=candles(config), unknown=lambda _: pair_list.refresh_soon()
        )
        live = LiveSettings(pace, candle_collector, self._commit, maintenance, drainer, self._drain, repair, market)
        pair_list.subscribe(candle_collector, self._drain, repair)
        self._tasks: list[Task] = [
            pair_list,
            repair,
            maintenance,
            reconcile,
            self._disk_space,
            CertifyDays(ledger, archive, context, now_s=heartbeat.now_s, round_s=intervals.maintenance_s),
            DiskUsage(archive.layout.data, self._disk_space, context),
            RenumberedPairs(
                ledger, archive, context, instruments=pairs, settled=reconcile.drained, round_s=intervals.maintenance_s
            ),
            heartbeat,
            candle_collector,
            Reload(config, source, pair_list, live.apply),
            *self._collectors(client, intervals.pairs_per_connection),
        ]

    def _drainer(self) -> Drainer:
        return Drainer(
            self._foundation.journal,
            self._foundation.archive,
            self._tables,
            keep_raw=self._config.journal.keep > 0,
            latest_s=self._heartbeat.latest_s,
            metrics=self._context.metrics,
            report_once=self._context.notes.report_once,
            quarantined=self._foundation.quarantined,
        )

    def _damaged(self, pair: str, error: Exception) -> None:
        layout, ledger = self._foundation.archive.layout, self._foundation.ledger
        self._foundation.quarantined.found({pair: diagnose(layout, pair, error)}, of=sum(1 for _ in ledger))

    def _collectors(self, client: aiohttp.ClientSession, pairs_per_connection: int) -> list[Task]:
        """Return the tasks that request and receive trades, and subscribe them to changes of the pair list."""
        config, ledger, context, pair_list = self._config, self._foundation.ledger, self._context, self._pair_list
        pairs, healthy = pair_list.instruments, self._healthy
        promises = Promises(
            ledger,
            context,
            now_s=self._heartbeat.now_s,
            latest_s=self._heartbeat.latest_s,
            earlier_names=pair_list.earlier_names,
            recorded=self._is_recorded_here,
            served=self._stop.serve,
        )
        poll = PollCollector(
            ledger,
            context,
            instruments=pairs,
            promises=promises,
            refresh_soon=pair_list.refresh_soon,
            everything=not config.trades.stream,
            served=self._stop.serve,
            is_paused=self._foundation.quarantined.is_paused,
        )
        exchange_status = ExchangeStatus(context.notes)
        catch_up = CatchUp(ledger, context, instruments=healthy)
        feed = TradeFeed(context.metrics, replace(TRADES, params=config.exchange.subscribe_params))
        connections = Connections(
            pairs,
            lambda: dial(client, config.exchange.ws_url),
            context,
            feed=feed,
            listeners=Listeners(promises, poll, exchange_status, pair_list.refresh_soon),
            attempts=AttemptLimit(self._foundation.archive.layout.attempts, context.clock),
            random=self._foundation.random,
            pairs_per_connection=pairs_per_connection,
        )
        pair_list.subscribe(poll, connections)
        confirm_days = ConfirmDays(
            ledger, catch_up, instruments=healthy, now_s=self._heartbeat.now_s, clock=context.clock
        )
        far_ids = FarIds(ledger, catch_up, instruments=healthy, clock=context.clock, hole_seen=self._hole_seen)
        anchors = Anchors(ledger, context, instruments=healthy, promised=promises.made_some, catch_up=catch_up)
        always: list[Task] = [
            poll,
            StatusPoller(context, exchange_status),
            confirm_days,
            anchors,
            ClockWatch(context),
            far_ids,
        ]
        if not config.trades.stream:
            return always
        self._heartbeat.watch_stream(connections.silent_s, connections.wait_s)
        return [
            *always,
            connections,
            SilentPairWatch(ledger, context, instruments=healthy, catch_up=catch_up, stream=connections, feed=feed),
        ]

    def _is_recorded_here(self, pair: str, trade_id: int) -> bool:
        """Return whether an archived trade came from the exchange; False while the pair's files cannot be trusted."""
        if self._foundation.quarantined.is_paused(pair):
            return False
        return read_trades.recorded(self._foundation.archive.coverage, pair, trade_id)

    def show(self, show: Callable[[str], None]) -> None:
        """Show a line about the recording from its beginning on."""
        ledger, pairs, problems = self._foundation.ledger, self._pair_list.instruments, self._heartbeat.problems
        self._tasks.append(StatusLine(ledger, pairs, problems, clock=self._foundation.clock, show=show))

    async def until_stopped(self) -> None:
        """Record until a stop is requested, then end each task in the order in which a trade passes through them."""
        listed, mistake = False, None
        async with asyncio.TaskGroup() as group:
            # Commit from the start: notes written before the pair list is known are journalled too, however long that
            # takes.
            committing = group.create_task(self._commit.run())
            try:
                listed = await first_listing(self._pair_list, self._context, self._listings, stop=self._stop.requested)
            except ConfigError as error:  # raised below, so that it is not wrapped in an exception group
                mistake = error
            draining = await self._record_until_stopped(group) if listed else []
            committing.cancel()
            await asyncio.wait([committing])
            await self._commit.flush()
            if draining:
                self._drain.stop()
                await first_of(asyncio.wait(draining), self._stop.hurried.wait())
                for one in draining:
                    one.cancel()
        if mistake is not None:
            raise mistake
        self._disk_space.check()
        if listed:
            log.info("stopped", pairs=len(self._pair_list.instruments))

    async def _record_until_stopped(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Run the recording tasks until a stop is requested; return the tasks that drain, which continue."""
        self._announce()
        interruptible = [group.create_task(task.run()) for task in self._tasks]
        draining = group.create_task(self._drain.run())
        beside = [group.create_task(self._market.run())]
        if self._account is not None:
            beside.append(group.create_task(self._account.run()))
        await self._stop.requested.wait()
        self._market.stop()
        if self._account is not None:
            self._account.stop()
        self._heartbeat.stopping()
        log.info("stopping: draining the journal; a second signal leaves that to the next start")
        for running in interruptible:
            running.cancel()
        await asyncio.wait(interruptible)
        return [draining, *beside]

    def _announce(self) -> None:
        """Log what is recorded from now on, and pass it to the metrics and the service manager."""
        pairs, ledger = self._pair_list.instruments, self._foundation.ledger
        self._context.metrics.watch(ledger, pairs)
        for event, fields in start_message.lines(
            self._config, self._foundation.archive.layout.data, ledger, list(pairs)
        ):
            log.info(event, **fields)
        self._heartbeat.recording(
            Parts(pairs, self._commit, self._drain, self._disk_space, self._foundation.quarantined)
        )
