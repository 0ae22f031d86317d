"""Refusals of subscriptions to listed pairs on demand: by symbol, by message, or by silence.

Contains which refusal applies to which message; ``websocket`` builds the frames. The texts of limits are not
established (API.md 8.2, 16.1), and a refusal of a whole message names no symbol, as that of a bad depth does not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from recorder.clock import Clock
from recorder.errors import UsageError

TOO_MANY: Final = "EGeneral:Too many requests"
"""The default text: Kraken's message for a throttle elsewhere."""
TOO_FAST: Final = "Exceeded msg rate"
"""The text for a message that is too large or arrives too soon: known from v1."""
NOTHING: Final = ""
"""The text that means no answer at all."""
REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal, active until a monotonic time: of these symbols (all if empty), each by name or not."""

    text: str
    until_s: float
    symbols: frozenset[str]
    named: bool


@dataclass(frozen=True, slots=True)
class MessageLimit:
    """The maximum accepted: symbols in a message, and messages in a second, over all connections."""

    symbols: float = math.inf
    per_s: float = math.inf


class SubscriptionFaults:
    """The active refusals. Times are monotonic seconds of the given clock."""

    def __init__(self, clock: Clock) -> None:
        self.requested: deque[tuple[float, tuple[str, ...]]] = deque(maxlen=REMEMBERED)
        """The newest subscribe messages: their times and symbols."""
        self.limit = MessageLimit()
        self._clock = clock
        self._refusals: list[Refusal] = []
        self._taken_s: deque[float] = deque()

    def refuse(
        self, text: str = TOO_MANY, for_s: float | None = None, *, symbols: Collection[str] = (), named: bool = True
    ) -> None:
        """Refuse subscriptions to ``symbols`` (all if there are none) with ``text``, for a time or until released.

        ``named`` names each symbol; otherwise a message with one of them is refused whole, and the answer has only its
        req_id. The text :data:`NOTHING` means no answer at all.
        """
        until_s = math.inf if for_s is None else self._clock.monotonic() + for_s
        self._refusals.append(Refusal(text, until_s, frozenset(symbols), named))

    def limit_to(self, *, symbols: float = math.inf, per_s: float = math.inf) -> None:
        """Limit the symbols in a message, and the messages per second. Raise UsageError if nothing could pass."""
        if symbols < 1 or per_s < 1:
            raise UsageError("a limit of less than one lets nobody in; refuse instead")
        self.limit = MessageLimit(symbols, per_s)

    def release(self) -> None:
        """Stop all refusals."""
        self._refusals.clear()
        self.limit = MessageLimit()

    def message(self, symbols: Collection[str]) -> str | None:
        """Record a message; return the text of its refusal as a whole, None if it is not refused."""
        now_s = self._clock.monotonic()
        self.requested.append((now_s, tuple(symbols)))
        self._taken_s.append(now_s)
        while self._taken_s[0] <= now_s - 1:
            self._taken_s.popleft()
        if len(symbols) > self.limit.symbols or len(self._taken_s) > self.limit.per_s:
            return TOO_FAST
        return next((refusal.text for refusal in self._in_force(symbols) if not refusal.named), None)

    def symbol(self, symbol: str) -> str | None:
        """Return the text of the refusal of one symbol of a message, None if it is not refused."""
        return next((refusal.text for refusal in self._in_force([symbol]) if refusal.named), None)

    def _in_force(self, symbols: Collection[str]) -> list[Refusal]:
        now_s = self._clock.monotonic()
        self._refusals = [refusal for refusal in self._refusals if now_s < refusal.until_s]
        return [
            refusal
            for refusal in reversed(self._refusals)
            if not refusal.symbols or not refusal.symbols.isdisjoint(symbols)
        ]
