"""Coverage and volume of an archive by day: their queries, and how much of the result fits a chart.

A cell is a day, or a week or a month of days where days would be too narrow to see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from recorder.chart.days import STATUSES, Cell, DayChart
from recorder.errors import UsageError
from recorder.query import arguments
from recorder.query.arguments import Instant
from recorder.query.chart_rows import Row, counted, moment
from recorder.query.connect import Archive

Unit: TypeAlias = Literal["day", "week", "month"]

DAY_PX: Final = 3
"""A day narrower than this is folded into its week or month."""
PAIRS: Final = 100
"""The maximum number of rows in a calendar: with full rows of cells, still a page that a browser opens at once."""
PANELS: Final = 20
"""The maximum number of pairs with a panel of their own."""

_UNITS: Final[dict[Unit, int]] = {"day": 1, "week": 7, "month": 30}
"""The possible units of a cell, with their approximate length in days."""
_WORST: Final = ("unknown", "open", "pending", "partial", "complete", "empty")
"""Statuses of days in order of severity: a cell has the first of these that one of its days has."""

_DAYS: Final = """
SELECT pair, day, status, rows, missing
FROM certificates
WHERE ($pairs IS NULL OR list_contains($pairs, pair)) AND day >= $first AND day <= $last
ORDER BY pair, day
"""
_VOLUMES: Final = """
SELECT pair, utc_day(time) AS day, sum(qty) AS volume
FROM trades
WHERE ($pairs IS NULL OR list_contains($pairs, pair))
    AND time >= day_start($first::DATE) AND time < day_start($last::DATE + 1)
GROUP BY pair, day
"""


def coverage(
    archive: Archive,
    start: Instant = None,
    stop: Instant = None,
    *,
    pairs: Sequence[str] | None = None,
    width: int,
) -> DayChart:
    """Return the calendar of :func:`recorder.query.plots.coverage`."""
    days = _days(archive, start, stop, pairs)
    of_pairs, note = _most(days, PAIRS, "open days", lambda day: int(day["status"] == "open"))
    unit = _unit(of_pairs, width)
    each = "" if unit == "day" else f"; a cell is a {unit} and shows its worst day"
    notes = [_tally(of_pairs) + each, *note]
    return DayChart("Coverage: what is proven of each day", notes, unit, _cells(of_pairs, unit))


def volume(
    archive: Archive,
    start: Instant = None,
    stop: Instant = None,
    *,
    pairs: Sequence[str] | None = None,
    width: int,
) -> DayChart:
    """Return the volumes of :func:`recorder.query.plots.volume`."""
    days = _days(archive, start, stop, pairs)
    of_pairs, note = _most(days, PANELS, "trades", lambda day: int(day["rows"]))
    ends = _ends(of_pairs)
    found = _rows(archive, _VOLUMES, exact=True, pairs=_names(of_pairs), first=ends[0], last=ends[1])
    traded = {(row["pair"], row["day"]): row["volume"] for row in found}
    # Nothing is known of the days since the last stored trade, so they are not drawn.
    last = max((row["day"] for row in found), default=ends[0])
    of_pairs = [day for day in of_pairs if day["day"] <= last]
    unit = _unit(of_pairs, width)
    cells = {
        pair: [cell._replace(volume=_sum(traded, pair, cell)) for cell in cells]
        for pair, cells in _cells(of_pairs, unit).items()
    }
    notes = note or [f"{counted(len(cells), 'pair')}, each on a scale of its own"]
    return DayChart(f"Volume by {unit}, in the base currency", notes, unit, cells)


def _sum(traded: dict[tuple[str, date], Decimal], pair: str, cell: Cell) -> Decimal:
    days = (cell.first + timedelta(days=number) for number in range((cell.after - cell.first).days))
    return sum((traded.get((pair, day), Decimal()) for day in days), Decimal())


def _days(archive: Archive, start: Instant, stop: Instant, pairs: Sequence[str] | None) -> list[Row]:
    """Return the certificates of the days that the range touches."""
    limits = arguments.time_range(start, stop)
    if pairs is not None:
        pairs = [archive.resolve(pair) for pair in pairs]
    first = date.min if limits.start_us is None else moment(limits.start_us).date()
    last = date.max if limits.stop_us is None else moment(limits.stop_us - 1).date()
    days = _rows(archive, _DAYS, pairs=pairs, first=first, last=last)
    if not days:
        held_days = _rows(archive, _DAYS, pairs=pairs, first=date.min, last=date.max)
        if not held_days:
            raise UsageError("the archive holds no trade yet, so there is nothing to draw")
        first, last = _ends(held_days)
        raise UsageError(f"nothing is stored in this range; the archive has {first} to {last}")
    return days


def _ends(days: Sequence[Row]) -> tuple[date, date]:
    return min(day["day"] for day in days), max(day["day"] for day in days)


def _most(days: list[Row], limit: int, of: str, size: Callable[[Row], int]) -> tuple[list[Row], list[str]]:
    """Return the days of the ``limit`` pairs that have the most, and a note on the others."""
    pairs = _names(days)
    if len(pairs) <= limit:
        return days, []
    totals = dict.fromkeys(pairs, 0)
    for day in days:
        totals[day["pair"]] += size(day)
    kept = set(sorted(pairs, key=lambda name: (-totals[name], name))[:limit])
    return [day for day in days if day["pair"] in kept], [f"the {limit} of {len(pairs):,} pairs with the most {of}"]


def _unit(days: Sequence[Row], width: int) -> Unit:
    """Return the shortest unit whose cells are wide enough to see, or the longest."""
    first, last = _ends(days)
    span = (last - first).days + 1
    return next((unit for unit, length in _UNITS.items() if span * DAY_PX <= width * length), "month")


def _cells(days: Iterable[Row], unit: Unit) -> dict[str, list[Cell]]:
    """Return the cells of each pair, in order: days are ordered by pair and day."""
    groups: dict[tuple[str, date], list[Row]] = {}
    for day in days:
        groups.setdefault((day["pair"], _first_of(day["day"], unit)), []).append(day)
    cells: dict[str, list[Cell]] = {}
    for (pair, first), inside in groups.items():
        cells.setdefault(pair, []).append(_cell(first, inside, unit))
    return cells


def _first_of(day: date, unit: Unit) -> date:
    if unit == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if unit == "week" else day


def _next(first: date, unit: Unit) -> date:
    return _first_of(first + timedelta(days={"day": 1, "week": 7, "month": 31}[unit]), unit)


def _cell(first: date, inside: Sequence[Row], unit: Unit) -> Cell:
    """Return the cell of these days."""
    statuses = {day["status"] for day in inside}
    return Cell(
        first,
        _next(first, unit),
        status=next(status for status in _WORST if status in statuses),
        open=sum(day["status"] == "open" for day in inside),
        trades=sum(day["rows"] for day in inside),
        missing=sum(day["missing"] for day in inside),
    )


def _names(days: Iterable[Row]) -> list[str]:
    """Return the pairs, without repeats."""
    return list(dict.fromkeys(day["pair"] for day in days))


def _tally(days: Sequence[Row]) -> str:
    counts = ((status, sum(day["status"] == status for day in days)) for status in STATUSES)
    counts_text = ", ".join(f"{count:,} {status}" for status, count in counts if count)
    return f"{counted(len(_names(days)), 'pair')}; days: {counts_text}"


def _rows(archive: Archive, question: str, *, exact: bool = False, **params: Any) -> list[Row]:  # noqa: ANN401 -- whatever SQL accepts
    found: list[Row] = archive.sql(question, to="arrow", decimals=exact, **params).to_pylist()
    return found
