"""``recorder plot``: charts of the archive as HTML, PNG or SVG, made without a browser or a network."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from recorder.archive.layout import Layout
from recorder.cli import output
from recorder.cli.in_journal import LiveOption
from recorder.cli.interrupts import interruptible
from recorder.cli.late_beginnings import report_late_beginnings
from recorder.cli.place import PlaceOption
from recorder.cli.screen import echo, echo_warnings
from recorder.cli.stored_pairs import stored_pairs
from recorder.cli.times import FORMS, FromOption, ToOption, given
from recorder.errors import UsageError
from recorder.query import arguments, plots
from recorder.query.connect import Archive, connect


class What(enum.StrEnum):
    """The available pictures."""

    CANDLES = "candles"
    COVERAGE = "coverage"
    VOLUME = "volume"
    SPREAD = "spread"
    DEPTH = "depth"


_WITHOUT_TRADES: Final = frozenset({What.SPREAD, What.DEPTH})
"""Pictures of pairs that need no trades."""


def plot(
    *,
    what: Annotated[
        What, typer.Argument(help="candles, spread or depth of one pair; coverage or volume by day, of all or some.")
    ],
    pairs: Annotated[list[str] | None, typer.Argument(help="Such as BTC/USD.")] = None,
    timeframe: Annotated[
        str | None,
        typer.Option(
            help="The finest timeframe of candles or spreads, 1m if left out; a long range takes a longer one."
        ),
    ] = None,
    start: FromOption = None,
    stop: ToOption = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", callback=given, help=f"The moment of depth: {FORMS}.")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", "-o", help="A file that ends in .html, .png or .svg; may be given again."),
    ] = None,
    data: PlaceOption = Path("data"),
    live: LiveOption = False,
    bulk: Annotated[
        bool, typer.Option("--bulk", help="Count in history files where trades are not whole, shaded by source.")
    ] = False,
    width: Annotated[
        int, typer.Option(min=200, max=10_000, help="Length of the axis of time in pixels, of a still picture.")
    ] = plots.WIDTH,
) -> None:
    """Draw candles with volume and gaps, a calendar of certificates, volume by day, the spread, or a book at a moment.

    Prints the path. A file that ends in .html is a page, of candles to zoom and pan in; .png and .svg are still
    pictures.
    """
    paths = out or [Path("-".join([what, *(name.replace("/", "-") for name in pairs or ())]) + ".html")]
    _check(what, timeframe, paths, bulk=bulk)
    _check_moment(what, at, start, stop)
    with echo_warnings(), connect(data, live=live) as archive, interruptible(archive):
        if what not in _WITHOUT_TRADES and not live and not archive.sql("FROM coverage LIMIT 1", to="arrow").num_rows:
            raise UsageError("no trade is archived yet; --live counts in those that are only in the journal")
        if pairs and what not in _WITHOUT_TRADES and not bulk:
            pairs = stored_pairs(pairs, archive.pairs(), Layout(data))
        chart = _drawn(archive, what, pairs, timeframe or "1m", start, stop, at=at, width=width, bulk=bulk)
        if what in {What.CANDLES, What.VOLUME} and not bulk:  # the others show what is not recorded
            report_late_beginnings(archive, pairs or archive.pairs(), arguments.moment("--from", start))
        for path in paths:
            plots.save(chart, path)
    for path in paths:
        echo(path)


def _check(what: What, timeframe: str | None, paths: list[Path], *, bulk: bool) -> None:
    for path in paths:
        plots.check(path)
        output.check_folder(path)
    if what not in {What.CANDLES, What.SPREAD} and timeframe is not None:
        raise UsageError(f"--timeframe is for candles and spreads; {what} goes by days")
    if bulk and what is not What.CANDLES:
        raise UsageError(f"--bulk is for candles, and {what} needs trades with ids")


def _check_moment(what: What, at: str | None, *limits: str | None) -> None:
    if what is What.DEPTH and any(limits):
        raise UsageError("depth is of one moment: give --at, not --from and --to")
    if what is What.DEPTH and at is None:
        raise UsageError("depth is of one moment: recorder plot depth BTC/USD --at 2025-11-10T12:00:00Z")
    if what is not What.DEPTH and at is not None:
        raise UsageError(f"--at is for depth; {what} has --from and --to")


def _drawn(
    archive: Archive,
    what: What,
    pairs: Sequence[str] | None,
    timeframe: str,
    *limits: str | None,
    at: str | None,
    width: int,
    bulk: bool,
) -> plots.Chart:
    """Return the chart of a range, whose ``limits`` are its start and stop, or of the moment ``at``."""
    match what:
        case What.DEPTH:
            return plots.depth(archive, _one(what, pairs), at, width=width)
        case What.CANDLES:
            return plots.candles(archive, _one(what, pairs), timeframe, *limits, width=width, bulk=bulk)
        case What.SPREAD:
            return plots.spread(archive, _one(what, pairs), timeframe, *limits, width=width)
        case What.COVERAGE:
            return plots.coverage(archive, *limits, pairs=pairs, width=width)
        case What.VOLUME:
            return plots.volume(archive, *limits, pairs=pairs, width=width)


def _one(what: What, pairs: Sequence[str] | None) -> str:
    if pairs is None or len(pairs) != 1:
        raise UsageError(f"{what} takes one pair: recorder plot {what} BTC/USD")
    return pairs[0]
