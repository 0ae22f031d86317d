"""Start of recording of each pair: the time from which completeness is promised.

The first things requested may be lost: the connection, the first snapshot, an answer. Only because the promise is on
disk before, the gap between it and the first stored trade is visible, whatever restarts or configuration changes
follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

import structlog

from recorder.core.evidence import Anchored, Promised
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Span
from recorder.runtime.context import Context

MARGIN_S: Final = 60.0
"""A promise begins this long before the earliest clock: clocks differ by seconds, and answers come from caches."""
EARLIEST_S: Final = 1_735_689_600
"""2025-01-01: no correct clock shows a time before this program was written. A clock that does was never set, and would
promise years of unwanted trades."""
US_PER_S: Final = 1_000_000

log = structlog.get_logger()


class Promises:
    """Makes the promises of pairs, each once.

    ``now_s`` and ``latest_s`` return the earliest and the latest possible time, by host and exchange (seconds since
    1970); the first is None until the exchange has sent a time. ``earlier_names`` returns those of a pair. ``recorded``
    returns (blocking) whether an archived trade came from the exchange and not from imported files. :attr:`made_some`
    is set when there are new promises.
    """

    def __init__(
        self,
        ledger: Ledger,
        context: Context,
        *,
        now_s: Callable[[], float | None],
        latest_s: Callable[[], float],
        earlier_names: Callable[[str], Sequence[str]],
        recorded: Callable[[str, int], bool],
        served: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._notes = context.notes
        self._clock = context.clock
        self._now_s = now_s
        self._latest_s = latest_s
        self._earlier_names = earlier_names
        self._recorded = recorded
        self._served = served
        self._making = asyncio.Lock()
        self.made_some = asyncio.Event()

    async def make(self, pairs: Collection[str]) -> None:
        """Return once a promise of each of ``pairs`` is durable; immediately for those ever made before."""
        if all(self._ledger.of(pair).promise for pair in pairs):
            return
        async with self._making:
            new = [pair for pair in pairs if self._ledger.of(pair).promise is None]
            notes = [note for pair in new for note in await self._promises_from_now(pair)]
            if notes:
                await self._notes.durable_evidence(notes)
                log.info("every trade is promised from now on", pairs=len(new))
        self.made_some.set()

    async def acknowledged(self, pair: str, time_in_us: int | None) -> None:
        """Move the promise to an earlier time if the exchange acknowledged the subscription then, by its own clock.

        An assumed promise is left alone: it was made from the stored trades, not from a clock.
        """
        self._served()
        if time_in_us is None:
            return
        promise, time_us = self._ledger.of(pair).promise, _before(time_in_us)
        if promise is not None and not promise.assumed and EARLIEST_S * US_PER_S <= time_us < promise.time_us:
            ahead_s = (promise.time_us - time_us) // US_PER_S
            log.warning("the clocks were ahead of the exchange", pair=pair, seconds=ahead_s)
            await self._notes.evidence(Promised(pair, time_us))
            self.made_some.set()

    async def _promises_from_now(self, pair: str) -> list[Promised | Anchored]:
        """Return the notes for a pair without any promise so far."""
        account, time_us = self._ledger.of(pair), self._moment_us()
        first_id = account.spans.first
        if first_id is not None and await asyncio.to_thread(self._recorded, pair, first_id):
            # The archive was started before promises existed, or merged.
            first_us = account.time_us(first_id)
            nothing_below = first_id == 1 or account.absent().ids().covers(Span(1, first_id - 1))
            after_id = 0 if nothing_below else first_id - 1
            return [Promised(pair, first_us), Anchored(pair, first_us, after_id, assumed=True)]
        known = set(self._ledger)
        ends = [self._ledger.of(name).newest() for name in self._earlier_names(pair) if name in known]
        ended = max((end for end in ends if end is not None), default=None)
        if ended is None:
            return [Promised(pair, time_us)]
        after_id, ended_us = ended
        time_us = min(time_us, ended_us)
        return [Promised(pair, time_us), Anchored(pair, time_us, after_id)]

    def _moment_us(self) -> int:
        """Return the time from which a promise made now holds (µs since 1970 UTC)."""
        now_s = self._now_s()
        earliest_s = self._clock.wall_ns() / 1e9 if now_s is None else now_s
        if earliest_s < EARLIEST_S:  # the other of the two clocks may be right
            earliest_s = max(EARLIEST_S, self._latest_s())
        return _before(int(earliest_s * US_PER_S))


def _before(time_us: int) -> int:
    return max(0, time_us - int(MARGIN_S * US_PER_S))
