"""What the events table knows of ids beside the rows: void and confirmed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.integrity import Finding
from recorder.archive.layout import Layout
from recorder.archive.parquet import UNSOUND, OpenFile, Stamp, stamp
from recorder.core import knowledge
from recorder.core.ids import Spans
from recorder.core.knowledge import Confirmed, Knowledge, Void
from recorder.core.model import Event
from recorder.disk import undisturbed

_COLUMNS: Final = ["kind", "pair", "detail"]
_BATCH: Final = 32_768


@dataclass(slots=True)
class Known:
    """What is known of each pair; ``findings`` are files that could not be read."""

    void: dict[str, Spans] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _until_us: dict[str, dict[int, int]] = field(default_factory=dict)

    def confirmed(self, pair: str) -> list[Confirmed]:
        """Return, of each id after which none came, until when at least."""
        return [Confirmed(pair, last_id, until_us) for last_id, until_us in self._until_us.get(pair, {}).items()]

    def told(self) -> Iterator[Knowledge]:
        """Return all of it."""
        for pair, spans in self.void.items():
            yield from (Void(pair, span) for span in spans)
        for pair in self._until_us:
            yield from self.confirmed(pair)

    def take(self, event: Event) -> None:
        """Take in what an event tells, if it tells anything of the kind."""
        self.know(knowledge.told(event))

    def know(self, told: Knowledge | None) -> None:
        """Take in what is known."""
        match told:
            case Void(pair, span):
                self.void.setdefault(pair, Spans()).add(span)
            case Confirmed(pair, last_id, until_us):
                known = self._until_us.setdefault(pair, {})
                known[last_id] = max(until_us, known.get(last_id, until_us))


class Reader:
    """Reads what is known again and again, each file but once. Of what was confirmed it knows the newest alone."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._told: dict[Path, tuple[Stamp, list[Knowledge]]] = {}

    def read(self, pairs: Collection[str]) -> Known:
        """Read what is known of ``pairs``, as :func:`read` does."""
        return undisturbed(lambda: self._read(frozenset(pairs)), f"the files in {self._layout.folder(EVENTS)}")

    def _read(self, pairs: Collection[str]) -> Known:
        known, found = Known(), dict[Path, tuple[Stamp, list[Knowledge]]]()
        for path in self._layout.files(Branch(EVENTS)):
            now, seen = stamp(path), self._told.get(path)
            try:
                found[path] = seen if seen and seen[0] == now else (now, _newest(path))
            except UNSOUND as error:
                known.findings.append(Finding.of(error))
        self._told = found
        for _, told in found.values():
            for one in told:
                if one.pair in pairs:
                    known.know(one)
        return known


def _newest(path: Path) -> list[Knowledge]:
    """Return what a file tells: of each pair what was confirmed last, and all else."""
    told, confirmed = Known(), dict[str, Confirmed]()
    for event in _events(path):
        one = knowledge.told(event)
        if not isinstance(one, Confirmed):
            told.know(one)
        elif one.pair not in confirmed or one.until_us > confirmed[one.pair].until_us:
            confirmed[one.pair] = one
    return [*told.told(), *confirmed.values()]


def read(layout: Layout, pairs: Sequence[str]) -> Known:
    """Read what is known of ``pairs``. Raises UnknownVersion; StorageError if files keep changing as they are read."""
    wanted = pa.array(pairs, pa.string())
    return undisturbed(lambda: _read(layout, wanted), f"the files in {layout.folder(EVENTS)}")


def _read(layout: Layout, pairs: pa.Array) -> Known:
    known = Known()
    for path in layout.files(Branch(EVENTS)):
        try:
            for event in _events(path, pairs):
                known.take(event)
        except UNSOUND as error:
            known.findings.append(Finding.of(error))
    return known


def _events(path: Path, pairs: pa.Array | None = None) -> Iterator[Event]:
    """Yield the events of ``pairs``, or of all, that may tell something."""
    with OpenFile(path) as file:
        for rows in file.read(_BATCH, columns=_COLUMNS):
            telling = pc.is_in(rows["kind"], value_set=pa.array(knowledge.KINDS))
            if pairs is not None:
                telling = pc.and_(telling, pc.is_in(rows["pair"], value_set=pairs))
            for row in rows.filter(telling).to_pylist():
                yield Event(0, row["kind"], row["pair"], row["detail"])
