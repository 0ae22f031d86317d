"""``recorder plot``: pictures of the archive as HTML, PNG or SVG, without a browser or a network."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from recorder.cli import output
from recorder.cli.screen import echo, echo_warnings
from recorder.cli.times import FromOption, ToOption
from recorder.errors import UsageError
from recorder.query import plots
from recorder.query.connect import connect


class What(enum.StrEnum):
    """The available pictures."""

    CANDLES = "candles"
    COVERAGE = "coverage"
    VOLUME = "volume"
    SPREAD = "spread"


def plot(
    *,
    what: Annotated[
        What, typer.Argument(help="candles or spread of one pair; coverage or volume by day, of all or some.")
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
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", "-o", help="A file that ends in .html, .png or .svg; may be given again."),
    ] = None,
    data: Annotated[Path, typer.Option(help="The archive's folder.")] = Path("data"),
    live: Annotated[bool, typer.Option("--live", help="Count in what is only in the journal yet.")] = False,
    width: Annotated[
        int, typer.Option(min=200, max=10_000, help="Length of the axis of time in pixels.")
    ] = plots.WIDTH,
) -> None:
    """Draw candles, the calendar of certificates, volume by day, or the spread of quotes; print the path."""
    paths = out or [Path("-".join([what, *(name.replace("/", "-") for name in pairs or ())]) + ".html")]
    for path in paths:
        plots.check(path)
        output.check_folder(path)
    if what not in {What.CANDLES, What.SPREAD} and timeframe is not None:
        raise UsageError(f"--timeframe is for candles and spreads; {what} goes by days")
    with echo_warnings(), connect(data, live=live) as archive:
        if what is not What.SPREAD and not live and not archive.sql("FROM coverage LIMIT 1", to="arrow").num_rows:
            raise UsageError("no trade is archived yet; --live counts in those that are only in the journal")
        match what:
            case What.CANDLES:
                figure = plots.candles(archive, _one(what, pairs), timeframe or "1m", start, stop, width=width)
            case What.SPREAD:
                figure = plots.spread(archive, _one(what, pairs), timeframe or "1m", start, stop, width=width)
            case What.COVERAGE:
                figure = plots.coverage(archive, start, stop, pairs=pairs, width=width)
            case What.VOLUME:
                figure = plots.volume(archive, start, stop, pairs=pairs, width=width)
    for path in paths:
        plots.save(figure, path)
        echo(path)


def _one(what: What, pairs: list[str] | None) -> str:
    if pairs is None or len(pairs) != 1:
        raise UsageError(f"{what} takes one pair: recorder plot {what} BTC/USD")
    return pairs[0]
