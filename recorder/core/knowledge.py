"""What is known of ids beside the rows: that some do not exist, and that none came after another.

Owns: how both are told in an event's detail. Knowledge is evidence of a moment: an id that appears after all is held,
and held beats void.
"""

from __future__ import annotations

import msgspec

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


Knowledge = Void | Confirmed


class _VoidDetail(msgspec.Struct):
    first_id: int
    last_id: int


class _ConfirmedDetail(msgspec.Struct):
    last_id: int
    until_us: int


_void = msgspec.json.Decoder(_VoidDetail).decode
_confirmed = msgspec.json.Decoder(_ConfirmedDetail).decode


def detail(known: Knowledge) -> dict[str, int]:
    """Return what the event of kind :func:`kind` says in its detail."""
    match known:
        case Void(_, span):
            return {"first_id": span.first, "last_id": span.last}
        case Confirmed(_, last_id, until_us):
            return {"last_id": last_id, "until_us": until_us}


def kind(known: Knowledge) -> str:
    """Return the kind of event that tells it."""
    return "void" if isinstance(known, Void) else "confirmed"


def told(event: Event) -> Knowledge | None:
    """Return what an event tells; None where it tells nothing of the kind, or nothing that makes sense."""
    if event.pair is None:
        return None
    try:
        if event.kind == "void":
            said = _void(event.detail)
            return Void(event.pair, Span(said.first_id, said.last_id))
        if event.kind == "confirmed":
            confirmed = _confirmed(event.detail)
            return Confirmed(event.pair, confirmed.last_id, confirmed.until_us)
    except ValueError:  # msgspec's errors are ValueErrors, and so is a span that runs downwards
        return None
    return None
