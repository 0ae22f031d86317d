"""Faults of WebSocket connections on demand (API.md 12, 13): damaged frames, silent pairs, dead lines.

Contains which faults are active. Does not touch sockets: ``clients`` queries the faults and applies them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from recorder.clock import Clock
from recorder.errors import UsageError

if TYPE_CHECKING:  # only tests inject faults: a sandbox that is merely served does not load them
    from recorder.sandbox.fault_injection.injected_faults import InjectedFaults

FRAMES: Final[Mapping[str, str]] = {
    "drop": "is never sent",
    "duplicate": "is sent twice",
    "reorder": "is sent after the next one, or with the next heartbeat",
    "torn": "ends in the middle, and so does what it says",
}
"""Name → what happens to a frame of live trades. For a time, or for a number of frames."""
LINES: Final[Mapping[str, str]] = {
    "hush": "every subscription is silent, though acknowledged, while heartbeats go on",
    "stall": "every line open at that moment is dead for good, and nobody says so; pings may still be answered",
    "brush_off": "every handshake is accepted, and the connection closed at once",
    "late": "acknowledgements and snapshots wait until it ends, while live frames go on",
}
"""Name → what happens to lines. For a time, except the stall."""
NAMES: Final = (*FRAMES, *LINES)


@dataclass(frozen=True, slots=True)
class Stall:
    """What a dead line still answers: a gateway that has lost its feed often continues to answer pings."""

    ping_frames: bool = True
    """Whether pings of the WebSocket protocol are answered, which are control frames (RFC 6455)."""
    ping_messages: bool = True
    """Whether ``{"method":"ping"}`` is answered."""


HALF_DEAD: Final = Stall()
"""The default stall, since it is the harder one to notice."""


@dataclass(slots=True)
class _Damage:
    """Active damage: until a monotonic time, or for the remaining number of frames."""

    name: str
    until_s: float
    left: float


class WebSocketFaults:
    """The active faults. Times are monotonic seconds of the given clock."""

    def __init__(self, clock: Clock, injected: Callable[[], InjectedFaults | None] = lambda: None) -> None:
        self.muted: set[str] = set()
        """v2 symbols whose subscriptions are acknowledged, and then silent."""
        self.stalls: list[Stall] = []
        """Each time that all lines died: a line older than the last time is dead in that way."""
        self._clock = clock
        self._injected = injected
        self._damage: list[_Damage] = []
        self._until_s = dict.fromkeys(("hush", "brush_off", "late"), -math.inf)

    def throw(self, name: str, for_s: float | None = None, *, n: int | None = None, stall: Stall = HALF_DEAD) -> None:
        """Activate a fault for a time and, for frames, for the next ``n``, whichever ends first; None: for good.

        ``stall`` is how lines die, for faults that stall them.

        Raise UsageError for an unknown fault, or one that could never strike.
        """
        if name not in NAMES:
            raise UsageError(f"there is no fault of lines {name!r}; there are {', '.join(NAMES)}")
        if n is not None and (n < 1 or name not in FRAMES):
            raise UsageError(f"{name} for {n} frames; {', '.join(FRAMES)} can be for 1 or more, others for a time")
        until_s = math.inf if for_s is None else self._clock.monotonic() + for_s
        if name == "stall":
            self.stalls.append(stall)
        elif name in FRAMES:
            self._damage.append(_Damage(name, until_s, math.inf if n is None else n))
        else:
            self._until_s[name] = until_s

    def release(self) -> None:
        """Stop all faults; lost frames stay lost, and dead lines stay dead."""
        self.muted.clear()
        self._damage.clear()
        self._until_s = dict.fromkeys(self._until_s, -math.inf)

    def sent(self, payload: bytes) -> bytes:
        """Return a frame as it is sent: its rows may be malformed."""
        injected = self._injected()
        return payload if injected is None else injected.rows.in_frame(payload)

    @property
    def brushing_off(self) -> bool:
        """Whether new connections are accepted and closed at once."""
        return self._clock.monotonic() < self._until_s["brush_off"]

    @property
    def answers_late(self) -> bool:
        """Whether acknowledgements have to wait."""
        return self._clock.monotonic() < self._until_s["late"]

    def silent(self, symbols: Collection[str]) -> bool:
        """Return whether all ``symbols`` are silent."""
        return self._clock.monotonic() < self._until_s["hush"] or self.muted.issuperset(symbols)

    def strike(self) -> frozenset[str]:
        """Return what happens to one frame of live trades, and count it against each active damage."""
        now_s = self._clock.monotonic()
        self._damage = [damage for damage in self._damage if now_s < damage.until_s and damage.left > 0]
        for damage in self._damage:
            damage.left -= 1
        return frozenset(damage.name for damage in self._damage)
