"""What NautilusTrader reads of a catalog: python load_nautilus.py FOLDER."""

from __future__ import annotations

import json
import sys
from typing import Any

from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.enums import AggressorSide, BookAction, BookType, OrderSide
from nautilus_trader.persistence.catalog import ParquetDataCatalog


def main(folder: str) -> None:
    catalog = ParquetDataCatalog(folder)
    found: dict[str, Any] = {}
    for instrument in catalog.instruments():
        pair = instrument.raw_symbol.value
        ids = [instrument.id.value]
        found[f"{pair} instrument"] = [[str(instrument.price_increment), str(instrument.size_increment)]]
        found[f"{pair} trades"] = [
            [one.ts_event, one.trade_id.value, one.aggressor_side == AggressorSide.BUYER, str(one.price), str(one.size)]
            for one in catalog.trade_ticks(ids)
        ]
        found[f"{pair} quotes"] = [
            [one.ts_event, str(one.bid_price), str(one.bid_size), str(one.ask_price), str(one.ask_size)]
            for one in catalog.quote_ticks(ids)
        ]
        found[f"{pair} candles 1m"] = [
            [one.ts_event, *map(str, (one.open, one.high, one.low, one.close, one.volume))]
            for one in catalog.bars(instrument_ids=ids)
        ]
        deltas = catalog.order_book_deltas(ids)
        found[f"{pair} book"] = [
            [one.ts_event, one.order.side == OrderSide.BUY, str(one.order.price), str(one.order.size)]
            for one in deltas
            if one.action != BookAction.CLEAR
        ]
        book = OrderBook(instrument.id, BookType.L2_MBP)
        for one in deltas:
            book.apply_delta(one)
        found[f"{pair} state"] = [
            [side, str(level.price), f"{level.size():.8f}"]
            for side, levels in (("bid", book.bids()), ("ask", book.asks()))
            for level in levels
        ]
    print(json.dumps(found))


main(*sys.argv[1:])
