"""The process beside the recorder that records quotes, as ``python -m recorder.market``: its composition.

It has connections, a journal, a drain and upkeep of its own, and shares with the recorder only the archive's folder:
the locks of tables, and the limits of requests and attempts to connect. Nothing that happens to it happens to trades.

The recorder starts it, and tells it its configuration by standard input (``daemon/child_messages.py``). SIGTERM stops
it in order: sessions end, the journal is drained. A second one, or the end of standard input, leaves the drain to the
next start. If the recorder dies, so does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

import aiohttp
import structlog

from recorder.archive import open_archive
from recorder.archive.datasets import MARKET_JOURNAL, QUOTE_SESSIONS, QUOTES, Dataset, written_by
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.layout import Layout
from recorder.archive.segment_tables import SegmentTables, highest
from recorder.archive.trades import TradeArchive
from recorder.clock import Clock, SystemClock
from recorder.collectors import quote_feed, quote_forecast
from recorder.collectors.connections import Connections
from recorder.collectors.first_listing import first_listing
from recorder.collectors.pair_list import PairList
from recorder.collectors.quote_feed import QuoteFeed
from recorder.config import Config
from recorder.core.ledger import Ledger
from recorder.core.throttling import Pace
from recorder.daemon import child_messages
from recorder.daemon.child_messages import State
from recorder.daemon.maintenance import Maintenance
from recorder.disk import Disk
from recorder.errors import ConfigError, ExchangeError, RecorderError
from recorder.ingest.commit import Commit
from recorder.ingest.drain import Drainer
from recorder.ingest.drain_schedule import DrainSchedule
from recorder.ingest.parked_ids import ParkedIds
from recorder.journal.journal import Journal
from recorder.kraken import channels, rest_api
from recorder.net.http import Http, HttpAnswer, client_session, proxy_for
from recorder.net.rate_limit import AttemptLimit, SharedRateLimit
from recorder.net.websocket import dial
from recorder.ops import log as logs
from recorder.ops import process_setup
from recorder.ops.exchange_clock import ConfirmedTime
from recorder.ops.metrics import Metrics
from recorder.runtime.context import Context
from recorder.runtime.exchange_client import Exchange, note_refusals
from recorder.runtime.inbox import Inbox
from recorder.runtime.notes import Notes
from recorder.runtime.stop import Stop
from recorder.runtime.waiting import first_of

THREADS: Final = 4
"""One blocking thread each for journal, drain, upkeep and forecast."""
FORECAST_S: Final = 10.0
"""Recording begins after this time in any case."""
CONFIRM_S: Final = 60.0
"""Files are maintained after this time in any case; then no row is old enough to be removed."""
STATE_S: Final = 5.0
"""Interval of states: a scraper of the recorder's metrics looks every 15 s or so."""

log = structlog.get_logger()


@dataclass(slots=True)
class Report:
    """What is known of a run from outside, from its beginning on."""

    pairs: Mapping[str, object] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)

    def state(self) -> State:
        """Return the current state."""
        return State(len(self.pairs), self.metrics.text_beside("market"))


async def record(
    config: Config,
    stop: Stop,
    changes: asyncio.Queue[Config],
    report: Report,
    *,
    clock: Clock | None = None,
    disk: Disk | None = None,
    random: Random | None = None,
) -> None:
    """Record quotes until ``stop`` is requested, with each configuration of ``changes`` from when it comes.

    Without pairs, what an earlier run has left in the journal is archived, and the files are maintained once.
    Raises ConfigError (a pair does not
    exist), ArchiveInUse, DiskError, StorageError; what was recorded is on disk then.
    """
    clock, disk = clock or SystemClock(), disk or Disk()
    layout = Layout(config.archive.path.resolve())
    with (
        ThreadPoolExecutor(THREADS, "market") as threads,
        open_archive.opened(
            layout,
            disk,
            alone=layout.journal_lock(MARKET_JOURNAL),
            in_use=f"another process records quotes into {layout.data}",
            tables=written_by(MARKET_JOURNAL),
        ) as archive,
        contextlib.ExitStack() as opened,
    ):
        asyncio.get_running_loop().set_default_executor(threads)
        above = await asyncio.to_thread(highest, layout, MARKET_JOURNAL)
        journal = Journal(
            layout.data,
            disk,
            staging=archive.staging,
            now_ns=clock.wall_ns(),
            above=above,
            archive=archive.id,
            journal=MARKET_JOURNAL,
        )
        opened.callback(journal.close)
        opened.callback(threads.shutdown)  # before the journal is closed
        if journal.recovered:
            log.warning("cut a torn line", reason=str(journal.recovered))
        async with client_session(proxy_for(config.exchange.rest_url, config.exchange.proxy)) as client:
            foundation = _Foundation(disk, clock, random or Random(), archive, journal)  # noqa: S311 -- spreads retries
            run = _Run(config, foundation, client, report, stop)
            await run.until_stopped(changes)


@dataclass(frozen=True, slots=True)
class _Foundation:
    """The basis of a run: the host's disk, clock and random numbers, and the archive, open for writing."""

    disk: Disk
    clock: Clock
    random: Random
    archive: TradeArchive
    journal: Journal


class _Run:
    """One run: every object, created once, and the order in which tasks start and end."""

    def __init__(
        self, config: Config, foundation: _Foundation, client: aiohttp.ClientSession, report: Report, stop: Stop
    ) -> None:
        archive, clock, disk = foundation.archive, foundation.clock, foundation.disk
        self._config, self._stop, self._clock, self._metrics = config, stop, clock, report.metrics
        self._vouched = vouched = ConfirmedTime(clock)
        self._inbox = inbox = Inbox()
        notes, self._pace = Notes(inbox, clock), Pace(config.exchange.requests_per_second)
        http = Http(
            client,
            config.exchange.rest_url,
            pace=self._pace,
            clock=clock,
            refused=note_refusals(notes, report.metrics),
            ended=self._answered,
            rate_limit=SharedRateLimit(archive.layout.rate_limit, clock),
        )
        exchange = Exchange(http, notes, metrics=report.metrics)
        self._context = context = Context(exchange, inbox, notes, report.metrics, clock)
        tables = SegmentTables(archive.layout, disk, staging=archive.staging, journal=MARKET_JOURNAL)
        self._listings = InstrumentArchive(tables)
        self._pair_list = pair_list = PairList(config.quotes.pairs, context, key="quotes.pairs", keeps=False)
        report.pairs = pair_list.instruments
        ledger = Ledger()  # stays empty: quotes have no ids
        self._commit = Commit(
            foundation.journal,
            ledger,
            context,
            sync_every_s=config.journal.sync_every,
            hole_seen=lambda: None,
            parking=ParkedIds(ledger, lambda _: ()),
        )
        self._drainer = Drainer(
            foundation.journal,
            archive,
            tables,
            keep_raw=config.journal.keep > 0,
            latest_s=vouched.latest_s,
            metrics=report.metrics,
            report_once=notes.report_once,
        )
        self._drain = DrainSchedule(
            self._drainer,
            foundation.journal,
            self._commit,
            every_s=config.drain_every_s,
            pairs=pair_list.instruments,
            drained=lambda _: None,
            clock=clock,
        )
        self._maintenance = Maintenance(
            archive,
            disk,
            context,
            keep_s=config.journal.keep,
            now_s=vouched.now_s,
            of=MARKET_JOURNAL,
            keep_rows_s=_kept(config),
        )
        channel = channels.QUOTES
        channel = replace(channel, params={**channel.params, **config.exchange.subscribe_params})
        self._connections = Connections(
            pair_list.instruments,
            lambda: dial(client, config.exchange.ws_url),
            context,
            feed=QuoteFeed(clock, channel),
            listeners=quote_feed.listeners(pair_list.refresh_soon),
            attempts=AttemptLimit(archive.layout.attempts, clock),
            random=foundation.random,
        )
        pair_list.subscribe(self._connections, self._drain)

    def _answered(self, request: rest_api.Request, ended: HttpAnswer | ExchangeError) -> None:
        self._metrics.requested(request.path, ended if isinstance(ended, ExchangeError) else None)
        if isinstance(ended, HttpAnswer) and ended.date_s is not None:
            self._vouched.take(ended.date_s)

    async def until_stopped(self, changes: asyncio.Queue[Config]) -> None:
        """Record until a stop is requested, then end each task in the order in which a quote passes through them."""
        mistake = None
        async with asyncio.TaskGroup() as group:
            committing = group.create_task(self._commit.run())
            draining = group.create_task(self._drain.run())
            try:
                if self._config.quotes.pairs:
                    await self._record(group, changes)
                else:
                    await self._maintain_once(group)
            except ConfigError as error:  # raised below, so that it is not wrapped in an exception group
                mistake = error
            committing.cancel()
            await asyncio.wait([committing])
            await self._commit.flush()
            self._drain.stop()
            await first_of(asyncio.wait([draining]), self._stop.hurried.wait())
            draining.cancel()
        if mistake is not None:
            raise mistake

    async def _maintain_once(self, group: asyncio.TaskGroup) -> None:
        """Maintain the files, unless a stop is requested before."""
        if any(_kept(self._config).values()):
            await first_of(self._confirm_time(), self._clock.sleep(CONFIRM_S), self._stop.requested.wait())
        maintaining = group.create_task(self._maintenance.round())
        await first_of(asyncio.wait([maintaining]), self._stop.requested.wait())
        maintaining.cancel()
        await asyncio.wait([maintaining])

    async def _confirm_time(self) -> None:
        """Make a request, whose answer confirms what time it is: without that nothing is old."""
        with contextlib.suppress(ExchangeError):
            await self._context.exchange.request(rest_api.system_status(), bytes)

    async def _record(self, group: asyncio.TaskGroup, changes: asyncio.Queue[Config]) -> None:
        """Run the recording tasks until a stop is requested."""
        if not await first_listing(self._pair_list, self._context, self._listings, stop=self._stop.requested):
            return
        pairs = self._pair_list.instruments
        # Raced, because throttling may make it wait for minutes, and quotes cannot be fetched later.
        asking = quote_forecast.announce(self._context.exchange, list(pairs.values()))
        await first_of(asking, self._clock.sleep(FORECAST_S), self._stop.requested.wait())
        log.info("recording quotes", pairs=len(pairs))
        running = [
            group.create_task(one)
            for one in (
                self._connections.run(),
                self._pair_list.run(),
                self._maintenance.run(),
                self._follow(changes),
            )
        ]
        await self._stop.requested.wait()
        for one in running:
            one.cancel()
        await asyncio.wait(running)

    async def _follow(self, changes: asyncio.Queue[Config]) -> None:
        """Apply each new configuration, or with a mistake in its names nothing of it."""
        while True:
            config = await changes.get()
            try:
                await self._pair_list.rename(config.quotes.pairs)
            except ConfigError as error:
                log.error("quotes.pairs not applied; recording continues unchanged", reason=str(error))
            else:
                self._pace.set_rate(config.exchange.requests_per_second)
                self._commit.sync_every_s = config.journal.sync_every
                self._drainer.keep_raw = config.journal.keep > 0
                self._drain.want(config.drain_every_s)
                self._maintenance.keep_rows_s = _kept(config)


def _kept(config: Config) -> dict[Dataset, float | None]:
    """Return for how many seconds the rows of each table are kept; None is forever."""
    return dict.fromkeys((QUOTES, QUOTE_SESSIONS), config.quotes.keep)


async def _serve() -> None:
    """Record for the parent: take configurations from standard input, and tell states on standard output."""
    loop, stop, changes, report = asyncio.get_running_loop(), Stop(), asyncio.Queue[Config](), Report()
    stop.on_signals()
    commands = asyncio.StreamReader(limit=child_messages.LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    states, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    first = await commands.readline()
    if not first:
        return
    beside = [
        asyncio.create_task(listen(commands, changes, stop)),
        asyncio.create_task(_tell(states, report)),
    ]
    try:
        await record(child_messages.decode_config(first), stop, changes, report)
    finally:
        for one in beside:
            one.cancel()
        await asyncio.wait(beside)


async def listen(commands: asyncio.StreamReader, changes: asyncio.Queue[Config], stop: Stop) -> None:
    """Pass on each configuration that comes; once none can come any more, stop without a drain."""
    while line := await commands.readline():
        changes.put_nowait(child_messages.decode_config(line))
    stop.requested.set()  # the parent is gone
    stop.hurried.set()


async def _tell(states: asyncio.WriteTransport, report: Report) -> None:
    while True:
        if not states.get_write_buffer_size():  # otherwise the parent does not read, and must not hold us up
            states.write(child_messages.encode_state(report.state()))
        await asyncio.sleep(STATE_S)


def main() -> None:
    """Run the process: an error becomes a line of the log, and its exit code."""
    process_setup.end_with_parent()
    process_setup.prepare()
    process_setup.give_way()
    logs.configure("json")
    try:
        asyncio.run(_serve())
    except Exception as error:
        first = _first(error)
        if not isinstance(first, RecorderError):
            raise
        log.error("quotes are not recorded", reason=str(first))
        sys.exit(first.exit_code)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


if __name__ == "__main__":
    main()
