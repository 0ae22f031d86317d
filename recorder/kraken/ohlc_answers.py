"""Answers of REST OHLC: which candles are committed, and which rows cannot be read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

import msgspec

from recorder.core.model import TIMEFRAMES, Candle, check_exact
from recorder.errors import Malformed
from recorder.kraken import wire
from recorder.kraken.exact_numbers import exact_number, whole_number
from recorder.kraken.odd_rows import OddRow, ReadPairAndId, describe, one_by_one, optional
from recorder.kraken.rest_rows import rows_and_last
from recorder.kraken.timestamps import END_S, US_PER_S


class CandleAnswer(NamedTuple):
    """The committed candles of one answer of REST OHLC, oldest first, and its rows that cannot be read.

    ``first_us`` and ``last_us`` are the starts of the first and the last of all these rows, including malformed ones
    whose start can be read (µs since 1970 UTC); None if there are none.
    """

    rows: list[Candle]
    odd: tuple[OddRow, ...] = ()
    first_us: int | None = None
    last_us: int | None = None


def parse_answer(result: bytes, pair: str, timeframe: str) -> CandleAnswer:
    """Return the committed candles in the ``result`` of REST OHLC for ``pair``, oldest first.

    The last row is always the running interval, and ``last`` the start of the last committed one (API.md 6.6). A row
    counts as committed only if both agree; one left out for that reason comes with the next answer. Rows out of time
    order are malformed, as few of them as possible. Raises Malformed if no row at all can be read.
    """
    try:
        rows, last = rows_and_last(result, "candles")
        raw = wire.raw_rows(rows)
        end_us = (END_S if last is None else min(whole_number(last), END_S)) * US_PER_S
        read, odd = one_by_one(raw, lambda row: _candle(wire.ohlc_row(row), pair, timeframe), _pair_only(pair))
        if odd and not read:
            raise ValueError(odd[0].reason)
    except wire.UNREADABLE as error:
        reason = f"an answer of OHLC for {pair} in {timeframe} that cannot be read: {describe(error)}"
        raise Malformed(reason) from error
    odd_places = {row.at for row in odd}
    places = [at for at in range(len(raw)) if at not in odd_places]
    ordered = set(_ascending([candle.time_us for candle in read]))
    out_of_order = [
        OddRow(bytes(raw[at]), f"the candle at {one.time_us // US_PER_S} is not in the order of time", at, pair)
        for index, (at, one) in enumerate(zip(places, read, strict=True))
        if index not in ordered
    ]
    running = len(raw) - 1
    committed = [
        one
        for index, (at, one) in enumerate(zip(places, read, strict=True))
        if index in ordered and at < running and one.time_us <= end_us
    ]
    malformed = tuple(sorted((row for row in (*odd, *out_of_order) if row.at < running), key=lambda row: row.at))
    starts = [one.time_us for one in committed]
    step_us = TIMEFRAMES[timeframe] * 60 * US_PER_S
    known = [(at, one.time_us) for index, (at, one) in enumerate(zip(places, read, strict=True)) if index in ordered]
    starts += [start for row in odd if row.at < running and (start := _start_us(row, known, step_us)) is not None]
    return CandleAnswer(committed, malformed, min(starts, default=None), max(starts, default=None))


def _pair_only(pair: str) -> ReadPairAndId:
    return lambda _: (pair, None)


def _ascending(times: Sequence[int]) -> Sequence[int]:
    """Return the indices of the longest ascending subsequence of ``times``: nearly always all of them.

    Of several the one nearer to what follows: an invalid time is more likely 0 than a minute off.
    """
    if all(before < after for before, after in pairwise(times)):
        return range(len(times))
    ends, lasts, before = list[int](), list[int](), list[int | None]()  # of the subsequences found: last time and index
    for place, time in enumerate(reversed(times)):
        index = bisect_left(ends, -time)
        before.append(lasts[index - 1] if index else None)
        ends[index : index + 1], lasts[index : index + 1] = [-time], [place]
    found, at = list[int](), lasts[-1] if lasts else None
    while at is not None:
        found.append(len(times) - 1 - at)
        at = before[at]
    return found


def _start_us(row: OddRow, known: Sequence[tuple[int, int]], step_us: int) -> int | None:
    """Return the start of a candle that cannot be read; None if its start cannot be read or does not fit its position.

    ``known`` are the positions and starts of readable candles: a malformed row must not make later ones unwanted.
    """
    fields = optional(wire.raw_rows, msgspec.Raw(row.raw))
    start_s = None if not fields else optional(wire.start_s, fields[0])
    index = bisect_left(known, (row.at,))
    if start_s is None or not known:
        return None
    at, start_us = known[min(index, len(known) - 1)]
    return start_s * US_PER_S if start_s * US_PER_S == start_us + (row.at - at) * step_us else None


def _candle(row: wire.OhlcRow, pair: str, timeframe: str) -> Candle:
    volume = exact_number(row.volume)

    def price(text: str) -> Decimal:
        number = exact_number(text)
        try:
            check_exact(number, volume)
        except ValueError as error:
            raise ValueError(f"the candle at {row.time}: {error}") from None
        return number

    return Candle(
        pair,
        timeframe,
        row.time * US_PER_S,
        open=price(row.open),
        high=price(row.high),
        low=price(row.low),
        close=price(row.close),
        vwap=price(row.vwap),
        volume=volume,
        count=row.count,
    )
