"""Charts of an archive with Altair: candles with volume and vwap, coverage as a calendar, volume by day, the spread.

Contains the queries behind each chart, and how much of the result fits. A chart carries its data, so it needs neither
the archive nor a network; :func:`save` writes it as HTML, PNG or SVG. Times are UTC.

Needs the extra ``plots``. A notebook displays a chart by itself; in one without a network, first call
``altair.renderers.enable("html", template="inline")``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from recorder.core.model import TIMEFRAMES
from recorder.core.safe_text import json_for_script
from recorder.errors import UsageError
from recorder.query import arguments, spread_plot
from recorder.query.arguments import Instant, Range
from recorder.query.chart_style import (
    AT_LEAST,
    EPOCH,
    STATUS_COLOURS,
    SURE,
    Axis,
    Bars,
    Figure,
    Row,
    calendar,
    candle_chart,
    counted,
    label,
    micros,
    moment,
    names,
    panels,
    text,
    width_us,
)
from recorder.query.connect import Archive

WIDTH: Final = 1000
"""The length of the time axis in pixels."""
BAR_PX: Final = 3
"""A candle narrower than this shows neither its body nor its colour."""
DAY_PX: Final = 3
"""A day narrower than this is folded into its week or month."""
PAIRS: Final = 100
"""The maximum number of rows in a calendar: with full rows of cells, still a page that a browser opens at once."""
PANELS: Final = 20
"""The maximum number of pairs with a panel of their own."""
SUFFIXES: Final = (".html", ".png", ".svg")
SHARP: Final = 2
"""Pixels of a PNG for each of the chart's."""

_UNITS: Final = {"day": 1, "week": 7, "month": 30}
"""The possible units of a cell, with their approximate length in days."""
_WORST: Final = ("unknown", "open", "pending", "partial", "complete", "empty")
"""Statuses of days in order of severity: a cell has the first of these that one of its days has."""

_HELD: Final = """
SELECT pair, epoch_us(min(first_time)) AS first_us, epoch_us(max(last_time)) AS last_us FROM coverage GROUP BY pair
"""
_HOLES: Final = """
SELECT
    coalesce(epoch_us(after_time), $first) AS first_us,
    epoch_us(before_time) AS last_us,
    CASE kind WHEN 'missing' THEN last_id - first_id + 1 END AS missing
FROM missing_spans()
WHERE pair = $pair AND kind IN ('missing', 'before') AND epoch_us(before_time) >= $first
    AND coalesce(epoch_us(after_time), $first) < $last
ORDER BY first_us
"""
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


spread = spread_plot.spread


def candles(
    archive: Archive,
    pair: str,
    timeframe: str = "1m",
    start: Instant = None,
    stop: Instant = None,
    *,
    width: int = WIDTH,
) -> Figure:
    """Draw the candles of ``pair`` over the range, in whole bars built from trades, with vwap and volume.

    If bars of ``timeframe`` would be narrower than BAR_PX, the next longer timeframe that fits is drawn instead, and
    the title says so. Gaps are shaded; a bar with missing trades, or one not over yet, is pale and marked. ``width`` is
    the length of the time axis in pixels. Raise UsageError for a pair or a range without trades.

    >>> candles(archive, "BTC/USD", "1h", "2025-11-10", "2025-11-17")  # doctest: +SKIP
    """
    limits = arguments.time_range(start, stop)
    arguments.timeframe(timeframe)
    held = {row["pair"]: row for row in _rows(archive, _HELD)}
    arguments.pair(pair, held)
    first_us = held[pair]["first_us"] if limits.start_us is None else limits.start_us
    last_us = held[pair]["last_us"] + 1 if limits.stop_us is None else limits.stop_us
    drawn = fitting(timeframe, last_us - first_us, width)
    bars: list[Row] = []
    if first_us < last_us:
        begin, end = _bar(first_us, drawn), moment(last_us)
        bars = archive.candles(pair, drawn, begin, end, on_gap="ignore", to="arrow").to_pylist()
    if not bars:
        ends = (text(held[pair][end]) for end in ("first_us", "last_us"))
        raise UsageError(f"no trade of {pair} is stored in this range; the archive has it from {' to '.join(ends)}")
    axis = _axis(bars, drawn, limits)
    holes = _rows(archive, _HOLES, pair=pair, first=axis.first_us, last=axis.last_us)
    return candle_chart(pair, Bars(bars, drawn, axis, holes, finer=timeframe if timeframe != drawn else None), width)


def coverage(
    archive: Archive,
    start: Instant = None,
    stop: Instant = None,
    *,
    pairs: Sequence[str] | None = None,
    width: int = WIDTH,
) -> Figure:
    """Draw a calendar: a row for each pair, a cell for each UTC day, coloured by the status of its certificate.

    If days would be narrower than DAY_PX, a cell is a week, or a month, and shows its worst day. ``pairs`` None means
    all; of more than PAIRS those with the most open days are drawn. Raise UsageError if there are no days.

    >>> coverage(archive, "2025-01-01")  # doctest: +SKIP
    """
    days = _days(archive, start, stop, pairs)
    of_pairs, subtitle = _most(days, PAIRS, "open days", lambda day: int(day["status"] == "open"))
    unit = _unit(of_pairs, width)
    cells = [_cell(pair, first, inside, unit) for (pair, first), inside in _folded(of_pairs, unit).items()]
    return calendar(cells, unit, [_tally(of_pairs), *subtitle], width)


def volume(
    archive: Archive,
    start: Instant = None,
    stop: Instant = None,
    *,
    pairs: Sequence[str] | None = None,
    width: int = WIDTH,
) -> Figure:
    """Draw the volume of each UTC day in the base currency, a panel for each pair with its own axis.

    Days with missing trades, or not over yet, have a different colour: their bars are lower bounds. If days would be
    narrower than DAY_PX, a bar is the sum of a week, or of a month. ``pairs`` None means all; of more than PANELS those
    with the most trades are drawn. Raise UsageError if there are no days.

    >>> volume(archive, "2025-01-01", pairs=["BTC/USD", "ETH/USD"])  # doctest: +SKIP
    """
    days = _days(archive, start, stop, pairs)
    of_pairs, subtitle = _most(days, PANELS, "trades", lambda day: int(day["rows"]))
    ends = _ends(of_pairs)
    found = _rows(archive, _VOLUMES, pairs=names(of_pairs), first=ends[0], last=ends[1])
    traded = {(row["pair"], row["day"]): row["volume"] for row in found}
    # Nothing is known of the days since the last stored trade, so they are not drawn.
    last = max((row["day"] for row in found), default=ends[0])
    of_pairs = [day for day in of_pairs if day["day"] <= last]
    unit = _unit(of_pairs, width)
    bars = [
        _cell(pair, first, inside, unit)
        | {
            "volume": sum(traded.get((pair, day["day"]), 0.0) for day in inside),
            "held": SURE if all(day["status"] in {"complete", "empty"} for day in inside) else AT_LEAST,
        }
        for (pair, first), inside in _folded(of_pairs, unit).items()
    ]
    return panels(bars, unit, subtitle, width)


def save(figure: Figure, path: Path) -> None:
    """Write the chart to ``path``, in the format of its suffix: one of SUFFIXES. Replace an existing file.

    HTML carries its script and its data, and responds to the mouse; it opens without a network. PNG and SVG need no
    browser. Raise UsageError for another suffix, OSError if the file cannot be written.
    """
    kind = check(path)
    # Without the link to Vega's online editor, which would send the data there.
    menu = {"actions": {"export": True, "source": False, "compiled": False, "editor": False}}
    script = {"cls": _InScript}  # the page has the chart within <script>
    page = {"inline": True, "embed_options": menu, "json_kwds": script}
    options = page if kind == ".html" else {"scale_factor": SHARP}
    figure.save(str(path), **options)


class _InScript(json.JSONEncoder):
    def encode(self, o: Any) -> str:  # noqa: ANN401 -- the library's signature
        return json_for_script(super().encode(o))


def check(path: Path) -> str:
    """Return the suffix of ``path`` if it is supported. Raise UsageError, before anything is drawn."""
    kind = path.suffix
    if kind not in SUFFIXES:
        raise UsageError(f"a picture ends in one of {', '.join(SUFFIXES)}, and {str(path)!r} does not")
    return kind


def fitting(timeframe: str, span_us: int, width: int) -> str:
    """Return the finest timeframe, no finer than ``timeframe``, whose bars over ``span_us`` are BAR_PX wide or more.

    >>> fitting("1m", 3_600_000_000, 1000), fitting("1m", 30 * 86_400_000_000, 1000)
    ('1m', '4h')
    """
    longer = [name for name in TIMEFRAMES if TIMEFRAMES[name] >= TIMEFRAMES[timeframe]]
    fit = (name for name in longer if span_us * BAR_PX <= width_us(name) * width)
    return next(fit, longer[-1])


def _axis(bars: Sequence[Row], timeframe: str, limits: Range) -> Axis:
    """Return the requested range in whole bars; an open end extends as far as there are bars."""
    first_us = micros(bars[0]["time"]) if limits.start_us is None else micros(_bar(limits.start_us, timeframe))
    last_us = micros(bars[-1]["time"]) + width_us(timeframe)
    return Axis(first_us, last_us if limits.stop_us is None else max(limits.stop_us, last_us))


def _days(archive: Archive, start: Instant, stop: Instant, pairs: Sequence[str] | None) -> list[Row]:
    """Return the certificates of the days that the range touches."""
    limits = arguments.time_range(start, stop)
    if pairs is not None:
        held = [row["pair"] for row in _rows(archive, _HELD)]
        pairs = [arguments.pair(pair, held) for pair in pairs]
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
    pairs = names(days)
    if len(pairs) <= limit:
        return days, []
    totals = dict.fromkeys(pairs, 0)
    for day in days:
        totals[day["pair"]] += size(day)
    kept = set(sorted(pairs, key=lambda name: (-totals[name], name))[:limit])
    return [day for day in days if day["pair"] in kept], [f"the {limit} of {len(pairs):,} pairs with the most {of}"]


def _unit(days: Sequence[Row], width: int) -> str:
    """Return the shortest unit whose cells are wide enough to see, or the longest."""
    first, last = _ends(days)
    span = (last - first).days + 1
    return next((unit for unit, length in _UNITS.items() if span * DAY_PX <= width * length), "month")


def _folded(days: Iterable[Row], unit: str) -> dict[tuple[str, date], list[Row]]:
    """Return days grouped by pair and by the first day of their unit."""
    groups: dict[tuple[str, date], list[Row]] = {}
    for day in days:
        groups.setdefault((day["pair"], _first_of(day["day"], unit)), []).append(day)
    return groups


def _first_of(day: date, unit: str) -> date:
    if unit == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if unit == "week" else day


def _next(first: date, unit: str) -> date:
    return _first_of(first + timedelta(days={"day": 1, "week": 7, "month": 31}[unit]), unit)


def _cell(pair: str, first: date, inside: Sequence[Row], unit: str) -> Row:
    """Return a calendar cell for the days in it: the worst status, and sums."""
    statuses = {day["status"] for day in inside}
    return {
        "pair": label(pair),
        "left": _day_ms(first),
        "right": _day_ms(_next(first, unit)),
        "from": f"{first:%Y-%m-%d}",
        "status": next(status for status in _WORST if status in statuses),
        "open": sum(day["status"] == "open" for day in inside),
        "trades": sum(day["rows"] for day in inside),
        "missing": sum(day["missing"] for day in inside),
    }


def _tally(days: Sequence[Row]) -> str:
    counts = ((status, sum(day["status"] == status for day in days)) for status in STATUS_COLOURS)
    text = ", ".join(f"{count:,} {status}" for status, count in counts if count)
    return f"{counted(len(names(days)), 'pair')}; days: {text}"


def _rows(archive: Archive, question: str, **params: Any) -> list[Row]:  # noqa: ANN401 -- whatever SQL accepts
    found: list[Row] = archive.sql(question, to="arrow", **params).to_pylist()
    return found


def _bar(us: int, timeframe: str) -> datetime:
    """Return when the bar that contains this time begins; bars are counted from 1970."""
    return moment(us // width_us(timeframe) * width_us(timeframe))


def _day_ms(day: date) -> int:
    return (day - EPOCH.date()).days * 86_400_000
