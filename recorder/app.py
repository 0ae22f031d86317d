"""Composition root: configuration → objects → one TaskGroup. Start-up is recovery, and nothing else is.

In this order: the archive's lock, the journal (cut and closed), the ledger from footers and journal, and only
then the first request. Stopping: the stream ends, the inbox is committed, the journal is drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import structlog

from recorder.archive import files
from recorder.archive.append import TradeArchive
from recorder.archive.files import Layout
from recorder.archive.instruments import InstrumentArchive
from recorder.clock import Clock, SystemClock
from recorder.config import Config
from recorder.core.backoff import Backoff
from recorder.core.ledger import Ledger
from recorder.core.model import PRICE_SCALE, QTY_SCALE, Instrument
from recorder.core.pacing import Pace
from recorder.disk import Disk
from recorder.errors import ArchiveInUse, ConfigError, CorruptLine, ExchangeError, Malformed, UnknownPair
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import parse, rest
from recorder.kraken.names import Listing
from recorder.net.http import Http, client_session
from recorder.net.socket import dial
from recorder.ops.metrics import Metrics
from recorder.ops.server import serve
from recorder.tasks.commit import Commit
from recorder.tasks.drain import Drain, Drainer
from recorder.tasks.inbox import Inbound, Inbox
from recorder.tasks.poll import Poll
from recorder.tasks.repair import Repair
from recorder.tasks.stream import Stream
from recorder.tasks.upkeep import ROUND_S as UPKEEP_S
from recorder.tasks.upkeep import Upkeep
from recorder.tasks.waiting import first_of
from recorder.version import __version__

THREADS: Final = 4
"""Journal, drain, repair and upkeep block on the disk one thread each."""
LISTING_RETRY_S: Final = 30.0
"""Longest wait between attempts to read the listing at start."""

log = structlog.get_logger()


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
    upkeep_every_s: float = UPKEEP_S,
) -> None:
    """Record until ``stop`` is asked.

    Raises ConfigError (a pair that does not exist), ArchiveInUse, DiskError, StorageError. Whatever it raises,
    what was recorded is on the disk, and the next start goes on from there.
    """
    clock, disk = clock or SystemClock(), disk or Disk()
    layout = Layout(config.archive.path.resolve())
    disk.make_dir(layout.data)
    with _held(layout), ThreadPoolExecutor(THREADS, "recorder") as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        layout.create(disk)
        files.sweep_staging(layout, disk)
        with files.staging(layout, disk) as staging, contextlib.ExitStack() as opened:
            journal = Journal(layout.data, disk, staging=staging, now_ns=clock.wall_ns())
            opened.callback(journal.close)
            # Before the journal is closed and the staging folder goes, every thread must be done with them.
            opened.callback(threads.shutdown)
            if journal.recovered:
                log.warning("cut a torn line", reason=str(journal.recovered))
            archive = TradeArchive(layout, disk, staging=staging)
            ledger = Ledger()
            await asyncio.to_thread(rebuild, ledger, archive, journal)
            jitter = random or Random()  # noqa: S311 -- spreads retries, guards no secret
            run = _Run(config, clock, disk, jitter, archive, journal, ledger, staging)
            await run.until(stop, upkeep_every_s=upkeep_every_s)


def rebuild(ledger: Ledger, archive: TradeArchive, journal: Journal) -> None:
    """Count in ``ledger`` what footers and closed journal segments say is held; there is no other record of it."""
    for pair in archive.layout.pairs():
        archive.coverage.observe_into(ledger, pair)
    for path in journal.closed():
        for entry in segment.entries(path):
            # The drain comes upon the same line and reports it.
            with contextlib.suppress(Malformed):
                if not isinstance(entry, CorruptLine):
                    ledger.observe_trades(parse.journalled_trades(entry.source, entry.payload, entry.recv_ns))


@contextlib.contextmanager
def _held(layout: Layout) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(files.hold(layout.lock))
        except ArchiveInUse:
            raise ArchiveInUse(
                f"another recorder holds the archive {layout.data}: stop it first, or record elsewhere with --data"
            ) from None
        yield


@dataclass(slots=True)
class _Run:
    """One run's objects."""

    config: Config
    clock: Clock
    disk: Disk
    random: Random
    archive: TradeArchive
    journal: Journal
    ledger: Ledger
    staging: Path

    async def until(self, stop: Stop, *, upkeep_every_s: float) -> None:
        config, clock, metrics = self.config, self.clock, Metrics()
        instruments = InstrumentArchive(self.archive.layout, self.disk, staging=self.staging)
        inbox = Inbox()
        async with client_session() as client, serve(config.ops.host, config.ops.port, metrics=metrics):
            http = Http(client, config.exchange.rest_url, pace=Pace(config.exchange.requests_per_second), clock=clock)
            chosen = await self._listed(http, inbox, instruments, stop)
            if chosen is None:
                return
            repair = Repair(self.ledger, self.archive, http, instruments=chosen, clock=clock, metrics=metrics)
            commit = Commit(
                inbox,
                self.journal,
                self.ledger,
                sync_every_s=config.journal.sync_every,
                clock=clock,
                metrics=metrics,
                hole_seen=repair.hole_seen,
            )
            drainer = Drainer(
                self.journal, self.archive, instruments, keep_raw=config.journal.keep > 0, metrics=metrics
            )
            drain_every_s = config.drain_every_s(len(chosen))
            drain = Drain(drainer, self.journal, commit, every_s=drain_every_s, clock=clock)
            poll = Poll(self.ledger, inbox, http, instruments=chosen, clock=clock, metrics=metrics)
            stream = Stream(
                chosen,
                lambda: dial(client, config.exchange.ws_url),
                inbox,
                fallback=poll,
                backoff=Backoff(self.random),
                clock=clock,
                metrics=metrics,
            )
            upkeep = Upkeep(
                self.archive,
                self.disk,
                keep_s=config.journal.keep,
                clock=clock,
                metrics=metrics,
                round_s=upkeep_every_s,
            )
            self._banner(chosen, drain_every_s)
            async with asyncio.TaskGroup() as group:
                interruptible = [group.create_task(task.run()) for task in (poll, repair, upkeep)]
                if config.trades.stream:
                    interruptible.append(group.create_task(stream.run()))
                else:
                    for pair in chosen:
                        poll.take_over(pair)
                committing = group.create_task(commit.run())
                draining = group.create_task(drain.run())
                await stop.asked.wait()
                log.info("stopping: draining the journal; a second signal leaves that to the next start")
                for task in interruptible:
                    task.cancel()
                await asyncio.wait(interruptible)
                committing.cancel()
                await asyncio.wait([committing])
                await commit.flush()
                drain.stop()
                await first_of(asyncio.wait([draining]), stop.hurried.wait())
                draining.cancel()
        log.info("stopped", pairs=len(chosen))

    async def _listed(
        self, http: Http, inbox: Inbox, instruments: InstrumentArchive, stop: Stop
    ) -> Mapping[str, Instrument] | None:
        """Resolve the configured pairs, by the exchange's listing or, where it is out of reach, by the archive's.

        Keeps asking where neither can tell; None if it was stopped meanwhile.
        """
        wait_s = 1.0
        while not stop.asked.is_set():
            asking = asyncio.ensure_future(http.get(rest.asset_pairs()))
            # Raced, because a throttle may make this wait for minutes.
            await first_of(asyncio.wait([asking]), stop.asked.wait())
            if not asking.done():
                asking.cancel()
                await asyncio.wait([asking])
                return None
            try:
                answer = asking.result()
                listing = Listing(parse.instruments(answer.result))
                line = segment.encode(answer.recv_ns, parse.LISTING_SOURCE, answer.body)
                await inbox.put(Inbound(line, []))
                return resolved(self.config.pairs, listing)
            except ExchangeError as error:
                known = Listing(await asyncio.to_thread(instruments.latest))
                with contextlib.suppress(ConfigError):
                    chosen = resolved(self.config.pairs, known)
                    log.warning("listing out of reach; going on with the archived one", reason=str(error))
                    return chosen
                log.warning("cannot start yet; trying again", reason=str(error), retry_in_s=wait_s)
                await first_of(self.clock.sleep(wait_s), stop.asked.wait())
                wait_s = min(LISTING_RETRY_S, wait_s * 2)
        return None

    def _banner(self, chosen: Mapping[str, Instrument], drain_every_s: float) -> None:
        held = sum(self.ledger.of(pair).spans.count() for pair in chosen)
        log.info(
            "kraken-recorder",
            version=__version__,
            pairs=" ".join(chosen),
            archive=str(self.archive.layout.data),
            trades_held=held,
            exchange=self.config.exchange.ws_url,
            requests_per_second=self.config.exchange.requests_per_second,
            drain_every_s=drain_every_s,
        )


def resolved(names: tuple[str, ...], listing: Listing) -> dict[str, Instrument]:
    """Return the instruments that ``names`` mean, by v2 symbol. Raises ConfigError for what cannot be recorded."""
    chosen: dict[str, Instrument] = {}
    for name in names:
        try:
            instrument = listing.resolve(name)
        except UnknownPair as error:
            raise ConfigError(f"pairs: {error}") from None
        if instrument.pair_decimals > PRICE_SCALE or instrument.lot_decimals > QTY_SCALE:
            raise ConfigError(
                f"pairs: {instrument.pair} is traded with {instrument.pair_decimals} price and "
                f"{instrument.lot_decimals} quantity digits, the archive holds {PRICE_SCALE} and {QTY_SCALE}; "
                "leave it out until the archive's schema is finer"
            )
        if instrument.pair != name:
            log.info("pair resolved", name=name, pair=instrument.pair)
        chosen[instrument.pair] = instrument
    return chosen
