"""What differs between the channels of a WebSocket connection (API.md 8.5): a new channel is one entry here.

Owns what a subscription may ask for, and which frames follow from it. Refuses symbols, acknowledgements and
connections: ``socket`` knows these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from recorder.sandbox import wire_format
from recorder.sandbox.tape import NewTrades, Tape

SNAPSHOT_TRADES: Final = 50
"""Trades in the snapshot after a subscription (API.md 8.5)."""


class SubscriptionRefused(Exception):
    """No symbol is subscribed, with this text for an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel. Its frames are made of the tape of a pair."""

    name: str
    accepted: Callable[[Mapping[str, Any]], dict[str, Any]]
    """What an acknowledgement says of such params beside channel and symbol; of these, the end of a subscription leaves
    out ``snapshot``. Raises Refused where a subscription is refused as a whole."""
    snapshot: Callable[[Tape], str]
    """The frame that a subscription begins with, where it asked for one."""
    updates: Callable[[Tape, NewTrades, int], Iterable[str]]
    """The frames that tell of trades just made, of at most so many trades each."""


def _trades_accepted(params: Mapping[str, Any]) -> dict[str, Any]:
    symbols = params.get("symbol")
    if not (isinstance(symbols, list) and symbols and all(isinstance(symbol, str) for symbol in symbols)):
        raise SubscriptionRefused("Malformed request: symbol is a list of texts")
    return {"snapshot": params.get("snapshot", False) is True}


TRADES: Final = Channel(
    name="trade",
    accepted=_trades_accepted,
    snapshot=lambda tape: wire_format.snapshot_frame(tape, SNAPSHOT_TRADES),
    updates=lambda tape, made, most: wire_format.update_frames(tape, made, limit=most),
)
CHANNELS: Final = (TRADES,)
