"""Charts of an archive: candles with their volume, a calendar of coverage, volume by day, spread of quotes, a book.

A chart becomes a page of HTML that responds to the mouse, or a picture as PNG or SVG; :func:`save` writes either, and a
notebook displays a chart by itself. Neither a network nor a browser is needed to make one. Times are UTC.

Pages need nothing else; pictures, which Altair draws, need the extra ``plots``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from recorder.chart import page
from recorder.chart.days import DayChart
from recorder.errors import UsageError
from recorder.query import arguments, candle_plot, day_plots
from recorder.query.arguments import Clock, Instant
from recorder.query.connect import Archive

if TYPE_CHECKING:
    from recorder.query.chart_style import Figure

WIDTH: Final = 1000
"""The length of the time axis of a still picture in pixels."""
SUFFIXES: Final = (".html", ".png", ".svg")
SHARP: Final = 2
"""Pixels of a PNG for each of the chart's."""


class Chart:
    """A chart, as a page of HTML or as a still picture. A notebook displays the page, in a frame of its own."""

    def __init__(self, html: Callable[[], str], figure: Callable[[], Figure], height: int) -> None:
        """Draw with these; called by the functions of this module."""
        self._html, self._figure, self._height = html, figure, height

    def html(self) -> str:
        """Return the page, which carries its script and its data."""
        return self._html()

    def figure(self) -> Figure:
        """Return the still picture as Altair's own object, to be changed or combined with others.

        Needs the extra ``plots``, and of candles the open archive: they are asked for in the timeframe that fits.
        """
        return self._figure()

    def _repr_html_(self) -> str:
        return page.frame(self.html(), self._height)


def candles(
    archive: Archive,
    pair: str,
    timeframe: str = "1m",
    start: Instant = None,
    stop: Instant = None,
    *,
    width: int = WIDTH,
    bulk: bool = False,
) -> Chart:
    """Draw the candles of ``pair`` over the range, in whole bars built from trades, with their volume.

    The page has the bars of ``timeframe`` and makes all longer ones from them. If there would be more than
    ``chart.candles.SLOTS``, it begins with the next longer timeframe that fits, and says so. A still picture has one
    timeframe: the finest, no finer than ``timeframe``, whose bars are at least ``candle_plot.BAR_PX`` wide on a time
    axis of ``width`` pixels; it also shows the vwap. Gaps are shaded; a bar with missing trades looks different, and so
    does one in which the recording begins or ends. With ``bulk``, bars for which trades are not whole come from history
    files, and the time of these is shaded by source. Raise UsageError for a pair or a range without trades.

    >>> candles(archive, "BTC/USD", "1h", "2025-11-10", "2025-11-17")  # doctest: +SKIP
    """
    limits = arguments.time_range(start, stop)
    arguments.timeframe(timeframe)
    pair = archive.resolve(pair)
    source = candle_plot.source(archive, pair, timeframe, limits, bulk=bulk)

    def still() -> Figure:
        from recorder.query import chart_style  # noqa: PLC0415

        return chart_style.candle_chart(pair, source.still(width), width)

    chart = source.chart()
    return Chart(lambda: page.candle_page(chart), still, page.FRAME_PX)


def coverage(
    archive: Archive,
    start: Instant = None,
    stop: Instant = None,
    *,
    pairs: Sequence[str] | None = None,
    width: int = WIDTH,
) -> Chart:
    """Draw a calendar: a row for each pair, a cell for each UTC day, coloured by the status of its certificate.

    If days would be narrower than ``day_plots.DAY_PX``, a cell is a week, or a month, and shows its worst day.
    ``pairs`` None means all; of more than ``day_plots.PAIRS`` those with the most open days are drawn. Raise UsageError
    if there are no days.

    >>> coverage(archive, "2025-01-01")  # doctest: +SKIP
    """
    return _days(day_plots.coverage(archive, start, stop, pairs=pairs, width=width), width)


def volume(
    archive: Archive,
    start: Instant = None,
    stop: Instant = None,
    *,
    pairs: Sequence[str] | None = None,
    width: int = WIDTH,
) -> Chart:
    """Draw the volume of each UTC day in the base currency, a panel for each pair with its own axis.

    Days with missing trades, or not over yet, have a different colour: their bars are lower bounds. If days would be
    narrower than ``day_plots.DAY_PX``, a bar is the sum of a week, or of a month. ``pairs`` None means all; of more
    than ``day_plots.PANELS`` those with the most trades are drawn. Raise UsageError if there are no days.

    >>> volume(archive, "2025-01-01", pairs=["BTC/USD", "ETH/USD"])  # doctest: +SKIP
    """
    return _days(day_plots.volume(archive, start, stop, pairs=pairs, width=width), width)


def spread(
    archive: Archive,
    pair: str,
    timeframe: str = "1m",
    start: Instant = None,
    stop: Instant = None,
    *,
    width: int = WIDTH,
) -> Chart:
    """Draw the spread between the best bid and ask of ``pair``: the mean of each bar, and between what it moved.

    If bars of ``timeframe`` would be narrower than ``spread_plot.BAR_PX``, the next longer one that fits is drawn
    instead. The line is broken where nothing is known; bars in which the spread is known for a part of the time only
    are marked. ``width`` is the length of the time axis in pixels. The page is a still picture, too, and needs the
    extra ``plots``. Raise UsageError for a pair or a range without quotes.

    >>> spread(archive, "BTC/USD", "1m", "2025-11-10", "2025-11-11")  # doctest: +SKIP
    """
    from recorder.query import spread_plot  # noqa: PLC0415

    figure = spread_plot.spread(archive, pair, timeframe, start, stop, width=width)
    return framed(figure, spread_plot.FRAME_PX)


def depth(archive: Archive, pair: str, moment: Instant, *, by: Clock = "received", width: int = WIDTH) -> Chart:
    """Draw the recorded book of ``pair`` at a moment: the sum of quantities from the best price to each other one.

    Levels that are as received, not verified, are triangles. ``by`` says whose clock the moment is of, as in
    ``book_at()``; ``width`` is the length of the axis of prices in pixels. The page is a still picture, too, and needs
    the extra ``plots``. Raise UsageError for a pair without a book, or a moment of which nothing is known.

    >>> depth(archive, "BTC/USD", "2025-11-10T12:00:00Z")  # doctest: +SKIP
    """
    from recorder.query import depth_plot  # noqa: PLC0415

    return framed(depth_plot.depth(archive, pair, moment, by, width=width), depth_plot.FRAME_PX)


def _days(chart: DayChart, width: int) -> Chart:
    def still() -> Figure:
        from recorder.query import chart_style  # noqa: PLC0415

        return chart_style.day_chart(chart, width)

    return Chart(lambda: page.day_page(chart), still, page.day_frame_px(chart))


def framed(figure: Figure, height: int = 300) -> Chart:
    """Return an Altair chart of your own for a notebook: without a network Altair itself displays only the first one.

    ``height`` is that of the frame in pixels, with room for title and axis.

    >>> framed(alt.Chart(frame).mark_line().encode(x="time", y="close"), height=400)  # doctest: +SKIP
    """
    from recorder.query import chart_style  # noqa: PLC0415

    return Chart(lambda: chart_style.page(figure), lambda: figure, height)


def save(chart: Chart, path: Path) -> None:
    """Write the chart to ``path``, in the format of its suffix: one of SUFFIXES. Replace an existing file.

    Raise UsageError for another suffix, or one that needs the extra ``plots`` where it is not installed; OSError if the
    file cannot be written.
    """
    if check(path) == ".html":
        path.write_text(chart.html(), encoding="utf-8")
    else:
        chart.figure().save(str(path), scale_factor=SHARP)


def check(path: Path) -> str:
    """Return the suffix of ``path`` if it is supported. Raise UsageError, before anything is drawn."""
    kind = path.suffix
    if kind not in SUFFIXES:
        raise UsageError(f"a picture ends in one of {', '.join(SUFFIXES)}, and {str(path)!r} does not")
    if kind != ".html":
        from recorder.query import chart_style  # noqa: F401, PLC0415  # says what to install
    return kind
