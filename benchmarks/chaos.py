"""Harm a running archive in every way that people and disks know, for minutes, under recording and readers.

A sandbox in this process, a recorder in another, and a thread that asks question after question. In each round one file
or two of pairs and maybe one of candles, events or listings are harmed, now and then while the recorder is down, or its
lock is removed; then what sentences say is done, and nothing else. At the end all that was made must be there, each
answer was right or an error that names what was harmed, and nobody ended without being asked.

The capability to read what others may not is given up, so that files of mode 0 cannot be read by root either.

Run by hand: python -m benchmarks.chaos [--minutes 5] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

from recorder import app
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import CHARACTERS, Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.chaos import TABLES, TWO_PAIRS, Chaos, Harm, Readers, Truth, complaints, rows
from tests.end_to_end.harness import Process, as_others_are, caught_up, environ_for, first_held, until

UPKEEP_S: Final = 0.5
PAIRS: Final = tuple(one.pair.symbol for one in CHARACTERS)
HARMED_S: Final = (0.5, 4.0)
"""So long harm lasts, at least and at most, before anybody puts it right."""


class Run:
    """One recorder in a process of its own, that is started, stopped and killed."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self._folder, self._sandbox = folder, sandbox
        self.ended: list[str] = []
        self.process = self._started()

    def _started(self) -> Process:
        arguments = ("run", "--data", str(self._folder / "data"))
        return Process(*arguments, cwd=self._folder, module="benchmarks.chaos", **environ_for(self._sandbox, *PAIRS))

    def look(self) -> None:
        """Start it again if it ended by itself, and keep what it said."""
        if not self.process.running:
            self.ended.append(self.process.said[-3000:])
            self.process = self._started()

    async def down(self, number: signal.Signals) -> None:
        """End it by a signal."""
        self.look()
        self.process.signal(number)
        code = await self.process.ended()
        if code not in {0, -signal.SIGKILL}:
            self.ended.append(f"exit {code}: {self.process.said[-3000:]}")

    def up(self) -> None:
        """Start it again."""
        self.process = self._started()

    async def beside(self) -> None:
        """Remove the lock; another recorder must not take it."""
        (self._folder / "data/.lock").unlink(missing_ok=True)
        second = self._started()
        code = await second.ended()
        if code != 3:
            self.ended.append(f"a second recorder ended with {code}: {second.said[-1000:]}")


async def rounds(chaos: Chaos, readers: Readers, run: Run, sandbox: Sandbox, *, until_s: float) -> Counter[str]:
    """Harm, wait and mend until the time is over."""
    done, random, data = Counter[str](), chaos.random, chaos.data
    while time.monotonic() < until_s:
        _burst(sandbox, random)
        await until(lambda: caught_up(data, sandbox.last_ids()), what="all is held")
        down = random.choice([None, None, None, signal.SIGTERM, signal.SIGKILL])
        if down is not None:
            await run.down(down)
            done[f"down by {down.name}"] += 1
        harms = _harm(chaos)
        readers.harms += harms
        _burst(sandbox, random)
        if down is not None:
            run.up()
        elif random.random() < 0.15:
            await run.beside()
            done["the lock was removed"] += 1
        await asyncio.sleep(random.uniform(*HARMED_S))
        _burst(sandbox, random)
        run.look()
        await _mended(chaos, run, sandbox, harms)
        done["rounds"] += 1
        readers.forget()
    return done


def _burst(sandbox: Sandbox, random: Random) -> None:
    for pair in PAIRS:
        sandbox.burst(pair, random.randrange(1, 40))


def _harm(chaos: Chaos) -> list[Harm]:
    random = chaos.random
    victim, other, third = random.sample(PAIRS, 3)
    found = [chaos.harm_pair(victim, other)]
    if found[0] is not None and found[0].kind not in TWO_PAIRS and random.random() < 0.3:
        doing = random.choice([one for one in chaos.of_pairs if one.__name__ not in {"misplaced", "copied_to_another"}])
        found.append(chaos.harm_pair(third, other, doing))
    if random.random() < 0.4:
        found.append(chaos.harm_table(random.choice(TABLES)))
    return [one for one in found if one is not None]


async def _mended(chaos: Chaos, run: Run, sandbox: Sandbox, harms: list[Harm]) -> None:
    data, deadline_s = chaos.data, time.monotonic() + 90
    while True:
        while await asyncio.to_thread(chaos.mend):
            run.look()
        if not complaints(data) and caught_up(data, sandbox.last_ids()):
            break
        if time.monotonic() > deadline_s:
            raise AssertionError(f"it does not heal from {[one.kind for one in harms]}: {complaints(data)}")
        run.look()
        await asyncio.sleep(0.2)
    now_s = time.monotonic()
    for one in harms:
        one.healed_s = now_s


async def main_of(minutes: float, seed: int, folder: Path) -> bool:
    """Run, print what came of it, and tell whether all is well."""
    clock, random, data = SystemClock(), Random(seed), folder / "data"
    market = Market(start_ns=clock.wall_ns(), seed=seed, rate=10, history=200)
    async with Sandbox(market, clock=clock, truth=folder / "truth", trades_per_frame=5).serve() as sandbox:
        run = Run(folder, sandbox)
        await until((data / "trades").is_dir, what="the archive is there")
        await until(lambda: all(Layout(data).trade_files(pair) for pair in PAIRS), what="all pairs are archived")
        chaos = Chaos(data, folder / "aside", PAIRS, random, denied=True)
        readers = Readers(data, Truth(folder / "truth"), PAIRS, Random(seed))
        thread = threading.Thread(target=readers.run)
        thread.start()
        try:
            done = await rounds(chaos, readers, run, sandbox, until_s=time.monotonic() + minutes * 60)
            sandbox.freeze()  # what is made after the end is nobody's
            await until(lambda: caught_up(data, sandbox.last_ids()), what="all is held in the end")
        finally:
            readers.stopped.set()
            await asyncio.to_thread(thread.join)
            if run.process.running:
                await run.down(signal.SIGTERM)
        firsts = {pair: first_held(data, pair) for pair in PAIRS}
        verdict = compare(rows(data), read_truth(folder / "truth"), first_ids=firsts)
    print(f"seed {seed}: {dict(done)}")
    print(f"harm: {dict(sorted(chaos.done.items()))}")
    print(f"remedies followed: {dict(chaos.keeper.done)}")
    print(f"asked {readers.asked.total():,}: {readers.told.total():,} errors that name what was harmed")
    print(f"{len(readers.wrong)} wrong answers or errors that name nothing harmed")
    for kind, count in Counter(line.split(" amid ")[0].split(" of ")[0] for line in readers.wrong).items():
        print(f"   {count} by {kind}")
    for line in list(dict.fromkeys(readers.wrong))[:25]:
        print(f"  {line}")
    print(f"{len(run.ended)} ends that nobody asked for")
    for said in run.ended[:5]:
        print(said)
    print(f"in the end {verdict}")
    return verdict.perfect and not readers.wrong and not run.ended


def main() -> None:
    """Read the command line; as ``run`` be the recorder, which looks more often than by default."""
    if sys.argv[1:2] == ["run"]:
        from recorder import cli  # noqa: PLC0415

        vars(app)["Intervals"] = functools.partial(app.Intervals, maintenance_s=UPKEEP_S)
        cli.main()
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", "certificates are unknown")
    with as_others_are(), tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        sys.exit(0 if asyncio.run(main_of(asked.minutes, asked.seed, Path(folder))) else 1)


if __name__ == "__main__":
    main()
