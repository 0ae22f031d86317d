"""Writes a catalog of NautilusTrader from Arrow streams on standard input: python nautilus_writer.py CATALOG.

Run by the Python that has nautilus_trader, which may be another one than the recorder's, so it imports nothing of this
package. Each stream is one series, described by the JSON under ``nautilus`` in the metadata of its schema. At the end
one line of JSON is printed: the release, and how many rows of each pair and kind have no form in nautilus.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
from nautilus_trader import __version__
from nautilus_trader.model.data import Bar, BarType, BookOrder, OrderBookDelta, QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide, BookAction, OrderSide, RecordFlag
from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import FIXED_PRECISION, Currency, Price, Quantity
from nautilus_trader.persistence.catalog import ParquetDataCatalog

Objects = list[Any]
VENUE: Final = "KRAKEN"
DISK: Final = 4
"""The exit code if the operating system refused a write."""


class Series:
    """Makes nautilus' objects of the rows of one series."""

    def __init__(self, described: dict[str, Any], left_out: Counter[str]) -> None:
        self.described = described
        self.left_out = left_out
        self.instrument_id = InstrumentId(Symbol(described["pair"]), Venue(VENUE))
        self.convert: Callable[[pa.Table], Iterator[Any]] = getattr(self, described["kind"])

    def instrument(self) -> CurrencyPair:
        """Return the pair's instrument."""
        described = self.described
        least = Quantity.from_str(described["min_quantity"]) if described["min_quantity"] is not None else None
        return CurrencyPair(
            instrument_id=self.instrument_id,
            raw_symbol=Symbol(described["pair"]),
            base_currency=Currency.from_str(described["base"]),
            quote_currency=Currency.from_str(described["quote"]),
            price_precision=described["price_digits"],
            size_precision=described["qty_digits"],
            price_increment=Price.from_str(described["price_increment"]),
            size_increment=Quantity.from_str(described["size_increment"]),
            min_quantity=least,
            margin_init=Decimal(0),
            margin_maint=Decimal(0),
            maker_fee=Decimal(0),
            taker_fee=Decimal(0),
            ts_event=0,
            ts_init=0,
        )

    def trades(self, rows: pa.Table) -> Iterator[TradeTick]:
        """Yield trades; one of nothing has no form."""
        columns = [self.prices(rows, "price"), self.sizes(rows, "qty"), *texts(rows, "side", "trade_id"), *times(rows)]
        for price, size, side, trade_id, made, local in zip(*columns, strict=True):
            if not size.raw:
                self.left_out[f"{self.described['pair']} trades"] += 1
                continue
            taker = AggressorSide.BUYER if side == "buy" else AggressorSide.SELLER
            yield TradeTick(self.instrument_id, price, size, taker, TradeId(trade_id), made, local)

    def quotes(self, rows: pa.Table) -> Iterator[QuoteTick]:
        """Yield quotes; one without a bid or an ask has no form."""
        columns = [
            self.prices(rows, "bid"),
            self.prices(rows, "ask"),
            self.sizes(rows, "bid_qty"),
            self.sizes(rows, "ask_qty"),
        ]
        for bid, ask, bid_size, ask_size, made, local in zip(*columns, *times(rows), strict=True):
            if not all(one is not None and one.raw for one in (bid, ask)) or bid_size is None or ask_size is None:
                self.left_out[f"{self.described['pair']} quotes"] += 1
                continue
            yield QuoteTick(self.instrument_id, bid, ask, bid_size, ask_size, made, local)

    def book(self, rows: pa.Table) -> Iterator[OrderBookDelta]:
        """Yield changes of the book; a whole book begins with one that clears what was before."""
        columns = [self.prices(rows, "price"), self.sizes(rows, "qty"), *texts(rows, "side"), *times(rows)]
        places = [rows[name].to_pylist() for name in ("message", "replaces", "clears", "ends")]
        for price, size, side, made, local, message, replaces, clears, ends in zip(*columns, *places, strict=True):
            flags = (RecordFlag.F_SNAPSHOT if replaces else 0) | (RecordFlag.F_LAST if ends else 0)
            if clears:
                yield OrderBookDelta.clear(self.instrument_id, message, made, local)
            action = BookAction.ADD if replaces else BookAction.UPDATE if size.raw else BookAction.DELETE
            order = BookOrder(OrderSide.BUY if side == "bid" else OrderSide.SELL, price, size, 0)
            yield OrderBookDelta(self.instrument_id, action, order, flags, message, made, local)

    def candles(self, rows: pa.Table) -> Iterator[Bar]:
        """Yield bars."""
        bar_type = BarType.from_str(f"{self.instrument_id}-{self.described['bar']}-LAST-EXTERNAL")
        columns = [self.prices(rows, name) for name in ("open", "high", "low", "close")]
        for first, high, low, last, volume, made, local in zip(
            *columns, self.sizes(rows, "volume"), *times(rows), strict=True
        ):
            yield Bar(bar_type, first, high, low, last, volume, made, local)

    def prices(self, rows: pa.Table, column: str) -> list[Price | None]:
        """Return the prices of a column, all with the digits of the instrument."""
        digits = self.described["price_digits"]
        return [None if raw is None else Price.from_raw(raw, digits) for raw in raws(rows[column])]

    def sizes(self, rows: pa.Table, column: str) -> list[Quantity | None]:
        """Return the quantities of a column, likewise."""
        digits = self.described["qty_digits"]
        return [None if raw is None else Quantity.from_raw(raw, digits) for raw in raws(rows[column])]


def raws(column: pa.ChunkedArray) -> list[int | None]:
    """Return decimals as the integers that nautilus stores. Raise pyarrow.ArrowInvalid if it has too few digits."""
    found: list[int | None] = []
    for chunk in column.cast(pa.decimal128(38, FIXED_PRECISION)).chunks:
        halves = np.frombuffer(chunk.buffers()[1], np.uint64).reshape(-1, 2)[chunk.offset : chunk.offset + len(chunk)]
        low, high = halves[:, 0].tolist(), halves[:, 1].view(np.int64).tolist()
        valid = chunk.is_valid().to_pylist()
        found += [(h << 64) + one if there else None for one, h, there in zip(low, high, valid, strict=True)]
    return found


def texts(rows: pa.Table, *columns: str) -> list[list[str]]:
    """Return columns as text."""
    return [rows[name].cast(pa.string()).to_pylist() for name in columns]


def times(rows: pa.Table) -> list[list[int]]:
    """Return when rows were made, and when they reached the listener, in ns since 1970 UTC."""
    return [rows[name].to_pylist() for name in ("ts_event", "ts_init")]


def write(catalog: ParquetDataCatalog, series: Series, batches: Iterator[pa.Table]) -> None:
    """Write a series, one file for each batch. Rows of one moment go into one file: no two may share a time."""
    waiting: Objects = []
    for batch in batches:
        found = list(series.convert(batch))
        first = found[0].ts_init if found else None
        kept = len(waiting)
        while kept and waiting[kept - 1].ts_init == first:
            kept -= 1
        if found and kept:
            catalog.write_data(waiting[:kept])
            waiting = waiting[kept:]
        waiting += found
    if waiting:
        catalog.write_data(waiting)


def main(folder: str) -> None:
    """Write all series."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the package prints is no answer
    catalog, left_out, listed = ParquetDataCatalog(folder), Counter[str](), set[str]()
    given = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115 -- ends with the process
    while given.peek(1):
        with pa.ipc.open_stream(given) as stream:
            series = Series(json.loads(stream.schema.metadata[b"nautilus"]), left_out)
            if series.described["pair"] not in listed:
                catalog.write_data([series.instrument()])
                listed.add(series.described["pair"])
            write(catalog, series, (pa.Table.from_batches([batch]) for batch in stream))
    with answer:
        json.dump({"release": __version__, "left_out": left_out}, answer)


try:
    main(sys.argv[1])
except OSError as error:
    print(error, file=sys.stderr)  # noqa: T201 -- its last words
    sys.exit(DISK)
