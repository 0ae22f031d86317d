"""SQL for the stored rows of the tables without ids: one form for each kind of source, filled from the registry.

Contains where DuckDB finds the files of a table, and the order of its columns. The SQL of the forms is in
``queries/sources/{plain,snapshot}/stored.sql``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Container, Mapping
from string import Template
from typing import Final

import pyarrow as pa

from recorder.archive.datasets import WITHOUT_IDS, Dataset, Period
from recorder.archive.schema import TIME

_PERIODS: Final[Mapping[Period, str]] = {"year": "BIGINT", "date": "DATE"}
"""The DuckDB type of the names of partition folders."""
_TYPES: Final = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    TIME: "TIMESTAMPTZ",
}
_WIDTH: Final = 116
_INDENT: Final = "\n    "


def filled(form: str, lacking: Container[Dataset] = ()) -> str:
    """Return the SQL of a form for every table without ids but the ``lacking``.

    Raise KeyError for an unknown placeholder.
    """
    there = (dataset for dataset in WITHOUT_IDS if dataset not in lacking)
    return "\n".join(Template(form).substitute(_blanks(dataset)) for dataset in there)


def columns(dataset: Dataset) -> list[str]:
    """Return the columns of the stored rows: those of the table, with its partition columns before the time."""
    names = list(dataset.columns.names)
    if dataset.partition is not None:
        names.insert(names.index(dataset.time), dataset.partition)
    return names


def glob_of(dataset: Dataset) -> str:
    """Return the pattern of a table's files, below the archive's folder.

    >>> glob_of(WITHOUT_IDS[0])
    'ohlc/*/*/*.parquet'
    """
    folders = ["*" for split in (dataset.partition, dataset.period) if split is not None]
    return "/".join([dataset.name, *folders, "*.parquet"])


def _blanks(dataset: Dataset) -> dict[str, str]:
    parts: dict[str, str] = {}
    if dataset.partition is not None:
        parts[dataset.partition] = "VARCHAR"
    if dataset.period is not None:
        parts[dataset.period] = _PERIODS[dataset.period]
    return {
        "table": dataset.name,
        "columns": _INDENT.join(textwrap.wrap(", ".join(f"f.{name}" for name in columns(dataset)), _WIDTH)),
        "glob": glob_of(dataset),
        "hive": _hive(parts) if parts else "",
        "stamp": dataset.stamp or dataset.time,
        "nothing": f",{_INDENT}".join(f"NULL::{_type(dataset, name)} AS {name}" for name in columns(dataset)),
    }


def _type(dataset: Dataset, column: str) -> str:
    """Return the DuckDB type of a column of the stored rows."""
    if column == dataset.partition:
        return "VARCHAR"
    kind = dataset.columns.field(column).type
    return f"DECIMAL({kind.precision}, {kind.scale})" if pa.types.is_decimal(kind) else _TYPES[kind]


def _hive(parts: Mapping[str, str]) -> str:
    types = ", ".join(f"'{name}': {kind}" for name, kind in parts.items())
    options = ("hive_partitioning = true", f"hive_types = {{{types}}}", "hive_types_autocast = false")
    return "".join(f",{_INDENT}{option}" for option in options)
