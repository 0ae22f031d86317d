"""The stored rows of the tables without ids, as SQL: one form for each kind of source, filled from the registry.

Owns: where the files of a table lie for DuckDB, and in which order its columns come. Refuses: the SQL of the forms,
which stands in ``queries/sources/{plain,snapshot}/stored.sql``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from string import Template
from typing import Final

from recorder.archive.datasets import WITHOUT_IDS, Dataset, Period

_PERIODS: Final[Mapping[Period, str]] = {"year": "BIGINT", "date": "DATE"}
"""As what DuckDB reads the names of such folders."""
_WIDTH: Final = 116
_INDENT: Final = "\n    "


def filled(form: str) -> str:
    """Return the SQL of a form for every table without ids. Raises KeyError for a blank that there is not."""
    return "\n".join(Template(form).substitute(_blanks(dataset)) for dataset in WITHOUT_IDS)


def columns(dataset: Dataset) -> list[str]:
    """Return the columns of the stored rows: those of the table, and what parts it before the time, as in the key."""
    names = list(dataset.columns.names)
    if dataset.partition is not None:
        names.insert(names.index(dataset.time), dataset.partition)
    return names


def _blanks(dataset: Dataset) -> dict[str, str]:
    parts: dict[str, str] = {}
    if dataset.partition is not None:
        parts[dataset.partition] = "VARCHAR"
    if dataset.period is not None:
        parts[dataset.period] = _PERIODS[dataset.period]
    return {
        "table": dataset.name,
        "columns": _INDENT.join(textwrap.wrap(", ".join(columns(dataset)), _WIDTH)),
        "glob": "/".join([dataset.name, *("*" for _ in parts), "*.parquet"]),
        "hive": _hive(parts) if parts else "",
        "stamp": str(dataset.stamp),
    }


def _hive(parts: Mapping[str, str]) -> str:
    types = ", ".join(f"'{name}': {kind}" for name, kind in parts.items())
    options = ("hive_partitioning = true", f"hive_types = {{{types}}}", "hive_types_autocast = false")
    return "".join(f",{_INDENT}{option}" for option in options)
