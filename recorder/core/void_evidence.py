"""Evidence for ids that do not exist: ids that two answers, some minutes apart, both skipped.

One answer may come from a cache or a replica that lags behind, so the first is only remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from recorder.core.trade_ids import Span, Spans

APART_S: Final = 180.0
"""Two answers closer than this many seconds count as one: caches last for seconds, and faults of minutes have been
seen."""
REMEMBERED: Final = 100_000
"""Spans remembered per pair, some 10 MB; beyond that the oldest are forgotten and must be seen twice again."""


class VoidEvidence:
    """The ids that answers skipped, by pair. Times are monotonic seconds."""

    def __init__(self) -> None:
        # By pair, the ids by the time they were first seen, oldest first; the sets are disjoint.
        self._seen: dict[str, list[tuple[float, Spans]]] = {}

    def skipped(self, pair: str, spans: Iterable[Span], now_s: float) -> list[tuple[Span, float]]:
        """Record that answers skipped ``spans``; return the parts that are now proven not to exist.

        Each part comes with the minimum number of seconds between its two answers.
        """
        left: list[tuple[float, Spans]] = []
        proven: list[tuple[Span, float]] = []
        now = Spans(spans)
        for seen_s, earlier in self._seen.get(pair, ()):
            again = Spans(part for span in now for part in earlier.within(span))
            now = _without(now, again)
            if now_s - seen_s >= APART_S:
                proven += [(part, now_s - seen_s) for part in again]
                left.append((seen_s, _without(earlier, again)))
            else:
                left.append((seen_s, earlier))
        self._seen[pair] = _newest([*left, (now_s, now)])
        return sorted(proven)

    def due_s(self, pair: str, span: Span, now_s: float) -> float | None:
        """Return the seconds until a second answer about ``span`` would prove something; None if it never would."""
        ends = [seen_s + APART_S - now_s for seen_s, earlier in self._seen.get(pair, ()) if earlier.within(span)]
        return max(0.0, min(ends)) if ends else None


def _without(spans: Spans, given_up: Spans) -> Spans:
    return Spans(part for span in spans for part in given_up.missing(span)) if given_up else spans


def _newest(seen: list[tuple[float, Spans]]) -> list[tuple[float, Spans]]:
    kept, room = list[tuple[float, Spans]](), REMEMBERED
    for seen_s, spans in reversed(seen):
        newest = spans if len(spans) <= room else Spans(list(spans)[:room])
        room -= len(newest)
        if newest:
            kept.append((seen_s, newest))
    return kept[::-1]
