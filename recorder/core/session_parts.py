"""Parts of sessions of market data, joined to one per session: pure arithmetic on message numbers and times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from recorder.core.model import BookPart, SessionPart

Part = TypeVar("Part", SessionPart, BookPart)


def joined(parts: Iterable[SessionPart]) -> list[SessionPart]:
    """Return one part for each session, in the order of their first parts; ``parts`` are in the order of arrival.

    >>> one = SessionPart("A/B", 7, 0, 0, 1, 100, 100, None, 100)
    >>> two = SessionPart("A/B", 7, 1, 1, 1, 200, 200, None, 200)
    >>> joined([one, two]) == [SessionPart("A/B", 7, 0, 1, 2, 100, 200, None, 200)]
    True
    """
    return _joined(parts, _both)


def joined_books(parts: Iterable[BookPart]) -> list[BookPart]:
    """Return one part for each session of a book, likewise; where two say why it ended, the later one counts."""
    return _joined(parts, _both_of_book)


def _joined(parts: Iterable[Part], both: Callable[[Part, Part], Part]) -> list[Part]:
    found: dict[tuple[str, int], Part] = {}
    for part in parts:
        key = part.pair, part.session
        before = found.get(key)
        found[key] = part if before is None else both(before, part)
    return list(found.values())


def _both(before: SessionPart, part: SessionPart) -> SessionPart:
    return SessionPart(
        before.pair,
        before.session,
        _least(before.first_message, part.first_message),
        max(before.last_message, part.last_message),
        before.rows + part.rows,
        _least(before.first_us, part.first_us),
        _greatest(before.last_us, part.last_us),
        _greatest(before.ended_us, part.ended_us),
        max(before.seen_us, part.seen_us),
    )


def _both_of_book(before: BookPart, part: BookPart) -> BookPart:
    return BookPart(
        before.pair,
        before.session,
        _least(before.first_message, part.first_message),
        max(before.last_message, part.last_message),
        before.messages + part.messages,
        before.verified + part.verified,
        before.mismatches + part.mismatches,
        _least(before.first_us, part.first_us),
        _greatest(before.last_us, part.last_us),
        before.depth if part.depth is None else part.depth,
        before.price_digits if part.price_digits is None else part.price_digits,
        before.qty_digits if part.qty_digits is None else part.qty_digits,
        _greatest(before.ended_us, part.ended_us),
        part.end or before.end,
        max(before.seen_us, part.seen_us),
    )


def _least(*numbers: int | None) -> int | None:
    return min((number for number in numbers if number is not None), default=None)


def _greatest(*numbers: int | None) -> int | None:
    return max((number for number in numbers if number is not None), default=None)
