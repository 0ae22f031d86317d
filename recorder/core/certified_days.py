"""What was certified is remembered, so that what vanishes afterwards is missed.

Owns: what a certified day tells of ids for ever: all of them were held, or need not be. So those that are neither now
have vanished. Refuses: to keep each day; of one pair it is a few spans, however many years there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Literal

from recorder.core.evidence import Certified
from recorder.core.trade_ids import Run, Span, Spans

_EPOCH = date(1970, 1, 1).toordinal()


class CertifiedHistory:
    """The ids of one pair that were certified, by the UTC year of their day, and those days, as days since 1970."""

    def __init__(self) -> None:
        self.ids: dict[int, Spans] = {}
        self.days = Spans()

    def add_day(self, one: Certified) -> None:
        """Take in a certified day."""
        self.add(one.day.year, Span(one.first_id, one.last_id))
        number = number_of(one.day)
        self.days.add(Span(number, number))

    def add(self, year: int, ids: Span) -> None:
        """Take in ids that were certified to be of days of one year."""
        self.ids.setdefault(year, Spans()).add(ids)

    def update(self, other: CertifiedHistory) -> None:
        """Take in all that another one knows."""
        for year, ids in other.ids.items():
            self.ids.setdefault(year, Spans()).update(ids)
        self.days.update(other.days)

    def every(self) -> Spans:
        """Return all ids that were certified."""
        return Spans(span for ids in self.ids.values() for span in ids)

    def vanished(self, held: Spans, absent: Spans) -> Spans:
        """Return the ids that were certified, and are not ``held`` now, though they must be, not being ``absent``."""
        return _without(_without(self.every(), held), absent)

    def given_up(self, runs: Iterable[Run], absent: Spans) -> Spans:
        """Return the vanished ids that are not to be fetched unasked: whoever removed them may have meant to.

        These are all below the lowest one held, and those of a year of which nothing at all is held.
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
    """Return the whole days since 1970."""
    return day.toordinal() - _EPOCH


Change = Literal["same", "lawful", "unlike"]
"""What became of a day since it was certified. ``lawful``: history came, an id that was void, or ids were let go.
``unlike``: it holds other content, or less."""


def change(before: Certified, now: Certified | None, *, let_go: int, within: Callable[[], Certified | None]) -> Change:
    """Return what became of a day that was certified and holds ``now`` (None: nothing).

    So many of its ids were ``let_go``. ``within`` reads what it holds of the ids between the ends it had before.
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
    """Tell whether a day holds what it held when it was certified, or lawfully something else.

    It holds so many ``rows`` now, from the first to the last of ``ends``, with this ``sha256`` (None: not read), and so
    many of its ids were ``let_go`` by the owner. More rows are lawful: history came, or an id that was void.
    """
    if rows != one.rows:
        return rows >= one.rows - let_go
    return ends == (one.first_id, one.last_id) and sha256 in {None, one.sha256}


def latest(told: Iterable[Certified]) -> Mapping[date, Certified]:
    """Return of each day what was told last; the revision says so, whatever clocks did."""
    found: dict[date, Certified] = {}
    for one in told:
        found[one.day] = max(one, found.get(one.day, one))
    return found


def _without(spans: Spans, others: Spans) -> Spans:
    return Spans(part for span in spans for part in others.missing(span)) if others else spans


def _touches(run: Run, year: int) -> bool:
    first, last = sorted((run.first_us, run.last_us))
    return _year(first) <= year <= _year(last)


def _year(time_us: int) -> int:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).year
