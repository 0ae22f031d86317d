"""The pair registry: what is listed of each pair, by all listings received so far.

Pure, so that every rule can be tested with a table of cases. A listing is trusted at once in what it contains, but not
in what it lacks. A malformed entry costs only itself: what was known of its pair stays. Of two entries with one symbol
one counts, by rule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from recorder.core.model import ASSET_CLASSES, PRICE_SCALE, QTY_SCALE, Instrument

DELISTED: Final = "delisted"
"""The status of a pair that is no longer listed; the exchange may also send it itself (API.md 8.9)."""
NEVER_TRADED: Final = frozenset({DELISTED, "work_in_progress"})
"""Statuses of pairs that cannot have trades. Pairs with any other status are recorded, also an unknown one: pairs that
are post_only, cancel_only or in maintenance may trade again."""
STANDS_STILL: Final = NEVER_TRADED | {"cancel_only", "post_only", "maintenance"}
"""Statuses in which a pair is not traded at present."""
FEW: Final = 10
"""Fewer pairs than this may disappear at once, whatever their share: a sandbox lists no more."""
LISTINGS: Final = 3
"""Number of listings without a pair after which it is gone."""
APART_S: Final = 300.0
"""Minimum seconds between these listings: one wrong answer is often followed by others like it."""


@dataclass(frozen=True, slots=True)
class OddEntry:
    """A malformed entry: why it cannot be read, and its bytes as received.

    ``names`` are those of its names that can be read.
    ``bare`` is the pair with what can be read of it, if that is enough to record it: for a pair that is not known yet.
    """

    reason: str
    raw: bytes
    names: frozenset[str] = frozenset()
    bare: Instrument | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """The pairs of the requested asset class in one answer: ``entries``, the preferred venue first.

    ``odd`` are the malformed entries, by key.
    """

    asset_class: str
    entries: Sequence[Instrument]
    odd: Mapping[str, OddEntry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rival:
    """Two entries list ``pair``: the one under the key ``taken`` counts, and ``left`` does not."""

    pair: str
    taken: str
    left: str

    def __str__(self) -> str:
        return f"two entries list {self.pair}: that of {self.taken} counts, that of {self.left} does not"


def is_recordable(instrument: Instrument) -> bool:
    """Return whether the pair may have trades that the archive can store."""
    return instrument.status not in NEVER_TRADED and fits_schema(instrument)


def fits_schema(instrument: Instrument) -> bool:
    """Return whether the archive stores all digits of the pair's prices and quantities."""
    return instrument.pair_decimals <= PRICE_SCALE and instrument.lot_decimals <= QTY_SCALE


def is_complete(listings: Iterable[Listed]) -> bool:
    """Return whether every asset class was answered."""
    return {listed.asset_class for listed in listings}.issuperset(ASSET_CLASSES)


def settled(listed: Listed, known: Mapping[str, Instrument]) -> tuple[dict[str, Instrument], list[Rival]]:
    """Return the instruments of a listing by symbol, given those ``known`` before; and the symbols with two entries.

    Of two entries the one that can be traded now counts, then the one with the known key, then the first.
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
    """Return the known symbols of markets that are now listed under another symbol: old → new, matched by key."""
    heirs = {one.key: pair for pair, one in now.items() if pair not in known and one.status != DELISTED}
    absent = (instrument for pair, instrument in known.items() if pair not in now)
    return {instrument.pair: heirs[instrument.key] for instrument in absent if instrument.key in heirs}


@dataclass(slots=True)
class _Absence:
    """How many listings lacked a pair, when the last one counted, and the pair's highest id then."""

    listings: int
    counted_s: float
    last_id: int


class PairRegistry:
    """The pairs that count as listed. Times are monotonic seconds.

    A listing without a pair counts only ``apart_s`` seconds after the last one that did.
    """

    def __init__(self, *, apart_s: float = APART_S) -> None:
        self._apart_s = apart_s
        self._known: dict[str, Instrument] = {}
        self._asset_classes: dict[str, str] = {}
        self._lacks: dict[str, _Absence] = {}
        self._odd: dict[str, str] = {}

    @property
    def listing(self) -> Sequence[Instrument]:
        """The pairs that count as listed."""
        return list(self._known.values())

    @property
    def lacking(self) -> Collection[str]:
        """The pairs that count as listed, but are missing from the last listing."""
        return self._lacks.keys()

    def remember(self, known: Iterable[Instrument]) -> None:
        """Start with the pairs listed in an earlier run."""
        self._known.update((one.pair, one) for one in known if one.status != DELISTED)

    def odd_key(self, name: str) -> str | None:
        """Return the key of the malformed entry with this name in the last listing; None if there was none."""
        return self._odd.get(name.strip().upper())

    def distrust(self, listings: Sequence[Listed]) -> str | None:
        """Return why a listing is implausible, None if it is plausible: it lacks more than half of the known pairs."""
        lacking = self._lacking(listings, self._settled(listings))
        if len(lacking) < FEW or 2 * len(lacking) <= len(self._known):
            return None
        return f"the listing lacks {len(lacking)} of {len(self._known)} pairs that were listed: ignored"

    def follow_listing(
        self, listings: Sequence[Listed], now_s: float, last_id: Callable[[str], int] = lambda _: 0
    ) -> list[str]:
        """Add the listings of one time, an answer for each asset class; return the pairs that are gone for good.

        A pair that is missing, or listed as no longer recordable, is treated so only after enough such listings, and
        only while no trade of it comes: ``last_id`` returns the highest id of a pair.
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
            self._asset_classes.update({pair: listed.asset_class for pair in found if pair not in now})
            now = found | now
        return now

    def _lacking(self, listings: Sequence[Listed], now: Mapping[str, Instrument]) -> list[str]:
        """Return the pairs missing from the answers that should list them, neither renamed nor in a malformed entry."""
        answered = {listed.asset_class for listed in listings}
        stay = {key for listed in listings for key in listed.odd}
        others = renamed(now, self._known)
        return [
            pair
            for pair, instrument in self._known.items()
            if pair not in now
            and pair not in others
            and instrument.key not in stay
            and (
                self._asset_classes[pair] in answered
                if pair in self._asset_classes
                else answered.issuperset(ASSET_CLASSES)
            )
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
        self._asset_classes.pop(pair, None)
