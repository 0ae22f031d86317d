"""What a file of the archive says of itself in its footer, so that coverage can be rebuilt from footers alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from recorder.archive import schema_versions
from recorder.archive.datasets import remedy
from recorder.archive.schema_versions import WRITER
from recorder.core.evidence import Promise
from recorder.core.trade_ids import Run, Span
from recorder.errors import UnsoundFile
from recorder.lazy_imports import pc

FOOTER_KEY: Final = b"recorder"
_TODAYS: Final = -1


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file says of itself. ``runs`` and ``promise`` for tables with ids, ``segments`` for those without.

    ``promise`` is what was promised of the pair when the file was written, so that its folder keeps it wherever it is
    taken. ``version`` is the schema's, of a file that was read: what is written is always of today's.
    """

    table: str
    pair: str | None = None
    runs: tuple[Run, ...] = ()
    segments: tuple[int, ...] = ()
    version: int = _TODAYS
    promise: Promise | None = None

    def __post_init__(self) -> None:
        if self.version == _TODAYS:
            object.__setattr__(self, "version", schema_versions.current(self.table))

    @property
    def is_todays(self) -> bool:
        """Whether the file is of the version that this release writes."""
        return self.version == schema_versions.current(self.table)

    @property
    def is_old(self) -> bool:
        """Whether the file is of a version in which its rows were other ones, and to be brought up to date."""
        return schema_versions.is_old(self.table, self.version)

    def encode(self) -> dict[bytes, bytes]:
        """Return the Parquet key-value metadata."""
        content: dict[str, Any] = {"schema": schema_versions.current(self.table), "table": self.table, "writer": WRITER}
        if self.pair is not None:
            content["pair"] = self.pair
        if self.runs:
            content["spans"] = [[run.span.first, run.span.last, run.first_us, run.last_us] for run in self.runs]
        if self.segments:
            content["segments"] = list(self.segments)
        if self.promise is not None:
            content["promise"] = msgspec.to_builtins(self.promise)
        return {FOOTER_KEY: json.dumps(content, separators=(",", ":")).encode()}

    @classmethod
    def decode(cls, metadata: dict[bytes, bytes] | None, path: Path) -> Footer:
        """Read the key-value metadata of ``path``. Raises UnsoundFile where it is not ours, UnknownVersion."""
        try:
            content = msgspec.json.decode((metadata or {})[FOOTER_KEY])
            return cls(
                version=schema_versions.check(
                    content["schema"], content["table"], str(path), content.get("writer", "unknown")
                ),
                table=content["table"],
                pair=content.get("pair"),
                runs=tuple(_run(content["pair"], *ends) for ends in content.get("spans", ())),
                segments=tuple(content.get("segments", ())),
                promise=msgspec.convert(content.get("promise"), Promise | None),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:  # what JSON may hold
            raise UnsoundFile(path, "is none of ours: it carries no footer of this archive", remedy(path)) from error


def held_runs(table: pa.Table, pair: str) -> tuple[Run, ...]:
    """Return the runs of the ids that a table of trades of ``pair``, sorted by id, really holds."""
    if not table.num_rows:
        return ()
    ids = table["trade_id"].combine_chunks()
    times_us = table["time"].cast(pa.int64()).combine_chunks()
    # Where an id is not its predecessor plus one, a run begins; the first row's difference is null.
    begins = [0, *pc.indices_nonzero(pc.not_equal(pc.pairwise_diff(ids), 1)).to_pylist()]
    ends = [begin - 1 for begin in begins[1:]] + [table.num_rows - 1]
    return tuple(
        _run(pair, ids[begin].as_py(), ids[end].as_py(), times_us[begin].as_py(), times_us[end].as_py())
        for begin, end in zip(begins, ends, strict=True)
    )


def _run(pair: str, first_id: int, last_id: int, first_us: int, last_us: int) -> Run:
    return Run(pair, Span(first_id, last_id), first_us, last_us)
