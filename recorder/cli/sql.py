"""``recorder sql``: one statement over the archive, in any format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recorder.cli import output
from recorder.cli.in_journal import LiveOption, reporting_waiting_trades
from recorder.cli.interrupts import interruptible
from recorder.cli.output import FormatOption, JsonOption, OutputOption
from recorder.cli.place import PlaceOption
from recorder.cli.screen import echo_warnings
from recorder.errors import UsageError
from recorder.query.connect import connect


def sql(
    text: Annotated[str | None, typer.Argument(help="One SQL statement, such as: SELECT * FROM coverage")] = None,
    *,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="Read it from a file; - is standard input.")] = None,
    data: PlaceOption = Path("data"),
    live: LiveOption = False,
    threads: Annotated[int | None, typer.Option(min=1, help="So many threads at most; left out, every core.")] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="So much memory at most, such as 4GB.")] = None,
    format_: FormatOption = None,
    to: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Query the archive in SQL: trades, ohlc, gaps, events, instruments, candles('BTC/USD', '1m') and more.

    It only reads; -o FILE writes the rows. Decimals are exact, times UTC. A table has 200 rows at most, every other
    format has them all.
    """
    if (text is None) == (file is None):
        raise UsageError('give one SQL statement, such as recorder sql "SELECT * FROM coverage", or -f FILE')
    chosen = output.chosen(format_, to, as_json=as_json)
    statement = _read(file) if file else text or ""
    with (
        reporting_waiting_trades(data, live=live),
        echo_warnings(),
        connect(data, live=live, threads=threads, memory=memory) as archive,
        interruptible(archive),
    ):
        output.write(archive.sql(statement, to="arrow", decimals=True), chosen)


def _read(file: Path) -> str:
    if file == Path("-"):
        return sys.stdin.read()
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"there is no file {file}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text in UTF-8: {error}") from None
