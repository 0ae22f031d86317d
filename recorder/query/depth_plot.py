"""The picture of a book at a moment: how much is offered up to each price, on both sides of the middle.

Contains how levels become steps. Times are UTC. Needs the extra ``plots``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from recorder.errors import UsageError
from recorder.query.arguments import Clock, Instant
from recorder.query.chart_style import Figure, label
from recorder.query.connect import Archive
from recorder.query.recorded_books import DEEPEST, nothing_known

try:
    import altair as alt
except ImportError as missing:  # chart_style has reported it already
    raise UsageError("pictures need Altair: pip install 'kraken-recorder[plots]'") from missing

HEIGHT_PX: Final = 380
FRAME_PX: Final = HEIGHT_PX + 120
"""With title and axis."""
_COLOURS: Final = {"bids": "#0072B2", "asks": "#D55E00"}
_Row = Mapping[str, Any]


def depth(archive: Archive, pair: str, moment: Instant, by: Clock = "received", *, width: int) -> Figure:
    """Return the figure of :func:`recorder.query.plots.depth`."""
    rows = archive.book_at(pair, moment, depth=DEEPEST, by=by, to="arrow").to_pylist()
    if not rows:
        raise nothing_known(pair, moment)
    return _figure(rows[0]["pair"], rows, width)


def steps(rows: Sequence[_Row]) -> list[dict[str, Any]]:
    """Return a point for each level: its price, and the sum of quantities from the best price to it.

    >>> steps([{"side": "bid", "price": 9.0, "qty": 2.0, "level": 1, "verified": True}])
    [{'side': 'bids', 'price': 9.0, 'qty': 2.0, 'sum': 2.0, 'level': 1, 'state': 'verified'}]
    """
    sums = {"bid": 0.0, "ask": 0.0}
    points = []
    for row in rows:
        sums[row["side"]] += row["qty"]
        state = "verified" if row["verified"] else "as received"
        points.append(
            {
                "side": f"{row['side']}s",
                "price": row["price"],
                "qty": row["qty"],
                "sum": sums[row["side"]],
                "level": row["level"],
                "state": state,
            }
        )
    return points


def _figure(pair: str, rows: Sequence[_Row], width: int) -> alt.Chart:
    points = steps(rows)
    data = alt.Chart(alt.InlineData(values=points))
    x = alt.X("price:Q", title="price", scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(labelOverlap=True))
    y = alt.Y("sum:Q", title="cumulated quantity", scale=alt.Scale(zero=True))
    color = alt.Color(
        "side:N",
        title=None,
        scale=alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values())),
        legend=alt.Legend(orient="top"),
    )
    # The quantity of a level is offered from its price on outwards, which is to the left for bids.
    bids = data.transform_filter("datum.side == 'bids'").mark_area(interpolate="step-before", opacity=0.25, line=True)
    asks = data.transform_filter("datum.side == 'asks'").mark_area(interpolate="step-after", opacity=0.25, line=True)
    sides = [side.encode(x=x, y=y, color=color) for side in (bids, asks)]
    tooltip = [
        *(alt.Tooltip(f"{name}:Q", format=",.8~f") for name in ("price", "qty", "sum")),
        alt.Tooltip("level:Q"),
        alt.Tooltip("state:N"),
    ]
    marks = data.mark_point(filled=True, size=30, opacity=1).encode(
        x=x,
        y=y,
        color=color,
        shape=alt.Shape(
            "state:N",
            title=None,
            scale=alt.Scale(domain=["verified", "as received"], range=["circle", "triangle-up"]),
            legend=alt.Legend(orient="top"),
        ),
        tooltip=tooltip,
    )
    first = rows[0]
    age_s = (first["moment"] - first["received"]).total_seconds()
    proven = sum(row["verified"] for row in rows)
    figure: alt.Chart = (
        alt.layer(*sides, marks)
        .properties(
            width=width,
            height=HEIGHT_PX,
            title=alt.TitleParams(
                f"Order book of {label(pair)} at {first['moment']:%Y-%m-%d %H:%M:%S.%f} UTC",
                subtitle=[
                    f"{proven} of {len(points)} levels verified, others as received · last message {age_s:.3f} s before"
                ],
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
