from __future__ import annotations

import contextlib
import re
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Collection
from pathlib import Path
from random import Random

import recorder
from recorder.clock import SystemClock
from recorder.ops import archive_status
from recorder.query.follow import LiveTrade
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import Process, archived, caught_up, claimed_now, environ_for, held_on_disk, until
from tests.servers import free_port

KILLS = 4
TRADES_BETWEEN_KILLS = 3000


def claimed(url: str) -> int:
    """Read how many trades the daemon's metrics call durable; 0 while it does not answer yet."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
    except urllib.error.URLError:
        return 0
    counts = re.findall(r"^recorder_trades_total(?:\{[^}]*\})? (\S+)", text, re.MULTILINE)
    return sum(int(float(count)) for count in counts)


class Listener(threading.Thread):
    """Follows all pairs of an archive, each from its first trade on, whatever becomes of the recorder."""

    def __init__(self, data: Path, pairs: Collection[str]) -> None:
        super().__init__()
        self.heard = list[LiveTrade]()
        with recorder.connect(data) as archive:
            self.follower = archive.follow(pairs, after=dict.fromkeys(pairs, 0))
        self.start()

    def run(self) -> None:
        for trade in self.follower:
            self.heard.append(trade)

    def end(self) -> None:
        self.follower.close()
        self.join()


def whole(data: Path, sandbox: Sandbox) -> bool:
    """Return whether the first promised trade of every pair is known, without which a gap at its start is not seen."""
    return caught_up(data, sandbox.last_ids()) and not archive_status.everything(data).unanchored


async def test_killed_at_any_moment_nothing_counted_is_lost_and_all_is_repaired(tmp_path: Path) -> None:
    """2,000 trades a second, a drain every second, kill -9 again and again; one follows all the while."""
    random = Random(20261120)
    clock = SystemClock()
    data = tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=2000), clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve(), contextlib.AsyncExitStack() as at_last:
        listener = None
        for _ in range(KILLS):
            started_with = sum(sandbox.last_ids().values())
            wanted = random.randrange(TRADES_BETWEEN_KILLS // 3, TRADES_BETWEEN_KILLS)
            process = Process("run", "--data", str(data), cwd=tmp_path, **environ_for(sandbox))
            try:
                await until(
                    lambda: (
                        (data / "trades").is_dir()
                        and sum(sandbox.last_ids().values()) >= started_with + wanted  # noqa: B023 -- awaited here
                        and len(archive_status.read(data)) >= 5
                    ),
                    what="the recorder records",
                )
                if listener is None:
                    listener = Listener(data, sandbox.last_ids())
                    at_last.callback(listener.end)
                claims = claimed_now(data)
                process.signal(signal.SIGKILL)
                assert await process.ended() == -signal.SIGKILL
            finally:
                process.close()
            held = held_on_disk(data)
            for pair, spans in claims.items():
                assert all(held[pair].covers(span) for span in spans), f"{pair}: claimed {spans}, held {held[pair]}"
        last = Process("run", "--data", str(data), cwd=tmp_path, **environ_for(sandbox))
        try:
            await last.says("recording")
            sandbox.freeze()
            await until(lambda: whole(data, sandbox), what=f"every hole is closed\n{last.said}")
            last.signal(signal.SIGTERM)
            assert await last.ended() == 0
        finally:
            last.close()
        assert listener is not None
        last_ids = sandbox.last_ids()
        await until(lambda: listener.follower.after.items() >= last_ids.items(), what="all that was followed came")
    rows = archived(data)
    verdict = compare(rows, read_truth(tmp_path / "truth"))
    assert verdict.perfect, str(verdict)
    assert {part.reason for one in listener.heard for part in one.skipped} <= {"before"}
    for pair in last_ids:
        heard = [(one.trade_id, one.price, one.qty, one.side) for one in listener.heard if one.pair == pair]
        stored = [(one.trade_id, one.price, one.qty, one.side) for one in rows if one.pair == pair]
        assert heard == sorted(stored)


async def test_a_claim_in_the_metrics_is_on_the_disk_when_the_recorder_is_killed(tmp_path: Path) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=2000), clock=clock)
    async with sandbox.serve():
        environ = environ_for(sandbox, drain_every="300s") | {"RECORDER_OPS__PORT": str(free_port())}
        process = Process("run", "--data", str(data), cwd=tmp_path, **environ)
        try:
            url = f"http://127.0.0.1:{environ['RECORDER_OPS__PORT']}/metrics"
            seen = 0

            def claims_enough() -> bool:
                nonlocal seen
                seen = claimed(url)
                return seen > 7000

            await until(claims_enough, what="the metrics count trades")
            process.signal(signal.SIGKILL)
            await process.ended()
        finally:
            process.close()
    assert sum(spans.count() for spans in held_on_disk(data).values()) >= seen
