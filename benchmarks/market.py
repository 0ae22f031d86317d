"""From receipt to durable, of trades, with and without quotes or books beside them, and whatever happens to these.

    python benchmarks/market.py [SECONDS [ROUNDS [WAY ...]]]

Each line is one way of recording, in rounds of so many seconds that take turns, each against a sandbox in a process of
its own: `off`, nothing beside trades; `quotes`; `books`, of ten levels; `both`; `stopped`, quotes, and the process that
records them is stopped (SIGSTOP) soon after the start; `killed`, quotes, and that process is killed every five seconds.
Times are those of the line that waited longest in each group commit; these are 5 ms apart. Compare only lines of one
call: the rest is the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from recorder import app
from recorder.config import ArchiveConfig, BooksConfig, Config, ExchangeConfig, JournalConfig, OpsConfig, QuotesConfig
from recorder.daemon import child_process
from recorder.ops import process_setup
from recorder.ops.metrics import Metrics
from recorder.runtime.stop import Stop

WAYS = ("off", "quotes", "books", "both", "stopped", "killed")
ALL = ("*",)
RATE = "300"
WARM_UP_S = 5.0
KILL_S = 5.0


@contextlib.asynccontextmanager
async def sandbox() -> AsyncIterator[dict[str, str]]:
    command = (sys.executable, "-m", "recorder", "sandbox", "--json", "--port", "0", "--rate", RATE)
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


async def run(how: str, seconds: float, waited_s: list[float]) -> int:
    """Record for so long, and add what was measured; return the memory of the process beside, in bytes."""
    children: list[Process] = []
    begin = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **options: Any) -> Process:  # noqa: ANN401 -- as the original
        children.append(await begin(*arguments, **options))
        return children[-1]

    async with sandbox() as urls:
        with tempfile.TemporaryDirectory() as folder:
            config = Config(
                pairs=ALL,
                quotes=QuotesConfig(pairs=() if how in {"off", "books"} else ALL),
                books=BooksConfig(pairs=ALL if how in {"books", "both"} else ()),
                archive=ArchiveConfig.model_validate({"path": Path(folder) / "data", "drain_every": "10s"}),
                journal=JournalConfig.model_validate({"sync_every": "5ms"}),
                exchange=ExchangeConfig(rest_url=urls["rest_url"], ws_url=urls["ws_url"], requests_per_second=100),
                ops=OpsConfig(port=0),
            )
            asyncio.create_subprocess_exec = noted
            stop = Stop()
            recording = asyncio.create_task(app.record(config, stop))
            await asyncio.sleep(WARM_UP_S)
            Metrics.observed = waited_s.append  # type: ignore[attr-defined]
            if how == "stopped":
                os.kill(children[-1].pid, signal.SIGSTOP)
            for _ in range(int(seconds / KILL_S)):
                await asyncio.sleep(KILL_S)
                if how == "killed" and children[-1].returncode is None:
                    children[-1].kill()
            peak = max((child_process.resident_bytes(one.pid) or 0 for one in children), default=0)
            if how == "stopped" and children[-1].returncode is None:
                os.kill(children[-1].pid, signal.SIGCONT)
            Metrics.observed = None  # type: ignore[attr-defined]
            stop.signal()
            await recording
            asyncio.create_subprocess_exec = begin
    return peak


def line(how: str, waited_s: list[float], beside: int) -> str:
    """Return what was measured of one way of recording."""
    waited_ms = sorted(one * 1000 for one in waited_s)
    p50, p90, p99 = (waited_ms[int(len(waited_ms) * share)] for share in (0.5, 0.9, 0.99))
    told = f"p50 {p50:6.1f}  p90 {p90:6.1f}  p99 {p99:6.1f}  max {waited_ms[-1]:7.1f} ms"
    return f"{how:8} {len(waited_ms):6} commits  {told}  process beside {beside / 1e6:.0f} MB"


def main() -> None:
    """Measure what each commit observes, and print a line for each way of recording."""
    process_setup.prepare()
    begin = Metrics.__init__

    def measured(self: Metrics) -> None:
        begin(self)
        observe = self.durable_seconds.observe

        def observed(amount: float, exemplar: dict[str, str] | None = None) -> None:
            observe(amount, exemplar)
            if (keep := getattr(Metrics, "observed", None)) is not None:
                keep(amount)

        self.durable_seconds.observe = observed  # type: ignore[method-assign]

    Metrics.__init__ = measured  # type: ignore[method-assign]
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 6
    waited_s: dict[str, list[float]] = {how: [] for how in sys.argv[3:] or WAYS}
    beside = dict.fromkeys(waited_s, 0)
    for _ in range(rounds):
        for how, waited in waited_s.items():
            beside[how] = max(beside[how], asyncio.run(run(how, seconds, waited)))
    for how, waited in waited_s.items():
        print(line(how, waited, beside[how]), flush=True)


if __name__ == "__main__":
    main()
