"""What the end-to-end tests share: a recorder in this process or its own, and waiting for a condition."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import functools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import recorder
from recorder import app
from recorder.archive import read_trades
from recorder.archive.layout import Layout
from recorder.clock import Clock
from recorder.config import ArchiveConfig, Config, ExchangeConfig, JournalConfig, OpsConfig
from recorder.core.model import Trade
from recorder.core.trade_ids import Span, Spans
from recorder.ops import archive_status
from recorder.runtime.stop import Stop
from recorder.sandbox.server import Sandbox
from tests.preloaded import Start

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared"
_OVERRIDES = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of Linux, by which root looks into everything."""
PATIENCE_S = 300.0
"""How long a condition may take before the test fails: a guard against hanging alone, which no slow machine reaches."""


async def until(true: Callable[[], bool], *, what: str) -> None:
    """Return once ``true()`` is; looks again and again, and fails with ``what`` if it never is.

    It sleeps longer than looks take: to read an archive and its journal may take longer than what is waited for.
    """
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        began_s = time.thread_time()
        if true():
            return
        assert time.monotonic() < deadline_s, f"in vain: {what}"
        await asyncio.sleep(max(0.02, 5 * (time.thread_time() - began_s)))


def config_for(sandbox: Sandbox, data: Path, *pairs: str, drain_every_s: float = 300.0, pace: float = 200.0) -> Config:
    return Config(
        pairs=pairs or tuple(pair.symbol for pair in sandbox.market.listing.pairs),
        archive=ArchiveConfig.model_validate({"path": data, "drain_every": f"{drain_every_s}s"}),
        journal=JournalConfig.model_validate({"sync_every": "20ms", "keep": "1d"}),
        exchange=ExchangeConfig(rest_url=sandbox.rest_url, ws_url=sandbox.ws_url, requests_per_second=pace),
        ops=OpsConfig(port=0),
    )


@contextlib.contextmanager
def as_others_are() -> Iterator[None]:
    """Let this thread, and what it starts, be denied what others are denied, even where it is root's."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # linux/capability.h, version 3; this thread
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; and the same of the upper half
    if not hasattr(libc, "capset") or libc.capget(header, sets):
        pytest.skip("root may read everything here, and cannot give that up")
    before = sets[0]
    sets[0] = before & ~_OVERRIDES
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(header, sets) == 0


@contextlib.contextmanager
def denied(folder: Path) -> Iterator[None]:
    """Let nobody look into ``folder``, not even root."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0)
    try:
        with as_others_are():
            yield
    finally:
        folder.chmod(0o755)


@contextlib.asynccontextmanager
async def recording(
    config: Config, rhythm: app.Intervals | None = None, clock: Clock | None = None
) -> AsyncIterator[Stop]:
    """Record while the context lasts, then stop as SIGTERM would and wait until all is drained."""
    stop = Stop()
    task = asyncio.create_task(app.record(config, stop, clock=clock, intervals=rhythm))
    try:
        yield stop
    finally:
        stop.signal()
        await task


def caught_up(data: Path, last_ids: Mapping[str, int]) -> bool:
    """Tell whether archive and journal reach every pair's last id without a hole."""
    if not (data / "trades").is_dir():
        return False
    held = {pair.pair: pair for pair in archive_status.read(data)}
    return all(pair in held and held[pair].last_id == last and not held[pair].holes for pair, last in last_ids.items())


def archived(data: Path) -> list[Trade]:
    layout = Layout(data)
    return [trade for pair in layout.pairs() for trade in read_trades.trades(layout, pair)]


class Forked:
    """A process of the command line that is a copy of one which has loaded it; the part of Popen that is needed."""

    def __init__(
        self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str], stdout: Path, stderr: Path
    ) -> None:
        self._exit_code = stdout.with_suffix(".exit")
        start: Start = {
            "arguments": list(arguments),
            "cwd": str(cwd),
            "environ": dict(environ),
            "stdout": str(stdout),
            "stderr": str(stderr),
            "exit_code": str(self._exit_code),
        }
        preloaded = _preloaded()
        assert preloaded.stdin is not None
        assert preloaded.stdout is not None
        preloaded.stdin.write(json.dumps(start) + "\n")
        preloaded.stdin.flush()
        self.pid = int(preloaded.stdout.readline())

    def poll(self) -> int | None:
        return int(self._exit_code.read_text()) if self._exit_code.exists() else None

    def wait(self) -> int:
        while (code := self.poll()) is None:
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@functools.cache
def _preloaded() -> subprocess.Popen[str]:
    """Start what starts all others, once; it ends when this process does."""
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(REPOSITORY / "tests" / "preloaded.py")]
    started = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(started.communicate)
    return started


class Process:
    """``recorder`` as its own process: forked, or a new interpreter if the environment sets options of Python."""

    def __init__(self, *arguments: str, cwd: Path, **environ: str) -> None:
        self.log = (cwd / f"log-{time.monotonic_ns()}.txt").open("w+")
        path = Path(self.log.name)
        whole = {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1", **environ}
        self._process: Forked | subprocess.Popen[bytes]
        if any(name.startswith("PYTHON") for name in environ):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "recorder", *arguments],
                cwd=cwd,
                env=whole,
                stdout=self.log,
                stderr=subprocess.STDOUT,
            )
        else:
            self._process = Forked(arguments, cwd, whole, path, self._stderr(path))

    def _stderr(self, log: Path) -> Path:
        return log

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def ended(self) -> int:
        return await asyncio.wait_for(asyncio.to_thread(self._process.wait), PATIENCE_S)

    async def says(self, text: str) -> None:
        """Return once ``text`` is in its output; fails with all of it if it ends or never says so."""
        await until(lambda: text in self.said or not self.running, what=f"{text!r}")
        assert text in self.said, self.said

    @property
    def said(self) -> str:
        return Path(self.log.name).read_text()

    def close(self) -> None:
        if self.running:
            self._process.kill()
            self._process.wait()
        self.log.close()


class WatchedProcess(Process):
    """The same, with a terminal for its standard error."""

    def __init__(self, *arguments: str, cwd: Path, **environ: str) -> None:
        self._terminal, self._other_end = os.openpty()
        super().__init__(*arguments, cwd=cwd, TERM="xterm", **environ)
        os.close(self._other_end)

    def _stderr(self, log: Path) -> Path:
        return Path(os.ttyname(self._other_end))

    async def shows(self, text: str | None) -> str:
        """Read on until ``text`` is shown, or with None until its end; return what was shown since the last call."""
        return await asyncio.to_thread(read_until, self._terminal, text)

    def close(self) -> None:
        super().close()
        os.close(self._terminal)


def read_until(terminal: int, text: str | None) -> str:
    """Read what is written to a pseudo-terminal until ``text`` is in it, or with None until nobody has it open."""
    said = b""
    while text is None or text.encode() not in said:
        assert select.select([terminal], [], [], PATIENCE_S)[0], f"in vain: {text!r} in {said!r}"
        try:
            said += os.read(terminal, 65_536)
        except OSError:  # as Linux says that the other end is closed
            assert text is None, said
            break
    return said.decode()


def environ_for(sandbox: Sandbox, *pairs: str, drain_every: str = "1s") -> dict[str, str]:
    """Configure a process through the environment twins."""
    return {
        "RECORDER_PAIRS": ",".join(pairs or [pair.symbol for pair in sandbox.market.listing.pairs]),
        "RECORDER_ARCHIVE__DRAIN_EVERY": drain_every,
        "RECORDER_JOURNAL__SYNC_EVERY": "20ms",
        "RECORDER_EXCHANGE__REST_URL": sandbox.rest_url,
        "RECORDER_EXCHANGE__WS_URL": sandbox.ws_url,
        "RECORDER_EXCHANGE__REQUESTS_PER_SECOND": "200",
        "RECORDER_OPS__PORT": "0",
    }


def rows(data: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows that SQL gives, decimals as they are."""
    with recorder.connect(data) as archive:
        table = archive.sql(query, to="arrow", decimals=True)
    return [tuple(row.values()) for row in table.to_pylist()]


async def served(sandbox: Sandbox, pair: str, minutes: int) -> list[tuple[Any, ...]]:
    """Return the committed candles that the sandbox serves now, as they are printed."""
    url = f"{sandbox.rest_url}/0/public/OHLC?pair={pair}&interval={minutes}"
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        content = json.loads(await answer.text())
    found = content["result"][pair][:-1]
    return [(row[0], *map(Decimal, row[1:7]), row[7]) for row in found]


def candles_held(data: Path, view: str, pair: str, timeframe: str) -> list[tuple[Any, ...]]:
    return rows(
        data,
        f"SELECT epoch_us(time) // 1000000, open, high, low, close, vwap, volume, count FROM {view} "
        f"WHERE pair = '{pair}' AND timeframe = '{timeframe}' ORDER BY time",
    )


def kinds(data: Path) -> Counter[str]:
    return Counter(kind for (kind,) in rows(data, "SELECT kind FROM events"))


def first_held(data: Path, pair: str) -> int:
    """The first id recorded of a pair."""
    return next(one.first_id for one in archive_status.read(data) if one.pair == pair)


def streamed(sandbox: Sandbox) -> set[str]:
    return {symbol for client in sandbox.clients._clients for symbol in client.connection.symbols}


def claimed_now(data: Path) -> dict[str, Spans]:
    """Return what a live reader counts at this moment."""
    with recorder.connect(data, live=True) as archive:
        rows = archive.coverage(to="arrow").to_pylist()
    claims: dict[str, Spans] = {}
    for row in rows:
        claims.setdefault(row["pair"], Spans()).add(Span(row["first_id"], row["last_id"]))
    return claims


def held_on_disk(data: Path) -> dict[str, Spans]:
    """Return what archive and journal hold, read as a start-up reads them: no request has been made."""
    held = {}
    for pair in archive_status.read(data):
        held[pair.pair] = Spans(Spans(gap.span for gap in pair.holes).missing(Span(pair.first_id, pair.last_id)))
    return held
