"""Arrow tables to what people work with: pandas, polars, or Arrow itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recorder.core.model import TIMEFRAMES
from recorder.errors import UsageError

Frame: TypeAlias = Any
"""A pandas.DataFrame unless ``to`` asks for a pyarrow.Table or a polars.DataFrame."""


METADATA: Final = b"recorder"
"""Where an Arrow table's schema carries ``attrs``, as JSON."""


WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "side": ("buy", "sell"),
    "ord_type": ("limit", "market"),
    "timeframe": tuple(TIMEFRAMES),
    "source": ("ws", "rest", "bulk", "trades"),
}
"""The categories of these columns, in the same order in every frame, whatever rows it has."""


def frame(
    table: pa.Table,
    to: str,
    *,
    categories: Mapping[str, Sequence[str]] | None = None,
    nullable: Sequence[str] = (),
    backend: str | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Frame:
    """Return the rows in the format ``to``, with the columns ``categories`` as such, of these words first.

    In pandas integers are Int64 where one is missing, and the columns ``nullable`` always: an id is never a double.
    Days are the midnights UTC that begin them. The ``backend`` "pyarrow" gives Arrow's types instead, and texts for
    categories. ``attrs`` becomes that of a pandas frame, or metadata of an Arrow table; polars has no place for it.
    pandas and polars are imported only for this.
    """
    for name, words in (categories or {}).items():
        index = table.schema.get_field_index(name)
        column = table[name]
        table = table.set_column(index, name, _texts(column) if backend else encoded(column, words))
    if to == "arrow":
        return table if attrs is None else table.replace_schema_metadata({METADATA: json.dumps(attrs).encode()})
    if to == "polars":
        try:
            import polars as pl  # noqa: PLC0415
        except ImportError as error:
            raise UsageError("polars is not installed: pip install 'kraken-recorder[polars]'") from error
        return pl.from_arrow(table)
    made = _pandas(table, nullable, backend)
    made.attrs.update(attrs or {})
    return made


def _pandas(table: pa.Table, nullable: Sequence[str], backend: str | None) -> Frame:
    import pandas as pd  # noqa: PLC0415

    for index, field in enumerate(table.schema):
        if pa.types.is_date32(field.type):
            midnight = table.column(index).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
            table = table.set_column(index, field.name, midnight)
    if backend == "pyarrow":
        return table.to_pandas(types_mapper=pd.ArrowDtype)
    made = table.to_pandas()
    for index, field in enumerate(table.schema):
        if pa.types.is_signed_integer(field.type) and (table.column(index).null_count or field.name in nullable):
            made.isetitem(index, _whole(table.column(index), pd))
    return made


def _whole(column: pa.ChunkedArray, pd: Any) -> Any:  # noqa: ANN401 -- pandas is imported late
    """Return integers of which some are missing, none by way of a double."""
    missing = column.is_null().to_numpy()
    return pd.arrays.IntegerArray(column.fill_null(0).to_numpy().astype(np.int64), missing)


def encoded(column: pa.ChunkedArray, words: Sequence[str]) -> pa.ChunkedArray:
    """Return texts as categories: these words, in this order, and behind them whatever else there is.

    >>> encoded(pa.chunked_array([["sell", None, "short"]]), ["buy", "sell"]).chunk(0).dictionary.to_pylist()
    ['buy', 'sell', 'short']
    """
    found = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    found = found.unify_dictionaries()
    told = found.chunk(0).dictionary.to_pylist() if found.num_chunks else []
    every = list(dict.fromkeys([*words, *told]))
    dictionary = _strings(every)
    codes = None if every[: len(told)] == told else np.array([every.index(word) for word in told], np.int32)
    parts = [_recoded(chunk.indices, codes) for chunk in found.chunks if len(chunk)]
    # Without rows too there is one part, for it carries the words.
    parts = parts or [pa.Array.from_buffers(pa.int32(), 0, [None, pa.py_buffer(b"")])]
    return pa.chunked_array([pa.DictionaryArray.from_arrays(part, dictionary) for part in parts])


def _recoded(indices: pa.Int32Array, codes: npt.NDArray[np.int32] | None) -> pa.Int32Array:
    """Return the codes in place of the indices, or these where there is no need to."""
    if codes is None:
        return indices
    if indices.null_count:
        missing = indices.is_null().to_numpy(zero_copy_only=False)
        return pa.array(codes[indices.fill_null(0).to_numpy()], pa.int32(), mask=missing)
    # Neither by pa.array nor by to_numpy, which import pandas to look for its types.
    places = np.frombuffer(indices.buffers()[1], np.int32)[indices.offset : indices.offset + len(indices)]
    return pa.Array.from_buffers(pa.int32(), len(indices), [None, pa.py_buffer(codes[places])])


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def labelled(table: pa.Table, **labels: str) -> pa.Table:
    """Return the table with these columns before its own, each of one word throughout; as categories they cost little.

    >>> labelled(pa.table({"n": [1, 2]}), pair="A/B").to_pylist()
    [{'pair': 'A/B', 'n': 1}, {'pair': 'A/B', 'n': 2}]
    """
    rows = table.num_rows
    for position, (name, word) in enumerate(labels.items()):
        codes = pa.Array.from_buffers(pa.int32(), rows, [None, pa.py_buffer(np.zeros(rows, np.int32))])
        column = pa.DictionaryArray.from_arrays(codes, _strings([word]))
        table = table.add_column(position, name, column)
    return table


def _strings(words: Sequence[str]) -> pa.StringArray:
    """Return an array of words, made from their bytes: ``pa.array`` imports pandas to look for its types."""
    texts = [word.encode() for word in words]
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(texts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))])
