"""Measure ``recorder backfill`` beside a daemon on the same pair: exact, in how much memory, and at what pace.

First a long history with the pace lifted: the peak of the process's memory with every half million trades archived.
Then a history behind the exchange's own token bucket, with the pace configured that it permits: the share of it that
was used (target 0.95) and how often a request was refused (target 0).
Run by hand: python -m benchmarks.backfill [trades [pages [requests per second]]]
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.soak import memory_kb
from recorder.archive import read_trades
from recorder.archive.coverage import Coverage
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.sandbox.ground_truth import Verdict, compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.rest import PAGE_LIMIT
from recorder.sandbox.server import Sandbox
from recorder.sandbox.throttle import Throttle
from tests.end_to_end.harness import Process, caught_up, environ_for, until

PAIR: Final = "BTC/USD"
EVERY: Final = 500_000
LIFTED_PER_S: Final = 1_000
"""The highest that can be configured: a million trades a second."""
RATE: Final = 50.0
DEFAULTS: Final = (3_000_000, 120, 2)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one backfill brought: ``asked_s`` is when each page was asked for, by the daemon too (monotonic)."""

    verdict: Verdict
    took_s: float
    peaks_kb: Mapping[int, int]
    refused: int
    asked_s: Sequence[float]


async def backfilled(folder: Path, *, history: int, per_s: float, throttled: bool) -> Outcome:
    """Fetch ``history`` trades beside a daemon that records the same pair."""
    clock, layout = SystemClock(), Layout(folder / "data")
    market = Market(start_ns=clock.wall_ns(), rate=RATE, history={PAIR: history})
    sandbox = Sandbox(market, clock=clock, truth=folder / "truth")
    sandbox.throttle(Throttle(clock, per_s=per_s) if throttled else None)
    peaks_kb: dict[int, int] = {}
    async with sandbox.serve():
        environ = environ_for(sandbox, PAIR) | {
            "RECORDER_EXCHANGE__REQUESTS_PER_SECOND": str(per_s),
            "RECORDER_OHLC__TIMEFRAMES": "",
        }
        daemon = Process("run", "--data", str(layout.data), cwd=folder, **environ)
        await daemon.says("recording")
        started_s = time.monotonic()
        fetching = Process("backfill", PAIR, "--from", "listing", "--data", str(layout.data), cwd=folder, **environ)
        try:
            coverage = Coverage(layout)
            while fetching.running:
                with contextlib.suppress(FileNotFoundError):  # compacted meanwhile
                    rows = sum(file.rows for file in coverage.files(PAIR))
                    peaks_kb[rows // EVERY * EVERY] = memory_kb(fetching.pid)[1] or max(peaks_kb.values(), default=0)
                await asyncio.sleep(0.1)
            took_s = time.monotonic() - started_s
            if code := await fetching.ended():
                raise SystemExit(f"backfill exits {code}:\n{fetching.said}")
            sandbox.freeze()
            await until(lambda: caught_up(layout.data, {PAIR: sandbox.last_ids()[PAIR]}), what="all is held")
            daemon.signal(signal.SIGTERM)
            await daemon.ended()
        finally:
            fetching.close()
            daemon.close()
        pages = [request for request in sandbox.requests if request.path == "/0/public/Trades"]
    refused = sum(request.fault == "throttle" for request in sandbox.requests)
    verdict = compare(read_trades.trades(layout, PAIR), read_truth(folder / "truth"), first_ids={PAIR: 1})
    return Outcome(verdict, took_s, peaks_kb, refused, [request.at_s for request in pages])


def run(*, history: int, per_s: float, throttled: bool) -> Outcome:
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        return asyncio.run(backfilled(Path(folder), history=history, per_s=per_s, throttled=throttled))


def main() -> None:
    trades, pages, per_s = [*map(int, sys.argv[1:]), *DEFAULTS[len(sys.argv) - 1 :]]
    lifted = run(history=trades, per_s=LIFTED_PER_S, throttled=False)
    print(f"pace lifted: {trades:,} trades in {lifted.took_s:.0f} s, {trades / lifted.took_s:,.0f} trades/s")
    print(f"  {lifted.verdict}")
    for rows, most_kb in lifted.peaks_kb.items():
        print(f"  peak memory from {rows:>10,} trades on {most_kb / 1024:4.0f} MB")
    paced = run(history=pages * PAGE_LIMIT, per_s=per_s, throttled=True)
    # While it lasts, of all that may be asked: the pages alone, whoever asked for them.
    used = (len(paced.asked_s) - 1) / (paced.asked_s[-1] - paced.asked_s[0]) / per_s
    print(f"paced: {pages} pages at {per_s} a second in {paced.took_s:.0f} s")
    print(f"  {paced.verdict}")
    print(f"  {used:.1%} of the permitted rate (target 95 %), refused {paced.refused} (target 0)")


if __name__ == "__main__":
    main()
