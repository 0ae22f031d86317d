"""What the page costs recording: the delay from receipt to durable while many look, and that nothing is lost.

    python -m benchmarks.page [SECONDS] [TRADES A SECOND]

A sandbox trades, and a recorder with the page records it. The load is what three browsers ask for on the overview and
on a pair, twenty consumers of trades that are cut and resume, and four that send statements without a pause. In turns
it meets the recorder's own page, or that of `recorder serve` beside it, which costs the machine as much without
touching the recorder; or the recorder's reader is stopped, or killed, again and again. At the end the archive is
compared with what the sandbox made. Percentiles are those of group commits, each by its oldest line.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp

from recorder.archive import read_trades
from recorder.archive.layout import Layout
from recorder.sandbox.ground_truth import compare, read_truth
from tests.servers import free_port

PAIRS: Final = ("BTC/USD", "ETH/EUR")
CONSUMERS, BROWSERS, ASKERS = 20, 3, 4
CUT: Final = 2e-5
"""Share of the trades after which a consumer cuts its connection."""
ROUND: Final = ("beside", "page", "stopped", "killed")
STATEMENTS: Final = (
    "SELECT count(*), sum(price * qty) FROM trades",
    "SELECT * FROM candles('BTC/USD', '1m')",
    "FROM gaps",
    "SELECT * FROM trades ORDER BY random()",
)
FINE_S: Final = tuple(0.001 * 1.05**step for step in range(200))
"""Bounds of the histogram, so that a percentile is known within 5 %."""
DURABLE: Final = "recorder_receive_to_durable_seconds"


class Load:
    """The clients of one page; ``seen`` counts what they got, ``wrong`` what no consumer may get."""

    def __init__(self, client: aiohttp.ClientSession, port: int) -> None:
        self._client, self._base = client, f"http://127.0.0.1:{port}"
        self.seen: Counter[str] = Counter()
        self.last_ids: list[dict[str, int]] = [{} for _ in range(CONSUMERS)]

    async def run(self, seconds: float) -> None:
        """Ask for everything until the seconds are over."""
        tasks = [self._again(self._consume, number) for number in range(CONSUMERS)]
        tasks += [self._again(look, number) for number in range(BROWSERS) for look in (self._watch, self._pair)]
        tasks += [self._again(self._ask, number) for number in range(ASKERS)]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*tasks), seconds)

    async def _again(self, once: Callable[[int], Awaitable[None]], number: int) -> None:
        while True:
            try:
                await once(number)
            except (aiohttp.ClientError, OSError, TimeoutError):
                self.seen["broken"] += 1
                await asyncio.sleep(0.3)

    async def _consume(self, number: int) -> None:
        """Take each trade once and in order, from where the last connection ended."""
        last_ids = self.last_ids[number]
        given = {"pairs": ",".join(PAIRS), "format": ("ndjson", "sse")[number % 2]}
        if last_ids:
            given["after"] = ",".join(f"{pair}:{last}" for pair, last in last_ids.items())
        async with self._client.get(f"{self._base}/api/v1/trades/stream", params=given) as answer:
            if answer.status != 200:
                self.seen["refused"] += 1
                await asyncio.sleep(0.5)
                return
            async for line in answer.content:
                content = line.removeprefix(b"data: ")
                if not content.startswith(b"{"):
                    continue
                said = json.loads(content)
                if "trade_id" not in said:
                    continue
                pair, trade_id = said["pair"], said["trade_id"]
                skipped = sum(last - first + 1 for first, last in map(_ends, said.get("skipped", ())))
                if pair in last_ids and trade_id != last_ids[pair] + 1 + skipped:
                    self.seen["WRONG"] += 1
                last_ids[pair] = trade_id
                self.seen["trades"] += 1
                if random.random() < CUT:
                    self.seen["cut"] += 1
                    return

    async def _watch(self, _: int) -> None:
        async with self._client.get(f"{self._base}/live") as answer:
            async for line in answer.content:
                self.seen["live"] += line.startswith(b"data")

    async def _pair(self, number: int) -> None:
        for path in ("/pair/BTC/USD", "/pair/BTC/USD?part=quote", "/api/v1/chart?pair=BTC/USD&timeframe=1m"):
            async with self._client.get(self._base + path) as answer:
                await answer.read()
                self.seen[f"pages {answer.status}"] += 1
        await asyncio.sleep(1 + number / 10)

    async def _ask(self, number: int) -> None:
        body = {"sql": STATEMENTS[number % len(STATEMENTS)]}
        async with self._client.post(f"{self._base}/api/v1/query", json=body) as answer:
            await answer.read()
            self.seen[f"queries {answer.status}"] += 1


def _ends(span: Any) -> tuple[int, int]:  # noqa: ANN401 -- of JSON
    return (span["first_id"], span["last_id"]) if isinstance(span, dict) else (span[0], span[1])


def percentile(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """Return a percentile between two looks at a histogram, in seconds."""
    counts = [(bound, after[bound] - before.get(bound, 0.0)) for bound in sorted(after)]
    return next(bound for bound, count in counts if count >= share * counts[-1][1])


async def histogram(client: aiohttp.ClientSession, port: int) -> dict[float, float]:
    async with client.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    return {float(bound): float(count) for bound, count in re.findall(rf'{DURABLE}_bucket{{le="([^"]+)"}} (\S+)', text)}


@contextlib.contextmanager
def running(*arguments: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **environment},
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(120)


def signal_reader(recorder: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to what the recorder has begun, which without quotes and books is the reader."""
    for pid in Path(f"/proc/{recorder.pid}/task/{recorder.pid}/children").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), number)


async def disturb(recorder: subprocess.Popen[bytes], *, kill: bool) -> None:
    """Kill the reader every four seconds, or stop it for four."""
    while True:
        await asyncio.sleep(4)
        signal_reader(recorder, signal.SIGKILL if kill else signal.SIGSTOP)
        if not kill:
            await asyncio.sleep(4)
            signal_reader(recorder, signal.SIGCONT)


@contextlib.asynccontextmanager
async def disturbing(recorder: subprocess.Popen[bytes], how: str) -> AsyncIterator[None]:
    task = asyncio.create_task(disturb(recorder, kill=how == "killed")) if how in {"killed", "stopped"} else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            signal_reader(recorder, signal.SIGCONT)


async def phases(recorder: subprocess.Popen[bytes], own: int, beside: int, seconds: float) -> None:
    """Measure the recorder under each kind of load, in turns."""
    found: dict[str, list[float]] = {}
    async with aiohttp.ClientSession() as scraper:
        for kind in ("nobody", *ROUND, *ROUND, "beside"):
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
                load = Load(client, beside if kind == "beside" else own)
                loading = asyncio.create_task(load.run(seconds + 3 if kind != "nobody" else 0))
                await asyncio.sleep(3)
                before = await histogram(scraper, own)
                async with disturbing(recorder, kind):
                    await asyncio.sleep(seconds)
                after = await histogram(scraper, own)
                await loading
            p50, p99 = (percentile(before, after, share) for share in (0.5, 0.99))
            found.setdefault(kind, []).append(p99)
            print(
                f"{kind:8} p50 {p50 * 1e3:6.1f} ms  p99 {p99 * 1e3:7.1f} ms  load {os.getloadavg()[0]:4.1f} "
                f"{dict(sorted(load.seen.items()))}",
                flush=True,
            )
    middle = {kind: sorted(values)[len(values) // 2] for kind, values in found.items()}
    for kind in ("page", "stopped", "killed"):
        print(f"p99 of {kind} / beside: {middle[kind] / middle['beside']:.2f}")


async def measure(seconds: float, rate: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, own, beside = Path(name), free_port(), free_port()
        data, truth = folder / "data", folder / "truth.jsonl"
        sandbox_arguments = ("--json", "--port", "0", "--rate", str(rate), "--truth", str(truth))
        with running("-m", "recorder", "sandbox", *sandbox_arguments, log=folder / "sandbox.log") as sandbox:
            assert sandbox.stdout is not None
            where = json.loads(sandbox.stdout.readline())
            settings = {
                "RECORDER_OPS__PORT": str(own),
                "RECORDER_EXCHANGE__REST_URL": where["rest_url"],
                "RECORDER_EXCHANGE__WS_URL": where["ws_url"],
                "RECORDER_EXCHANGE__REQUESTS_PER_SECOND": "20",
            }
            record = ("-m", "benchmarks.page", "record", *PAIRS, "--data", str(data))
            serve = ("-m", "recorder", "serve", "--data", str(data), "--port", str(beside))
            with running(*record, log=folder / "recorder.log", **settings) as recorder:
                await asyncio.sleep(12)
                with running(*serve, log=folder / "serve.log"):
                    await phases(recorder, own, beside, seconds)
            for line in itertools.islice(filter(_tells, (folder / "recorder.log").read_text().splitlines()), 8):
                print(line)
        layout = Layout(data)
        rows = [trade for pair in layout.pairs() for trade in read_trades.trades(layout, pair)]
        made = {pair: ids for pair, ids in read_truth(truth).items() if pair in PAIRS}
        last_ids = {pair: max(row.trade_id for row in rows if row.pair == pair) for pair in PAIRS}
        verdict = compare(rows, made, last_ids=last_ids)
        print(f"{len(rows):,} trades archived; {'nothing lost, doubled or altered' if verdict.perfect else verdict}")


def _tells(line: str) -> bool:
    return " error " in line or " warn" in line


def record() -> None:
    """Be the recorder, with a finer histogram."""
    from recorder.cli import main  # noqa: PLC0415
    from recorder.ops import metrics  # noqa: PLC0415

    metrics._FAST_S = FINE_S  # type: ignore[misc, assignment]  # noqa: SLF001
    main()


def main() -> None:
    """Measure and print."""
    began = time.monotonic()
    if sys.argv[1:2] == ["record"]:
        sys.argv[1] = "run"
        record()
        return
    seconds, rate = (float(given) for given in (*sys.argv[1:3], *("11", "1000")[len(sys.argv) - 1 :]))
    asyncio.run(measure(seconds, rate))
    print(f"in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
