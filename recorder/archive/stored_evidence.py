"""Evidence about ids in the events table: void, unreadable, disowned, confirmed, promised and certified ids.

Certified days have one event per day and pair. They are read by column and stored as a few spans.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.integrity import Finding
from recorder.archive.layout import Layout
from recorder.archive.parquet import SET_APART, OpenFile, Stamp, stamp
from recorder.core import evidence
from recorder.core.absent_ids import AbsentIds
from recorder.core.certified_days import CertifiedHistory
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import (
    Anchored,
    Certified,
    Confirmed,
    Dated,
    Disowned,
    Joined,
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
from recorder.core.model import Event
from recorder.core.trade_ids import Span, Spans
from recorder.disk import undisturbed
from recorder.lazy_imports import pc

_COLUMNS: Final = ["time", "kind", "pair", "detail"]
_BATCH: Final = 32_768
_DATED: Final = (
    EventKind.DISOWNED,
    EventKind.RECLAIMED,
    EventKind.RENUMBERED,
    EventKind.NUMBERING_SETTLED,
    EventKind.JOINED,
)
_CERTIFIED: Final = (
    r'^\{"day":"(?P<day>\d{4}-\d\d-\d\d)","revision":[1-9]\d{0,17},"rows":[1-9]\d{0,17},'
    r'"first_id":(?P<first_id>\d{1,18}),"last_id":(?P<last_id>\d{1,18}),"sha256":"[^"\\]*"\}$'
)
"""The detail of a certified-day event as the recorder writes it."""
_YEARS: Final = 10_000
"""Larger than any year number, so that pair and year can be combined into one number."""
_Numbers: TypeAlias = npt.NDArray[Any]
_Noted: TypeAlias = tuple[int, Knowledge]
"""When something was recorded (µs since 1970 UTC), and what."""


class _Page(NamedTuple):
    """The certified days of a pair in one file, and when the first and the last of them were recorded."""

    path: Path
    memory: CertifiedHistory
    first_us: int
    last_us: int


_Dated: TypeAlias = tuple[list[_Noted], dict[str, _Page]]
"""The evidence in one file; certified days are separate."""


@dataclass(slots=True)
class StoredEvidence:
    """The evidence of every pair; ``findings`` are about files that could not be read."""

    void: dict[str, Spans] = field(default_factory=dict)
    unreadable: dict[str, Spans] = field(default_factory=dict)
    parked: dict[str, Spans] = field(default_factory=dict)
    memories: dict[str, CertifiedHistory] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _confirmed: dict[str, set[Confirmed]] = field(default_factory=dict)
    _promises: dict[str, set[Promised | Anchored]] = field(default_factory=dict)
    _disownings: dict[str, set[Dated]] = field(default_factory=dict)

    def confirmed(self, pair: str) -> list[Confirmed]:
        """Return after which ids no trade came, and until when.

        All records are returned, since a trade may refute the latest.
        """
        return list(self._confirmed.get(pair, ()))

    def disownings(self, pair: str) -> AbstractSet[Dated]:
        """Return all claims ever recorded about ``pair`` of the kinds whose latest counts."""
        return self._disownings.get(pair, set())

    def absent(self, pair: str) -> AbsentIds:
        """Return the ids of ``pair`` that need not be stored, and why."""
        void, unreadable = (spans.get(pair, Spans()) for spans in (self.void, self.unreadable))
        return AbsentIds(void, evidence.disowned(self.disownings(pair)), unreadable)

    def promise(self, pair: str) -> Promise | None:
        """Return the promise of ``pair``."""
        return evidence.promise(self._promises.get(pair, ()))

    @property
    def promised(self) -> Collection[str]:
        """The pairs that have a promise or certified days."""
        return {*self._promises, *self.memories}

    def knowledge(self) -> Iterator[Knowledge]:
        """Return all evidence except certified days, which are in ``memories``."""
        by_kind = (self.void, self.unreadable, self.parked, self._confirmed, self._promises, self._disownings)
        for pair in dict.fromkeys(pair for claims in by_kind for pair in claims):
            yield from self.of(pair)

    def of(self, pair: str) -> Iterator[Knowledge]:
        """Return the same of one pair."""
        yield from (Void(pair, span) for span in self.void.get(pair, ()))
        yield from (Unreadable(pair, span) for span in self.unreadable.get(pair, ()))
        yield from (Parked(pair, span) for span in self.parked.get(pair, ()))
        yield from self._confirmed.get(pair, ())
        yield from self._promises.get(pair, ())
        yield from self._disownings.get(pair, ())

    def add(self, recorded: Iterable[_Dated]) -> None:
        """Add all recorded evidence, except what became obsolete when a pair was renumbered."""
        recorded = list(recorded)
        begun_us: dict[str, int] = {}
        for _, one in (noted for file in recorded for noted in file[0]):
            if isinstance(one, NumberingSettled) and one.anew:
                begun_us[one.pair] = max(one.time_us, begun_us.get(one.pair, 0))
        for time_us, one in (noted for file in recorded for noted in file[0]):
            if isinstance(one, Dated) or time_us > begun_us.get(one.pair, -1):
                self.know(one)
        for pair, page in (page for file in recorded for page in file[1].items()):
            after_us = begun_us.get(pair, page.first_us - 1)
            if page.first_us > after_us:
                self.memories.setdefault(pair, CertifiedHistory()).update(page.memory)
            elif page.last_us > after_us:
                for time_us, one in _certified_in(page.path, pair):
                    if time_us > after_us:
                        self.know(one)

    def know(self, claim: Knowledge) -> None:
        """Add one piece of evidence."""
        match claim:
            case Void(pair, span):
                self.void.setdefault(pair, Spans()).add(span)
            case Unreadable(pair, span):
                self.unreadable.setdefault(pair, Spans()).add(span)
            case Certified(pair):
                self.memories.setdefault(pair, CertifiedHistory()).add_day(claim)
            case Parked(pair, span):
                self.parked.setdefault(pair, Spans()).add(span)
            case Confirmed(pair) as claim:
                self._confirmed.setdefault(pair, set()).add(claim)
            case Promised(pair) | Anchored(pair) as claim:
                self._promises.setdefault(pair, set()).add(claim)
            case Disowned(pair) | Reclaimed(pair) | Renumbered(pair) | NumberingSettled(pair) | Joined(pair) as claim:
                self._disownings.setdefault(pair, set()).add(claim)
            case never:
                assert_never(never)


class EvidenceReader:
    """Reads the evidence repeatedly, but each file only once. Of confirmations it keeps only the latest per pair."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._by_file: dict[Path, tuple[Stamp, _Dated]] = {}

    def read(self) -> StoredEvidence:
        """Read the evidence of every pair, as the function :func:`read` does."""
        return undisturbed(self._read, f"the files in {self._layout.folder(EVENTS)}")

    def _read(self) -> StoredEvidence:
        known, found = StoredEvidence(), dict[Path, tuple[Stamp, _Dated]]()
        for path in _files(self._layout, known):
            try:
                now, seen = stamp(path), self._by_file.get(path)
                found[path] = seen if seen and seen[0] == now else (now, _newest(path))
            except SET_APART as error:
                known.findings.append(Finding.of(error))
        self._by_file = found
        known.add([recorded for _, recorded in found.values()])
        return known


class DatedClaims:
    """The claims of the kinds whose latest counts, read repeatedly, but each file only once. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._by_file: dict[Path, tuple[Stamp, list[Dated]]] = {}
        self._claims: dict[str, frozenset[Dated]] = {}

    def claims(self, pair: str) -> frozenset[Dated]:
        """Return the current claims about ``pair``. Files that cannot be read do not count.

        Raises StorageError if files keep changing.
        """
        with self._lock:
            undisturbed(self._look, f"the files in {self._layout.folder(EVENTS)}")
            return self._claims.get(pair, frozenset())

    def ids(self, pair: str) -> Spans:
        """Return the ids of ``pair`` that are disowned now. Raises as :meth:`claims` does."""
        claims = self.claims(pair)
        return evidence.disowned(claims) if claims else Spans()

    def by_pair(self) -> dict[str, Spans]:
        """Return the ids that are disowned now, for each pair that has any. Raises as :meth:`claims` does."""
        with self._lock:
            undisturbed(self._look, f"the files in {self._layout.folder(EVENTS)}")
            found = {pair: evidence.disowned(claims) for pair, claims in self._claims.items()}
        return {pair: ids for pair, ids in found.items() if ids}

    def _look(self) -> None:
        found, changed = dict[Path, tuple[Stamp, list[Dated]]](), False
        try:
            paths = self._layout.files(Branch(EVENTS))
        except SET_APART:  # an unreadable folder: keep what is known
            return
        for path in paths:
            try:
                now, seen = stamp(path), self._by_file.get(path)
            except SET_APART:
                continue
            changed |= seen is None or seen[0] != now
            found[path] = seen if seen is not None and seen[0] == now else (now, _claimed(path))
        if changed or len(found) != len(self._by_file):
            claims: dict[str, set[Dated]] = {}
            for _, of_file in found.values():
                for one in of_file:
                    claims.setdefault(one.pair, set()).add(one)
            self._claims = {pair: frozenset(of_pair) for pair, of_pair in claims.items()}
        self._by_file = found


def _claimed(path: Path) -> list[Dated]:
    try:
        claims = [evidence.from_event(event) for event in _events(path, {}, _DATED)]
    except SET_APART:  # reported by verify and by readers of all evidence
        return []
    return [one for one in claims if isinstance(one, Dated)]


def _newest(path: Path) -> _Dated:
    """Return the evidence in a file, with only the latest confirmation of each pair."""
    noted, pages = _noted(path)
    others, confirmed = list[_Noted](), dict[str, tuple[int, Confirmed]]()
    for time_us, one in noted:
        if not isinstance(one, Confirmed):
            others.append((time_us, one))
        elif one.pair not in confirmed or one.until_us > confirmed[one.pair][1].until_us:
            confirmed[one.pair] = time_us, one
    return [*others, *confirmed.values()], pages


def read(layout: Layout) -> StoredEvidence:
    """Read the evidence of every pair. Raises UnknownVersion; StorageError if files keep changing as they are read."""
    return undisturbed(lambda: _read(layout), f"the files in {layout.folder(EVENTS)}")


def _read(layout: Layout) -> StoredEvidence:
    known, recorded = StoredEvidence(), list[_Dated]()
    for path in _files(layout, known):
        try:
            recorded.append(_noted(path))
        except SET_APART as error:
            known.findings.append(Finding.of(error))
    known.add(recorded)
    return known


def _files(layout: Layout, known: StoredEvidence) -> list[Path]:
    try:
        return layout.files(Branch(EVENTS))
    except SET_APART as error:  # an unreadable folder
        known.findings.append(Finding.of(error))
        return []


def certified(layout: Layout) -> CertifiedDays:
    """Read the certificates of every day. Files that cannot be read are left out; :func:`read` reports them."""
    return undisturbed(lambda: _certified_days(layout), f"the files in {layout.folder(EVENTS)}")


class CertifiedDays:
    """The certificates of every day of every pair, as rows of the events table, decoded pair by pair."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    def of(self, pair: str, *, after_us: int | None = None) -> list[Certified]:
        """Return all certificates ever recorded for ``pair``, unordered.

        With ``after_us`` (µs since 1970 UTC), return only those recorded after it.
        """
        rows = self._rows.filter(pc.equal(self._rows["pair"], pair))
        if after_us is not None:
            rows = rows.filter(pc.greater(rows["time"], after_us))
        claims = (evidence.from_event(Event(0, EventKind.CERTIFIED, pair, text)) for text in rows["detail"].to_pylist())
        return [one for one in claims if isinstance(one, Certified)]


def _certified_days(layout: Layout) -> CertifiedDays:
    columns = pa.schema([("time", pa.int64()), ("pair", pa.string()), ("detail", pa.string())])
    found = [columns.empty_table()]
    for path in _files(layout, StoredEvidence()):
        with contextlib.suppress(*SET_APART), OpenFile(path) as file:
            for rows in file.read(_BATCH, columns=_COLUMNS):
                few = rows.filter(pc.equal(rows["kind"], EventKind.CERTIFIED)).select(columns.names)
                found.append(few.cast(columns))
    return CertifiedDays(pa.concat_tables(found))


def _noted(path: Path) -> _Dated:
    pages: dict[str, _Page] = {}
    claims = [(event.time_us, evidence.from_event(event)) for event in _events(path, pages)]
    return [(time_us, one) for time_us, one in claims if one is not None], pages


def _certified_in(path: Path, pair: str) -> Iterator[tuple[int, Certified]]:
    """Yield the certified days of a pair in a file, one by one, and when each was recorded."""
    with OpenFile(path) as file:
        for rows in file.read(_BATCH, columns=_COLUMNS):
            chosen = pc.and_(pc.equal(rows["kind"], EventKind.CERTIFIED), pc.equal(rows["pair"], pair))
            for event in _as_events(rows.filter(chosen)):
                if isinstance(one := evidence.from_event(event), Certified):
                    yield event.time_us, one


def _events(path: Path, pages: dict[str, _Page], kinds: Sequence[str] = evidence.KINDS) -> Iterator[Event]:
    """Yield the events that may contain evidence, except certified days, which are added to ``pages``."""
    with OpenFile(path) as file:
        for rows in file.read(_BATCH, columns=_COLUMNS):
            is_certified = pc.equal(rows["kind"], EventKind.CERTIFIED)
            some = EventKind.CERTIFIED in kinds
            odd = _remember(rows.filter(is_certified), path, pages) if some else rows.slice(0, 0)
            telling = pc.and_not(pc.is_in(rows["kind"], value_set=pa.array(kinds, pa.string())), is_certified)
            yield from _as_events(pa.concat_tables([rows.filter(telling), odd]))


def _as_events(rows: pa.Table) -> Iterator[Event]:
    times_us = rows["time"].cast(pa.int64()).to_pylist()
    for time_us, row in zip(times_us, rows.drop_columns(["time"]).to_pylist(), strict=True):
        yield Event(time_us, row["kind"], row["pair"], row["detail"])


def _paged(pages: dict[str, _Page], pair: str, path: Path, first_us: int, last_us: int) -> _Page:
    """Return the page of a pair, with its time range extended by some more rows."""
    before = pages.get(pair, _Page(path, CertifiedHistory(), first_us, last_us))
    ends = min(first_us, before.first_us), max(last_us, before.last_us)
    page = pages[pair] = _Page(path, before.memory, *ends)
    return page


def _remember(rows: pa.Table, path: Path, pages: dict[str, _Page]) -> pa.Table:
    """Add all rows of certified days at once; return those that are not spelled as the recorder writes them."""
    rows = rows.filter(pc.is_valid(rows["pair"])).combine_chunks()
    if not rows.num_rows:
        return rows
    found = pc.extract_regex(rows["detail"].combine_chunks(), _CERTIFIED)
    plain = pc.is_valid(found)
    odd, rows, found = rows.filter(pc.invert(plain)), rows.filter(plain), found.filter(plain)
    try:
        days = found.field("day").cast(pa.date32())
        ids = [found.field(name).cast(pa.int64()).to_numpy() for name in ("first_id", "last_id")]
    except pa.ArrowInvalid:  # not a valid day: then each row is decoded separately
        return pa.concat_tables([odd, rows])
    if not rows.num_rows:
        return odd
    words = rows["pair"].combine_chunks().dictionary_encode()
    codes, numbers = words.indices.to_numpy(), days.cast(pa.int32()).to_numpy()
    years, order = pc.year(days).to_numpy(), np.flatnonzero(ids[0] <= ids[1])
    times_us = rows["time"].cast(pa.int64()).to_numpy()
    pairs, ends_us = words.dictionary.to_pylist(), (int(times_us.min()), int(times_us.max()))
    memories = [_paged(pages, pair, path, *ends_us).memory for pair in pairs]
    for at, span in _spans(order, codes * _YEARS + years, *ids):
        memories[codes[at]].add(int(years[at]), span)
    for at, span in _spans(order, codes, numbers, numbers):
        memories[codes[at]].days.add(span)
    return odd


def _spans(places: _Numbers, groups: _Numbers, firsts: _Numbers, lasts: _Numbers) -> Iterator[tuple[int, Span]]:
    """Yield the rows at ``places`` as spans of one group each, joined if they touch, each after one of its places."""
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
