"""What goes wrong on demand: named faults, thrown by a test, by a script over time, or from outside by HTTP.

Owns which faults are on, and when. Refuses sockets: a fault that lasts is a question that the rim asks
(``refusing``), a fault that strikes once is an effect that the rim does (``hang_up``). A new fault is one method,
one line in ``_FAULTS`` and one question at its seam: the door (handshake or request), the answer (a REST body), or
the push (frames to one client).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from recorder.clock import Clock
from recorder.errors import UsageError


@dataclass(frozen=True, slots=True, order=True)
class Act:
    """One line of a script: ``fault``, ``at_s`` seconds after the start, for ``for_s`` seconds (None: for good)."""

    at_s: float
    fault: str
    for_s: float | None = None


class Faults:
    """The switches. Times are monotonic seconds of the clock given."""

    def __init__(self, clock: Clock, *, hang_up: Callable[[], None], script: Iterable[Act] = ()) -> None:
        self._clock = clock
        self._hang_up = hang_up
        self._refuse_until_s = -math.inf
        self._script = sorted(script)
        self._began_s = clock.monotonic()

    def disconnect(self) -> None:
        """Cut every socket at once, without a close frame. Clients may come back at once."""
        self._hang_up()

    def refuse(self, for_s: float | None = None) -> None:
        """Answer every new handshake and request with HTTP 503, for a time or until released. Sockets stay open."""
        self._refuse_until_s = math.inf if for_s is None else self._clock.monotonic() + for_s

    def outage(self, for_s: float | None = None) -> None:
        """Cut every socket, and refuse: nothing is to be had."""
        self.refuse(for_s)
        self.disconnect()

    def release(self) -> None:
        """Stop every fault that lasts."""
        self._refuse_until_s = -math.inf

    @property
    def refusing(self) -> bool:
        """Whether the door is shut."""
        return self._clock.monotonic() < self._refuse_until_s

    def throw(self, fault: str, for_s: float | None = None) -> None:
        """Throw a fault by its name. Raises UsageError where there is none of that name."""
        _FAULTS[_known(fault)](self, for_s)

    def start(self) -> None:
        """Count the script's time from now."""
        self._began_s = self._clock.monotonic()

    def follow_script(self) -> None:
        """Throw what the script has due by now."""
        elapsed_s = self._clock.monotonic() - self._began_s
        while self._script and self._script[0].at_s <= elapsed_s:
            act = self._script.pop(0)
            self.throw(act.fault, act.for_s)


_FAULTS: Final[dict[str, Callable[[Faults, float | None], None]]] = {
    "disconnect": lambda faults, _: faults.disconnect(),
    "refuse": Faults.refuse,
    "outage": Faults.outage,
    "release": lambda faults, _: faults.release(),
}
NAMES: Final = tuple(_FAULTS)


def _known(fault: str) -> str:
    if fault not in _FAULTS:
        raise UsageError(f"there is no fault {fault!r}; there are {', '.join(NAMES)}")
    return fault


def parse_act(text: str) -> Act:
    """Read one act of a script: when, what, and for how long if it is to end.

    >>> parse_act("8:outage:4")
    Act(at_s=8.0, fault='outage', for_s=4.0)
    """
    at_text, _, rest = text.partition(":")
    fault, _, for_text = rest.partition(":")
    try:
        at_s, for_s = float(at_text), float(for_text) if for_text else None
    except ValueError:
        raise UsageError(
            f"{text!r} is no act of a script; write SECOND:FAULT or SECOND:FAULT:SECONDS, like 8:outage:4"
        ) from None
    return Act(at_s=at_s, fault=_known(fault), for_s=for_s)
