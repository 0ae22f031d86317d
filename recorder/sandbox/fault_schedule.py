"""Fault injection: named faults, activated by a test, by a script over time, or from outside over HTTP.

Contains which faults are active, and when. Does not touch sockets: a lasting fault is a property that the outer layer
queries (``refusing``), a momentary fault is a callback that it provides (``hang_up``). A new fault is one method, one
line in ``_FAULTS`` and one query where it applies. Faults of REST answers are in ``rest_faults``, those of WebSocket
lines in ``websocket_faults``; the trading state is in ``exchange_status``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from recorder.clock import Clock
from recorder.errors import UsageError
from recorder.sandbox import rest_faults, websocket_faults
from recorder.sandbox.exchange_status import SYSTEMS, StatusBoard
from recorder.sandbox.rest_faults import EVERYWHERE, RestFaults
from recorder.sandbox.websocket_faults import HALF_DEAD, Stall, WebSocketFaults

if TYPE_CHECKING:  # loaded when a test injects the first: a sandbox that is merely served needs none
    from recorder.sandbox.fault_injection.book_faults import BookFaults
    from recorder.sandbox.fault_injection.injected_faults import InjectedFaults
    from recorder.sandbox.fault_injection.listing_faults import ListingFaults
    from recorder.sandbox.fault_injection.row_faults import RowFaults
    from recorder.sandbox.fault_injection.subscription_faults import SubscriptionFaults


@dataclass(frozen=True, slots=True)
class Act:
    """One line of a script: ``fault``, ``at_s`` seconds after the start, for ``for_s`` seconds (None: for good).

    Faults of REST answers can also apply to the next ``n`` requests, and only to a ``path``; faults of frames to the
    next ``n`` frames.
    """

    at_s: float
    fault: str
    for_s: float | None = None
    n: int | None = None
    path: str = EVERYWHERE


class Faults:
    """The switches. Times are monotonic seconds of the given clock."""

    def __init__(
        self,
        clock: Clock,
        *,
        hang_up: Callable[[], None],
        script: Iterable[Act] = (),
        status: StatusBoard | None = None,
    ) -> None:
        self.rest = RestFaults(clock)
        """Faults of REST answers."""
        self.injected: InjectedFaults | None = None
        """What tests inject; None until one does."""
        self.lines = WebSocketFaults(clock, lambda: self.injected)
        """Faults of WebSocket lines."""
        self.rejected: set[str] = set()
        """v2 symbols whose subscription is refused although they are listed."""
        self._clock = clock
        self._hang_up = hang_up
        self._status = StatusBoard(clock) if status is None else status
        self._refuse_until_s = -math.inf
        self._script = sorted(script, key=lambda act: act.at_s)
        self._began_s = clock.monotonic()

    def disconnect(self) -> None:
        """Cut every socket at once, without a close frame. Clients may reconnect at once."""
        self._hang_up()

    def refuse(self, for_s: float | None = None) -> None:
        """Answer every new handshake and request with HTTP 503, for a time or until released. Sockets stay open."""
        self._refuse_until_s = math.inf if for_s is None else self._clock.monotonic() + for_s

    def outage(self, for_s: float | None = None) -> None:
        """Cut every socket, and refuse new connections and requests."""
        self.refuse(for_s)
        self.disconnect()

    def reject(self, symbol: str) -> None:
        """Refuse new subscriptions to this pair although it is listed; REST and existing subscriptions continue."""
        self.rejected.add(symbol)

    def accept(self, symbol: str) -> None:
        """Grant subscriptions to this pair again."""
        self.rejected.discard(symbol)

    def release(self) -> None:
        """Stop every lasting fault, and be online. Announcements stay."""
        self._refuse_until_s = -math.inf
        self.rest.release()
        self.lines.release()
        self.rejected.clear()
        if self.injected is not None:
            self.injected.release()
        self._status.show("online")

    @property
    def rows(self) -> RowFaults:
        """Malformed rows, wherever they are sent."""
        return self._inject().rows

    @property
    def books(self) -> BookFaults:
        """Faults of books."""
        return self._inject().books

    @property
    def quirks(self) -> ListingFaults:
        """Unusual content in valid answers."""
        return self._inject().quirks

    @property
    def entry(self) -> SubscriptionFaults:
        """Refused subscriptions other than by name, and the form of the refusals."""
        return self._inject().entry

    def _inject(self) -> InjectedFaults:
        if self.injected is None:
            from recorder.sandbox.fault_injection.injected_faults import InjectedFaults  # noqa: PLC0415 -- see above

            self.injected = InjectedFaults(self._clock)
        return self.injected

    @property
    def refusing(self) -> bool:
        """Whether new connections and requests are refused."""
        return self._clock.monotonic() < self._refuse_until_s

    def throw(
        self,
        fault: str,
        for_s: float | None = None,
        *,
        n: int | None = None,
        path: str = EVERYWHERE,
        stall: Stall = HALF_DEAD,
    ) -> None:
        """Activate a fault by its name. Raise UsageError for an unknown name, or a path where none is allowed."""
        _check_scope(fault, n=n, path=path)
        if fault in rest_faults.NAMES:
            self.rest.throw(fault, for_s, n=n, path=path)
        elif fault in websocket_faults.NAMES:
            self.lines.throw(fault, for_s, n=n, stall=stall)
        elif fault in SYSTEMS:
            self._status.show(fault, for_s)
        elif fault == "ladder":
            self._status.climb(for_s)
        else:
            _FAULTS[fault](self, for_s)

    def start(self) -> None:
        """Start the script's time now."""
        self._began_s = self._clock.monotonic()

    def follow_script(self) -> None:
        """Activate the faults that the script has due by now."""
        elapsed_s = self._clock.monotonic() - self._began_s
        while self._script and self._script[0].at_s <= elapsed_s:
            act = self._script.pop(0)
            self.throw(act.fault, act.for_s, n=act.n, path=act.path)


_FAULTS: Final[dict[str, Callable[[Faults, float | None], None]]] = {
    "disconnect": lambda faults, _: faults.disconnect(),
    "refuse": Faults.refuse,
    "outage": Faults.outage,
    "release": lambda faults, _: faults.release(),
}
NAMES: Final = (*_FAULTS, *rest_faults.NAMES, *websocket_faults.NAMES, *SYSTEMS, "ladder")
"""Every fault that can be activated by its name alone. A ``ladder`` spends that many seconds on each of its rungs."""


def _known(fault: str) -> str:
    if fault not in NAMES:
        raise UsageError(f"there is no fault {fault!r}; there are {', '.join(NAMES)}")
    return fault


def _check_scope(fault: str, *, n: int | None, path: str) -> None:
    countable = fault in websocket_faults.FRAMES and path == EVERYWHERE
    if _known(fault) not in rest_faults.NAMES and not countable and (n is not None or path != EVERYWHERE):
        raise UsageError(
            f"{fault} is for a time and for everything; only {', '.join(rest_faults.NAMES)} can be for some requests, "
            f"and {', '.join(websocket_faults.FRAMES)} for some frames"
        )


def parse_act(text: str) -> Act:
    """Return one act of a script: when, what, and optionally for how long or how many requests, and on what path.

    >>> parse_act("8:outage:4")
    Act(at_s=8.0, fault='outage', for_s=4.0, n=None, path='/0/')
    >>> parse_act("8:busy:3x:/0/public/OHLC")
    Act(at_s=8.0, fault='busy', for_s=None, n=3, path='/0/public/OHLC')
    """
    at_text, fault, ends, path = (*text.split(":", 3), "", "", "")[:4]
    try:
        at_s = float(at_text)
        n = int(ends.removesuffix("x")) if ends.endswith("x") else None
        for_s = float(ends) if ends and n is None else None
    except ValueError:
        at_s = math.nan
    if math.isnan(at_s) or (path and not rest_faults.is_path(path)):
        raise UsageError(
            f"{text!r} is no act of a script; write SECOND:FAULT or SECOND:FAULT:SECONDS, like 8:outage:4, or for the "
            "next 3 requests to one path 8:busy:3x:/0/public/OHLC"
        )
    act = Act(at_s=at_s, fault=fault, for_s=for_s, n=n, path=path or EVERYWHERE)
    _check_scope(act.fault, n=act.n, path=act.path)
    return act
