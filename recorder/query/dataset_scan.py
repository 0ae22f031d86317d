"""A scan as a pyarrow Dataset: the files as they are listed when it is made.

A Dataset is a list of files and cannot list them anew. So those of this module say what to do where a compaction has
replaced one. They do so in the thread that asks: Arrow's own threads must never run Python code, since pyarrow waits
for them with the interpreter locked (``Scanner.to_reader``, by which DuckDB reads), and both would wait for ever.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from recorder.core.trade_ids import Spans
from recorder.errors import FilesReplaced, UnsoundFile
from recorder.object_store import arrow_files
from recorder.query.journal_tail import TAIL
from recorder.query.scan import Part, Scan

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OLDER: Final = "has an older schema version, which a dataset cannot read"
_UPGRADE: Final = "`recorder run` rewrites it in the background; until then use trades() or batches()"


def dataset(scan: Scan) -> ds.Dataset:
    """Return the trades of a scan as a Dataset.

    Reading it raises FilesReplaced once a compaction has removed one of its files. Raise as :meth:`Scan.listed` does.
    """
    sources: list[ds.Dataset] = []
    wanted: dict[str, Spans] = {}
    cut = False
    for pair in scan.pairs:
        listing = scan.listed(pair)
        parts = scan.parts(pair, listing.ids, listing.footers)
        if scan.digests is not None:
            with _files_there():
                scan.digests.check(part.path for part in parts)
        sources += _sources(pair, parts, listing.tail)
        wanted[pair] = Spans([*listing.ids, *Spans.of_ids(listing.tail["trade_id"].to_pylist())])
        cut |= not all(part.whole for part in parts)
    found = sources[0] if len(sources) == 1 else ds.dataset(sources)
    conditions = [*_within(scan), *([_one_of(wanted)] if cut else [])]
    return _listed(found, functools.reduce(operator.and_, conditions) if conditions else None)


def _sources(pair: str, parts: Sequence[Part], tail: pa.Table) -> list[ds.Dataset]:
    for part in parts:
        if part.footer.is_old:
            raise UnsoundFile(part.path, _OLDER, _UPGRADE)
    checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    form = ds.ParquetFileFormat(default_fragment_scan_options=checked)
    system, paths = arrow_files([part.path for part in parts])
    files = ds.FileSystemDataset.from_paths(
        paths,
        schema=TAIL,
        format=form,
        filesystem=system,
        partitions=[ds.field("pair") == pair for _ in parts],
    )
    return [files, *([ds.dataset(tail)] if tail.num_rows else [])]


def _within(scan: Scan) -> list[ds.Expression]:
    start_us, stop_us = scan.limits.start_us, scan.limits.stop_us
    start = [] if start_us is None else [ds.field("time") >= _EPOCH + timedelta(microseconds=start_us)]
    return [*start, *([] if stop_us is None else [ds.field("time") < _EPOCH + timedelta(microseconds=stop_us)])]


def _one_of(wanted: Mapping[str, Spans]) -> ds.Expression:
    """Return whether a row has one of these ids: a file may have been merged with later ones."""
    ids = ds.field("trade_id")
    spans = [
        (ds.field("pair") == pair) & (ids >= span.first) & (ids <= span.last)
        for pair, of_pair in wanted.items()
        for span in of_pair
    ]
    return functools.reduce(operator.or_, spans)


@contextmanager
def _files_there() -> Iterator[None]:
    """Raise FilesReplaced for a file that is not found."""
    try:
        yield
    except FileNotFoundError as error:
        raise FilesReplaced(
            f"a file was merged into another one since this dataset was made: scan again for today's files ({error})"
        ) from error


def _telling(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of Dataset that reads at once, and raises FilesReplaced for a file that is not found."""

    @functools.wraps(method)
    def explained(self: ds.Dataset, *args: object, **options: object) -> Any:  # noqa: ANN401 -- whatever the method does
        with _files_there():
            return method(self, *args, **options)

    return explained


class _Listed(ds.Dataset):  # type: ignore[misc]  # pyarrow ships no types
    """A Dataset that raises FilesReplaced where a file is gone.

    That is before it is read, which :meth:`scanner` and :meth:`get_fragments` find out for whichever engine reads, and
    also while the methods here read. pyarrow makes its copies without ``__init__``, so there are no attributes.
    """

    head = _telling(ds.Dataset.head)
    take = _telling(ds.Dataset.take)
    to_table = _telling(ds.Dataset.to_table)
    count_rows = _telling(ds.Dataset.count_rows)
    sort_by = _telling(ds.Dataset.sort_by)
    join = _telling(ds.Dataset.join)
    join_asof = _telling(ds.Dataset.join_asof)

    def to_batches(self, *args: object, **options: object) -> Iterator[pa.RecordBatch]:
        with _files_there():
            return _each(super().to_batches(*args, **options))

    def scanner(self, *args: object, **options: object) -> ds.Scanner:
        self._look()
        return super().scanner(*args, **options)

    def get_fragments(self, filter: ds.Expression | None = None) -> Iterator[ds.Fragment]:  # noqa: A002 -- its name
        self._look()
        found: Iterator[ds.Fragment] = super().get_fragments(filter)
        return found

    def replace_schema(self, schema: pa.Schema) -> ds.Dataset:
        return _listed(self._plain(schema), self._condition)

    def __reduce__(self) -> tuple[Any, ...]:
        return _listed, (self._plain(self.schema), self._condition)

    @property
    def _condition(self) -> ds.Expression | None:
        return self._scan_options.get("filter")

    def _plain(self, schema: pa.Schema) -> ds.Dataset:
        """Return the same as a Dataset of pyarrow's without the filter, which pyarrow would not pickle."""
        found = super().replace_schema(schema)
        found._scan_options = {}  # noqa: SLF001 -- has no other name
        return found

    def _look(self) -> None:
        with _files_there():
            for path in self._paths():
                Path(path).stat()

    def _paths(self) -> Iterable[str]:
        raise NotImplementedError


class _Files(_Listed, ds.FileSystemDataset):  # type: ignore[misc]
    """Files of one pair."""

    def _paths(self) -> Iterable[str]:
        return _local(self)


class _Union(_Listed, ds.UnionDataset):  # type: ignore[misc]
    """Files and journalled rows, of one pair or several."""

    @property
    def children(self) -> list[ds.Dataset]:
        return [_listed(child) for child in super().children]

    def _paths(self) -> Iterable[str]:
        return (path for child in super().children for path in _local(child))


def _local(found: ds.Dataset) -> list[str]:
    """Return the paths of its files; none of objects, which are missed when they are read, as nothing keeps one."""
    paths: list[str] = getattr(found, "files", [])
    return paths if paths and isinstance(found.filesystem, fs.LocalFileSystem) else []


def _listed(found: ds.Dataset, condition: ds.Expression | None = None) -> ds.Dataset:
    """Return a Dataset of pyarrow's, one without a filter, as one of this module with the filter ``condition``."""
    if isinstance(found, ds.UnionDataset):
        made: ds.Dataset = _Union(found.schema, found.children)
    elif isinstance(found, ds.FileSystemDataset):
        fragments = list(found.get_fragments())
        made = _Files(fragments, found.schema, found.format, found.filesystem, found.partition_expression)
    else:
        made = found  # rows in memory
    return made if condition is None else made.filter(condition)


def _each(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _files_there():
        yield from batches
