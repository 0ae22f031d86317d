"""A recorder and a sandbox that live by one clock, a hundred times as fast, and the checks at the end.

Whatever goes wrong, the archive becomes the truth, and the exchange is asked with manners.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from recorder import app
from recorder.archive import load_ledger, stored_evidence
from recorder.archive.layout import Layout
from recorder.config import Config, OhlcConfig
from recorder.core.ledger import Ledger
from recorder.journal import live_read
from recorder.kraken import records
from recorder.ops import archive_status
from recorder.ops.certificates import certify
from recorder.runtime.stop import Stop
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.request_log import LoggedRequest
from recorder.sandbox.server import Sandbox
from recorder.sandbox.throttle import CALM_S, FORMS
from tests.end_to_end.harness import archived, caught_up, config_for, until

START_NS = 1_783_425_605_562_702_999
"""2026-07-07T12:00:05Z: no midnight is near."""
TURN_S = 0.1
"""How far the clock goes in one turn of the loop: a heartbeat comes every tenth turn."""
PER_S = 1.0
LATE_S = 4 * TURN_S
"""How long a request or an answer can be under way: the clock turns meanwhile."""
BTC = "BTC/USD"


class FastClock:
    """Time that goes ``turn_s`` in each turn of the loop, a millisecond or more: who is busy is not late by it."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self.turn_s = TURN_S
        self._start_ns = start_ns
        self._now_s = self._stepped_s = 0.0
        self._numbered = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._now_s

    def wall_ns(self) -> int:
        return self._start_ns + int((self._now_s + self._stepped_s) * 1e9)

    async def sleep(self, delay_s: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._numbered += 1
        heapq.heappush(self._sleepers, (self._now_s + delay_s, self._numbered, woken))
        await woken

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            self.advance(self._now_s + self.turn_s)

    def advance(self, now_s: float) -> None:
        """Let it be ``now_s``, and wake who has slept until then."""
        self._now_s = now_s
        while self._sleepers and self._sleepers[0][0] <= now_s:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)

    def forward(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self._now_s += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock, as a person or NTP does."""
        self._stepped_s += seconds

    async def passed(self, seconds: float, *, turn_s: float = TURN_S) -> None:
        """Return once so much time has passed, in turns of this length."""
        self.turn_s = turn_s
        await self.sleep(seconds)
        self.turn_s = TURN_S


@dataclass
class Bench:
    """A sandbox, a recorder of it, and the clock of both."""

    folder: Path
    clock: FastClock
    sandbox: Sandbox
    first_ids: dict[str, int] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def trades(self) -> list[LoggedRequest]:
        return self.sandbox.requests.to("/0/public/Trades")

    def config(self, *, pace: float = PER_S, **changes: object) -> Config:
        config = config_for(self.sandbox, self.data, pace=pace)
        return config.model_copy(update={"ohlc": OhlcConfig(timeframes=()), **changes})

    @contextlib.asynccontextmanager
    async def recording(self, config: Config | None = None, rhythm: app.Intervals | None = None) -> AsyncIterator[None]:
        """Record; on leaving, let the market stand still until all is held."""
        stop = Stop()
        record = app.record(config or self.config(), stop, clock=self.clock, random=Random(1), intervals=rhythm)
        recording = asyncio.create_task(record)
        try:
            await until(lambda: self.held() == set(self.sandbox.last_ids()), what="it records every pair")
            yield
            self.sandbox.freeze()
            await until(self.whole, what="all is held")
        finally:
            stop.signal()
            await recording

    @contextlib.asynccontextmanager
    async def begun(self, config: Config | None = None, rhythm: app.Intervals | None = None) -> AsyncIterator[None]:
        """Record; on leaving, let the market stand still until all that is promised is held."""
        stop = Stop()
        record = app.record(config or self.config(), stop, clock=self.clock, random=Random(1), intervals=rhythm)
        recording = asyncio.create_task(record)
        try:
            yield
            self.sandbox.freeze()
            await until(
                lambda: self.whole() and not archive_status.everything(self.data).unanchored, what="all is held"
            )
        finally:
            stop.signal()
            await recording

    def streamed(self) -> list[set[str]]:
        """The pairs of each connection."""
        return [client.connection.symbols for client in self.sandbox.clients._clients]

    def held(self) -> set[str]:
        return {pair.pair for pair in archive_status.read(self.data)} if (self.data / "trades").is_dir() else set()

    def whole(self) -> bool:
        return caught_up(self.data, self.sandbox.last_ids())

    async def hears(self, *, more: int = 1) -> None:
        """Return once so many more trades are held than now."""
        wanted = self.rows() + more
        await until(lambda: self.rows() >= wanted, what="it hears of trades again")

    def rows(self) -> int:
        return sum(pair.rows for pair in archive_status.read(self.data))

    def holds(self, pair: str, trade_id: int) -> bool:
        ledger, layout = Ledger(), Layout(self.data)
        load_ledger.load(ledger, layout, records.claims(live_read.entries(layout.journal)))
        return trade_id in ledger.of(pair).spans

    def is_the_truth(self) -> None:
        truth = read_truth(self.folder / "truth")
        verdict = compare(archived(self.data), truth, first_ids=self.first_ids, pairs=self.sandbox.last_ids())
        assert verdict.perfect, str(verdict)

    def keeps_its_promises(self) -> None:
        """Nothing is lost from the promise of each pair on, and that is what is certified."""
        layout, truth = Layout(self.data), read_truth(self.folder / "truth")
        told = stored_evidence.read(layout)
        assert set(told.promised) >= self.sandbox.last_ids().keys()
        first_ids = {}
        for pair in self.sandbox.last_ids():
            promise = told.promise(pair)
            assert promise is not None
            assert promise.after_id is not None
            older = [one for one, made in truth[pair].items() if made.time_ns // 1000 < promise.time_us]
            assert promise.after_id == max(older, default=0)
            first_ids[pair] = promise.after_id + 1
        verdict = compare(archived(self.data), truth, first_ids=first_ids, pairs=first_ids)
        assert verdict.perfect, str(verdict)
        for one in certify(layout, sorted(told.promised), told, now_us=self.clock.wall_ns() // 1000):
            assert not one.unanchored
            assert not any(day.missing or day.lacks() for day in one.certificates)

    def has_manners(self, *, per_s: float = PER_S) -> None:
        keeps_the_pace([request for request in self.sandbox.requests if request.path.startswith("/0/")], per_s)
        is_calm_when_refused(self.sandbox.requests)
        dials = [request.at_s for request in self.sandbox.requests.to("/v2")]
        later = zip(dials, dials[100:], strict=False)
        assert all(after - before >= 600 for before, after in later), "too many connection attempts"


def keeps_the_pace(requests: Iterable[LoggedRequest], per_s: float) -> None:
    """Fail if requests come faster than ``per_s``; two may have been late, which does not put off the next."""
    free_s = float("-inf")
    for request in requests:
        assert request.at_s >= free_s - 2 / per_s, f"{request} comes {free_s - request.at_s:.2f} s too early"
        free_s = max(free_s, request.at_s) + 1 / per_s


def is_calm_when_refused(requests: Iterable[LoggedRequest]) -> None:
    """Fail if a request follows a refusal before the pause that Kraken wants is over; the edge's is one of a path."""
    refused_s: dict[str, float] = {}
    for request in requests:
        if request.path.startswith("/0/"):
            last_s = max(refused_s.get(scope, float("-inf")) for scope in ("/0/", request.path))
            assert request.at_s >= last_s + CALM_S - LATE_S, f"{request} comes while throttled"
            if request.fault in {"throttle", *FORMS}:
                refused_s["/0/" if request.status == 200 else request.path] = request.at_s


@contextlib.asynccontextmanager
async def bench_of(
    folder: Path, *, first_id: int = 1, inclusive_since: bool = True, clock: FastClock | None = None, rate: float = 40
) -> AsyncIterator[Bench]:
    clock = FastClock() if clock is None else clock
    market = Market(start_ns=clock.wall_ns(), rate=rate, history=200, first_id=first_id)
    sandbox = Sandbox(market, clock=clock, truth=folder / "truth", trades_per_frame=5, inclusive_since=inclusive_since)
    running = asyncio.create_task(clock.run())
    try:
        async with sandbox.serve():
            yield Bench(folder, clock, sandbox)
    finally:
        running.cancel()
