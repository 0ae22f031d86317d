"""The ledger: which ids of each pair are stored, and what is known of the others. The single source for all other code.

Contains spans with the times of their ends, ids known to be void or disowned, and missing ids. Does not know where the
rows are. A ledger is never saved. It is rebuilt from the archive's footers, its events and the journal; while
recording, also pair by pair where it is found to disagree with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from msgspec import structs

from recorder.core import evidence
from recorder.core.absent_ids import AbsentIds
from recorder.core.certified_days import CertifiedHistory
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
from recorder.core.gaps import Gaps, open_gaps, wanted
from recorder.core.model import Trade
from recorder.core.plausibility import is_before, is_far_gap
from recorder.core.trade_ids import NO_IDS, Gap, Run, Span, Spans, joined, runs_of


@dataclass(frozen=True, slots=True)
class History:
    """Trades of ``pair`` from ``from_us`` on that are below its lowest stored id, ``before_id``, made at ``before_us``.

    Times are µs since 1970 UTC; a ``from_us`` of 0 means from the first trade of all. The ids are not known before the
    exchange is asked.
    """

    pair: str
    from_us: int
    before_id: int
    before_us: int

    def __str__(self) -> str:
        return f"history before id {self.before_id}"


class PairLedger:
    """The stored ids of ``pair``, when the first and last trade of each span were made, and what is known of other ids.

    ``confirmed`` is the newest answer that had nothing after its last id, ``promise`` from when on every trade is to be
    stored. A stored id is never void, unreadable, disowned or ``parked``. ``shown_id`` is the highest id that REST has
    shown in this run, whether it is stored yet or not; ``aside_us`` is the time of the newest trade that REST has shown
    and that was later than everything stored; ``memory`` is what was certified. ``damaged`` ids are in damaged files:
    they are missing, and not requested as long as these files may be repaired. Rows of ``imported`` ids come from
    history files: they are stored like all others, but what lies between them and others is history, not missing.
    """

    def __init__(self, pair: str) -> None:
        self.pair = pair
        self.spans = Spans()
        self.void = Spans()
        self.unreadable = Spans()
        self.parked = Spans()
        self.damaged = Spans()
        self.imported = Spans()
        self.shown_id = 0
        self.memory = CertifiedHistory()
        self.aside_us = 0
        self.confirmed: Confirmed | None = None
        self.promise: Promise | None = None
        self._promises: set[Promised | Anchored] = set()
        self._disownings: set[Dated] = set()
        self._disowned: Spans | None = Spans()
        self._times_us: dict[int, int] = {}
        self._gaps: tuple[Gap, ...] | None = None
        self._far_gaps: tuple[Gap, ...] = ()
        self._given_up = NO_IDS
        self._certified_to = 0

    def observe(self, run: Run) -> None:
        """Add a run of ids of the pair."""
        times, span = self._times_us, run.span
        if self.spans.covers(span):
            return
        times.setdefault(span.first, run.first_us)
        times.setdefault(span.last, run.last_us)
        before = len(self.spans)
        old_last = self.spans.last
        self.spans.add(span)
        if self.void:
            self.void.remove(span)
        if self.unreadable:
            self.unreadable.remove(span)
        if self._disowned:
            self._disowned.remove(span)
        if self.parked:
            self.parked.remove(span)
        if len(self.spans) == before and old_last is not None and old_last + 1 == span.first:
            self._forget_inner(old_last, span.first)  # the live case, in constant time
            if span.first <= self._certified_to:  # it had vanished
                self._gaps = None
            return
        self._gaps = None
        if len(times) > 2 * len(self.spans) + 64:  # inner ids accumulate as gaps close; sweep now and then
            edges = {edge for held in self.spans for edge in (held.first, held.last)}
            self._times_us = {edge: time_us for edge, time_us in times.items() if edge in edges}

    def observe_imported(self, ids: Spans) -> None:
        """Add ids whose rows come from history files; they are observed as stored, too."""
        if any(not self.imported.covers(span) for span in ids):
            self.imported.update(ids)
            self._gaps = None

    def know(self, known: Knowledge) -> None:
        """Add evidence, in any order."""
        match known:
            case Void(_, span):
                self.void.update(self.spans.missing(span))
                self._gaps = None
            case Unreadable(_, span):
                self.unreadable.update(self.spans.missing(span))
                self._gaps = None
            case Disowned() | Reclaimed() | Renumbered() | NumberingSettled() | Joined():
                self._disownings.add(known)
                self._disowned = self._gaps = None
            case Certified():
                self.memory.add_day(known)
                self._remembers()
            case Parked(_, span):
                self.parked.update(self.spans.missing(span))
            case Confirmed():
                if self.confirmed is None or known.until_us > self.confirmed.until_us:
                    self.confirmed = known
            case Promised() | Anchored():
                self._promises.add(known)
                self.promise = evidence.promise(self._promises)
                self._gaps = None
            case never:
                assert_never(never)

    def remember(self, memory: CertifiedHistory) -> None:
        """Add certified days."""
        self.memory.update(memory)
        self._remembers()

    def _remembers(self) -> None:
        self._certified_to = self.memory.every().last or 0
        self._gaps = None

    @property
    def disowned(self) -> Spans:
        """The ids that the owner released, and that are not stored."""
        if self._disowned is None:  # claims come in any order, and by the thousand
            claimed = evidence.disowned(self._disownings)
            self._disowned = Spans(part for span in claimed for part in self.spans.missing(span))
        return self._disowned

    @property
    def disownings(self) -> frozenset[Dated]:
        """All claims about the pair that a later one overrides."""
        return frozenset(self._disownings)

    @property
    def joined_after(self) -> int | None:
        """The id above which all that is missing is wanted, whatever is below it; None: there is none."""
        return evidence.joined_after(self._disownings) if self._disownings else None

    @property
    def promised(self) -> frozenset[Promised | Anchored]:
        """All records of the promise."""
        return frozenset(self._promises)

    @property
    def renumbered(self) -> Renumbered | None:
        """How the exchange renumbered the pair; None if its numbers are the stored ones."""
        return evidence.renumbered(self._disownings) if self._disownings else None

    def absent(self) -> AbsentIds:
        """Return the ids that need not be stored, and why. Do not change the result."""
        return AbsentIds(self.void, self.disowned, self.unreadable)

    def runs(self) -> list[Run]:
        """Return the runs of stored ids, lowest first."""
        times = self._times_us
        return [Run(self.pair, span, times[span.first], times[span.last]) for span in self.spans]

    def gaps(self) -> tuple[Gap, ...]:
        """Return the ids that are missing and not absent, lowest first. Absent ids may divide a gap.

        Missing ids are those between stored ones, or between the anchor of the promise and the first one stored, and
        certified ids that have vanished, at any position. Returns the same object until the gaps change, so that a
        frequent caller need not compare them.
        """
        if self._gaps is None:
            runs, absent = self.runs(), self.absent().ids()
            certified = self.memory.every()
            gaps = open_gaps(self.pair, runs, absent, self.promise, certified)
            joined = self.joined_after
            gaps = wanted(gaps, self.spans, self.imported, self.promise, certified, joined_after=joined)
            self._gaps = tuple(gaps)
            self._far_gaps = tuple(filter(is_far_gap, self._gaps))
            self._given_up = self.memory.given_up(runs, absent)
        return self._gaps

    def history_gaps(self) -> list[Gap]:
        """Return the ids that are missing only beside imported ones, so that they are history; lowest first."""
        wanted_ids = Spans(gap.span for gap in self.gaps())
        between = open_gaps(self.pair, self.runs(), self.absent().ids(), self.promise, self.memory.every())
        return [structs.replace(gap, span=part) for gap in between for part in wanted_ids.missing(gap.span)]

    def unreadable_gaps(self) -> list[Gap]:
        """Return the unreadable ids that are wanted, lowest first, each with the times of the trades next to it."""
        wanted = Spans(part for span in self.unreadable for part in self.disowned.missing(span))
        if not wanted:
            return []
        return [gap for gap in Gaps(self.pair, self.runs(), AbsentIds(unreadable=wanted)).absent() if gap.before_us]

    def gaps_within(self, span: Span) -> list[Span]:
        """Return the parts of a span that are missing."""
        return [part for gap in self.gaps() for part in Spans([gap.span]).within(span)]

    def far_gaps(self) -> list[Gap]:
        """Return the gaps that no outage can have caused, and whose end REST has not shown."""
        self.gaps()
        return [gap for gap in self._far_gaps if gap.span.last > self.shown_id]

    def given_up(self) -> Spans:
        """Return the ids that have vanished and are not fetched again automatically. Do not change the result."""
        self.gaps()
        return self._given_up

    def fetchable_gaps(self) -> tuple[Gap, ...]:
        """Return the gaps worth requesting: those that an outage can leave, or whose end REST has shown.

        Vanished ids are requested only between stored ids of their year: see :class:`CertifiedHistory`.
        """
        if self.renumbered is not None:  # new answers would not contain what is missing
            return ()
        gaps, far = self.gaps(), self.far_gaps()
        if far:
            gaps = tuple(gap for gap in gaps if gap not in far)
        for unwanted in (self.given_up(), self.damaged):
            if unwanted:
                gaps = tuple(structs.replace(gap, span=part) for gap in gaps for part in unwanted.missing(gap.span))
        return gaps

    def newest(self) -> tuple[int, int] | None:
        """Return the highest id that is stored, or known to be made before the promise, and when (µs since 1970 UTC).

        For the anchor of a promise that is the time of the promise: what follows was made later. None if nothing is
        known.
        """
        (_, last_id), promise = self._sent(), self.promise
        if promise is not None and promise.after_id is not None and (last_id is None or last_id < promise.after_id):
            return promise.after_id, promise.time_us
        return None if last_id is None else (last_id, self._times_us[last_id])

    def first_sent(self) -> int | None:
        """Return the lowest id that the exchange sent, or of imported ones that join such ids; None if it sent none."""
        first, after_id = self._sent()[0], self.joined_after
        if first is None or after_id is None:
            return first
        return min(first, *(span.first for span in self.spans if span.last > after_id))

    def _sent(self) -> tuple[int | None, int | None]:
        """Return the ends of the lowest and the highest span with an id that the exchange sent, or that is promised.

        None for none. Imported ids count only where they join such ids.
        """
        if not self.imported:
            return self.spans.first, self.spans.last
        anchor = None if self.promise is None else self.promise.after_id
        sent = [
            span for span in self.spans if not self.imported.covers(span) or (anchor is not None and span.last > anchor)
        ]
        return (sent[0].first, sent[-1].last) if sent else (None, None)

    def complete_until_us(self) -> int | None:
        """Return until when it is known that nothing came after :meth:`newest`; None if nothing is known.

        That is its time, or later if an answer confirmed that none followed.
        """
        newest = self.newest()
        if newest is None:
            return None
        last_id, last_us = newest
        if self.confirmed is None or self.confirmed.last_id != last_id:
            return last_us
        return max(last_us, self.confirmed.until_us)

    def _forget_inner(self, *inner: int) -> None:
        for trade_id in inner:
            if trade_id - 1 in self.spans and trade_id + 1 in self.spans:
                self._times_us.pop(trade_id, None)

    def time_us(self, edge: int) -> int:
        """Return when the trade at the end ``edge`` of a span was made. Raises KeyError for any other id."""
        return self._times_us[edge]

    @property
    def last_us(self) -> int | None:
        """When the newest stored trade was made."""
        return None if self.spans.last is None else self._times_us[self.spans.last]


class _Imported(NamedTuple):
    """The claim that rows of stored ids come from history files."""

    pair: str
    ids: Spans


class Ledger:
    """The ledger of all pairs."""

    def __init__(self) -> None:
        self._pairs: dict[str, PairLedger] = {}
        self._newer: list[Run | Knowledge | _Imported] | None = None  # claims since the mark, if one is set

    def observe(self, run: Run) -> None:
        """Count ``run`` as stored. Only for what is durable: sync, then claim."""
        self.of(run.pair).observe(run)
        if self._newer is not None:
            self._newer.append(run)

    def observe_imported(self, pair: str, ids: Spans) -> None:
        """Count ids of ``pair``, which are stored, as those of rows from history files."""
        if ids:
            self.of(pair).observe_imported(ids)
            if self._newer is not None:
                self._newer.append(_Imported(pair, ids))

    def observe_all(self, runs: Iterable[Run]) -> None:
        """Count runs, of any pairs and in any order, as stored. Only for what is durable."""
        for run in joined(runs):
            self.observe(run)

    def observe_trades(self, trades: Iterable[Trade]) -> None:
        """Count trades, of any pairs and in any order, as stored. Only for what is durable."""
        self.observe_all(runs_of(trades))

    def know(self, known: Knowledge) -> None:
        """Add evidence. Only for what is durable."""
        self.of(known.pair).know(known)
        if self._newer is not None:
            self._newer.append(known)

    def mark(self) -> None:
        """Remember all claims from now on, until :meth:`restate`."""
        self._newer = []

    def restate(self, accounts: Iterable[PairLedger] = ()) -> None:
        """Replace what was claimed by ``accounts`` and by the claims about their pairs since the mark.

        So claims are taken back, and times at the ends of spans stay correct: each comes from a run that still exists.
        """
        newer, self._newer = self._newer or [], None
        restated = {account.pair: account for account in accounts}
        for account in restated.values():
            before = self.of(account.pair)
            account.shown_id, account.aside_us = before.shown_id, before.aside_us
            if evidence.begun_us(account.disownings) == evidence.begun_us(before.disownings):
                account.remember(before.memory)  # certified days are never taken back
        self._pairs |= restated
        for claim in newer:
            if claim.pair not in restated:
                continue
            account = restated[claim.pair]
            if isinstance(claim, Run):
                account.observe(claim)
            elif isinstance(claim, _Imported):
                account.observe_imported(claim.ids)
            else:
                account.know(claim)

    def of(self, pair: str) -> PairLedger:
        """Return the ledger of ``pair``; create it if there is none."""
        account = self._pairs.get(pair)
        if account is None:
            account = self._pairs[pair] = PairLedger(pair)
        return account

    def promise(self, pair: str) -> Promise | None:
        """Return the promise of ``pair``; None for a renumbered pair, or its old promise would be stored with new ids.

        Thread-safe.
        """
        account = self._pairs.get(pair)
        return None if account is None or account.renumbered is not None else account.promise

    def history(self, pair: str, from_us: int) -> History | None:
        """Return the wanted history of ``pair``: from ``from_us`` on, below the lowest stored id; None if none is.

        None is wanted once a trade from before ``from_us`` or the first of all is stored: what is missing after it are
        gaps. For a pair without any trade nothing is known to be missing.
        """
        account = self.of(pair)
        first = account.first_sent()
        if (
            account.renumbered is not None
            or first is None
            or first == 1
            or account.absent().ids().covers(Span(1, first - 1))
        ):
            return None
        if first - 1 in account.given_up():  # it would be fetched again
            return None
        first_us = account.time_us(first)
        return None if is_before(first_us, from_us) else History(pair, from_us, first, first_us)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)
