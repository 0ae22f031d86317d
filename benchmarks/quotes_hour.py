"""One simulated hour of quotes beside trades, with everything that goes wrong on the way, each to be stored once.

A sandbox, the recorder and the process that records quotes live by one clock, faster than time; quotes are drained
every half minute. By the seed, the market sends torn, doubled, lost, swapped and odd frames, falls silent, hangs up and
goes down, the host's clock is set back, and the process is ended and begun again, with its journal drained or not. At
the end every quote that was received must be stored once, sessions must tell of exactly these, and trades must be the
truth. Kills of the real process are in tests/end_to_end/test_market_process.py.

Run by hand: python -m benchmarks.quotes_hour [--minutes 60] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import functools
import json
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar
from pathlib import Path
from random import Random
from typing import Final

import structlog

from benchmarks.disturbances import Kinds, disturbed, of_connections
from recorder.archive.datasets import QUOTES, Branch
from recorder.archive.layout import Layout
from tests.end_to_end.fault_bench import BTC, Bench, bench_of
from tests.end_to_end.simulated_quotes import ODD, Quotes

PAIRS: Final = (BTC, "ETH/EUR", "DOGE/USD")
RUN_S: Final = (60.0, 600.0)
"""So long the process runs before it is ended, at least and at most."""

_THREADS: ContextVar[Executor | None] = ContextVar("threads", default=None)


def keep_threads_apart(loop: asyncio.AbstractEventLoop) -> None:
    """Let each of several recorders on one loop use threads of its own, and wait for these alone when it ends."""

    async def to_thread(work: Callable[..., object], /, *arguments: object, **named: object) -> object:
        call = functools.partial(contextvars.copy_context().run, work, *arguments, **named)
        return await loop.run_in_executor(_THREADS.get(), call)

    loop.set_default_executor = _THREADS.set  # type: ignore[method-assign, assignment]
    asyncio.to_thread = to_thread  # type: ignore[assignment]


def kinds_of(bench: Bench, random: Random) -> Kinds:
    """Return what may go wrong."""
    return {
        **of_connections(bench, random),
        "odd": lambda: bench.sandbox.faults.rows.quote(random.choice(PAIRS), *random.choice(ODD)),
        "clock set back": lambda: bench.clock.step(-random.uniform(0.0, 3.0)),
    }


async def run(folder: Path, minutes: float, seed: int) -> None:
    """Record, check, and print what was done."""
    keep_threads_apart(asyncio.get_running_loop())
    random, done, runs = Random(seed), Counter[str](), 0
    began_s, cpu_s = time.monotonic(), time.process_time()
    async with bench_of(folder) as bench, bench.recording(bench.config(pace=20.0)):
        quotes, kinds = Quotes(bench, PAIRS, drain_every="30s"), kinds_of(bench, random)
        end_s = bench.clock.monotonic() + minutes * 60
        while bench.clock.monotonic() < end_s:
            runs += 1
            async with quotes.recording(drained=random.random() < 0.7):
                until_s = min(end_s, bench.clock.monotonic() + random.uniform(*RUN_S))
                done += await disturbed(bench, kinds, random, until_s)
        async with quotes.recording():
            await bench.clock.passed(5.0)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    print(f"{minutes:g} simulated minutes in {took_s:.0f} s, {cpu_s:.0f} s of CPU")
    print(f"{runs} runs of the process, {len(quotes.received)} connections, {quotes.drains:.0f} drains")
    print("faults:", json.dumps(dict(done.most_common())))
    quotes.check()
    bench.is_the_truth()
    paths = [path for pair in PAIRS for path in Layout(bench.data).files(Branch(QUOTES, pair))]
    frames = sum(len(one.ticker) for one in quotes.received)
    print(f"{frames:,} frames of quotes were received: each is stored once, and sessions tell of exactly these")
    print(f"they are in {len(paths)} files; {bench.rows():,} trades are the truth")


def main() -> None:
    """Read the arguments, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), given.minutes, given.seed))


if __name__ == "__main__":
    main()
