"""Ids that do not exist: what two answers, some minutes apart, both stepped over.

One answer may come from a cache or a copy that lags behind, so the first is only remembered.
"""

from __future__ import annotations

from typing import Final

from recorder.core.ids import Span, Spans

APART_S: Final = 180.0
"""Two answers closer than this count as one: caches last for seconds, and faults of minutes have been seen."""
REMEMBERED: Final = 1_000
"""Observations kept of a pair; where more ids are missing, the oldest are forgotten and must be seen twice again."""


class Evidence:
    """What answers stepped over, pair by pair. Monotonic seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[float, Span]]] = {}

    def skipped(self, pair: str, span: Span, now_s: float) -> list[tuple[Span, float]]:
        """Take note that an answer stepped over ``span``; return what of it is proven not to exist by now.

        With each part comes how many seconds lie between the two answers at least.
        """
        seen = self._seen.setdefault(pair, [])
        before = Spans(earlier for seen_s, earlier in seen if now_s - seen_s >= APART_S)
        proven = Spans(before.within(span))
        left = [(seen_s, part) for seen_s, earlier in seen for part in proven.missing(earlier)]
        known = Spans(part for _, part in left)
        left += [(now_s, part) for unproven in proven.missing(span) for part in known.missing(unproven)]
        self._seen[pair] = left[-REMEMBERED:]
        return [
            (
                part,
                min(now_s - seen_s for seen_s, earlier in seen if now_s - seen_s >= APART_S and _touch(earlier, part)),
            )
            for part in proven
        ]

    def due_s(self, pair: str, span: Span, now_s: float) -> float | None:
        """Return in how many seconds a second answer about ``span`` would prove something; None if it never would."""
        ends = [seen_s + APART_S - now_s for seen_s, earlier in self._seen.get(pair, ()) if _touch(earlier, span)]
        return max(0.0, min(ends)) if ends else None


def _touch(one: Span, other: Span) -> bool:
    return one.first <= other.last and other.first <= one.last
