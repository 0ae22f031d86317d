"""The style of charts: rows of an archive in, Altair charts out. Pure.

A chart carries its rows in Vega's own form, times in ms since 1970 UTC, so it needs neither the archive nor pandas.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeAlias, TypeVar

from recorder.chart.candles import Band
from recorder.chart.days import STATUSES, SURE, DayChart
from recorder.core.safe_text import json_for_script, printable
from recorder.errors import UsageError
from recorder.query.chart_rows import EPOCH, Axis, Bars, Row, counted, micros, text, width_us

try:
    import altair as alt
    import vl_convert  # noqa: F401  # Altair needs it to save, and would fail only then
except ImportError as missing:
    raise UsageError("pictures need Altair: pip install 'kraken-recorder[plots]'") from missing

Figure: TypeAlias = alt.VConcatChart | alt.Chart
"""A chart as Altair's own object, to be changed or combined with others as Altair's documentation describes."""
_Chart = TypeVar("_Chart", alt.VConcatChart, alt.Chart)

BODY_PX: Final = 20
"""The maximum width of a candle; a wider one looks like a block."""
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
_PALE_GREEN: Final = "#CBEADF"
_PALE_SKY: Final = "#DDEEF9"
_PALE_YELLOW: Final = "#FAF5CC"
_GREY: Final = "#C4C4C4"
_PALE_GREY: Final = "#EEEFF1"
_INK: Final = "#222222"

_RISING: Final = "rising"
_FALLING: Final = "falling"
_VWAP: Final = "vwap"
_CUT: Final = "incomplete bar"
_COMPLETE: Final = "complete"
_INCOMPLETE: Final = "incomplete"
_AT_END: Final = "at an end of the recording"
"""The states of a bar."""
_BANDS: Final = {
    "missing": "gap: trades missing",
    "repaired": "gap that was filled",
    "imported": "built from trades of history files",
    "published": "candles of history files",
    "before": "before the recording",
}
"""What is drawn of the time, and the words of the legend."""
_BAND_EDGES: Final = {
    "missing": _PINK,
    "repaired": _GREEN,
    "imported": _SKY,
    "published": _YELLOW,
    "before": _PALE_GREY,
}
_CANDLE_COLOURS: Final = {
    _RISING: _BLUE,
    _FALLING: _ORANGE,
    _VWAP: _INK,
    _CUT: _PINK,
    _BANDS["missing"]: _PALE_PINK,
    _BANDS["repaired"]: _PALE_GREEN,
    _BANDS["imported"]: _PALE_SKY,
    _BANDS["published"]: _PALE_YELLOW,
    _BANDS["before"]: _PALE_GREY,
}
STATUS_COLOURS: Final = {
    "complete": _GREEN,
    "partial": _YELLOW,
    "open": _ORANGE,
    "pending": _SKY,
    "empty": _GREY,
    "unknown": _PINK,
}
SURE_VOLUME: Final = "every trade is stored"
AT_LEAST: Final = "at least: trades are missing, or the day is not over"
_VOLUME_COLOURS: Final = {SURE_VOLUME: _BLUE, AT_LEAST: _PINK}

_PAGE_STYLE: Final = "svg.marks{height:auto;max-width:100%} .vega-embed{width:100%}"
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


def page(figure: Figure) -> str:
    """Return the chart as a page of HTML that carries its script and needs no network, no wider than its window."""
    # Without the link to Vega's online editor, which would send the data there.
    menu = {"actions": {"export": True, "source": False, "compiled": False, "editor": False}, "renderer": "svg"}
    made: str = figure.to_html(inline=True, embed_options=menu, json_kwds={"cls": _InScript})
    return made.replace("</head>", f"<style>{_PAGE_STYLE}</style></head>", 1)


class _InScript(json.JSONEncoder):
    """JSON for a page, which has the chart within <script>."""

    def encode(self, o: Any) -> str:  # noqa: ANN401 -- the library's signature
        return json_for_script(super().encode(o))


def label(pair: str) -> str:
    r"""Return a pair's name as used in a chart: a notebook puts the chart into a script of its page unchanged.

    >>> label("</script>/USD") == "\u2039/script>/USD"
    True
    """
    return printable(pair).replace("<", "\u2039")


def candle_chart(pair: str, bars: Bars, width: int) -> alt.VConcatChart:
    """Draw candles with vwap above their volume.

    A bar with missing trades is pale and marked by a triangle; one in which the recording begins or ends is hollow.
    """
    pair = label(pair)
    base, _, quote = pair.partition("/")
    rows = _drawn_bars(bars, width)
    cut = [row for row in rows if row["state"] == _INCOMPLETE]
    needed = {_RISING, _FALLING, _VWAP, *([_CUT] if cut else []), *(_BANDS.get(band.kind) for band in bars.bands)}
    shown = [name for name in _CANDLE_COLOURS if name in needed]
    by_kind = _by_kind("kind", shown)
    outline = alt.Stroke("kind:N", scale=_some_colours(shown), legend=None)
    axis = _utc(bars.axis)
    time = alt.X("time:T", scale=axis, axis=alt.Axis(labels=False, ticks=False, title=None, tickCount=_TICK_COUNT))
    body = {"x": alt.X("left:T", scale=axis), "x2": "right:T"}
    whole, lacking = f"datum.state == '{_COMPLETE}'", f"datum.state == '{_INCOMPLETE}'"
    filled = alt.when(whole).then(alt.value(1.0)).when(lacking).then(alt.value(0.4)).otherwise(alt.value(0.0))
    pale = alt.when(whole).then(alt.value(1.0)).otherwise(alt.value(0.4))
    price = alt.Scale(zero=False, nice=True)
    chart = _chart(rows)
    layers = [
        _shaded(bars, shown),
        chart.mark_rule(clip=True).encode(
            x=time,
            y=alt.Y("low:Q", scale=price, title=f"Price ({quote})"),
            y2="high:Q",
            color=by_kind,
        ),
        # A stroke, so that a bar that closes where it opened is still visible.
        chart.mark_bar(clip=True, strokeWidth=1).encode(
            **body, y="open:Q", y2="close:Q", color=by_kind, stroke=outline, fillOpacity=filled
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
            .encode(x=time, y=alt.value(PRICE_PX - 6), color=alt.datum(_CUT))
        )
    traded = chart.mark_bar(clip=True).encode(
        x=alt.X("left:T", scale=axis, axis=alt.Axis(format=_TICKS, title="Time (UTC)", tickCount=_TICK_COUNT)),
        x2="right:T",
        y=alt.Y("volume:Q", title=f"Volume ({base})", axis=alt.Axis(tickCount=4)),
        y2=alt.datum(0),
        color=by_kind,
        opacity=pale,
    )
    both = (
        alt.layer(*layers).properties(width=width, height=PRICE_PX),
        alt.layer(_shaded(bars, shown), traded).properties(width=width, height=VOLUME_PX),
    )
    figure: alt.VConcatChart = alt.vconcat(*both, spacing=8).resolve_scale(x="shared")
    return _styled(figure, f"{pair} in {bars.timeframe} candles", _candle_subtitle(bars, rows))


def day_chart(chart: DayChart, width: int) -> Figure:
    """Draw days: a row of cells for each pair, or a panel with its volumes on a scale of their own."""
    return _panels(chart, width) if chart.has_volume else _calendar(chart, width)


def _calendar(chart: DayChart, width: int) -> alt.Chart:
    axis = _day_axis(chart)
    cells = [row for pair in chart.cells for row in _day_rows(chart, pair)]
    words = {status: f"{status}: {meaning}" for status, meaning in STATUSES.items()}
    legend = alt.Legend(
        orient="top", title=None, symbolType="square", columns=3, labelExpr=f"({_expression(words)})[datum.label]"
    )
    drawn: alt.Chart = (
        _chart(cells)
        .mark_rect(clip=True, stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X(
                "left:T",
                scale=_utc(axis),
                axis=alt.Axis(format=_TICKS, title="Day (UTC)", grid=False, tickCount=_whole_days(axis)),
            ),
            x2="right:T",
            y=alt.Y(
                "pair:N", sort=[label(pair) for pair in chart.cells], title=None, scale=alt.Scale(paddingInner=0.15)
            ),
            color=alt.Color("status:N", scale=_scale(STATUS_COLOURS), legend=legend),
        )
        .properties(width=width, height=alt.Step(20))
    )
    return _styled(drawn, chart.title, list(chart.notes))


def _panels(chart: DayChart, width: int) -> alt.VConcatChart:
    axis = _day_axis(chart)
    drawn = []
    for place, pair in enumerate(chart.cells, 1):
        lowest = place == len(chart.cells)
        days = alt.Axis(
            format=_TICKS,
            title="Day (UTC)" if lowest else None,
            labels=lowest,
            ticks=lowest,
            tickCount=_whole_days(axis),
        )
        held = alt.Legend(orient="top", title=None, labelLimit=0)
        panel = (
            _chart(_day_rows(chart, pair))
            .mark_bar(clip=True, stroke="white", strokeWidth=0.5)
            .encode(
                x=alt.X("left:T", scale=_utc(axis), axis=days),
                x2="right:T",
                y=alt.Y(
                    "volume:Q",
                    title=label(pair).partition("/")[0],
                    axis=alt.Axis(tickCount=3, labelExpr="format(datum.value, '~s')"),
                ),
                y2=alt.datum(0),
                color=alt.Color("held:N", scale=_scale(_VOLUME_COLOURS), legend=held),
            )
            .properties(
                width=width,
                height=PANEL_PX,
                title=alt.TitleParams(label(pair), fontSize=11, anchor="start", frame="group", offset=4),
            )
        )
        drawn.append(panel)
    figure: alt.VConcatChart = alt.vconcat(*drawn, spacing=6).resolve_scale(x="shared")
    return _styled(figure, chart.title, list(chart.notes))


def _day_rows(chart: DayChart, pair: str) -> list[Row]:
    """Return the drawing of a pair's cells, times in ms."""
    return [
        {
            "pair": label(pair),
            "left": _day_us(cell.first) // 1000,
            "right": _day_us(cell.after) // 1000,
            "status": cell.status,
            "volume": None if cell.volume is None else float(cell.volume),
            "held": SURE_VOLUME if cell.status in SURE else AT_LEAST,
        }
        for cell in chart.cells[pair]
    ]


def _day_axis(chart: DayChart) -> Axis:
    first, after = chart.ends
    return Axis(_day_us(first), _day_us(after))


def _day_us(day: date) -> int:
    return (day - EPOCH.date()).days * 86_400_000_000


def _drawn_bars(bars: Bars, width: int) -> list[Row]:
    """Return the drawing of each candle: times in ms, and the stretch of the vwap line that it belongs to."""
    bar_us = width_us(bars.timeframe)
    half_us = min(bar_us * 7 // 20, (bars.axis.last_us - bars.axis.first_us) * BODY_PX // (2 * width))
    gaps = [band for band in bars.bands if band.kind == "missing"]
    gap_ends = sorted(band.until_us for band in gaps if band.until_us is not None)
    drawn = []
    for row in bars.rows:
        begin_us = micros(row["time"])
        middle_us = begin_us + bar_us // 2
        drawn.append(
            {
                "time": middle_us // 1000,
                "left": (middle_us - half_us) // 1000,
                "right": (middle_us + half_us) // 1000,
                "kind": _RISING if row["close"] >= row["open"] else _FALLING,
                "stretch": bisect(gap_ends, begin_us + bar_us - 1),
                "state": _COMPLETE if row["complete"] else _INCOMPLETE if _touched(begin_us, bar_us, gaps) else _AT_END,
                **{name: row[name] for name in ("open", "high", "low", "close", "vwap", "volume", "count")},
            }
        )
    return drawn


def _touched(begin_us: int, bar_us: int, gaps: Sequence[Band]) -> bool:
    """Return whether trades of the bar may be among those missing: a gap ends at the trades next to it."""
    return any(
        (gap.from_us is None or gap.from_us < begin_us + bar_us) and (gap.until_us is None or gap.until_us >= begin_us)
        for gap in gaps
    )


def _by_kind(column: str, shown: Sequence[str]) -> alt.Color:
    """Return the colours of all that is drawn, which share one legend."""
    legend = alt.Legend(orient="top", title=None, symbolType="square", symbolOpacity=1)
    return alt.Color(f"{column}:N", scale=_some_colours(shown), legend=legend)


def _some_colours(shown: Sequence[str]) -> alt.Scale:
    return _scale({name: _CANDLE_COLOURS[name] for name in shown})


def _shaded(bars: Bars, shown: Sequence[str]) -> alt.Chart:
    """Draw gaps, and what was before the recording, as bands; the stroke shows those shorter than a pixel."""
    axis = bars.axis
    values = [
        {
            "left": max(axis.first_us if band.from_us is None else band.from_us, axis.first_us) // 1000,
            "right": min(axis.last_us if band.until_us is None else band.until_us, axis.last_us) // 1000,
            "band": _BANDS[band.kind],
            "edge": _BAND_EDGES[band.kind],
        }
        for band in bars.bands
        if band.kind in _BANDS
    ]
    bands: alt.Chart = (
        _chart(values)
        .mark_rect(clip=True, fillOpacity=1, strokeOpacity=0.6, strokeWidth=1)
        .encode(
            x=alt.X("left:T", scale=_utc(axis)),
            x2="right:T",
            color=_by_kind("band", shown),
            stroke=alt.Stroke("edge:N", scale=None, legend=None),
        )
    )
    return bands


def _candle_subtitle(bars: Bars, drawn: Sequence[Row]) -> list[str]:
    count = sum(row["count"] for row in bars.rows)
    cut, ends = (sum(row["state"] == state for row in drawn) for state in (_INCOMPLETE, _AT_END))
    known = [band.missing for band in bars.bands if band.kind == "missing" and band.missing is not None]
    facts = [
        f"{text(bars.axis.first_us)} to {text(bars.axis.last_us)} UTC",
        f"{counted(count, 'trade')} in {counted(len(bars.rows), 'bar')}",
    ]
    if cut:
        facts.append(f"{cut:,} incomplete")
    if ends:
        facts.append(f"{ends} at an end of the recording")
    if known:
        facts.append(f"{counted(len(known), 'gap')}, {counted(sum(known), 'trade')} missing")
    lines = [" · ".join(facts)]
    if bars.finer:
        lines.append(
            f"{bars.timeframe} instead of {bars.finer}, whose bars would be too narrow to see: ask for a shorter range"
        )
    return lines


def _whole_days(axis: Axis) -> int | alt.TimeIntervalStep:
    """Return the number of ticks, chosen so that they avoid hours where there are few days."""
    few = (axis.last_us - axis.first_us) // 86_400_000_000 <= _TICK_COUNT
    return alt.TimeIntervalStep(interval="day", step=1) if few else _TICK_COUNT


def _utc(axis: Axis) -> alt.Scale:
    # Not as `domain`: Vega-Lite takes the one of x2 for another, and warns.
    return alt.Scale(type="utc", domainMin=axis.first_us // 1000, domainMax=axis.last_us // 1000, nice=False)


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
