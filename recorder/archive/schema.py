"""The tables of the archive: columns, exact types, and the conversion of parsed rows to columns.

Defines the content of Parquet files; ``docs/format.md`` describes it for users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from recorder.core.model import (
    PRECISION,
    PRICE_SCALE,
    QTY_SCALE,
    Candle,
    Event,
    Instrument,
    SessionPart,
    TopOfBook,
    Trade,
)

REFUSED: Final = (pa.ArrowException, ArithmeticError, TypeError, ValueError)
"""Errors raised when values do not fit their columns: pyarrow's and Python's."""
TIME = pa.timestamp("us", "UTC")
PRICE = pa.decimal128(PRECISION, PRICE_SCALE)
QTY = pa.decimal128(PRECISION, QTY_SCALE)
PRINTED_QTY = pa.decimal128(38, 18)
"""Volumes of Kraken's OHLCVT files: sums of binary numbers, printed with up to 17 digits (API.md 16.2)."""

TRADES: Final[pa.Schema] = pa.schema(
    [
        pa.field("trade_id", pa.int64(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("price", PRICE, nullable=False),
        pa.field("qty", QTY, nullable=False),
        pa.field("side", pa.string(), nullable=False),
        pa.field("ord_type", pa.string(), nullable=False),
        pa.field("misc", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("received", TIME),
    ]
)

OHLC: Final[pa.Schema] = pa.schema(
    [
        pa.field("pair", pa.string(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("open", PRICE, nullable=False),
        pa.field("high", PRICE, nullable=False),
        pa.field("low", PRICE, nullable=False),
        pa.field("close", PRICE, nullable=False),
        pa.field("vwap", PRICE, nullable=False),
        pa.field("volume", QTY, nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("seen", TIME, nullable=False),
    ]
)

EVENTS: Final[pa.Schema] = pa.schema(
    [
        pa.field("time", TIME, nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("pair", pa.string()),
        pa.field("detail", pa.string(), nullable=False),
    ]
)

INSTRUMENTS: Final = pa.schema(
    [
        pa.field("pair", pa.string(), nullable=False),
        pa.field("valid_from", TIME, nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("altname", pa.string(), nullable=False),
        pa.field("wsname", pa.string(), nullable=False),
        pa.field("base", pa.string(), nullable=False),
        pa.field("quote", pa.string(), nullable=False),
        pa.field("pair_decimals", pa.int32(), nullable=False),
        pa.field("lot_decimals", pa.int32(), nullable=False),
        pa.field("cost_decimals", pa.int32()),
        pa.field("tick_size", PRICE),
        pa.field("ordermin", PRICE),
        pa.field("costmin", PRICE),
        pa.field("status", pa.string(), nullable=False),
    ]
)

QUOTES: Final = pa.schema(
    [
        pa.field("time", TIME),
        pa.field("received", TIME, nullable=False),
        pa.field("bid", PRICE),
        pa.field("bid_qty", QTY),
        pa.field("ask", PRICE),
        pa.field("ask_qty", QTY),
        pa.field("last", PRICE),
        pa.field("session", pa.int64(), nullable=False),
        pa.field("message", pa.int64(), nullable=False),
    ]
)

QUOTE_SESSIONS: Final = pa.schema(
    [
        pa.field("pair", pa.string(), nullable=False),
        pa.field("session", pa.int64(), nullable=False),
        pa.field("first_message", pa.int64()),
        pa.field("last_message", pa.int64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("first_received", TIME),
        pa.field("last_received", TIME),
        pa.field("ended", TIME),
        pa.field("seen", TIME, nullable=False),
    ]
)

BULK_TRADES: Final = pa.schema(
    [
        pa.field("time", TIME, nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("price", PRICE, nullable=False),
        pa.field("qty", QTY, nullable=False),
        pa.field("member", pa.string(), nullable=False),
    ]
)

BULK_OHLC: Final = pa.schema(
    [
        pa.field("timeframe", pa.string(), nullable=False),
        pa.field("time", TIME, nullable=False),
        pa.field("open", PRICE, nullable=False),
        pa.field("high", PRICE, nullable=False),
        pa.field("low", PRICE, nullable=False),
        pa.field("close", PRICE, nullable=False),
        pa.field("volume", PRINTED_QTY, nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("member", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
    ]
)


def trades_table(rows: Sequence[Trade]) -> pa.Table:
    """Return the rows as columns of :data:`TRADES`, in the order given.

    Raises pyarrow.ArrowInvalid if a number has more decimals than the schema; nothing is ever rounded.
    """
    return pa.table(
        [
            pa.array([row.trade_id for row in rows], pa.int64()),
            pa.array([row.time_us for row in rows], pa.int64()).cast(TIME),
            # As text: pyarrow takes 17 times as long to convert Decimal objects, with the same result.
            pa.array([str(row.price) for row in rows], pa.string()).cast(PRICE),
            pa.array([str(row.qty) for row in rows], pa.string()).cast(QTY),
            pa.array([row.side for row in rows], pa.string()),
            pa.array([row.ord_type for row in rows], pa.string()),
            _mostly_one([row.misc for row in rows]),
            _mostly_one([row.source for row in rows]),
            pa.array([row.received_us for row in rows], pa.int64()).cast(TIME),
        ],
        schema=TRADES,
    )


def _mostly_one(words: Sequence[str]) -> pa.Array:
    """Return a column of texts that are nearly always all equal."""
    if len(set(words)) == 1:
        return pa.repeat(pa.scalar(words[0], pa.string()), len(words))
    return pa.array(words, pa.string())


def ohlc_table(rows: Sequence[tuple[int, Candle]]) -> pa.Table:
    """Return (seen in µs, candle) rows from REST as columns of :data:`OHLC`, in the order given.

    Raises pyarrow.ArrowInvalid if a number has more decimals than the schema; nothing is ever rounded.
    """

    def decimal(value: Callable[[Candle], Decimal], kind: pa.DataType) -> pa.Array:
        return pa.array([str(value(candle)) for _, candle in rows], pa.string()).cast(kind)

    return pa.table(
        [
            pa.array([candle.pair for _, candle in rows], pa.string()),
            pa.array([candle.time_us for _, candle in rows], pa.int64()).cast(TIME),
            decimal(lambda candle: candle.open, PRICE),
            decimal(lambda candle: candle.high, PRICE),
            decimal(lambda candle: candle.low, PRICE),
            decimal(lambda candle: candle.close, PRICE),
            decimal(lambda candle: candle.vwap, PRICE),
            decimal(lambda candle: candle.volume, QTY),
            pa.array([candle.count for _, candle in rows], pa.int64()),
            pa.array(["rest"] * len(rows), pa.string()),
            pa.array([seen_us for seen_us, _ in rows], pa.int64()).cast(TIME),
        ],
        schema=OHLC,
    )


def events_table(rows: Sequence[Event]) -> pa.Table:
    """Return the rows as columns of :data:`EVENTS`, in the order given."""
    return pa.table(
        [
            pa.array([row.time_us for row in rows], pa.int64()).cast(TIME),
            pa.array([row.kind for row in rows], pa.string()),
            pa.array([row.pair for row in rows], pa.string()),
            pa.array([row.detail for row in rows], pa.string()),
        ],
        schema=EVENTS,
    )


def instruments_table(rows: Sequence[tuple[int, Instrument]]) -> pa.Table:
    """Return (valid_from in µs, instrument) rows as columns of :data:`INSTRUMENTS`."""

    def column(value: Callable[[Instrument], Any], kind: pa.DataType) -> pa.Array:
        return pa.array([value(instrument) for _, instrument in rows], kind)

    def decimal(value: Callable[[Instrument], str | None]) -> pa.Array:
        return column(value, pa.string()).cast(PRICE)

    return pa.table(
        [
            column(lambda i: i.pair, pa.string()),
            pa.array([valid_from for valid_from, _ in rows], pa.int64()).cast(TIME),
            column(lambda i: i.key, pa.string()),
            column(lambda i: i.altname, pa.string()),
            column(lambda i: i.wsname, pa.string()),
            column(lambda i: i.base, pa.string()),
            column(lambda i: i.quote, pa.string()),
            column(lambda i: i.pair_decimals, pa.int32()),
            column(lambda i: i.lot_decimals, pa.int32()),
            column(lambda i: i.cost_decimals, pa.int32()),
            decimal(lambda i: i.tick_size),
            decimal(lambda i: i.ordermin),
            decimal(lambda i: i.costmin),
            column(lambda i: i.status, pa.string()),
        ],
        schema=INSTRUMENTS,
    )


def quotes_table(rows: Sequence[TopOfBook]) -> pa.Table:
    """Return the rows of one pair as columns of :data:`QUOTES`, in the order given.

    Raises pyarrow.ArrowInvalid if a number has more decimals than the schema; nothing is ever rounded.
    """

    def decimal(values: Sequence[Decimal | None], kind: pa.DataType) -> pa.Array:
        return pa.array([None if value is None else str(value) for value in values], pa.string()).cast(kind)

    return pa.table(
        [
            pa.array([row.time_us for row in rows], pa.int64()).cast(TIME),
            pa.array([row.received_us for row in rows], pa.int64()).cast(TIME),
            decimal([row.bid for row in rows], PRICE),
            decimal([row.bid_qty for row in rows], QTY),
            decimal([row.ask for row in rows], PRICE),
            decimal([row.ask_qty for row in rows], QTY),
            decimal([row.last for row in rows], PRICE),
            pa.array([row.session for row in rows], pa.int64()),
            pa.array([row.message for row in rows], pa.int64()),
        ],
        schema=QUOTES,
    )


def sessions_table(rows: Sequence[SessionPart]) -> pa.Table:
    """Return the rows as columns of :data:`QUOTE_SESSIONS`, in the order given."""

    def moment(values: Sequence[int | None]) -> pa.Array:
        return pa.array(values, pa.int64()).cast(TIME)

    return pa.table(
        [
            pa.array([row.pair for row in rows], pa.string()),
            pa.array([row.session for row in rows], pa.int64()),
            pa.array([row.first_message for row in rows], pa.int64()),
            pa.array([row.last_message for row in rows], pa.int64()),
            pa.array([row.rows for row in rows], pa.int64()),
            moment([row.first_us for row in rows]),
            moment([row.last_us for row in rows]),
            moment([row.ended_us for row in rows]),
            moment([row.seen_us for row in rows]),
        ],
        schema=QUOTE_SESSIONS,
    )


def bulk_trades_table(rows: Sequence[tuple[int, int, Decimal, Decimal, str]]) -> pa.Table:
    """Return (time in µs, row, price, quantity, member) as columns of :data:`BULK_TRADES`, in the order given.

    Raises pyarrow.ArrowInvalid if a number has more decimals than the schema; nothing is ever rounded.
    """
    times_us, numbers, prices, qtys, members = zip(*rows, strict=True) if rows else ([], [], [], [], [])
    return pa.table(
        [
            pa.array(times_us, pa.int64()).cast(TIME),
            pa.array(numbers, pa.int64()),
            _exact(prices, PRICE),
            _exact(qtys, QTY),
            pa.array(members, pa.string()),
        ],
        schema=BULK_TRADES,
    )


def bulk_ohlc_table(rows: Sequence[tuple[str, int, Sequence[Decimal], int, str, int]]) -> pa.Table:
    """Return (timeframe, start in µs, (open, high, low, close, volume), count, member, row) as :data:`BULK_OHLC`.

    Raises pyarrow.ArrowInvalid if a number has more decimals than the schema; nothing is ever rounded.
    """
    timeframes, times_us, numbers, counts, members, places = zip(*rows, strict=True) if rows else ([],) * 6
    kinds = (PRICE, PRICE, PRICE, PRICE, PRINTED_QTY)
    return pa.table(
        [
            pa.array(timeframes, pa.string()),
            pa.array(times_us, pa.int64()).cast(TIME),
            *(_exact([number[at] for number in numbers], kind) for at, kind in enumerate(kinds)),
            pa.array(counts, pa.int64()),
            pa.array(members, pa.string()),
            pa.array(places, pa.int64()),
        ],
        schema=BULK_OHLC,
    )


def _exact(numbers: Sequence[Decimal], kind: pa.DataType) -> pa.Array:
    return pa.array([str(number) for number in numbers], pa.string()).cast(kind)
