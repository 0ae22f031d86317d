"""Recording of trades by polling REST: for pairs that are not streamed, by configuration or because Kraken refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import structlog

from recorder.core.backoff import GrowingDelay
from recorder.core.ledger import Ledger
from recorder.core.model import Instrument
from recorder.core.plausibility import is_time
from recorder.errors import ExchangeError, Malformed, UnknownPair
from recorder.kraken import rest_api
from recorder.kraken.gap_fill import LAST_NS
from recorder.kraken.trade_pages import TradesPage
from recorder.runtime.context import Context
from recorder.runtime.newest_trades import fetch_newer, highest, newest_held
from recorder.runtime.waiting import first_of

POLL_S: Final = 5.0
"""Minimum time between two requests for a pair; if the pace allows less, pairs take turns."""
RETRY_S: Final = 15.0
"""Wait after a failed answer. Nothing is lost: the next page begins where the last one ended."""
LAST_RETRY_S: Final = 900.0
"""Longest wait, after 15 s, 30 s, …, for a pair that the exchange does not know: it may be delisted permanently, or
listed under another name, which the pair list notices first."""

log = structlog.get_logger()


class PollPromiser(Protocol):
    """Ensures that all trades of a pair are promised before the first request for it."""

    async def make(self, pairs: Collection[str]) -> None:
        """Return once a promise of each of ``pairs`` is durable."""
        ...


class PollCollector:
    """Polls the pairs passed to :meth:`take_over`, of ``instruments`` (by pair), each from its last trade on.

    ``instruments`` are live; ``promises`` are made for each pair before it is first polled. ``everything`` takes over
    all pairs, present and future. ``refresh_soon`` is called when the exchange does not know a pair. ``is_paused``
    returns whether requests for a pair are paused.
    """

    def __init__(
        self,
        ledger: Ledger,
        context: Context,
        *,
        instruments: Mapping[str, Instrument],
        promises: PollPromiser,
        refresh_soon: Callable[[], None],
        everything: bool = False,
        is_paused: Callable[[str], bool] = lambda _: False,
        served: Callable[[], None] = lambda: None,
    ) -> None:
        self._is_paused = is_paused
        self._served = served
        self._ledger = ledger
        self._context = context
        self._clock = context.clock
        self._instruments = instruments
        self._promises = promises
        self._refresh_soon = refresh_soon
        self._everything = everything
        self._due_s: dict[str, float] = {}
        self._since_ns: dict[str, int] = {}
        self._astray: set[str] = set()  # pairs whose last request did not begin at the newest trades
        self._unknown: dict[str, GrowingDelay] = {}
        self._wake = asyncio.Event()
        self.follow(list(instruments.values()), ())

    def take_over(self, pair: str) -> None:
        """Poll ``pair`` from now on."""
        if pair in self._instruments and pair not in self._due_s:
            log.info("recording by polling", pair=pair)
            self._due_s[pair] = self._clock.monotonic()
            self._wake.set()

    def hand_back(self, pair: str) -> None:
        """Stop polling ``pair``: it is streamed."""
        for of_pair in (self._due_s, self._since_ns, self._unknown):
            of_pair.pop(pair, None)
        self._astray.discard(pair)

    def follow(self, added: Sequence[Instrument], removed: Sequence[str]) -> None:
        """Drop the pairs ``removed``; take over those ``added`` if everything is polled."""
        for pair in removed:
            self.hand_back(pair)
        if self._everything:
            for instrument in added:
                self.take_over(instrument.pair)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            self._wake.clear()
            pair = min(self._due_s, key=lambda pair: self._due_s[pair], default=None)
            if pair is None:
                await self._wake.wait()
            elif (wait_s := self._due_s[pair] - self._clock.monotonic()) > 0:
                await first_of(self._clock.sleep(wait_s), self._wake.wait())
            else:
                wait_s = await self._ask(pair)
                if pair in self._due_s:
                    self._due_s[pair] = self._clock.monotonic() + wait_s
                else:
                    self.hand_back(pair)  # it left during the request: discard the state set by the answer

    async def _ask(self, pair: str) -> float:
        """Request the new trades of ``pair``; return the seconds until it is due again."""
        if self._is_paused(pair):
            return POLL_S
        await self._promises.make(list(self._due_s))  # for all polled pairs, in one sync
        if pair not in self._instruments:
            return POLL_S
        since_ns, last_id = self._since(pair), self._ledger.of(pair).spans.last
        request = rest_api.trades(self._instruments[pair], since_ns=since_ns)
        try:
            _, page = await fetch_newer(self._context, self._ledger, request, pair)
        except ExchangeError as error:
            wait_s = self._retry_after_s(pair, error)
            log.warning("poll failed", pair=pair, reason=str(error), retry_in_s=wait_s)
            if isinstance(error, Malformed) and since_ns is not None:
                self._since_ns.pop(pair, None)
                self._astray.add(pair)  # the same request would fail again; what it skips is a hole, which is fetched
            return wait_s
        self._served()
        self._unknown.pop(pair, None)
        if since_ns is not None and last_id is not None and highest(page) < last_id:
            self._since_ns.pop(pair, None)
            self._astray.add(pair)  # the page began at the newest stored trade, and should contain it
            return POLL_S
        return 0.0 if self._advance(pair, page) and page.rows >= rest_api.PAGE_LIMIT else POLL_S

    def _retry_after_s(self, pair: str, error: ExchangeError) -> float:
        if not isinstance(error, UnknownPair):
            return RETRY_S
        self._refresh_soon()
        return self._unknown.setdefault(pair, GrowingDelay(RETRY_S, LAST_RETRY_S)).failed()

    def _since(self, pair: str) -> str | None:
        """Return ``since`` of the next request; None, the newest page, if nothing is stored or the last went astray."""
        if pair in self._astray:
            self._astray.discard(pair)
            return None
        if pair in self._since_ns:
            return str(self._since_ns[pair])
        return newest_held(self._ledger, pair, self._now_us())

    def _now_us(self) -> int:
        return self._clock.wall_ns() // 1000

    def _advance(self, pair: str, page: TradesPage) -> bool:
        """Let the next page begin at the end of this one; return whether that makes progress.

        It begins a nanosecond before ``last``, so that a server with exclusive bounds repeats the last row too. Trades
        that a page skips nevertheless are a hole between stored ids, which the repair fetches.
        """
        before = self._since_ns.pop(pair, 0)
        if not page.trades or page.last is None or not page.last.isdecimal():
            return False  # the next page begins at the newest stored trade
        end_ns = int(page.last)
        end_us = page.trades[-1].time_us if page.odd_end_us is None else page.odd_end_us
        if abs(end_ns - end_us * 1000) > LAST_NS or not is_time(end_ns // 1000, self._now_us()):
            return False  # not the time of that row, or an impossible one: following it could skip trades unnoticed
        after = max(before, end_ns - 1)
        if after == before and page.rows >= rest_api.PAGE_LIMIT:
            after += 1  # a whole page within one nanosecond: never seen, but only a step can continue
        self._since_ns[pair] = after
        return after > before
