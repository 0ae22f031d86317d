"""Construction of events, from notes in the journal and from what the drain finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from recorder.core.event_kinds import EventKind
from recorder.core.model import Event

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def event(time_us: int, kind: EventKind, pair: str | None = None, /, **detail: object) -> Event:
    """Return an event; ``detail`` must be encodable as JSON."""
    return Event(time_us, kind, pair, msgspec.json.encode(detail).decode())


def iso(time_us: int) -> str:
    """Return a time, in µs since 1970 UTC, as it is written in details.

    >>> iso(1_762_776_000_000_000)
    '2025-11-10T12:00:00Z'
    """
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat().replace("+00:00", "Z")
