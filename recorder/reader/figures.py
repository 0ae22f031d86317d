"""Pictures of an answer: a line for each column of numbers over time, or bars, as the points of an SVG. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any, Final

import pyarrow as pa

from recorder.page.templates import second
from recorder.query import row_text

WIDTH: Final = 1000
HEIGHT: Final = 100
"""The size of a figure, in units of its drawing."""
FIGURES: Final = 3
"""Columns that are drawn, the first ones."""
BARS: Final = 60
"""The maximum number of bars: with more rows only a series in time is drawn."""
_MOMENTS: Final = frozenset({"time", "day", "date", "moment", "received"})
"""Names of a column that is the axis of time wherever it stands; another one of times is if it is the first."""
_KEYS: Final = ("id", "session", "message")
"""Ends of the names of numbers that count nothing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One column: ``shape`` is the path of its line, or of its bars; the texts are those at the ends of the axes."""

    name: str
    kind: str
    shape: str
    low: str
    high: str
    first: str
    last: str


def figures(table: pa.Table) -> list[Figure]:
    """Return what can be drawn of the rows: none where neither times nor labels order them.

    Nor is there a line over time of several pairs, whose rows would alternate.
    """
    table = _drawable(table)
    if table.num_rows < 2 or not table.num_columns:
        return []
    axis = _axis(table.schema)
    if axis is not None:
        several = "pair" in table.column_names and len(table["pair"].unique()) > 1
        return [] if several else _lines(table, axis)
    label = table.schema[0]
    if table.num_rows > BARS or len(table.column(0).unique()) < table.num_rows:
        return []
    texts = [row_text.cell(value) for value in (table.column(0)[0].as_py(), table.column(0)[-1].as_py())]
    return [
        Figure(name, "bars", _bars(values), *_limits([*values, 0.0]), *texts)
        for name, values in _numbers(table, without=label.name)
    ]


def _drawable(table: pa.Table) -> pa.Table:
    """Return the columns without lists and structs, and of those with one name the first: SQL can return any."""
    names, schema = table.column_names, table.schema
    firsts = [names.index(name) for name in dict.fromkeys(names)]
    return table.select([place for place in firsts if not pa.types.is_nested(schema.types[place])])


def _axis(schema: pa.Schema) -> str | None:
    for place, column in enumerate(schema):
        if (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)) and (
            place == 0 or column.name in _MOMENTS
        ):
            return str(column.name)
    return None


def _lines(table: pa.Table, axis: str) -> list[Figure]:
    table = table.filter(table[axis].is_valid()).sort_by(axis)
    if not table.num_rows:
        return []
    try:
        times = table[axis].to_pylist()
    except (OverflowError, ValueError):  # such as infinity, which is no place on an axis
        return []
    seconds = [_seconds(one) for one in times]
    begin, span = seconds[0], seconds[-1] - seconds[0]
    if not span:
        return []
    across = [WIDTH * (one - begin) / span for one in seconds]
    ends = [second(row_text.cell(one)) for one in (times[0], times[-1])]
    return [
        Figure(name, "line", _line(across, values), *_limits(values), *ends)
        for name, values in _numbers(table, without=axis)
    ]


def _seconds(moment: datetime | date) -> float:
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return moment.toordinal() * 86_400.0


def _numbers(table: pa.Table, *, without: str) -> list[tuple[str, list[float | None]]]:
    """Return the first columns of numbers, as doubles: None for NULL, and for what no picture can show."""
    found: list[tuple[str, list[float | None]]] = []
    for column, values in zip(table.schema, table.columns, strict=True):
        kind = column.type
        counted = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        if counted and column.name != without and not column.name.endswith(_KEYS) and len(found) < FIGURES:
            numbers = [_finite(value) for value in values.to_pylist()]
            if any(value is not None for value in numbers):
                found.append((str(column.name), numbers))
    return found


def _finite(value: Any) -> float | None:  # noqa: ANN401 -- any number
    number = None if value is None else float(value)
    return number if number is not None and abs(number) < 1e300 else None  # neither NaN nor infinite


def _limits(values: Iterable[float | None]) -> tuple[str, str]:
    known = [value for value in values if value is not None]
    return _short(min(known)), _short(max(known))


def _short(number: float) -> str:
    """Return a number for an axis.

    >>> _short(97134.004), _short(0.00001036), _short(12_345_678.0)
    ('97,134', '1.036e-05', '12,345,678')
    """
    return f"{number:,.0f}" if abs(number) >= 10_000 else f"{number:.6g}"


def _heights(values: Sequence[float | None]) -> list[float | None]:
    """Return how far below the top of the figure each value is."""
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    scale = HEIGHT / (high - low) if high > low else 0.0
    return [None if value is None else HEIGHT - (value - low) * scale if scale else HEIGHT / 2 for value in values]


def _line(across: Sequence[float], values: Sequence[float | None]) -> str:
    """Return the path of a line that breaks where there is no value.

    >>> _line([0, 250, 500, 1000], [1.0, 2.0, None, 1.5])
    'M0,100 250,0M1000,50 1000,50'
    """
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(across, _heights(values), strict=True):
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    return "".join(_stroke(_thinned(run)) for run in runs if run)


def _stroke(points: Sequence[tuple[float, float]]) -> str:
    drawn = points if len(points) > 1 else [*points, *points]  # so that a single one is a dot
    return "M" + " ".join(f"{x:.5g},{y:.4g}" for x, y in drawn)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that can be seen: of each unit of the width the first, the highest, the lowest and the last."""
    kept: list[tuple[float, float]] = []
    for _, group in groupby(points, key=lambda point: int(point[0])):
        near = list(group)
        ends = {0, len(near) - 1}
        extremes = {pick(range(len(near)), key=lambda at: near[at][1]) for pick in (min, max)}
        kept += [near[place] for place in sorted(ends | extremes)]
    return kept


def _bars(values: Sequence[float | None]) -> str:
    """Return the path of bars from zero.

    >>> _bars([1.0, -1.0])
    'M50,50h400V0h-400zM550,50h400V100h-400z'
    """
    *heights, zero = _heights([*values, 0.0])
    step = WIDTH / len(values)
    width = step * 0.8
    return "".join(
        f"M{place * step + step / 10:.5g},{zero:.4g}h{width:.4g}V{height:.4g}h-{width:.4g}z"
        for place, height in enumerate(heights)
        if height is not None
    )
