"""The archive's views in the language of other engines: Spark, ClickHouse and polars.

Contains how their texts under ``queries/engines/`` are completed: with the archive's folder, and with what is known of
ids that have no row, which those engines cannot derive from footers and events. A text is right for whatever is
archived later; :func:`text` says when it must be printed anew.
"""

from __future__ import annotations

import enum
import json
import re
from pathlib import Path
from string import Template
from typing import Any, Final

from recorder.errors import UsageError
from recorder.query import catalogue

_KNOWN: Final = """
SELECT k.pair, k.first_id, k.last_id, epoch_us(k.last_time) AS time_us
FROM known_ids(footer_files()) AS k
WHERE NOT k.is_held
ORDER BY k.pair, k.first_id, k.last_id
"""
_UNUSABLE: Final = re.compile(r"""[*?\[\]{}'"`\\,$\n]""")
"""Characters of a path that one of the engines takes for a pattern or a quote."""


class Engine(enum.StrEnum):
    """An engine for which there are views."""

    SPARK = "spark"
    CLICKHOUSE = "clickhouse"
    POLARS = "polars"


def text(engine: Engine, data: Path) -> str:
    """Return the views over the archive at ``data`` for an engine: SQL, or Python for polars.

    Ids that become void later count as missing until the text is printed anew, which is safe. It must be printed anew
    after ids have been reclaimed, and after a renumbering. Raise UsageError for a folder with a name that engines take
    for a pattern.
    """
    if found := _UNUSABLE.search(str(data)):
        raise UsageError(
            f"{data} has {found[0]!r} in its name, which {engine} takes for a pattern or a quote: use a link to it"
        )
    from recorder.query.connect import connect  # noqa: PLC0415 -- DuckDB, which the default output does without

    with connect(data) as archive:
        rows = archive.sql(_KNOWN, to="arrow").to_pylist()
    # The first row is of no pair: a list without rows is an error in SQL.
    known = [["", 1, 0, None], *(list(row.values()) for row in rows)]
    written = ",\n    ".join(map(json.dumps if engine is Engine.POLARS else _sql_row, known))
    return Template(catalogue.engine_text(engine)).substitute(data=data, known=written)


def _sql_row(row: list[Any]) -> str:
    """Return a row as SQL writes it: the name of a pair has no quotes."""
    return f"({', '.join('NULL' if value is None else repr(value) for value in row)})"
