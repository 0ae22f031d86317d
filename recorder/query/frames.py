"""Arrow tables to what people work with: pandas, polars, or Arrow itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from recorder.errors import UsageError

Frame: TypeAlias = Any
"""A pandas.DataFrame unless ``to`` asks for a pyarrow.Table or a polars.DataFrame."""


METADATA: Final = b"recorder"
"""Where an Arrow table's schema carries ``attrs``, as JSON."""


def frame(table: pa.Table, to: str, *, categories: Sequence[str] = (), attrs: Mapping[str, Any] | None = None) -> Frame:
    """Return the rows in the format ``to``, with the columns ``categories`` as such.

    ``attrs`` becomes that of a pandas frame, or metadata of an Arrow table; polars has no place for it. pandas and
    polars are imported only for this.
    """
    for name in categories:
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, table[name].dictionary_encode())
    if to == "arrow":
        return table if attrs is None else table.replace_schema_metadata({METADATA: json.dumps(attrs).encode()})
    if to == "polars":
        try:
            import polars as pl  # noqa: PLC0415
        except ImportError as error:
            raise UsageError("polars is not installed: pip install 'kraken-recorder[polars]'") from error
        return pl.from_arrow(table)
    made = table.to_pandas(date_as_object=False)
    made.attrs.update(attrs or {})
    return made


def labelled(table: pa.Table, **labels: str) -> pa.Table:
    """Return the table with these columns before its own, each of one word throughout; as categories they cost little.

    >>> labelled(pa.table({"n": [1, 2]}), pair="A/B").to_pylist()
    [{'pair': 'A/B', 'n': 1}, {'pair': 'A/B', 'n': 2}]
    """
    rows = table.num_rows
    for position, (name, word) in enumerate(labels.items()):
        codes = pa.Array.from_buffers(pa.int32(), rows, [None, pa.py_buffer(np.zeros(rows, np.int32))])
        column = pa.DictionaryArray.from_arrays(codes, _only(word))
        table = table.add_column(position, name, column)
    return table


def _only(word: str) -> pa.StringArray:
    """Return an array of one word, made from its bytes: ``pa.array`` imports pandas to look for its types."""
    text = word.encode()
    ends = np.array([0, len(text)], np.int32)
    return pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(ends), pa.py_buffer(text)])
