"""The pairs that are named on a command line, by what the exchange lists."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from recorder.core.listing import Directory, Listed, is_whole, settled
from recorder.core.model import Instrument
from recorder.errors import Unavailable, UnknownPair, UsageError
from recorder.kraken.names import Listing
from recorder.kraken.selection import select
from recorder.tasks import listing
from recorder.tasks.exchange import Exchange


async def listed(exchange: Exchange, names: Sequence[str]) -> tuple[int, dict[str, Instrument]]:
    """Return the pairs of these names, and when the listing was received, in µs since 1970 UTC.

    Raises ExchangeError, and UsageError for a name that is none.
    """
    directory = Directory()
    reading = await listing.read(exchange, enough=functools.partial(_has_all, names))
    directory.take(reading.listings, 0.0)
    names_of = Listing(directory.listing)
    try:
        chosen = [names_of.resolve(name) for name in names]
    except UnknownPair as error:
        if not is_whole(reading.listings):
            raise Unavailable(f"not all that is listed could be had, and in the rest: {error}") from None
        raise UsageError(str(error)) from None
    received_us = reading.answers[0][1].recv_ns // 1000
    return received_us, {instrument.pair: instrument for instrument in chosen}


def _has_all(names: Sequence[str], listed: Listed) -> bool:
    """Return whether each name is that of a listed pair."""
    return not select(names, settled(listed, {})[0].values()).unknown
