"""Selection of pairs: configured names, aliases and patterns in, instruments of a listing out.

Contains which listed pairs are recorded. Does not request or store a listing, and does not decide what an unknown name
means to the caller: an error at the start, a line in the log later.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from recorder.core.model import PRICE_SCALE, QTY_SCALE, Instrument
from recorder.core.pair_registry import DELISTED, NEVER_TRADED, fits_schema
from recorder.errors import UnknownPair
from recorder.kraken.pair_names import PairNames, v2_symbol

ANY: Final = "*"
"""Matches any text, also none, in a pattern. No other character is special."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The pairs that names select in one listing.

    ``pairs`` are the instruments to record, by v2 symbol. ``matches`` are the symbols that each name selects among
    them. ``unknown`` names select nothing that is listed, ``too_fine`` ones a pair that the archive cannot store; both
    with a sentence. ``left_out`` are pairs selected only by patterns that are too fine. ``keys`` are Kraken's own names
    of all pairs that each name selects or once selected.
    """

    pairs: dict[str, Instrument] = field(default_factory=dict)
    matches: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    too_fine: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, Instrument] = field(default_factory=dict)
    keys: dict[str, frozenset[str]] = field(default_factory=dict)


def is_pattern(name: str) -> bool:
    """Return whether ``name`` may select many pairs, like ``*/USD``."""
    return ANY in name


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a test whether a v2 symbol matches ``pattern``, in any case; a leg XBT or XDG means BTC or DOGE.

    >>> fits = matcher("xbt/*")
    >>> fits("BTC/USD"), fits("WBTC/USD")
    (True, False)
    """
    symbol = v2_symbol(pattern.strip().upper())
    fits = re.compile(".*".join(map(re.escape, symbol.split(ANY))), re.DOTALL).fullmatch
    return lambda pair: fits(pair.upper()) is not None


def select(
    names: Iterable[str], instruments: Iterable[Instrument], *, keys: Mapping[str, Collection[str]] | None = None
) -> Selection:
    """Return the pairs that ``names`` select among ``instruments``; each is a name of one pair or a pattern.

    ``keys`` are those of an earlier selection. A pair that a name selected then is selected now too, under whatever
    symbol: Kraken's own name of a market stays when the market is renamed.
    """
    listing, before = PairNames(instruments), keys or {}
    by_key: dict[str, list[Instrument]] = {}
    for instrument in listing:
        by_key.setdefault(instrument.key, []).append(instrument)
    chosen = Selection()
    for name in names:
        meant: dict[str, Instrument] = {}
        try:
            meant.update((instrument.pair, instrument) for instrument in _meant(name, listing))
        except UnknownPair as error:
            chosen.unknown[name] = str(error)
        known = frozenset(before.get(name, ()))
        meant.update((instrument.pair, instrument) for key in sorted(known) for instrument in by_key.get(key, ()))
        chosen.keys[name] = known | {instrument.key for instrument in meant.values()}
        _choose(chosen, name, list(meant.values()))
    return chosen


def _meant(name: str, listing: PairNames) -> Sequence[Instrument]:
    """Return all pairs that a name or pattern selects, recordable or not. Raises UnknownPair."""
    if not is_pattern(name):
        return [listing.resolve(name)]
    fits = matcher(name)
    found = [instrument for instrument in listing if fits(instrument.pair)]
    if not found:
        raise UnknownPair(_nothing_matches(name, listing), name)
    return found


def _choose(chosen: Selection, name: str, meant: Sequence[Instrument]) -> None:
    # Patterns leave out what cannot be traded: each pair costs a subscription.
    never = NEVER_TRADED if is_pattern(name) else {DELISTED}  # a named pair may be wanted from its first trade
    live = [instrument for instrument in meant if instrument.status not in never]
    fit = [instrument for instrument in live if fits_schema(instrument)]
    chosen.pairs.update((instrument.pair, instrument) for instrument in fit)
    chosen.matches[name] = tuple(instrument.pair for instrument in fit)
    fine = [instrument for instrument in live if not fits_schema(instrument)]
    if is_pattern(name):
        chosen.left_out.update((instrument.pair, instrument) for instrument in fine)
    elif fine:
        chosen.too_fine[name] = _too_fine(fine[0])
    if live:
        chosen.unknown.pop(name, None)
    elif name not in chosen.unknown:
        words = ", ".join(f"{one.pair} ({one.status})" for one in meant[:3]) + (", …" if len(meant) > 3 else "")
        chosen.unknown[name] = f"Kraken lists nothing to record for {name!r}, only {words}"


def _too_fine(instrument: Instrument) -> str:
    return (
        f"{instrument.pair} is traded with {instrument.pair_decimals} price and {instrument.lot_decimals} quantity "
        f"digits, the archive holds {PRICE_SCALE} and {QTY_SCALE}; leave it out until the archive's schema is finer"
    )


def _nothing_matches(pattern: str, listing: PairNames) -> str:
    counts: Counter[str] = Counter()
    for instrument in listing:
        base, _, quote = instrument.pair.upper().partition("/")
        counts.update((f"{base}/{ANY}", f"{ANY}/{quote}"))
    near = difflib.get_close_matches(v2_symbol(pattern.strip().upper()), counts, n=3, cutoff=0.7)
    hint = " or ".join(f'"{candidate}" ({counts[candidate]})' for candidate in near)
    return f"the pattern {pattern!r} matches none of the {len(listing)} pairs that Kraken lists; " + (
        f"did you mean {hint}?" if hint else 'write it like "*/USD", "BTC/*" or "*"'
    )
