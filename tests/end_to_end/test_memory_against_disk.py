"""The metrics of a daemon against what its disk tells, at moments that nobody chose."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.compared_moments import Moments, pairs
from tests.end_to_end.harness import Process, archived, caught_up, environ_for, streamed, until
from tests.servers import free_port

BTC, ETH = "BTC/USD", "ETH/EUR"
MOMENTS, QUIET = 12, 3
"""Moments at which is looked, and at how many of them at least nothing may be under way."""


class Daemon:
    """A recorder in a process of its own, drained every second."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.data, self.sandbox = folder / "data", sandbox
        port = free_port()
        environ = environ_for(sandbox, BTC, ETH) | {"RECORDER_OPS__PORT": str(port)}
        self.process = Process("run", "--data", "data", cwd=folder, **environ)
        moments = Moments(self.process, port, self.data)
        self.metrics, self.stopped, self.compared = moments.metrics, moments.stopped, moments.compared

    async def whole(self) -> None:
        await until(lambda: caught_up(self.data, self.sandbox.last_ids()), what=f"all is held\n{self.process.said}")

    async def differed(self, times: float) -> None:
        """Return once it has found that often that memory differs; fails if it never does."""
        async with asyncio.timeout(60):
            while (await self.metrics())[2] < times:
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def daemon_of(folder: Path) -> AsyncIterator[Daemon]:
    clock = SystemClock()
    market = Market(start_ns=clock.wall_ns(), rate=0, history={BTC: 300, ETH: 300})
    async with Sandbox(market, clock=clock, truth=folder / "truth", trades_per_frame=5).serve() as sandbox:
        daemon = Daemon(folder, sandbox)
        try:
            await until(
                lambda: streamed(sandbox) == {BTC, ETH} and {one.pair for one in pairs(daemon.data)} == {BTC, ETH},
                what="it records both pairs",
            )
            yield daemon
            daemon.process.signal(signal.SIGTERM)
            assert await daemon.process.ended() == 0, daemon.process.said
        finally:
            daemon.process.close()


def is_the_truth(folder: Path, sandbox: Sandbox) -> None:
    firsts = {one.pair: one.first_id for one in pairs(folder / "data")}
    truth = read_truth(folder / "truth")
    verdict = compare(archived(folder / "data"), truth, first_ids=firsts, pairs=sandbox.last_ids())
    assert verdict.perfect, str(verdict)


async def test_at_any_moment_the_metrics_of_a_sound_archive_tell_what_the_disk_tells(tmp_path: Path) -> None:
    random = Random(20261129)
    async with daemon_of(tmp_path) as daemon:
        sandbox, quiet, lacking = daemon.sandbox, 0, 0
        for _ in range(MOMENTS):
            if random.random() < 0.5:
                sandbox.faults.release()
                sandbox.faults.throw("unavailable", n=random.randrange(1, 20), path="/0/public/Trades")
                sandbox.faults.throw("drop", n=random.randrange(1, 5))
            for pair in (BTC, ETH):
                sandbox.burst(pair, random.randrange(5, 60))
            await asyncio.sleep(random.random() / 2)
            if (told := await daemon.compared()) is not None:
                quiet, lacking = quiet + 1, lacking + (told.ids > 0)
        sandbox.faults.release()
        assert (await daemon.metrics())[2] == 0, daemon.process.said
        await daemon.whole()
    assert quiet >= QUIET
    assert lacking >= 1
    is_the_truth(tmp_path, sandbox)


def corrupt(journal: Path) -> bool:
    """Change a byte of a line with trades in the open segment, if there is one."""
    path = max(journal.glob("*.jsonl"))
    content = bytearray(path.read_bytes())
    at = content.rfind(b'"trade_id":')
    if at < 0:
        return False
    content[at + 11] ^= 1
    path.write_bytes(content)
    return True


class Damages:
    """Does harm to what a daemon holds, and waits until it is found and made good."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.found = daemon, 0.0

    async def trade(self, pair: str) -> None:
        self.daemon.sandbox.burst(pair, 20)
        await self.daemon.whole()

    def files(self, pair: str) -> list[Path]:
        return sorted(Layout(self.daemon.data).trade_files(pair))

    async def file(self, pair: str) -> None:
        """Have one more file of a pair."""
        more = len(self.files(pair)) + 1
        await self.trade(pair)
        await until(lambda: len(self.files(pair)) >= more, what="a drain brings a file")

    async def made_good(self, pair: str) -> None:
        self.daemon.sandbox.burst(pair, 20)  # so that the pair is drained
        await self.daemon.differed(self.found + 1)
        self.found = (await self.daemon.metrics())[2]
        await self.daemon.whole()
        while (told := await self.daemon.compared()) is None:
            pass
        assert told.ids == 0


async def test_data_damaged_or_removed_while_running_is_missed_and_fetched_again(tmp_path: Path) -> None:
    async with daemon_of(tmp_path) as daemon:
        damages, corrupted = Damages(daemon), False
        while not corrupted:
            await damages.trade(BTC)
            async with daemon.stopped():
                corrupted = corrupt(daemon.data / "journal")
        await damages.made_good(BTC)

        for _ in range(3):
            await damages.file(ETH)
        damages.files(ETH)[-2].unlink()
        await damages.made_good(ETH)

        shutil.rmtree(Layout(daemon.data).pair_dir(ETH))
        await damages.made_good(ETH)
    is_the_truth(tmp_path, daemon.sandbox)
