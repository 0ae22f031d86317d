"""Trade ids as spans: sets of spans, runs with the times of their ends, and the gaps between runs.

Completeness is arithmetic on these. Contains all joining and subtracting of ids. Does not know where rows are or why
ids are missing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, Literal

import msgspec

from recorder.core.model import Trade

GapState = Literal["open", "void", "unreadable", "disowned"]
"""Why ids are not stored: ``open`` ones are still to be fetched, ``void`` ones do not exist at the exchange,
``unreadable`` ones it serves as rows that cannot be archived, and ``disowned`` ones the owner released."""


class Span(msgspec.Struct, frozen=True, order=True, gc=False):
    """Consecutive trade ids, both ends included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"a span runs upwards, not from {self.first} to {self.last}")

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, trade_id: int) -> bool:
        return self.first <= trade_id <= self.last

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"


class Run(msgspec.Struct, frozen=True, order=True, gc=False):
    """Trades of one pair with consecutive ids, and when the first and the last were made (µs since 1970 UTC)."""

    pair: str
    span: Span
    first_us: int
    last_us: int


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Ids of ``pair`` that are not stored, and why.

    ``after_us`` and ``before_us`` are the times of the trades stored next to them, in µs since 1970 UTC; None if none
    is stored on that side.
    """

    pair: str
    span: Span
    after_us: int | None
    before_us: int | None
    state: GapState = "open"

    def __str__(self) -> str:
        return f"ids {self.span}"


class Spans:
    """A mutable set of ids. ``len()`` is the number of spans; :meth:`count` the number of ids.

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
        """Return the set of single ids, given in any order, repeated or not."""
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
        """Add every id of ``span``. Extending the newest span, the live case, costs constant time."""
        firsts, lasts = self._firsts, self._lasts
        if not lasts or span.first > lasts[-1] + 1:
            firsts.append(span.first)
            lasts.append(span.last)
            return
        # Spans that overlap or touch the new one: from the first that ends at span.first-1 or later to the last that
        # starts at span.last+1 or earlier.
        low = bisect_left(lasts, span.first - 1)
        high = bisect_right(firsts, span.last + 1)
        if low < high:
            merged_first, merged_last = min(firsts[low], span.first), max(lasts[high - 1], span.last)
        else:
            merged_first, merged_last = span.first, span.last
        firsts[low:high] = [merged_first]
        lasts[low:high] = [merged_last]

    def update(self, spans: Iterable[Span]) -> None:
        """Add every id of every span."""
        for span in spans:
            self.add(span)

    def remove(self, span: Span) -> None:
        """Remove every id of ``span``."""
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
        """Return whether every id of ``span`` is in the set."""
        index = bisect_right(self._firsts, span.first) - 1
        return index >= 0 and span.last <= self._lasts[index]

    def missing(self, span: Span) -> list[Span]:
        """Return the parts of ``span`` that are not in the set, lowest first."""
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
        """Return the parts of ``span`` that are in the set, lowest first."""
        held: list[Span] = []
        for index in range(bisect_left(self._lasts, span.first), len(self._firsts)):
            first, last = self._firsts[index], self._lasts[index]
            if first > span.last:
                break
            held.append(Span(max(first, span.first), min(last, span.last)))
        return held

    def count(self) -> int:
        """Return the number of ids."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    @property
    def first(self) -> int | None:
        """The lowest id, or None for an empty set."""
        return self._firsts[0] if self._firsts else None

    @property
    def last(self) -> int | None:
        """The highest id, or None for an empty set."""
        return self._lasts[-1] if self._lasts else None

    def copy(self) -> Spans:
        """Return an independent set with the same ids."""
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


NO_IDS: Final = Spans()
"""The empty set. Do not change it."""


def runs_of(trades: Iterable[Trade]) -> list[Run]:
    """Split trades into runs of one pair with consecutive ids; repeats and jumps begin a new run."""
    found: list[Run] = []
    first = last = None
    for trade in trades:
        if first is None or last is None:
            first = last = trade
        elif trade.trade_id == last.trade_id + 1 and trade.pair == last.pair:
            last = trade
        else:
            found.append(Run(first.pair, Span(first.trade_id, last.trade_id), first.time_us, last.time_us))
            first = last = trade
    if first is not None and last is not None:
        found.append(Run(first.pair, Span(first.trade_id, last.trade_id), first.time_us, last.time_us))
    return found


def joined(runs: Iterable[Run]) -> list[Run]:
    """Return the longest runs that these form together: pair by pair, in ascending id.

    They may come in any order and overlap. A group commit brings thousands that are in order already, in one pass.
    """
    by_pair: dict[str, list[Run]] = {}
    for run in runs:
        of_pair = by_pair.get(run.pair)
        if of_pair is None:
            by_pair[run.pair] = [run]
        else:
            of_pair.append(run)
    found: list[Run] = []
    for of_pair in by_pair.values():
        if any(later.span.first < earlier.span.first for earlier, later in pairwise(of_pair)):
            of_pair.sort()
        found += _joined(of_pair)
    return found


def _joined(ordered: Sequence[Run]) -> Iterator[Run]:
    begin = end = ordered[0]
    for run in ordered:
        if run.span.first > end.span.last + 1:
            yield _from_to(begin, end)
            begin = end = run
        elif run.span.last > end.span.last:
            end = run
    yield _from_to(begin, end)


def _from_to(begin: Run, end: Run) -> Run:
    if begin is end:
        return begin
    return Run(begin.pair, Span(begin.span.first, end.span.last), begin.first_us, end.last_us)
