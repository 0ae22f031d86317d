"""Composition root: configuration → objects → one TaskGroup. Start-up is recovery, and nothing else is.

In this order: the archive's lock, the journal (cut and closed), the ledger from footers and journal, and only
then the first request. Stopping: the stream ends, the inbox is committed, the journal is drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

import aiohttp
import structlog

from recorder.archive import known, opening
from recorder.archive.append import TradeArchive
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.layout import Layout
from recorder.archive.segment_tables import SegmentTables, highest
from recorder.clock import Clock, SystemClock
from recorder.config import Config
from recorder.core import knowledge
from recorder.core.ids import Run
from recorder.core.ledger import Ledger
from recorder.core.pacing import Pace
from recorder.disk import Disk
from recorder.errors import CorruptLine, Malformed
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.journal.segment import Entry
from recorder.kraken import parse
from recorder.net.http import Http, client_session
from recorder.net.socket import dial
from recorder.net.turns import Attempts, Turns
from recorder.ops import banner, process
from recorder.ops.metrics import Metrics
from recorder.ops.notify import Notifier
from recorder.ops.server import Face, serve
from recorder.tasks.commit import Commit
from recorder.tasks.confirm import Confirm
from recorder.tasks.drain import Drain, Drainer
from recorder.tasks.fetch import Fetcher
from recorder.tasks.first import first_listing
from recorder.tasks.inbox import Inbox
from recorder.tasks.lines import PAIRS_A_LINE, Lines
from recorder.tasks.neighbours import Neighbours
from recorder.tasks.notes import Notes
from recorder.tasks.ohlc import Ohlc
from recorder.tasks.poll import Poll
from recorder.tasks.pulse import Parts, Pulse
from recorder.tasks.reload import Live, Reload, Source, candles
from recorder.tasks.repair import Repair
from recorder.tasks.roster import LISTING_S, SOON_S, Roster
from recorder.tasks.space import Space
from recorder.tasks.stream import Common, Listeners
from recorder.tasks.survey import Survey
from recorder.tasks.system import Standing, System
from recorder.tasks.tail import Tail
from recorder.tasks.timekeeper import Timekeeper
from recorder.tasks.upkeep import ROUND_S as UPKEEP_S
from recorder.tasks.upkeep import Upkeep
from recorder.tasks.waiting import first_of
from recorder.tasks.watch import Watch

REBUILD_RUNS: Final = 20_000
"""Runs in the journal that are joined at start before they are counted: each alone would take as long as parsing it."""
FOOTER_THREADS: Final = 8
"""At start footers are read, and folders synced, of so many pairs at once: on a busy disk each sync waits."""
THREADS: Final = 8
"""Journal, drain, repair, upkeep, neighbours, space, survey and reload block on the disk one thread each."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often what nobody configures is done, in seconds, and how many pairs share a connection; tests say less."""

    upkeep_s: float = UPKEEP_S
    listing_s: float = LISTING_S
    listing_soon_s: float = SOON_S
    pairs_a_line: int = PAIRS_A_LINE


@dataclass(slots=True)
class Stop:
    """How a run is asked to end: ``asked`` drains first, ``hurried`` leaves the drain to the next start."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)

    def signal(self) -> None:
        """Take one signal: the first asks, the second hurries."""
        if self.asked.is_set():
            self.hurried.set()
        self.asked.set()

    def on_signals(self) -> None:
        """Take SIGTERM and SIGINT of this process from now on."""
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
    rhythm: Rhythm | None = None,
    source: Source | None = None,
) -> None:
    """Record until ``stop`` is asked. ``source`` is where ``config`` came from, to be read again when that is asked.

    Raises ConfigError (a pair that does not exist), ArchiveInUse, DiskError (also after a good end, for want of room),
    StorageError. Whatever it raises, what was recorded is on the disk, and the next start goes on from there.
    """
    clock, disk = clock or SystemClock(), disk or Disk()
    layout = Layout(config.archive.path.resolve())
    in_use = f"another recorder holds the archive {layout.data}: stop it first, or record elsewhere with --data"
    with (
        ThreadPoolExecutor(THREADS, "recorder") as threads,
        opening.opened(layout, disk, alone=layout.lock, in_use=in_use) as archive,
        contextlib.ExitStack() as opened,
    ):
        asyncio.get_running_loop().set_default_executor(threads)
        above = await asyncio.to_thread(highest, layout)
        journal = Journal(layout.data, disk, staging=archive.staging, now_ns=clock.wall_ns(), above=above)
        opened.callback(journal.close)
        # Before the journal is closed and the staging folder goes, every thread must be done with them.
        opened.callback(threads.shutdown)
        if journal.recovered:
            log.warning("cut a torn line", reason=str(journal.recovered))
        ledger = Ledger()
        await asyncio.to_thread(rebuild, ledger, archive, journal)
        await asyncio.to_thread(process.give_back)
        jitter = random or Random()  # noqa: S311 -- spreads retries, guards no secret
        run = _Run(config, clock, disk, jitter, archive, journal, ledger, archive.staging)
        await run.until(stop, rhythm or Rhythm(), source or Source(lambda: config))


def rebuild(ledger: Ledger, archive: TradeArchive, journal: Journal) -> None:
    """Count in ``ledger`` what footers, events and closed journal segments say; there is no other record of it."""
    pairs = archive.layout.pairs()
    with ThreadPoolExecutor(FOOTER_THREADS, "footers") as readers:
        for _ in readers.map(functools.partial(archive.coverage.observe_into, ledger), pairs):
            pass  # an error is raised here
    of_ids = known.read(archive.layout, pairs)
    for told in of_ids.told():
        ledger.know(told)
    for finding in of_ids.findings:
        log.error("events not read", file=str(finding.file), reason=finding.problem, remedy=finding.remedy)
    for path in journal.closed():
        _count(ledger, segment.entries(path))


def _count(ledger: Ledger, entries: Iterable[Entry | CorruptLine]) -> None:
    """Count what the lines of a closed segment say."""
    claims: list[Run] = []
    for entry in entries:
        # The drain comes upon the same line and reports it.
        with contextlib.suppress(Malformed):
            if not isinstance(entry, CorruptLine):
                claims += parse.journalled_runs(entry.source, entry.payload, entry.recv_ns)
                event = parse.journalled_event(entry.source, entry.payload, entry.recv_ns)
                if event is not None and (journalled := knowledge.told(event)) is not None:
                    ledger.know(journalled)
        if len(claims) >= REBUILD_RUNS:
            ledger.observe_all(claims)
            claims = []
    ledger.observe_all(claims)


class Task(Protocol):
    """What runs until it is cancelled, and may be at any moment."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Do so."""
        ...


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the tasks of a run have in common."""

    client: aiohttp.ClientSession
    pace: Pace
    http: Http
    inbox: Inbox
    notes: Notes
    metrics: Metrics
    pulse: Pulse
    roster: Roster
    pairs_a_line: int


@dataclass(slots=True)
class _Run:
    """One run's objects. ``config`` is what is in force: another after a reload."""

    config: Config
    clock: Clock
    disk: Disk
    random: Random
    archive: TradeArchive
    journal: Journal
    ledger: Ledger
    staging: Path

    async def until(self, stop: Stop, rhythm: Rhythm, source: Source) -> None:
        """Record until ``stop`` is asked; nothing, if it is before it is known what to record."""
        config, clock, metrics = self.config, self.clock, Metrics()
        inbox = Inbox()
        notes = Notes(inbox, clock)
        pulse = Pulse(self.archive.layout.data, inbox, clock=clock, metrics=metrics, notifier=Notifier())
        async with client_session() as client, serve(config.ops, Face(metrics, pulse.state, pulse.about)):
            pace = Pace(config.exchange.requests_per_second)
            metrics.pace.set_function(lambda: pace.per_s)
            http = self._http(client, pace, notes, pulse, metrics)
            roster = Roster(
                config.pairs,
                http,
                inbox,
                notes=notes,
                clock=clock,
                metrics=metrics,
                listing_s=rhythm.listing_s,
                soon_s=rhythm.listing_soon_s,
            )
            tables = SegmentTables(self.archive.layout, self.disk, staging=self.staging)
            if await first_listing(roster, http, inbox, InstrumentArchive(tables), clock=clock, stop=stop.asked):
                shared = _Shared(client, pace, http, inbox, notes, metrics, pulse, roster, rhythm.pairs_a_line)
                await self._record(shared, tables, stop, source, upkeep_s=rhythm.upkeep_s)
                log.info("stopped", pairs=len(roster.instruments))

    def _http(self, client: aiohttp.ClientSession, pace: Pace, notes: Notes, pulse: Pulse, metrics: Metrics) -> Http:
        async def refused(*, reason: str, path: str, pause_s: float, per_s: float) -> None:
            metrics.throttled_seconds.inc(pause_s)
            await notes.take("throttled", reason=reason, path=path, pause_s=pause_s, per_s=per_s)

        return Http(
            client,
            self.config.exchange.rest_url,
            pace=pace,
            clock=self.clock,
            refused=refused,
            ended=pulse.ended,
            turns=Turns(self.archive.layout.turns, self.clock),
        )

    async def _record(
        self, shared: _Shared, tables: SegmentTables, stop: Stop, source: Source, *, upkeep_s: float
    ) -> None:
        """Run all tasks until ``stop`` is asked; then end them in the order in which a trade goes through them."""
        repair = self._repair(shared)
        commit = Commit(
            shared.inbox,
            self.journal,
            self.ledger,
            sync_every_s=self.config.journal.sync_every,
            clock=self.clock,
            metrics=shared.metrics,
            hole_seen=repair.hole_seen,
        )
        drainer = self._drainer(shared, tables)
        drain = Drain(drainer, self.journal, commit, every_s=lambda: self._drain_every_s(shared), clock=self.clock)
        upkeep = Upkeep(
            self.archive,
            self.disk,
            keep_s=self.config.journal.keep,
            now_s=shared.pulse.now_s,
            clock=self.clock,
            metrics=shared.metrics,
            round_s=upkeep_s,
        )
        space = Space(
            self.archive.layout,
            self.disk,
            shared.notes,
            history_waits=lambda waits: repair.hold_history(waits=waits),
            full=stop.asked.set,
            raw=upkeep.raw,
            clock=self.clock,
        )
        survey = Survey(self.archive.layout.data, space, clock=self.clock, metrics=shared.metrics)
        neighbours = Neighbours(
            self.ledger,
            self.archive,
            pairs=shared.roster.instruments,
            hole_seen=repair.hole_seen,
            clock=self.clock,
            look_s=upkeep_s,
        )
        collectors, ohlc, pulse = self._collectors(shared, repair), self._ohlc(shared), shared.pulse
        shared.roster.tell(ohlc, drain)

        live = Live(shared.pace, ohlc, commit, upkeep, drainer, drain, repair)

        def take(config: Config) -> None:
            self.config = config
            live.take(config)

        reload = Reload(self.config, source, shared.roster, take)
        tasks: list[Task] = [shared.roster, repair, upkeep, neighbours, space, survey, pulse, ohlc, reload, *collectors]
        shared.metrics.watch(self.ledger, shared.roster.instruments)
        for said, told in banner.lines(
            self.config, self.archive.layout.data, self.ledger, list(shared.roster.instruments)
        ):
            log.info(said, **told)
        pulse.begun(Parts(shared.roster.instruments, commit, drain, space))
        async with asyncio.TaskGroup() as group:
            interruptible = [group.create_task(task.run()) for task in tasks]
            committing = group.create_task(commit.run())
            draining = group.create_task(drain.run())
            await stop.asked.wait()
            pulse.stopping()
            log.info("stopping: draining the journal; a second signal leaves that to the next start")
            for running in interruptible:
                running.cancel()
            await asyncio.wait(interruptible)
            committing.cancel()
            await asyncio.wait([committing])
            await commit.flush()
            drain.stop()
            await first_of(asyncio.wait([draining]), stop.hurried.wait())
            draining.cancel()
        space.check()

    def _repair(self, shared: _Shared) -> Repair:
        chosen, clock, metrics = shared.roster.instruments, self.clock, shared.metrics
        return Repair(
            self.ledger,
            Fetcher(self.ledger, self.archive, shared.http, instruments=chosen, clock=clock, metrics=metrics),
            shared.notes,
            instruments=chosen,
            history_from=functools.partial(self._history_from, shared.roster),
            clock=clock,
            metrics=metrics,
        )

    def _history_from(self, roster: Roster, pair: str) -> int | None:
        """Return since when trades of ``pair`` are wanted: as configured, and where an earlier name of it ended."""
        held = set(self.ledger)
        ended_us = [self.ledger.of(name).last_us for name in roster.earlier_names(pair) if name in held]
        renamed_us = max((end_us for end_us in ended_us if end_us is not None), default=None)
        moments = (self.config.trades.backfill_from, renamed_us)
        return min((moment for moment in moments if moment is not None), default=None)

    def _drainer(self, shared: _Shared, tables: SegmentTables) -> Drainer:
        return Drainer(
            self.journal,
            self.archive,
            tables,
            keep_raw=self.config.journal.keep > 0,
            latest_s=shared.pulse.latest_s,
            metrics=shared.metrics,
        )

    def _drain_every_s(self, shared: _Shared) -> float:
        return self.config.drain_every_s(len(shared.roster.instruments))

    def _ohlc(self, shared: _Shared) -> Ohlc:
        return Ohlc(
            shared.inbox,
            shared.http,
            shared.notes,
            instruments=shared.roster.instruments,
            wanted=candles(self.config),
            unknown=lambda _: shared.roster.refresh_soon(),
            clock=self.clock,
            metrics=shared.metrics,
        )

    def _collectors(self, shared: _Shared, repair: Repair) -> list[Task]:
        """Return what asks the exchange, and have those told of pairs that come and go."""
        config, clock, metrics, roster = self.config, self.clock, shared.metrics, shared.roster
        inbox, http, notes, chosen = shared.inbox, shared.http, shared.notes, shared.roster.instruments
        poll = Poll(
            self.ledger,
            inbox,
            http,
            instruments=chosen,
            refresh_soon=roster.refresh_soon,
            clock=clock,
            metrics=metrics,
            everything=not config.trades.stream,
        )
        standing = Standing(notes)
        tail = Tail(self.ledger, inbox, http, instruments=chosen, notes=notes, metrics=metrics)
        lines = Lines(
            chosen,
            lambda: dial(shared.client, config.exchange.ws_url),
            Common(inbox, Listeners(poll, standing, roster.refresh_soon), notes, clock, metrics),
            attempts=Attempts(self.archive.layout.attempts),
            random=self.random,
            pairs_a_line=shared.pairs_a_line,
        )
        watch = Watch(
            self.ledger,
            http,
            instruments=chosen,
            tail=tail,
            stream=lines,
            notes=notes,
            clock=clock,
            metrics=metrics,
        )
        roster.tell(poll, lines, repair)
        system = System(http, standing, notes, clock=clock, metrics=metrics)
        confirm = Confirm(self.ledger, tail, instruments=chosen, now_s=shared.pulse.now_s, clock=clock)
        streaming: list[Task] = [lines, watch] if config.trades.stream else []
        if streaming:
            shared.pulse.listen(lines.silent_s)
        timekeeper = Timekeeper(notes, clock=clock, metrics=metrics)
        return [poll, system, confirm, timekeeper, *streaming]
