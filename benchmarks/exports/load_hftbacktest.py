"""What hftbacktest reads of an export of its own, and of one of Tardis' CSV: python load_hftbacktest.py FOLDER TARDIS.

The files are validated by its own function, and run through a backtest to their end. Tardis' files are converted by its
converter.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.data import validate_event_order
from hftbacktest.data.utils import tardis

KIND, LOCAL, EXCHANGE, BUY = 0xFF, 1 << 30, 1 << 31, 1 << 29
CLEAR = 3


def seen(data: npt.NDArray[Any], flag: int) -> list[list[Any]]:
    """Return the events that the exchange or the listener sees, in its order, without those that clear the book."""
    rows = data[(data["ev"] & flag != 0) & (data["ev"] & KIND != CLEAR)]
    kinds, buys = (rows["ev"] & KIND).tolist(), (rows["ev"] & BUY != 0).tolist()
    columns = (rows[name].tolist() for name in ("exch_ts", "local_ts", "px", "qty"))
    return [list(row) for row in zip(kinds, buys, *columns, strict=True)]


def replayed(files: list[str], levels: int) -> tuple[int, list[list[Any]]]:
    """Run a backtest; return how many trades it saw, and the book at its end."""
    asset = (
        BacktestAsset()
        .data(files)
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(0.1)
        .lot_size(0.00000001)
        .last_trades_capacity(1_000_000)
    )
    backtest = HashMapMarketDepthBacktest([asset])
    trades = 0
    while backtest.elapse(1_000_000_000) == 0:
        trades += len(backtest.last_trades(0))
        backtest.clear_last_trades(0)
    trades += len(backtest.last_trades(0))
    depth = backtest.depth(0)
    bids = [
        [tick, depth.bid_qty_at_tick(tick)] for tick in range(depth.best_bid_tick, depth.best_bid_tick - levels, -1)
    ]
    asks = [[tick, depth.ask_qty_at_tick(tick)] for tick in range(depth.best_ask_tick, depth.best_ask_tick + levels)]
    backtest.close()
    book = [["bid", *row] for row in bids if row[1]] + [["ask", *row] for row in asks if row[1]]
    return trades, book


def main(folder: str, tardis_folder: str) -> None:
    files = sorted(map(str, Path(folder).glob("*.npz")))
    found: dict[str, Any] = {"local": [], "exchange": [], "tardis": []}
    for file in files:
        data = np.load(file)["data"]
        validate_event_order(data)
        found["local"] += seen(data, LOCAL)
        found["exchange"] += seen(data, EXCHANGE)
    trades, found["state"] = replayed(files, 1_000)
    found["trades"] = [[trades]]
    for file_of_trades in sorted(Path(tardis_folder).glob("kraken_trades_*_BTC-USD.csv.gz")):
        book = file_of_trades.with_name(file_of_trades.name.replace("trades", "incremental_book_L2"))
        with contextlib.redirect_stdout(io.StringIO()):
            data = tardis.convert([str(file_of_trades), str(book)], buffer_size=100_000, ss_buffer_size=10_000)
        found["tardis"] += seen(data, LOCAL)
    print(json.dumps(found))


main(*sys.argv[1:])
