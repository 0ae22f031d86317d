"""The check that lets no private request go while the host's clock is wrong.

A nonce of a clock that is ahead would lock out all smaller ones for good; the times that are requested would be wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from recorder.clock import Clock
from recorder.errors import ClockWrong, Malformed
from recorder.kraken import rest_api, wire

MOST_S: Final = 60.0
"""The largest difference between the host's clock and Kraken's."""
EVERY_S: Final = 3600.0
"""Interval of comparisons while nothing looks wrong."""
RETRY_S: Final = 30.0


class ExchangeTime:
    """The time of the exchange, by its public ``Time`` and the monotonic clock since."""

    def __init__(self, get: Callable[[rest_api.Request], Awaitable[bytes]], clock: Clock) -> None:
        """Request it by ``get``, which returns the result of a public request."""
        self._get = get
        self._clock = clock
        self._known: tuple[float, float] | None = None

    async def check(self) -> None:
        """Return if the host's clock is right. Raises ClockWrong, and ExchangeError if Kraken does not answer."""
        if self._known is None or self._clock.monotonic() - self._known[0] >= EVERY_S or abs(self._ahead_s()) > MOST_S:
            await self._request()
        ahead_s = self._ahead_s()
        if abs(ahead_s) > MOST_S:
            side = "ahead of" if ahead_s > 0 else "behind"
            raise ClockWrong(
                f"the clock of this machine is {abs(ahead_s):.0f} s {side} Kraken's, and no private request is "
                f"sent above {MOST_S:.0f} s: set it, best by NTP",
                RETRY_S,
            )

    async def _request(self) -> None:
        before_s = self._clock.monotonic()
        result = await self._get(rest_api.Request("/0/public/Time"))
        try:
            unixtime = wire.any_json(result)["unixtime"]
        except (*wire.UNREADABLE, KeyError, TypeError):
            unixtime = None
        if type(unixtime) is not int:
            raise Malformed("Kraken's answer to Time has no unixtime")
        at_s = (before_s + self._clock.monotonic()) / 2
        self._known = at_s, unixtime + 0.5  # it is cut to whole seconds

    def _ahead_s(self) -> float:
        assert self._known is not None
        at_s, exchange_s = self._known
        return self._clock.wall_ns() / 1e9 - (exchange_s + self._clock.monotonic() - at_s)
