"""Resolution of pair names on the command line, by the exchange's listing."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from recorder.collectors import listing
from recorder.core.model import Instrument
from recorder.core.pair_registry import Listed, PairRegistry, is_complete, settled
from recorder.errors import Unavailable, UnknownPair, UsageError
from recorder.kraken.pair_names import PairNames
from recorder.kraken.pair_patterns import select
from recorder.runtime.exchange_client import Exchange


async def resolve_pairs(exchange: Exchange, names: Sequence[str]) -> tuple[int, dict[str, Instrument]]:
    """Return the pairs of these names, and when the listing was received, in µs since 1970 UTC.

    Raise ExchangeError, and UsageError for an unknown name.
    """
    directory = PairRegistry()
    reading = await listing.read(exchange, enough=functools.partial(_has_all, names))
    directory.follow_listing(reading.listings, 0.0)
    names_of = PairNames(directory.listing)
    try:
        chosen = [names_of.resolve(name) for name in names]
    except UnknownPair as error:
        if not is_complete(reading.listings):
            raise Unavailable(f"not all that is listed could be had, and in the rest: {error}") from None
        raise UsageError(str(error)) from None
    received_us = reading.answers[0][1].recv_ns // 1000
    return received_us, {instrument.pair: instrument for instrument in chosen}


def _has_all(names: Sequence[str], listed: Listed) -> bool:
    """Return whether each name is that of a listed pair."""
    return not select(names, settled(listed, {})[0].values()).unknown
