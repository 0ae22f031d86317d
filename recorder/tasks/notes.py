"""What the recorder notes of itself and of the exchange: journalled like a frame, archived as events."""

from __future__ import annotations

from typing import Final

from recorder.clock import Clock
from recorder.core import knowledge
from recorder.core.events import EventKind
from recorder.core.knowledge import Knowledge
from recorder.errors import Malformed
from recorder.journal import segment
from recorder.kraken import records, rest
from recorder.tasks.inbox import Inbound, Inbox

KEPT_BYTES: Final = 1024 * 1024
"""Of an unreadable answer at most so much is journalled. The largest real one, the whole listing, is 0.8 MB; what is
longer is something else, and would be kept again at every retry."""


class Notes:
    """Puts notes into the inbox."""

    def __init__(self, inbox: Inbox, clock: Clock) -> None:
        self._inbox = inbox
        self._clock = clock

    async def take(self, kind: EventKind, *, pair: str | None = None, **detail: object) -> None:
        """Note an event of ``kind``, of one pair or of none. ``detail`` must be what JSON can say."""
        named = {} if pair is None else {"pair": pair}
        line = segment.encode_note(self._clock.wall_ns(), kind, **named, **detail)
        await self._inbox.put(Inbound(line, [], source="note"))

    async def know(self, known: Knowledge, **evidence: object) -> None:
        """Note what is known of ids beside the rows; it counts once the note is durable."""
        detail = {"pair": known.pair, **knowledge.detail(known), **evidence}
        line = segment.encode_note(self._clock.wall_ns(), knowledge.kind(known), **detail)
        await self._inbox.put(Inbound(line, [], known, "note"))

    async def unreadable(self, request: rest.Request, error: Malformed, *, pair: str | None = None) -> None:
        """Keep an answer as it came, as far as the ``error`` carries it, and note that it could not be read."""
        source = records.unreadable_source(request, pair)
        if error.body is not None:
            line = segment.encode(self._clock.wall_ns(), source, error.body[:KEPT_BYTES])
            await self._inbox.put(Inbound(line, [], source="rest"))
        await self.take(EventKind.MALFORMED, pair=pair, source=source, reason=str(error)[: rest.QUOTE_LIMIT])
