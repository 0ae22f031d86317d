"""``recorder views``: the SQL that gives any DuckDB client the same views and macros."""

from __future__ import annotations

from pathlib import Path

import typer

from recorder.cli.screen import echo
from recorder.query import catalogue
from recorder.query.trade_files import TradeFiles


def views(data: Path = typer.Option(Path("data"), help="The archive's folder.")) -> None:
    """Print one SQL script that defines the views and macros over this archive in any DuckDB client."""
    folder = data.absolute()
    TradeFiles(folder)  # the views of a missing archive could not even be created
    echo(catalogue.script(folder))
