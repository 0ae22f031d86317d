"""Parts of sessions of market data, joined to one per session: pure arithmetic on message numbers and times."""

from __future__ import annotations

from collections.abc import Iterable

from recorder.core.model import SessionPart


def joined(parts: Iterable[SessionPart]) -> list[SessionPart]:
    """Return one part for each session, in the order of their first parts; ``parts`` are in the order of arrival.

    >>> one = SessionPart("A/B", 7, 0, 0, 1, 100, 100, None, 100)
    >>> two = SessionPart("A/B", 7, 1, 1, 1, 200, 200, None, 200)
    >>> joined([one, two]) == [SessionPart("A/B", 7, 0, 1, 2, 100, 200, None, 200)]
    True
    """
    found: dict[tuple[str, int], SessionPart] = {}
    for part in parts:
        key = part.pair, part.session
        before = found.get(key)
        found[key] = part if before is None else _both(before, part)
    return list(found.values())


def _both(before: SessionPart, part: SessionPart) -> SessionPart:
    firsts = [one.first_message for one in (before, part) if one.first_message is not None]
    starts = [one.first_us for one in (before, part) if one.first_us is not None]
    ends = [one.last_us for one in (before, part) if one.last_us is not None]
    ended = [one.ended_us for one in (before, part) if one.ended_us is not None]
    return SessionPart(
        before.pair,
        before.session,
        min(firsts, default=None),
        max(before.last_message, part.last_message),
        before.rows + part.rows,
        min(starts, default=None),
        max(ends, default=None),
        max(ended, default=None),
        max(before.seen_us, part.seen_us),
    )
