"""Certified days, remembered so that a later loss of their trades is noticed.

All ids of a certified day were stored, or need not be; an id that is neither now has vanished. Stores a few spans per
pair instead of one entry per day, however many years there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Literal

from recorder.core.evidence import Certified
from recorder.core.trade_ids import Run, Span, Spans

_EPOCH = date(1970, 1, 1).toordinal()


class CertifiedHistory:
    """The certified ids of one pair, by the UTC year of their day, and the certified days, as days since 1970."""

    def __init__(self) -> None:
        self.ids: dict[int, Spans] = {}
        self.days = Spans()

    def add_day(self, one: Certified) -> None:
        """Add a certified day."""
        self.add(one.day.year, Span(one.first_id, one.last_id))
        number = number_of(one.day)
        self.days.add(Span(number, number))

    def add(self, year: int, ids: Span) -> None:
        """Add ids that were certified for days of one year."""
        self.ids.setdefault(year, Spans()).add(ids)

    def update(self, other: CertifiedHistory) -> None:
        """Add all days and ids of another history."""
        for year, ids in other.ids.items():
            self.ids.setdefault(year, Spans()).update(ids)
        self.days.update(other.days)

    def every(self) -> Spans:
        """Return all certified ids."""
        return Spans(span for ids in self.ids.values() for span in ids)

    def vanished(self, held: Spans, absent: Spans) -> Spans:
        """Return the certified ids that are neither ``held`` nor ``absent`` now."""
        return _without(_without(self.every(), held), absent)

    def given_up(self, runs: Iterable[Run], absent: Spans) -> Spans:
        """Return the vanished ids that are not fetched again automatically: they may have been removed on purpose.

        These are all vanished ids below the lowest stored one, and those of a year without any stored id.
        """
        runs = list(runs)
        held = Spans(run.span for run in runs)
        vanished = self.vanished(held, absent)
        if not vanished or held.first is None:
            return vanished
        found = Spans(vanished.within(Span(0, held.first - 1)))
        for year, ids in self.ids.items():
            if not any(held.within(span) for span in ids) and not any(_touches(run, year) for run in runs):
                found.update(part for span in ids for part in vanished.within(span))
        return found


def number_of(day: date) -> int:
    """Return the number of days since 1970."""
    return day.toordinal() - _EPOCH


Change = Literal["same", "lawful", "unlike"]
"""How a day changed since it was certified. ``lawful``: history was added, a void id appeared, or ids were disowned.
``unlike``: it has other content, or less."""


def change(before: Certified, now: Certified | None, *, let_go: int, within: Callable[[], Certified | None]) -> Change:
    """Return how a certified day changed, given what it contains ``now`` (None: nothing).

    ``let_go`` is the number of its ids that were disowned. ``within`` reads what it contains now between its previous
    first and last id.
    """
    rows = 0 if now is None else now.rows
    if rows <= before.rows:
        same = now is not None and _content(now) == _content(before)
        return "same" if same else "lawful" if 0 < before.rows - rows <= let_go else "unlike"
    kept = within()
    if kept is not None and kept.rows >= before.rows:
        return "lawful" if kept.rows > before.rows or kept.sha256 == before.sha256 else "unlike"
    return "lawful" if before.rows - (0 if kept is None else kept.rows) <= let_go else "unlike"


def _content(one: Certified) -> tuple[int, int, int, str]:
    return one.rows, one.first_id, one.last_id, one.sha256


def is_as_certified(
    one: Certified, *, rows: int, ends: tuple[int, int] | None, sha256: str | None, let_go: int
) -> bool:
    """Return whether a day contains what it contained when it was certified, or differs lawfully.

    It contains ``rows`` now, from the first to the last id of ``ends``, with this ``sha256`` (None: not read), and
    ``let_go`` of its ids were disowned by the owner. More rows are lawful: history was added, or a void id appeared.
    """
    if rows != one.rows:
        return rows >= one.rows - let_go
    return ends == (one.first_id, one.last_id) and sha256 in {None, one.sha256}


def latest(certificates: Iterable[Certified]) -> Mapping[date, Certified]:
    """Return the latest certified record of each day, by revision, independent of clocks."""
    found: dict[date, Certified] = {}
    for one in certificates:
        found[one.day] = max(one, found.get(one.day, one))
    return found


def _without(spans: Spans, others: Spans) -> Spans:
    return Spans(part for span in spans for part in others.missing(span)) if others else spans


def _touches(run: Run, year: int) -> bool:
    first, last = sorted((run.first_us, run.last_us))
    return _year(first) <= year <= _year(last)


def _year(time_us: int) -> int:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).year
