"""What is known of ids beside the rows: which do not exist or are disowned, after which none came, which are promised.

Owns: how each is told in an event's detail. Evidence is of a moment: an id that appears after all is held, and held
beats void.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from typing import Annotated, Any, Final, assert_never

import msgspec

from recorder.core.event_kinds import EventKind
from recorder.core.model import Event
from recorder.core.trade_ids import Span, Spans

LAST_US: Final = 253_402_300_800_000_000 - 1
"""The end of year 9999: calendars, here and in every reader of the archive, name no moment after it."""


class Void(msgspec.Struct, frozen=True):
    """Ids of ``pair`` that the exchange itself has twice said it does not have."""

    pair: str
    span: Span


class Unreadable(msgspec.Struct, frozen=True):
    """Ids of ``pair`` for which the exchange has twice answered with rows that cannot be read.

    They are asked for again by each run, and held if they can be read then.
    """

    pair: str
    span: Span


class Disowned(msgspec.Struct, frozen=True):
    """Ids of ``pair`` that the owner of the archive let go, at ``time_us`` (µs since 1970 UTC), for a ``reason``."""

    pair: str
    span: Span
    time_us: int
    reason: str


class Reclaimed(msgspec.Struct, frozen=True):
    """Ids of ``pair`` that are disowned no more, from ``time_us`` (µs since 1970 UTC) on."""

    pair: str
    span: Span
    time_us: int


class Renumbered(msgspec.Struct, frozen=True):
    """At ids of ``pair`` rows came with other content than is held: the exchange numbers its trades anew.

    What came from ``from_us`` on is set aside; so it was found at ``time_us`` (both µs since 1970 UTC).
    """

    pair: str
    span: Span
    time_us: int
    from_us: int


class NumberingSettled(msgspec.Struct, frozen=True):
    """The numbers of ``pair`` are the stored ones again, from ``time_us`` (µs since 1970 UTC) on.

    ``anew``: since nothing is stored under others any more; then all that was known of ids before does not count.
    """

    pair: str
    time_us: int
    anew: bool


class Confirmed(msgspec.Struct, frozen=True):
    """Until ``until_us`` (µs since 1970 UTC) no trade of ``pair`` came after ``last_id``; 0: none at all came."""

    pair: str
    last_id: int
    until_us: int


class Promised(msgspec.Struct, frozen=True):
    """From ``time_us`` (µs since 1970 UTC) on every trade of ``pair`` is to be held. The earliest promise counts."""

    pair: str
    time_us: int


class Anchored(msgspec.Struct, frozen=True):
    """Of a promise of ``pair`` from ``time_us`` on: the highest id made before it is ``after_id``; 0: there is none.

    ``assumed``: nobody asked the exchange; the lowest trade held was taken for the beginning.
    """

    pair: str
    time_us: int
    after_id: int
    assumed: bool = False


class Certified(msgspec.Struct, frozen=True, order=True):
    """What the UTC ``day`` of ``pair`` held when it was proven to be complete, from the promise on at least.

    So many ``rows``, from ``first_id`` to ``last_id``; ``sha256`` is over their canonical text (docs/format.md). A day
    that lawfully holds more later, or less, is told again, with a higher ``revision``, and then that counts.
    """

    pair: str
    day: date
    revision: int
    rows: int
    first_id: int
    last_id: int
    sha256: str


class Parked(msgspec.Struct, frozen=True):
    """Ids of ``pair`` that came over the stream, so far from all others that they do not count as held yet.

    Those that count by now are held: nothing takes it back.
    """

    pair: str
    span: Span


Dated = Disowned | Reclaimed | Renumbered | NumberingSettled
"""Claims of which the latest counts: ``time_us`` says which that is."""
Knowledge = Certified | Void | Unreadable | Dated | Confirmed | Promised | Anchored | Parked


_Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Moment = Annotated[int, msgspec.Meta(ge=0, le=LAST_US)]


class Promise(msgspec.Struct, frozen=True):
    """From ``time_us`` on, and so after ``after_id``, every trade of a pair is promised. See :func:`promise`.

    ``after_id`` is None until it is known: the promise is not anchored, and nobody can say which trades are the first.
    """

    time_us: _Moment
    after_id: _Id | None = None
    assumed: bool = False

    @property
    def starts_at_first_trade(self) -> bool:
        """Whether all there ever was is held or missing by its id, so that no day of it is only promised in part."""
        return self.assumed and self.after_id == 0


def promise(known: Iterable[Promised | Anchored]) -> Promise | None:
    """Return what is promised of a pair, by all that was ever noted of it, in any order; None where nothing is.

    The earliest moment counts, and of anchors only those of this moment or an earlier one: what was found for a later
    one says nothing of the trades between. Of several the lowest id counts, which promises most.
    """
    told = set(known)
    time_us = min((one.time_us for one in told if isinstance(one, Promised)), default=None)
    if time_us is None:
        return None
    anchors = [(one.after_id, one.assumed) for one in told if isinstance(one, Anchored) and one.time_us <= time_us]
    return Promise(time_us, *min(anchors, default=(None, False)))


def notes(pair: str, made: Promise) -> list[Promised | Anchored]:
    """Return what is to be noted of ``pair`` so that this is promised: at least, whatever else was noted."""
    begins = Promised(pair, made.time_us)
    return [begins] if made.after_id is None else [begins, Anchored(pair, made.time_us, made.after_id, made.assumed)]


def earliest(*made: Promise | None) -> Promise | None:
    """Return what several places tell of the promise of one pair, put together: each may tell but a part of it."""
    return promise(note for one in made if one is not None for note in notes("", one))


def disowned(claims: Iterable[Dated]) -> Spans:
    """Return the ids of a pair that are disowned, by all that was ever claimed of them, in any order.

    Of what was claimed of an id the latest counts, and of several at one moment that it is reclaimed.
    """
    ids = Spans()
    for claim in sorted(claims, key=lambda one: (one.time_us, not isinstance(one, Disowned))):
        if isinstance(claim, Disowned):
            ids.add(claim.span)
        elif isinstance(claim, Reclaimed):
            ids.remove(claim.span)
        elif isinstance(claim, NumberingSettled) and claim.anew:
            ids = Spans()
    return ids


def renumbered(claims: Iterable[Dated]) -> Renumbered | None:
    """Return how a pair came to be numbered anew, by all that was ever claimed of it, in any order; None if it is not.

    Where it was found again and again the first counts: since then nothing is comparable.
    """
    found = None
    for claim in sorted(claims, key=lambda one: (one.time_us, isinstance(one, NumberingSettled))):
        if isinstance(claim, Renumbered):
            found = found or claim
        elif isinstance(claim, NumberingSettled):
            found = None
    return found


def begun_us(claims: Iterable[Dated]) -> int | None:
    """Return up to when nothing that was noted of a pair counts any more, in µs since 1970 UTC; None: all counts."""
    return max((one.time_us for one in claims if isinstance(one, NumberingSettled) and one.anew), default=None)


def after_us(claims: Iterable[Dated], now_us: int) -> int:
    """Return the moment of a claim that is made now and is to count, also where the clock was set back since others."""
    return max([now_us, *(one.time_us + 1 for one in claims)])


class _SpanDetail(msgspec.Struct):
    first_id: _Id
    last_id: _Id


class _ReclaimedDetail(_SpanDetail):
    time_us: _Moment


class _DisownedDetail(_ReclaimedDetail):
    reason: str


class _RenumberedDetail(_ReclaimedDetail):
    from_us: _Moment


class _SettledDetail(msgspec.Struct):
    time_us: _Moment
    anew: bool


class _ConfirmedDetail(msgspec.Struct):
    last_id: _Id
    until_us: _Moment


class _PromisedDetail(msgspec.Struct):
    time_us: _Moment


class _AnchoredDetail(msgspec.Struct):
    time_us: _Moment
    after_id: _Id
    assumed: bool


class _CertifiedDetail(_SpanDetail):
    day: date
    revision: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    rows: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    sha256: str


_span = msgspec.json.Decoder(_SpanDetail).decode
_disowned = msgspec.json.Decoder(_DisownedDetail).decode
_reclaimed = msgspec.json.Decoder(_ReclaimedDetail).decode
_renumbered = msgspec.json.Decoder(_RenumberedDetail).decode
_settled = msgspec.json.Decoder(_SettledDetail).decode
_confirmed = msgspec.json.Decoder(_ConfirmedDetail).decode
_certified = msgspec.json.Decoder(_CertifiedDetail).decode
_promised = msgspec.json.Decoder(_PromisedDetail).decode
_anchored = msgspec.json.Decoder(_AnchoredDetail).decode


def _read_span(detail: str) -> Span:
    said = _span(detail)
    return Span(said.first_id, said.last_id)


def _read_void(pair: str, detail: str) -> Void:
    return Void(pair, _read_span(detail))


def _read_unreadable(pair: str, detail: str) -> Unreadable:
    return Unreadable(pair, _read_span(detail))


def _read_parked(pair: str, detail: str) -> Parked:
    return Parked(pair, _read_span(detail))


def _read_disowned(pair: str, detail: str) -> Disowned:
    said = _disowned(detail)
    return Disowned(pair, Span(said.first_id, said.last_id), said.time_us, said.reason)


def _read_reclaimed(pair: str, detail: str) -> Reclaimed:
    said = _reclaimed(detail)
    return Reclaimed(pair, Span(said.first_id, said.last_id), said.time_us)


def _read_certified(pair: str, detail: str) -> Certified:
    said = _certified(detail)
    span = Span(said.first_id, said.last_id)
    return Certified(pair, said.day, said.revision, said.rows, span.first, span.last, said.sha256)


def _read_renumbered(pair: str, detail: str) -> Renumbered:
    said = _renumbered(detail)
    return Renumbered(pair, Span(said.first_id, said.last_id), said.time_us, said.from_us)


def _read_settled(pair: str, detail: str) -> NumberingSettled:
    said = _settled(detail)
    return NumberingSettled(pair, said.time_us, said.anew)


def _read_confirmed(pair: str, detail: str) -> Confirmed:
    said = _confirmed(detail)
    return Confirmed(pair, said.last_id, said.until_us)


def _read_promised(pair: str, detail: str) -> Promised:
    return Promised(pair, _promised(detail).time_us)


def _read_anchored(pair: str, detail: str) -> Anchored:
    said = _anchored(detail)
    return Anchored(pair, said.time_us, said.after_id, said.assumed)


_READERS: Final[dict[str, Callable[[str, str], Knowledge]]] = {
    EventKind.VOID: _read_void,
    EventKind.UNREADABLE: _read_unreadable,
    EventKind.DISOWNED: _read_disowned,
    EventKind.RECLAIMED: _read_reclaimed,
    EventKind.CERTIFIED: _read_certified,
    EventKind.RENUMBERED: _read_renumbered,
    EventKind.NUMBERING_SETTLED: _read_settled,
    EventKind.CONFIRMED: _read_confirmed,
    EventKind.PROMISED: _read_promised,
    EventKind.ANCHORED: _read_anchored,
    EventKind.PARKED: _read_parked,
}
_KIND_OF: Final[dict[type[Knowledge], EventKind]] = {
    Void: EventKind.VOID,
    Unreadable: EventKind.UNREADABLE,
    Disowned: EventKind.DISOWNED,
    Reclaimed: EventKind.RECLAIMED,
    Certified: EventKind.CERTIFIED,
    Renumbered: EventKind.RENUMBERED,
    NumberingSettled: EventKind.NUMBERING_SETTLED,
    Confirmed: EventKind.CONFIRMED,
    Promised: EventKind.PROMISED,
    Anchored: EventKind.ANCHORED,
    Parked: EventKind.PARKED,
}
KINDS: Final = tuple(_READERS)
"""The kinds of events that tell it."""


def detail(known: Knowledge) -> dict[str, Any]:
    """Return what the event of kind :func:`kind` says in its detail."""
    said: dict[str, Any]
    match known:
        case Void(_, span) | Unreadable(_, span) | Parked(_, span):
            said = {"first_id": span.first, "last_id": span.last}
        case Disowned(_, span, time_us, reason):
            said = {"first_id": span.first, "last_id": span.last, "time_us": time_us, "reason": reason}
        case Reclaimed(_, span, time_us):
            said = {"first_id": span.first, "last_id": span.last, "time_us": time_us}
        case Renumbered(_, span, time_us, from_us):
            said = {"first_id": span.first, "last_id": span.last, "time_us": time_us, "from_us": from_us}
        case NumberingSettled(_, time_us, anew):
            said = {"time_us": time_us, "anew": anew}
        case Certified(_, day, revision, rows, first_id, last_id, sha256):
            said = {"day": day.isoformat(), "revision": revision, "rows": rows}
            said |= {"first_id": first_id, "last_id": last_id, "sha256": sha256}
        case Confirmed(_, last_id, until_us):
            said = {"last_id": last_id, "until_us": until_us}
        case Promised(_, time_us):
            said = {"time_us": time_us}
        case Anchored(_, time_us, after_id, assumed):
            said = {"time_us": time_us, "after_id": after_id, "assumed": assumed}
        case never:
            assert_never(never)
    return said


def kind(known: Knowledge) -> EventKind:
    """Return the kind of event that tells it."""
    return _KIND_OF[type(known)]


def from_event(event: Event) -> Knowledge | None:
    """Return what an event tells; None where it tells nothing of the kind, or nothing that makes sense."""
    read = _READERS.get(event.kind)
    if read is None or event.pair is None:
        return None
    try:
        return read(event.pair, event.detail)
    except ValueError:  # msgspec's errors are ValueErrors, and so is a span that runs downwards
        return None
