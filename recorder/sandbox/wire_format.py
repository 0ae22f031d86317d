"""Kraken's printed form of numbers, times and trades (API.md 6.7, 7, 8.5): integers in, text out.

Contains every character of a trade on the wire. Does not parse, and uses no floats except in the one place where Kraken
itself uses a double: the ``time`` of a REST row.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

from recorder.core.trade_ids import Span
from recorder.sandbox.candles import Candle
from recorder.sandbox.pairs import REST_QTY_DIGITS
from recorder.sandbox.tape import MARKET, ORD_TYPES, SELL, SIDES, NewTrades, Tape

_NS = 1_000_000_000


def fixed(value: int, digits: int) -> str:
    """Print an integer scaled by ``digits`` with exactly that many digits after the point.

    >>> fixed(628070, 1), fixed(280, 4), fixed(5, 0)
    ('62807.0', '0.0280', '5')
    """
    if digits == 0:
        return str(value)
    text = str(value).rjust(digits + 1, "0")
    return f"{text[:-digits]}.{text[-digits:]}"


def canonical(value: int, digits: int) -> str:
    """Print an integer scaled by ``digits`` without trailing zeros.

    >>> canonical(628070, 1), canonical(280, 4), canonical(50, 0)
    ('62807', '0.028', '50')
    """
    return fixed(value, digits).rstrip("0").rstrip(".") if digits else str(value)


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def stamp_us(time_ns: int) -> str:
    """Print a time as WebSocket v2 does: RFC 3339, six digits, truncated rather than rounded.

    >>> stamp_us(1783465205562702999)
    '2026-07-07T23:00:05.562702Z'
    """
    seconds, rest_ns = divmod(time_ns, _NS)
    return f"{_second(seconds)}.{rest_ns // 1000:06d}Z"


def printed_double(time_ns: int) -> str:
    """Print a time as REST Trades does: seconds as a double, by the shortest text that reads back the same.

    Python divides integers with one correct rounding, which gives the same double as sec + ns/1e9 for every nanosecond
    of our age (a nanosecond never falls within 2**-54 s of the middle between two doubles).

    >>> printed_double(1762820035982277754)
    '1762820035.9822779'
    """
    return repr(time_ns / _NS).removesuffix(".0")


def price_text(price: int, scale: int, digits: int) -> str:
    """Print a price scaled by ``scale`` with ``digits`` digits, or with all of them if it would be truncated.

    >>> price_text(62807000, 3, 1), price_text(62807001, 3, 1), price_text(62807, 0, 1)
    ('62807.0', '62807.001', '62807.0')
    """
    if digits >= scale:
        return fixed(price * 10 ** (digits - scale), digits)
    whole, rest = divmod(price, 10 ** (scale - digits))
    return fixed(price, scale) if rest else fixed(whole, digits)


def rest_rows(tape: Tape, span: Span) -> Iterator[str]:
    """Yield the trades of ``span`` as rows of a REST Trades answer."""
    digits = max(tape.pair.rest_digits, tape.price_digits)
    price_pad = 10 ** (digits - tape.price_digits)
    qty_pad = 10 ** (REST_QTY_DIGITS - tape.qty_digits)
    for trade_id, time_ns, price, qty, mark in tape.rows(span):
        yield (
            f'["{fixed(price * price_pad, digits)}","{fixed(qty * qty_pad, REST_QTY_DIGITS)}",'
            f'{printed_double(time_ns)},"{"s" if mark & SELL else "b"}","{"m" if mark & MARKET else "l"}",'
            f'"",{trade_id}]'
        )


def candle_row(tape: Tape, candle: Candle) -> str:
    """Return one row of a REST OHLC answer: prices in the digits listed when it began, the vwap truncated to them."""
    scale, digits = tape.price_digits, tape.decimals_at(candle.start_ns)
    first, high, low, last = (
        price_text(price, scale, digits) for price in (candle.open, candle.high, candle.low, candle.close)
    )
    # Integers throughout: a quotient of doubles would round one in ten the wrong way.
    vwap = candle.notional // (candle.qty * 10 ** (scale - digits)) if candle.qty else 0
    volume = fixed(candle.qty * 10 ** (REST_QTY_DIGITS - tape.qty_digits), REST_QTY_DIGITS)
    return (
        f'[{candle.start_ns // _NS},"{first}","{high}","{low}","{last}",'
        f'"{fixed(vwap, digits)}","{volume}",{candle.trades}]'
    )


def _socket_rows(tape: Tape, span: Span) -> Iterator[str]:
    symbol, price_digits, qty_digits = tape.pair.symbol, tape.price_digits, tape.qty_digits
    coarser = price_digits != tape.socket_digits
    for trade_id, time_ns, price, qty, mark in tape.rows(span):
        text = price_text(price, price_digits, tape.socket_digits) if coarser else fixed(price, price_digits)
        yield (
            f'{{"symbol":"{symbol}","side":"{SIDES[mark]}","price":{text},'
            f'"qty":{fixed(qty, qty_digits)},"ord_type":"{ORD_TYPES[mark]}","trade_id":{trade_id},'
            f'"timestamp":"{stamp_us(time_ns)}"}}'
        )


def stray_frame(tape: Tape, trade_id: int) -> str:
    """Return a frame with the newest trade once more, under a wrong id."""
    newest = tape.last_id
    (row,) = _socket_rows(tape, Span(newest, newest))
    row = row.replace(f'"trade_id":{newest},', f'"trade_id":{trade_id},')
    return f'{{"channel":"trade","type":"update","data":[{row}]}}'


def snapshot_frame(tape: Tape, count: int) -> str:
    """Return the trade snapshot of a subscription: the latest trades, oldest first; none on a new listing."""
    span = tape.newest(count)
    rows = "" if span is None else ",".join(_socket_rows(tape, span))
    return f'{{"channel":"trade","type":"snapshot","data":[{rows}]}}'


def update_frames(tape: Tape, made: NewTrades, *, limit: int) -> Iterator[str]:
    """Yield the frames with the trades just made, at most ``limit`` trades in each.

    Like Kraken, this merges several takers into one frame and splits long sweeps (API.md 8.5).
    """
    for first in range(made.span.first, made.span.last + 1, limit):
        rows = _socket_rows(tape, Span(first, min(first + limit - 1, made.span.last)))
        yield f'{{"channel":"trade","type":"update","data":[{",".join(rows)}]}}'
