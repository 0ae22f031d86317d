"""Health checks: is the daemon alive, and does it record. Pure functions of a state that return sentences.

*Alive* fails if only a restart can help; *ready* fails while data that should be recorded is not, or soon will not be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SILENT_S: Final = 60.0
"""A silent socket is hung up within ten seconds, and a new one opened within thirty: this is two failures in a row."""
UNANSWERED_S: Final = 180.0
"""Limit without a good answer if nothing is streamed: longer than the pause after a 403."""
FULL_SHARE: Final = 0.9
"""An inbox this full slows the socket, which the exchange cuts before long."""
UNSYNCED_S: Final = 15.0
"""A line should be durable within ``journal.sync_every``, at most ten seconds, and one sync."""
STUCK_S: Final = 300.0
"""A sync this long will not return: the disk is gone, and only a restart can show what was written."""
DRAIN_SLACK_S: Final = 900.0
"""Tolerated delay of a drain: one of a full journal takes a minute, a catch-up after days of outage several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthState:
    """A snapshot of the daemon's own state. Ages and lengths are in seconds, sizes in bytes.

    ``listed`` is whether the pairs to record are known, ``pairs`` their number. ``streaming`` is whether trades should
    arrive by a stream; ``silent_s`` is the time since the last sign of life (defined in ``kraken.websocket_session``)
    of each of its connections, or since the last good answer if nothing is streamed. ``drained_s`` is the time since
    the last drain ended. ``free_bytes`` below ``low_bytes`` are too few. ``connects_in_s`` and ``asks_in_s`` are the
    times until a connection may be opened, and REST used without restriction, after a refusal; 0 is now.
    """

    listed: bool
    stopping: bool
    pairs: int
    streaming: bool
    silent_s: Sequence[float]
    inbox_bytes: int
    inbox_limit_bytes: int
    unsynced_s: float
    drained_s: float
    drain_every_s: float
    free_bytes: float = math.inf
    low_bytes: float = 0.0
    connects_in_s: float = 0.0
    asks_in_s: float = 0.0


def dead(state: HealthState) -> list[str]:
    """Return why only a restart can help; empty if the daemon is alive."""
    if state.unsynced_s > STUCK_S:
        return [f"a write to the journal has not returned for {state.unsynced_s:.0f} s: look at the disk"]
    return []


def not_ready(state: HealthState) -> list[str]:
    """Return why it does not record, or soon will not; empty if it does."""
    if state.stopping:
        return ["it is stopping"]
    if not state.listed:
        return [f"it is not known yet what Kraken lists: its REST is out of reach{_again(state.asks_in_s)}"]
    reasons = []
    if not state.pairs:
        reasons.append("none of the configured pairs is listed")
    else:
        reasons += _unheard(state)
    if state.inbox_bytes >= FULL_SHARE * state.inbox_limit_bytes:
        reasons.append(f"{state.inbox_bytes / 1e6:.0f} MB wait for the journal: the disk is too slow")
    if state.unsynced_s > UNSYNCED_S:
        reasons.append(f"what was received {state.unsynced_s:.0f} s ago is not durable yet: the disk is too slow")
    if state.drained_s > state.drain_every_s + DRAIN_SLACK_S:
        reasons.append(f"the journal was not drained for {state.drained_s:.0f} s: look at the log")
    if state.free_bytes < state.low_bytes:
        free, low = state.free_bytes / 1e9, state.low_bytes / 1e9
        reasons.append(f"the disk is low: {free:.2f} GB are free of the {low:.2f} GB it should have: make room")
    return reasons


def _unheard(state: HealthState) -> list[str]:
    limit_s = SILENT_S if state.streaming else UNANSWERED_S
    silent_s = [each_s for each_s in state.silent_s if each_s > limit_s]
    if not silent_s:
        return []
    if not state.streaming:
        text = f"no good answer came for {max(silent_s):.0f} s: Kraken's REST is out of reach, or refuses"
        return [text + _again(state.asks_in_s)]
    again = _again(state.connects_in_s)
    if len(silent_s) == len(state.silent_s):
        return [f"no data or heartbeat came for {min(silent_s):.0f} s: the stream is down{again}"]
    of = f"{len(silent_s)} of {len(state.silent_s)} connections"
    return [f"no data or heartbeat came for {max(silent_s):.0f} s on {of}: the pairs on them are not heard{again}"]


def _again(in_s: float) -> str:
    """Return when the next attempt follows, if it is delayed by a refusal or by too many attempts."""
    return f"; the next attempt comes in {in_s:.0f} s" if in_s > 0 else ""
