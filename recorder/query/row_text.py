"""Rows as text, for whoever prints or serves them: decimals exact and without an exponent, times ISO 8601 UTC. Pure."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final, TextIO

import pyarrow as pa

from recorder.core.model import plain
from recorder.core.safe_text import printable
from recorder.errors import UsageError

_BATCH: Final = 10_000
"""Rows converted to Python objects at once."""


def objects(table: pa.Table) -> Iterator[str]:
    """Yield each row as an object of JSON, in one line."""
    for row in rows(table):
        content = {name: json_value(value) for name, value in zip(table.column_names, row, strict=True)}
        yield printable(json.dumps(content, ensure_ascii=False))


def write_csv(table: pa.Table, file: TextIO, text: Callable[[str], str] = str) -> None:
    """Write the names of the columns and the rows, each text as ``text`` returns it."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([text(name) for name in table.column_names])
    writer.writerows([text(cell(value)) for value in row] for row in rows(table))


def rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yield each row as Python values. Raise UsageError for a value that Python cannot hold."""
    for batch in table.to_batches(max_chunksize=_BATCH):
        try:
            columns = [column.to_pylist() for column in batch.columns]
        except (OverflowError, ValueError) as error:
            raise UsageError(f"a value cannot be printed ({error}); cast its column to VARCHAR") from error
        yield from zip(*columns, strict=True)


def cell(value: object) -> str:
    """Return a value as the text of a cell; nothing for NULL."""
    if value is None:
        return ""
    ready = json_value(value)
    return ready if isinstance(ready, str) else json.dumps(ready, ensure_ascii=False)


def json_value(value: Any) -> Any:  # noqa: ANN401, PLR0911  # one line for each type SQL can return
    """Return a value as JSON can hold it."""
    match value:
        case Decimal():  # with scale 0 it is a sum of integers, which JSON can represent
            return int(value) if value.as_tuple().exponent == 0 else plain(value)
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
        case datetime() | date() | time():
            return value.isoformat()
        case dict():
            return {str(key): json_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [json_value(inner) for inner in value]
        case float() if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124  # JSON has neither
            return None
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return value.hex()
        case _:
            return str(value)
