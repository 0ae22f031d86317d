"""Check once a minute, with one request for all pairs, whether a pair trades without our receiving it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import structlog

from recorder.core.backoff import GrowingDelay
from recorder.core.event_kinds import EventKind
from recorder.core.ledger import Ledger
from recorder.core.model import Instrument, Trade
from recorder.errors import ExchangeError, UnknownPair
from recorder.kraken import rest_api, ticker_quotes
from recorder.kraken.silence_rules import GRACE_S, LAG_S, Behind, SilentPairs
from recorder.kraken.ticker_quotes import Quote
from recorder.repair.catch_up import CatchUpFetcher
from recorder.runtime.context import Context

EVERY_S: Final = 60.0
"""Seconds between checks. The first waits as long, when the snapshots have arrived."""
RETRY_S: Final = 5.0
"""Wait after a check without an answer, then 10 s, 20 s, … up to :data:`EVERY_S`."""
FETCHES: Final = 20
"""Limit of tails fetched after a check, a third of a minute at one request a second. If more pairs are behind, the
others are resubscribed a minute later, and get a snapshot. Pairs only in doubt come last."""

log = structlog.get_logger()


class Resubscriber(Protocol):
    """The stream, as far as this check needs it."""

    def streaming(self, pair: str) -> bool:
        """Return whether the subscription of ``pair`` is acknowledged on an open connection."""
        ...

    async def resubscribe(self, pairs: Sequence[str]) -> None:
        """Renew the subscriptions of ``pairs`` on their open connections; without one, do nothing.

        Raises nothing if a connection ends meanwhile.
        """
        ...


class Heard(Protocol):
    """What the stream delivered, as far as this check needs it."""

    def heard(self, pair: str) -> int:
        """Return the highest id of ``pair`` received from the stream; 0 if there is none."""
        ...

    def last_heard(self, pair: str) -> Trade | None:
        """Return the trade with the id of :meth:`heard`; None if there is none."""
        ...


class SilentPairWatch:
    """Watches the streamed pairs of ``instruments`` (by pair, live)."""

    def __init__(
        self,
        ledger: Ledger,
        context: Context,
        *,
        instruments: Mapping[str, Instrument],
        catch_up: CatchUpFetcher,
        stream: Resubscriber,
        feed: Heard,
    ) -> None:
        self._ledger = ledger
        self._exchange = context.exchange
        self._notes = context.notes
        self._clock = context.clock
        self._instruments = instruments
        self._catch_up_fetcher = catch_up
        self._stream = stream
        self._feed = feed
        self._silence = SilentPairs(feed.last_heard)
        self._believed: dict[str, int] = {}
        self._unreadable: set[str] = set()
        self._fetching: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Check every :data:`EVERY_S` seconds until cancelled."""
        due_s, unanswered = self._clock.monotonic() + EVERY_S, GrowingDelay(RETRY_S, EVERY_S)
        async with asyncio.TaskGroup() as group:
            while True:
                await self._clock.sleep(max(0.0, due_s - self._clock.monotonic()))
                due_s = self._clock.monotonic() + EVERY_S
                if not self._instruments or await self._look(group):
                    unanswered.reset()
                else:
                    due_s = self._clock.monotonic() + unanswered.failed()

    async def _look(self, group: asyncio.TaskGroup) -> bool:
        """Check once, and handle pairs that are behind; return whether the exchange answered."""
        before = self._heard()
        await self._clock.sleep(LAG_S)
        try:
            quotes = await self._ask()
        except ExchangeError as error:
            log.warning("silent pairs not looked for", reason=str(error))
            return False
        # The snapshot of a pair subscribed by now, if there is one, arrives before the grace period ends.
        streamed = {pair: quote for pair, quote in quotes.items() if self._stream.streaming(pair)}
        await self._clock.sleep(GRACE_S)
        judged = {pair: quote for pair, quote in streamed.items() if self._stream.streaming(pair)}
        found = self._silence.check(judged, before, self._heard())
        await self._renew(found)
        # Fetching tails may be refused for minutes, and the next check must not wait; it finds again what is not
        # fetched.
        if self._fetching is None or self._fetching.done():
            self._fetching = group.create_task(self._catch_up(found))
        return True

    def _heard(self) -> dict[str, int]:
        for pair in self._instruments:
            heard = self._feed.heard(pair)
            if heard in self._ledger.of(pair).spans:  # durable by now, and not parked
                self._believed[pair] = heard
        return {pair: self._believed.get(pair, 0) for pair in self._instruments}

    def _held(self, pair: str) -> int:
        return self._ledger.of(pair).spans.last or 0

    async def _ask(self) -> dict[str, Quote]:
        found, unreadable = dict[str, Quote](), dict[str, str]()
        for asset_class, instruments in rest_api.by_class(self._instruments.values()).items():
            read = functools.partial(ticker_quotes.parse_quotes, instruments=instruments)
            try:
                _, quotes = await self._exchange.request(rest_api.ticker(instruments, asset_class), read)
            except UnknownPair:  # one of the list; the pair list will find out which
                _, quotes = await self._exchange.request(rest_api.ticker((), asset_class), read)
            found |= quotes.by_pair
            unreadable |= quotes.unreadable
        for pair, reason in unreadable.items():
            if pair not in self._unreadable:
                log.error("silent pairs cannot be checked", pair=pair, reason=reason)
                await self._notes.event(EventKind.MALFORMED, pair=pair, reason=reason[: rest_api.QUOTE_LIMIT])
        self._unreadable = set(unreadable)
        return found

    async def _renew(self, found: Sequence[Behind]) -> None:
        for behind in found:
            await self._report(behind, self._held(behind.pair))
        again = [behind.pair for behind in found if behind.again]
        if again:
            await self._stream.resubscribe(again)

    async def _catch_up(self, found: Sequence[Behind]) -> None:
        for behind in found[:FETCHES]:
            last_id = await self._catch_up_fetcher.fetch_newest(behind.pair)
            if last_id is not None:
                self._silence.fetched(behind, last_id)
        known = {behind.pair for behind in found}
        doubts = [pair for pair in self._silence.doubts() if pair not in known and self._stream.streaming(pair)]
        for pair in doubts[: max(0, FETCHES - len(found))]:
            held = self._held(pair)
            if self._silence.fetched_tail(pair, await self._catch_up_fetcher.fetch_newest(pair)):
                await self._report(Behind(pair, (), held, again=False), held)

    async def _report(self, behind: Behind, held: int) -> None:
        pair, moved = behind.pair, behind.moved
        log.warning("a subscribed pair is silent", pair=pair, moved=moved, resubscribing=behind.again)
        await self._notes.event(EventKind.BEHIND, pair=pair, moved=moved, held=held, resubscribing=behind.again)
