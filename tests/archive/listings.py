"""Listings for tests: two pairs, and what changes of one of them."""

from __future__ import annotations

import msgspec

from recorder.core.model import Instrument

BTC = Instrument("BTC/USD", "XXBTZUSD", "XBTUSD", "XBT/USD", "XXBT", "ZUSD", 1, 8, 5, "0.1", "0.00005", "0.5", "online")
ETH = msgspec.structs.replace(BTC, pair="ETH/USD", key="XETHZUSD", tick_size="0.0000000001", costmin=None)


def listing(number: int) -> list[Instrument]:
    """Return both pairs, with the status that this number tells."""
    return [msgspec.structs.replace(BTC, status=f"status {number}"), ETH]
