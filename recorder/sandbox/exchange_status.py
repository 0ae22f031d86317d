"""The reported status of the exchange: its trading state, planned maintenance and emergencies (API.md 6.2, 8.4).

Contains the ladder of states over time, and both forms of the report: REST SystemStatus and the WebSocket status frame.
Does not act on it: a market in maintenance trades on unless it is frozen, and answers unless told to refuse.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from recorder.clock import Clock
from recorder.errors import UsageError

SYSTEMS: Final = ("online", "maintenance", "cancel_only", "post_only", "limit_only")
"""Every known state of Kraken."""
LADDER: Final = ("maintenance", "cancel_only", "post_only", "online")
"""The order seen around planned maintenance."""
LADDER_STEP_S: Final = 5.0
"""The default time on each rung: long enough to be seen, short enough for a test."""
APPROACHING_S: Final = 1800
"""The seconds before a maintenance from which the phase is ``approaching_30m``, the only one documented."""

_NS: Final = 1_000_000_000
_SOURCE_URL: Final = "https://status.example/incidents/{}"


@dataclass(frozen=True, slots=True)
class AnnouncedMaintenance:
    """One planned maintenance; times in ns since 1970 UTC."""

    event_id: int
    title: str
    start_ns: int
    end_ns: int

    def phase(self, now_ns: int) -> str:
        """Return how near it is."""
        if now_ns >= self.start_ns:
            return "in_progress"
        return "approaching_30m" if self.start_ns - now_ns <= APPROACHING_S * _NS else "scheduled"

    def entry(self, now_ns: int) -> dict[str, Any]:
        """Return its object, with the documented keys in their order."""
        phase = self.phase(now_ns)
        return {
            "event_id": self.event_id,
            "title": self.title,
            "expected_start_utc": _utc(self.start_ns),
            "expected_end_utc": _utc(self.end_ns),
            "time_to_start_s": max(0, (self.start_ns - now_ns) // _NS),
            "phase": phase,
            "affected_services": ["spot_trading"],
            "order_submission": "rejected" if phase == "in_progress" else "allowed",
            "recommended_action": "reduce_activity",
            "cancel_before_utc": _utc(self.start_ns - 300 * _NS),
            "source_url": _SOURCE_URL.format(self.event_id),
        }


@dataclass(frozen=True, slots=True)
class Emergency:
    """One emergency; ``started_ns`` since 1970 UTC."""

    event_id: int
    title: str
    started_ns: int

    def entry(self) -> dict[str, Any]:
        """Return its object, with the documented keys in their order."""
        return {
            "event_id": self.event_id,
            "title": self.title,
            "incident_status": "identified",
            "impact": "critical",
            "affected_services": ["spot_trading"],
            "started_at_utc": _utc(self.started_ns),
            "next_steps": [
                {
                    "applies_to": ["spot_trading"],
                    "type": "post_only",
                    "expected_at_utc": _utc(self.started_ns + 1800 * _NS),
                }
            ],
            "source_url": _SOURCE_URL.format(self.event_id),
        }


@dataclass(frozen=True, slots=True)
class StatusMessage:
    """The status reported at one time. ``arrays`` are the two lists that exist since mid-2026; None before.

    With ``nulls`` empty lists are null.
    """

    system: str = "online"
    arrays: tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]] | None = ((), ())
    nulls: bool = False

    def answer(self, now_ns: int) -> str:
        """Return the result of REST SystemStatus."""
        return _json({"status": self.system, "timestamp": _utc(now_ns), **self._lists()})

    def frame(self, connection_id: int) -> str:
        """Return the status frame for one connection."""
        data = {"version": "2.0.10", "system": self.system, "api_version": "v2", "connection_id": connection_id}
        return _json({"channel": "status", "type": "update", "data": [{**data, **self._lists()}]})

    def _lists(self) -> dict[str, Any]:
        if self.arrays is None:
            return {}
        planned, emergency = (None if self.nulls and not events else list(events) for events in self.arrays)
        return {"upcoming_maintenance": planned, "emergency": emergency}


class StatusBoard:
    """The reported status over time. ``arrays=False`` is Kraken before mid-2026."""

    def __init__(self, clock: Clock, *, arrays: bool = True) -> None:
        self._clock = clock
        self.nulls = False
        """Whether lists without an event are null."""
        self._arrays = arrays
        self._rungs: list[tuple[float, str]] = [(0.0, "online")]
        self._planned: list[AnnouncedMaintenance] = []
        self._emergencies: list[Emergency] = []
        self._event_ids = count(21)

    def show(self, system: str, for_s: float | None = None) -> None:
        """Be in this state, for a time and then online again, or for good. Scheduled states are forgotten."""
        if system not in SYSTEMS:
            raise UsageError(f"there is no status {system!r}; there are {', '.join(SYSTEMS)}")
        now_s = self._clock.monotonic()
        self._rungs = [(now_s, system)]
        if for_s is not None:
            self._rungs.append((now_s + for_s, "online"))

    def climb(self, step_s: float | None = None) -> None:
        """Go through :data:`LADDER` from now on, ``step_s`` seconds on each rung; end online."""
        now_s, step_s = self._clock.monotonic(), LADDER_STEP_S if step_s is None else step_s
        self._rungs = [(now_s + rung * step_s, system) for rung, system in enumerate(LADDER)]

    def plan_maintenance(self, *, in_s: float, for_s: float, title: str = "Scheduled Maintenance - Spot") -> None:
        """Announce a maintenance; the announcement disappears at its end. Independent of the ladder."""
        start_ns = self._clock.wall_ns() + round(in_s * _NS)
        self._planned.append(
            AnnouncedMaintenance(next(self._event_ids), title, start_ns, start_ns + round(for_s * _NS))
        )

    def declare_emergency(self, title: str = "Spot trading degraded") -> None:
        """Report an emergency, until all is clear."""
        self._emergencies.append(Emergency(next(self._event_ids), title, self._clock.wall_ns()))

    def all_clear(self) -> None:
        """Withdraw every maintenance and emergency."""
        self._planned.clear()
        self._emergencies.clear()

    @property
    def system(self) -> str:
        """The current state."""
        now_s = self._clock.monotonic()
        return next((system for at_s, system in reversed(self._rungs) if at_s <= now_s), self._rungs[0][1])

    def message(self) -> StatusMessage:
        """Return the current status message."""
        if not self._arrays:
            return StatusMessage(self.system, None)
        now_ns = self._clock.wall_ns()
        planned = [event.entry(now_ns) for event in self._planned if now_ns < event.end_ns]
        return StatusMessage(self.system, (planned, [event.entry() for event in self._emergencies]), self.nulls)

    def essence(self) -> object:
        """Return the values whose change triggers a status frame: state, events and their phases, but not seconds."""
        if not self._arrays:
            return self.system
        now_ns = self._clock.wall_ns()
        planned = [(event.event_id, event.phase(now_ns)) for event in self._planned if now_ns < event.end_ns]
        return self.system, planned, [event.event_id for event in self._emergencies]


def _utc(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // _NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))
