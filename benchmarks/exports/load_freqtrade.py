"""What freqtrade reads of an export: python load_freqtrade.py FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from freqtrade.constants import DEFAULT_TRADES_COLUMNS
from freqtrade.data.history.datahandlers import get_datahandler
from freqtrade.enums import CandleType, TradingMode


def main(folder: str) -> None:
    handler = get_datahandler(Path(folder), "feather")
    found: dict[str, Any] = {}
    for pair, timeframe, kind in sorted(handler.ohlcv_get_available_data(Path(folder), TradingMode.SPOT)):
        candles = handler.ohlcv_load(pair, timeframe, kind, fill_missing=False, drop_incomplete=False)
        assert kind is CandleType.SPOT
        times = [int(moment.timestamp() * 1000) for moment in candles["date"]]
        columns = [candles[name].tolist() for name in ("open", "high", "low", "close", "volume")]
        found[f"{pair} candles {timeframe}"] = list(zip(times, *columns, strict=True))
    for pair in sorted(handler.trades_get_available_data(Path(folder), TradingMode.SPOT)):
        trades = handler.trades_load(pair, TradingMode.SPOT)
        found[f"{pair} trades"] = trades[DEFAULT_TRADES_COLUMNS].to_numpy().tolist()
    print(json.dumps(found))


main(*sys.argv[1:])
