"""The daemon's heartbeat: its current state on request, and signs of life for the service manager."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from recorder.clock import Clock
from recorder.daemon.disk_space import DiskSpaceWatch
from recorder.errors import ExchangeError
from recorder.ingest.commit import Commit
from recorder.ingest.drain_schedule import DrainSchedule
from recorder.ingest.quarantined_pairs import QuarantinedPairs
from recorder.kraken import rest_api
from recorder.net.http import HttpAnswer
from recorder.ops import health, log, service_manager
from recorder.ops.exchange_clock import ClockOffset, ConfirmedTime
from recorder.ops.health import HealthState
from recorder.ops.metrics import Metrics
from recorder.ops.service_manager import Notifier
from recorder.runtime.inbox import Inbox
from recorder.version import __version__

BEAT_S: Final = 10.0
"""Interval between checks of its own state; shorter if a watchdog demands it."""
SHOWN: Final = 40
"""Limit of quarantined pairs that are named; more indicate a failing disk."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The recording parts, once the pairs to record are known."""

    pairs: Mapping[str, object]
    commit: Commit
    drain: DrainSchedule
    space: DiskSpaceWatch
    quarantined: QuarantinedPairs


class Heartbeat:
    """Combines the state of the parts. Before :meth:`recording` nothing is recorded, and the state shows that."""

    def __init__(self, data: Path, inbox: Inbox, *, clock: Clock, metrics: Metrics, notifier: Notifier) -> None:
        self._data = data
        self._inbox = inbox
        self._clock = clock
        self._metrics = metrics
        self._notifier = notifier
        self._since = datetime.fromtimestamp(clock.wall_ns() // 1_000_000_000, UTC)
        self._answered_s = clock.monotonic()
        self._offset = ClockOffset()
        self._confirmed_time = ConfirmedTime(clock)
        self._parts: Parts | None = None
        self._silent_s: Callable[[], Sequence[float]] | None = None
        self._connects_in_s: Callable[[], float] = lambda: 0.0
        self._asks_in_s: Callable[[], float] = lambda: 0.0
        self._quotes: Callable[[], dict[str, object] | None] = lambda: None
        self._account: Callable[[], dict[str, object] | None] = lambda: None
        self._stopping = False
        metrics.ready.set_function(lambda: not self.problems())

    def ended(self, request: rest_api.Request, ended: HttpAnswer | ExchangeError) -> None:
        """Record the outcome of a REST request."""
        error = ended if isinstance(ended, ExchangeError) else None
        self._metrics.requested(request.path, error)
        if isinstance(ended, HttpAnswer):
            self._answered_s = self._clock.monotonic()
            if ended.date_s is not None:
                self._confirmed_time.take(ended.date_s)
            if ended.date_s is not None and ended.sent_ns is not None:
                self._offset.take(sent_s=ended.sent_ns / 1e9, recv_s=ended.recv_ns / 1e9, date_s=ended.date_s)
                self._metrics.clock_offset.set(self._offset.offset_s or 0.0)

    def now_s(self) -> float | None:
        """Return the earliest possible time by host and exchange (seconds since 1970); None before the first answer."""
        return self._confirmed_time.now_s()

    def latest_s(self) -> float:
        """Return the latest possible time, by host and exchange (seconds since 1970)."""
        return self._confirmed_time.latest_s()

    def watch_requests(self, paused_s: Callable[[], float]) -> None:
        """Report from now on how long REST requests are paused after a refusal."""
        self._asks_in_s = paused_s

    def watch_quotes(self, about: Callable[[], dict[str, object] | None]) -> None:
        """Tell from now on of the process that records quotes what ``about`` returns; None if there is to be none."""
        self._quotes = about

    def watch_account(self, about: Callable[[], dict[str, object] | None]) -> None:
        """Tell of the process that records an account likewise."""
        self._account = about

    def watch_stream(self, silent_s: Callable[[], Sequence[float]], wait_s: Callable[[], float]) -> None:
        """Judge by a stream from now on, and not by REST answers.

        ``silent_s`` returns for each connection the seconds since its last sign of life, ``wait_s`` those until one may
        open.
        """
        self._silent_s, self._connects_in_s = silent_s, wait_s

    def recording(self, parts: Parts) -> None:
        """Report that recording begins."""
        self._parts = parts
        self._notifier.send(service_manager.READY, service_manager.status(f"recording {len(parts.pairs)} pairs"))

    def stopping(self) -> None:
        """Report that recording ends."""
        self._stopping = True
        self._notifier.send(service_manager.STOPPING, service_manager.status("draining the journal"))

    @property
    def parts(self) -> Parts | None:
        """The recording parts; None before :meth:`recording`."""
        return self._parts

    @property
    def quotes(self) -> dict[str, object] | None:
        """The state of the process that records quotes; None if there is to be none."""
        return self._quotes()

    def state(self) -> HealthState:
        """Return the current state."""
        parts = self._parts
        room = parts.space.room if parts else None
        since_answer_s = self._clock.monotonic() - self._answered_s
        return HealthState(
            listed=parts is not None,
            stopping=self._stopping,
            pairs=len(parts.pairs) if parts else 0,
            streaming=self._silent_s is not None,
            silent_s=[since_answer_s] if self._silent_s is None else self._silent_s(),
            connects_in_s=self._connects_in_s(),
            asks_in_s=self._asks_in_s(),
            inbox_bytes=self._inbox.size,
            inbox_limit_bytes=self._inbox.limit,
            unsynced_s=parts.commit.unsynced_s() if parts else 0.0,
            drained_s=parts.drain.drained_s() if parts else 0.0,
            drain_every_s=parts.drain.every_s if parts else 0.0,
            free_bytes=room.free if room else math.inf,
            low_bytes=parts.space.low_bytes if parts else 0,
        )

    def problems(self) -> list[str]:
        """Return why nothing is recorded, or soon will not be; empty if all is well."""
        return health.not_ready(self.state())

    def about(self) -> dict[str, object]:
        """Return facts besides the state: archive, release, start time and number of pairs.

        Also for how many seconds new connections and REST requests are paused after a refusal, and the quarantined
        pairs, each with file, problem and remedy; and the states of the processes that record quotes and an account, if
        there are any.
        """
        faults = self._parts.quarantined.faults() if self._parts else []
        return {
            "archive": str(self._data),
            "version": __version__,
            "since": self._since.isoformat().replace("+00:00", "Z"),
            "pairs": len(self._parts.pairs) if self._parts else 0,
            "paused_s": {"connect": round(self._connects_in_s(), 1), "rest": round(self._asks_in_s(), 1)},
            "quarantined": [asdict(fault) for fault in faults[:SHOWN]],
            "quotes": self._quotes(),
            "account": self._account(),
        }

    async def run(self) -> None:
        """Send signs of life until cancelled, but none while only a restart can help.

        Each also flushes suppressed log lines, in case no other line does.
        """
        watchdog_s = self._notifier.watchdog_s
        beat_s = min(BEAT_S, watchdog_s / 3) if watchdog_s else BEAT_S  # two may be missed
        while True:
            self.beat()
            log.report_suppressed()
            await self._clock.sleep(beat_s)

    def beat(self) -> None:
        """Send one, if the daemon is alive."""
        state = self.state()
        reasons = health.not_ready(state)
        faults = self._parts.quarantined.faults() if self._parts else []
        but = f", {len(faults)} of them quarantined: {faults[0]}" if faults else ""
        status = service_manager.status("; ".join(reasons) if reasons else f"recording {state.pairs} pairs{but}")
        self._notifier.send(*([] if health.dead(state) else [service_manager.WATCHDOG]), status)
