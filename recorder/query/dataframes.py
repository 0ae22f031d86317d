"""Conversion of Arrow tables to pandas or polars frames, or to Arrow tables with their metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recorder.core.model import TIMEFRAMES
from recorder.errors import UsageError

Frame: TypeAlias = Any
"""A pandas.DataFrame unless ``to`` requests a pyarrow.Table or a polars.DataFrame."""


_NARROW: Final = 127
"""The maximum number of categories that fit in one-byte codes."""
METADATA: Final = b"recorder"
"""The key in an Arrow table's schema metadata that holds ``attrs``, as JSON."""


WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "side": ("buy", "sell"),
    "ord_type": ("limit", "market"),
    "timeframe": tuple(TIMEFRAMES),
    "source": ("ws", "rest", "bulk", "trades"),
    "origin": ("trades", "bulk_trades", "bulk_ohlc"),
}
"""The categories of these columns, in the same order in every frame, whatever its rows."""


def frame(
    table: pa.Table,
    to: str,
    *,
    categories: Mapping[str, Sequence[str]] | None = None,
    nullable: Sequence[str] = (),
    backend: str | None = None,
    attrs: Mapping[str, Any] | None = None,
    index: str | None = None,
) -> Frame:
    """Return the rows in the format ``to``, with ``categories`` as categorical columns, these words first.

    In pandas integers are Int64 if one is missing, and always in the columns ``nullable``: an id is never a double.
    Days become the midnights UTC at which they begin. The ``backend`` "pyarrow" gives Arrow's types instead, and texts
    for categories. ``attrs`` becomes that of a pandas frame, or metadata of an Arrow table; polars has no place for it.
    ``index`` is the column that becomes the index of a pandas frame; raise UsageError if there is none of this name.
    pandas and polars are imported only here.
    """
    if backend:
        for name in categories or ():
            table = table.set_column(table.schema.get_field_index(name), name, _texts(table[name]))
    else:
        table = with_words(table, categories or {}, narrow=to == "pandas")
    if to == "arrow":
        return table if attrs is None else table.replace_schema_metadata({METADATA: json.dumps(attrs).encode()})
    if to == "polars":
        try:
            import polars as pl  # noqa: PLC0415
        except ImportError as error:
            raise UsageError("polars is not installed: pip install 'kraken-recorder[polars]'") from error
        return pl.from_arrow(table)
    if index is not None and index not in table.column_names:
        raise UsageError(f"there is no column {index} to be the index, only {', '.join(table.column_names)}")
    held = [table]
    del table
    made = _pandas(held, nullable, backend)
    made = made if index is None else made.set_index(index)
    made.attrs.update(attrs or {})
    return made


def _pandas(held: list[pa.Table], nullable: Sequence[str], backend: str | None) -> Frame:
    """Return the single table in the list as a frame, and release the table."""
    import pandas as pd  # noqa: PLC0415

    table = held.pop()
    for index, field in enumerate(table.schema):
        if pa.types.is_date32(field.type):
            midnight = table.column(index).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
            table = table.set_column(index, field.name, midnight)
    if backend == "pyarrow":
        return table.to_pandas(types_mapper=pd.ArrowDtype)
    large = any(column.num_chunks > 1 for column in table.columns)
    integers = {
        index: table.column(index)
        for index, field in enumerate(table.schema)
        if pa.types.is_signed_integer(field.type) and (table.column(index).null_count or field.name in nullable)
    }
    if large:
        columns = dict(enumerate(table.columns))
        names = table.column_names
        del table
        parts = dict(_one_by_one(columns))
        made = pd.concat([parts[index] for index in range(len(names))], axis=1)
        made.columns = names
    else:
        made = table.to_pandas()
    for index, column in integers.items():
        made.isetitem(index, _whole(column, pd))
    return made


def _one_by_one(columns: dict[int, pa.ChunkedArray]) -> Iterator[tuple[int, Frame]]:
    """Yield each column as a frame of its own, and free it before the next is made, unless it is referenced elsewhere.

    Columns that shrink most come first. A column in a single chunk is copied: otherwise it would become a view of
    read-only memory.
    """
    for index in sorted(columns, key=lambda at: not pa.types.is_dictionary(columns[at].type)):
        in_pieces = columns[index].num_chunks > 1
        yield index, pa.table([columns.pop(index)], ["0"]).to_pandas(split_blocks=in_pieces, self_destruct=in_pieces)
        pa.system_memory_pool().release_unused()
        pa.default_memory_pool().release_unused()


def _whole(column: pa.ChunkedArray, pd: Any) -> Any:  # noqa: ANN401 -- pandas is imported late
    """Return integers, some of which are missing, without a detour through doubles."""
    missing = column.is_null().to_numpy()
    return pd.arrays.IntegerArray(column.fill_null(0).to_numpy().astype(np.int64), missing)


def with_words(table: pa.Table, words: Mapping[str, Sequence[str]], *, narrow: bool = False) -> pa.Table:
    """Return the table with its columns of these names as categories, with these words first.

    If ``narrow``, their codes take one byte per row where that is enough, as in pandas, and four otherwise.
    """
    for index, name in enumerate(table.column_names):
        if name in words and not (narrow and _is_narrow(table.column(index), words[name])):
            column = encoded(table.column(index), words[name])
            table = table.set_column(index, name, _narrowed(column) if narrow else column)
    return table


def _is_narrow(column: pa.ChunkedArray, words: Sequence[str]) -> bool:
    if not pa.types.is_dictionary(column.type) or column.type.index_type != pa.int8():
        return False
    dictionaries = {tuple(chunk.dictionary.to_pylist()) for chunk in column.chunks}
    return len(dictionaries) == 1 and min(dictionaries)[: len(words)] == tuple(words)


def _narrowed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.null_count or max((len(chunk.dictionary) for chunk in column.chunks), default=0) > _NARROW:
        return column
    return _with_codes(column, pa.int8(), np.int8)


def _widened(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return _with_codes(column, pa.int32(), np.int32) if column.type.index_type == pa.int8() else column


def _with_codes(column: pa.ChunkedArray, kind: pa.DataType, width: type[np.signedinteger[Any]]) -> pa.ChunkedArray:
    """Return categories, none of them missing, with codes of another width."""
    given = {8: np.int8, 32: np.int32}[column.type.index_type.bit_width]
    parts = []
    for chunk in column.chunks:
        codes = np.frombuffer(chunk.indices.buffers()[1], given)[chunk.offset : chunk.offset + len(chunk)].astype(width)
        held = pa.Array.from_buffers(kind, len(codes), [None, pa.py_buffer(codes)])
        parts.append(pa.DictionaryArray.from_arrays(held, chunk.dictionary))
    return pa.chunked_array(parts, pa.dictionary(kind, pa.string()))


def together(tables: Sequence[pa.Table], words: Mapping[str, Sequence[str]]) -> pa.Table:
    """Return the rows of all tables made by :func:`with_words`, with narrow codes only if all tables have them."""
    if any(table.schema != tables[0].schema for table in tables):
        tables = [with_words(table, words) for table in tables]
    return pa.concat_tables(tables)


def owned(table: pa.Table) -> pa.Table:
    """Return the table with its own memory: all columns of DuckDB's are freed together, once none is referenced.

    Doubles and categories were made here, and are left unchanged.
    """
    for index, column in enumerate(table.columns):
        if not pa.types.is_dictionary(column.type) and not pa.types.is_floating(column.type):
            copies = [pa.concat_arrays([chunk, chunk.slice(0, 0)]) for chunk in column.chunks]
            table = table.set_column(index, table.field(index), pa.chunked_array(copies, column.type))
    return table


def encoded(column: pa.ChunkedArray, words: Sequence[str]) -> pa.ChunkedArray:
    """Return texts as categories: these words, in this order, followed by any others.

    >>> encoded(pa.chunked_array([["sell", None, "short"]]), ["buy", "sell"]).chunk(0).dictionary.to_pylist()
    ['buy', 'sell', 'short']
    """
    found = _widened(column) if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    found = found.unify_dictionaries()
    stored = found.chunk(0).dictionary.to_pylist() if found.num_chunks else []
    every = list(dict.fromkeys([*words, *stored]))
    dictionary = _strings(every)
    codes = None if every[: len(stored)] == stored else np.array([every.index(word) for word in stored], np.int32)
    parts = [_recoded(chunk.indices, codes) for chunk in found.chunks if len(chunk)]
    # Even without rows there must be one part, because it carries the words.
    parts = parts or [pa.Array.from_buffers(pa.int32(), 0, [None, pa.py_buffer(b"")])]
    return pa.chunked_array([pa.DictionaryArray.from_arrays(part, dictionary) for part in parts])


def _recoded(indices: pa.Int32Array, codes: npt.NDArray[np.int32] | None) -> pa.Int32Array:
    """Return the codes in place of the indices; None leaves the indices unchanged."""
    if codes is None:
        return indices
    if indices.null_count:
        missing = indices.is_null().to_numpy(zero_copy_only=False)
        return pa.array(codes[indices.fill_null(0).to_numpy()], pa.int32(), mask=missing)
    # pa.array and to_numpy would import pandas to recognise its types.
    places = np.frombuffer(indices.buffers()[1], np.int32)[indices.offset : indices.offset + len(indices)]
    return pa.Array.from_buffers(pa.int32(), len(indices), [None, pa.py_buffer(codes[places])])


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def labelled(table: pa.Table, **labels: str) -> pa.Table:
    """Return the table with constant columns prepended; as categories they cost little.

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
    """Return an array of words, made from their bytes: ``pa.array`` imports pandas to recognise its types."""
    texts = [word.encode() for word in words]
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(texts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))])
