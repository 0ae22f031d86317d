"""Following pairs: each trade once it is durable, strictly by id, from the archive and then from the journal.

The journal is read on as it grows. The archive is looked at where ids are missing, and after each drain, since rows may
have moved there unread; the journal is always read first, so that no row is missed between the two. Which trade is
next is decided by :mod:`recorder.core.trade_sequence`. Polls files, and keeps none open between polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import operator
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Final, Self, SupportsIndex

import msgspec

from recorder.archive import read_trades, renumbering
from recorder.archive.coverage import Coverage
from recorder.archive.layout import existing
from recorder.archive.parquet import SET_APART, FileFacts
from recorder.archive.stored_evidence import EvidenceReader, StoredEvidence
from recorder.clock import Clock, SystemClock
from recorder.core import evidence
from recorder.core.event_kinds import NOTE
from recorder.core.evidence import Confirmed, Knowledge
from recorder.core.ledger import PairLedger
from recorder.core.model import Trade
from recorder.core.trade_ids import Run, Span, joined
from recorder.core.trade_sequence import Delivery, Skipped, TradeSequence
from recorder.disk import undisturbed
from recorder.errors import Malformed, StorageError, UsageError
from recorder.journal.live_read import JournalReader
from recorder.journal.segment import Entry
from recorder.kraken import records
from recorder.query import arguments

After = SupportsIndex | Mapping[str, SupportsIndex] | None
"""Where to begin: behind this id of the only pair, or of each pair; None: behind its newest durable id."""

POLL_S: Final = 0.05
"""Seconds between two looks at the journal while nothing comes."""
_BLOCKED_LOOK_S: Final = 1.0
"""Seconds between two looks at the archive for a pair whose next ids are missing."""
_LOOK_S: Final = 10.0
"""Seconds between two looks at the archive for every pair: repairs add rows there and nowhere else."""
_WAITING_ROWS: Final = 100_000
"""Rows, of all pairs, that are kept while they wait for lower ids: some 50 MB."""
_LEAST_ROWS: Final = 1_000
"""The same of one pair at least."""
_BATCH_ROWS: Final = 5_000
"""Rows read from the archive at once."""
_TURN_IDS: Final = 100_000
"""Ids of a pair that are read from the archive before it is another pair's turn."""
_AT_ONCE: Final = float("-inf")
"""The time to look again, in monotonic seconds, at what is to be looked at in any case."""
_PAIR_OF: Final = operator.attrgetter("pair")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LiveTrade(msgspec.Struct, frozen=True):
    """One trade, with the columns of the view ``trades``: times are UTC, price and quantity exact.

    ``received`` is None unless it arrived live. ``skipped`` are the ids between the trade of this pair that came before
    and this one, nearly always none: ids that the exchange does not have (``void``) or serves unreadably
    (``unreadable``), that the archive's owner released (``disowned``), or that are below everything stored or promised
    (``before``).
    """

    pair: str
    trade_id: int
    time: datetime
    price: Decimal
    qty: Decimal
    side: str
    ord_type: str
    misc: str
    source: str
    received: datetime | None
    skipped: tuple[Skipped, ...] = ()


@dataclass(slots=True, eq=False)
class _Followed:
    """A pair, the ids that are being read from the archive, and when it is to be looked into again.

    ``look_s`` is in monotonic seconds; ``gap_id`` is the first of the missing ids that were looked for last.
    """

    sequence: TradeSequence
    wanted: Span | None = None
    reading: Iterator[list[Trade]] | None = None
    look_s: float = _AT_ONCE
    gap_id: int = 0

    def is_due(self, now_s: float) -> bool:
        """Return whether it is time to look into the archive for this pair: at once for each new gap."""
        sequence = self.sequence
        if sequence.blocked:
            return now_s >= self.look_s or sequence.next_id != self.gap_id
        return self.look_s == _AT_ONCE


class Follower:
    """The trades of some pairs from now on: an iterator, and an asynchronous iterator. Made by ``Archive.follow()``.

    Iterating waits for the next trade, until :meth:`close`, which another thread may call. Each pair is in ascending id
    without omission; pairs come as they are stored. After an error iterating may go on, and nothing is lost.
    """

    def __init__(
        self,
        data: Path,
        pairs: Sequence[str],
        after: After = None,
        *,
        poll_s: float = POLL_S,
        clock: Clock | None = None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """Follow ``pairs``; ``pause`` waits that many seconds. Raise UsageError, NoSuchArchive."""
        self._layout = existing(data)
        self._coverage = Coverage(self._layout)
        self._events = EvidenceReader(self._layout)
        self._journal = JournalReader(self._layout.journal)
        self._noted = StoredEvidence()
        self._poll_s = poll_s
        self._clock = SystemClock() if clock is None else clock
        self._closed = threading.Event()
        self._pause = self._closed.wait if pause is None else pause
        self._working = threading.Lock()
        self._due: deque[Delivery] = deque()
        self._reading: deque[_Followed] = deque()
        self._changes = 0
        self._look_s = _AT_ONCE
        self._stored = self._events.read()
        self._pairs = frozenset(pairs)
        self._names = tuple(f'"{pair}"'.encode() for pair in pairs)
        begins = self._begins(pairs, _after(pairs, after))
        limit = max(_LEAST_ROWS, _WAITING_ROWS // len(begins))
        self._followed = {pair: _Followed(TradeSequence(pair, begin, limit=limit)) for pair, begin in begins.items()}
        self._after = begins

    @property
    def after(self) -> dict[str, int]:
        """The id of the last trade returned of each pair; as ``after`` of a new follower it resumes exactly there."""
        return dict(self._after)

    @property
    def waiting(self) -> dict[str, Span]:
        """The pairs with later trades that wait, each with the missing ids they wait for, which are being fetched."""
        spans = {pair: one.sequence.waiting for pair, one in self._followed.items()}
        return {pair: span for pair, span in spans.items() if span is not None}

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> LiveTrade:
        while True:
            if self._closed.is_set():
                raise StopIteration
            if self._due:
                return self._next()
            if not self._advance():
                self._pause(self._poll_s)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LiveTrade:
        while True:
            if self._closed.is_set():
                raise StopAsyncIteration
            if self._due:
                return self._next()
            if not await asyncio.to_thread(self._advance):
                await self._clock.sleep(self._poll_s)

    async def batch(self) -> list[LiveTrade]:
        """Return the trades that are due, at most 1,000; none if none came within one poll.

        For callers that pass on many at once, or that also report :attr:`waiting`.
        """
        if not self._due and not await asyncio.to_thread(self._advance):
            await self._clock.sleep(self._poll_s)
        return [self._next() for _ in range(min(len(self._due), _LEAST_ROWS))]

    def close(self) -> None:
        """End the iteration. Closing twice is allowed."""
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next(self) -> LiveTrade:
        delivery = self._due.popleft()
        trade = delivery.trade
        self._after[trade.pair] = trade.trade_id
        return LiveTrade(
            pair=trade.pair,
            trade_id=trade.trade_id,
            time=_moment(trade.time_us),
            price=trade.price,
            qty=trade.qty,
            side=trade.side,
            ord_type=trade.ord_type,
            misc=trade.misc,
            source=trade.source,
            received=None if trade.received_us is None else _moment(trade.received_us),
            skipped=delivery.skipped,
        )

    def _begins(self, pairs: Sequence[str], after: Mapping[str, int]) -> dict[str, int]:
        """Return the id behind which each pair begins: the given one, or the newest in the journal or the archive."""
        journalled = self._newest_journalled(pairs)
        if after:
            self._journal.rewind()
        begins = dict[str, int]()
        for pair in pairs:
            newest = self._account(pair, self._files(pair)).newest()
            if newest is None and pair not in journalled:
                arguments.pair(pair, {*self._layout.pairs(), *journalled})
            begins[pair] = after.get(pair, max(newest[0] if newest else 0, journalled.get(pair, 0)))
        return begins

    def _newest_journalled(self, pairs: Sequence[str]) -> dict[str, int]:
        newest: dict[str, int] = {}
        while entries := self._journal.read():
            for claim in records.claims(self._of_interest(entries)):
                if claim.pair not in pairs:
                    continue
                if isinstance(claim, Run):
                    newest[claim.pair] = max(claim.span.last, newest.get(claim.pair, 0))
                else:
                    self._note(claim)
        return newest

    def _advance(self) -> bool:
        """Do a bounded piece of work; return whether there may be more to do at once. Raise StorageError, DiskError."""
        with self._working:
            entries = self._journal.read()
            self._offer(entries)
            if not entries:  # first whatever is journalled: it may be what is missing
                self._look()
            reading = bool(self._reading)
            if reading:
                self._read_on(self._reading[0])
            if any(one.sequence.forgot for one in self._followed.values()):
                for one in self._followed.values():
                    one.sequence.offer_again()
                self._journal.rewind()
                return True
            return bool(entries) or reading or bool(self._due)

    def _offer(self, entries: Iterable[Entry]) -> None:
        for entry in self._of_interest(entries):
            with contextlib.suppress(Malformed):  # left to the drain, which reports it
                if entry.source == NOTE:
                    for claim in records.claims([entry]):
                        self._note(claim)
                    continue
                for pair, rows in itertools.groupby(records.trades(entry), _PAIR_OF):
                    if (one := self._followed.get(pair)) is not None:
                        one.sequence.offer(rows)
                        self._due.extend(one.sequence.due())

    def _of_interest(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield the lines that may have trades of the pairs, or notes, without parsing them."""
        for entry in entries:
            first = records.streamed_pair(entry)
            if first is None or first in self._pairs or any(name in entry.payload for name in self._names):
                yield entry

    def _note(self, claim: Run | Knowledge) -> None:
        if not isinstance(claim, Run | Confirmed) and claim.pair in self._pairs:
            self._noted.know(claim)

    def _look(self) -> None:
        """Look into the archive for what the journal does not have, where that is due."""
        now_s = self._clock.monotonic()
        drained = self._changes != self._journal.changes
        everywhere = drained or now_s >= self._look_s
        due = [one for one in self._followed.values() if one not in self._reading and (everywhere or one.is_due(now_s))]
        if everywhere:
            self._changes, self._look_s = self._journal.changes, now_s + _LOOK_S
        if drained or (everywhere and any(one.sequence.blocked for one in due)):
            self._stored = self._events.read()
        errors = []
        for one in due:
            one.look_s = now_s + _BLOCKED_LOOK_S
            one.gap_id = one.sequence.next_id if one.sequence.blocked else 0
            try:
                self._resolve(one)
            except (*SET_APART, StorageError) as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _resolve(self, one: _Followed) -> None:
        """Find out what the next ids of a pair are. Raise StorageError, DiskError if that cannot be known."""
        sequence = one.sequence
        try:
            files = self._files(sequence.pair)
        except SET_APART:
            if sequence.blocked:
                raise
            return  # the journal may go on without the archive
        account = self._account(sequence.pair, files)
        if account.renumbered is not None:
            remedy = renumbering.remedy(self._layout, sequence.pair)
            raise StorageError(f"{sequence.pair} has been renumbered by the exchange, so no trade follows: {remedy}")
        if self._stored.findings and sequence.blocked:
            found = self._stored.findings[0]
            raise StorageError(
                f"why trades of {sequence.pair} are missing: {found.file} {found.problem}: {found.remedy}"
            )
        held = sequence.resolve(account)
        if delivered := list(sequence.due()):
            self._due.extend(delivered)
            one.look_s = _AT_ONCE  # what follows them may be in the archive alone
        if held is not None:
            one.wanted = Span(held.first, min(held.last, held.first + _TURN_IDS - 1))
            one.reading = read_trades.span_rows(files, sequence.pair, one.wanted, size=_BATCH_ROWS)
            self._reading.append(one)

    def _read_on(self, one: _Followed) -> None:
        """Offer the next rows of a pair from the archive; after the last ones, look at once for what follows."""
        pieces = None
        try:
            pieces = next(one.reading, None) if one.reading is not None else None
            if pieces is None and one.wanted is not None and one.sequence.next_id in one.wanted:
                raise StorageError(
                    f"the files of {one.sequence.pair} lack ids that their footers list, from {one.sequence.next_id} "
                    "on: run `recorder verify`"
                )
        except FileNotFoundError:  # compacted before it was opened
            pass
        finally:
            if pieces is None:
                self._reading.popleft()
                one.reading, one.look_s = None, _AT_ONCE
        for first in range(0, len(pieces or ()), _LEAST_ROWS):
            one.sequence.offer((pieces or [])[first : first + _LEAST_ROWS])
            self._due.extend(one.sequence.due())

    def _files(self, pair: str) -> list[FileFacts]:
        return undisturbed(lambda: self._coverage.files(pair, anew=True), f"the files of {pair}")

    def _account(self, pair: str, files: Iterable[FileFacts]) -> PairLedger:
        """Return what archive, events and journalled notes say about a pair."""
        account, files = PairLedger(pair), list(files)
        for run in joined(run for file in files for run in file.footer.runs):
            account.observe(run)
        promise = evidence.earliest(*{file.footer.promise for file in files})
        for known in (
            *(evidence.notes(pair, promise) if promise else ()),
            *self._stored.of(pair),
            *self._noted.of(pair),
        ):
            account.know(known)
        for source in (self._stored, self._noted):
            if pair in source.memories:
                account.remember(source.memories[pair])
        return account


def _after(pairs: Sequence[str], after: After) -> dict[str, int]:
    """Return the ids to begin behind. Raise UsageError for one that is no id, or of no followed pair."""
    if after is None:
        return {}
    if not isinstance(after, Mapping):
        if len(pairs) > 1:
            raise UsageError(f"after={after!r} is an id of one pair, and {len(pairs)} are followed: pass a dict")
        after = {pairs[0]: after}
    if strange := [pair for pair in after if pair not in pairs]:
        raise UsageError(f"after names {strange[0]!r}, which is not followed; followed are {', '.join(pairs)}")
    return {pair: _id(value) for pair, value in after.items()}


def _id(value: SupportsIndex) -> int:
    try:
        found = operator.index(value)
    except TypeError:
        found = -1
    if found < 0:
        raise UsageError(f"after is the id of a trade, 0 for all trades, or None, not {value!r}")
    return found


def _moment(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)
