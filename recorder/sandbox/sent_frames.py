"""What was really sent: the frames of a channel that left on each connection, after all faults.

Contains the log alone, which is off until it is asked for. What a client received of a connection is the beginning of
what was sent on it, since TCP delivers in order: to that truth a recorder of a channel without ids is held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MOST: Final = 1_000_000
"""Frames that are kept at most, some 400 MB; a test that sends more must be shorter."""


@dataclass(slots=True)
class SentFrames:
    """The log. ``channel`` is the one whose frames are kept; None while it is off."""

    channel: str | None = None
    by_connection: dict[int, list[str]] = field(default_factory=dict)
    _count: int = 0

    def record(self, channel: str) -> None:
        """Keep the frames of a channel from now on, and forget the others."""
        self.channel, self.by_connection, self._count = channel, {}, 0

    def add(self, connection_id: int, payload: bytes) -> None:
        """Keep one frame that was sent, if it is of the channel."""
        if self.channel is None or not payload.startswith(f'{{"channel":"{self.channel}",'.encode()):
            return
        self._count += 1
        if self._count > MOST:
            raise OverflowError(f"more than {MOST} frames of {self.channel} were sent while they were recorded")
        self.by_connection.setdefault(connection_id, []).append(payload.decode())
