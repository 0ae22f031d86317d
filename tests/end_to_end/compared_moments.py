"""What the metrics of a daemon tell of ids against what its disk tells, while it stands still for a moment."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from recorder.ops import archive_status
from recorder.ops.archive_status import PairStatus
from tests.end_to_end.harness import Process, until

STEADY_S = 0.1
"""What was durable when the daemon was stopped is counted so soon after it goes on."""


@dataclass(frozen=True)
class Told:
    """What is missing, and when the newest trade of each pair was made (µs)."""

    holes: int
    ids: int
    newest_us: tuple[tuple[str, int], ...]


class Differs(AssertionError):
    """Memory and disk tell different things, though nothing was under way."""


def pairs(data: Path) -> list[PairStatus]:
    return sorted(archive_status.read(data), key=lambda one: one.pair) if (data / "trades").is_dir() else []


def of_disk(data: Path) -> Told:
    found = pairs(data)
    holes = [gap for one in found for gap in one.holes]
    return Told(len(holes), sum(len(gap.span) for gap in holes), tuple((one.pair, one.last_us) for one in found))


@dataclass(frozen=True)
class Moments:
    """A daemon on ``data`` in a process of its own, whose metrics are served on ``port``."""

    process: Process
    port: int
    data: Path

    def _text(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    async def metrics(self) -> tuple[Told, float, float]:
        """Return what it tells, how many trades it made durable or fetched, and how often memory differed."""
        text = await asyncio.to_thread(self._text)
        values = {name: float(value) for name, value in re.findall(r"^(recorder_\S+) (\S+)$", text, re.MULTILINE)}
        newest = {
            name.partition('"')[2].partition('"')[0]: round(value * 1e6)
            for name, value in values.items()
            if name.startswith("recorder_last_trade_timestamp_seconds{")
        }
        told = Told(
            int(values["recorder_holes_open"]), int(values["recorder_ids_missing"]), tuple(sorted(newest.items()))
        )
        came = sum(value for name, value in values.items() if name.startswith("recorder_trades_total"))
        return told, came + values["recorder_rows_refilled_total"], values["recorder_memory_differences_total"]

    @contextlib.asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        self.process.signal(signal.SIGSTOP)
        try:
            await until(self._is_stopped, what="it stands still")
            yield
        finally:
            self.process.signal(signal.SIGCONT)

    def _is_stopped(self) -> bool:
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    async def compared(self) -> Told | None:
        """Return what memory and disk tell alike; None where something was under way. Raises Differs."""
        before = await self.metrics()
        async with self.stopped():
            disk = await asyncio.to_thread(of_disk, self.data)
        after = await self.metrics()
        await asyncio.sleep(STEADY_S)
        if not before == after == await self.metrics():
            return None
        if disk != before[0]:
            raise Differs(f"the disk says {disk}, memory says {before[0]}")
        return disk
