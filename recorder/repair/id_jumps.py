"""Ask REST of pairs with ids that are far from all others: parked ones, and those behind a gap that none can leave.

What it shows is journalled like any page. Then parked ids up to there count, and gaps up to there are fetched.
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
"""How often to look: a true jump of the ids keeps what follows from counting until then, or until the third frame."""
RETRY_S: Final = 10.0
LAST_RETRY_S: Final = 900.0
"""Wait at most, after 10 s, 20 s, …, for a pair of which REST shows nothing like it: it may never."""


class FarIds:
    """Looks after ``instruments`` (by pair, live). ``hole_seen`` is called when a gap may be fetched now."""

    def __init__(
        self,
        ledger: Ledger,
        tail: CatchUpFetcher,
        *,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        hole_seen: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._tail = tail
        self._instruments = instruments
        self._clock = clock
        self._hole_seen = hole_seen
        self._waits: dict[str, tuple[GrowingDelay, float]] = {}

    async def run(self) -> None:
        """Look every :data:`ROUND_S` seconds until cancelled."""
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
            await self._tail.fetch_newest(pair)
            if not self._is_far(pair):
                self._hole_seen()

    def _is_far(self, pair: str) -> bool:
        account = self._ledger.of(pair)
        return bool(account.parked) or bool(account.far_gaps())
