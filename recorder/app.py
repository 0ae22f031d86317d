"""Composition root: configuration → objects → one TaskGroup. Start-up is recovery, and nothing else is.

In this order: the archive's lock, the journal (cut and closed), the ledger from footers and journal, and only
then the first request. Stopping: the stream ends, the inbox is committed, the journal is drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

import aiohttp
import structlog

from recorder.archive import opening, quarantine, read, state
from recorder.archive.append import TradeArchive
from recorder.archive.faults import fault
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.layout import Layout
from recorder.archive.parquet import looked_at_first
from recorder.archive.probe import Guard
from recorder.archive.quarantine import Reason
from recorder.archive.segment_tables import SegmentTables, highest
from recorder.clock import Clock, SystemClock
from recorder.config import Config
from recorder.core.ids import Spans
from recorder.core.ledger import Ledger
from recorder.core.pacing import Pace
from recorder.disk import Disk, undisturbed
from recorder.errors import ConfigError
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import records
from recorder.net.http import Http, client_session, proxy_for
from recorder.net.socket import dial
from recorder.net.turns import Attempts, Turns
from recorder.ops import banner, process
from recorder.ops.metrics import Metrics
from recorder.ops.notify import Notifier
from recorder.ops.server import Face, serve
from recorder.tasks.anchor import Anchors
from recorder.tasks.commit import Commit
from recorder.tasks.confirm import Confirm
from recorder.tasks.context import Context
from recorder.tasks.drain import Drain, Drainer
from recorder.tasks.exchange import Exchange, note_refusals
from recorder.tasks.far_ids import FarIds
from recorder.tasks.fetch import Fetcher
from recorder.tasks.first import first_listing
from recorder.tasks.inbox import Inbox
from recorder.tasks.lines import PAIRS_A_LINE, Lines
from recorder.tasks.notes import Notes
from recorder.tasks.numbering import Numbering
from recorder.tasks.ohlc import Ohlc
from recorder.tasks.parking import Parking, waiting
from recorder.tasks.poll import Poll
from recorder.tasks.promise import Promises
from recorder.tasks.pulse import Parts, Pulse
from recorder.tasks.quarantined import Quarantined, Sound, patiently
from recorder.tasks.reconcile import Reconcile
from recorder.tasks.reload import Live, Reload, Source, candles
from recorder.tasks.remember import Remember
from recorder.tasks.repair import Repair
from recorder.tasks.roster import LISTING_S, SOON_S, Roster
from recorder.tasks.space import Space
from recorder.tasks.stream import Listeners
from recorder.tasks.survey import Survey
from recorder.tasks.system import Standing, System
from recorder.tasks.tail import Tail
from recorder.tasks.timekeeper import Timekeeper
from recorder.tasks.upkeep import ROUND_S as UPKEEP_S
from recorder.tasks.upkeep import Upkeep
from recorder.tasks.waiting import first_of
from recorder.tasks.watch import Watch

THREADS: Final = 9
"""Journal, drain, repair, upkeep, remember, reconcile, space, survey and reload block on the disk one thread each."""

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
        guard = Guard()
        opened.callback(guard.rest)
        opened.enter_context(looked_at_first(guard.look))
        above = await asyncio.to_thread(highest, layout)
        journal = Journal(layout.data, disk, staging=archive.staging, now_ns=clock.wall_ns(), above=above)
        opened.callback(journal.close)
        # Before the journal is closed and the staging folder goes, every thread must be done with them.
        opened.callback(threads.shutdown)
        if journal.recovered:
            log.warning("cut a torn line", reason=str(journal.recovered))
        ledger, quarantined = Ledger(), Quarantined(layout)
        archive.promised = ledger.promise
        await patiently(clock, lambda: asyncio.to_thread(rebuild, ledger, archive, journal, quarantined))
        await asyncio.to_thread(guard.rest)
        await asyncio.to_thread(process.give_back)
        dice = random or Random()  # noqa: S311 -- spreads retries
        basis = _Basis(disk, clock, dice, archive, journal, ledger, quarantined)
        await _run(config, stop, basis, rhythm or Rhythm(), source or Source(lambda: config))


def rebuild(ledger: Ledger, archive: TradeArchive, journal: Journal, quarantined: Quarantined) -> None:
    """Count in ``ledger`` what closed segments, footers and events say; there is no other record of it.

    Pairs whose files cannot be trusted are ``quarantined``. Raises DiskAtFault, DiskError where none is to blame.
    """
    lines = (line for path in journal.closed() for line in segment.entries(path))
    loaded = state.load(ledger, archive.layout, records.claims(lines), coverage=archive.coverage)
    faults = {pair: fault(archive.layout, pair, error) for pair, error in loaded.damaged.items()}
    quarantined.found(faults, of=len(loaded.damaged) + len(loaded.rows))
    waiting = quarantine.ids(archive.layout, Reason.WAITING)
    quarantined.owe(pair for pair, ids in waiting.items() if pair not in faults and not _holds(archive, pair, ids))
    for finding in loaded.findings:
        log.error("events not read", file=str(finding.file), reason=finding.problem, remedy=finding.remedy)


def _holds(archive: TradeArchive, pair: str, ids: Spans) -> bool:
    held = undisturbed(lambda: archive.coverage.spans(pair), f"the files of {pair}")
    return all(held.covers(span) for span in ids)


class Task(Protocol):
    """What runs until it is cancelled, and may be at any moment."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Do so."""
        ...


@dataclass(frozen=True, slots=True)
class _Basis:
    """What a run stands on: the host's disk, clock and dice, and the archive, opened for writing."""

    disk: Disk
    clock: Clock
    random: Random
    archive: TradeArchive
    journal: Journal
    ledger: Ledger
    quarantined: Quarantined


async def _run(config: Config, stop: Stop, basis: _Basis, rhythm: Rhythm, source: Source) -> None:
    """Record until ``stop`` is asked; nothing, if it is before it is known what to record."""
    layout, clock, metrics, inbox = basis.archive.layout, basis.clock, Metrics(), Inbox()
    notes, pace = Notes(inbox, clock), Pace(config.exchange.requests_per_second)
    metrics.pace.set_function(lambda: pace.per_s)
    pulse = Pulse(layout.data, inbox, clock=clock, metrics=metrics, notifier=Notifier())
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
            turns=Turns(layout.turns, clock),
        )
        metrics.rest_wait.set_function(http.paused_s)
        pulse.asks(http.paused_s)
        context = Context(Exchange(http, notes, metrics=metrics), inbox, notes, metrics, clock)
        run = _Run(config, basis, context, pulse, client, pace=pace, rhythm=rhythm, source=source, stop=stop)
        await run.until_stopped()


class _Run:
    """All that records, each object made once, and the order in which it begins and ends."""

    def __init__(
        self,
        config: Config,
        basis: _Basis,
        context: Context,
        pulse: Pulse,
        client: aiohttp.ClientSession,
        *,
        pace: Pace,
        rhythm: Rhythm,
        source: Source,
        stop: Stop,
    ) -> None:
        self._config, self._basis, self._context, self._pulse, self._stop = config, basis, context, pulse, stop
        archive, ledger, clock = basis.archive, basis.ledger, basis.clock
        self._tables = SegmentTables(archive.layout, basis.disk, staging=archive.staging)
        self._listings = InstrumentArchive(self._tables)
        self._roster = roster = Roster(
            config.pairs,
            context,
            listing_s=rhythm.listing_s,
            soon_s=rhythm.listing_soon_s,
            last_id=lambda pair: ledger.of(pair).spans.last or 0,
        )
        pairs = roster.instruments
        self._sound = sound = Sound(pairs, basis.quarantined)
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
            parking=Parking(ledger, functools.partial(waiting, archive.layout)),
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
        self._drain = Drain(
            drainer,
            basis.journal,
            self._commit,
            every_s=config.drain_every_s,
            pairs=pairs,
            drained=reconcile.drained,
            clock=clock,
        )
        upkeep = Upkeep(
            archive,
            basis.disk,
            context,
            keep_s=config.journal.keep,
            now_s=pulse.now_s,
            round_s=rhythm.upkeep_s,
            quarantined=basis.quarantined,
        )
        self._space = Space(
            archive.layout,
            basis.disk,
            context,
            history_waits=lambda waits: repair.hold_history(waits=waits),
            full=stop.asked.set,
            raw=upkeep.raw,
        )
        ohlc = Ohlc(context, instruments=pairs, wanted=candles(config), unknown=lambda _: roster.refresh_soon())
        live = Live(pace, ohlc, self._commit, upkeep, drainer, self._drain, repair)
        roster.tell(ohlc, self._drain, repair)
        self._tasks: list[Task] = [
            roster,
            repair,
            upkeep,
            reconcile,
            self._space,
            Remember(ledger, archive, context, now_s=pulse.now_s, round_s=rhythm.upkeep_s),
            Survey(archive.layout.data, self._space, context),
            Numbering(ledger, archive, context, instruments=pairs, settled=reconcile.drained, round_s=rhythm.upkeep_s),
            pulse,
            ohlc,
            Reload(config, source, roster, live.take),
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
        self._basis.quarantined.found({pair: fault(layout, pair, error)}, of=sum(1 for _ in ledger))

    def _collectors(self, client: aiohttp.ClientSession, pairs_a_line: int) -> list[Task]:
        """Return what asks the exchange for trades and hears it, and have those told of pairs that come and go."""
        config, ledger, context, roster = self._config, self._basis.ledger, self._context, self._roster
        pairs, sound = roster.instruments, self._sound
        promises = Promises(
            ledger,
            context,
            now_s=self._pulse.now_s,
            latest_s=self._pulse.latest_s,
            earlier_names=roster.earlier_names,
            recorded=self._recorded_here,
        )
        poll = Poll(
            ledger,
            context,
            instruments=pairs,
            promises=promises,
            refresh_soon=roster.refresh_soon,
            everything=not config.trades.stream,
            rests=self._basis.quarantined.rests,
        )
        standing = Standing(context.notes)
        tail = Tail(ledger, context, instruments=sound)
        lines = Lines(
            pairs,
            lambda: dial(client, config.exchange.ws_url),
            context,
            listeners=Listeners(promises, poll, standing, roster.refresh_soon),
            attempts=Attempts(self._basis.archive.layout.attempts, context.clock),
            random=self._basis.random,
            pairs_a_line=pairs_a_line,
        )
        roster.tell(poll, lines)
        confirm = Confirm(ledger, tail, instruments=sound, now_s=self._pulse.now_s, clock=context.clock)
        far_ids = FarIds(ledger, tail, instruments=sound, clock=context.clock, hole_seen=self._hole_seen)
        anchors = Anchors(ledger, context, instruments=sound, promised=promises.made_some, tail=tail)
        always: list[Task] = [poll, System(context, standing), confirm, anchors, Timekeeper(context), far_ids]
        if not config.trades.stream:
            return always
        self._pulse.listen(lines.silent_s, lines.wait_s)
        return [*always, lines, Watch(ledger, context, instruments=sound, tail=tail, stream=lines)]

    def _recorded_here(self, pair: str, trade_id: int) -> bool:
        """Tell whether an archived trade came from the exchange; no, where nobody knows what is archived."""
        if self._basis.quarantined.rests(pair):
            return False
        return read.recorded(self._basis.archive.coverage, pair, trade_id)

    async def until_stopped(self) -> None:
        """Record until it is asked to stop; then end all in the order in which a trade goes through it."""
        listed, mistake = False, None
        async with asyncio.TaskGroup() as group:
            # At once: what is noted while it is not known yet what to record is journalled too, however long it takes.
            committing = group.create_task(self._commit.run())
            try:
                listed = await first_listing(self._roster, self._context, self._listings, stop=self._stop.asked)
            except ConfigError as error:  # to be raised as it is, and not by a group of tasks
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
        """Run what records until it is asked to stop; return what drains, which goes on."""
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
        """Tell people, metrics and the service manager what is recorded from now on."""
        pairs, ledger = self._roster.instruments, self._basis.ledger
        self._context.metrics.watch(ledger, pairs)
        for said, told in banner.lines(self._config, self._basis.archive.layout.data, ledger, list(pairs)):
            log.info(said, **told)
        self._pulse.begun(Parts(pairs, self._commit, self._drain, self._space, self._basis.quarantined))
