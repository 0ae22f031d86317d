"""Knowledge about ids apart from rows: void, unreadable, disowned, confirmed, promised and certified ones.

Contains the event detail of each kind of evidence. Evidence is valid for the time it was recorded: an id that appears
after all is stored, and stored beats void.
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
"""The end of year 9999, in µs since 1970: calendars, here and in every reader of the archive, have no later time."""


class Void(msgspec.Struct, frozen=True):
    """Ids of ``pair`` that the exchange itself has twice reported not to have."""

    pair: str
    span: Span


class Unreadable(msgspec.Struct, frozen=True):
    """Ids of ``pair`` for which the exchange has twice answered with rows that cannot be read.

    Each run requests them again, and stores them if they can be read then.
    """

    pair: str
    span: Span


class Disowned(msgspec.Struct, frozen=True):
    """Ids of ``pair`` that the owner of the archive released, at ``time_us`` (µs since 1970 UTC), for a ``reason``."""

    pair: str
    span: Span
    time_us: int
    reason: str


class Reclaimed(msgspec.Struct, frozen=True):
    """Ids of ``pair`` that are no longer disowned, from ``time_us`` (µs since 1970 UTC) on."""

    pair: str
    span: Span
    time_us: int


class Renumbered(msgspec.Struct, frozen=True):
    """Rows of ``pair`` came that differ from those stored under their ids: the exchange renumbers its trades.

    Rows from ``from_us`` on are quarantined; this was detected at ``time_us`` (both µs since 1970 UTC).
    """

    pair: str
    span: Span
    time_us: int
    from_us: int


class NumberingSettled(msgspec.Struct, frozen=True):
    """The numbers of ``pair`` are the stored ones again, from ``time_us`` (µs since 1970 UTC) on.

    ``anew``: because nothing stored under other numbers is left; then all earlier knowledge of ids is discarded.
    """

    pair: str
    time_us: int
    anew: bool


class Joined(msgspec.Struct, frozen=True):
    """What is missing of ``pair`` above ``after_id`` is missing even where only imported trades are below it.

    The owner of the archive wants it since ``time_us`` (µs since 1970 UTC). Of several the lowest id counts.
    """

    pair: str
    after_id: int
    time_us: int


class Confirmed(msgspec.Struct, frozen=True):
    """Until ``until_us`` (µs since 1970 UTC) no trade of ``pair`` came after ``last_id``; 0: none at all came."""

    pair: str
    last_id: int
    until_us: int


class Promised(msgspec.Struct, frozen=True):
    """From ``time_us`` (µs since 1970 UTC) on every trade of ``pair`` is to be stored. The earliest promise counts."""

    pair: str
    time_us: int


class Anchored(msgspec.Struct, frozen=True):
    """The highest id made before the promise of ``pair`` from ``time_us`` on is ``after_id``; 0: there is none.

    ``assumed``: the exchange was not queried; the lowest stored trade was taken as the beginning.
    """

    pair: str
    time_us: int
    after_id: int
    assumed: bool = False


class Certified(msgspec.Struct, frozen=True, order=True):
    """The content of the UTC ``day`` of ``pair`` when it was proven to be complete, at least from the promise on.

    The number of ``rows``, from ``first_id`` to ``last_id``; ``sha256`` is the hash of their canonical text
    (docs/format.md). If a day lawfully contains more or less later, it is recorded again with a higher ``revision``,
    which then counts.
    """

    pair: str
    day: date
    revision: int
    rows: int
    first_id: int
    last_id: int
    sha256: str


class Parked(msgspec.Struct, frozen=True):
    """Ids of ``pair`` that came over the stream, so far from all others that they do not count as stored yet.

    Those that count by now are stored: this evidence does not take that back.
    """

    pair: str
    span: Span


Dated = Disowned | Reclaimed | Renumbered | NumberingSettled | Joined
"""Claims with a time of their own, ``time_us``, because a later one may override them."""
Knowledge = Certified | Void | Unreadable | Dated | Confirmed | Promised | Anchored | Parked


_Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Moment = Annotated[int, msgspec.Meta(ge=0, le=LAST_US)]


class Promise(msgspec.Struct, frozen=True):
    """Every trade of a pair from ``time_us`` on, and so after ``after_id``, is promised. See :func:`promise`.

    ``after_id`` is None until it is known: the promise is not anchored, and its first trades are unknown.
    """

    time_us: _Moment
    after_id: _Id | None = None
    assumed: bool = False

    @property
    def starts_at_first_trade(self) -> bool:
        """Whether the promise covers the pair's whole history, so that no day of it is promised only in part."""
        return self.assumed and self.after_id == 0


def promise(known: Iterable[Promised | Anchored]) -> Promise | None:
    """Return the promise of a pair, from all records of it, in any order; None if there is none.

    The earliest time counts, and only the anchors of this time or an earlier one: an anchor found for a later time does
    not cover the trades between. Of several the lowest id counts, which promises most.
    """
    records = set(known)
    time_us = min((one.time_us for one in records if isinstance(one, Promised)), default=None)
    if time_us is None:
        return None
    anchors = [(one.after_id, one.assumed) for one in records if isinstance(one, Anchored) and one.time_us <= time_us]
    return Promise(time_us, *min(anchors, default=(None, False)))


def notes(pair: str, made: Promise) -> list[Promised | Anchored]:
    """Return the records of ``pair`` that make at least this promise, whatever else was recorded."""
    begins = Promised(pair, made.time_us)
    return [begins] if made.after_id is None else [begins, Anchored(pair, made.time_us, made.after_id, made.assumed)]


def earliest(*made: Promise | None) -> Promise | None:
    """Return the promise of one pair, combined from several places that may each record only a part of it."""
    return promise(note for one in made if one is not None for note in notes("", one))


def disowned(claims: Iterable[Dated]) -> Spans:
    """Return the disowned ids of a pair, from all claims about it, in any order.

    For each id the latest claim counts; of several with the same time, the reclaim counts.
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
    """Return how a pair was renumbered, from all claims about it, in any order; None if it is not renumbered.

    Of repeated detections the first counts: nothing since then is comparable.
    """
    found = None
    for claim in sorted(claims, key=lambda one: (one.time_us, isinstance(one, NumberingSettled))):
        if isinstance(claim, Renumbered):
            found = found or claim
        elif isinstance(claim, NumberingSettled):
            found = None
    return found


def joined_after(claims: Iterable[Dated]) -> int | None:
    """Return the id above which all missing ids are wanted, from all claims about a pair, in any order; None for none.

    Numbers from before the exchange began to count anew do not count.
    """
    claims = list(claims)
    begun = begun_us(claims)
    joined = [one for one in claims if isinstance(one, Joined)]
    return min((one.after_id for one in joined if begun is None or one.time_us > begun), default=None)


def begun_us(claims: Iterable[Dated]) -> int | None:
    """Return the time (µs since 1970 UTC) up to which all records of a pair are discarded; None: none are."""
    return max((one.time_us for one in claims if isinstance(one, NumberingSettled) and one.anew), default=None)


def after_us(claims: Iterable[Dated], now_us: int) -> int:
    """Return the time of a claim made now that must be the latest, even if the clock was set back since others."""
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


class _JoinedDetail(msgspec.Struct):
    after_id: _Id
    time_us: _Moment


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
_joined = msgspec.json.Decoder(_JoinedDetail).decode
_confirmed = msgspec.json.Decoder(_ConfirmedDetail).decode
_certified = msgspec.json.Decoder(_CertifiedDetail).decode
_promised = msgspec.json.Decoder(_PromisedDetail).decode
_anchored = msgspec.json.Decoder(_AnchoredDetail).decode


def _read_span(detail: str) -> Span:
    span = _span(detail)
    return Span(span.first_id, span.last_id)


def _read_void(pair: str, detail: str) -> Void:
    return Void(pair, _read_span(detail))


def _read_unreadable(pair: str, detail: str) -> Unreadable:
    return Unreadable(pair, _read_span(detail))


def _read_parked(pair: str, detail: str) -> Parked:
    return Parked(pair, _read_span(detail))


def _read_disowned(pair: str, detail: str) -> Disowned:
    read = _disowned(detail)
    return Disowned(pair, Span(read.first_id, read.last_id), read.time_us, read.reason)


def _read_reclaimed(pair: str, detail: str) -> Reclaimed:
    read = _reclaimed(detail)
    return Reclaimed(pair, Span(read.first_id, read.last_id), read.time_us)


def _read_certified(pair: str, detail: str) -> Certified:
    read = _certified(detail)
    span = Span(read.first_id, read.last_id)
    return Certified(pair, read.day, read.revision, read.rows, span.first, span.last, read.sha256)


def _read_renumbered(pair: str, detail: str) -> Renumbered:
    read = _renumbered(detail)
    return Renumbered(pair, Span(read.first_id, read.last_id), read.time_us, read.from_us)


def _read_settled(pair: str, detail: str) -> NumberingSettled:
    read = _settled(detail)
    return NumberingSettled(pair, read.time_us, read.anew)


def _read_joined(pair: str, detail: str) -> Joined:
    read = _joined(detail)
    return Joined(pair, read.after_id, read.time_us)


def _read_confirmed(pair: str, detail: str) -> Confirmed:
    read = _confirmed(detail)
    return Confirmed(pair, read.last_id, read.until_us)


def _read_promised(pair: str, detail: str) -> Promised:
    return Promised(pair, _promised(detail).time_us)


def _read_anchored(pair: str, detail: str) -> Anchored:
    read = _anchored(detail)
    return Anchored(pair, read.time_us, read.after_id, read.assumed)


_READERS: Final[dict[str, Callable[[str, str], Knowledge]]] = {
    EventKind.VOID: _read_void,
    EventKind.UNREADABLE: _read_unreadable,
    EventKind.DISOWNED: _read_disowned,
    EventKind.RECLAIMED: _read_reclaimed,
    EventKind.CERTIFIED: _read_certified,
    EventKind.RENUMBERED: _read_renumbered,
    EventKind.NUMBERING_SETTLED: _read_settled,
    EventKind.JOINED: _read_joined,
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
    Joined: EventKind.JOINED,
    Confirmed: EventKind.CONFIRMED,
    Promised: EventKind.PROMISED,
    Anchored: EventKind.ANCHORED,
    Parked: EventKind.PARKED,
}
KINDS: Final = tuple(_READERS)
"""The kinds of events that carry evidence."""


def detail(known: Knowledge) -> dict[str, Any]:
    """Return the detail of the event of kind :func:`kind`."""
    detail: dict[str, Any]
    match known:
        case Void(_, span) | Unreadable(_, span) | Parked(_, span):
            detail = {"first_id": span.first, "last_id": span.last}
        case Disowned(_, span, time_us, reason):
            detail = {"first_id": span.first, "last_id": span.last, "time_us": time_us, "reason": reason}
        case Reclaimed(_, span, time_us):
            detail = {"first_id": span.first, "last_id": span.last, "time_us": time_us}
        case Renumbered(_, span, time_us, from_us):
            detail = {"first_id": span.first, "last_id": span.last, "time_us": time_us, "from_us": from_us}
        case NumberingSettled(_, time_us, anew):
            detail = {"time_us": time_us, "anew": anew}
        case Certified(_, day, revision, rows, first_id, last_id, sha256):
            detail = {"day": day.isoformat(), "revision": revision, "rows": rows}
            detail |= {"first_id": first_id, "last_id": last_id, "sha256": sha256}
        case Joined() | Confirmed() | Promised():
            detail = {name: getattr(known, name) for name in known.__struct_fields__ if name != "pair"}
        case Anchored(_, time_us, after_id, assumed):
            detail = {"time_us": time_us, "after_id": after_id, "assumed": assumed}
        case never:
            assert_never(never)
    return detail


def kind(known: Knowledge) -> EventKind:
    """Return the kind of event for this evidence."""
    return _KIND_OF[type(known)]


def from_event(event: Event) -> Knowledge | None:
    """Return the evidence in an event; None if it contains none, or none that is valid."""
    read = _READERS.get(event.kind)
    if read is None or event.pair is None:
        return None
    try:
        return read(event.pair, event.detail)
    except ValueError:  # msgspec's errors are ValueErrors, and so is a span whose first id is above its last
        return None
