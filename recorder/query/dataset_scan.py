"""A scan as a pyarrow Dataset: the files as they are listed when it is made.

A Dataset is a list of files and cannot list them anew. So it opens them through a file system of its own, which says
what to do where a compaction has replaced one.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from recorder.core.trade_ids import Spans
from recorder.errors import FilesReplaced, UnsoundFile
from recorder.query.journal_tail import TAIL
from recorder.query.scan import Part, Scan

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OLDER: Final = "has an older schema version, which a dataset cannot read"
_UPGRADE: Final = "`recorder run` rewrites it in the background; until then use trades() or batches()"


def dataset(scan: Scan) -> ds.Dataset:
    """Return the trades of a scan as a Dataset.

    Reading it raises FilesReplaced once a compaction has removed one of its files. Raise as :meth:`Scan.listed` does.
    """
    system = fs.PyFileSystem(_Files())
    sources: list[ds.Dataset] = []
    wanted: dict[str, Spans] = {}
    cut = False
    for pair in scan.pairs:
        listing = scan.listed(pair)
        parts = scan.parts(pair, listing.ids, listing.footers)
        if scan.digests is not None:
            scan.digests.check(part.path for part in parts)
        sources += _sources(pair, parts, listing.tail, system)
        wanted[pair] = Spans([*listing.ids, *Spans.of_ids(listing.tail["trade_id"].to_pylist())])
        cut |= not all(part.whole for part in parts)
    found = sources[0] if len(sources) == 1 else ds.dataset(sources)
    asked = [*_within(scan), *([_one_of(wanted)] if cut else [])]
    return found.filter(functools.reduce(operator.and_, asked)) if asked else found


def _sources(pair: str, parts: Sequence[Part], tail: pa.Table, system: fs.FileSystem) -> list[ds.Dataset]:
    for part in parts:
        if part.footer.is_old:
            raise UnsoundFile(part.path, _OLDER, _UPGRADE)
    checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    form = ds.ParquetFileFormat(default_fragment_scan_options=checked)
    files = ds.FileSystemDataset.from_paths(
        [part.path for part in parts],
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


class _Files(fs.FileSystemHandler):  # type: ignore[misc]  # pyarrow ships no types
    """The local files, for reading alone. A file that is gone raises FilesReplaced."""

    def __init__(self) -> None:
        self._local = fs.LocalFileSystem()

    def get_type_name(self) -> str:
        return "recorder"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[fs.FileInfo]:
        found: list[fs.FileInfo] = self._local.get_file_info(paths)
        return found

    def open_input_file(self, path: str) -> pa.NativeFile:
        try:
            return self._local.open_input_file(path)
        except FileNotFoundError as error:
            raise FilesReplaced(
                f"{path} was merged into another file since this dataset was made: scan again for one of today's files"
            ) from error

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def _refuse(self, *_: Any) -> NoReturn:  # noqa: ANN401 -- whatever the method takes
        raise NotImplementedError("the files of an archive are only read")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse
