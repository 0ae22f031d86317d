"""``recorder sql``: one statement over the archive, as a table for people or as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recorder.core.model import plain
from recorder.errors import UsageError
from recorder.query.connect import connect

_SHOWN: Final = 200
"""Rows that a terminal shows; more than that nobody reads, and ``--json`` prints them all."""
_WIDE: Final = 1_000
"""Columns of text where there is no terminal to ask: nothing is folded in a pipe."""


def sql(
    text: str = typer.Argument(help="One SQL statement, such as: SELECT * FROM coverage"),
    data: Path = typer.Option(Path("data"), help="The archive's folder."),
    live: bool = typer.Option(False, "--live", help="Count in what is only in the journal yet."),
    as_json: bool = typer.Option(
        False, "--json", help="One JSON array of objects; decimals as exact text, times in ISO 8601 UTC."
    ),
) -> None:
    """Ask the archive in SQL: trades, ohlc, gaps, events, instruments, candles('BTC/USD', '1m') and more."""
    with connect(data, live=live) as archive:
        table = archive.sql(text, to="arrow", decimals=True)
    if as_json:
        _print_json(table)
    else:
        _print_table(table)


def _print_json(table: pa.Table) -> None:
    typer.echo("[", nl=False)
    for index, row in enumerate(_rows(table)):
        content = {name: _json_value(value) for name, value in zip(table.column_names, row, strict=True)}
        typer.echo(("," if index else "") + "\n" + json.dumps(content, ensure_ascii=False), nl=False)
    typer.echo("\n]")


def _print_table(table: pa.Table) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    shown = Table()
    for field in table.schema:
        shown.add_column(Text(field.name), justify="right" if _is_number(field.type) else "left")
    for row in islice(_rows(table), _SHOWN):
        shown.add_row(*(Text(_text(value)) for value in row))
    console.print(shown)
    if table.num_rows > _SHOWN:
        console.print(f"{_SHOWN} of {table.num_rows} rows; --json prints all")


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    for batch in table.to_batches(max_chunksize=10_000):
        try:
            columns = [column.to_pylist() for column in batch.columns]
        except (OverflowError, ValueError) as error:
            raise UsageError(f"a value cannot be printed ({error}); cast its column to VARCHAR") from error
        yield from zip(*columns, strict=True)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _text(value: object) -> str:
    if value is None:
        return ""
    ready = _json_value(value)
    return ready if isinstance(ready, str) else json.dumps(ready, ensure_ascii=False)


def _json_value(value: Any) -> Any:  # noqa: ANN401, PLR0911  # one line for each thing SQL can return
    match value:
        case Decimal():  # of scale 0 it is a sum of integers, which JSON can hold
            return int(value) if value.as_tuple().exponent == 0 else plain(value)
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
        case datetime() | date() | time():
            return value.isoformat()
        case dict():
            return {str(key): _json_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_json_value(inner) for inner in value]
        case float() if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124  # JSON has neither
            return None
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return value.hex()
        case _:
            return str(value)
