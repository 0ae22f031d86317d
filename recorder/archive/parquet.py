"""The one door to Parquet: files are opened, read and written here, and nowhere else in the package.

Whatever can be wrong with a file comes out as one of a few errors, each with what to do about it: UnsoundFile (damaged,
or not what its place says), UnreadableFile (the operating system does not read it), UnknownVersion (of another
release). FileNotFoundError passes: a compaction took the file away. Rows of an older version come out as today's.
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

from recorder.archive.datasets import BY_NAME, Dataset, Encoding, remedy
from recorder.archive.footer import Footer
from recorder.archive.layout import digest_in, new_name
from recorder.archive.schema_versions import upgraded
from recorder.disk import Disk, check_link
from recorder.errors import UnknownVersion, UnreadableFile, UnsoundFile
from recorder.lazy_imports import Lazy

if TYPE_CHECKING:
    import pyarrow.parquet as pq
else:
    pq = Lazy("pyarrow.parquet")
try:  # it also imports file systems of clouds, and to read a footer takes none
    from pyarrow._parquet import ParquetReader
except ImportError:
    from pyarrow.parquet import ParquetReader

ROW_GROUP: Final = 122_880
"""DuckDB scans in groups of this many rows; whole groups parallelise best (measured, DESIGN 9)."""
FRESH_LEVEL: Final = 1
"""zstd level of what is appended: it will be rewritten soon, and the drain should be fast."""
MERGED_LEVEL: Final = 9
"""zstd level of what is merged: 5 % smaller on real trades than level 3, and nobody waits for it."""
_FOOTER_BYTES: Final = 65_536
"""At the end of a file these hold any footer but one of thousands of runs, or of hundreds of row groups."""
_UNNAMED: Final = "unnamed"
"""What a file is called until its digest, and so its name, is known."""

SET_APART: Final = (UnsoundFile, UnreadableFile, UnknownVersion)
"""What reading a file raises where that file is at fault, the disk under it, or another release, which wrote it: what
it holds is not known, and others can be read all the same."""
_DAMAGE: Final = (pa.ArrowException, OSError, ValueError, KeyError)
"""pyarrow's words for damage: ValueError for names in a footer that are no text, KeyError for a missing column."""


Stamp: TypeAlias = tuple[int, int, int]
"""Inode, bytes and time of change (ns since 1970) of a file."""


ColumnKind: TypeAlias = tuple[str, str, str, str, int, int, int, int, int]
"""What a footer says of a column: its name, its types, its levels, and how long and how precise its values are."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What one file holds, by its footer."""

    path: Path
    footer: Footer
    rows: int
    size: int

    @property
    def first_id(self) -> int:
        """The lowest id in the file."""
        return self.footer.runs[0].span.first


def stamp(path: str | Path) -> Stamp:
    """Return what tells whether a file is still the one that was read.

    Raises FileNotFoundError, UnreadableFile; UnsoundFile for a link that leads nowhere.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 -- thousands of times
    except FileNotFoundError:
        check_link(path)
        raise
    except OSError as error:
        raise _not_opened(Path(path), error) from error
    return _stamp(found, path)


def _stamp(found: os.stat_result, path: str | Path) -> Stamp:
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):  # to read a pipe would wait for ever
        raise UnsoundFile(path, "is no file, but a pipe or a device", remedy(path))
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_facts(path: Path) -> FileFacts:
    """Read the footer of ``path``. Raises UnsoundFile, UnreadableFile, UnknownVersion; FileNotFoundError."""
    try:
        # It takes half the time of a file object; nor does it wait for who may write to a pipe.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _, size, _ = _stamp(os.fstat(file), path)
            metadata = _metadata(file, size)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        raise _not_opened(path, error) from error
    return FileFacts(path, Footer.decode(metadata.metadata, path), metadata.num_rows, size)


def _metadata(file: int, size: int) -> pq.FileMetaData:
    """Read the footer at the end of a file, given by its descriptor.

    One look nearly always holds it. That, and to make no :class:`pq.ParquetFile` of it, takes half the time.
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


_FIRST: Final[list[Callable[[Path], None]]] = []
"""What looks at a file before this process opens it."""


@contextlib.contextmanager
def looked_at_first(look: Callable[[Path], None]) -> Iterator[None]:
    """Let ``look`` see each file before it is opened for its rows; it raises UnsoundFile where none may open it."""
    _FIRST.append(look)
    try:
        yield
    finally:
        _FIRST.remove(look)


class OpenFile:
    """A file that is open, whatever becomes of its name: its footer was read, and fits this release."""

    __slots__ = ("_parquet", "facts")

    def __init__(self, path: Path, *, words: Sequence[str] = (), buffer_bytes: int = 0) -> None:
        """Open ``path``. Raises as :func:`read_facts` does.

        ``words`` are columns of few words, which come as dictionaries: that saves a third of all reading. With
        ``buffer_bytes`` it is read in such pieces instead of a row group at once.
        """
        stamp(path)  # raises where it is none that can be read
        for look in _FIRST:
            look(path)
        options = {"page_checksum_verification": True, "buffer_size": buffer_bytes}
        try:
            try:
                self._parquet = pq.ParquetFile(path, read_dictionary=list(words), **options)
            except KeyError:  # such a column is not there: perhaps not yet, in this version
                self._parquet = pq.ParquetFile(path, **options)
            size = path.stat().st_size
        except (OSError, ValueError) as error:
            raise _not_opened(path, error) from error
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
        """Close it."""
        self._parquet.close()

    @property
    def path(self) -> Path:
        """Where it was opened."""
        return self.facts.path

    @property
    def footer(self) -> Footer:
        """What it says of itself."""
        return self.facts.footer

    @property
    def rows(self) -> int:
        """How many rows it claims to hold."""
        return self.facts.rows

    @property
    def groups(self) -> Sequence[int]:
        """The row groups that claim to hold rows, by number."""
        return [number for number in range(self._parquet.num_row_groups) if self.rows_in(number)]

    def columns(self) -> pa.Schema:
        """Return its columns as today's version has them, none where it has not even an older one's."""
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
        """Return how many rows a row group claims to hold."""
        return int(self._parquet.metadata.row_group(group).num_rows)

    def limits(self, column: str, group: int) -> tuple[Any, Any]:
        """Return the least and the greatest value of a row group, as its statistics claim.

        Times are in µs since 1970 UTC, texts in UTF-8. Raises UnsoundFile where there are none.
        """
        metadata = self._parquet.metadata
        try:
            found = metadata.row_group(group).column(metadata.schema.names.index(column)).statistics
            if found is not None and found.has_min_max:
                return found.min_raw, found.max_raw
        except ValueError as error:  # a list's word for what is not in it
            raise _not_read(self, KeyError(column)) from error
        raise UnsoundFile(self.path, f"has no statistics of {column}", remedy(self.path))

    def claimed(self, column: str, group: int) -> tuple[Any, Any, int]:
        """Return the least and the greatest value of a row group, and how many are null, as its statistics claim.

        Values are as :meth:`limits` has them, decimals exact; both None where all are null. Raises UnsoundFile where
        nothing is claimed.
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
        """Return of each column what its footer says of how its bytes are to be read."""
        return _kinds(self._parquet.metadata.schema)

    def span(self, column: str) -> tuple[Any, Any]:
        """Return the limits of a column over all rows, of which there must be some. Raises UnsoundFile."""
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
        """Yield rows, at most ``size`` at a time: with these columns or all, of these row groups or all.

        Raises UnsoundFile, UnreadableFile.
        """
        # Whoever upgrades rows may need any column of them.
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
        """Return all rows with these columns, of these row groups or all. Raises as :meth:`read` does."""
        parts = list(self.read(max(1, self.rows), columns=columns, groups=groups))
        return pa.concat_tables(parts) if parts else self.columns().empty_table().select(columns)


def check_digest(path: Path) -> bool:
    """Read the bytes of a file, and return whether its name tells their SHA-256, as older ones do not.

    Raises UnsoundFile where they have another: then nothing of it is to be believed, nor parsed. UnreadableFile;
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
        raise _not_opened(path, error) from error
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
    """Return what :meth:`OpenFile.kinds` is of files of a table, as this release writes them."""
    with pq.ParquetFile(pa.BufferReader(_schema_file_bytes(dataset))) as parquet:
        return _kinds(parquet.metadata.schema)


@cache
def _schema_file_bytes(dataset: Dataset) -> bytes:
    return bytes(_encoded(dataset.columns.empty_table(), Footer(dataset.name)).to_pybytes())


def is_schema_file(path: Path) -> bool:
    """Return whether a file is the empty one that a table is born with, as this release writes it, to the byte.

    Raises FileNotFoundError.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return any(content == _schema_file_bytes(dataset) for dataset in BY_NAME.values())


def _not_opened(path: Path, error: OSError | ValueError) -> Exception:
    if isinstance(error, FileNotFoundError):
        try:
            check_link(path)
        except UnsoundFile as dangling:
            return dangling
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return UnreadableFile(path, error.strerror or "", remedy(path))
    said = on_one_line(error)
    if isinstance(error, OSError):  # pyarrow's own, of a footer that it cannot parse
        return UnsoundFile(path, f"has a damaged Parquet footer ({said})", remedy(path))
    return UnsoundFile(path, f"is no whole Parquet file ({said})", remedy(path))


def _not_read(file: OpenFile, error: Exception) -> Exception:
    """Return why pages of an open file cannot be read."""
    path = file.path
    if isinstance(error, OSError) and error.errno is not None:
        return UnreadableFile(path, error.strerror or "", remedy(path))
    if isinstance(error, KeyError):
        return UnsoundFile(path, f"has other columns than the table of {file.footer.table}", remedy(path))
    return UnsoundFile(path, f"is damaged: {on_one_line(error)}", remedy(path))


def on_one_line(error: Exception) -> str:
    """Return what an error says, which in pyarrow's case may be several lines."""
    return " ".join(str(error).split()).removesuffix(".")


def write(table: pa.Table, footer: Footer, path: Path, disk: Disk, *, staged_in: Path) -> None:
    """Write ``table`` so that ``path`` is either whole and durable or not there: aside, sync, rename, sync."""
    _put(_encoded(table, footer), path, disk, staged_in)


def write_new(
    table: pa.Table, footer: Footer, folder: Path, disk: Disk, *, named: tuple[int, int], staged_in: Path
) -> FileFacts:
    """Write ``table`` as :func:`write` does, as a new file in ``folder``, and return what it is.

    It is ``named`` by its first and last id, or segment, and by its digest.
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
    rows: Iterable[pa.Table], columns: pa.Schema, footer: Footer, folder: Path, disk: Disk, *, named: tuple[int, int]
) -> Path:
    """Write what is merged as one new file, synced but for its name, which is as :func:`write_new` gives it.

    Memory is a few row groups.
    """
    aside = folder / _UNNAMED
    with disk.create(aside) as file:
        sink = _Sink(disk, file)
        with writer(sink, columns, footer, level=MERGED_LEVEL) as parquet:
            waiting: list[pa.RecordBatch] = []
            held = 0
            for part in rows:
                waiting.extend(part.to_batches())
                held += part.num_rows
                if held >= ROW_GROUP:
                    joined = pa.Table.from_batches(waiting)
                    whole = joined.num_rows - joined.num_rows % ROW_GROUP
                    parquet.write_table(joined.slice(0, whole), row_group_size=ROW_GROUP)
                    waiting = joined.slice(whole).to_batches()
                    held -= whole
            if waiting:
                parquet.write_table(pa.Table.from_batches(waiting), row_group_size=ROW_GROUP)
        disk.sync(file)
    path = folder / new_name(*named, sink.sha256.hexdigest())
    disk.rename(aside, path)
    return path


def writer(sink: object, columns: pa.Schema, footer: Footer, *, level: int = FRESH_LEVEL) -> pq.ParquetWriter:
    """Open a Parquet writer with the encodings of the table (measured on real rows, DESIGN 9)."""
    encodings: Mapping[str, Encoding] = BY_NAME[footer.table].encodings
    parquet = pq.ParquetWriter(
        sink,
        columns,
        version="2.6",
        compression="zstd",
        compression_level=level,
        use_dictionary=[name for name in columns.names if encodings.get(name) == "words"],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in columns.names if encodings.get(name) == "delta"},
        store_schema=False,
        write_page_checksum=True,  # so that a merge never passes a flipped bit on
    )
    parquet.add_key_value_metadata(footer.encode())
    return parquet


def exported(sink: object, columns: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet writer of a file that leaves the archive, for whatever reads it."""
    return pq.ParquetWriter(sink, columns, compression="zstd")


class _Sink:
    """The little that pyarrow asks of a file to write to, through the disk."""

    def __init__(self, disk: Disk, file: BinaryIO) -> None:
        self._disk = disk
        self._file = file
        self.sha256 = hashlib.sha256()
        self.closed = False

    def write(self, content: bytes) -> int:
        self._disk.write(self._file, content)
        self.sha256.update(content)
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True
