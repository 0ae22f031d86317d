"""Several recorders of one exchange, two of them kill -9'd, and one archive that merges make of theirs.

    python -m benchmarks.standby [--seconds 60] [--every 5] [--rate 300] [--seed 1]

A sandbox in this process; three recorders in processes of their own, each with an archive of its own: `alone` records
one part of the pairs, `primary` and `standby` both record the others, quotes included. Every few seconds the three are
merged into a fourth archive, while they record. After a third of the time the primary is killed with SIGKILL, after
half of it started again, and after two thirds the standby is killed and stays dead. In the end the merged archive is
compared with the truth of the sandbox: every trade once, each digit as it was made.

Printed are the verdict, what each merge cost and read, and how many trades have a receive time in each archive: those
that one recorder missed while it was down it has from REST, without one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import CHARACTERS, Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import REPOSITORY, Process, archived, caught_up, environ_for, rows, until

SHARED: Final = "*/USD"
"""What the primary and the standby record."""
REST: Final = "*/EUR"
PACE: Final = "20"


class Machine:
    """A recorder with an archive of its own, started, stopped and killed."""

    def __init__(self, name: str, folder: Path, sandbox: Sandbox, pairs: str, *, quotes: bool) -> None:
        self.name, self.data, self._folder = name, folder / name, folder
        environ = environ_for(sandbox, pairs, drain_every="3s")
        environ["RECORDER_EXCHANGE__REQUESTS_PER_SECOND"] = PACE
        self._environ = environ | ({"RECORDER_QUOTES__PAIRS": pairs} if quotes else {})
        self.up()

    def up(self) -> None:
        """Start it, or start it again."""
        self.process = Process("run", "--data", str(self.data), cwd=self._folder, **self._environ)

    async def down(self, number: signal.Signals) -> None:
        """End it by a signal."""
        self.process.signal(number)
        code = await self.process.ended()
        assert code == (0 if number == signal.SIGTERM else -number), self.process.said[-3000:]


def merged(source: Path, into: Path) -> tuple[float, dict[str, Any]]:
    """Merge one archive into another by a process; return its CPU seconds, and what it reports."""
    command = [sys.executable, "-m", "recorder", "merge", str(source), "--data", str(into), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=into.parent, env=_environ()) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    report: dict[str, Any] = json.loads(said)
    assert process.returncode == 0, report
    return used.ru_utime + used.ru_stime, report


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


async def merge_all(machines: Sequence[Machine], into: Path, costs: dict[str, list[float]]) -> None:
    """Merge all archives into one, and print what each brought."""
    for machine in machines:
        spent_s, report = await asyncio.to_thread(merged, machine.data, into)
        costs.setdefault(machine.name, []).append(spent_s)
        added, compared = (sum(pair[what] for pair in report["pairs"]) for what in ("added", "compared"))
        print(
            f"merge {machine.name:8} {spent_s:5.2f} s CPU  {added:7,} trades added  {compared:7,} compared  "
            f"{report['files_merged_before']:4} files not read again  {report['candles_added']:4} candles  "
            f"{report['quotes_added']:6,} quotes",
            flush=True,
        )


async def failover(
    machines: Mapping[str, Machine], into: Path, seconds: float, every_s: float
) -> dict[str, list[float]]:
    """Record for so long, with kills and merges; return what each merge cost."""
    costs: dict[str, list[float]] = {}
    began_s = time.monotonic()
    primary, standby = machines["primary"], machines["standby"]
    acts: list[tuple[float, str, Callable[[], Awaitable[None]]]] = [
        (seconds / 3, "the primary is killed", partial(primary.down, signal.SIGKILL)),
        (seconds / 2, "the primary is started again", partial(asyncio.to_thread, primary.up)),
        (seconds * 2 / 3, "the standby is killed, and stays dead", partial(standby.down, signal.SIGKILL)),
    ]
    while time.monotonic() < began_s + seconds:
        due_s = time.monotonic() + every_s
        while acts and time.monotonic() >= began_s + acts[0][0]:
            _, what, act = acts.pop(0)
            await act()
            print(f"{time.monotonic() - began_s:5.1f} s: {what}", flush=True)
        await merge_all(list(machines.values()), into, costs)
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
    return costs


def has_trades(data: Path) -> bool:
    """Return whether an archive has trades."""
    return (data / "trades").is_dir() and bool(Layout(data).pairs())


def received(data: Path) -> str:
    """Return how many trades of the shared pairs an archive has, and how many of them with a receive time."""
    query = "SELECT count(*), count(received) FROM trades WHERE pair LIKE '%/USD'"
    ((count, live),) = rows(data, query)
    return f"{count:,} trades, {live:,} of them with a receive time"


def counted(data: Path, table: str, key: str) -> set[tuple[Any, ...]]:
    """Return the keys of the rows of a table."""
    return set(rows(data, f"SELECT DISTINCT {key} FROM {table}"))


async def main_of(seconds: float, every_s: float, rate: float, seed: int, folder: Path) -> bool:
    """Run, print what came of it, and return whether all is well."""
    clock, into = SystemClock(), folder / "merged"
    market = Market(start_ns=clock.wall_ns(), seed=seed, rate=rate, history=200)
    pairs = [one.pair.symbol for one in CHARACTERS]
    async with Sandbox(market, clock=clock, truth=folder / "truth", trades_per_frame=5).serve() as sandbox:
        machines = {
            "alone": Machine("alone", folder, sandbox, REST, quotes=False),
            "primary": Machine("primary", folder, sandbox, SHARED, quotes=True),
            "standby": Machine("standby", folder, sandbox, SHARED, quotes=True),
        }
        for one in machines.values():
            await until(partial(has_trades, one.data), what=f"{one.name} has trades")
        costs = await failover(machines, into, seconds, every_s)
        sandbox.freeze()
        for name in ("alone", "primary"):
            of_it = {pair: last for pair, last in sandbox.last_ids().items() if pair.endswith(_ends(name))}
            await until(partial(caught_up, machines[name].data, of_it), what=f"{name} has everything")
            await machines[name].down(signal.SIGTERM)
        await merge_all(list(machines.values()), into, costs)
        await merge_all(list(machines.values()), into, costs)
        made = sandbox.last_ids()
    verdict = compare(archived(into), read_truth(folder / "truth"), last_ids=made, pairs=_recorded(pairs))
    print(f"merged: {verdict}")
    for name in ("primary", "standby", "merged"):
        print(f"{name:8} {received(folder / name)}")
    well = verdict.perfect
    for table, key in (("ohlc", "pair, timeframe, time"), ("quotes", "pair, session, message")):
        theirs = set[tuple[Any, ...]]().union(*(counted(one.data, table, key) for one in machines.values()))
        here = counted(into, table, key)
        ((count,),) = rows(into, f"SELECT count(*) FROM {table}")
        print(f"{table:8} {len(theirs):,} in the three, {len(here):,} merged, in {count:,} rows")
        well &= theirs == here and (table != "quotes" or count == len(here))
    for name, spent_s in costs.items():
        print(f"{name:8} {len(spent_s)} merges, CPU s: {' '.join(f'{one:.2f}' for one in spent_s)}")
    for verb in ("gaps", "verify"):
        command = [sys.executable, "-m", "recorder", verb, "--data", str(into)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=_environ())
        print(f"{verb:8} exit code {done.returncode}")
        if done.returncode:
            print(done.stdout)
        well &= done.returncode == 0
    files = len(list(into.rglob("*.parquet")))
    print(f"{files} files in the merged archive")
    return well


def _ends(name: str) -> str:
    return "/EUR" if name == "alone" else "/USD"


def _recorded(pairs: Sequence[str]) -> list[str]:
    return [pair for pair in pairs if pair.endswith(("/EUR", "/USD"))]


def main() -> None:
    """Read the options, run, and exit with 1 if anything was lost, doubled or altered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        well = asyncio.run(main_of(given.seconds, given.every, given.rate, given.seed, Path(folder)))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
