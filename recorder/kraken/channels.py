"""The channels of WebSocket v2 as data: all that a session must know of the one it is for (API.md 8.5 to 8.8).

A new channel is one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from recorder.core.trade_ids import Run
from recorder.kraken import parse
from recorder.kraken.parse import OddRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel: how it is asked for, how its frames are told from others, and what they prove."""

    name: str
    claims: Callable[[bytes], list[Run]]
    """Its continuity: what one frame lets us claim, by which losses are seen. Runs of ids where rows are numbered;
    without ids nothing is claimed, and the frame is only checked. Raises Malformed for a frame that cannot be read."""
    only: Callable[[bytes, Callable[[str], bool]], bytes | None]
    """Returns a frame with those rows alone whose symbol passes a test, byte for byte; None where there is none."""
    snapshot: bool
    """Whether a subscription begins with a snapshot. Always sent: Kraken's defaults have changed (API.md 8.5)."""
    params: Mapping[str, object] = field(default_factory=dict)
    """What a subscription, and its end, say beside channel and symbols."""
    salvage: Callable[[bytes], tuple[list[Run], Sequence[OddRow]]] | None = None
    """What the rows of a frame that ``claims`` refuses let us claim, read one by one, and those that cannot be read.
    Raises Malformed where none can. None: a frame is read whole or not at all."""

    @property
    def prefix(self) -> bytes:
        """What its frames begin with, as Kraken spells them now: the fast way to tell them from others."""
        return b'{"channel":"%b",' % self.name.encode()

    def subscription(self, symbols: Sequence[str]) -> dict[str, Any]:
        """Return the params that subscribe to ``symbols``."""
        return {**self.end(symbols), "snapshot": self.snapshot}

    def end(self, symbols: Sequence[str]) -> dict[str, Any]:
        """Return the params that end the subscriptions to ``symbols``."""
        return {"channel": self.name, **self.params, "symbol": list(symbols)}


TRADES: Final = Channel(
    name="trade", claims=parse.trade_runs, salvage=parse.salvaged_runs, only=parse.only_rows, snapshot=True
)
"""Numbered per pair. The snapshot holds the latest 50 trades and closes most short holes without a request."""
