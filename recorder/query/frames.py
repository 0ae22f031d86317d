"""Arrow tables to what people work with: pandas, polars, or Arrow itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from recorder.errors import UsageError

Frame: TypeAlias = Any
"""A pandas.DataFrame unless ``to`` asks for a pyarrow.Table or a polars.DataFrame."""


def frame(table: pa.Table, to: str, *, categories: Sequence[str] = ()) -> Frame:
    """Return the rows in the format ``to``, with the columns ``categories`` as such.

    pandas and polars are imported only for this.
    """
    for name in categories:
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, table[name].dictionary_encode())
    if to == "arrow":
        return table
    if to == "polars":
        try:
            import polars as pl  # noqa: PLC0415
        except ImportError as error:
            raise UsageError("polars is not installed: pip install 'kraken-recorder[polars]'") from error
        return pl.from_arrow(table)
    return table.to_pandas(date_as_object=False)
