"""Certification of days: the proven content of a day is noted once, so that later losses are noticed.

Each pair is checked after a drain, and nothing is read unless a day can have been proven since; then its rows are read,
once. A day to which rows were added lawfully, by history or a filled hole, is certified again; one with other content
is reported, and its certificate stays.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Final, TypeVar

import structlog

from recorder.archive import stored_evidence
from recorder.archive.day_contents import held_days
from recorder.archive.parquet import FileFacts
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.absent_ids import AbsentIds
from recorder.core.certificate import DAY_US, DayRows, certificates
from recorder.core.certified_days import change, latest, number_of
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Certified, Confirmed, Promise
from recorder.core.ledger import Ledger
from recorder.core.plausibility import is_time
from recorder.core.trade_ids import Run, Span, Spans, joined
from recorder.disk import undisturbed
from recorder.errors import StorageError, UnreadableFile
from recorder.runtime.context import Context

ROUND_S: Final = 60.0
"""Interval of checks of each pair: of its file names, and nothing more unless there are new ones."""
TOGETHER_DAYS: Final = 31
"""Days of a pair that are read at once: an archive older than certificates has thousands."""
BUSY_SHARE: Final = 0.05
"""It rests nineteen times as long as it works: years of an older archive take their time, and a drain never waits."""
RECENT: Final = 1_000
"""Certified days held in memory until they are archived: as many as a day of a thousand pairs brings."""
_PROVEN: Final = frozenset({"complete", "partial", "empty"})

_Answer = TypeVar("_Answer")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Facts:
    """A snapshot of what is known of a pair besides its files."""

    absent: AbsentIds
    confirmed: Confirmed | None
    promise: Promise | None
    days: Spans
    unknown_from_us: int | None


@dataclass(slots=True)
class _Pair:
    """State of a pair. Days are counted since 1970; ``judged`` days were read, ``due`` and ``again`` are to be read."""

    files: Mapping[Path, FileFacts] = field(default_factory=dict)
    held: Spans = field(default_factory=Spans)
    mark: object = None
    judged: Spans = field(default_factory=Spans)
    due: Spans = field(default_factory=Spans)
    again: set[int] = field(default_factory=set)


class CertifyDays:
    """Certifies the days of all pairs in the ``archive``.

    ``now_s`` returns the earliest possible time now (seconds since 1970), None if it is unconfirmed: a day is over only
    by a correct clock.
    """

    def __init__(
        self,
        ledger: Ledger,
        archive: TradeArchive,
        context: Context,
        *,
        now_s: Callable[[], float | None],
        round_s: float = ROUND_S,
    ) -> None:
        self._ledger = ledger
        self._archive = archive
        self._clock = context.clock
        self._notes = context.notes
        self._metrics = context.metrics
        self._now_s = now_s
        self._round_s = round_s
        self._pairs: dict[str, _Pair] = {}
        self._recent: deque[Certified] = deque(maxlen=RECENT)

    async def run(self) -> None:
        """Check all pairs until cancelled."""
        while True:
            await self._clock.sleep(self._round_s)
            now_s = self._now_s()
            if now_s is not None:
                await self.round(int(now_s * 1_000_000))

    async def round(self, now_us: int) -> None:
        """Check all pairs once, and note what is proven by ``now_us`` (µs since 1970 UTC)."""
        pairs = await asyncio.to_thread(self._archive.layout.pairs)
        self._pairs = {pair: self._pairs.get(pair) or _Pair() for pair in pairs}
        for pair, seen in self._pairs.items():
            account = self._ledger.of(pair)
            absent = AbsentIds(account.void.copy(), account.disowned.copy())
            numbered = account.renumbered
            unknown_us = None if numbered is None else numbered.from_us
            facts = _Facts(absent, account.confirmed, account.promise, account.memory.days.copy(), unknown_us)
            try:
                await self._timed(functools.partial(self._look, pair, seen, facts, now_us))
                while seen.due:
                    for one in await self._timed(functools.partial(self._first, pair, seen)):
                        await self._note(one)
            except (StorageError, UnreadableFile) as error:  # verify reports it too
                seen.mark = None
                log.error("days not certified", pair=pair, reason=str(error))
        await self._judge_again()

    async def _note(self, one: Certified) -> None:
        self._recent.append(one)
        await self._notes.evidence(one)

    async def _timed(self, work: Callable[[], _Answer]) -> _Answer:
        started_s = self._clock.monotonic()
        done = await asyncio.to_thread(work)
        worked_s = self._clock.monotonic() - started_s
        if worked_s > 0:
            await self._clock.sleep(worked_s * (1 / BUSY_SHARE - 1))
        return done

    def _look(self, pair: str, seen: _Pair, facts: _Facts, now_us: int) -> None:
        """Determine the days of ``pair`` to read."""
        files = self._files(pair)
        runs = joined(run for file in files for run in file.footer.runs)
        held = Spans(run.span for run in runs)
        first_look = not seen.files and not seen.held
        for file in files:
            if not first_look and _is_news(file, seen):
                seen.again.update(_certified_days(file.footer.runs, facts.days, now_us))
        if first_look and facts.promise is not None:  # history may have reached that day in an earlier run
            day = facts.promise.time_us // DAY_US
            seen.again.update({day} if day in facts.days else ())
        seen.files, seen.held = {file.path: file for file in files}, held
        mark = _mark(runs, facts, now_us)
        if mark != seen.mark:
            confirmed = [] if facts.confirmed is None else [facts.confirmed]
            certificates_now = certificates(
                pair,
                runs,
                {},
                now_us=now_us,
                absent=facts.absent,
                confirmed=confirmed,
                promise=facts.promise,
                unknown_from_us=facts.unknown_from_us,
            )
            proven = _spans(number_of(one.day) for one in certificates_now if one.status in _PROVEN)
            done = Spans([*facts.days, *seen.judged])
            seen.due = Spans(part for span in proven for part in done.missing(span))
            seen.mark = mark

    def _first(self, pair: str, seen: _Pair) -> list[Certified]:
        """Read the newest due days, and return their content."""
        newest = list(seen.due)[-1]
        days = Span(max(newest.first, newest.last - TOGETHER_DAYS + 1), newest.last)
        found = self._read(pair, days)
        seen.due.remove(days)
        seen.judged.add(days)
        return [_event_detail(pair, day, rows, 1) for day, rows in sorted(found.items())]

    async def _judge_again(self) -> None:
        """Read certified days again that have new rows, and report those whose certified content differs."""
        wanted = {pair: sorted(seen.again) for pair, seen in self._pairs.items() if seen.again}
        if not wanted:
            return
        certified = await asyncio.to_thread(stored_evidence.certified, self._archive.layout)
        for pair, numbers in wanted.items():
            self._pairs[pair].again.clear()
            recent = (one for one in self._recent if one.pair == pair)
            after_us = evidence.begun_us(self._ledger.of(pair).disownings)
            before = latest([*await asyncio.to_thread(certified.of, pair, after_us=after_us), *recent])
            for number in numbers:
                one = before.get(_day(number))
                if one is not None:
                    try:
                        await self._judge(one, number)
                    except (StorageError, UnreadableFile) as error:
                        log.error("days not certified", pair=pair, reason=str(error))

    async def _judge(self, before: Certified, number: int) -> None:
        pair, days = before.pair, Span(number, number)
        ids = Span(before.first_id, before.last_id)
        let_go = Spans(self._ledger.of(pair).disowned.within(ids)).count()

        def look() -> tuple[str, Certified | None]:
            now = self._day(pair, before, days)
            return change(before, now, let_go=let_go, within=lambda: self._day(pair, before, days, ids)), now

        became, now = await self._timed(look)
        if became == "lawful" and now is not None:
            await self._note(now)
        elif became == "unlike" and not Spans(self._ledger.of(pair).gaps_within(ids)):
            detail = {"certified": _content(before), "held": None if now is None else _content(now)}
            self._metrics.certificates_broken.inc()
            log.error("a certified day has other content", pair=pair, day=before.day.isoformat(), **detail)
            await self._notes.event(EventKind.UNLIKE, pair=pair, day=before.day.isoformat(), **detail)

    def _day(self, pair: str, before: Certified, days: Span, ids: Span | None = None) -> Certified | None:
        rows = self._read(pair, days, ids).get(before.day)
        return None if rows is None else _event_detail(pair, before.day, rows, before.revision + 1)

    def _files(self, pair: str) -> list[FileFacts]:
        return undisturbed(lambda: self._archive.coverage.files(pair, anew=True), f"the files of {pair}")

    def _read(self, pair: str, days: Span, ids: Span | None = None) -> Mapping[date, DayRows]:
        return undisturbed(lambda: held_days(self._archive.coverage.files(pair), days, ids=ids), f"the files of {pair}")


def _is_news(file: FileFacts, seen: _Pair) -> bool:
    """Return whether a file adds new ids or replaces another file: our own merges do neither."""
    known_file = seen.files.get(file.path)
    if known_file is not None:
        return known_file is not file
    return any(not seen.held.covers(run.span) for run in file.footer.runs)


def _certified_days(runs: Iterable[Run], certified: Spans, now_us: int) -> set[int]:
    """Return the certified days that may contain trades of these runs, by the times of their ends."""
    found: set[int] = set()
    for run in runs:
        ends = [us // DAY_US for us in (run.first_us, run.last_us) if is_time(us, now_us)]
        if ends:
            found.update(day for span in certified.within(Span(min(ends), max(ends))) for day in _numbers(span))
    return found


def _mark(runs: Sequence[Run], facts: _Facts, now_us: int) -> object:
    """Return a value that changes whenever other days may be proven than at the last check."""
    ends = hash(tuple((run.span.first, run.span.last) for run in runs[:-1]))
    last = (runs[-1].span.first, runs[-1].last_us // DAY_US) if runs else None
    confirmed = facts.confirmed
    spoken = confirmed is not None and bool(runs) and confirmed.last_id == runs[-1].span.last
    until = confirmed.until_us // DAY_US if confirmed is not None and spoken else None
    absent = facts.absent.void.count(), facts.absent.disowned.count()
    return ends, last, until, now_us // DAY_US, facts.promise, absent, facts.unknown_from_us


def _spans(numbers: Iterable[int]) -> Spans:
    return Spans(Span(number, number) for number in numbers)


def _numbers(span: Span) -> range:
    return range(span.first, span.last + 1)


def _day(number: int) -> date:
    return date(1970, 1, 1) + timedelta(days=number)


def _event_detail(pair: str, day: date, rows: DayRows, revision: int) -> Certified:
    return Certified(pair, day, revision, rows.rows, rows.first_id, rows.last_id, rows.sha256 or "")


def _content(one: Certified) -> dict[str, object]:
    return {"rows": one.rows, "first_id": one.first_id, "last_id": one.last_id, "sha256": one.sha256}
