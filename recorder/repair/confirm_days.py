"""Confirmation of past UTC days: after midnight, asks for every pair that is silent whether the day is complete.

A pair that trades proves it itself: all ids before its next trade are stored. For a thinly traded pair, only an answer
without newer trades proves that none came before the end of the day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from recorder.clock import Clock
from recorder.core.ledger import Ledger, PairLedger
from recorder.core.model import Instrument
from recorder.core.plausibility import is_time

ROUND_S: Final = 60.0
"""Interval of checks; most pairs have traded by then, and need no request."""
AFTER_S: Final = 180.0
"""Seconds from midnight to the first check: an answer is only valid for a time a minute before its receipt."""
RETRY_S: Final = 900.0
"""A pair that was not confirmed, because it traded or the request failed, is asked for again after this time."""
DAY_S: Final = 86_400


class Confirmer(Protocol):
    """Confirms that a pair has no newer trades."""

    async def confirm(self, pair: str) -> bool:
        """Request trades after the last stored one; return whether it is noted that there are none."""
        ...


class ConfirmDays:
    """Confirms the days of ``instruments`` (by pair, live).

    ``now_s`` returns the earliest possible time now (seconds since 1970), None if it is unconfirmed: with a host's
    clock a day ahead, every pair would be asked for repeatedly about a day that is not over.
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
        """Check every :data:`ROUND_S` seconds until cancelled."""
        while True:
            for pair in list(self._instruments):
                if self._open(pair):
                    self._not_before_s[pair] = self._clock.monotonic() + RETRY_S
                    await self._confirmer.confirm(pair)
            await self._clock.sleep(ROUND_S)

    def _open(self, pair: str) -> bool:
        """Return whether trades of ``pair`` until the last midnight are unconfirmed, and a request is due."""
        now_s = self._now_s()
        if now_s is None:
            return False
        midnight_s = now_s // DAY_S * DAY_S
        until_us = _known_until_us(self._ledger.of(pair), round(now_s * 1e6))
        if until_us is None or until_us >= midnight_s * 1e6 or now_s < midnight_s + AFTER_S:
            return False
        return self._clock.monotonic() >= self._not_before_s.get(pair, 0.0)


def _known_until_us(account: PairLedger, now_us: int) -> int | None:
    """Return the time up to which all trades are known; None if none is stored. Trades stamped ahead prove nothing."""
    until_us = account.complete_until_us()
    if until_us is None or is_time(until_us, now_us):
        return until_us
    confirmed = account.confirmed
    return confirmed.until_us if confirmed is not None and confirmed.last_id == account.spans.last else 0
