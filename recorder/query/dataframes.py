"""Arrow tables to what people work with: pandas, polars, or Arrow itself."""

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
"""A pandas.DataFrame unless ``to`` asks for a pyarrow.Table or a polars.DataFrame."""


_NARROW: Final = 127
"""So many words fit codes of a byte."""
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
    held = [table]
    del table
    made = _pandas(held, nullable, backend)
    made.attrs.update(attrs or {})
    return made


def _pandas(held: list[pa.Table], nullable: Sequence[str], backend: str | None) -> Frame:
    """Return the one table that is held as a frame, and let go of it."""
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
    """Return each column as a frame of its own, and free it before the next is made, unless somebody else holds it.

    First those that shrink most. Not one in a single piece, which would become a view of memory that cannot be written.
    """
    for index in sorted(columns, key=lambda at: not pa.types.is_dictionary(columns[at].type)):
        in_pieces = columns[index].num_chunks > 1
        yield index, pa.table([columns.pop(index)], ["0"]).to_pandas(split_blocks=in_pieces, self_destruct=in_pieces)
        pa.system_memory_pool().release_unused()
        pa.default_memory_pool().release_unused()


def _whole(column: pa.ChunkedArray, pd: Any) -> Any:  # noqa: ANN401 -- pandas is imported late
    """Return integers of which some are missing, none by way of a double."""
    missing = column.is_null().to_numpy()
    return pd.arrays.IntegerArray(column.fill_null(0).to_numpy().astype(np.int64), missing)


def with_words(table: pa.Table, words: Mapping[str, Sequence[str]], *, narrow: bool = False) -> pa.Table:
    """Return the table with its columns of these names as categories, of these words first.

    If ``narrow``, their codes take a byte a row where that is enough, as pandas' do, and four otherwise.
    """
    for index, name in enumerate(table.column_names):
        if name in words and not (narrow and _is_narrow(table.column(index), words[name])):
            column = encoded(table.column(index), words[name])
            table = table.set_column(index, name, _narrowed(column) if narrow else column)
    return table


def _is_narrow(column: pa.ChunkedArray, words: Sequence[str]) -> bool:
    if not pa.types.is_dictionary(column.type) or column.type.index_type != pa.int8():
        return False
    told = {tuple(chunk.dictionary.to_pylist()) for chunk in column.chunks}
    return len(told) == 1 and min(told)[: len(words)] == tuple(words)


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
    """Return the rows of all tables, which are :func:`with_words`: where one has too many to be narrow, none is."""
    if any(table.schema != tables[0].schema for table in tables):
        tables = [with_words(table, words) for table in tables]
    return pa.concat_tables(tables)


def owned(table: pa.Table) -> pa.Table:
    """Return the table with memory of its own: all columns of DuckDB's are freed together, when none is held any more.

    Doubles and categories were made here, and are left as they are.
    """
    for index, column in enumerate(table.columns):
        if not pa.types.is_dictionary(column.type) and not pa.types.is_floating(column.type):
            copies = [pa.concat_arrays([chunk, chunk.slice(0, 0)]) for chunk in column.chunks]
            table = table.set_column(index, table.field(index), pa.chunked_array(copies, column.type))
    return table


def encoded(column: pa.ChunkedArray, words: Sequence[str]) -> pa.ChunkedArray:
    """Return texts as categories: these words, in this order, and behind them whatever else there is.

    >>> encoded(pa.chunked_array([["sell", None, "short"]]), ["buy", "sell"]).chunk(0).dictionary.to_pylist()
    ['buy', 'sell', 'short']
    """
    found = _widened(column) if pa.types.is_dictionary(column.type) else column.dictionary_encode()
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
