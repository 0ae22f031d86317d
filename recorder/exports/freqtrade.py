"""freqtrade: candles and trades as the Feather files of its data folder.

A candle file has the columns date (ms, UTC), open, high, low, close, volume; bars without trades have no row, and
freqtrade fills them itself. A trade file has timestamp (ms), id, type, side, price, amount, cost. Copy the files into
``user_data/data/kraken``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from recorder.exports.folder import NewFolder
from recorder.exports.request import Kind, Request, Series, file_names
from recorder.exports.rows import Rows, Tally
from recorder.lazy_imports import pc

_CANDLE: Final = pa.schema(
    [
        pa.field("date", pa.timestamp("ms", "UTC")),
        *(pa.field(name, pa.float64()) for name in ("open", "high", "low", "close", "volume")),
    ]
)
_TRADE: Final = pa.schema(
    [
        pa.field("timestamp", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("type", pa.string()),
        pa.field("side", pa.string()),
        *(pa.field(name, pa.float64()) for name in ("price", "amount", "cost")),
    ]
)
_REPLACED: Final = "/ .@$+:"
"""Characters of a pair that freqtrade writes as _ in names of files (its ``misc.pair_to_filename``)."""
_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="lz4")


class Freqtrade:
    """Files for freqtrade."""

    name = "freqtrade"
    layout = "data folder of Feather files, as freqtrade 2026.9 reads it"
    kinds = (Kind.CANDLES, Kind.TRADES)
    is_exact = False
    needs_book = False

    def check(self, request: Request) -> None:
        """Raise UsageError for pairs whose files would have the same name."""
        file_names(request.pairs, _REPLACED, "_")

    def write(self, rows: Rows, folder: NewFolder) -> Iterator[Series]:
        """Write a file for each pair and timeframe, and one for the trades of each pair."""
        names = file_names(rows.pairs, _REPLACED, "_")
        for pair in rows.pairs:
            if rows.has(pair, Kind.CANDLES):
                for timeframe in rows.request.timeframes:
                    candles = rows.candles(pair, timeframe, exact=False)
                    tally = _written(folder, f"{names[pair]}-{timeframe}.feather", _CANDLE, candles)
                    yield Series(pair, Kind.CANDLES, tally.rows, timeframe, tally.facts())
            if rows.has(pair, Kind.TRADES):
                tally = _written(folder, f"{names[pair]}-trades.feather", _TRADE, rows.trades(pair, exact=False))
                yield Series(pair, Kind.TRADES, tally.rows, facts=tally.facts())


def _written(folder: NewFolder, name: str, columns: pa.Schema, batches: Iterator[pa.Table]) -> Tally:
    tally = Tally()
    convert = _candles if columns is _CANDLE else _trades
    with folder.file(name) as file, pa.ipc.new_file(file, columns, options=_OPTIONS) as writer:
        for batch in batches:
            tally.add(batch)
            writer.write_table(convert(batch))
    return tally


def _candles(rows: pa.Table) -> pa.Table:
    date = rows["time"].cast(pa.timestamp("ms", "UTC"))
    return pa.table([date, *(rows[name] for name in _CANDLE.names[1:])], schema=_CANDLE)


def _trades(rows: pa.Table) -> pa.Table:
    return pa.table(
        [
            pc.divide(rows["time"].cast(pa.int64()), 1_000),
            rows["trade_id"].cast(pa.string()),
            rows["ord_type"].cast(pa.string()),
            rows["side"].cast(pa.string()),
            rows["price"],
            rows["qty"],
            pc.multiply(rows["price"], rows["qty"]),
        ],
        schema=_TRADE,
    )
