"""What is listed of each pair, by all listings that came so far: pure, so that every rule stands in a table of tests.

A listing is believed of what it says, and not at once of what it lacks. One entry that cannot be read costs that entry:
what was known of its pair stays. Of two entries with one symbol one counts, by rule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from recorder.core.model import ASSET_CLASSES, PRICE_SCALE, QTY_SCALE, Instrument

DELISTED: Final = "delisted"
"""The status of a pair that is not listed any more; the exchange may also say it itself (API.md 8.9)."""
NEVER_TRADED: Final = frozenset({DELISTED, "work_in_progress"})
"""Statuses of pairs of which no trade can come. Every other word counts, also one that is new: pairs that are
post_only, cancel_only or in maintenance trade again some day."""
STANDS_STILL: Final = NEVER_TRADED | {"cancel_only", "post_only", "maintenance"}
"""Statuses in which nothing is traded at the moment."""
FEW: Final = 10
"""So few pairs may vanish at once, whatever their share: a sandbox lists no more."""
LISTINGS: Final = 3
"""So many listings must lack a pair before it is gone."""
APART_S: Final = 300.0
"""And so far apart they must be, in seconds: one odd answer is often followed by others like it."""


@dataclass(frozen=True, slots=True)
class OddEntry:
    """An entry that cannot be read: why, and as it came. ``names`` are those of its names that can be read.

    ``bare`` is the pair by what can be read of it, if that is enough to record it: for one of which nothing is known.
    """

    reason: str
    raw: bytes
    names: frozenset[str] = frozenset()
    bare: Instrument | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """What one answer lists of the pairs of the asset class that was asked for: ``entries``, the preferred venue first.

    ``odd`` are the entries that cannot be read, by their keys.
    """

    asked: str
    entries: Sequence[Instrument]
    odd: Mapping[str, OddEntry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rival:
    """Of the two entries that list ``pair``, the one under the key ``taken`` counts, and ``left`` does not."""

    pair: str
    taken: str
    left: str

    def __str__(self) -> str:
        return f"two entries list {self.pair}: that of {self.taken} counts, that of {self.left} does not"


def is_recordable(instrument: Instrument) -> bool:
    """Return whether trades of a pair may come, and the archive can hold them."""
    return instrument.status not in NEVER_TRADED and fits_schema(instrument)


def fits_schema(instrument: Instrument) -> bool:
    """Return whether the archive holds all digits of the pair's prices and quantities."""
    return instrument.pair_decimals <= PRICE_SCALE and instrument.lot_decimals <= QTY_SCALE


def is_complete(listings: Iterable[Listed]) -> bool:
    """Return whether every asset class was told of."""
    return {listed.asked for listed in listings}.issuperset(ASSET_CLASSES)


def settled(listed: Listed, known: Mapping[str, Instrument]) -> tuple[dict[str, Instrument], list[Rival]]:
    """Return what a listing says by symbol, given what was ``known``; and where two entries had one symbol.

    Of these the one counts that can be traded now, then the one with the key that is known, then the first.
    """
    by_pair: dict[str, list[Instrument]] = {}
    for entry in listed.entries:
        by_pair.setdefault(entry.pair, []).append(entry)
    found: dict[str, Instrument] = {}
    rivals: list[Rival] = []
    for pair, entries in by_pair.items():
        key = known[pair].key if pair in known else None
        taken = min(entries, key=lambda entry: (entry.status in STANDS_STILL, entry.key != key))
        found[pair] = taken
        rivals += (Rival(pair, taken.key, entry.key) for entry in entries if entry is not taken)
    for odd in listed.odd.values():
        if odd.bare is not None and odd.bare.pair not in known:
            found.setdefault(odd.bare.pair, odd.bare)
    return found, rivals


def renamed(now: Mapping[str, Instrument], known: Mapping[str, Instrument]) -> dict[str, str]:
    """Return the symbols known before of markets that are listed under another symbol now: old → new, by their keys."""
    heirs = {one.key: pair for pair, one in now.items() if pair not in known and one.status != DELISTED}
    absent = (instrument for pair, instrument in known.items() if pair not in now)
    return {instrument.pair: heirs[instrument.key] for instrument in absent if instrument.key in heirs}


@dataclass(slots=True)
class _Absence:
    """How many listings lacked a pair, when the last one did that counts, and the pair's highest id then."""

    listings: int
    counted_s: float
    last_id: int


class PairRegistry:
    """What is listed, as it is to be followed. Times are monotonic seconds.

    Of the listings that lack a pair only those count that are ``apart_s`` seconds from the last one that did.
    """

    def __init__(self, *, apart_s: float = APART_S) -> None:
        self._apart_s = apart_s
        self._known: dict[str, Instrument] = {}
        self._asked: dict[str, str] = {}
        self._lacks: dict[str, _Absence] = {}
        self._odd: dict[str, str] = {}

    @property
    def listing(self) -> Sequence[Instrument]:
        """What counts as listed."""
        return list(self._known.values())

    @property
    def lacking(self) -> Collection[str]:
        """The pairs that count as listed, and that the last listing lacks."""
        return self._lacks.keys()

    def remember(self, known: Iterable[Instrument]) -> None:
        """Begin with what was listed in an earlier run."""
        self._known.update((one.pair, one) for one in known if one.status != DELISTED)

    def odd_key(self, name: str) -> str | None:
        """Return the key of the entry of this name that the last listing had and that cannot be read, if it had one."""
        return self._odd.get(name.strip().upper())

    def distrust(self, listings: Sequence[Listed]) -> str | None:
        """Return why a listing cannot follow those before it, None if it can: where it lacks more than half of them."""
        lacking = self._lacking(listings, self._settled(listings))
        if len(lacking) < FEW or 2 * len(lacking) <= len(self._known):
            return None
        return f"the listing lacks {len(lacking)} of {len(self._known)} pairs that were listed: not believed"

    def follow_listing(
        self, listings: Sequence[Listed], now_s: float, last_id: Callable[[str], int] = lambda _: 0
    ) -> list[str]:
        """Follow what was listed at one time, an answer for each asset class; return the pairs that are gone for good.

        A pair that is lacking, or that is listed as one of which nothing more can be recorded, is so only after enough
        listings in which that is so, and while no trade of it comes: ``last_id`` tells the highest id of a pair.
        """
        self._odd = {name.upper(): key for listed in listings for key, odd in listed.odd.items() for name in odd.names}
        now = self._settled(listings)
        for pair in renamed(now, self._known):
            self._forget(pair)
        gone = []
        for pair in self._lacking(listings, now):
            if self._is_gone(pair, now_s, last_id(pair)):
                gone.append(pair)
                self._forget(pair)
        for pair, instrument in now.items():
            before = self._known.get(pair)
            lost = before is not None and is_recordable(before) and not is_recordable(instrument)
            if lost and not self._is_gone(pair, now_s, last_id(pair)):
                continue
            self._known[pair] = instrument
            self._lacks.pop(pair, None)
        return gone

    def _settled(self, listings: Sequence[Listed]) -> dict[str, Instrument]:
        now: dict[str, Instrument] = {}
        for listed in listings:
            found = settled(listed, self._known)[0]
            self._asked.update({pair: listed.asked for pair in found if pair not in now})
            now = found | now
        return now

    def _lacking(self, listings: Sequence[Listed], now: Mapping[str, Instrument]) -> list[str]:
        """Return the pairs that answers lack which would have them: neither renamed, nor under an odd entry."""
        answered = {listed.asked for listed in listings}
        stay = {key for listed in listings for key in listed.odd}
        others = renamed(now, self._known)
        return [
            pair
            for pair, instrument in self._known.items()
            if pair not in now
            and pair not in others
            and instrument.key not in stay
            and (self._asked[pair] in answered if pair in self._asked else answered.issuperset(ASSET_CLASSES))
        ]

    def _is_gone(self, pair: str, now_s: float, last_id: int) -> bool:
        lack = self._lacks.get(pair)
        if lack is None or last_id > lack.last_id:
            lack = self._lacks[pair] = _Absence(0, now_s - self._apart_s, last_id)
        if now_s - lack.counted_s >= self._apart_s:
            lack.listings += 1
            lack.counted_s = now_s
        return lack.listings >= LISTINGS

    def _forget(self, pair: str) -> None:
        del self._known[pair]
        self._lacks.pop(pair, None)
        self._asked.pop(pair, None)
