"""A recorder of quotes in one process, for tests: session, journal and drain are the product's, the loop is the test's.

Until a process of its own records quotes, this drives what it will be made of against the sandbox, on the test's clock:
a connection, the pure session, group commits, rotation and drain; and it keeps a list of what it received, made by
nothing of the recorder's, to compare the archive with.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp

from recorder.archive import archive_id, locks
from recorder.archive.datasets import MARKET_JOURNAL
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.errors import Unavailable
from recorder.ingest.drain import Drainer
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import records
from recorder.kraken.channels import QUOTES
from recorder.kraken.quote_session import NumberedRows, QuoteSession, SessionNumbers, SessionsEnded
from recorder.kraken.websocket_session import Hangup, Send, UnknownFrame
from recorder.net.websocket import Socket, dial
from recorder.ops.metrics import Metrics
from recorder.sandbox.server import Sandbox
from tests.clocks import ManualClock
from tests.powercut import Unsynced

TICKER = b'{"channel":"ticker",'


@dataclass
class Received:
    """What came on one connection: when, and the frame, as bytes."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)
    connection_id: int = 0

    @property
    def ticker(self) -> list[tuple[int, bytes]]:
        """The frames of the ticker."""
        return [(at_ns, frame) for at_ns, frame in self.frames if frame.startswith(TICKER)]


class QuoteRecorder:
    """Records the quotes of ``pairs`` into ``data``; time passes by :meth:`passes` alone."""

    def __init__(self, data: Path, sandbox: Sandbox, clock: ManualClock, pairs: Sequence[str]) -> None:
        self.data, self.clock, self.sandbox, self.pairs = data, clock, sandbox, tuple(pairs)
        self.received: list[Received] = []
        self._numbers = SessionNumbers()
        self._http: aiohttp.ClientSession | None = None
        self._lines: list[bytes] = []
        self._open: tuple[QuoteSession, Socket, asyncio.Task[None]] | None = None
        self._dialled: contextlib.AsyncExitStack | None = None
        self._disk = Unsynced()
        self._start()

    def _start(self) -> None:
        """Start as a process does: make the tables that are not there yet, and open the journal anew."""
        layout = Layout(self.data)
        create(layout, self._disk)
        self._stack = contextlib.ExitStack()
        staging = self._stack.enter_context(locks.staging(layout, self._disk))
        self.journal = Journal(
            self.data,
            self._disk,
            staging=staging,
            now_ns=self.clock.wall_ns(),
            archive=archive_id.read(self.data),
            journal=MARKET_JOURNAL,
        )
        self._stack.callback(self.journal.close)
        self.drainer = Drainer(
            self.journal,
            TradeArchive(layout, self._disk, staging=staging),
            SegmentTables(layout, self._disk, staging=staging, journal=MARKET_JOURNAL),
            keep_raw=False,
            latest_s=lambda: self.clock.wall_ns() / 1e9,
            metrics=Metrics(),
        )

    async def passes(self, seconds: float, step_s: float = 0.1) -> None:
        """Let time pass in steps: the sandbox steps, and all that it sent is received and journalled."""
        for _ in range(round(seconds / step_s)):
            self.clock.move(step_s)
            self.sandbox.step()
            if self._open is None:
                await self._connect()
            await self._settle()
            session = self._open[0] if self._open is not None else None
            if session is not None:
                await self._obey(session.tick(self.clock.monotonic()))
            self._commit()

    async def _settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    def _commit(self) -> None:
        if self._lines:
            self.journal.append(self._lines)
            self._lines = []

    async def _connect(self) -> None:
        self._http = self._http or aiohttp.ClientSession()
        stack = contextlib.AsyncExitStack()
        try:
            socket = await stack.enter_async_context(dial(self._http, self.sandbox.ws_url))
        except Unavailable:
            return
        self._dialled = stack
        self.received.append(Received())
        session = QuoteSession(self.pairs, self._numbers)
        self._open = session, socket, asyncio.create_task(self._read(session, socket, self.received[-1]))
        await self._obey(session.opened(self.clock.monotonic()))

    async def _read(self, session: QuoteSession, socket: Socket, into: Received) -> None:
        with contextlib.suppress(Unavailable):
            while True:
                frame = await socket.receive()
                recv_ns = self.clock.wall_ns()
                into.frames.append((recv_ns, frame))
                if b'"connection_id":' in frame:
                    into.connection_id = json.loads(frame)["data"][0]["connection_id"]
                await self._obey(session.receive(frame, self.clock.monotonic(), received_ns=recv_ns))
        await self._obey(session.closed())
        self._open = None

    async def _obey(self, effects: Sequence[object]) -> None:
        """Carry out effects as the process will: journal what is to be kept, send, hang up."""
        connection = len(self.received)
        for effect in effects:
            match effect:
                case NumberedRows(numbers, frame, received_ns):
                    source = records.numbered_source(QUOTES.name, connection, numbers)
                    self._lines.append(segment.encode(received_ns, source, frame, parsed=True))
                case SessionsEnded(ends):
                    source = records.ended_source(QUOTES.name, connection)
                    self._lines.append(
                        segment.encode(self.clock.wall_ns(), source, records.encode_ends(ends), parsed=True)
                    )
                case UnknownFrame(kind, frame, received_ns):
                    self._lines.append(segment.encode(received_ns, records.stream_source(kind, connection), frame))
                case Send(text):
                    if self._open is not None:
                        with contextlib.suppress(Unavailable):
                            await self._open[1].send(text)
                case Hangup():
                    await self._hang_up()

    async def _hang_up(self) -> None:
        """Leave the connection; what comes of its session is journalled by the reader."""
        if self._dialled is not None and self._open is not None:
            reader = self._open[2]
            self.sandbox.clients.hang_up()  # the closing handshake of a dead line would last seconds
            await self._dialled.aclose()
            await reader
        self._dialled = None

    async def resubscribe(self, *pairs: str) -> None:
        """Renew subscriptions on the open connection."""
        assert self._open is not None
        session = self._open[0]
        await self._obey([*session.drop(pairs), *session.add(pairs, self.clock.monotonic())])

    def drain(self) -> None:
        """Close the segment, and archive all that is closed."""
        self._commit()
        self.journal.rotate(self.clock.wall_ns())
        for path in self.journal.closed():
            self.drainer.drain(path)

    async def killed(self) -> None:
        """End as a process that is killed does, and start anew: what is journalled stays, and no end is noted."""
        self._commit()
        if self._open is not None:
            self._open[2].cancel()
            self._open = None
        self.sandbox.clients.hang_up()
        if self._dialled is not None:
            await self._dialled.aclose()
            self._dialled = None
        self._stack.close()
        self._numbers = SessionNumbers()
        self._start()

    async def stop(self) -> None:
        """End as asked to: note the ends of sessions, and drain."""
        await self._hang_up()
        self.drain()
        if self._http is not None:
            await self._http.close()
        self._stack.close()


def expected(received: Sequence[Received]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that must be stored of what was received, by pair in the order of arrival.

    Read by a parser of its own; a row with a null in the place of a symbol, or below zero, is expected nowhere.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for connection in received:
        for at_ns, frame in connection.ticker:
            try:
                data = json.loads(frame, parse_float=Decimal)["data"]
            except ValueError:
                continue
            for one in data:
                numbers = [one.get(name) for name in ("bid", "bid_qty", "ask", "ask_qty", "last")]
                if isinstance(one.get("symbol"), str) and not any(n is not None and n < 0 for n in numbers):
                    rows.setdefault(one["symbol"], []).append(
                        {
                            "received": at_ns // 1000,
                            **{name: one[name] for name in ("bid", "bid_qty", "ask", "ask_qty", "last")},
                            "timestamp": one.get("timestamp"),
                        }
                    )
    return rows
