"""Requests for pairs with ids far from all others: parked ids, and those behind a gap that no outage explains.

The answers are journalled like any page. Parked ids up to the highest one shown count then, and gaps are fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from recorder.clock import Clock
from recorder.core.backoff import GrowingDelay
from recorder.core.ledger import Ledger
from recorder.core.model import Instrument
from recorder.repair.catch_up import CatchUpFetcher

ROUND_S: Final = 10.0
"""Interval of checks: after a genuine jump, ids do not count until a check, or until the third frame."""
RETRY_S: Final = 10.0
LAST_RETRY_S: Final = 900.0
"""Longest wait, after 10 s, 20 s, …, for a pair whose far ids REST does not show: it may never show them."""


class FarIds:
    """Watches ``instruments`` (by pair, live). ``hole_seen`` is called when a gap may be fetched now."""

    def __init__(
        self,
        ledger: Ledger,
        catch_up: CatchUpFetcher,
        *,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        hole_seen: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._catch_up = catch_up
        self._instruments = instruments
        self._clock = clock
        self._hole_seen = hole_seen
        self._waits: dict[str, tuple[GrowingDelay, float]] = {}

    async def run(self) -> None:
        """Check every :data:`ROUND_S` seconds until cancelled."""
        while True:
            await self._look()
            await self._clock.sleep(ROUND_S)

    async def _look(self) -> None:
        far = [pair for pair in self._instruments if self._is_far(pair)]
        self._waits = {pair: wait for pair, wait in self._waits.items() if pair in far}
        for pair in far:
            growing, due_s = self._waits.get(pair, (GrowingDelay(RETRY_S, LAST_RETRY_S), 0.0))
            if due_s > self._clock.monotonic():
                continue
            self._waits[pair] = growing, self._clock.monotonic() + growing.failed()
            await self._catch_up.fetch_newest(pair)
            if not self._is_far(pair):
                self._hole_seen()

    def _is_far(self, pair: str) -> bool:
        account = self._ledger.of(pair)
        return bool(account.parked) or bool(account.far_gaps())
