"""Which pair of an archive a name means: any of the exchange's names, resolved by the archive's own listing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from recorder.archive import listed_names
from recorder.archive.layout import Layout
from recorder.errors import UsageError
from recorder.kraken.pair_names import meant

_SHOWN: Final = 5
"""The maximum number of pairs in a message."""


class AliasWarning(UserWarning):
    """A pair was given by another of its names; the message says which pair was taken."""


def resolve(names: Iterable[str], held: Collection[str], layout: Layout) -> dict[str, str]:
    """Return for each name the pair that it means: a pair with trades (``held``), or else one that is listed.

    A name that means no pair is returned as it is; the caller knows what there is instead. Raise UsageError, which
    names the pairs, if several are meant; CorruptFile, UnreadableFile if the listing is needed and cannot be read.
    """
    found: dict[str, str] = {}
    listed: dict[str, set[str]] | None = None
    for name in names:
        if name in held:
            found[name] = name
            continue
        listed = listed_names.read(layout) if listed is None else listed
        if name in listed:
            found[name] = name
            continue
        pairs = meant(name, {pair: listed.get(pair, set()) for pair in held}) or meant(name, listed)
        if len(pairs) > 1:
            more = f" or {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
            raise UsageError(f"{name!r} may mean {' or '.join(sorted(pairs)[:_SHOWN])}{more}: write the one you mean")
        found[name] = pairs[0] if pairs else name
    return found


def sentence(aliases: Mapping[str, str]) -> str | None:
    """Return a message that says which pairs were taken for other names; None if there is nothing to say.

    >>> sentence({"BTC/USD": "BTC/USD", "XBTUSD": "BTC/USD", "xdg/eur": "DOGE/EUR"})
    'XBTUSD is taken for BTC/USD, xdg/eur for DOGE/EUR'
    """
    taken = [f"{name} for {pair}" for name, pair in aliases.items() if name != pair]
    return ", ".join([taken[0].replace(" for ", " is taken for ", 1), *taken[1:]]) if taken else None
