"""Sets of trade ids as sorted, disjoint spans: completeness is arithmetic on these.

Owns: the set algebra. A set never holds two spans that touch, so equal sets have equal spans.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from recorder.core.model import Span


class Spans:
    """A mutable set of ids. ``len()`` is its spans; :meth:`count` its ids.

    >>> held = Spans([Span(1, 3), Span(7, 9)])
    >>> held.add(Span(4, 4)); held
    Spans(1..4, 7..9)
    >>> held.missing(Span(3, 8))
    [Span(first=5, last=6)]
    """

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for span in spans:
            self.add(span)

    @classmethod
    def of_ids(cls, ids: Iterable[int]) -> Spans:
        """Gather single ids, in any order, repeated or not."""
        spans = cls()
        first = last = None
        for trade_id in sorted(ids):
            if last is not None and trade_id <= last + 1:
                last = trade_id
                continue
            if first is not None and last is not None:
                spans.add(Span(first, last))
            first = last = trade_id
        if first is not None and last is not None:
            spans.add(Span(first, last))
        return spans

    def add(self, span: Span) -> None:
        """Take in every id of ``span``. Extending the newest span, the live case, costs constant time."""
        firsts, lasts = self._firsts, self._lasts
        if not lasts or span.first > lasts[-1] + 1:
            firsts.append(span.first)
            lasts.append(span.last)
            return
        # Spans that overlap or touch the new one: from the first that ends at span.first-1 or later
        # to the last that starts at span.last+1 or earlier.
        low = bisect_left(lasts, span.first - 1)
        high = bisect_right(firsts, span.last + 1)
        if low < high:
            merged_first, merged_last = min(firsts[low], span.first), max(lasts[high - 1], span.last)
        else:
            merged_first, merged_last = span.first, span.last
        firsts[low:high] = [merged_first]
        lasts[low:high] = [merged_last]

    def update(self, spans: Iterable[Span]) -> None:
        """Take in every id of every span."""
        for span in spans:
            self.add(span)

    def remove(self, span: Span) -> None:
        """Give up every id of ``span``."""
        firsts, lasts = self._firsts, self._lasts
        low, high = bisect_left(lasts, span.first), bisect_right(firsts, span.last)
        if low >= high:
            return
        left = [(firsts[low], span.first - 1)] if firsts[low] < span.first else []
        right = [(span.last + 1, lasts[high - 1])] if lasts[high - 1] > span.last else []
        kept = left + right
        firsts[low:high] = [first for first, _ in kept]
        lasts[low:high] = [last for _, last in kept]

    def __contains__(self, trade_id: int) -> bool:
        index = bisect_right(self._firsts, trade_id) - 1
        return index >= 0 and trade_id <= self._lasts[index]

    def covers(self, span: Span) -> bool:
        """Tell whether every id of ``span`` is held."""
        index = bisect_right(self._firsts, span.first) - 1
        return index >= 0 and span.last <= self._lasts[index]

    def missing(self, span: Span) -> list[Span]:
        """Return the parts of ``span`` that are not held, lowest first."""
        absent: list[Span] = []
        following = span.first
        for index in range(bisect_left(self._lasts, span.first), len(self._firsts)):
            first, last = self._firsts[index], self._lasts[index]
            if first > span.last:
                break
            if first > following:
                absent.append(Span(following, first - 1))
            following = last + 1
        if following <= span.last:
            absent.append(Span(following, span.last))
        return absent

    def within(self, span: Span) -> list[Span]:
        """Return the parts of ``span`` that are held, lowest first."""
        held: list[Span] = []
        for index in range(bisect_left(self._lasts, span.first), len(self._firsts)):
            first, last = self._firsts[index], self._lasts[index]
            if first > span.last:
                break
            held.append(Span(max(first, span.first), min(last, span.last)))
        return held

    def holes(self) -> list[Span]:
        """Return what is missing between the first and the last id held, lowest first."""
        return [Span(last + 1, first - 1) for last, first in zip(self._lasts, self._firsts[1:], strict=False)]

    def count(self) -> int:
        """Return the number of ids."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    @property
    def first(self) -> int | None:
        """The lowest id, or None of an empty set."""
        return self._firsts[0] if self._firsts else None

    @property
    def last(self) -> int | None:
        """The highest id, or None of an empty set."""
        return self._lasts[-1] if self._lasts else None

    def copy(self) -> Spans:
        """Return a set of its own with the same ids."""
        twin = Spans()
        twin._firsts, twin._lasts = self._firsts.copy(), self._lasts.copy()
        return twin

    def __iter__(self) -> Iterator[Span]:
        return map(Span, self._firsts, self._lasts)

    def __len__(self) -> int:
        return len(self._firsts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spans):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]  # mutable, like every set here

    def __repr__(self) -> str:
        return f"Spans({', '.join(str(span) for span in self)})"
