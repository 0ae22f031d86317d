"""``recorder plot``: pictures of the archive as HTML, PNG or SVG, without a browser or a network."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from recorder.archive.layout import Layout
from recorder.cli import output
from recorder.cli.screen import echo, echo_warnings
from recorder.cli.stored_pairs import stored_pairs
from recorder.cli.times import FromOption, ToOption
from recorder.errors import UsageError
from recorder.query import plots
from recorder.query.connect import connect


class What(enum.StrEnum):
    """The available pictures."""

    CANDLES = "candles"
    COVERAGE = "coverage"
    VOLUME = "volume"


def plot(
    *,
    what: Annotated[What, typer.Argument(help="candles of one pair; coverage or volume by day, of all pairs or some.")],
    pairs: Annotated[list[str] | None, typer.Argument(help="Such as BTC/USD.")] = None,
    timeframe: Annotated[
        str | None,
        typer.Option(help="The finest timeframe of candles, 1m if left out; a long range takes a longer one."),
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
    """Draw candles with vwap, volume and gaps, the calendar of certificates, or volume by day; print the path."""
    paths = out or [Path("-".join([what, *(name.replace("/", "-") for name in pairs or ())]) + ".html")]
    for path in paths:
        plots.check(path)
        output.check_folder(path)
    if what is not What.CANDLES and timeframe is not None:
        raise UsageError(f"--timeframe is for candles; {what} goes by days")
    with echo_warnings(), connect(data, live=live) as archive:
        if not live and not archive.sql("FROM coverage LIMIT 1", to="arrow").num_rows:
            raise UsageError("no trade is archived yet; --live counts in those that are only in the journal")
        if pairs:
            pairs = stored_pairs(pairs, archive.pairs(), Layout(data))
        match what:
            case What.CANDLES:
                figure = plots.candles(archive, _one(pairs), timeframe or "1m", start, stop, width=width)
            case What.COVERAGE:
                figure = plots.coverage(archive, start, stop, pairs=pairs, width=width)
            case What.VOLUME:
                figure = plots.volume(archive, start, stop, pairs=pairs, width=width)
    for path in paths:
        plots.save(figure, path)
        echo(path)


def _one(pairs: list[str] | None) -> str:
    if pairs is None or len(pairs) != 1:
        raise UsageError("candles are of one pair: recorder plot candles BTC/USD")
    return pairs[0]
