"""Is the daemon alive, and does it record: sentences about a state, which is all they look at.

*Alive* fails where only a restart can help; *ready* fails while what should be recorded is not, or soon will not be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SILENT_S: Final = 60.0
"""A silent socket is hung up within ten seconds, and a new one opened within thirty: this is two failures in a row."""
UNANSWERED_S: Final = 180.0
"""Without a stream, so long without a good answer: longer than the pause after a 403."""
FULL_SHARE: Final = 0.9
"""An inbox this full slows the socket, which the exchange cuts before long."""
UNSYNCED_S: Final = 15.0
"""A line should be durable within ``journal.sync_every``, at most ten seconds, and one sync."""
STUCK_S: Final = 300.0
"""A sync that takes so long will not return: the disk is gone, and only a restart can tell what was written."""
DRAIN_SLACK_S: Final = 900.0
"""How late a drain may be: one of a full journal takes a minute, a catch-up after days of outage some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthState:
    """What the daemon knows of itself at one moment. Ages and lengths are in seconds, sizes in bytes.

    ``listed`` tells that it is known what to record, ``pairs`` how many that are. ``streaming`` tells whether it
    should hear of trades by a stream; ``silent_s`` is since when there was no sign of life: on each of its connections
    (``kraken.session`` says what is one), or where nothing is streamed no good answer. ``drained_s`` is since when no
    drain has ended. ``low_bytes`` of ``free_bytes`` are too few. A connection may be opened, and REST asked without
    restriction, in ``connects_in_s`` and ``asks_in_s``, after a refusal; 0 is now.
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
    """Return why only a restart can help; nothing where the daemon is alive."""
    if state.unsynced_s > STUCK_S:
        return [f"a write to the journal has not returned for {state.unsynced_s:.0f} s: look at the disk"]
    return []


def not_ready(state: HealthState) -> list[str]:
    """Return why it does not record, or soon will not; nothing where it does."""
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
        said = f"no good answer came for {max(silent_s):.0f} s: Kraken's REST is out of reach, or refuses"
        return [said + _again(state.asks_in_s)]
    again = _again(state.connects_in_s)
    if len(silent_s) == len(state.silent_s):
        return [f"no data or heartbeat came for {min(silent_s):.0f} s: the stream is down{again}"]
    of = f"{len(silent_s)} of {len(state.silent_s)} connections"
    return [f"no data or heartbeat came for {max(silent_s):.0f} s on {of}: the pairs on them are not heard{again}"]


def _again(in_s: float) -> str:
    """Return when it is tried again, where that is put off: by a refusal, or by too many attempts."""
    return f"; the next attempt comes in {in_s:.0f} s" if in_s > 0 else ""
