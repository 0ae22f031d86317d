"""What the events table knows of ids beside the rows: void, disowned, confirmed, promised, parked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, assert_never

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.integrity import Finding
from recorder.archive.layout import Layout
from recorder.archive.parquet import UNSOUND, OpenFile, Stamp, stamp
from recorder.core import evidence
from recorder.core.absent import Absent
from recorder.core.evidence import (
    Anchored,
    Confirmed,
    Disowned,
    Knowledge,
    Parked,
    Promise,
    Promised,
    Reclaimed,
    Void,
)
from recorder.core.ids import Spans
from recorder.core.model import Event
from recorder.disk import undisturbed

_COLUMNS: Final = ["kind", "pair", "detail"]
_BATCH: Final = 32_768


@dataclass(slots=True)
class Known:
    """What is known of each pair; ``findings`` are files that could not be read."""

    void: dict[str, Spans] = field(default_factory=dict)
    parked: dict[str, Spans] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _until_us: dict[str, dict[int, int]] = field(default_factory=dict)
    _promises: dict[str, set[Promised | Anchored]] = field(default_factory=dict)
    _disownings: dict[str, set[Disowned | Reclaimed]] = field(default_factory=dict)

    def confirmed(self, pair: str) -> list[Confirmed]:
        """Return, of each id after which none came, until when at least."""
        return [Confirmed(pair, last_id, until_us) for last_id, until_us in self._until_us.get(pair, {}).items()]

    def disownings(self, pair: str) -> AbstractSet[Disowned | Reclaimed]:
        """Return all that was ever claimed of ids of ``pair`` that its owner let go, or wanted again."""
        return self._disownings.get(pair, set())

    def absent(self, pair: str) -> Absent:
        """Return the ids of ``pair`` that need not be held, and why."""
        return Absent(self.void.get(pair, Spans()), evidence.disowned(self.disownings(pair)))

    def promise(self, pair: str) -> Promise | None:
        """Return what is promised of ``pair``."""
        return evidence.promise(self._promises.get(pair, ()))

    @property
    def promised(self) -> Collection[str]:
        """The pairs of which anything is promised."""
        return self._promises.keys()

    def told(self) -> Iterator[Knowledge]:
        """Return all of it."""
        for pair, spans in self.void.items():
            yield from (Void(pair, span) for span in spans)
        for pair, spans in self.parked.items():
            yield from (Parked(pair, span) for span in spans)
        for pair in self._until_us:
            yield from self.confirmed(pair)
        for promises in self._promises.values():
            yield from promises
        for claims in self._disownings.values():
            yield from claims

    def take(self, event: Event) -> None:
        """Take in what an event tells, if it tells anything of the kind."""
        self.know(evidence.told(event))

    def know(self, told: Knowledge | None) -> None:
        """Take in what is known."""
        match told:
            case Void(pair, span):
                self.void.setdefault(pair, Spans()).add(span)
            case Parked(pair, span):
                self.parked.setdefault(pair, Spans()).add(span)
            case Confirmed(pair, last_id, until_us):
                known = self._until_us.setdefault(pair, {})
                known[last_id] = max(until_us, known.get(last_id, until_us))
            case Promised(pair) | Anchored(pair) as told:
                self._promises.setdefault(pair, set()).add(told)
            case Disowned(pair) | Reclaimed(pair) as told:
                self._disownings.setdefault(pair, set()).add(told)
            case None:
                pass
            case never:
                assert_never(never)


class Reader:
    """Reads what is known again and again, each file but once. Of what was confirmed it knows the newest alone."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._told: dict[Path, tuple[Stamp, list[Knowledge]]] = {}

    def read(self) -> Known:
        """Read what is known of every pair, as :func:`read` does."""
        return undisturbed(self._read, f"the files in {self._layout.folder(EVENTS)}")

    def _read(self) -> Known:
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
                known.know(one)
        return known


def _newest(path: Path) -> list[Knowledge]:
    """Return what a file tells: of each pair what was confirmed last, and all else."""
    told, confirmed = Known(), dict[str, Confirmed]()
    for event in _events(path):
        one = evidence.told(event)
        if not isinstance(one, Confirmed):
            told.know(one)
        elif one.pair not in confirmed or one.until_us > confirmed[one.pair].until_us:
            confirmed[one.pair] = one
    return [*told.told(), *confirmed.values()]


def read(layout: Layout) -> Known:
    """Read what is known of every pair. Raises UnknownVersion; StorageError if files keep changing as they are read."""
    return undisturbed(lambda: _read(layout), f"the files in {layout.folder(EVENTS)}")


def _read(layout: Layout) -> Known:
    known = Known()
    for path in layout.files(Branch(EVENTS)):
        try:
            for event in _events(path):
                known.take(event)
        except UNSOUND as error:
            known.findings.append(Finding.of(error))
    return known


def _events(path: Path) -> Iterator[Event]:
    """Yield the events that may tell something."""
    with OpenFile(path) as file:
        for rows in file.read(_BATCH, columns=_COLUMNS):
            telling = pc.is_in(rows["kind"], value_set=pa.array(evidence.KINDS))
            for row in rows.filter(telling).to_pylist():
                yield Event(0, row["kind"], row["pair"], row["detail"])
