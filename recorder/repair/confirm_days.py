"""Once a UTC day is over, ask of every pair that has been silent since whether the day is complete.

A pair that trades proves it by itself: the ids before its next trade are all held. Of a thin pair, that no trade came
until the day's end is known only from an answer that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from recorder.clock import Clock
from recorder.core.ledger import Ledger, PairLedger
from recorder.core.model import Instrument
from recorder.core.plausibility import is_time

ROUND_S: Final = 60.0
"""How often to look; most pairs have traded by then, and need no request."""
AFTER_S: Final = 180.0
"""So long after midnight the first look comes: an answer vouches for a moment a minute before it came."""
RETRY_S: Final = 900.0
"""A pair that was not confirmed, for it traded or could not be asked, is asked again after so long."""
DAY_S: Final = 86_400


class Confirmer(Protocol):
    """Who asks."""

    async def confirm(self, pair: str) -> bool:
        """Ask whether anything came after the last trade held; tell whether it is noted that nothing did."""
        ...


class ConfirmDays:
    """Sees to the days of ``instruments`` (by pair, live).

    ``now_s`` tells what time it is at least (seconds since 1970), None where nobody vouches for it: a host's clock that
    is a day ahead would have every pair asked for again and again about a day that is not over.
    """

    def __init__(
        self,
        ledger: Ledger,
        confirmer: Confirmer,
        *,
        instruments: Mapping[str, Instrument],
        now_s: Callable[[], float | None],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._confirmer = confirmer
        self._instruments = instruments
        self._now_s = now_s
        self._clock = clock
        self._not_before_s: dict[str, float] = {}

    async def run(self) -> None:
        """Look every :data:`ROUND_S` seconds until cancelled."""
        while True:
            for pair in list(self._instruments):
                if self._open(pair):
                    self._not_before_s[pair] = self._clock.monotonic() + RETRY_S
                    await self._confirmer.confirm(pair)
            await self._clock.sleep(ROUND_S)

    def _open(self, pair: str) -> bool:
        """Tell whether it is unknown what came of ``pair`` until the last midnight, and it may be asked."""
        now_s = self._now_s()
        if now_s is None:
            return False
        midnight_s = now_s // DAY_S * DAY_S
        until_us = _known_until_us(self._ledger.of(pair), round(now_s * 1e6))
        if until_us is None or until_us >= midnight_s * 1e6 or now_s < midnight_s + AFTER_S:
            return False
        return self._clock.monotonic() >= self._not_before_s.get(pair, 0.0)


def _known_until_us(account: PairLedger, now_us: int) -> int | None:
    """Return until when it is known what came; None if nothing is held. A trade stamped ahead of now tells nothing."""
    until_us = account.complete_until_us()
    if until_us is None or is_time(until_us, now_us):
        return until_us
    confirmed = account.confirmed
    return confirmed.until_us if confirmed is not None and confirmed.last_id == account.spans.last else 0
