"""The process beside the recorder that records quotes and books, as ``python -m recorder.market``: its composition.

It has connections, journals, drains and upkeep of its own. With the recorder it shares the archive's folder and the
limits of requests and attempts to connect, and takes no lock that the recorder waits for: nothing that happens to it
happens to trades. Quotes and books are recorded side by side, each as a run of its own (:class:`_Run`), which differ by
what their :class:`_Subject` contains.

The recorder starts it, and tells it its configuration by standard input (``daemon/child_messages.py``). SIGTERM stops
it in order: sessions end, the journals are drained. A second one, or the end of standard input, leaves the drain to the
next start. If the recorder dies, so does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

import aiohttp
import structlog

from recorder.archive import locks, open_archive
from recorder.archive.datasets import (
    BOOK,
    BOOK_SESSIONS,
    BOOKS_JOURNAL,
    MARKET_JOURNAL,
    QUOTE_SESSIONS,
    QUOTES,
    Dataset,
    written_by,
)
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.layout import Layout
from recorder.archive.segment_tables import SegmentTables, highest
from recorder.archive.trades import TradeArchive
from recorder.clock import Clock, SystemClock
from recorder.collectors import book_feed, quote_feed, quote_forecast
from recorder.collectors.book_feed import BookFeed
from recorder.collectors.connections import Connections
from recorder.collectors.feed import Feed
from recorder.collectors.first_listing import first_listing
from recorder.collectors.pair_list import PairList
from recorder.collectors.quote_feed import QuoteFeed
from recorder.config import BooksConfig, Config, QuotesConfig
from recorder.core.ledger import Ledger
from recorder.core.model import Instrument
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
from recorder.kraken.book import Digits
from recorder.kraken.channels import Channel, Claim
from recorder.net.http import Http, HttpAnswer, client_session, proxy_for
from recorder.net.rate_limit import AttemptLimit, SharedRateLimit
from recorder.net.websocket import dial
from recorder.ops import log as logs
from recorder.ops import process_setup
from recorder.ops.exchange_clock import ConfirmedTime
from recorder.ops.metrics import Metrics
from recorder.runtime.context import Context
from recorder.runtime.exchange_client import Exchange, note_refusals
from recorder.runtime.inbox import Inbound, Inbox
from recorder.runtime.notes import Notes
from recorder.runtime.stop import Stop
from recorder.runtime.waiting import first_of

THREADS: Final = 8
"""For quotes and books one blocking thread each for journal, drain, upkeep and forecast."""
BOOKS_DRAIN_S: Final = 1920.0
"""Seconds between two drains of books: each writes a file for every pair. 45 a day are 2,500 files with 50 pairs, those
of sessions, events and merges included."""
BOOKS_ROTATE_BYTES: Final = 1_000_000_000
"""Size at which a segment of books is closed before that; a busy market fills it with 50 pairs in half an hour."""
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
    books: Report | None = None
    """The same of books, beside that of quotes."""

    def state(self) -> State:
        """Return the current state."""
        text = self.metrics.text_beside("market")
        if self.books is None:
            return State(len(self.pairs), text)
        return State(len(self.pairs), text + self.books.metrics.text_beside("books"), len(self.books.pairs))


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is recorded: quotes, or books. ``section`` is its part of a configuration.

    ``began`` and ``unapplied`` are lines of the log: recording began, and a changed configuration has a mistake.
    """

    name: str
    began: str
    unapplied: str
    journal: str
    tables: tuple[Dataset, ...]
    section: Callable[[Config], QuotesConfig | BooksConfig]
    feed: Callable[[Config, Clock, PairList], Feed[Any]]
    announce: Callable[[Config, Exchange, list[Instrument]], Coroutine[Any, Any, object]]
    drain_every_s: Callable[[Config], Callable[[int], float]]
    rotate_bytes: int | None = None

    def kept(self, config: Config) -> dict[Dataset, float | None]:
        """Return for how many seconds the rows of each table are kept; None is forever."""
        return dict.fromkeys(self.tables, self.section(config).keep)


def _quote_feed(config: Config, clock: Clock, _: PairList) -> Feed[Any]:
    return QuoteFeed(clock, _channel(channels.QUOTES, config))


def _book_feed(config: Config, clock: Clock, pairs: PairList) -> Feed[Any]:
    def digits(pair: str) -> Digits | None:
        listed = pairs.instruments.get(pair)
        return None if listed is None else Digits(listed.pair_decimals, listed.lot_decimals)

    depth = config.books.depth
    return BookFeed(clock, _channel(channels.BOOKS, config, depth=depth), depth=depth, digits=digits)


def _channel(channel: Channel[Claim], config: Config, **params: object) -> Channel[Claim]:
    return replace(channel, params={**channel.params, **params, **config.exchange.subscribe_params})


_QUOTES: Final = _Subject(
    "quotes",
    "recording quotes",
    "quotes.pairs not applied; recording continues unchanged",
    MARKET_JOURNAL,
    (QUOTES, QUOTE_SESSIONS),
    section=lambda config: config.quotes,
    feed=_quote_feed,
    announce=lambda _, exchange, pairs: quote_forecast.announce(exchange, pairs),
    drain_every_s=lambda config: config.drain_every_s,
)
_BOOKS: Final = _Subject(
    "books",
    "recording books",
    "books.pairs not applied; recording continues unchanged",
    BOOKS_JOURNAL,
    (BOOK, BOOK_SESSIONS),
    section=lambda config: config.books,
    feed=_book_feed,
    announce=lambda config, exchange, pairs: quote_forecast.announce_books(exchange, pairs, config.books.depth),
    drain_every_s=lambda config: lambda pairs: max(BOOKS_DRAIN_S, config.drain_every_s(pairs)),
    rotate_bytes=BOOKS_ROTATE_BYTES,
)
_SUBJECTS: Final = (_QUOTES, _BOOKS)


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
    """Record quotes and books until ``stop`` is requested, with each configuration of ``changes`` from when it comes.

    Of what has no pairs, what an earlier run has left in the journal is archived, and the files are maintained once; if
    neither has, that is all. Raises ConfigError (a pair does not exist), ArchiveInUse, DiskError, StorageError; what
    was recorded is on disk then.
    """
    clock, disk = clock or SystemClock(), disk or Disk()
    layout = Layout(config.archive.path.resolve())
    report.books = books = Report()
    with (
        ThreadPoolExecutor(THREADS, "market") as threads,
        open_archive.opened(
            layout,
            disk,
            alone=layout.journal_lock(MARKET_JOURNAL),
            in_use=f"another process records quotes and books into {layout.data}",
            tables=[table for subject in _SUBJECTS for table in written_by(subject.journal)],
        ),
        contextlib.ExitStack() as opened,
    ):
        asyncio.get_running_loop().set_default_executor(threads)
        async with client_session(proxy_for(config.exchange.rest_url, config.exchange.proxy)) as client:
            host = _Host(disk, clock, random or Random(), client)  # noqa: S311 -- spreads retries
            runs: list[_Run] = []
            for subject, subject_report in zip(_SUBJECTS, (report, books), strict=True):
                foundation = await _founded(subject, layout, host, opened)
                runs.append(_Run(subject, config, foundation, report=subject_report, stop=stop))
            opened.callback(threads.shutdown)  # before the journals are closed
            await _side_by_side(runs, changes, stop)


async def _side_by_side(runs: Sequence[_Run], changes: asyncio.Queue[Config], stop: Stop) -> None:
    """Run all of them until a stop is requested, or until each has done what it had to do.

    An error of one stops the others in order; raises the first. A mistake in what one is to record is no error while
    another records: see :meth:`_Run.until_stopped`.
    """
    queues = [asyncio.Queue[Config]() for _ in runs]

    async def pass_on() -> None:
        while True:
            changed = await changes.get()
            for queue in queues:
                queue.put_nowait(changed)

    passing = asyncio.create_task(pass_on())
    running = [asyncio.create_task(one.until_stopped(queue)) for one, queue in zip(runs, queues, strict=True)]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        if not all(one.done() for one in running):  # an error of another one
            stop.requested.set()
            await asyncio.wait(running)
    finally:
        for one in (passing, *running):
            one.cancel()
        await asyncio.wait([passing, *running])
    for one in running:
        one.result()


async def _founded(subject: _Subject, layout: Layout, host: _Host, opened: contextlib.ExitStack) -> _Foundation:
    """Open the journal of a subject, and the archive with a staging folder of its own, until ``opened`` is closed."""
    archive = TradeArchive(layout, host.disk, staging=opened.enter_context(locks.staging(layout, host.disk)))
    above = await asyncio.to_thread(highest, layout, subject.journal)
    journal = Journal(
        layout.data,
        host.disk,
        staging=archive.staging,
        now_ns=host.clock.wall_ns(),
        above=above,
        archive=archive.id,
        journal=subject.journal,
    )
    opened.callback(journal.close)
    if journal.recovered:
        log.warning("cut a torn line", reason=str(journal.recovered))
    return _Foundation(host, archive, journal)


@dataclass(frozen=True, slots=True)
class _Host:
    """The host's disk, clock and random numbers, and the client of all connections."""

    disk: Disk
    clock: Clock
    random: Random
    client: aiohttp.ClientSession


@dataclass(frozen=True, slots=True)
class _Foundation:
    """The basis of a run: the host, and an archive and a journal that are open for writing."""

    host: _Host
    archive: TradeArchive
    journal: Journal


class _Run:
    """One run of a subject: every object, created once, and the order in which tasks start and end."""

    def __init__(
        self, subject: _Subject, config: Config, foundation: _Foundation, *, report: Report, stop: Stop
    ) -> None:
        archive, host = foundation.archive, foundation.host
        client, clock, disk = host.client, host.clock, host.disk
        self._subject, self._journal = subject, foundation.journal
        self._config, self._stop, self._clock, self._metrics = config, stop, clock, report.metrics
        self._confirmed_time = confirmed_time = ConfirmedTime(clock)
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
        tables = SegmentTables(archive.layout, disk, staging=archive.staging, journal=subject.journal)
        self._listings = InstrumentArchive(tables)
        self._pair_list = pair_list = PairList(
            subject.section(config).pairs, context, key=f"{subject.name}.pairs", keeps=False
        )
        report.pairs = pair_list.instruments
        self._feed = feed = subject.feed(config, clock, pair_list)
        ledger = Ledger()  # stays empty: nothing here has ids
        self._commit = Commit(
            foundation.journal,
            ledger,
            context,
            sync_every_s=config.journal.sync_every,
            hole_seen=lambda: None,
            parking=ParkedIds(ledger, lambda _: ()),
            rotate_bytes=subject.rotate_bytes,
            heads=feed.heads if isinstance(feed, BookFeed) else lambda: (),
        )
        self._drainer = Drainer(
            foundation.journal,
            archive,
            tables,
            keep_raw=config.journal.keep > 0,
            latest_s=confirmed_time.latest_s,
            metrics=report.metrics,
            report_once=notes.report_once,
        )
        self._drain = DrainSchedule(
            self._drainer,
            foundation.journal,
            self._commit,
            every_s=subject.drain_every_s(config),
            pairs=pair_list.instruments,
            drained=lambda _: None,
            clock=clock,
        )
        self._maintenance = Maintenance(
            archive,
            disk,
            context,
            keep_s=config.journal.keep,
            now_s=confirmed_time.now_s,
            of=subject.journal,
            keep_rows_s=subject.kept(config),
        )
        self._connections = Connections(
            pair_list.instruments,
            lambda: dial(client, config.exchange.ws_url),
            context,
            feed=feed,
            listeners=quote_feed.listeners(pair_list.refresh_soon),
            attempts=AttemptLimit(archive.layout.attempts, clock),
            random=host.random,
        )
        pair_list.subscribe(self._connections, self._drain)

    def _answered(self, request: rest_api.Request, ended: HttpAnswer | ExchangeError) -> None:
        self._metrics.requested(request.path, ended if isinstance(ended, ExchangeError) else None)
        if isinstance(ended, HttpAnswer) and ended.date_s is not None:
            self._confirmed_time.take(ended.date_s)

    async def until_stopped(self, changes: asyncio.Queue[Config]) -> None:
        """Record until a stop is requested, then end each task in the order in which what is recorded passes through.

        Raises ConfigError for a name that is not listed, unless something else is recorded: then another configuration
        is waited for.
        """
        mistake = None
        async with asyncio.TaskGroup() as group:
            committing = group.create_task(self._commit.run())
            draining = group.create_task(self._drain_in_turn())
            try:
                await self._record_in_turn(group, changes)
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

    async def _record_in_turn(self, group: asyncio.TaskGroup, changes: asyncio.Queue[Config]) -> None:
        """Record once there is something to record; without it, maintain the files, and wait while others record."""
        maintained = False
        while not self._stop.requested.is_set():
            if self._subject.section(self._config).pairs:
                try:
                    await self._record(group, changes)
                except ConfigError as error:
                    if not self._others_record:
                        raise
                    log.error("not recorded", what=self._subject.name, reason=str(error))
                else:
                    return
            elif not maintained:
                await self._maintain_once(group)
                maintained = True
            if not self._others_record:
                return
            changed = asyncio.create_task(changes.get())
            await first_of(asyncio.wait([changed]), self._stop.requested.wait())
            if changed.done():
                self._config = changed.result()
            changed.cancel()

    @property
    def _others_record(self) -> bool:
        sections = (subject.section(self._config) for subject in _SUBJECTS if subject != self._subject)
        return any(section.pairs for section in sections)

    async def _drain_in_turn(self) -> None:
        """Drain, after noting the ends of sessions that a killed run left: the drain takes the lines away."""
        if isinstance(self._feed, BookFeed):
            ends = await asyncio.to_thread(book_feed.left_unended, self._journal.closed())
            if ends:
                log.warning("sessions of books ended with a killed run", sessions=len(ends))
                await self._inbox.put(Inbound(book_feed.ended(ends, 0, self._clock.wall_ns()), []))
        await self._drain.run()

    async def _maintain_once(self, group: asyncio.TaskGroup) -> None:
        """Maintain the files, unless a stop is requested before."""
        if any(self._subject.kept(self._config).values()):
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
        """Run the recording tasks until a stop is requested. Raises ConfigError for a name that is not listed."""
        self._pair_list.choose(self._subject.section(self._config).pairs)
        if not await first_listing(self._pair_list, self._context, self._listings, stop=self._stop.requested):
            return
        pairs = self._pair_list.instruments
        # Raced, because throttling may make it wait for minutes, and quotes cannot be fetched later.
        asking = self._subject.announce(self._config, self._context.exchange, list(pairs.values()))
        await first_of(asking, self._clock.sleep(FORECAST_S), self._stop.requested.wait())
        log.info(self._subject.began, pairs=len(pairs))
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
                await self._pair_list.rename(self._subject.section(config).pairs)
            except ConfigError as error:
                log.error(self._subject.unapplied, reason=str(error))
            else:
                self._pace.set_rate(config.exchange.requests_per_second)
                self._commit.sync_every_s = config.journal.sync_every
                self._drainer.keep_raw = config.journal.keep > 0
                self._drain.want(self._subject.drain_every_s(config))
                self._maintenance.keep_rows_s = self._subject.kept(config)


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
        log.error("quotes and books are not recorded", reason=str(first))
        sys.exit(first.exit_code)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


if __name__ == "__main__":
    main()
