"""The pairs that are recorded, as they come and go: the listing is read again and again, and followed.

Owns the one mapping of what is recorded, which all tasks share. Refuses to archive a listing: the drain does, and
makes the events of what has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from recorder.archive.listing import changes
from recorder.clock import Clock
from recorder.core.model import Instrument
from recorder.errors import ConfigError, ExchangeError, Malformed
from recorder.journal import segment
from recorder.kraken import parse, rest
from recorder.kraken.selection import Selection, is_pattern, select
from recorder.net.http import Answer, Http
from recorder.ops.metrics import Metrics
from recorder.tasks.inbox import Inbound, Inbox
from recorder.tasks.notes import Notes
from recorder.tasks.waiting import first_of

LISTING_S: Final = 86_400.0
"""The listing is read daily: two pairs a day appeared in 2025 (API.md 6.4), and whoever meets an unknown one asks."""
SOON_S: Final = 600.0
"""Least time between two readings, whoever asks for one: an answer is 0.8 MB, and journalled."""
RETRY_S: Final = 30.0
"""First wait after a reading that failed; it doubles up to ``SOON_S``."""
NAMED: Final = 20
"""Pairs named in a line of the log at most."""

log = structlog.get_logger()


class Follower(Protocol):
    """A task that has to do something when pairs come or go."""

    def follow(self, added: Sequence[Instrument], removed: Sequence[str]) -> None:
        """Take up the pairs ``added`` and leave those ``removed``; the roster's mapping has changed already."""
        ...


class Roster:
    """What ``names`` (aliases and patterns) mean in the newest listing that can be believed.

    :attr:`instruments` is one mapping for good, by v2 symbol: it changes in place, between two steps of any task.
    """

    def __init__(
        self,
        names: Sequence[str],
        http: Http,
        inbox: Inbox,
        *,
        notes: Notes,
        clock: Clock,
        metrics: Metrics,
        listing_s: float = LISTING_S,
        soon_s: float = SOON_S,
    ) -> None:
        self._names = names
        self._http = http
        self._inbox = inbox
        self._notes = notes
        self._clock = clock
        self._metrics = metrics
        self._listing_s = listing_s
        self._soon_s = soon_s
        self._instruments: dict[str, Instrument] = {}
        self._listing: Sequence[Instrument] = ()
        self._selection = Selection()
        self._followers: list[Follower] = []
        self._asked = asyncio.Event()
        self._read_s = clock.monotonic()
        self._failures = 0
        self._symbols: dict[str, set[str]] = {}

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """What is recorded now; the same object at every call."""
        return self._instruments

    def begin(self, listing: Sequence[Instrument], *, known: Iterable[Instrument], fresh: bool) -> None:
        """Choose from the first ``listing``; ``fresh`` tells it from the archived one, which is soon replaced.

        ``known`` is what the archive remembers of every pair, also of those delisted: a name that it knows is no
        mistake, and is waited for. Raises ConfigError for any other name that means nothing in ``listing``, and for
        a pair that is named and finer than the archive's schema.
        """
        known = list(known)
        self._learn(known)
        remembered = select(self._names, known).keys
        chosen = select(self._names, listing, keys=remembered)
        mistakes = [sentence for name, sentence in chosen.unknown.items() if not chosen.keys[name]]
        mistakes += chosen.too_fine.values()
        if mistakes:
            raise ConfigError("\n".join(f"pairs: {sentence}" for sentence in mistakes))
        for name, pairs in chosen.matches.items():
            if is_pattern(name):
                log.info("pattern resolved", name=name, pairs=len(pairs))
            elif pairs and pairs != (name,):
                log.info("pair resolved", name=name, pair=" ".join(pairs))
        self._take(chosen, listing)
        self._read_s = self._clock.monotonic()
        self._failures = 0 if fresh else 1

    def earlier_names(self, pair: str) -> list[str]:
        """Return the other symbols under which the market of ``pair`` was ever listed, by its Kraken key."""
        instrument = self._instruments.get(pair)
        symbols = self._symbols.get(instrument.key, set()) if instrument is not None else set()
        return sorted(symbols - {pair})

    def tell(self, *followers: Follower) -> None:
        """Tell these of every change from now on, in this order."""
        self._followers += followers

    def refresh_soon(self) -> None:
        """Read the listing before its day is over: a pair was unknown to the exchange."""
        self._asked.set()

    async def run(self) -> None:
        """Read the listing when it is due, until cancelled."""
        while True:
            await self._due()
            await self.refresh()

    async def refresh(self) -> None:
        """Read the listing now, and follow it if it can be believed."""
        self._asked.clear()
        try:
            good = await self._refreshed()
        except ExchangeError as error:
            self._metrics.rest_failed(error)
            log.warning("listing not read", reason=str(error))
            good = False
        self._read_s = self._clock.monotonic()
        self._failures = 0 if good else self._failures + 1

    async def _refreshed(self) -> bool:
        request = rest.asset_pairs()
        answer = await self._http.get(request)
        try:
            listing = parse.instruments(answer.result)
        except Malformed as error:
            error.body = answer.body
            await self._notes.unreadable(request, error)
            raise
        await self._inbox.put(journalled(answer))
        return self.believe(listing)

    def believe(self, listing: Sequence[Instrument]) -> bool:
        """Record what the names mean in this listing from now on; tell whether it could be believed."""
        if reason := disbelief(self._listing, listing):
            log.error("listing not followed", reason=reason)
            return False
        self._take(select(self._names, listing, keys=self._selection.keys), listing)
        return True

    async def _due(self) -> None:
        while (wait_s := self._read_s + self._rest_s() - self._clock.monotonic()) > 0:
            if self._asked.is_set():
                await self._clock.sleep(wait_s)
            else:
                await first_of(self._clock.sleep(wait_s), self._asked.wait())

    def _rest_s(self) -> float:
        """Return how long after the last reading the next one is due."""
        if self._failures:
            return min(self._soon_s, RETRY_S * 2.0 ** min(self._failures - 1, 10))
        return self._soon_s if self._asked.is_set() else self._listing_s

    def _take(self, chosen: Selection, listing: Sequence[Instrument]) -> None:
        before, after = dict(self._instruments), chosen.pairs
        added = [instrument for pair, instrument in after.items() if pair not in before]
        removed = [pair for pair in before if pair not in after]
        first = not self._selection.matches
        _report(self._selection, chosen, [before[pair] for pair in removed], [] if first else added)
        self._selection, self._listing = chosen, listing
        self._learn(listing)
        for pair in removed:
            del self._instruments[pair]
        self._instruments.update(after)
        if added or removed:
            for follower in self._followers:
                follower.follow(added, removed)

    def _learn(self, listing: Iterable[Instrument]) -> None:
        for instrument in listing:
            self._symbols.setdefault(instrument.key, set()).add(instrument.pair)


def journalled(answer: Answer) -> Inbound:
    """Return the journal line of a listing."""
    return Inbound(segment.encode(answer.recv_ns, parse.LISTING_SOURCE, answer.body), [], source="rest")


def disbelief(before: Iterable[Instrument], listing: Sequence[Instrument]) -> str | None:
    """Return why a listing cannot follow that of ``before``, None if it can: by the archive's own rule."""
    return changes({instrument.pair: instrument for instrument in before}, listing, 0).disbelief


def _report(before: Selection, after: Selection, removed: Sequence[Instrument], added: Sequence[Instrument]) -> None:
    """Say what has changed, and loudly what is recorded no more."""
    new_names = {instrument.key: instrument.pair for instrument in added}
    renamed = {old.pair: new_names[old.key] for old in removed if old.key in new_names}
    for was, now in renamed.items():
        log.warning("pair renamed; recording goes on under its new name", was=was, now=now)
    gone = [instrument.pair for instrument in removed if instrument.pair not in renamed]
    if gone:
        log.error("pairs not recorded any more", pairs=some(gone), count=len(gone))
    come = [instrument.pair for instrument in added if instrument.pair not in renamed.values()]
    if come:
        log.info("pairs recorded from now on", pairs=some(come), count=len(come))
    for name, sentence in {**after.unknown, **after.too_fine}.items():
        if name not in before.unknown and name not in before.too_fine:
            log.error("nothing is recorded for a name; it is waited for", name=name, reason=sentence)
    fine = [pair for pair in after.left_out if pair not in before.left_out]
    if fine:
        log.warning("left out: finer than the archive's schema", pairs=some(fine), count=len(fine))


def some(pairs: Sequence[str]) -> str:
    """Name pairs in a line of the log: all, or the first of very many."""
    return " ".join(pairs[:NAMED]) + (" …" if len(pairs) > NAMED else "")
