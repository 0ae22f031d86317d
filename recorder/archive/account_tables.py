"""The tables of an own account: columns, exact types, and entries of the registry.

They lie in a folder of their own, never in an archive: nothing that reads, exports, merges or checks an archive knows
them. So they are no part of ``DATASETS``; importing this module makes their files readable and writable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from recorder.archive import datasets
from recorder.archive.datasets import EVENTS, Dataset, Encoding
from recorder.archive.schema import TIME
from recorder.core.account import (
    AMOUNT_PRECISION,
    AMOUNT_SCALE,
    ApartEntry,
    Balance,
    LedgerEntry,
    OwnOrder,
    OwnTrade,
)

AMOUNT: Final = pa.decimal128(AMOUNT_PRECISION, AMOUNT_SCALE)


def _needed(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


LEDGER_COLUMNS: Final = pa.schema(
    [
        _needed("id", pa.string()),
        _needed("refid", pa.string()),
        _needed("time", TIME),
        _needed("type", pa.string()),
        _needed("subtype", pa.string()),
        _needed("asset_class", pa.string()),
        _needed("asset", pa.string()),
        _needed("amount", AMOUNT),
        _needed("fee", AMOUNT),
        _needed("balance", AMOUNT),
        _needed("seconds", AMOUNT),
        _needed("seen", TIME),
        _needed("raw", pa.string()),
    ]
)
TRADE_COLUMNS: Final = pa.schema(
    [
        _needed("id", pa.string()),
        _needed("order_id", pa.string()),
        _needed("position_id", pa.string()),
        _needed("pair", pa.string()),
        _needed("time", TIME),
        _needed("side", pa.string()),
        _needed("ord_type", pa.string()),
        _needed("price", AMOUNT),
        _needed("qty", AMOUNT),
        _needed("cost", AMOUNT),
        _needed("fee", AMOUNT),
        _needed("margin", AMOUNT),
        _needed("misc", pa.string()),
        pa.field("trade_id", pa.int64()),
        pa.field("maker", pa.bool_()),
        _needed("ledgers", pa.string()),
        _needed("seconds", AMOUNT),
        _needed("seen", TIME),
        _needed("raw", pa.string()),
    ]
)
ORDER_COLUMNS: Final = pa.schema(
    [
        _needed("id", pa.string()),
        _needed("pair", pa.string()),
        _needed("status", pa.string()),
        _needed("reason", pa.string()),
        _needed("side", pa.string()),
        _needed("ord_type", pa.string()),
        _needed("opened", TIME),
        _needed("time", TIME),
        _needed("limit_price", AMOUNT),
        _needed("qty", AMOUNT),
        _needed("filled", AMOUNT),
        _needed("cost", AMOUNT),
        _needed("fee", AMOUNT),
        _needed("price", AMOUNT),
        _needed("seen", TIME),
        _needed("raw", pa.string()),
    ]
)
BALANCE_COLUMNS: Final = pa.schema(
    [
        _needed("time", TIME),
        _needed("asset", pa.string()),
        _needed("balance", AMOUNT),
        _needed("held", AMOUNT),
        _needed("credit", AMOUNT),
        _needed("credit_used", AMOUNT),
        _needed("settled", pa.bool_()),
    ]
)
APART_COLUMNS: Final = pa.schema(
    [
        _needed("table", pa.string()),
        _needed("id", pa.string()),
        _needed("digest", pa.string()),
        _needed("reason", pa.string()),
        _needed("seen", TIME),
        _needed("raw", pa.string()),
    ]
)


def _texts(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string())


def _times(values: Sequence[int]) -> pa.Array:
    return pa.array(values, pa.int64()).cast(TIME)


def _amounts(values: Sequence[Decimal]) -> pa.Array:
    return pa.array([f"{value:f}" for value in values], pa.string()).cast(AMOUNT)


def ledger_table(rows: Sequence[tuple[int, LedgerEntry]]) -> pa.Table:
    """Return (when it was seen in µs, entry) as columns of :data:`LEDGER_COLUMNS`, in the order given."""
    ones = [one for _, one in rows]
    return pa.table(
        [
            _texts([one.id for one in ones]),
            _texts([one.refid for one in ones]),
            _times([one.time_us for one in ones]),
            _texts([one.type for one in ones]),
            _texts([one.subtype for one in ones]),
            _texts([one.asset_class for one in ones]),
            _texts([one.asset for one in ones]),
            _amounts([one.amount for one in ones]),
            _amounts([one.fee for one in ones]),
            _amounts([one.balance for one in ones]),
            _amounts([one.seconds for one in ones]),
            _times([seen_us for seen_us, _ in rows]),
            _texts([one.raw for one in ones]),
        ],
        schema=LEDGER_COLUMNS,
    )


def trades_table(rows: Sequence[tuple[int, OwnTrade]]) -> pa.Table:
    """Return (when it was seen in µs, trade) as columns of :data:`TRADE_COLUMNS`, in the order given."""
    ones = [one for _, one in rows]
    return pa.table(
        [
            _texts([one.id for one in ones]),
            _texts([one.order_id for one in ones]),
            _texts([one.position_id for one in ones]),
            _texts([one.pair for one in ones]),
            _times([one.time_us for one in ones]),
            _texts([one.side for one in ones]),
            _texts([one.ord_type for one in ones]),
            _amounts([one.price for one in ones]),
            _amounts([one.qty for one in ones]),
            _amounts([one.cost for one in ones]),
            _amounts([one.fee for one in ones]),
            _amounts([one.margin for one in ones]),
            _texts([one.misc for one in ones]),
            pa.array([one.trade_id for one in ones], pa.int64()),
            pa.array([one.maker for one in ones], pa.bool_()),
            _texts([",".join(one.ledgers) for one in ones]),
            _amounts([one.seconds for one in ones]),
            _times([seen_us for seen_us, _ in rows]),
            _texts([one.raw for one in ones]),
        ],
        schema=TRADE_COLUMNS,
    )


def orders_table(rows: Sequence[tuple[int, OwnOrder]]) -> pa.Table:
    """Return (when it was seen in µs, order) as columns of :data:`ORDER_COLUMNS`, in the order given."""
    ones = [one for _, one in rows]
    return pa.table(
        [
            _texts([one.id for one in ones]),
            _texts([one.pair for one in ones]),
            _texts([one.status for one in ones]),
            _texts([one.reason for one in ones]),
            _texts([one.side for one in ones]),
            _texts([one.ord_type for one in ones]),
            _times([one.opened_us for one in ones]),
            _times([one.closed_us for one in ones]),
            _amounts([one.limit for one in ones]),
            _amounts([one.qty for one in ones]),
            _amounts([one.filled for one in ones]),
            _amounts([one.cost for one in ones]),
            _amounts([one.fee for one in ones]),
            _amounts([one.price for one in ones]),
            _times([seen_us for seen_us, _ in rows]),
            _texts([one.raw for one in ones]),
        ],
        schema=ORDER_COLUMNS,
    )


def balances_table(rows: Sequence[Balance]) -> pa.Table:
    """Return the rows as columns of :data:`BALANCE_COLUMNS`, in the order given."""
    return pa.table(
        [
            _times([one.time_us for one in rows]),
            _texts([one.asset for one in rows]),
            _amounts([one.balance for one in rows]),
            _amounts([one.held for one in rows]),
            _amounts([one.credit for one in rows]),
            _amounts([one.credit_used for one in rows]),
            pa.array([one.settled for one in rows], pa.bool_()),
        ],
        schema=BALANCE_COLUMNS,
    )


def apart_table(rows: Sequence[tuple[int, ApartEntry]]) -> pa.Table:
    """Return (when it was seen in µs, entry) as columns of :data:`APART_COLUMNS`, in the order given."""
    ones = [one for _, one in rows]
    return pa.table(
        [
            _texts([one.table for one in ones]),
            _texts([one.id for one in ones]),
            _texts([one.digest for one in ones]),
            _texts([one.reason for one in ones]),
            _times([seen_us for seen_us, _ in rows]),
            _texts([one.raw for one in ones]),
        ],
        schema=APART_COLUMNS,
    )


_REMEDY: Final = (
    "put the file of this name from a back-up in its place, or move it out of the folder: what Kraken still shows is "
    "then requested again at the next start"
)


def _table(
    name: str,
    columns: pa.Schema,
    build: Callable[[Sequence[Any]], pa.Table],
    order: tuple[str, ...],
    words: tuple[str, ...],
    *,
    time: str = "time",
    stamp: str = "seen",
) -> Dataset:
    encodings: dict[str, Encoding] = dict.fromkeys(words, "words")
    encodings |= {field.name: "delta" for field in columns if field.type == TIME}
    return Dataset(
        name,
        columns,
        build,
        order=order,
        time=time,
        remedy=_REMEDY,
        encodings=encodings,
        period="year",
        by_key=True,
        stamp=stamp,
    )


LEDGER: Final = _table(
    "account_ledger",
    LEDGER_COLUMNS,
    ledger_table,
    ("time", "seconds", "id"),
    ("type", "subtype", "asset_class", "asset"),
)
TRADES: Final = _table(
    "account_trades", TRADE_COLUMNS, trades_table, ("time", "seconds", "id"), ("pair", "side", "ord_type", "misc")
)
ORDERS: Final = _table(
    "account_orders", ORDER_COLUMNS, orders_table, ("time", "id"), ("pair", "status", "reason", "side", "ord_type")
)
BALANCES: Final = _table(
    "account_balances", BALANCE_COLUMNS, balances_table, ("time", "asset"), ("asset",), stamp="time"
)
APART: Final = _table("account_apart", APART_COLUMNS, apart_table, ("seen", "digest"), ("table", "reason"), time="seen")
IDENTIFIED: Final = (LEDGER, TRADES, ORDERS, APART)
"""The tables whose rows are stored once by an id."""
TABLES: Final = (LEDGER, TRADES, ORDERS, BALANCES, APART, EVENTS)
"""All tables of an account; its events are its own."""


def id_column(dataset: Dataset) -> str:
    """Return the column by which rows of an identified table are stored once."""
    return "digest" if dataset == APART else "id"


datasets.add_elsewhere(LEDGER, TRADES, ORDERS, BALANCES, APART)
