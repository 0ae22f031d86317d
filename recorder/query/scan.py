"""Scans: the trades of pairs, listed when they are read, for engines other than DuckDB.

Contains which rows of which files belong to a scan. Files are listed by their folder's handle, and listed again if a
compaction replaced them before they were read, so that each row of the first listing comes exactly once. Does not use
DuckDB: an engine calls its sources from threads of its own.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa

from recorder.archive.footer import Footer
from recorder.core.evidence import Promise
from recorder.core.trade_ids import NO_IDS, Run, Spans
from recorder.disk import undisturbed
from recorder.errors import GapError, StorageError
from recorder.lazy_imports import pc
from recorder.object_store import at_once
from recorder.query import arguments, completeness
from recorder.query.arguments import OnGap, Range
from recorder.query.file_digests import Digests
from recorder.query.journal_tail import NONE
from recorder.query.snapshot import Snapshot, Snapshots

_TOGETHER_ROWS: Final = 500_000
"""Rows of files that are read together: enough for all cores, and some 60 MB."""
_ATTEMPTS: Final = 50
"""The number of listings in a row whose files may vanish before one of them is read."""

_Rows = TypeVar("_Rows")


@dataclass(frozen=True, slots=True)
class Part:
    """The rows with these ``ids`` in the file ``path``, which has no others if it is ``whole``."""

    path: str
    ids: Spans
    footer: Footer
    whole: bool

    @property
    def first_id(self) -> int:
        """The lowest id."""
        return self.ids.first or 0

    @property
    def last_id(self) -> int:
        """The highest id."""
        return self.ids.last or 0


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows of one pair: those with ``ids`` are archived, and those of ``tail`` are in the journal alone.

    ``footers`` are those of the files that have the archived rows now; ``runs`` and ``promise`` are for judging what
    is missing.
    """

    ids: Spans
    tail: pa.Table
    footers: Mapping[str, Footer]
    runs: Sequence[Run]
    promise: Promise | None


@dataclass(frozen=True, slots=True)
class Scan:
    """Trades of ``pairs`` of the archive at ``data`` in a range, listed by ``snapshots`` or ``kept``.

    ``digests``, if any, compare each file with its name before it is read. Thread-safe.
    """

    data: Path
    pairs: tuple[str, ...]
    limits: Range
    on_gap: OnGap
    snapshots: Snapshots
    kept: Snapshot | None = None
    digests: Digests | None = None
    _listing: threading.Lock = field(default_factory=threading.Lock)

    def listed(self, pair: str) -> Listing:
        """List the rows of one pair now. Raise GapError, or warn, if trades of the range are known to be missing.

        Raise UsageError for a pair without trades; CorruptFile and its like; StorageError.
        """
        with self._listing:
            now = self._now(pair)
            moment = now if self.kept is None else self.kept
            if not moment.runs.get(pair):
                arguments.pair(pair, list(self.kept.runs) if self.kept else self.snapshots.pairs())
        ids, tail = moment.archived.get(pair, Spans()).copy(), NONE
        if moment.tail.num_rows:
            # Of a kept tail, some rows may have been archived since, in files with later rows.
            tail = moment.tail.filter(pc.equal(moment.tail["pair"], pair))
            archived = [trade_id in now.archived.get(pair, NO_IDS) for trade_id in tail["trade_id"].to_pylist()]
            ids.update(Spans.of_ids(tail["trade_id"].filter(pa.array(archived)).to_pylist()))
            tail = tail.filter(pc.invert(pa.array(archived)))
        found = Listing(ids, tail, now.footers.get(pair, {}), moment.runs[pair], moment.promises.get(pair))
        self._judge(found)
        return found

    def parts(self, pair: str, wanted: Spans, footers: Mapping[str, Footer]) -> list[Part]:
        """Return where the rows with the ids ``wanted`` are, in ascending id. Raise StorageError if some are gone."""
        found = []
        for path, footer in footers.items():
            held = [run.span for run in footer.runs]
            if ids := Spans(part for span in held for part in wanted.within(span)):
                found.append(Part(path, ids, footer, all(map(wanted.covers, held))))
        there = Spans(span for part in found for span in part.ids)
        lost = [span for ids in wanted for span in there.missing(ids)]
        if lost:
            raise StorageError(
                f"ids {lost[0]} of {pair} were listed and are gone: were files deleted or moved by hand?"
            )
        return sorted(found, key=lambda part: part.first_id)

    def again(self, pair: str, wanted: Spans) -> list[Part]:
        """Return the same according to a new listing."""
        with self._listing:
            footers = self._now(pair).footers.get(pair, {})
        return self.parts(pair, wanted, footers)

    def _now(self, pair: str) -> Snapshot:
        now = undisturbed(at_once(self.data, lambda: self.snapshots.take(pair)), f"the files of {pair}")
        if (fault := now.faults.get(pair)) is not None:
            raise fault.with_traceback(None) from None
        return now

    def _judge(self, found: Listing) -> None:
        if self.on_gap == "ignore":
            return
        sentence = completeness.lacking(self.data, found.runs, self.limits, found.promise)
        if sentence is not None and self.on_gap == "raise":
            raise GapError(sentence)
        if sentence is not None:
            warnings.warn(sentence, stacklevel=2)


def read(scan: Scan, pair: str, load: Callable[[str, list[Part], pa.Table], _Rows]) -> Iterator[_Rows]:
    """Yield what ``load`` returns for the rows of a pair, group by group in ascending id, each row once.

    ``load`` gets the pair, the parts of a group, and the rows of the tail among them. It reads all of them, or raises
    FileNotFoundError: then the rest is listed anew. Raises as :meth:`Scan.listed` does.
    """
    listing = scan.listed(pair)
    wanted, tail, attempts = listing.ids.copy(), listing.tail, 0
    parts = scan.parts(pair, wanted, listing.footers)
    while parts or tail.num_rows:
        group = _group(parts)
        rest = parts[len(group) :]
        among = tail.filter(pc.less(tail["trade_id"], rest[0].first_id)) if rest and tail.num_rows else tail
        try:
            if scan.digests is not None:
                scan.digests.check(part.path for part in group)
            loaded = load(pair, group, among)
        except FileNotFoundError as error:
            attempts += 1
            if attempts == _ATTEMPTS:
                raise StorageError(
                    f"the files of {pair} keep changing faster than they can be read: {error}"
                ) from error
            parts = scan.again(pair, wanted)
            continue
        attempts = 0
        for span in (span for part in group for span in part.ids):
            wanted.remove(span)
        parts, tail = rest, tail.slice(among.num_rows)
        yield loaded


def _group(parts: Sequence[Part]) -> list[Part]:
    """Return the first parts that are read together: enough rows, and all parts that overlap them."""
    group: list[Part] = []
    rows, last_id = 0, 0
    for part in parts:
        if rows >= _TOGETHER_ROWS and part.first_id > last_id:
            break
        group.append(part)
        rows, last_id = rows + part.ids.count(), max(last_id, part.last_id)
    return group
