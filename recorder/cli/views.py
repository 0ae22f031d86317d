"""``recorder views``: the same views and macros for any DuckDB client, as SQL or as a database file."""

from __future__ import annotations

from pathlib import Path

import typer

from recorder.cli import output
from recorder.cli.place import PlaceOption
from recorder.cli.screen import echo
from recorder.errors import UsageError
from recorder.object_store import connected, is_address
from recorder.query import catalogue, engine_views
from recorder.query.engine_views import Engine
from recorder.query.trade_files import TradeFiles


def views(
    data: PlaceOption = Path("data"),
    database: Path | None = typer.Option(
        None, help="Write the views into this DuckDB database file instead, and replace an older one of ours."
    ),
    engine: Engine | None = typer.Option(
        None,
        help="Print views for this engine instead: trades, unknown ids and exact candles, as docs/engines.md says.",
    ),
) -> None:
    """Print one SQL script that defines the views and macros over this archive in any DuckDB client.

    With --database they are written into a file that tools open, such as DuckDB's own UI. It contains no rows, and the
    archive's absolute path: write it again after moving the archive. For an address the client needs DuckDB's httpfs,
    and credentials of its own.
    """
    folder = connected(data)
    TradeFiles(folder)  # the views of a missing archive could not even be created
    if engine is not None:
        if database is not None:
            raise UsageError("--database is for DuckDB: leave out --engine")
        if is_address(folder):
            raise UsageError("--engine prints views over a folder: each engine names objects in its own way")
        echo(engine_views.text(engine, folder))
        return
    if database is None:
        echo(catalogue.script(folder))
        return
    from recorder.query import views_database  # noqa: PLC0415 -- DuckDB, for this alone

    output.check_folder(database)
    views_database.write(database, folder)
    echo(f"{database}: the views over {folder}")
