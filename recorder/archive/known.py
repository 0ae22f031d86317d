"""What the events table knows of ids beside the rows: void, disowned, confirmed, promised, parked, certified.

Of certified days there is one event for each day and pair. They are read by columns, and kept as a few spans.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.integrity import Finding
from recorder.archive.layout import Layout
from recorder.archive.parquet import UNSOUND, OpenFile, Stamp, stamp
from recorder.core import evidence
from recorder.core.absent import Absent
from recorder.core.events import EventKind
from recorder.core.evidence import (
    Anchored,
    Certified,
    Confirmed,
    Disowned,
    Knowledge,
    Parked,
    Promise,
    Promised,
    Reclaimed,
    Void,
)
from recorder.core.ids import Span, Spans
from recorder.core.memory import Memory
from recorder.core.model import Event
from recorder.disk import undisturbed

_COLUMNS: Final = ["kind", "pair", "detail"]
_BATCH: Final = 32_768
_CERTIFIED: Final = (
    r'^\{"day":"(?P<day>\d{4}-\d\d-\d\d)","revision":[1-9]\d{0,17},"rows":[1-9]\d{0,17},'
    r'"first_id":(?P<first_id>\d{1,18}),"last_id":(?P<last_id>\d{1,18}),"sha256":"[^"\\]*"\}$'
)
"""How the recorder spells the detail of such an event."""
_YEARS: Final = 10_000
"""More than there are years in any calendar."""
_Numbers: TypeAlias = npt.NDArray[Any]
_Told: TypeAlias = tuple[list[Knowledge], dict[str, Memory]]


@dataclass(slots=True)
class Known:
    """What is known of each pair; ``findings`` are files that could not be read."""

    void: dict[str, Spans] = field(default_factory=dict)
    parked: dict[str, Spans] = field(default_factory=dict)
    memories: dict[str, Memory] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _confirmed: dict[str, set[Confirmed]] = field(default_factory=dict)
    _promises: dict[str, set[Promised | Anchored]] = field(default_factory=dict)
    _disownings: dict[str, set[Disowned | Reclaimed]] = field(default_factory=dict)

    def confirmed(self, pair: str) -> list[Confirmed]:
        """Return after which ids none came, and until when: all that was told, for a trade may refute the latest."""
        return list(self._confirmed.get(pair, ()))

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
        """The pairs of which anything is promised, or was certified."""
        return {*self._promises, *self.memories}

    def remember(self, memories: Mapping[str, Memory]) -> None:
        """Take in what was certified of each pair."""
        for pair, memory in memories.items():
            self.memories.setdefault(pair, Memory()).update(memory)

    def told(self) -> Iterator[Knowledge]:
        """Return all of it, but for what was certified: that is in ``memories``."""
        for pair, spans in self.void.items():
            yield from (Void(pair, span) for span in spans)
        for pair, spans in self.parked.items():
            yield from (Parked(pair, span) for span in spans)
        for pair in self._confirmed:
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
            case Certified(pair):
                self.memories.setdefault(pair, Memory()).take(told)
            case Parked(pair, span):
                self.parked.setdefault(pair, Spans()).add(span)
            case Confirmed(pair) as told:
                self._confirmed.setdefault(pair, set()).add(told)
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
        self._told: dict[Path, tuple[Stamp, _Told]] = {}

    def read(self) -> Known:
        """Read what is known of every pair, as :func:`read` does."""
        return undisturbed(self._read, f"the files in {self._layout.folder(EVENTS)}")

    def _read(self) -> Known:
        known, found = Known(), dict[Path, tuple[Stamp, _Told]]()
        for path in self._layout.files(Branch(EVENTS)):
            now, seen = stamp(path), self._told.get(path)
            try:
                found[path] = seen if seen and seen[0] == now else (now, _newest(path))
            except UNSOUND as error:
                known.findings.append(Finding.of(error))
        self._told = found
        for _, told in found.values():
            for one in told[0]:
                known.know(one)
            known.remember(told[1])
        return known


class DisownedIds:
    """What is claimed of disowned ids, read again and again: each file but once. For any thread."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._told: dict[Path, tuple[Stamp, list[Disowned | Reclaimed]]] = {}
        self._claims: dict[str, frozenset[Disowned | Reclaimed]] = {}

    def claims(self, pair: str) -> frozenset[Disowned | Reclaimed]:
        """Return all that is claimed of ids of ``pair`` now; what stands in a file that cannot be read does not count.

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
        found, changed = dict[Path, tuple[Stamp, list[Disowned | Reclaimed]]](), False
        for path in self._layout.files(Branch(EVENTS)):
            now, seen = stamp(path), self._told.get(path)
            changed |= seen is None or seen[0] != now
            found[path] = seen if seen is not None and seen[0] == now else (now, _claimed(path))
        if changed or len(found) != len(self._told):
            claims: dict[str, set[Disowned | Reclaimed]] = {}
            for _, told in found.values():
                for one in told:
                    claims.setdefault(one.pair, set()).add(one)
            self._claims = {pair: frozenset(of_pair) for pair, of_pair in claims.items()}
        self._told = found


def _claimed(path: Path) -> list[Disowned | Reclaimed]:
    try:
        told = [evidence.told(event) for event in _events(path, Known(), (EventKind.DISOWNED, EventKind.RECLAIMED))]
    except UNSOUND:  # verify, and whoever reads all that is known, tell of it
        return []
    return [one for one in told if isinstance(one, Disowned | Reclaimed)]


def _newest(path: Path) -> _Told:
    """Return what a file tells: of each pair what was confirmed last, and all else; and what was certified."""
    told, confirmed = Known(), dict[str, Confirmed]()
    for event in _events(path, told):
        one = evidence.told(event)
        if not isinstance(one, Confirmed):
            told.know(one)
        elif one.pair not in confirmed or one.until_us > confirmed[one.pair].until_us:
            confirmed[one.pair] = one
    return [*told.told(), *confirmed.values()], told.memories


def read(layout: Layout) -> Known:
    """Read what is known of every pair. Raises UnknownVersion; StorageError if files keep changing as they are read."""
    return undisturbed(lambda: _read(layout), f"the files in {layout.folder(EVENTS)}")


def _read(layout: Layout) -> Known:
    known = Known()
    for path in layout.files(Branch(EVENTS)):
        try:
            for event in _events(path, known):
                known.take(event)
        except UNSOUND as error:
            known.findings.append(Finding.of(error))
    return known


def certified(layout: Layout) -> CertifiedDays:
    """Read what was certified of each day. Files that cannot be read are left out, as :func:`read` tells."""
    return undisturbed(lambda: _certified_days(layout), f"the files in {layout.folder(EVENTS)}")


class CertifiedDays:
    """What was certified of each day of each pair, as it stands in the events: it is decoded pair by pair."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    def of(self, pair: str) -> list[Certified]:
        """Return all that was ever certified of ``pair``, in no order."""
        rows = self._rows.filter(pc.equal(self._rows["pair"], pair))
        told = (evidence.told(Event(0, EventKind.CERTIFIED, pair, text)) for text in rows["detail"].to_pylist())
        return [one for one in told if isinstance(one, Certified)]


def _certified_days(layout: Layout) -> CertifiedDays:
    columns = pa.schema([("pair", pa.string()), ("detail", pa.string())])
    found = [columns.empty_table()]
    for path in layout.files(Branch(EVENTS)):
        with contextlib.suppress(*UNSOUND), OpenFile(path) as file:
            for rows in file.read(_BATCH, columns=_COLUMNS):
                few = rows.filter(pc.equal(rows["kind"], EventKind.CERTIFIED)).select(columns.names)
                found.append(few.cast(columns))
    return CertifiedDays(pa.concat_tables(found))


def _events(path: Path, known: Known, kinds: Sequence[str] = evidence.KINDS) -> Iterator[Event]:
    """Yield the events of kinds that may tell something, but for those of certified days, which go to ``known``."""
    with OpenFile(path) as file:
        for rows in file.read(_BATCH, columns=_COLUMNS):
            is_certified = pc.equal(rows["kind"], EventKind.CERTIFIED)
            odd = _remember(rows.filter(is_certified), known) if EventKind.CERTIFIED in kinds else rows.slice(0, 0)
            telling = pc.and_not(pc.is_in(rows["kind"], value_set=pa.array(kinds, pa.string())), is_certified)
            for row in pa.concat_tables([rows.filter(telling), odd]).to_pylist():
                yield Event(0, row["kind"], row["pair"], row["detail"])


def _remember(rows: pa.Table, known: Known) -> pa.Table:
    """Take in what was certified, all rows at once; return those that are spelled in another way than ours."""
    rows = rows.filter(pc.is_valid(rows["pair"])).combine_chunks()
    if not rows.num_rows:
        return rows
    found = pc.extract_regex(rows["detail"].combine_chunks(), _CERTIFIED)
    plain = pc.is_valid(found)
    odd, rows, found = rows.filter(pc.invert(plain)), rows.filter(plain), found.filter(plain)
    try:
        days = found.field("day").cast(pa.date32())
        ids = [found.field(name).cast(pa.int64()).to_numpy() for name in ("first_id", "last_id")]
    except pa.ArrowInvalid:  # a day that is none: then each is looked at by itself
        return pa.concat_tables([odd, rows])
    if not rows.num_rows:
        return odd
    words = rows["pair"].combine_chunks().dictionary_encode()
    codes, numbers = words.indices.to_numpy(), days.cast(pa.int32()).to_numpy()
    years, order = pc.year(days).to_numpy(), np.flatnonzero(ids[0] <= ids[1])
    memories = [known.memories.setdefault(pair, Memory()) for pair in words.dictionary.to_pylist()]
    for at, span in _spans(order, codes * _YEARS + years, *ids):
        memories[codes[at]].add(int(years[at]), span)
    for at, span in _spans(order, codes, numbers, numbers):
        memories[codes[at]].days.add(span)
    return odd


def _spans(places: _Numbers, groups: _Numbers, firsts: _Numbers, lasts: _Numbers) -> Iterator[tuple[int, Span]]:
    """Yield what these places hold as spans of one group each, joined where they touch, after one of its places."""
    if not len(places):
        return
    places = places[np.lexsort((firsts[places], groups[places]))]
    groups, firsts, lasts = groups[places], firsts[places], lasts[places]
    begins = np.ones(len(places), np.bool_)
    begins[1:] = (groups[1:] != groups[:-1]) | (firsts[1:] > lasts[:-1] + 1)
    starts = np.flatnonzero(begins)
    highest = np.maximum.reduceat(lasts, starts)
    for start, last in zip(starts.tolist(), highest.tolist(), strict=True):
        yield int(places[start]), Span(int(firsts[start]), last)
