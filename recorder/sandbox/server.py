"""The sandbox exchange on loopback: one market behind Kraken's REST and WebSocket v2 addresses.

Contains the composition, the HTTP server and the one loop that lets time pass: make what is due, write the truth, then
push. The content is in ``rest``, ``websocket`` and ``wire_format``, the faults in
``fault_schedule``, and those that tests inject in ``fault_injection``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from recorder.clock import Clock
from recorder.errors import UsageError
from recorder.sandbox import control_api, wire_format
from recorder.sandbox.book_feed import BookFeed
from recorder.sandbox.candles import INTERVALS
from recorder.sandbox.channels import TRADES, Channel, books, ticker
from recorder.sandbox.clients import Client, Clients
from recorder.sandbox.exchange_status import StatusBoard
from recorder.sandbox.fault_schedule import Act, Faults
from recorder.sandbox.ground_truth import TruthFile
from recorder.sandbox.market_protocol import MarketProtocol
from recorder.sandbox.pairs import Pair, some
from recorder.sandbox.request_log import RequestLog
from recorder.sandbox.rest import Rest
from recorder.sandbox.rest_frontend import RestFrontend
from recorder.sandbox.tape import NewTrades
from recorder.sandbox.throttle import Throttle
from recorder.sandbox.ticker_feed import TickerFeed
from recorder.sandbox.websocket import Connection
from recorder.sandbox.websocket_faults import HALF_DEAD, Stall

if TYPE_CHECKING:  # few sandboxes have an account
    from recorder.sandbox.private_rest import PrivateRest

STEP_S: Final = 0.02
"""The interval of the market's steps: far below what a client can notice, far above what a step costs."""
TRADES_PER_FRAME: Final = 100
"""The maximum number of trades in one frame; longer sweeps are split. No real bound is known (API.md 8.5)."""
GREATEST_BURST: Final = 100_000
"""The maximum trades of one burst: a third of a second of work, and it fits the queue of a client that keeps up."""
GREATEST_JUMP: Final = 1_000_000_000
"""The maximum number of ids skipped at once: more than Kraken has assigned in all."""
GREATEST_ID: Final = 2**63 - 1
BEGIN_S: Final = -62_135_596_800
END_S: Final = 253_402_300_800
"""The end of the years 1 to 9999, in seconds since 1970."""


class Sandbox:
    """A local Kraken. ``truth`` is the file for every trade made (None: no file); ``script`` the scheduled faults."""

    def __init__(
        self,
        market: MarketProtocol,
        *,
        clock: Clock,
        truth: Path | None = None,
        script: Iterable[Act] = (),
        inclusive_since: bool = True,
        inclusive_ohlc: bool = True,
        trades_per_frame: int = TRADES_PER_FRAME,
        seed: int = 1,
        private: PrivateRest | None = None,
    ) -> None:
        self.market = market
        self.requests = RequestLog()
        self.status = StatusBoard(clock)
        self.faults = Faults(clock, hang_up=self._hang_up, script=script, status=self.status)
        self.clients = Clients(clock, self.faults.lines)
        self.rest_url = self.ws_url = ""
        self.clock = clock
        self.private = private
        """The private endpoints, of an invented account; None if there is none."""
        self._truth_path = truth
        self._truth: TruthFile | None = None
        self._rest = Rest(
            market,
            inclusive=inclusive_since,
            inclusive_ohlc=inclusive_ohlc,
            status=self.status.message,
            injected=lambda: self.faults.injected,
        )
        self.edge = RestFrontend(clock, faults=self.faults, requests=self.requests, answer=self._answer)
        self._sent_status = self.status.essence()
        self._trades_per_frame = trades_per_frame
        self._random = Random(seed)
        self._frozen_ns: int | None = None
        self.books = BookFeed(self._market_ns, lambda: self.faults.injected)
        """What is sent of books."""
        self._channels: tuple[Channel, ...] = (TRADES, ticker(TickerFeed(self._market_ns)), books(self.books))
        self._passing: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Sandbox]:
        """Serve until left; port 0 picks a free one. After leaving, the truth contains everything made.

        An error inside the loop refuses all requests, is raised by :meth:`broken`, and at the latest on leaving. Raise
        UsageError if the address is not available, DiskError if the truth cannot be written.
        """
        with contextlib.ExitStack() as stack:
            if self._truth_path is not None:
                self._truth = TruthFile(self._truth_path)
                stack.callback(self._truth.close)
                self._truth.write(
                    self.market.tapes,
                    [
                        NewTrades(symbol, tape.span)
                        for symbol, tape in self.market.tapes.items()
                        if tape.span is not None
                    ],
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
        """Wait, for ever unless the loop fails: then raise its error."""
        assert self._passing is not None, "only a sandbox that serves can break"
        await asyncio.shield(self._passing)

    def step(self) -> None:
        """Let time pass up to now: activate scripted faults, make the trades due, write the truth, push, beat."""
        self.faults.follow_script()
        self._trade()
        if self._sent_status != (status := self.status.essence()):
            self._sent_status = status
            self.clients.tell_status()
        self.clients.beat()

    def burst(self, symbol: str, n: int) -> None:
        """Make ``n`` trades of one pair at once, frozen or not. Raise UsageError for an unknown pair or invalid n."""
        if symbol not in self.market.listing:
            raise UsageError(f"the sandbox lists no pair {symbol!r}; it lists {some(self.market.listing)}")
        if not 1 <= n <= GREATEST_BURST:
            raise UsageError(f"a burst of {n} trades; it must be from 1 to {GREATEST_BURST}")
        self._publish(self.market.burst(symbol, n, self.clock.wall_ns()))

    def skip_ids(self, symbol: str, n: int) -> None:
        """Skip the next ``n`` ids of one pair for good. Raise UsageError for an unknown pair or an invalid n."""
        if symbol not in self.market.listing or not len(self.market.tapes[symbol]):
            raise UsageError(f"no pair {symbol!r} has traded here; the sandbox lists {some(self.market.listing)}")
        if not 1 <= n <= GREATEST_JUMP:
            raise UsageError(f"{n} ids to skip; it must be from 1 to {GREATEST_JUMP}")
        self._trade()
        self.market.tapes[symbol].skip(n)

    def say(self, text: str) -> None:
        """Send every client this frame, whatever it contains."""
        self.clients.say(text)

    def stamp(self, symbol: str, n: int, time_s: int) -> None:
        """Stamp the next ``n`` trades of one pair with this second since 1970, whenever they are made.

        Raise UsageError for an unknown pair, an invalid n, or a time outside the calendar.
        """
        if symbol not in self.market.listing:
            raise UsageError(f"the sandbox lists no pair {symbol!r}; it lists {some(self.market.listing)}")
        if not 1 <= n <= GREATEST_BURST:
            raise UsageError(f"{n} trades to stamp; it must be from 1 to {GREATEST_BURST}")
        if not BEGIN_S <= time_s < END_S:
            raise UsageError(f"{time_s} is no second of the years 1 to 9999; it must be from {BEGIN_S} to {END_S - 1}")
        self._trade()
        self.market.tapes[symbol].stamp(n, time_s * 1_000_000_000)

    def stray(self, symbol: str, trade_id: int) -> None:
        """Send those who follow a pair its newest trade once more, under this id, which REST never shows.

        Raise UsageError if it has not traded, or for an invalid id, or its own.
        """
        if symbol not in self.market.listing or not len(self.market.tapes[symbol]):
            raise UsageError(f"no pair {symbol!r} has traded here; the sandbox lists {some(self.market.listing)}")
        self._trade()
        newest = self.market.tapes[symbol].last_id
        if not newest < trade_id <= GREATEST_ID:
            raise UsageError(f"{trade_id} is no stray id of {symbol}; it must be from {newest + 1} to {GREATEST_ID}")
        self.clients.push(wire_format.stray_frame(self.market.tapes[symbol], trade_id), TRADES, (symbol,))

    def sever(self, symbol: str) -> None:
        """Cut the connections that follow this pair, and no others. Raise UsageError if there are none."""
        for client in self._followers(symbol):
            client.hang_up()

    def deaden(self, symbol: str, stall: Stall = HALF_DEAD) -> None:
        """Make the connections that follow this pair, and no others, dead for good. Raise UsageError likewise."""
        for client in self._followers(symbol):
            client.die(stall)

    def freeze(self) -> None:
        """Make no more trades; everything else continues. Lets a recorder catch up with a market that stands still."""
        if self._frozen_ns is None:
            # Up to this very moment: trades due before it must not be made after the thaw, in a committed candle.
            self._frozen_ns = self._trade()

    def thaw(self) -> None:
        """Make trades again, from where the market stopped; none are made for the time between."""
        if self._frozen_ns is not None:
            self.market.skip(self.clock.wall_ns() - self._frozen_ns)
            self._frozen_ns = None

    def enlist(self, pair: Pair, *, trades_per_s: float = 1.0) -> None:
        """List a new pair, which trades from now on. Raise UsageError if it is listed."""
        self.market.enlist(pair, now_ns=self._trade(), trades_per_s=trades_per_s)

    def delist(self, symbol: str) -> None:
        """Remove a pair from the listing: REST and new subscriptions no longer know it; it stops trading."""
        self._trade()
        self.market.delist(symbol)

    def relist(self, symbol: str, **fields: Any) -> None:  # noqa: ANN401  # AssetPairs fields are of every type
        """Change fields of a listed pair: ``tick_size``, ``pair_decimals``, ``status``, ``altname``, ``wsname``, ….

        A wsname that makes another v2 symbol keeps the trades and their ids; the truth lists them under both. Raise
        UsageError if the pair is not listed or cannot be changed so.
        """
        now_ns = self._trade()
        if symbol not in self.market.listing:
            raise UsageError(f"the sandbox lists no pair {symbol!r}; it lists {some(self.market.listing)}")
        pair = self.market.listing[symbol].changed(**fields)
        self.market.relist(symbol, pair, now_ns=now_ns)
        span = self.market.tapes[pair.symbol].span
        if pair.symbol != symbol and span is not None:
            self._write([NewTrades(pair.symbol, span)])

    def renumber(self, symbol: str) -> None:
        """Restart the ids of a pair at 1. Raise UsageError if it is not listed, or was recorded."""
        self._trade()
        self.market.renumber(symbol)

    def revise(self, symbol: str, minutes: int, start_s: int | None = None) -> int:
        """Change a committed candle once, as Kraken may; return its start. Without ``start_s``, the newest one."""
        step_s, now_s = minutes * 60, self._trade() // 1_000_000_000
        if symbol not in self.market.listing or minutes not in INTERVALS:
            raise UsageError(
                f"there are no candles of {symbol!r} with {minutes} minutes; pairs are {some(self.market.listing)}, "
                f"intervals {', '.join(map(str, INTERVALS))}"
            )
        start_s = now_s // step_s * step_s - step_s if start_s is None else start_s
        if start_s % step_s or start_s + step_s > now_s:
            raise UsageError(
                f"no committed candle of {minutes} minutes starts at {start_s}; try {now_s // step_s * step_s - step_s}"
            )
        self._rest.candles(symbol, minutes).revise(start_s)
        return start_s

    def throttle(self, throttle: Throttle | None) -> None:
        """Limit the rate of REST requests from now on; None lifts the limit."""
        self.edge.throttle = throttle

    def last_ids(self) -> Mapping[str, int]:
        """Return the last id made by each pair that has traded."""
        return {symbol: tape.last_id for symbol, tape in self.market.tapes.items() if len(tape)}

    async def _pass_time(self) -> None:
        try:
            while True:
                self.step()
                await self.clock.sleep(STEP_S)
        except Exception:
            # The task may not be awaited yet, and clients must not go on believing that all is well.
            self.faults.outage()
            raise

    def _trade(self) -> int:
        """Make the trades due up to now, unless frozen; return the time before which no more can be made."""
        now_ns = self.clock.wall_ns()
        if self._frozen_ns is None:
            self._publish(self.market.advance(now_ns))
            for played in self.market.play(now_ns):
                self._write(played.made)
                self.clients.push(played.text, TRADES, played.symbols)
            self._move()
        return now_ns

    def _market_ns(self) -> int:
        """Return the time of the market, which stands still while it is frozen."""
        return self.clock.wall_ns() if self._frozen_ns is None else self._frozen_ns

    def _move(self) -> None:
        """Push what time alone has made due."""
        for channel in self._channels:
            followed = self.clients.followed(channel)
            tapes = [tape for symbol, tape in self.market.tapes.items() if symbol in followed]
            for symbol, update in channel.moves(tapes):
                self.clients.push(update.text, channel, (symbol,), update.requires)

    def _publish(self, runs: list[NewTrades]) -> None:
        self._write(runs)
        for made in runs:
            for channel in (channel for channel in self._channels if made.pair in self.clients.followed(channel)):
                for update in channel.updates(self.market.tapes[made.pair], made, self._trades_per_frame):
                    self.clients.push(update.text, channel, (made.pair,), update.requires)

    def _write(self, runs: Sequence[NewTrades]) -> None:
        if self._truth is not None and runs:
            self._truth.write(self.market.tapes, runs)

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._door])
        application.on_response_prepare.append(self._date)
        application.add_routes(control_api.routes(self))
        application.router.add_get("/v2", self._socket)
        application.router.add_get("/0/public/{method}", self.edge.respond)
        application.router.add_get("/0/{rest:.*}", self.edge.respond)
        if self.private is not None:
            application.router.add_post("/0/private/{method}", self._private)
        return application

    @web.middleware
    async def _door(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse requests while the exchange refuses them; the sandbox's own endpoints are always available."""
        refusal = None if request.path.startswith("/sandbox/") else self.edge.closed_answer(request)
        return await handler(request) if refusal is None else refusal

    async def _date(self, _: web.Request, response: web.StreamResponse) -> None:
        """Set the date of the sandbox's clock, not the host's."""
        response.headers["Date"] = formatdate(self.clock.wall_ns() // 1_000_000_000, usegmt=True)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self.edge.refused_handshake(request)) is not None:
            return refusal
        self.edge.log(request, 101)
        # Like a real one: above 2**53, where a double would corrupt it.
        connection_id = self._random.getrandbits(63) | 1 << 63
        connection = Connection(
            self.market,
            connection_id=connection_id,
            channels=self._channels,
            status=self.status.message,
            rejected=self.faults.rejected,
            injected=lambda: self.faults.injected,
            silent=self.faults.lines.silent,
        )
        return await self.clients.serve(request, connection)

    async def _private(self, request: web.Request) -> web.StreamResponse:
        body, private = await request.text(), self.private
        assert private is not None
        method, headers = request.match_info["method"], request.headers
        return await self.edge.respond_by(
            request, lambda: private.answer(method, headers, body, now_ns=self.clock.wall_ns())
        )

    def _followers(self, symbol: str) -> list[Client]:
        if not (followers := self.clients.following(symbol)):
            raise UsageError(f"no connection follows {symbol!r} at the moment")
        return followers

    def _hang_up(self) -> None:
        self.clients.hang_up()

    def _answer(self, method: str, query: Mapping[str, str]) -> str:
        # Make due trades first: otherwise a candle could be committed before its last trades are made.
        return self._rest.answer(method, query, now_ns=self._trade())


async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
    """Return the bound address in the form used in a URL."""
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror or error}; port 0 is free") from error
    bound_host, bound_port = runner.addresses[0][:2]
    return f"[{bound_host}]:{bound_port}" if ":" in bound_host else f"{bound_host}:{bound_port}"
