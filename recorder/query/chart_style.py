"""The style of charts: rows of an archive in, Altair charts out. Pure.

A chart carries its rows in Vega's own form, times in ms since 1970 UTC, so it needs neither the archive nor pandas.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

from recorder.core.model import TIMEFRAMES
from recorder.core.safe_text import printable
from recorder.errors import UsageError

try:
    import altair as alt
    import vl_convert  # noqa: F401  # Altair needs it to save, and would fail only then
except ImportError as missing:
    raise UsageError("pictures need Altair: pip install 'kraken-recorder[plots]'") from missing

Figure: TypeAlias = alt.VConcatChart | alt.Chart
"""A chart as Altair's own object, to be changed or combined with others as Altair's documentation describes."""
Row: TypeAlias = dict[str, Any]
_Chart = TypeVar("_Chart", alt.VConcatChart, alt.Chart)

BODY_PX: Final = 20
"""The maximum width of a candle; a wider one looks like a block."""
DAY_AT_MOST_PX: Final = 40
"""The maximum width of a day, for the same reason."""
PRICE_PX: Final = 380
VOLUME_PX: Final = 100
"""The height of the volume panel below candles."""
PANEL_PX: Final = 80
"""The height of a pair's panel of volume."""

# The palette of Okabe and Ito, which people with red-green colour blindness can distinguish.
_BLUE: Final = "#0072B2"
_ORANGE: Final = "#D55E00"
_GREEN: Final = "#009E73"
_YELLOW: Final = "#F0E442"
_SKY: Final = "#56B4E9"
_PINK: Final = "#CC79A7"
_PALE_PINK: Final = "#F3DEEA"
_GREY: Final = "#C4C4C4"
_INK: Final = "#222222"

_RISING: Final = "rising"
_FALLING: Final = "falling"
_VWAP: Final = "vwap"
_CUT: Final = "incomplete bar"
_HOLE: Final = "hole: trades missing"
_CANDLE_COLOURS: Final = {_RISING: _BLUE, _FALLING: _ORANGE, _VWAP: _INK, _CUT: _PINK, _HOLE: _PALE_PINK}
STATUS_COLOURS: Final = {
    "complete": _GREEN,
    "partial": _YELLOW,
    "open": _ORANGE,
    "pending": _SKY,
    "empty": _GREY,
    "unknown": _PINK,
}
SURE: Final = "every trade is stored"
AT_LEAST: Final = "at least: trades are missing, or the day is not over"
_VOLUME_COLOURS: Final = {SURE: _BLUE, AT_LEAST: _PINK}

_US: Final = timedelta(microseconds=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK_COUNT: Final = 10
_TICKS: Final = {
    "year": "%Y",
    "quarter": "%b %Y",
    "month": "%b %Y",
    "week": "%d %b",
    "date": "%d %b",
    "hours": "%H:%M",
    "minutes": "%H:%M",
    "seconds": "%H:%M:%S",
    "milliseconds": "%H:%M:%S.%L",
}


@dataclass(frozen=True, slots=True)
class Axis:
    """The span of a time axis, in µs since 1970 UTC."""

    first_us: int
    last_us: int

    @property
    def scale(self) -> alt.Scale:
        """Return the span as a Vega scale."""
        return alt.Scale(type="utc", domain=[self.first_us // 1000, self.last_us // 1000], nice=False)


@dataclass(frozen=True, slots=True)
class Bars:
    """Candles to draw: rows of ``Archive.candles``, their timeframe, the axis and the gaps on it."""

    rows: list[Row]
    timeframe: str
    axis: Axis
    holes: list[Row]
    finer: str | None
    """The requested timeframe, if it did not fit."""


def label(pair: str) -> str:
    r"""Return a pair's name as used in a chart: a notebook puts the chart into a script of its page unchanged.

    >>> label("</script>/USD") == "\u2039/script>/USD"
    True
    """
    return printable(pair).replace("<", "\u2039")


def candle_chart(pair: str, bars: Bars, width: int) -> alt.VConcatChart:
    """Draw candles with vwap above their volume; both panels move together."""
    pair = label(pair)
    base, _, quote = pair.partition("/")
    rows = _drawn_bars(bars, width)
    cut = [row for row in rows if not row["complete"]]
    shown = [name for name in _CANDLE_COLOURS if (cut or name != _CUT) and (bars.holes or name != _HOLE)]
    colours = alt.Scale(domain=shown, range=[_CANDLE_COLOURS[name] for name in shown])
    legend = alt.Legend(orient="top", title=None, symbolType="square", symbolOpacity=1)
    by_kind = alt.Color("kind:N", scale=colours, legend=legend)
    outline = alt.Stroke("kind:N", scale=colours, legend=None)
    time = alt.X(
        "time:T", scale=bars.axis.scale, axis=alt.Axis(labels=False, ticks=False, title=None, tickCount=_TICK_COUNT)
    )
    body = {"x": alt.X("left:T", scale=bars.axis.scale), "x2": "right:T"}
    pale = alt.when("datum.complete").then(alt.value(1.0)).otherwise(alt.value(0.4))
    names = ("open", "high", "low", "close", "vwap", "volume", "count")
    tooltip = [alt.Tooltip("begin:N", title="from"), *(alt.Tooltip(f"{name}:Q") for name in names), "complete:N"]
    price = alt.Scale(zero=False, nice=True)
    chart = _chart(rows)
    layers = [
        _shaded(bars),
        chart.mark_rule(clip=True)
        .properties(name="price")
        .encode(
            x=time,
            y=alt.Y("low:Q", scale=price, title=f"Price ({quote})"),
            y2="high:Q",
            color=by_kind,
            opacity=pale,
            tooltip=tooltip,
        ),
        # A stroke, so that a bar that closes where it opened is still visible.
        chart.mark_bar(clip=True, strokeWidth=1).encode(
            **body, y="open:Q", y2="close:Q", color=by_kind, stroke=outline, opacity=pale, tooltip=tooltip
        ),
        chart.mark_line(
            clip=True,
            strokeWidth=1,
            opacity=0.7,
            point=alt.OverlayMarkDef(size=6) if len(rows) < width // 20 else False,
        ).encode(x=time, y="vwap:Q", detail="stretch:N", color=alt.datum(_VWAP)),
    ]
    if cut:
        layers.append(
            _chart(cut)
            .mark_point(clip=True, shape="triangle-up", filled=True, size=36, opacity=1)
            .encode(x=time, y=alt.value(PRICE_PX - 6), color=alt.datum(_CUT), tooltip=tooltip)
        )
    traded = (
        chart.mark_bar(clip=True)
        .properties(name="volume")
        .encode(
            x=alt.X(
                "left:T", scale=bars.axis.scale, axis=alt.Axis(format=_TICKS, title="Time (UTC)", tickCount=_TICK_COUNT)
            ),
            x2="right:T",
            y=alt.Y("volume:Q", title=f"Volume ({base})", axis=alt.Axis(tickCount=4)),
            y2=alt.datum(0),
            color=by_kind,
            opacity=pale,
            tooltip=tooltip,
        )
    )
    both = (
        alt.layer(*layers).properties(width=width, height=PRICE_PX),
        alt.layer(_shaded(bars), traded).properties(width=width, height=VOLUME_PX),
    )
    # The mouse moves both panels. Set only once: Altair warns if each panel has the same parameter.
    zoom = alt.TopLevelSelectionParameter(
        name="zoom",
        select=alt.IntervalSelectionConfig(type="interval", encodings=["x"]),
        bind="scales",
        views=["price", "volume"],
    )
    figure: alt.VConcatChart = alt.vconcat(*both, spacing=8, params=[zoom]).resolve_scale(x="shared")
    return _styled(figure, f"{pair} in {bars.timeframe} candles", _candle_subtitle(bars))


def calendar(cells: list[Row], unit: str, subtitle: list[str], width: int) -> alt.Chart:
    """Draw a row of cells for each pair, coloured by status.

    ``cells`` have pair, left and right (ms since 1970), from (a day as text), status, open (how many of its days are),
    trades and missing; ``unit`` is the length of a cell: day, week or month.
    """
    pairs = names(cells)
    axis = _calendar_axis(cells)
    legend = alt.Legend(orient="top", title=None, symbolType="square")
    words = {"complete": "complete: every trade is stored", "open": "open: trades may be missing"} | {
        "partial": "partial: every trade since the promise is stored",
        "pending": "pending: not over yet",
        "empty": "empty: there were none",
        "unknown": "unknown: the exchange's ids cannot be compared",
    }
    legend.labelExpr = f"({_expression(words)})[datum.label]"
    chart: alt.Chart = (
        _chart(cells)
        .mark_rect(clip=True, stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X(
                "left:T",
                scale=axis.scale,
                axis=alt.Axis(format=_TICKS, title="Day (UTC)", grid=False, tickCount=_whole_days(axis)),
            ),
            x2="right:T",
            y=alt.Y("pair:N", sort=pairs, title=None, scale=alt.Scale(paddingInner=0.15)),
            color=alt.Color("status:N", scale=_scale(STATUS_COLOURS), legend=legend),
            tooltip=[
                alt.Tooltip("pair:N"),
                alt.Tooltip("from:N", title=unit if unit == "day" else f"{unit} from"),
                alt.Tooltip("status:N"),
                alt.Tooltip("open:Q", title="open days"),
                alt.Tooltip("trades:Q", format=","),
                alt.Tooltip("missing:Q", format=","),
            ],
        )
        .properties(width=_fitted(axis, width), height=alt.Step(20))
    )
    each = "" if unit == "day" else f"; a cell is a {unit} and shows its worst day"
    return _styled(chart, "Coverage: what is proven of each day", [subtitle[0] + each, *subtitle[1:]])


def panels(bars: list[Row], unit: str, subtitle: list[str], width: int) -> alt.VConcatChart:
    """Draw volumes: a panel for each pair, each with its own scale.

    ``bars`` are like the cells of :func:`calendar`, with volume and held, which is SURE or AT_LEAST.
    """
    axis = _calendar_axis(bars)
    pairs = names(bars)
    drawn = []
    for pair in pairs:
        base, lowest = pair.partition("/")[0], pair == pairs[-1]
        days = alt.Axis(
            format=_TICKS,
            title="Day (UTC)" if lowest else None,
            labels=lowest,
            ticks=lowest,
            tickCount=_whole_days(axis),
        )
        chart = (
            _chart([bar for bar in bars if bar["pair"] == pair])
            .mark_bar(clip=True, stroke="white", strokeWidth=0.5)
            .encode(
                x=alt.X("left:T", scale=axis.scale, axis=days),
                x2="right:T",
                y=alt.Y("volume:Q", title=base, axis=alt.Axis(tickCount=3, labelExpr="format(datum.value, '~s')")),
                y2=alt.datum(0),
                color=alt.Color(
                    "held:N", scale=_scale(_VOLUME_COLOURS), legend=alt.Legend(orient="top", title=None, labelLimit=0)
                ),
                tooltip=[
                    alt.Tooltip("pair:N"),
                    alt.Tooltip("from:N", title=unit if unit == "day" else f"{unit} from"),
                    alt.Tooltip("volume:Q", title=f"volume ({base})", format=",.8~f"),
                    alt.Tooltip("trades:Q", format=","),
                    alt.Tooltip("status:N"),
                ],
            )
            .properties(
                width=_fitted(axis, width),
                height=PANEL_PX,
                title=alt.TitleParams(pair, fontSize=11, anchor="start", frame="group", offset=4),
            )
        )
        drawn.append(chart)
    figure: alt.VConcatChart = alt.vconcat(*drawn, spacing=6).resolve_scale(x="shared")
    return _styled(
        figure,
        f"Volume by {unit}, in the base currency",
        subtitle or [f"{counted(len(pairs), 'pair')}, each on a scale of its own"],
    )


def _drawn_bars(bars: Bars, width: int) -> list[Row]:
    """Return the drawing of each candle: times in ms, and the stretch of the vwap line that it belongs to."""
    bar_us = width_us(bars.timeframe)
    half_us = min(bar_us * 7 // 20, (bars.axis.last_us - bars.axis.first_us) * BODY_PX // (2 * width))
    hole_ends = [hole["last_us"] for hole in bars.holes]
    drawn = []
    for row in bars.rows:
        begin_us = micros(row["time"])
        middle_us = begin_us + bar_us // 2
        drawn.append(
            {
                "time": middle_us // 1000,
                "left": (middle_us - half_us) // 1000,
                "right": (middle_us + half_us) // 1000,
                "begin": text(begin_us),
                "kind": _RISING if row["close"] >= row["open"] else _FALLING,
                "stretch": bisect(hole_ends, begin_us + bar_us - 1),
                **{name: row[name] for name in ("open", "high", "low", "close", "vwap", "volume", "count", "complete")},
            }
        )
    return drawn


def _shaded(bars: Bars) -> alt.Chart:
    """Draw missing trades as bands; the stroke shows those shorter than a pixel."""
    values = [
        {
            "left": max(hole["first_us"], bars.axis.first_us) // 1000,
            "right": hole["last_us"] // 1000,
            "after": text(hole["first_us"]),
            "before": text(hole["last_us"]),
            "missing": "unknown" if hole["missing"] is None else f"{hole['missing']:,}",
        }
        for hole in bars.holes
    ]
    bands: alt.Chart = (
        _chart(values)
        .mark_rect(clip=True, fillOpacity=1, strokeOpacity=0.6, strokeWidth=1)
        .encode(
            x=alt.X("left:T", scale=bars.axis.scale),
            x2="right:T",
            color=alt.datum(_HOLE),
            stroke=alt.value(_PINK),
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("missing", "after", "before")],
        )
    )
    return bands


def _candle_subtitle(bars: Bars) -> list[str]:
    count = sum(row["count"] for row in bars.rows)
    cut = sum(not row["complete"] for row in bars.rows)
    known = [hole["missing"] for hole in bars.holes if hole["missing"] is not None]
    facts = [
        f"{text(bars.axis.first_us)} to {text(bars.axis.last_us)} UTC",
        f"{counted(count, 'trade')} in {counted(len(bars.rows), 'bar')}",
    ]
    if cut:
        facts.append(f"{cut:,} incomplete")
    if known:
        facts.append(f"{counted(len(known), 'hole')}, {counted(sum(known), 'trade')} missing")
    lines = [" · ".join(facts)]
    if bars.finer:
        lines.append(
            f"{bars.timeframe} instead of {bars.finer}, whose bars would be too narrow to see: ask for a shorter range"
        )
    return lines


def names(cells: Iterable[Row]) -> list[str]:
    """Return the pairs, without repeats."""
    return list(dict.fromkeys(cell["pair"] for cell in cells))


def _calendar_axis(cells: Sequence[Row]) -> Axis:
    return Axis(min(cell["left"] for cell in cells) * 1000, max(cell["right"] for cell in cells) * 1000)


def _whole_days(axis: Axis) -> int | alt.TimeIntervalStep:
    """Return the number of ticks, chosen so that they avoid hours where there are few days."""
    few = (axis.last_us - axis.first_us) // 86_400_000_000 <= _TICK_COUNT
    return alt.TimeIntervalStep(interval="day", step=1) if few else _TICK_COUNT


def _fitted(axis: Axis, width: int) -> int:
    """Return the width of a calendar: a few days do not fill the full width."""
    return min(width, max(1, (axis.last_us - axis.first_us) // 86_400_000_000) * DAY_AT_MOST_PX)


def _scale(colours: Mapping[str, str]) -> alt.Scale:
    return alt.Scale(domain=list(colours), range=list(colours.values()))


def _chart(rows: list[Row]) -> alt.Chart:
    """Return a chart that carries its rows, in Vega's own form: no types are inferred."""
    return alt.Chart(alt.InlineData(values=rows))


def _styled(figure: _Chart, title: str, subtitle: list[str]) -> _Chart:
    styled: _Chart = (
        figure.properties(
            title=alt.TitleParams(
                title, subtitle=subtitle, anchor="start", fontSize=16, subtitleColor="#555555", offset=10
            ),
            padding=16,
            background="white",
        )
        .configure_view(stroke="#DDDDDD")
        .configure_axis(
            gridColor="#EEEEEE", labelColor="#444444", titleColor="#444444", labelOverlap=True, labelFlush=False
        )
        .configure_legend(labelLimit=0, labelFontSize=11)
    )
    return styled


def _expression(words: Mapping[str, str]) -> str:
    return json.dumps(words)  # escapes any quotes in a word


def counted(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "gap"), counted(2000, "gap")
    ('1 gap', '2,000 gaps')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def width_us(timeframe: str) -> int:
    """Return the length of a bar in µs."""
    return TIMEFRAMES[timeframe] * 60_000_000


def micros(at: datetime) -> int:
    """Return a time in µs since 1970 UTC."""
    return (at - EPOCH) // _US


def moment(us: int) -> datetime:
    """Return the time ``us`` µs after 1970 UTC."""
    return EPOCH + us * _US


def text(us: int) -> str:
    """Return a time to the minute, or to the second if it is not a whole minute."""
    return f"{moment(us):{'%Y-%m-%d %H:%M' if us % 60_000_000 == 0 else '%Y-%m-%d %H:%M:%S'}}"
