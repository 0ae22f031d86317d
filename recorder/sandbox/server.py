"""The sandbox exchange on loopback: one market behind Kraken's REST and WebSocket v2 addresses.

Owns the composition, the HTTP rim and the one loop that lets time pass: make what is due, write the truth, then
push. Refuses to know what is said (``rest``, ``socket``, ``wire``) or what goes wrong (``faults``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

from aiohttp import web

from recorder.clock import Clock
from recorder.errors import UsageError
from recorder.sandbox import control, wire
from recorder.sandbox.clients import Clients
from recorder.sandbox.faults import Act, Faults
from recorder.sandbox.requests import Request, Requests
from recorder.sandbox.rest import UNKNOWN_METHOD, Rest, failure
from recorder.sandbox.socket import Connection
from recorder.sandbox.tape import Made
from recorder.sandbox.truth import TruthFile
from recorder.sandbox.venue import Venue

STEP_S: Final = 0.02
"""How often the market moves: far below what a client can notice, far above what a step costs."""
TRADES_PER_FRAME: Final = 100
"""Trades in one frame at most; longer sweeps are split. No real bound is known (API.md 8.5)."""
GREATEST_BURST: Final = 100_000
"""Trades of one burst at most: a third of a second of work, and it fits the queue of a client that keeps up."""

_UNAVAILABLE: Final = "<html><head><title>503 Service Temporarily Unavailable</title></head></html>"


class Sandbox:
    """A local Kraken. ``truth`` is the file for every trade made (None: no file); ``script`` the faults to come."""

    def __init__(
        self,
        market: Venue,
        *,
        clock: Clock,
        truth: Path | None = None,
        script: Iterable[Act] = (),
        inclusive_since: bool = True,
        trades_per_frame: int = TRADES_PER_FRAME,
        seed: int = 1,
    ) -> None:
        self.market = market
        self.requests = Requests()
        self.clients = Clients(clock)
        self.faults = Faults(clock, hang_up=self.clients.hang_up, script=script)
        self.rest_url = self.ws_url = ""
        self._clock = clock
        self._truth_path = truth
        self._truth: TruthFile | None = None
        self._rest = Rest(market, inclusive=inclusive_since)
        self._trades_per_frame = trades_per_frame
        self._random = Random(seed)
        self._frozen_ns: int | None = None
        self._passing: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Sandbox]:
        """Serve until left; port 0 takes a free one. After leaving, the truth holds everything made.

        An error inside the loop shuts the door, is raised by :meth:`broken`, and at the latest on leaving. Raises
        UsageError where the address cannot be had, DiskError where the truth cannot be written.
        """
        with contextlib.ExitStack() as stack:
            if self._truth_path is not None:
                self._truth = TruthFile(self._truth_path)
                stack.callback(self._truth.close)
                self._truth.write(
                    self.market.tapes,
                    [Made(symbol, tape.span) for symbol, tape in self.market.tapes.items() if tape.span is not None],
                )
            runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            try:
                address = await _listen(runner, host, port)
                self.rest_url, self.ws_url = f"http://{address}", f"ws://{address}/v2"
                self.faults.start()
                self._passing = asyncio.create_task(self._pass_time())
                try:
                    yield self
                finally:
                    self._passing.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await self._passing
            finally:
                self.clients.hang_up()
                await runner.cleanup()

    async def broken(self) -> None:
        """Wait, for good unless the loop fails: then raise what it raised."""
        assert self._passing is not None, "only a sandbox that serves can break"
        await asyncio.shield(self._passing)

    def step(self) -> None:
        """Let time pass up to now: throw scripted faults, make the trades due, write the truth, push, beat."""
        self.faults.follow_script()
        if self._frozen_ns is None:
            now_ns = self._clock.wall_ns()
            self._publish(self.market.advance(now_ns))
            for played in self.market.play(now_ns):
                self._write(played.made)
                self.clients.push(played.text, played.symbols)
        self.clients.beat()

    def burst(self, symbol: str, n: int) -> None:
        """Make ``n`` trades of one pair at once, frozen or not. Raises UsageError for an unknown pair or a wild n."""
        if symbol not in self.market.tapes:
            raise UsageError(f"the sandbox lists no pair {symbol!r}; it lists {', '.join(self.market.tapes)}")
        if not 1 <= n <= GREATEST_BURST:
            raise UsageError(f"a burst of {n} trades; it must be from 1 to {GREATEST_BURST}")
        self._publish(self.market.burst(symbol, n, self._clock.wall_ns()))

    def freeze(self) -> None:
        """Make no more trades; everything else goes on. Lets a recorder catch up with a market that stands still."""
        if self._frozen_ns is None:
            self._frozen_ns = self._clock.wall_ns()

    def thaw(self) -> None:
        """Make trades again, from where the market stopped; none are made for the time between."""
        if self._frozen_ns is not None:
            self.market.skip(self._clock.wall_ns() - self._frozen_ns)
            self._frozen_ns = None

    def last_ids(self) -> Mapping[str, int]:
        """Return the last id made by each pair that has traded."""
        return {symbol: tape.last_id for symbol, tape in self.market.tapes.items() if len(tape)}

    async def _pass_time(self) -> None:
        try:
            while True:
                self.step()
                await self._clock.sleep(STEP_S)
        except Exception:
            # Perhaps nobody looks at this task yet, and no client must go on believing that all is well.
            self.faults.outage()
            raise

    def _publish(self, runs: list[Made]) -> None:
        self._write(runs)
        for made in runs:
            for text in wire.update_frames(self.market.tapes[made.pair], made, limit=self._trades_per_frame):
                self.clients.push(text, (made.pair,))

    def _write(self, runs: Sequence[Made]) -> None:
        if self._truth is not None and runs:
            self._truth.write(self.market.tapes, runs)

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._door])
        application.add_routes(control.routes(self))
        application.router.add_get("/v2", self._socket)
        application.router.add_get("/0/public/{method}", self._answer)
        application.router.add_get("/0/{rest:.*}", self._unknown)
        return application

    @web.middleware
    async def _door(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Log what Kraken would see, and shut out who comes while the door is shut."""
        if request.path.startswith("/sandbox/"):
            return await handler(request)
        if self.faults.refusing:
            self._log(request, 503)
            return web.Response(status=503, text=_UNAVAILABLE, content_type="text/html")
        if request.path == "/v2":
            self._log(request, 101)
            return await handler(request)
        response = await handler(request)
        self._log(request, response.status)
        return response

    def _log(self, request: web.Request, status: int) -> None:
        at_s, time_ns = self._clock.monotonic(), self._clock.wall_ns()
        # As it came: a parsed query would hide what a client does and does not encode.
        query = request.raw_path.partition("?")[2]
        self.requests.add(Request(at_s, time_ns, request.method, request.path, query, status))

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        # As a real one: above 2**53, where a double would corrupt it.
        connection_id = self._random.getrandbits(63) | 1 << 63
        return await self.clients.serve(request, Connection(self.market, connection_id=connection_id))

    async def _answer(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        return _body(self._rest.answer(method, request.query, now_ns=self._clock.wall_ns()))

    async def _unknown(self, _request: web.Request) -> web.Response:
        return _body(failure(UNKNOWN_METHOD))


async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
    """Return the address bound, as it stands in a URL."""
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror or error}; port 0 is free") from error
    bound_host, bound_port = runner.addresses[0][:2]
    return f"[{bound_host}]:{bound_port}" if ":" in bound_host else f"{bound_host}:{bound_port}"


def _body(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")
