"""The picture of a pair's spread: its mean over time, and between which values it moved.

Contains the choice of bars and how they are drawn. Times are receive times in UTC. Needs the extra ``plots``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from recorder.core.model import TIMEFRAMES
from recorder.errors import UsageError
from recorder.query import arguments
from recorder.query.arguments import Instant
from recorder.query.chart_style import Figure, label
from recorder.query.connect import Archive

try:
    import altair as alt
except ImportError as missing:  # chart_style has reported it already
    raise UsageError("pictures need Altair: pip install 'kraken-recorder[plots]'") from missing

BAR_PX: Final = 2
"""A bar narrower than this cannot be told from its neighbours."""
HEIGHT_PX: Final = 380
FRAME_PX: Final = HEIGHT_PX + 120
"""With title and axis."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_ENDS: Final = """
SELECT epoch_us(min(first_received)) AS first_us, epoch_us(max(coalesce(ended, last_received))) AS last_us
FROM quote_sessions
WHERE pair = $pair
"""
_BARS: Final = "FROM spread_bars($pair, to_microseconds($us), make_timestamptz($first), make_timestamptz($last))"
_SOLID: Final = 0.999
"""The share of known time from which a bar counts as known."""
_MEAN, _RANGE, _PARTLY = "#0072B2", "#C4D9E8", "#CC79A7"
_LEGEND: Final = "line: mean, weighted by time · bars: least to greatest · triangles: known for a part of the time only"


def spread(
    archive: Archive,
    pair: str,
    timeframe: str = "1m",
    start: Instant = None,
    stop: Instant = None,
    *,
    width: int,
) -> Figure:
    """Return the figure of :func:`recorder.query.plots.spread`."""
    limits = arguments.time_range(start, stop)
    arguments.timeframe(timeframe)
    ends = archive.sql(_ENDS, to="arrow", pair=pair).to_pylist()[0]
    if ends["first_us"] is None:
        raise UsageError(f"the archive holds no quotes of {pair!r}: quotes.pairs says of which pairs they are recorded")
    first_us = ends["first_us"] if limits.start_us is None else limits.start_us
    last_us = ends["last_us"] + 1 if limits.stop_us is None else limits.stop_us
    drawn = _fitting(timeframe, last_us - first_us, width)
    us = TIMEFRAMES[drawn] * 60_000_000
    bars = archive.sql(_BARS, to="arrow", pair=pair, us=us, first=first_us // us * us, last=last_us).to_pylist()
    if not any(bar["mean_spread"] is not None for bar in bars):
        stored = " to ".join(_text(ends[end]) for end in ("first_us", "last_us"))
        raise UsageError(f"no quote of {pair} is stored in this range; the archive has them from {stored}")
    return _figure(pair, drawn, _rows(bars, us), [first_us // 1000, last_us // 1000], width)


def _fitting(timeframe: str, span_us: int, width: int) -> str:
    longer = [name for name in TIMEFRAMES if TIMEFRAMES[name] >= TIMEFRAMES[timeframe]]
    fit = (name for name in longer if span_us * BAR_PX <= TIMEFRAMES[name] * 60_000_000 * width)
    return next(fit, longer[-1])


def _rows(bars: Sequence[dict[str, Any]], us: int) -> list[dict[str, Any]]:
    """Return what is drawn of each bar; ``stretch`` numbers the runs of bars without a gap, for the line."""
    rows: list[dict[str, Any]] = []
    stretch, before_us = 0, None
    for bar in bars:
        if bar["mean_spread"] is None:
            continue
        begin_us = (bar["time"] - _EPOCH) // _US
        stretch += before_us is not None and begin_us != before_us + us
        before_us = begin_us
        rows.append(
            {
                "time": (begin_us + us // 2) // 1000,
                "begin": _text(begin_us),
                "mean": bar["mean_spread"],
                "least": bar["min_spread"],
                "greatest": bar["max_spread"],
                "quotes": bar["quotes"],
                "known": bar["known"],
                "stretch": stretch,
            }
        )
    return rows


def _figure(
    pair: str, timeframe: str, rows: Sequence[dict[str, Any]], domain_ms: Sequence[int], width: int
) -> alt.Chart:
    data = alt.Chart(alt.InlineData(values=list(rows)))
    scale = alt.Scale(type="utc", domain=list(domain_ms), nice=False)
    x = alt.X("time:T", title=None, scale=scale, axis=alt.Axis(format="%d %b %H:%M", labelOverlap=True))
    bar_px = width * TIMEFRAMES[timeframe] * 60_000 / max(1, domain_ms[1] - domain_ms[0])
    tooltip = [
        alt.Tooltip("begin:N"),
        *(alt.Tooltip(f"{name}:Q") for name in ("mean", "least", "greatest", "quotes")),
        alt.Tooltip("known:Q", format=".1%"),
    ]
    band = data.mark_rule(strokeWidth=max(BAR_PX, bar_px), clip=True).encode(
        x=x,
        y=alt.Y("least:Q", title="spread", scale=alt.Scale(zero=True)),
        y2="greatest:Q",
        color=alt.value(_RANGE),
        tooltip=tooltip,
    )
    line = data.mark_line(strokeWidth=1.5, interpolate="linear").encode(
        x=x, y="mean:Q", detail="stretch:N", color=alt.value(_MEAN)
    )
    points = data.mark_point(filled=True, size=14).encode(x=x, y="mean:Q", color=alt.value(_MEAN), tooltip=tooltip)
    partly = (
        data.transform_filter(f"datum.known < {_SOLID}")
        .mark_point(shape="triangle-up", filled=True, size=30)
        .encode(x=x, y="mean:Q", color=alt.value(_PARTLY), tooltip=tooltip)
    )
    quotes = sum(row["quotes"] for row in rows)
    subtitle = f"{rows[0]['begin']} to {rows[-1]['begin']} UTC · {quotes:,} quotes in {len(rows):,} bars, as received"
    title = f"Spread of {label(pair)} in {timeframe} bars"
    figure: alt.Chart = (
        alt.layer(band, line, points, partly)
        .properties(
            width=width,
            height=HEIGHT_PX,
            title=alt.TitleParams(
                title,
                subtitle=[subtitle, _LEGEND],
                anchor="start",
                fontSize=16,
            ),
            padding=16,
            background="white",
        )
        .configure_view(stroke="#DDDDDD")
        .configure_axis(gridColor="#EEEEEE", labelOverlap=True)
    )
    return figure


def _text(us: int) -> str:
    return f"{_EPOCH + timedelta(microseconds=us):%Y-%m-%d %H:%M:%S}"
