"""Quotes recorded over simulated time in which everything goes wrong, by the composition of the process itself.

The process runs as a task beside the sandbox, both on one fast clock. What each of its connections received is noted by
nothing of the recorder's, and read by a parser of its own, to compare the archive with. In short within the suite
(test_quotes.py), for an hour by hand (benchmarks/quotes_hour.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import pyarrow.dataset as pads

from recorder import market
from recorder.archive import verify_tables
from recorder.archive.layout import Layout
from recorder.config import ArchiveConfig, QuotesConfig
from recorder.kraken import timestamps
from recorder.net.websocket import Socket, dial
from recorder.runtime.stop import Stop
from tests.end_to_end.fault_bench import Bench
from tests.end_to_end.harness import until

TICKER = b'{"channel":"ticker",'
VALUES = ("bid", "bid_qty", "ask", "ask_qty", "last")
ODD = (("bid", "-1.0"), ("symbol", "null"), ("ask", "null"), ("timestamp", ""))
"""Fields of a row and what the sandbox may send for them: two rows that cannot be read, and two that can."""


@dataclass
class Received:
    """What came on one connection: when, and the frame, as bytes."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def connection_id(self) -> int:
        """Return how the exchange calls the connection."""
        (told,) = (frame for _, frame in self.frames if b'"connection_id":' in frame)
        return int(json.loads(told)["data"][0]["connection_id"])

    @property
    def ticker(self) -> list[tuple[int, bytes]]:
        """The frames of the ticker."""
        return [(at_ns, frame) for at_ns, frame in self.frames if frame.startswith(TICKER)]


class Noted:
    """A connection whose frames are noted as they are received."""

    def __init__(self, socket: Socket, bench: Bench, into: Received) -> None:
        self._socket, self._bench, self._into = socket, bench, into
        self.send, self.close = socket.send, socket.close

    async def receive(self) -> bytes:
        frame = await self._socket.receive()
        self._into.frames.append((self._bench.clock.wall_ns(), frame))
        return frame


class Quotes:
    """The process that records quotes of ``pairs`` of a bench, begun and ended again and again."""

    def __init__(self, bench: Bench, pairs: Sequence[str], *, drain_every: str) -> None:
        archive = ArchiveConfig.model_validate({"path": bench.data, "drain_every": drain_every})
        self._config = bench.config(quotes=QuotesConfig(pairs=tuple(pairs)), archive=archive)
        self._bench = bench
        self.received: list[Received] = []
        self.drains = 0.0
        bench.sandbox.clients.sent.record("ticker")

    @contextlib.asynccontextmanager
    async def recording(self, *, drained: bool = True) -> AsyncIterator[None]:
        """Record; at the end drain, or leave that to the next start."""
        stop, report, begun = Stop(), market.Report(), len(self.received)
        clock, random = self._bench.clock, Random(begun)

        @contextlib.asynccontextmanager
        async def noted(*arguments: Any) -> AsyncIterator[Socket]:
            async with dial(*arguments) as socket:
                self.received.append(Received())
                yield Noted(socket, self._bench, self.received[-1])

        with mock.patch("recorder.market.dial", noted):
            recording = market.record(self._config, stop, asyncio.Queue(), report, clock=clock, random=random)
            running = asyncio.create_task(recording)
            try:
                await until(lambda: any(one.ticker for one in self.received[begun:]) or running.done(), what="a quote")
                yield
            finally:
                stop.signal()
                if not drained:
                    stop.signal()
                await running
        self.drains += sum(
            float(line.rsplit(" ", 1)[1])
            for line in report.state().metrics.splitlines()
            if line.startswith("recorder_market_drain_duration_seconds_count")
        )

    def check(self) -> None:
        """Assert that each frame that was received is stored once, and that sessions tell of exactly these."""
        sent = {str(name): texts for name, texts in self._bench.sandbox.clients.sent.by_connection.items()}
        for connection in (one for one in self.received if one.ticker):
            came = [frame.decode() for _, frame in connection.ticker]
            assert sent.get(str(connection.connection_id), [])[: len(came)] == came
        rows = table(self._bench.data, "quotes")
        stored: dict[str, list[dict[str, Any]]] = {}
        for row in sorted(rows, key=lambda row: (row["pair"], row["session"], row["message"])):
            row["pair"] = row["pair"].replace("%2F", "/")
            stored.setdefault(row["pair"], []).append(row)
        wanted = expected(self.received)
        assert stored.keys() == wanted.keys()
        for pair, of_pair in stored.items():
            check_rows(of_pair, wanted[pair])
        check_sessions(table(self._bench.data, "quote_sessions"), rows, odd_frames(self.received))
        assert list(verify_tables.findings(Layout(self._bench.data))) == []


def table(data: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pads.dataset(data / name, partitioning="hive").to_table().to_pylist()
    return rows


def micros(moment: Any) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1_000_000)


def check_rows(stored: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> None:
    """Assert that the stored rows of a pair are those that were received, with all their values."""
    told = sorted(stored, key=lambda row: (micros(row["received"]), row["session"], row["message"]))
    moments = Counter(micros(row["received"]) for row in told)
    moments.subtract(row["received"] for row in wanted)
    odd = {moment: count for moment, count in moments.items() if count}
    assert not odd, f"rows stored more often than received (+) or less often (-), by when they were received: {odd}"
    for row, want in zip(told, sorted(wanted, key=lambda row: row["received"]), strict=True):
        time_us = None if want["timestamp"] is None else timestamps.micros(want["timestamp"])
        assert (micros(row["time"]), micros(row["received"])) == (time_us, want["received"])
        assert [row[name] for name in VALUES] == [want[name] for name in VALUES]


def check_sessions(parts: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], odd: int) -> None:
    """Assert that sessions tell of exactly these rows and of ``odd`` frames at most, and all have an end."""
    of_session: dict[tuple[str, int], list[int]] = {}
    for row in rows:
        of_session.setdefault((row["pair"], row["session"]), []).append(row["message"])
    told: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for part in parts:
        told.setdefault((part["pair"], part["session"]), []).append(part)
    assert told.keys() == of_session.keys()
    unread = 0
    for key, messages in of_session.items():
        found = told[key]
        assert len(messages) == len(set(messages)) == sum(part["rows"] for part in found)
        assert min(messages) == min(part["first_message"] for part in found if part["rows"]) == 0
        last = max(part["last_message"] for part in found)
        assert max(messages) <= last
        unread += last + 1 - len(messages)
        assert any(part["ended"] is not None for part in found)
    assert 0 < unread <= odd


def odd_frames(received: Sequence[Received]) -> int:
    """Return how many frames of the ticker cannot be read."""
    return sum(_is_odd(frame) for connection in received for _, frame in connection.ticker)


def _is_odd(frame: bytes) -> bool:
    try:
        (row,) = json.loads(frame)["data"]
    except ValueError:
        return True
    return row.get("symbol") is None or (row.get("bid") or 0) < 0


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
                numbers = [one.get(name) for name in VALUES]
                if isinstance(one.get("symbol"), str) and not any(n is not None and n < 0 for n in numbers):
                    rows.setdefault(one["symbol"], []).append(
                        {
                            "received": at_ns // 1000,
                            **{name: one[name] for name in VALUES},
                            "timestamp": one.get("timestamp"),
                        }
                    )
    return rows
