"""What is known of ids beside the rows: that some do not exist, that none came after another, that some are parked.

Owns: how both are told in an event's detail. Knowledge is evidence of a moment: an id that appears after all is held,
and held beats void.
"""

from __future__ import annotations

from typing import Final

import msgspec

from recorder.core.events import EventKind
from recorder.core.ids import Span
from recorder.core.model import Event


class Void(msgspec.Struct, frozen=True):
    """Ids of ``pair`` that the exchange itself has twice said it does not have."""

    pair: str
    span: Span


class Confirmed(msgspec.Struct, frozen=True):
    """Until ``until_us`` (µs since 1970 UTC) no trade of ``pair`` came after ``last_id``."""

    pair: str
    last_id: int
    until_us: int


class Parked(msgspec.Struct, frozen=True):
    """Ids of ``pair`` that came over the stream, so far from all others that they do not count as held yet.

    Those that count by now are held: nothing takes it back.
    """

    pair: str
    span: Span


Knowledge = Void | Confirmed | Parked

KINDS: Final = (EventKind.VOID, EventKind.CONFIRMED, EventKind.PARKED)
"""The kinds of events that tell it."""


class _SpanDetail(msgspec.Struct):
    first_id: int
    last_id: int


class _ConfirmedDetail(msgspec.Struct):
    last_id: int
    until_us: int


_span = msgspec.json.Decoder(_SpanDetail).decode
_confirmed = msgspec.json.Decoder(_ConfirmedDetail).decode


def detail(known: Knowledge) -> dict[str, int]:
    """Return what the event of kind :func:`kind` says in its detail."""
    match known:
        case Void(_, span) | Parked(_, span):
            return {"first_id": span.first, "last_id": span.last}
        case Confirmed(_, last_id, until_us):
            return {"last_id": last_id, "until_us": until_us}


def kind(known: Knowledge) -> EventKind:
    """Return the kind of event that tells it."""
    match known:
        case Void():
            return EventKind.VOID
        case Confirmed():
            return EventKind.CONFIRMED
        case Parked():
            return EventKind.PARKED


def told(event: Event) -> Knowledge | None:
    """Return what an event tells; None where it tells nothing of the kind, or nothing that makes sense."""
    if event.pair is None:
        return None
    try:
        if event.kind in {EventKind.VOID, EventKind.PARKED}:
            said = _span(event.detail)
            span = Span(said.first_id, said.last_id)
            return Void(event.pair, span) if event.kind == EventKind.VOID else Parked(event.pair, span)
        if event.kind == EventKind.CONFIRMED:
            confirmed = _confirmed(event.detail)
            return Confirmed(event.pair, confirmed.last_id, confirmed.until_us)
    except ValueError:  # msgspec's errors are ValueErrors, and so is a span that runs downwards
        return None
    return None
