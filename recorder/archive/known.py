"""What the events table knows of ids beside the rows: void, unreadable, disowned, confirmed, promised, parked."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias, assert_never

import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.integrity import Finding
from recorder.archive.layout import Layout
from recorder.archive.parquet import SET_APART, OpenFile, Stamp, stamp
from recorder.core import evidence
from recorder.core.absent import Absent
from recorder.core.events import EventKind
from recorder.core.evidence import (
    Anchored,
    Confirmed,
    Dated,
    Disowned,
    Knowledge,
    NumberingSettled,
    Parked,
    Promise,
    Promised,
    Reclaimed,
    Renumbered,
    Unreadable,
    Void,
)
from recorder.core.ids import Spans
from recorder.core.model import Event
from recorder.disk import undisturbed

_COLUMNS: Final = ["time", "kind", "pair", "detail"]
_BATCH: Final = 32_768
_DATED: Final = (EventKind.DISOWNED, EventKind.RECLAIMED, EventKind.RENUMBERED, EventKind.NUMBERING_SETTLED)
_Noted: TypeAlias = tuple[int, Knowledge]
"""When something was noted (µs since 1970 UTC), and what."""


@dataclass(slots=True)
class Known:
    """What is known of each pair; ``findings`` are files that could not be read."""

    void: dict[str, Spans] = field(default_factory=dict)
    unreadable: dict[str, Spans] = field(default_factory=dict)
    parked: dict[str, Spans] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _confirmed: dict[str, set[Confirmed]] = field(default_factory=dict)
    _promises: dict[str, set[Promised | Anchored]] = field(default_factory=dict)
    _disownings: dict[str, set[Dated]] = field(default_factory=dict)

    def confirmed(self, pair: str) -> list[Confirmed]:
        """Return after which ids none came, and until when: all that was told, for a trade may refute the latest."""
        return list(self._confirmed.get(pair, ()))

    def disownings(self, pair: str) -> AbstractSet[Dated]:
        """Return all that was ever claimed of ``pair`` of which the latest counts."""
        return self._disownings.get(pair, set())

    def absent(self, pair: str) -> Absent:
        """Return the ids of ``pair`` that need not be held, and why."""
        void, unreadable = (told.get(pair, Spans()) for told in (self.void, self.unreadable))
        return Absent(void, evidence.disowned(self.disownings(pair)), unreadable)

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
        for pair, spans in self.unreadable.items():
            yield from (Unreadable(pair, span) for span in spans)
        for pair, spans in self.parked.items():
            yield from (Parked(pair, span) for span in spans)
        for pair in self._confirmed:
            yield from self.confirmed(pair)
        for promises in self._promises.values():
            yield from promises
        for claims in self._disownings.values():
            yield from claims

    def take(self, noted: Iterable[_Noted]) -> None:
        """Take in all that was ever noted, but for what does not count any more since a pair is numbered anew."""
        noted = list(noted)
        begun_us: dict[str, int] = {}
        for _, one in noted:
            if isinstance(one, NumberingSettled) and one.anew:
                begun_us[one.pair] = max(one.time_us, begun_us.get(one.pair, 0))
        for time_us, one in noted:
            if isinstance(one, Dated) or time_us > begun_us.get(one.pair, -1):
                self.know(one)

    def know(self, told: Knowledge) -> None:
        """Take in what is known."""
        match told:
            case Void(pair, span):
                self.void.setdefault(pair, Spans()).add(span)
            case Unreadable(pair, span):
                self.unreadable.setdefault(pair, Spans()).add(span)
            case Parked(pair, span):
                self.parked.setdefault(pair, Spans()).add(span)
            case Confirmed(pair) as told:
                self._confirmed.setdefault(pair, set()).add(told)
            case Promised(pair) | Anchored(pair) as told:
                self._promises.setdefault(pair, set()).add(told)
            case Disowned(pair) | Reclaimed(pair) | Renumbered(pair) | NumberingSettled(pair) as told:
                self._disownings.setdefault(pair, set()).add(told)
            case never:
                assert_never(never)


class Reader:
    """Reads what is known again and again, each file but once. Of what was confirmed it knows the newest alone."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._told: dict[Path, tuple[Stamp, list[_Noted]]] = {}

    def read(self) -> Known:
        """Read what is known of every pair, as :func:`read` does."""
        return undisturbed(self._read, f"the files in {self._layout.folder(EVENTS)}")

    def _read(self) -> Known:
        known, found = Known(), dict[Path, tuple[Stamp, list[_Noted]]]()
        for path in _files(self._layout, known):
            try:
                now, seen = stamp(path), self._told.get(path)
                found[path] = seen if seen and seen[0] == now else (now, _newest(path))
            except SET_APART as error:
                known.findings.append(Finding.of(error))
        self._told = found
        known.take(one for _, told in found.values() for one in told)
        return known


class DatedClaims:
    """What is claimed of which the latest counts, read again and again: each file but once. For any thread."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._told: dict[Path, tuple[Stamp, list[Dated]]] = {}
        self._claims: dict[str, frozenset[Dated]] = {}

    def claims(self, pair: str) -> frozenset[Dated]:
        """Return all that is claimed of ``pair`` now; what stands in a file that cannot be read does not count.

        Raises UnknownVersion; StorageError if files keep changing.
        """
        with self._lock:
            undisturbed(self._look, f"the files in {self._layout.folder(EVENTS)}")
            return self._claims.get(pair, frozenset())

    def ids(self, pair: str) -> Spans:
        """Return the ids of ``pair`` that are disowned now. Raises as :meth:`claims` does."""
        claims = self.claims(pair)
        return evidence.disowned(claims) if claims else Spans()

    def by_pair(self) -> dict[str, Spans]:
        """Return the ids that are disowned now, of each pair of which any is. Raises as :meth:`claims` does."""
        with self._lock:
            undisturbed(self._look, f"the files in {self._layout.folder(EVENTS)}")
            found = {pair: evidence.disowned(claims) for pair, claims in self._claims.items()}
        return {pair: ids for pair, ids in found.items() if ids}

    def _look(self) -> None:
        found, changed = dict[Path, tuple[Stamp, list[Dated]]](), False
        try:
            paths = self._layout.files(Branch(EVENTS))
        except SET_APART:  # a folder; what is known stays
            return
        for path in paths:
            try:
                now, seen = stamp(path), self._told.get(path)
            except SET_APART:
                continue
            changed |= seen is None or seen[0] != now
            found[path] = seen if seen is not None and seen[0] == now else (now, _claimed(path))
        if changed or len(found) != len(self._told):
            claims: dict[str, set[Dated]] = {}
            for _, told in found.values():
                for one in told:
                    claims.setdefault(one.pair, set()).add(one)
            self._claims = {pair: frozenset(of_pair) for pair, of_pair in claims.items()}
        self._told = found


def _claimed(path: Path) -> list[Dated]:
    try:
        told = [evidence.told(event) for event in _events(path, _DATED)]
    except SET_APART:  # verify, and whoever reads all that is known, tell of it
        return []
    return [one for one in told if isinstance(one, Dated)]


def _newest(path: Path) -> list[_Noted]:
    """Return what a file tells: of each pair what was confirmed last, and all else."""
    told, confirmed = list[_Noted](), dict[str, tuple[int, Confirmed]]()
    for time_us, one in _noted(path):
        if not isinstance(one, Confirmed):
            told.append((time_us, one))
        elif one.pair not in confirmed or one.until_us > confirmed[one.pair][1].until_us:
            confirmed[one.pair] = time_us, one
    return [*told, *confirmed.values()]


def read(layout: Layout) -> Known:
    """Read what is known of every pair. Raises UnknownVersion; StorageError if files keep changing as they are read."""
    return undisturbed(lambda: _read(layout), f"the files in {layout.folder(EVENTS)}")


def _read(layout: Layout) -> Known:
    known, noted = Known(), list[_Noted]()
    for path in _files(layout, known):
        try:
            noted += _noted(path)
        except SET_APART as error:
            known.findings.append(Finding.of(error))
    known.take(noted)
    return known


def _files(layout: Layout, known: Known) -> list[Path]:
    try:
        return layout.files(Branch(EVENTS))
    except SET_APART as error:  # a folder
        known.findings.append(Finding.of(error))
        return []


def _noted(path: Path) -> Iterator[_Noted]:
    for event in _events(path):
        told = evidence.told(event)
        if told is not None:
            yield event.time_us, told


def _events(path: Path, kinds: Sequence[str] = evidence.KINDS) -> Iterator[Event]:
    """Yield the events of kinds that may tell something."""
    with OpenFile(path) as file:
        for rows in file.read(_BATCH, columns=_COLUMNS):
            telling = pc.is_in(rows["kind"], value_set=pa.array(kinds, pa.string()))
            chosen = rows.filter(telling)
            times_us = chosen["time"].cast(pa.int64()).to_pylist()
            for time_us, row in zip(times_us, chosen.drop_columns(["time"]).to_pylist(), strict=True):
                yield Event(time_us, row["kind"], row["pair"], row["detail"])
