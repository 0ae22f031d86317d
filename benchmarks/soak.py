"""Record through a random mixture of everything that goes wrong, kills included, and compare with the truth.

A sandbox here, a recorder in a process of its own, and a backfill beside it now and then. The seed decides what is
thrown and when; how the processes meet it is up to the machine. Two faults are left out, because each wants minutes
of calm before the end: ids that never existed (tests/end_to_end/test_matrix.py) and the edge's 403.

Run by hand: python -m benchmarks.soak --minutes 5 --seed 1 [--pairs 6] [--rate 200]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from recorder.archive import read
from recorder.archive.files import Layout
from recorder.clock import SystemClock
from recorder.ops import status
from recorder.sandbox import garble, mishaps
from recorder.sandbox.market import CHARACTERS, Character, Market, character_of
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.requests import Request
from recorder.sandbox.server import Sandbox
from recorder.sandbox.throttle import CALM_S, FORMS, Throttle
from recorder.sandbox.truth import compare, read_truth
from tests.end_to_end.harness import Process, caught_up, environ_for

PACE_PER_S: Final = 20
PAUSE_S: Final = (0.2, 4.0)
"""From one act to the next, shortest and longest."""
LASTS_S: Final = (0.3, 6.0)
FRAMES: Final = (1, 40)
BURST: Final = (10, 5_000)
PATIENCE_S: Final = 600.0
"""After the last fault all is held within a few looks at Ticker, a minute each; then it hangs."""
WINDOW_S: Final = 600.0
ANSWERS: Final = [name for name in mishaps.NAMES if name != "http_403"]


@dataclass
class Soak:
    """One run: what was done, and how much memory the recorder took at most."""

    sandbox: Sandbox
    folder: Path
    random: Random
    done: Counter[str] = field(default_factory=Counter)
    peak_kb: int = 0
    recorder: Process | None = None
    backfill: Process | None = None

    @property
    def data(self) -> Path:
        """The archive."""
        return self.folder / "data"

    def pair(self) -> str:
        """Draw a pair."""
        return self.random.choice([pair.symbol for pair in self.sandbox.market.listing.pairs])

    def start(self) -> None:
        """Start the recorder."""
        self.recorder = self.process("run")

    def process(self, *arguments: str) -> Process:
        """Start a process on the archive."""
        environ = environ_for(self.sandbox) | {"RECORDER_EXCHANGE__REQUESTS_PER_SECOND": str(PACE_PER_S)}
        return Process(*arguments, "--data", str(self.data), cwd=self.folder, **environ)

    async def act(self) -> None:
        """Do one thing, drawn from all that can be done."""
        random, faults = self.random, self.sandbox.faults
        lasts_s = random.uniform(*LASTS_S)
        acts: Sequence[tuple[int, str, Callable[[], object]]] = [
            (4, "outage", lambda: faults.outage(lasts_s)),
            (2, "refuse", lambda: faults.refuse(lasts_s)),
            (4, "disconnect", faults.disconnect),
            *((4, name, lambda name=name: faults.throw(name, n=random.randint(*FRAMES))) for name in garble.FRAMES),
            *((2, name, lambda name=name: faults.throw(name, lasts_s)) for name in garble.LINES),
            (2, "mute", lambda: faults.lines.muted.add(self.pair())),
            (2, "unmute", faults.lines.muted.clear),
            (12, "answers", lambda: faults.throw(random.choice(ANSWERS), lasts_s)),
            (3, "throttle", lambda: self.sandbox.throttle(self.throttle())),
            (6, "unthrottle", lambda: self.sandbox.throttle(None)),
            (8, "burst", lambda: self.sandbox.burst(self.pair(), random.randint(*BURST))),
            (3, "kill", lambda: signal.SIGKILL),
            (1, "stop", lambda: signal.SIGTERM),
            (2, "backfill", self.begin_backfill),
            (2, "kill backfill", self.kill_backfill),
        ]
        _, name, do = random.choices(acts, [weight for weight, _, _ in acts])[0]
        self.done[name] += 1
        if isinstance(number := do(), signal.Signals):
            await self.restart(number)

    def throttle(self) -> Throttle:
        """Draw a throttle."""
        size, per_s = self.random.choice([1, 5, 30]), self.random.choice([1.0, 5.0])
        return Throttle(
            self.sandbox.clock, size=size, per_s=per_s, sticky=self.random.random() < 0.5,
            form=self.random.choice(FORMS),
        )  # fmt: skip

    async def restart(self, number: signal.Signals) -> None:
        """End the recorder by a signal, and start it again."""
        assert self.recorder is not None
        self.recorder.signal(number)
        code = await self.recorder.ended()
        said = self.recorder.said
        self.recorder.close()
        self.start()
        # Who has said nothing yet has not got to taking signals, and has nothing to stop well.
        if code != (0 if number == signal.SIGTERM and said else -number):
            raise SystemExit(f"the recorder exits {code} after {number.name}:\n{said}")

    def begin_backfill(self) -> None:
        """Fetch all of a pair beside the recorder; one such process at a time."""
        self.kill_backfill()
        self.backfill = self.process("backfill", self.pair(), "--from", "listing")

    def kill_backfill(self) -> None:
        """End it, if there is one, by kill -9."""
        if self.backfill is not None:
            self.backfill.close()
            self.backfill = None

    def look(self) -> None:
        """Take note of the recorder's memory, and that it is alive."""
        assert self.recorder is not None
        if not self.recorder.running:
            raise SystemExit(f"the recorder ended by itself:\n{self.recorder.said}")
        self.peak_kb = max(self.peak_kb, peak_kb(self.recorder.pid))


def peak_kb(pid: int) -> int:
    """Return the greatest resident memory of a process so far, 0 where it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


async def wait(soak: Soak, seconds: float) -> None:
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        await asyncio.sleep(min(left_s, 0.25))
        soak.look()


def refused(request: Request) -> bool:
    return not {"throttle", *FORMS}.isdisjoint(request.fault.split("+"))


def while_throttled(requests: Iterable[Request]) -> int:
    """Count the requests that came within the calm after a refusal."""
    count, refused_s = 0, float("-inf")
    for request in requests:
        if request.path.startswith("/0/"):
            count += request.at_s < refused_s + CALM_S
            if refused(request):
                refused_s = request.at_s
    return count


def most_in_a_window(times_s: Sequence[float]) -> int:
    return max((sum(at_s <= later_s < at_s + WINDOW_S for later_s in times_s) for at_s in times_s), default=0)


def characters(pairs: int) -> list[Character]:
    more = [character_of(pair_of(f"P{n}/USD", pair_decimals=4, lot_decimals=8), weight=0.05) for n in range(pairs)]
    return [*CHARACTERS, *more][:pairs]


async def soak(folder: Path, *, minutes: float, seed: int, pairs: int, rate: float) -> bool:
    clock = SystemClock()
    market = Market(start_ns=clock.wall_ns(), seed=seed, rate=rate, history=3_000, characters=characters(pairs))
    sandbox = Sandbox(market, clock=clock, truth=folder / "truth", seed=seed)
    run = Soak(sandbox, folder, Random(seed))
    async with sandbox.serve():
        run.start()
        try:
            await wait(run, 3.0)
            until_s = time.monotonic() + minutes * 60
            while time.monotonic() < until_s:
                await run.act()
                await wait(run, run.random.uniform(*PAUSE_S))
            sandbox.faults.release()
            sandbox.throttle(None)
            sandbox.freeze()
            frozen_s = time.monotonic()
            while not caught_up(run.data, sandbox.last_ids()) and time.monotonic() - frozen_s < PATIENCE_S:
                await wait(run, 1.0)
            print(f"all faults over, all held after {time.monotonic() - frozen_s:.0f} s")
            run.kill_backfill()
            await run.restart(signal.SIGTERM)
        finally:
            run.kill_backfill()
            if run.recorder is not None:
                run.recorder.close()
        requests = list(sandbox.requests)
        made = sum(sandbox.last_ids().values())
    return report(run, requests, made)


def report(run: Soak, requests: Sequence[Request], made: int) -> bool:
    """Print the figures; tell whether all is as it must be."""
    layout = Layout(run.data)
    rows = (trade for pair in layout.pairs() for trade in read.trades(layout, pair))
    verdict = compare(rows, read_truth(run.folder / "truth"), pairs=run.sandbox.last_ids())
    holes = sum(len(pair.holes) for pair in status.read(run.data))
    dials = [request.at_s for request in requests if request.path == "/v2"]
    rude = while_throttled(requests)
    print("acts               ", ", ".join(f"{name} {count}" for name, count in sorted(run.done.items())))
    print(f"trades made         {made:,}, of which archived {verdict.rows:,}")
    print(f"lost/duplicated/altered  {verdict.lost} / {verdict.duplicated} / {verdict.altered}")
    print(f"holes open          {holes}")
    print(f"requests            {len(requests):,}, refused {sum(map(refused, requests))}, while throttled {rude}")
    print(f"connection attempts {len(dials)}, at most {most_in_a_window(dials)} in ten minutes, restarts included")
    print(f"restarts            {run.done['kill'] + run.done['stop']}, of which kill -9 {run.done['kill']}")
    print(f"peak memory         {run.peak_kb / 1024:.0f} MB")
    for example in verdict.examples:
        print(example)
    return verdict.perfect and not holes and not rude


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--rate", type=float, default=200.0, help="trades a second, of all pairs together")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        fine = asyncio.run(
            soak(Path(folder), minutes=asked.minutes, seed=asked.seed, pairs=asked.pairs, rate=asked.rate)
        )
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
