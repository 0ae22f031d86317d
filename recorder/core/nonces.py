"""Nonces of private requests, and the counter of calls: what one key has used so far. Pure.

A nonce must be greater than every one before it (API.md 10.1), whatever the clock does. The counter rises with each
call and falls by itself, at a rate that depends on the tier of the account (API.md 4.2); both belong to the key and not
to a process, so both are in one record, which the processes that use the key share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

Tier: TypeAlias = Literal["starter", "intermediate", "pro"]
GREATEST: Final = 2**64 - 1
"""Kraken's nonces have 64 bits."""
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """The counter of a tier: its maximum, and by how much it falls each second."""

    most: float
    per_s: float


TIERS: Final[dict[Tier, Allowance]] = {
    "starter": Allowance(15.0, 0.33),
    "intermediate": Allowance(20.0, 0.5),
    "pro": Allowance(20.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class KeyUse:
    """The last nonce that was issued, and the counter as it was then (ns since 1970 by the host's clock).

    ``refused`` marks credentials that Kraken did not accept; empty if there are none.
    """

    nonce: int = 0
    counter: float = 0.0
    counted_ns: int = 0
    refused: str = ""

    def wait_s(self, cost: float, now_ns: int, allowance: Allowance) -> float:
        """Return the seconds until a call of this cost is allowed; 0 if now."""
        over = self._counter(now_ns, allowance) + cost - allowance.most
        return max(0.0, over / allowance.per_s)

    def issued(self, cost: float, now_ns: int, allowance: Allowance) -> KeyUse:
        """Return the record after a call of this cost, with the nonce of that call.

        Raises OverflowError if no greater nonce exists.
        """
        nonce = max(self.nonce + 1, now_ns)
        if nonce > GREATEST:
            raise OverflowError(nonce)
        return replace(self, nonce=nonce, counter=self._counter(now_ns, allowance) + cost, counted_ns=now_ns)

    def throttled(self, now_ns: int, allowance: Allowance) -> KeyUse:
        """Return the record after a refusal: others use the counter too, and it is at its maximum."""
        return replace(self, counter=allowance.most, counted_ns=now_ns)

    def _counter(self, now_ns: int, allowance: Allowance) -> float:
        # A clock that was set back shows no time passing; one that was set ahead too much, which a refusal corrects.
        elapsed_s = max(0, now_ns - self.counted_ns) / _NS
        return max(0.0, self.counter - elapsed_s * allowance.per_s)
