"""The four names of one market, and the listing that resolves them (API.md 5).

Never splits a concatenated name by suffix: ``ETHPYUSD`` is ETH/PYUSD. Names are looked up, not guessed.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from recorder.core.model import Instrument
from recorder.errors import UnknownPair

_V2_LEGS = {"XBT": "BTC", "XDG": "DOGE"}
"""The only two codes that WebSocket v2 spells differently from the wsname (API.md 5.1, 1218 of 1218 pairs)."""

_SIGNS: Final = str.maketrans("", "", "-_/ ")
"""Removes the signs that may stand between the legs."""


def v2_symbol(wsname: str) -> str:
    """Return the v2 symbol of a wsname.

    >>> v2_symbol("XBT/USD"), v2_symbol("XDG/EUR"), v2_symbol("ETH/XBT")
    ('BTC/USD', 'DOGE/EUR', 'ETH/BTC')
    """
    return "/".join(_V2_LEGS.get(leg, leg) for leg in wsname.split("/"))


def meant(name: str, listed: Mapping[str, Collection[str]]) -> list[str]:
    """Return the pairs that a name may mean; ``listed`` has the other names of each pair, as far as they are known.

    An exact name comes before any other spelling. Otherwise the case and the sign between the legs do not matter, nor
    whether a leg is spelled as in v2 or as in the other names.

    >>> listed = {"BTC/USD": ["XXBTZUSD"], "AAPLx/USD": [], "AAPLX/USD": []}
    >>> meant("xbt-usd", listed), meant("XXBTZUSD", listed), meant("AAPLx/USD", listed), meant("aaplxusd", listed)
    (['BTC/USD'], ['BTC/USD'], ['AAPLx/USD'], ['AAPLx/USD', 'AAPLX/USD'])
    """
    wanted = name.strip()
    if wanted in listed:
        return [wanted]
    exact = [pair for pair, others in listed.items() if wanted in others]
    return exact or [
        pair
        for pair, others in listed.items()
        if _folded(wanted) in {_folded(one) for one in (*others, *_spellings(pair))}
    ]


def _folded(name: str) -> str:
    return name.translate(_SIGNS).upper()


def _spellings(pair: str) -> Iterator[str]:
    """Yield a v2 symbol with each leg as WebSocket v2 spells it, and as the other names do."""
    other = {v2: code for code, v2 in _V2_LEGS.items()}
    legs = [{leg, other.get(leg, leg)} for leg in pair.split("/")]
    yield from map("/".join, itertools.product(*legs))


class PairNames:
    """The listed pairs by each of their names: exact spelling first, then case-insensitive."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._by_pair = {instrument.pair: instrument for instrument in instruments}
        self._by_name: dict[str, Instrument] = {}
        # Exact spelling, then capitals: an asset like AAPLx must not shadow another that is spelt AAPLX. And one kind
        # of name after the other: a renamed market keeps its key, which may be the new name of another.
        for kind in ("pair", "wsname", "altname", "key"):
            for instrument in self._by_pair.values():
                self._by_name.setdefault(getattr(instrument, kind), instrument)
        for name, instrument in list(self._by_name.items()):
            self._by_name.setdefault(name.upper(), instrument)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._by_pair.values())

    def __len__(self) -> int:
        return len(self._by_pair)

    def resolve(self, name: str) -> Instrument:
        """Return the instrument of a v2 symbol, wsname, altname or canonical key. Raises UnknownPair."""
        wanted = name.strip()
        capitals = wanted.upper()
        spellings = (wanted, capitals, v2_symbol(capitals))  # the last for a mixture, such as XDG/BTC
        found = next((self._by_name[spelling] for spelling in spellings if spelling in self._by_name), None)
        if found is None:
            near = difflib.get_close_matches(capitals, list(self._by_name), n=3, cutoff=0.6)
            pairs = list(dict.fromkeys(self._by_name[match].pair for match in near))
            hint = f"did you mean {' or '.join(pairs)}?" if pairs else "write it as BASE/QUOTE, like BTC/USD"
            raise UnknownPair(f"Kraken lists no pair {name!r}; {hint}", name)
        return found
