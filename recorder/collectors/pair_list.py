"""The recorded pairs, kept up to date: the exchange's listing is read regularly, and its changes are followed.

Contains the one mapping of recorded pairs that all tasks share. Listings are archived by the drain, which also creates
the events of changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from recorder.collectors import listing as exchange_listing
from recorder.collectors.listing import ListingAnswers, ListingJournal
from recorder.core.backoff import next_delay_s
from recorder.core.event_kinds import EventKind
from recorder.core.model import Instrument
from recorder.core.pair_registry import Listed, PairRegistry, is_complete, settled
from recorder.errors import ConfigError, ExchangeError, Malformed, Unavailable
from recorder.kraken import records, rest_api
from recorder.kraken.pair_patterns import Selection, is_pattern, select
from recorder.runtime.context import Context
from recorder.runtime.waiting import first_of

LISTING_S: Final = 86_400.0
"""The listing is read daily: two pairs a day appeared in 2025 (API.md 6.4), and an unknown pair triggers a reading."""
SOON_S: Final = 300.0
"""Minimum time between two readings, and the interval while a configured name is not listed or a recorded pair is
missing from the last listing: an answer is 0.8 MB, and is journalled if it differs from the last one."""
RETRY_S: Final = 30.0
"""First wait after a failed reading; it doubles up to ``SOON_S``."""
NAMED: Final = 20
"""Limit of pairs named in a log line."""

log = structlog.get_logger()


class Follower(Protocol):
    """A task that must react when pairs are added or removed."""

    def follow(self, added: Sequence[Instrument], removed: Sequence[str]) -> None:
        """Start with the pairs ``added`` and stop with those ``removed``; the shared mapping has changed already."""
        ...


class PairList:
    """The pairs that ``names`` (aliases and patterns) select in the newest plausible listing.

    :attr:`instruments` is always the same mapping, by v2 symbol: it changes in place, between two steps of any task.
    ``last_id`` returns the highest known id of a pair, which shows whether a pair missing from a listing still trades.
    ``key`` is that of the names in the configuration. Only one list of an archive ``keeps`` listings: it journals them,
    and notes what changes.
    """

    def __init__(
        self,
        names: Sequence[str],
        context: Context,
        *,
        listing_s: float = LISTING_S,
        soon_s: float = SOON_S,
        last_id: Callable[[str], int] = lambda _: 0,
        key: str = "pairs",
        keeps: bool = True,
    ) -> None:
        self._names = names
        self._exchange = context.exchange
        self._notes = context.notes
        self._clock = context.clock
        self._journal = ListingJournal(context.inbox)
        self._last_id = last_id
        self._key = key
        self._keeps = keeps
        self._listing_s = listing_s
        self._soon_s = soon_s
        self._instruments: dict[str, Instrument] = {}
        self._registry = PairRegistry(apart_s=soon_s)
        self._absent: set[str] = set()
        self._implausible: str | None = None
        self._selection = Selection()
        self._followers: list[Follower] = []
        self._refresh_requested = asyncio.Event()
        self._read_s = context.clock.monotonic()
        self._failures = 0
        self._symbols: dict[str, set[str]] = {}
        self._remembered: dict[str, Instrument] = {}

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """The recorded pairs; the same object at every call."""
        return self._instruments

    def remember(self, known: Iterable[Instrument]) -> None:
        """Add what the archive knows of every pair, including delisted ones.

        A name known here is no mistake, but is waited for. A pair known here as listed stays until enough listings
        lacked it.
        """
        remembered = list(known)
        self._learn(remembered)
        self._registry.remember(remembered)

    def is_satisfied(self, listed: Listed) -> bool:
        """Return whether a listing has a match for each name, so that recording can begin; the rest is read soon."""
        return not select(self._names, settled(listed, {})[0].values()).unknown

    def begin(self, listings: Sequence[Listed] | None) -> None:
        """Select from the first listing; with None from the remembered pairs, which a listing soon replaces.

        Raises ExchangeError if the listing is not plausible, or lacks both some asset classes and a name. Raises
        ConfigError for a name that matches nothing in it and is not remembered, and for a named pair that is finer than
        the archive's schema.
        """
        if listings is not None:
            if reason := self._registry.distrust(listings):
                raise Malformed(reason)
            self._registry.follow_listing(listings, self._clock.monotonic())
        chosen = self._chosen(self._names)
        whole = listings is not None and is_complete(listings)
        if mistakes := self._mistakes(chosen, self._names):
            if listings is not None and not whole:
                raise Unavailable(f"not all that is listed could be had, and in the rest: {mistakes}")
            raise ConfigError(mistakes)
        self._take(chosen)
        self._read_s = self._clock.monotonic()
        self._failures = 0 if whole else 1

    def choose(self, names: Sequence[str]) -> None:
        """Set the names that :meth:`begin` selects by, before it."""
        self._names = names

    async def rename(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Replace the names by ``names``; return the pairs added and removed.

        If a new name matches nothing in the newest listing, a newer one is read first, if one is due. Raises
        ConfigError for the mistakes of :meth:`begin`, except in names that were there before; then nothing has changed.
        """
        new = [name for name in names if name not in self._names]
        if self._mistakes(self._chosen(new), new) and self._may_read():
            log.info("not in the newest listing; reading a newer one when requests allow it", names=some(new))
            await self.refresh()
        chosen = self._chosen(names)
        if mistakes := self._mistakes(chosen, new):
            raise ConfigError(mistakes)
        self._names = names
        added, removed = self._take(chosen)
        if any(not chosen.matches[name] for name in new):
            self.refresh_soon()
        return [instrument.pair for instrument in added], [instrument.pair for instrument in removed]

    def earlier_names(self, pair: str) -> list[str]:
        """Return the other symbols under which the market of ``pair`` was ever listed, by its Kraken key."""
        instrument = self._instruments.get(pair)
        symbols = self._symbols.get(instrument.key, set()) if instrument is not None else set()
        return sorted(symbols - {pair})

    def subscribe(self, *followers: Follower) -> None:
        """Notify these followers of every change from now on, in this order."""
        self._followers += followers

    def refresh_soon(self) -> None:
        """Read the listing before it is due: the exchange did not know a pair."""
        self._refresh_requested.set()

    async def run(self) -> None:
        """Read the listing when it is due, until cancelled."""
        while True:
            await self._due()
            await self.refresh()

    async def refresh(self) -> None:
        """Read the listing now, and follow it if it is plausible."""
        self._refresh_requested.clear()
        try:
            good = await self._refreshed()
        except ExchangeError as error:
            log.warning("listing not read", reason=str(error))
            good = False
        self._read_s = self._clock.monotonic()
        self._failures = 0 if good else self._failures + 1

    async def _refreshed(self) -> bool:
        reading = await exchange_listing.read(self._exchange)
        await self.store(reading)
        gone = self.trust(reading.listings)
        for pair in gone or () if self._keeps else ():
            await self._notes.event(EventKind.DELISTED, pair=pair)
        return gone is not None and is_complete(reading.listings)

    async def store(self, reading: ListingAnswers) -> None:
        """Journal the listing, and if it is not plausible note the reason, unless another list does."""
        if not self._keeps:
            return
        await self._journal.put(reading)
        before, self._implausible = self._implausible, self._registry.distrust(reading.listings)
        if (
            self._implausible is not None and self._implausible != before
        ):  # reported once, though it is read again and again
            source = records.rest_source(rest_api.asset_pairs())
            await self._notes.event(EventKind.MALFORMED, source=source, reason=self._implausible)

    def trust(self, listings: Sequence[Listed]) -> list[str] | None:
        """Record what the names select in this listing from now on; return the delisted pairs.

        None if the listing is not plausible.
        """
        if reason := self._registry.distrust(listings):
            log.error("listing not followed", reason=reason)
            return None
        gone = self._registry.follow_listing(listings, self._clock.monotonic(), self._newest_id)
        added, removed = self._take(select(self._names, self._registry.listing, keys=self._selection.keys))
        _report(added, removed)
        return gone

    def _newest_id(self, pair: str) -> int:
        return self._last_id(pair) if pair in self._instruments else 0

    def _chosen(self, names: Sequence[str]) -> Selection:
        """Select by the remembered listing of each pair, or by what a name has selected so far.

        A name whose entry cannot be read is waited for.
        """
        remembered = select(names, self._remembered.values()).keys
        chosen = select(names, self._registry.listing, keys=remembered | self._selection.keys)
        for name in names:
            if not chosen.keys[name] and (key := self._registry.odd_key(name)) is not None:
                chosen.keys[name] = frozenset({key})
        return chosen

    def _may_read(self) -> bool:
        """Return whether the listing is old enough to be read again."""
        return self._failures > 0 or self._clock.monotonic() - self._read_s >= self._soon_s

    async def _due(self) -> None:
        while (wait_s := self._read_s + self._rest_s() - self._clock.monotonic()) > 0:
            if self._refresh_requested.is_set():
                await self._clock.sleep(wait_s)
            else:
                await first_of(self._clock.sleep(wait_s), self._refresh_requested.wait())

    def _rest_s(self) -> float:
        """Return the seconds from the last reading to the next."""
        if self._failures:
            return next_delay_s(self._failures, first_s=RETRY_S, last_s=self._soon_s)
        waits = any(
            not found and name not in self._selection.too_fine for name, found in self._selection.matches.items()
        )
        soon = waits or self._refresh_requested.is_set() or bool(self._registry.lacking)
        return self._soon_s if soon else self._listing_s

    def _mistakes(self, chosen: Selection, names: Iterable[str]) -> str:
        """Return the mistakes in these selected names, one line each: unknown, or finer than the schema."""
        wrong = [
            chosen.too_fine.get(name, chosen.unknown.get(name, ""))
            for name in dict.fromkeys(names)
            if name in chosen.too_fine or not chosen.keys[name]
        ]
        return "\n".join(f"{self._key}: {sentence}" for sentence in wrong)

    def _take(self, chosen: Selection) -> tuple[Sequence[Instrument], Sequence[Instrument]]:
        """Apply a selection and notify the followers; return the pairs added and removed."""
        before, after = dict(self._instruments), chosen.pairs
        added = [instrument for pair, instrument in after.items() if pair not in before]
        removed = [instrument for pair, instrument in before.items() if pair not in after]
        _introduce(self._selection, chosen)
        self._selection = chosen
        self._learn(self._registry.listing)
        self._report_absent()
        for instrument in removed:
            del self._instruments[instrument.pair]
        self._instruments.update(after)
        if added or removed:
            for follower in self._followers:
                follower.follow(added, [instrument.pair for instrument in removed])
        return added, removed

    def _report_absent(self) -> None:
        """Log the pairs that are recorded although the listing lacks them, when that begins."""
        absent = {pair for pair in self._instruments if pair in self._registry.lacking}
        if new := sorted(absent - self._absent):
            log.warning("pairs missing from the listing; they stay until it has lacked them for long", pairs=some(new))
        self._absent = absent

    def _learn(self, listing: Iterable[Instrument]) -> None:
        for instrument in listing:
            self._symbols.setdefault(instrument.key, set()).add(instrument.pair)
            self._remembered[instrument.pair] = instrument


def _introduce(before: Selection, after: Selection) -> None:
    """Log the matches of new names, and the names that now match nothing."""
    for name, pairs in after.matches.items():
        if name in before.matches:
            continue
        if is_pattern(name):
            log.info("pattern resolved", name=name, pairs=len(pairs))
        elif pairs and pairs != (name,):
            log.info("pair resolved", name=name, pair=" ".join(pairs))
    for name, sentence in {**after.unknown, **after.too_fine}.items():
        if name not in before.unknown and name not in before.too_fine:
            log.error("nothing is recorded for a name; it is waited for", name=name, reason=sentence)
    fine = [pair for pair in after.left_out if pair not in before.left_out]
    if fine:
        log.warning("left out: finer than the archive's schema", pairs=some(fine), count=len(fine))


def _report(added: Sequence[Instrument], removed: Sequence[Instrument]) -> None:
    """Log the changes of a new listing, with pairs no longer recorded as an error."""
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


def some(pairs: Sequence[str]) -> str:
    """Return pairs as text for a log line: all, or the first of many."""
    return " ".join(pairs[:NAMED]) + (" …" if len(pairs) > NAMED else "")
