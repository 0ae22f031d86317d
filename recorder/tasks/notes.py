"""What the recorder notes of itself and of the exchange: journalled like a frame, archived as events."""

from __future__ import annotations

from recorder.clock import Clock
from recorder.journal import segment
from recorder.tasks.inbox import Inbound, Inbox


class Notes:
    """Puts notes into the inbox; the kinds are those of the events table (docs/format.md)."""

    def __init__(self, inbox: Inbox, clock: Clock) -> None:
        self._inbox = inbox
        self._clock = clock

    async def take(self, kind: str, *, pair: str | None = None, **detail: object) -> None:
        """Note an event of ``kind``, of one pair or of none. ``detail`` must be what JSON can say."""
        named = {} if pair is None else {"pair": pair}
        line = segment.encode_note(self._clock.wall_ns(), kind, **named, **detail)
        await self._inbox.put(Inbound(line, []))
