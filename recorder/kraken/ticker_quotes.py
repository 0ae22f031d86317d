"""Answers of REST Ticker: the last trade of each pair, and how many it had today."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from recorder.core.model import Instrument
from recorder.errors import Malformed
from recorder.kraken import wire
from recorder.kraken.exact_numbers import exact_number


class Quote(msgspec.Struct, frozen=True, gc=False):
    """A pair's trades as shown by REST Ticker: price and quantity of the last one, and the number of today's trades.

    ``today`` counts from 00:00 UTC; 35 in the real answer that has 35 ids beside it (API.md 6.5, 6.7).
    """

    price: Decimal
    qty: Decimal
    today: int


@dataclass(frozen=True, slots=True)
class Quotes:
    """One answer of REST Ticker by pair, and the reasons for the pairs whose part could not be read."""

    by_pair: dict[str, Quote]
    unreadable: dict[str, str]


def parse_quotes(result: bytes, instruments: Iterable[Instrument]) -> Quotes:
    """Read the parts of ``instruments`` in the ``result`` of REST Ticker. Raises Malformed if it is no table.

    Pairs are found under any of their names (API.md 5.2); other parts and missing pairs are ignored. One part that
    cannot be read does not affect the others.
    """
    found, unreadable = dict[str, Quote](), dict[str, str]()
    for instrument, part in _parts(result, instruments):
        try:
            found[instrument.pair] = _quote(part)
        except wire.UNREADABLE as error:
            unreadable[instrument.pair] = f"a part of Ticker for {instrument.pair} that cannot be read: {error}"
    return Quotes(found, unreadable)


def parse_day_counts(result: bytes, instruments: Iterable[Instrument]) -> dict[str, int]:
    """Return how many trades each pair had in the last 24 hours. Raises Malformed if the result is no table.

    Pairs that are missing, or whose part cannot be read, are left out.
    """
    found: dict[str, int] = {}
    for instrument, part in _parts(result, instruments):
        with contextlib.suppress(*wire.UNREADABLE):
            found[instrument.pair] = wire.ticker_counts(part).t[1]
    return found


def _parts(result: bytes, instruments: Iterable[Instrument]) -> Iterator[tuple[Instrument, msgspec.Raw]]:
    """Yield the part of each pair that has one, under any of its names. Raises Malformed."""
    try:
        table = wire.table_result(result)
    except wire.UNREADABLE as error:
        raise Malformed(f"an answer of Ticker that cannot be read: {error}") from error
    for instrument in instruments:
        names = (instrument.key, instrument.altname, instrument.pair, instrument.wsname)
        part = next((table[name] for name in names if name in table), None)
        if part is not None:
            yield instrument, part


def _quote(part: msgspec.Raw) -> Quote:
    entry = wire.ticker_entry(part)
    return Quote(exact_number(entry.c[0]), exact_number(entry.c[1]), entry.t[0])
