"""Parameters of named queries as Python values, and the list of the queries. What is valid is up to the catalogue.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import pyarrow as pa

from recorder.query.catalogue import NamedQuery, Parameter


def written(given: Mapping[str, object]) -> dict[str, object]:
    """Return the values as the catalogue reads them, without those that are None.

    >>> written({"width": timedelta(minutes=7), "filled": True, "start": date(2025, 11, 10), "stop": None})
    {'width': '420000000 microseconds', 'filled': 'true', 'start': '2025-11-10'}
    """
    return {name: _written(value) for name, value in given.items() if value is not None}


def _written(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return f"{value // timedelta(microseconds=1)} microseconds"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value)
    return [str(one) for one in value]


def listed(questions: Sequence[NamedQuery]) -> pa.Table:
    """Return the name of each query, its question, and its parameters, with their defaults."""
    rows = [(one.name, one.asks, ", ".join(map(_parameter, one.parameters))) for one in questions]
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, pa.string()) for column in columns], ["query", "question", "parameters"])


def _parameter(one: Parameter) -> str:
    return one.name if one.default in {None, "NULL"} else f"{one.name} = {one.default}"
