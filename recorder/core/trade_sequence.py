"""The trades of one pair in the order of their ids, each once, from rows that come in any order.

A follower delivers a trade when every id below it was delivered or need not be waited for. Contains that rule and what
is kept in memory until then; does not know where rows come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from recorder.core.ledger import PairLedger
from recorder.core.model import Trade
from recorder.core.trade_ids import NO_IDS, Run, Span

SkipReason = Literal["void", "unreadable", "disowned", "before"]
"""Why ids are passed over: the states of absent ids, and ``before`` for ids below everything stored or promised, which
are not fetched."""

_NOTHING_SKIPPED: Final = ()


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """Consecutive ids, both ends included, that a follower passes over, and why."""

    first_id: int
    last_id: int
    reason: SkipReason


class Delivery(msgspec.Struct, frozen=True):
    """The next trade of a pair, and the ids between the trade delivered before it and this one."""

    trade: Trade
    skipped: tuple[Skipped, ...] = _NOTHING_SKIPPED


class TradeSequence:
    """What was delivered of ``pair``, and the rows that wait for lower ids, at most ``limit`` of them.

    :meth:`offer` takes rows, in any order and repeatedly; :meth:`resolve` takes what is known of the other ids;
    :meth:`due` returns what can be delivered. Beyond ``limit`` the highest rows are forgotten: once the others are
    delivered the sequence :attr:`forgot` rows, and all must be offered again.
    """

    def __init__(self, pair: str, after: int, *, limit: int) -> None:
        """Begin behind the id ``after``."""
        self.pair = pair
        self.waiting: Span | None = None
        """The open ids that something known waits for, as of the last :meth:`resolve`."""
        self._next = after + 1
        self._limit = limit
        self._rows: dict[int, Trade] = {}
        self._skipped: list[Skipped] = []
        self._forgotten_from: int | None = None
        self._disowned = NO_IDS
        self._last: Trade | None = None

    @property
    def next_id(self) -> int:
        """The lowest id that was neither delivered nor passed over."""
        return self._next

    @property
    def blocked(self) -> bool:
        """Whether rows wait for lower ids: rows that were offered, or stored ones as of the last :meth:`resolve`."""
        return self.waiting is not None or (bool(self._rows) and self._next not in self._rows)

    @property
    def forgot(self) -> bool:
        """Whether rows that were forgotten are needed now; calling :meth:`offer_again` is the answer."""
        return self._forgotten_from is not None and not self._rows

    def offer_again(self) -> None:
        """Accept rows of any id again: all that were offered are about to come once more."""
        self._forgotten_from = None

    def offer(self, rows: Iterable[Trade]) -> None:
        """Add durable rows. Of several with the same id the first counts."""
        kept = self._rows
        for row in rows:
            trade_id = row.trade_id
            if trade_id < self._next or (self._forgotten_from is not None and trade_id >= self._forgotten_from):
                continue
            if trade_id not in self._disowned:
                kept.setdefault(trade_id, row)
        if len(kept) > self._limit:
            ids = sorted(kept)
            self._forgotten_from = ids[self._limit]
            for trade_id in ids[self._limit :]:
                del kept[trade_id]

    def due(self) -> Iterator[Delivery]:
        """Yield the trades that no lower id precedes any more. Each counts as delivered when it is yielded."""
        rows = self._rows
        while (row := rows.pop(self._next, None)) is not None:
            self._next += 1
            self._last, self.waiting = row, None
            if self._skipped:
                skipped, self._skipped = tuple(self._skipped), []
                yield Delivery(row, skipped)
            else:
                yield Delivery(row)

    def resolve(self, account: PairLedger) -> Span | None:
        """Pass over the ids that need not be waited for. Return the next ids if only the archive has their rows.

        ``account`` is what is stored and known of the pair now; it is changed. The caller offers the rows of the
        returned ids.
        """
        self.waiting = None
        self._disowned = account.disowned.copy()
        self._rows = {trade_id: row for trade_id, row in self._rows.items() if trade_id not in self._disowned}
        lowest = min(self._rows, default=None)
        # What was delivered and what waits is stored, in the journal at least. So ids between are missing, not unknown,
        # even if a year's folder is not seen for a moment, as where a compaction cannot exchange two folders at once.
        for row in (self._last, None if lowest is None else self._rows[lowest]):
            if row is not None:
                account.observe(Run(self.pair, Span(row.trade_id, row.trade_id), row.time_us, row.time_us))
        while self._next != lowest:
            if self._next in account.spans:
                held = next(span for span in account.spans if self._next in span)
                return Span(self._next, held.last if lowest is None or lowest > held.last else lowest - 1)
            passed = self._passed(account)
            if passed is None:
                return None
            self._skipped.append(passed)
            self._next = passed.last_id + 1
        return None

    def _passed(self, account: PairLedger) -> Skipped | None:
        """Return the ids from the next one on that are passed over for one reason; None if the next one is not."""
        for reason, ids in account.absent().by_state():
            found = next((span for span in ids if self._next in span), None)
            if found is not None and reason != "open":
                return Skipped(self._next, found.last, reason)
        above = next((span.first for span in account.spans if span.first > self._next), None)
        if above is None:
            return None
        unknown = Span(self._next, above - 1)
        if account.promise is not None and account.promise.after_id is None:
            missing = [unknown]  # the exchange is still being asked where the promise begins
        else:
            missing = account.gaps_within(unknown)
        if missing and missing[0].first == self._next:
            self.waiting = missing[0]
            return None
        known = [span.first for span in (*missing, *account.absent().ids().within(unknown))]
        return Skipped(self._next, min(known, default=above) - 1, "before")
