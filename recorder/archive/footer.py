"""The recorder's metadata in the footer of each file, from which coverage can be rebuilt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from recorder.archive import schema_versions
from recorder.archive.datasets import remedy
from recorder.archive.imported_history import History
from recorder.archive.schema_versions import WRITER
from recorder.core.evidence import Promise
from recorder.core.segment_names import MAIN_JOURNAL, SegmentName
from recorder.core.trade_ids import Run, Span, Spans
from recorder.errors import UnsoundFile
from recorder.lazy_imports import pc

FOOTER_KEY: Final = b"recorder"
_TODAYS: Final = -1
BULK: Final = "bulk"
"""The source of rows that come from history files."""
TIME_DIGITS: Final = 6
"""Decimals of a second that the archive stores."""


class Imported(NamedTuple):
    """Ids whose rows come from a history file, and how many decimals of a second the times there have at most."""

    span: Span
    time_digits: int


@dataclass(frozen=True, slots=True)
class Footer:
    """The recorder's metadata of a file: ``runs`` and ``promise`` for tables with ids, ``segments`` for those without.

    ``imported`` are those ids of the runs whose rows come from history files, ascending. ``history`` is what a file of
    an imported table holds.
    ``archive`` is the id of the archive that wrote the file; files of older releases name none. ``promise`` is that of
    the pair when the file was written, so that its folder keeps it wherever it is moved.
    ``version`` is the schema version of a file that was read; files are always written in the current version.
    """

    table: str
    pair: str | None = None
    runs: tuple[Run, ...] = ()
    segments: tuple[SegmentName, ...] = ()
    version: int = _TODAYS
    promise: Promise | None = None
    archive: str = ""
    imported: tuple[Imported, ...] = ()
    history: History | None = None

    def __post_init__(self) -> None:
        if self.version == _TODAYS:
            object.__setattr__(self, "version", schema_versions.current(self.table))

    @property
    def is_todays(self) -> bool:
        """Whether the file has the version that this release writes."""
        return self.version == schema_versions.current(self.table)

    @property
    def is_old(self) -> bool:
        """Whether the file has a version with different rows, which must be upgraded."""
        return schema_versions.is_old(self.table, self.version)

    def encode(self) -> dict[bytes, bytes]:
        """Return the Parquet key-value metadata."""
        content: dict[str, Any] = {"schema": schema_versions.current(self.table), "table": self.table, "writer": WRITER}
        if self.archive:
            content["archive"] = self.archive
        if self.pair is not None:
            content["pair"] = self.pair
        if self.runs:
            content["spans"] = [[run.span.first, run.span.last, run.first_us, run.last_us] for run in self.runs]
        if self.imported:
            content["imported"] = [[one.span.first, one.span.last, one.time_digits] for one in self.imported]
        if self.segments:
            content["segments"] = _by_journal(self.segments)
        if self.history is not None:
            content["history"] = msgspec.to_builtins(self.history)
        if self.promise is not None:
            content["promise"] = msgspec.to_builtins(self.promise)
        return {FOOTER_KEY: json.dumps(content, separators=(",", ":")).encode()}

    @classmethod
    def decode(cls, metadata: dict[bytes, bytes] | None, path: Path) -> Footer:
        """Read the key-value metadata of ``path``. Raises UnsoundFile if it is not the recorder's, UnknownVersion."""
        try:
            content = msgspec.json.decode((metadata or {})[FOOTER_KEY])
            return cls(
                version=schema_versions.check(
                    content["schema"], content["table"], str(path), content.get("writer", "unknown")
                ),
                table=content["table"],
                pair=content.get("pair"),
                runs=tuple(_run(content["pair"], *ends) for ends in content.get("spans", ())),
                segments=tuple(_segments(content.get("segments", []))),
                promise=msgspec.convert(content.get("promise"), Promise | None),
                archive=msgspec.convert(content.get("archive", ""), str),
                imported=tuple(_imported(*one) for one in content.get("imported", ())),
                history=msgspec.convert(content.get("history"), History | None),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:  # of unexpected JSON
            raise UnsoundFile(path, "is none of ours: it carries no footer of this archive", remedy(path)) from error


class _Named(msgspec.Struct):
    """Segments of one journal, as a footer names them; the archive is null where no id is known."""

    archive: str | None
    journal: str
    numbers: list[int]


def _by_journal(segments: Iterable[SegmentName]) -> list[dict[str, Any]]:
    grouped = groupby(sorted(segments), key=lambda name: (name.archive, name.journal))
    return [
        msgspec.to_builtins(_Named(archive or None, journal, [name.number for name in names]))
        for (archive, journal), names in grouped
    ]


def _segments(content: object) -> Iterator[SegmentName]:
    """Yield the segments that a footer names; in version 1 they are bare numbers, and 0 is no segment."""
    for one in msgspec.convert(content, list[int | _Named]):
        if isinstance(one, _Named):
            yield from (SegmentName(one.archive or "", one.journal, number) for number in one.numbers)
        elif one > 0:
            yield SegmentName("", MAIN_JOURNAL, one)


def held_runs(table: pa.Table, pair: str) -> tuple[Run, ...]:
    """Return the runs of ids in a table of trades of ``pair`` that is sorted by id."""
    if not table.num_rows:
        return ()
    ids = table["trade_id"].combine_chunks()
    times_us = table["time"].cast(pa.int64()).combine_chunks()
    # A run begins where an id is not its predecessor plus one; the first row's difference is null.
    begins = [0, *pc.indices_nonzero(pc.not_equal(pc.pairwise_diff(ids), 1)).to_pylist()]
    ends = [begin - 1 for begin in begins[1:]] + [table.num_rows - 1]
    return tuple(
        _run(pair, ids[begin].as_py(), ids[end].as_py(), times_us[begin].as_py(), times_us[end].as_py())
        for begin, end in zip(begins, ends, strict=True)
    )


def imported_ids(table: pa.Table) -> tuple[Imported, ...]:
    """Return which ids in a table of trades that is sorted by id come from history files; all with the same digits."""
    rows = table.select(["trade_id", "time", "source"])
    if not pc.any(pc.equal(rows["source"], BULK)).as_py():
        return ()
    rows = rows.filter(pc.equal(rows["source"], BULK))
    digits = time_digits(rows["time"])
    return tuple(Imported(run.span, digits) for run in held_runs(rows, ""))


def time_digits(times: pa.ChunkedArray) -> int:
    """Return how many decimals of a second some times need, 0 to 6."""
    us = times.cast(pa.int64()).to_numpy()
    return next(digits for digits in range(TIME_DIGITS + 1) if not np.any(us % 10 ** (TIME_DIGITS - digits)))


def joined_imported(parts: Iterable[Imported]) -> tuple[Imported, ...]:
    """Return disjoint imported ids in ascending order, neighbours with the same digits as one."""
    found: list[Imported] = []
    for one in sorted(parts):
        last = found[-1] if found else None
        if last is not None and one.span.first == last.span.last + 1 and one.time_digits == last.time_digits:
            found[-1] = Imported(Span(last.span.first, one.span.last), one.time_digits)
        else:
            found.append(one)
    return tuple(found)


def _imported(first_id: int, last_id: int, digits: int) -> Imported:
    return Imported(Span(first_id, last_id), msgspec.convert(digits, int))


def imported_spans(footers: Iterable[Footer]) -> Spans:
    """Return the ids in some files of a pair that come from history files."""
    return Spans(one.span for footer in footers for one in footer.imported)


def _run(pair: str, first_id: int, last_id: int, first_us: int, last_us: int) -> Run:
    return Run(pair, Span(first_id, last_id), first_us, last_us)
