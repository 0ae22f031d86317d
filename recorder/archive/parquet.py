"""Reading and writing Parquet files. No other module of the package opens one.

Every fault of a file is raised as one of a few errors, each with its remedy: UnsoundFile (damaged, or not what its
place in the archive requires), UnreadableFile (the operating system cannot read it), UnknownVersion (written by another
release). FileNotFoundError is passed on: a compaction removed the file. Rows of an older schema version are returned as
rows of the current one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, TypeAlias

import pyarrow as pa

from recorder import object_store
from recorder.archive.datasets import BY_NAME, Dataset, Encoding, entry, remedy
from recorder.archive.footer import Footer
from recorder.archive.layout import digest_in, new_name
from recorder.archive.schema_versions import upgraded
from recorder.disk import Disk, check_link
from recorder.errors import UnknownVersion, UnreadableFile, UnsoundFile
from recorder.lazy_imports import Lazy
from recorder.object_store import ObjectPath, is_address, located

if TYPE_CHECKING:
    import pyarrow.parquet as pq
else:
    pq = Lazy("pyarrow.parquet")
try:  # pyarrow.parquet also imports cloud file systems, which reading a footer does not need
    from pyarrow._parquet import ParquetReader
except ImportError:
    from pyarrow.parquet import ParquetReader

ROW_GROUP: Final = 122_880
"""Rows of a row group. DuckDB scans in groups of this size; full groups run in parallel best (measured, DESIGN 9)."""
FRESH_LEVEL: Final = 1
"""zstd level of appended files: they will be rewritten soon, and the drain should be fast."""
MERGED_LEVEL: Final = 9
"""zstd level of merged files: 5 % smaller on real trades than level 3, and no one waits for a merge."""
FINAL_LEVEL: Final = 3
"""zstd level of large files that will not be merged, and for which a person waits."""
_FOOTER_BYTES: Final = 65_536
"""Bytes read at the end of a file. They hold any footer except one with thousands of runs or hundreds of row groups."""
_UNNAMED: Final = "unnamed"
"""Name of a file until its digest, which is part of its final name, is known."""

SET_APART: Final = (UnsoundFile, UnreadableFile, UnknownVersion)
"""Errors raised when a file cannot be read because of the file itself, the disk, or the release that wrote it. The
content of the file is unknown; other files can still be read."""
_DAMAGE: Final = (pa.ArrowException, OSError, ValueError, KeyError)
"""Errors by which pyarrow reports damage: ValueError for names in a footer that are not text, KeyError for a missing
column."""


Stamp: TypeAlias = tuple[int, int, int]
"""Inode, size in bytes and modification time (ns since 1970) of a file."""


ColumnKind: TypeAlias = tuple[str, str, str, str, int, int, int, int, int]
"""A column as described by a footer: its name, types and levels, and the length and precision of its values."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The content of one file according to its footer."""

    path: Path
    footer: Footer
    rows: int
    size: int

    @property
    def first_id(self) -> int:
        """The lowest id in the file."""
        return self.footer.runs[0].span.first


def stamp(path: str | Path) -> Stamp:
    """Return a stamp that changes when the file is replaced or modified.

    Raises FileNotFoundError, UnreadableFile; UnsoundFile for a dangling link.
    """
    try:
        if is_address(path):
            return object_store.stamp(path)
        found = os.stat(path)  # noqa: PTH116 -- thousands of times
    except FileNotFoundError:
        check_link(path)
        raise
    except OSError as error:
        raise not_opened(located(path), error) from error
    return _stamp(found, path)


def _stamp(found: os.stat_result, path: str | Path) -> Stamp:
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):  # reading a pipe would block forever
        raise UnsoundFile(path, "is no file, but a pipe or a device", remedy(path))
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_facts(path: Path) -> FileFacts:
    """Read the footer of ``path``. Raises UnsoundFile, UnreadableFile, UnknownVersion; FileNotFoundError."""
    try:
        if isinstance(path, ObjectPath):
            metadata, size = _metadata_of_object(path)
            return FileFacts(path, Footer.decode(metadata.metadata, path), metadata.num_rows, size)
        # A descriptor takes half the time of a file object. O_NONBLOCK: opening a pipe does not wait for a writer.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _, size, _ = _stamp(os.fstat(file), path)
            metadata = _metadata(file, size)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        raise not_opened(path, error) from error
    return FileFacts(path, Footer.decode(metadata.metadata, path), metadata.num_rows, size)


def _metadata(file: int, size: int) -> pq.FileMetaData:
    """Read the footer at the end of a file, given by its descriptor.

    One read nearly always contains the footer. Together with not creating a :class:`pq.ParquetFile`, this halves the
    time.
    """
    reader = ParquetReader()
    try:
        reader.open(pa.BufferReader(os.pread(file, _FOOTER_BYTES, max(0, size - _FOOTER_BYTES))))
    except _DAMAGE:
        if size <= _FOOTER_BYTES:
            raise
        with open(file, "rb", buffering=0, closefd=False) as whole:
            return pq.read_metadata(whole)
    return reader.metadata


def _metadata_of_object(path: ObjectPath) -> tuple[pq.FileMetaData, int]:
    """Return the footer and the size of an object: as of a file, one request nearly always contains the footer."""
    size, end = object_store.stamp(path)[1], object_store.end_of(path)
    try:
        return pq.read_metadata(pa.BufferReader(end)), size
    except _DAMAGE:
        if size <= len(end):
            raise
        return pq.read_metadata(object_store.opened(str(path))), size


_FIRST: Final[list[Callable[[Path], None]]] = []
"""Checks that run on a file before this process opens it."""


@contextlib.contextmanager
def looked_at_first(look: Callable[[Path], None]) -> Iterator[None]:
    """Call ``look`` on each file before it is opened for its rows; it raises UnsoundFile to prevent that."""
    _FIRST.append(look)
    try:
        yield
    finally:
        _FIRST.remove(look)


class OpenFile:
    """An open file, readable even if it is renamed or removed. Its footer has been read and is of a known version."""

    __slots__ = ("_parquet", "facts")

    def __init__(self, path: Path, *, words: Sequence[str] = (), buffer_bytes: int = 0) -> None:
        """Open ``path``. Raises as :func:`read_facts` does.

        ``words`` are columns with few distinct values, which are read as dictionaries: that saves a third of the
        reading time. With ``buffer_bytes`` the file is read in pieces of this size instead of a whole row group at a
        time.
        """
        stamp(path)  # raises if it is not a file that can be read
        for look in _FIRST:
            look(path)
        options = {"page_checksum_verification": True, "buffer_size": buffer_bytes}
        try:
            file = object_store.opened(str(path)) if isinstance(path, ObjectPath) else path
            try:
                self._parquet = pq.ParquetFile(file, read_dictionary=list(words), **options)
            except KeyError:  # one of these columns is missing: perhaps this version does not have it yet
                self._parquet = pq.ParquetFile(file, **options)
            size = path.stat().st_size
        except (OSError, ValueError) as error:
            raise not_opened(path, error) from error
        metadata = self._parquet.metadata
        try:
            self.facts = FileFacts(path, Footer.decode(metadata.metadata, path), metadata.num_rows, size)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._parquet.close()

    @property
    def path(self) -> Path:
        """The path at which the file was opened."""
        return self.facts.path

    @property
    def footer(self) -> Footer:
        """The footer of the file."""
        return self.facts.footer

    @property
    def rows(self) -> int:
        """The number of rows according to the Parquet metadata."""
        return self.facts.rows

    @property
    def groups(self) -> Sequence[int]:
        """The numbers of the row groups that have rows according to the Parquet metadata."""
        return [number for number in range(self._parquet.num_row_groups) if self.rows_in(number)]

    def columns(self) -> pa.Schema:
        """Return the columns in the current schema version; an empty schema if they do not even fit an older one."""
        try:
            found = self._upgraded(self._parquet.schema_arrow.empty_table()).schema
        except (KeyError, pa.ArrowException):
            return pa.schema([])
        except (OSError, ValueError) as error:
            raise _not_read(self, error) from error
        return pa.schema(
            field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in found
        )

    def rows_in(self, group: int) -> int:
        """Return the number of rows of a row group according to the Parquet metadata."""
        return int(self._parquet.metadata.row_group(group).num_rows)

    def limits(self, column: str, group: int) -> tuple[Any, Any]:
        """Return the minimum and maximum of a column in a row group according to its statistics.

        Times are in µs since 1970 UTC, texts in UTF-8. Raises UnsoundFile if there are no statistics.
        """
        metadata = self._parquet.metadata
        try:
            found = metadata.row_group(group).column(metadata.schema.names.index(column)).statistics
            if found is not None and found.has_min_max:
                return found.min_raw, found.max_raw
        except ValueError as error:  # raised by list.index() if the column is missing
            raise _not_read(self, KeyError(column)) from error
        raise UnsoundFile(self.path, f"has no statistics of {column}", remedy(self.path))

    def claimed(self, column: str, group: int) -> tuple[Any, Any, int]:
        """Return the minimum, maximum and null count of a column in a row group according to its statistics.

        Values are as in :meth:`limits`, decimals exact; minimum and maximum are None if all values are null. Raises
        UnsoundFile if there are no statistics.
        """
        metadata = self._parquet.metadata
        try:
            found = metadata.row_group(group).column(metadata.schema.names.index(column)).statistics
            if found is not None and found.has_null_count and (found.has_min_max or found.null_count):
                if not found.has_min_max:
                    return None, None, found.null_count
                raw = found.physical_type != "FIXED_LEN_BYTE_ARRAY"
                return (*((found.min_raw, found.max_raw) if raw else (found.min, found.max)), found.null_count)
        except _DAMAGE as error:
            raise _not_read(self, error) from error
        raise UnsoundFile(self.path, f"has no statistics of {column}", remedy(self.path))

    def kinds(self) -> list[ColumnKind]:
        """Return for each column how its bytes are to be read according to the footer."""
        return _kinds(self._parquet.metadata.schema)

    def span(self, column: str) -> tuple[Any, Any]:
        """Return the minimum and maximum of a column over all rows. Raises UnsoundFile.

        There must be at least one row.
        """
        lows, highs = zip(*(self.limits(column, group) for group in self.groups), strict=True)
        return min(lows), max(highs)

    def read(
        self,
        size: int,
        *,
        columns: Sequence[str] | None = None,
        groups: Sequence[int] | None = None,
        use_threads: bool = True,
    ) -> Iterator[pa.Table]:
        """Yield rows, at most ``size`` at a time, of the given columns and row groups or of all.

        Raises UnsoundFile, UnreadableFile.
        """
        # Upgrading rows may need any column.
        stored = None if columns is None or self.footer.is_old else list(columns)
        try:
            batches = self._parquet.iter_batches(
                size, row_groups=self.groups if groups is None else groups, columns=stored, use_threads=use_threads
            )
        except _DAMAGE as error:
            raise _not_read(self, error) from error
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    return
                rows = self._upgraded(pa.Table.from_batches([batch]))
                rows = rows if columns is None else rows.select(columns)
            except _DAMAGE as error:
                raise _not_read(self, error) from error
            yield rows

    def _upgraded(self, rows: pa.Table) -> pa.Table:
        return upgraded(rows, self.footer.table, self.footer.version)

    def table(self, *, columns: Sequence[str], groups: Sequence[int] | None = None) -> pa.Table:
        """Return all rows of the given columns, of the given row groups or of all. Raises as :meth:`read` does."""
        parts = list(self.read(max(1, self.rows), columns=columns, groups=groups))
        return pa.concat_tables(parts) if parts else self.columns().empty_table().select(columns)


def check_digest(path: Path) -> bool:
    """Check the bytes of a file against the SHA-256 in its name; return False if the name has none, as in older files.

    Raises UnsoundFile if they differ: then no part of the file can be trusted or parsed. UnreadableFile;
    FileNotFoundError.
    """
    expected = digest_in(path.name)
    if expected is None:
        return False
    stamp(path)
    try:
        with path.open("rb", buffering=0) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()[: len(expected)]
    except OSError as error:
        raise not_opened(path, error) from error
    if found != expected:
        problem = f"is damaged: the SHA-256 of its bytes begins with {found}, that of its name with {expected}"
        raise UnsoundFile(path, problem, remedy(path))
    return True


def _kinds(schema: pq.ParquetSchema) -> list[ColumnKind]:
    columns = (schema.column(index) for index in range(len(schema.names)))
    return [
        (
            *(column.path, column.physical_type, str(column.logical_type), column.converted_type),
            *(column.max_definition_level, column.max_repetition_level),
            *(column.length, column.precision, column.scale),
        )
        for column in columns
    ]


@cache
def kinds_written(dataset: Dataset) -> list[ColumnKind]:
    """Return what :meth:`OpenFile.kinds` returns for files of a table written by this release."""
    with pq.ParquetFile(pa.BufferReader(_schema_file_bytes(dataset))) as parquet:
        return _kinds(parquet.metadata.schema)


@cache
def _schema_file_bytes(dataset: Dataset) -> bytes:
    return bytes(_encoded(dataset.columns.empty_table(), Footer(dataset.name)).to_pybytes())


def is_schema_file(path: Path) -> bool:
    """Return whether a file is, byte for byte, an empty schema file of a table as this release writes it.

    Raises FileNotFoundError.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return any(content == _schema_file_bytes(dataset) for dataset in BY_NAME.values())


def not_opened(path: Path, error: OSError | ValueError) -> Exception:
    """Return the error that explains why a file cannot be opened; FileNotFoundError as it is."""
    if isinstance(error, FileNotFoundError):
        try:
            check_link(path)
        except UnsoundFile as dangling:
            return dangling
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return UnreadableFile(path, error.strerror or "", remedy(path))
    text = on_one_line(error)
    if isinstance(error, OSError):  # raised by pyarrow for a footer that it cannot parse
        return UnsoundFile(path, f"has a damaged Parquet footer ({text})", remedy(path))
    return UnsoundFile(path, f"is not a complete Parquet file ({text})", remedy(path))


def _not_read(file: OpenFile, error: Exception) -> Exception:
    """Return the error that explains why pages of an open file cannot be read."""
    path = file.path
    if isinstance(error, OSError) and error.errno is not None:
        return UnreadableFile(path, error.strerror or "", remedy(path))
    if isinstance(error, KeyError):
        return UnsoundFile(path, f"has other columns than the table of {file.footer.table}", remedy(path))
    return UnsoundFile(path, f"is damaged: {on_one_line(error)}", remedy(path))


def on_one_line(error: Exception) -> str:
    """Return an error's message on one line; pyarrow's messages may have several."""
    return " ".join(str(error).split()).removesuffix(".")


def write(table: pa.Table, footer: Footer, path: Path, disk: Disk, *, staged_in: Path) -> None:
    """Write ``table`` so that ``path`` is either whole and durable or absent: stage, sync, rename, sync the folder."""
    _put(_encoded(table, footer), path, disk, staged_in)


def write_new(
    table: pa.Table, footer: Footer, folder: Path, disk: Disk, *, named: tuple[int, int], staged_in: Path
) -> FileFacts:
    """Write ``table`` as :func:`write` does, as a new file in ``folder``, and return its facts.

    The file name consists of ``named`` (first and last id, or segment) and the digest.
    """
    content = _encoded(table, footer)
    path = folder / new_name(*named, hashlib.sha256(content).hexdigest())
    _put(content, path, disk, staged_in)
    return FileFacts(path, footer, table.num_rows, content.size)


def _encoded(table: pa.Table, footer: Footer) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with writer(sink, table.schema, footer) as parquet:
        parquet.write_table(table, row_group_size=ROW_GROUP)
    return sink.getvalue()


def _put(content: pa.Buffer, path: Path, disk: Disk, staged_in: Path) -> None:
    staged = staged_in / path.name
    with disk.create(staged) as file:
        disk.write(file, memoryview(content))
        disk.sync(file)
    disk.rename(staged, path)
    disk.sync_dir(path.parent)


def write_stream(
    rows: Iterable[pa.Table],
    columns: pa.Schema,
    footer: Footer,
    folder: Path,
    disk: Disk,
    *,
    named: tuple[int, int],
    level: int = MERGED_LEVEL,
    completed: Callable[[Footer], Footer] = lambda footer: footer,
) -> Path:
    """Write merged rows as one new file, named as by :func:`write_new`; its content is synced, its name is not.

    ``completed`` adds to the footer what is known only once all rows have been taken. Memory use is bounded by a few
    row groups.
    """
    with GrowingFile(folder / _UNNAMED, columns, footer.table, disk, level=level) as file:
        for part in rows:
            file.add(part)
        digest = file.finish(completed(footer))
    path = folder / new_name(*named, digest)
    disk.rename(file.path, path)
    return path


class GrowingFile:
    """A new file of a table that is written as its rows come, and whose footer may be known last.

    Its rows have these ``columns``, and at most a row group of them waits in memory. It is a file of the archive only
    once it is finished and renamed.
    """

    def __init__(self, path: Path, columns: pa.Schema, table: str, disk: Disk, *, level: int) -> None:
        """Create the file at ``path``; ``level`` is that of zstd."""
        self.path = path
        self.rows = 0
        self._disk = disk
        self._waiting: list[pa.RecordBatch] = []
        self._held = 0
        self._file = disk.create(path)
        self._sink = _Sink(disk, self._file)
        try:
            self._parquet = _writer(self._sink, columns, table, level)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, rows: pa.Table) -> None:
        """Add rows, in the order of the table. Raises DiskError."""
        self.rows += rows.num_rows
        self._waiting.extend(rows.to_batches())
        self._held += rows.num_rows
        if self._held >= ROW_GROUP:
            joined = pa.Table.from_batches(self._waiting)
            whole = joined.num_rows - joined.num_rows % ROW_GROUP
            self._parquet.write_table(joined.slice(0, whole), row_group_size=ROW_GROUP)
            self._waiting = joined.slice(whole).to_batches()
            self._held -= whole

    def finish(self, footer: Footer) -> str:
        """Complete the file; its content is synced. Return its SHA-256, in hexadecimal. Raises DiskError."""
        if self._waiting:
            self._parquet.write_table(pa.Table.from_batches(self._waiting), row_group_size=ROW_GROUP)
            self._waiting = []
        self._parquet.add_key_value_metadata(footer.encode())
        self._parquet.close()
        self._disk.sync(self._file)
        return self._sink.sha256.hexdigest()

    def close(self) -> None:
        """Close the file, also one that is not finished."""
        self._waiting = []
        self._sink.abandoned = True  # pyarrow would write a footer now
        try:
            self._parquet.close()
        finally:
            self._file.close()


def writer(sink: object, columns: pa.Schema, footer: Footer, *, level: int = FRESH_LEVEL) -> pq.ParquetWriter:
    """Open a Parquet writer with the encodings of the table (measured on real rows, DESIGN 9)."""
    parquet = _writer(sink, columns, footer.table, level)
    parquet.add_key_value_metadata(footer.encode())
    return parquet


def _writer(sink: object, columns: pa.Schema, table: str, level: int) -> pq.ParquetWriter:
    encodings: Mapping[str, Encoding] = entry(table).encodings
    return pq.ParquetWriter(
        sink,
        columns,
        version="2.6",
        compression="zstd",
        compression_level=level,
        use_dictionary=[name for name in columns.names if encodings.get(name) == "words"],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in columns.names if encodings.get(name) == "delta"},
        store_schema=False,
        write_page_checksum=True,  # so that a merge never copies a flipped bit unnoticed
    )


def exported(sink: object, columns: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet writer for a file that is exported from the archive, readable by any tool."""
    return pq.ParquetWriter(sink, columns, compression="zstd")


class _Sink:
    """The subset of a file object that pyarrow needs for writing; it writes through the disk."""

    def __init__(self, disk: Disk, file: BinaryIO) -> None:
        self._disk = disk
        self._file = file
        self.sha256 = hashlib.sha256()
        self.closed = False
        self.abandoned = False

    def write(self, content: bytes) -> int:
        if self.abandoned:
            return len(content)
        self._disk.write(self._file, content)
        self.sha256.update(content)
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True
