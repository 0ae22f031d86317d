"""Record through a random mixture of everything that goes wrong, kills included, and compare with the truth.

A sandbox in a process of its own, a recorder in another, and a backfill beside it now and then. The seed decides what
is thrown and when; how the processes meet it is up to the machine. Two faults are left out, because each wants minutes
of calm before the end: ids that never existed (tests/end_to_end/test_ids_and_times.py) and the edge's 403.

With --calm one recorder lives long, as it does at its users': one kill -9 after a sixth of the time, a fault every
twenty seconds or so, a burst every three minutes, drains and syncs as by default, the pace of one request a second for
everything, candles of three timeframes included (20 once all faults are over, by SIGHUP), and a scrape of its metrics
every 15 s. Then memory over time, CPU outside bursts and files are worth reading, and they are printed.

Run by hand: python -m benchmarks.soak --minutes 5 --seed 1 [--pairs 6] [--rate 200]
             python -m benchmarks.soak --minutes 30 --pairs 1000 --rate 500 --burst 20000 --calm
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import os
import signal
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.exchange import Exchange, Wanted, cpu_s
from recorder.archive import read_trades
from recorder.archive.datasets import BY_NAME
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.ops import archive_status
from recorder.sandbox import rest_faults, websocket_faults
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.request_log import LoggedRequest
from recorder.sandbox.throttle import CALM_S, FORMS, Throttle
from tests.end_to_end.harness import Process, caught_up

PACE_PER_S: Final = 20
PAUSE_S: Final = (0.2, 4.0)
"""From one act to the next, shortest and longest."""
CALM_PACE_PER_S: Final = 1
CALM_PAUSE_S: Final = (5.0, 35.0)
BURST_EVERY_S: Final = 180.0
BURST_LASTS_S: Final = 15.0
"""A burst of 20,000 has arrived and is in the archive or waits for a drain after so long; then the CPU counts again."""
SCRAPE_EVERY_S: Final = 15.0
WARM_S: Final = 300.0
"""After so long a process has met everything it does: drains, compactions, snapshots. From then on memory is flat."""
LASTS_S: Final = (0.3, 6.0)
FRAMES: Final = (1, 40)
PATIENCE_S: Final = 900.0
"""After the last fault all is held within a few looks at Ticker, a minute each; at one request a second for a thousand
pairs it takes some minutes more. Then it hangs."""
WINDOW_S: Final = 600.0
FILES_EVERY_S: Final = 5.0
ANSWERS: Final = [name for name in rest_faults.NAMES if name != "http_403"]


Act = tuple[int, str, Callable[[], object]]
"""How often, the name, and what is done; what returns a signal ends the recorder by it, and starts it again."""


@dataclass(frozen=True)
class Sample:
    """The recorder at a moment: which process, its memory now, CPU used so far, and whether a burst is on."""

    at_s: float
    pid: int
    rss_mb: float
    cpu_s: float
    burst: bool


@dataclass
class Soak:
    """One run: what was done, and what the recorder took for it."""

    exchange: Exchange
    folder: Path
    random: Random
    greatest_burst: int
    calm: bool
    done: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    peak_kb: int = 0
    burst_until_s: float = 0.0
    recorder: Process | None = None
    backfill: Process | None = None
    metrics: str = ""

    def __post_init__(self) -> None:
        """Take a port for /metrics that is free now."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1] if self.calm else 0
        self._looked_s = self._scraped_s = 0.0

    @property
    def data(self) -> Path:
        """The archive."""
        return self.folder / "data"

    def pair(self) -> str:
        """Draw a pair."""
        return str(self.random.choice(self.exchange.pairs))

    def start(self) -> None:
        """Start the recorder."""
        self.recorder = self.process("run")

    def process(self, *arguments: str) -> Process:
        """Start a process on the archive."""
        environ = self.exchange.environ(RECORDER_OPS__PORT=str(self.port if arguments[0] == "run" else 0))
        if self.calm:
            self.configure(CALM_PACE_PER_S)
        else:
            environ["RECORDER_EXCHANGE__REQUESTS_PER_SECOND"] = str(PACE_PER_S)
            environ |= {"RECORDER_ARCHIVE__DRAIN_EVERY": "1s", "RECORDER_JOURNAL__SYNC_EVERY": "20ms"}
        return Process(*arguments, "--data", str(self.data), cwd=self.folder, **environ)

    def configure(self, per_s: float) -> None:
        """Write the configuration in force from the next start or SIGHUP on."""
        (self.folder / "config.yaml").write_text(f"exchange: {{requests_per_second: {per_s}}}\n")

    def hurry(self) -> None:
        """Let it ask faster from now on.

        A line that says nothing for seconds leaves a hole in 200 pairs. At one request a second, of which candles have
        half, closing all of them takes half an hour: that they are closed is what counts.
        """
        assert self.recorder is not None
        self.configure(PACE_PER_S)
        self.recorder.signal(signal.SIGHUP)

    async def act(self) -> None:
        """Do one thing, drawn from all that can be done."""
        acts = self.acts()
        _, name, act = self.random.choices(acts, [weight for weight, _, _ in acts])[0]
        self.done[name] += 1
        if isinstance(number := act(), signal.Signals):
            await self.restart(number)

    def acts(self) -> list[Act]:
        """Return all that can be done."""
        random, do = self.random, self.exchange.do
        lasts_s = random.uniform(*LASTS_S)
        acts: list[Act] = [
            (4, "outage", lambda: do("faults.outage", lasts_s)),
            (2, "refuse", lambda: do("faults.refuse", lasts_s)),
            (4, "disconnect", lambda: do("faults.disconnect")),
            *((4, name, functools.partial(self.garble, name)) for name in websocket_faults.FRAMES),
            *((2, name, functools.partial(do, "faults.throw", name, lasts_s)) for name in websocket_faults.LINES),
            (2, "mute", lambda: do("faults.lines.muted.add", self.pair())),
            (2, "unmute", lambda: do("faults.lines.muted.clear")),
            (12, "answers", lambda: do("faults.throw", random.choice(ANSWERS), lasts_s)),
            (3, "throttle", lambda: do("throttle", self.throttle())),
            (6, "unthrottle", lambda: do("throttle", None)),
            (8, "burst", lambda: self.burst(random.randint(10, self.greatest_burst))),
        ]
        if not self.calm:
            acts += [
                (3, "kill", lambda: signal.SIGKILL),
                (1, "stop", lambda: signal.SIGTERM),
                (2, "backfill", self.begin_backfill),
                (2, "kill backfill", self.kill_backfill),
            ]
        return acts

    def garble(self, name: str) -> None:
        """Damage some frames."""
        self.exchange.do("faults.throw", name, n=self.random.randint(*FRAMES))

    def burst(self, trades: int) -> None:
        """Make so many trades of one pair at once."""
        self.burst_until_s = time.monotonic() + BURST_LASTS_S
        self.exchange.do("burst", self.pair(), trades)

    def throttle(self) -> Throttle:
        """Draw a throttle."""
        size, per_s = self.random.choice([1, 5, 30]), self.random.choice([1.0, 5.0])
        return Throttle(
            SystemClock(), size=size, per_s=per_s, sticky=self.random.random() < 0.5, form=self.random.choice(FORMS)
        )

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
        """Take note of what the recorder takes, and that it is alive."""
        assert self.recorder is not None
        if not self.recorder.running:
            raise SystemExit(f"the recorder ended by itself:\n{self.recorder.said}")
        now_s, pid = time.monotonic(), self.recorder.pid
        rss_kb, peak_kb = memory_kb(pid)
        self.peak_kb = max(self.peak_kb, peak_kb)
        if rss_kb:
            self.samples.append(Sample(now_s, pid, rss_kb / 1024, cpu_s([pid]), now_s < self.burst_until_s))
        if now_s - self._looked_s >= FILES_EVERY_S:
            self._looked_s = now_s
            self.files |= live_files(self.data)
        if self.port and now_s - self._scraped_s >= SCRAPE_EVERY_S:
            self._scraped_s = now_s
            with contextlib.suppress(OSError):  # it starts, or it is busy ending
                self.metrics = scraped(self.port)


def scraped(port: int) -> str:
    """Return what a Prometheus would be told."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def memory_kb(pid: int) -> tuple[int, int]:
    """Return the resident memory of a process, now and at most so far; 0 where it is gone."""
    with contextlib.suppress(OSError):
        lines = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        found = {words[0]: int(words[1]) for words in lines if words[0] in {"VmRSS:", "VmHWM:"}}
        return found.get("VmRSS:", 0), found.get("VmHWM:", 0)
    return 0, 0


def live_files(data: Path) -> set[str]:
    """Return the files of all tables; names are never used twice."""
    found: set[str] = set()
    for folder, folders, names in os.walk(data):
        if folder == str(data):
            folders[:] = [name for name in folders if name in BY_NAME]
        else:
            found.update(f"{folder}/{name}" for name in names if name.endswith(".parquet"))
    return found


async def wait(soak: Soak, seconds: float) -> None:
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        await asyncio.sleep(min(left_s, 1.0 if soak.calm else 0.25))
        soak.look()


def refused(request: LoggedRequest) -> bool:
    return not {"throttle", *FORMS}.isdisjoint(request.fault.split("+"))


def while_throttled(requests: Iterable[LoggedRequest]) -> int:
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


async def soak(run: Soak, *, minutes: float) -> bool:
    exchange = run.exchange
    run.start()
    try:
        await wait(run, 3.0)
        began_s = time.monotonic()
        until_s, kill_s = began_s + minutes * 60, began_s + minutes * 10 if run.calm else float("inf")
        burst_s = began_s + BURST_EVERY_S / 2
        while time.monotonic() < until_s:
            await run.act()
            await wait(run, run.random.uniform(*(CALM_PAUSE_S if run.calm else PAUSE_S)))
            if run.calm and time.monotonic() >= burst_s:
                burst_s += BURST_EVERY_S
                run.done["great burst"] += 1
                run.burst(run.greatest_burst)
            if time.monotonic() >= kill_s:
                kill_s = float("inf")
                run.done["kill"] += 1
                await run.restart(signal.SIGKILL)
        exchange.do("faults.release")
        exchange.do("throttle", None)
        exchange.do("freeze")
        if run.calm:
            run.hurry()
        frozen_s = time.monotonic()
        made: Mapping[str, int] = exchange.do("last_ids")
        while not caught_up(run.data, made) and time.monotonic() - frozen_s < PATIENCE_S:
            await wait(run, 20.0 if run.calm else 1.0)
        print(f"all faults over, all held after {time.monotonic() - frozen_s:.0f} s")
        run.kill_backfill()
        exchange_share = cpu_s([exchange.pid]) / (time.monotonic() - began_s)
        await run.restart(signal.SIGTERM)
        await wait(run, 3.0)
        run.files |= live_files(run.data)
    finally:
        run.kill_backfill()
        if run.recorder is not None:
            run.recorder.close()
    requests = exchange.do("requests.to", "/")
    exchange.close()
    fine = report(run, requests, made)
    if run.calm:
        report_life(run)
        print(f"the exchange        {exchange_share:.1%} of a core, in a process of its own")
    return fine


def report(run: Soak, requests: Sequence[LoggedRequest], made: Mapping[str, int]) -> bool:
    """Print what came of it; tell whether all is as it must be."""
    layout = Layout(run.data)
    rows = (trade for pair in layout.pairs() for trade in read_trades.trades(layout, pair))
    verdict = compare(rows, read_truth(run.folder / "truth"), pairs=made)
    holes = sum(len(pair.holes) for pair in archive_status.read(run.data))
    dials = [request.at_s for request in requests if request.path == "/v2"]
    rude = while_throttled(requests)
    print("acts               ", ", ".join(f"{name} {count}" for name, count in sorted(run.done.items())))
    print(f"trades made         {sum(made.values()):,}, of which archived {verdict.rows:,}")
    print(f"lost/duplicated/altered  {verdict.lost} / {verdict.duplicated} / {verdict.altered}")
    print(f"holes open          {holes}")
    print(f"requests            {len(requests):,}, refused {sum(map(refused, requests))}, while throttled {rude}")
    print(f"connection attempts {len(dials)}, at most {most_in_a_window(dials)} in ten minutes, restarts included")
    print(f"restarts            {run.done['kill'] + run.done['stop'] + 1}, of which kill -9 {run.done['kill']}")
    print(f"peak memory         {run.peak_kb / 1024:.0f} MB")
    for example in verdict.examples:
        print(example)
    return verdict.perfect and not holes and not rude


def report_life(run: Soak) -> None:
    """Print what each process of the recorder took over time."""
    lives: dict[int, list[Sample]] = {}
    for sample in run.samples:
        lives.setdefault(sample.pid, []).append(sample)
    for pid, life in lives.items():
        began_s, lasted_s = life[0].at_s, life[-1].at_s - life[0].at_s
        warm = [sample for sample in life if sample.at_s >= began_s + WARM_S]
        used_s = life[-1].cpu_s - life[0].cpu_s
        print(
            f"process {pid}      {lasted_s:.0f} s; memory at its start {life[0].rss_mb:.0f} MB, at most "
            f"{max(sample.rss_mb for sample in life):.0f}, at the end {life[-1].rss_mb:.0f}"
        )
        print(
            f"  CPU               {used_s / max(1.0, lasted_s):.1%} of a core, outside bursts {quiet_share(life):.1%}"
        )
        minutes = [
            statistics.mean(sample.rss_mb for sample in life if minute <= (sample.at_s - began_s) / 60 < minute + 1)
            for minute in range(int(lasted_s / 60))
        ]
        print("  memory by minute ", " ".join(f"{mb:.0f}" for mb in minutes), "MB")
        if len(minutes) > WARM_S / 60 + 1:
            hours, growth = [one.at_s / 3600 for one in warm], minutes[-1] - minutes[int(WARM_S / 60)]
            slope = statistics.linear_regression(hours, [one.rss_mb for one in warm]).slope
            print(
                f"  after {WARM_S / 60:.0f} min       growth {growth:+.0f} MB to the last minute, fitted {slope:+.1f} "
                f"MB/h over {(hours[-1] - hours[0]) * 60:.0f} min"
            )
    live = live_files(run.data)
    of_trades = sum("/trades/" in path for path in live)
    print(f"files               {len(run.files):,} written that were seen, {len(live):,} live, {of_trades:,} of trades")
    print(f"                    {len(run.exchange.pairs):,} pairs, so {of_trades / len(run.exchange.pairs):.1f} each")
    for line in run.metrics.splitlines():
        if line.startswith(("recorder_drain_duration_seconds_", "recorder_files_compacted", "recorder_compaction_dur")):
            print("  ", line)


def quiet_share(life: Sequence[Sample]) -> float:
    """Return the share of a core outside bursts."""
    quiet = [(one, after) for one, after in pairwise(life) if not (one.burst or after.burst)]
    lasted_s = sum(after.at_s - one.at_s for one, after in quiet)
    return sum(after.cpu_s - one.cpu_s for one, after in quiet) / max(1.0, lasted_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--rate", type=float, default=200.0, help="trades a second, of all pairs together")
    parser.add_argument("--burst", type=int, default=5_000, help="trades of one burst at most")
    parser.add_argument("--calm", action="store_true", help="one long life, watched; see above")
    parser.add_argument(
        "--folder", type=Path, help="where the archive is made, and left; else a folder that is removed"
    )
    parser.add_argument("--moments", type=int, default=0, help="compare metrics and disk so often; see promises.py")
    asked = parser.parse_args()
    from benchmarks import promises  # noqa: PLC0415 -- which rests on this module

    with contextlib.ExitStack() as stack:
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path(__file__).parent)))
        folder.mkdir(parents=True, exist_ok=True)
        history = 3_000 if asked.pairs <= 100 else 100
        wanted = Wanted(asked.pairs, asked.rate, history, seed=asked.seed, truth=folder / "truth")
        exchange = stack.enter_context(Exchange(wanted))
        if asked.moments:
            promised = promises.Promises(exchange, folder, Random(asked.seed), greatest_burst=asked.burst, calm=False)
            sys.exit(0 if asyncio.run(promised.soak(minutes=asked.minutes, moments=asked.moments)) else 1)
        run = Soak(exchange, folder, Random(asked.seed), greatest_burst=asked.burst, calm=asked.calm)
        fine = asyncio.run(soak(run, minutes=asked.minutes))
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
