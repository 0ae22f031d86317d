"""An archive that a test writes, by the writers that the daemon uses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from recorder.archive import files
from recorder.archive.append import TradeArchive
from recorder.archive.compact import compact
from recorder.archive.files import Layout
from recorder.archive.instruments import InstrumentArchive
from recorder.core.model import Instrument, Trade
from recorder.disk import Disk
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken.parse import journalled_trades

START = datetime(2025, 11, 10, 12, tzinfo=UTC)
"""A moment at which a bar of every timeframe up to 4h begins."""
START_US = int(START.timestamp()) * 1_000_000
MINUTE_US = 60_000_000


def trade(
    trade_id: int, time_us: int | None = None, price: str = "100", qty: str = "1", *, pair: str = "BTC/USD"
) -> Trade:
    """Return a trade; left to itself, trade ``n`` happens ``n`` seconds after START."""
    moment_us = START_US + trade_id * 1_000_000 if time_us is None else time_us
    return Trade(pair, trade_id, moment_us, Decimal(price), Decimal(qty), "buy", "limit", "", "rest", None)


def trades(first: int, last: int, *, pair: str = "BTC/USD") -> list[Trade]:
    return [trade(trade_id, pair=pair) for trade_id in range(first, last + 1)]


def frame(rows: Sequence[Trade]) -> bytes:
    """Return the WebSocket frame that brings these trades."""
    entries = ",".join(
        f'{{"symbol":{json.dumps(row.pair)},"side":"{row.side}","price":{row.price},"qty":{row.qty},'
        f'"ord_type":"{row.ord_type}","trade_id":{row.trade_id},"timestamp":"{_stamp(row.time_us)}"}}'
        for row in rows
    )
    return f'{{"channel":"trade","type":"update","data":[{entries}]}}'.encode()


def _stamp(time_us: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us):%Y-%m-%dT%H:%M:%S.%fZ}"


class Written:
    """An archive and its journal."""

    def __init__(self, data: Path, staging: Path) -> None:
        self.data = data
        self.layout = Layout(data)
        self._archive = TradeArchive(self.layout, Disk(), staging=staging)
        self._instruments = InstrumentArchive(self.layout, Disk(), staging=staging)
        self.journal = Journal(data, Disk(), staging=staging, now_ns=START_US * 1000)

    def append(self, rows: Sequence[Trade]) -> None:
        """Archive trades, one file for each pair among them (and year)."""
        for pair in dict.fromkeys(row.pair for row in rows):
            self._archive.append(pair, [row for row in rows if row.pair == pair])

    def compact(self, pair: str = "BTC/USD") -> None:
        """Merge all files of ``pair``, as of a year that is over."""
        while compact(self._archive, pair, this_year=9999) is not None:
            pass

    def listed(self, pair: str, decimals: int, valid_from: datetime = START) -> None:
        base, quote = pair.split("/")
        instrument = Instrument(
            pair=pair,
            key=pair,
            altname=pair,
            wsname=pair,
            base=base,
            quote=quote,
            pair_decimals=decimals,
            lot_decimals=8,
            cost_decimals=5,
            tick_size="0.1",
            ordermin="0.0001",
            costmin="0.5",
            status="online",
        )
        self._instruments.append(int(valid_from.timestamp()) * 1_000_000, [instrument], segment=1)

    def journalled(self, rows: Sequence[Trade]) -> None:
        """Receive trades: they are durable in the journal, and nowhere else."""
        self.journal.append([segment.encode(START_US * 1000, "ws:trade:1", frame(rows), parsed=True)])

    def drain(self) -> None:
        """Move all that is journalled into the archive."""
        self.journal.rotate(START_US * 1000)
        for path in self.journal.closed():
            entries = [entry for entry in segment.entries(path) if isinstance(entry, segment.Entry)]
            rows = [row for entry in entries for row in journalled_trades(entry.source, entry.payload, entry.recv_ns)]
            self.append(rows)
            self.journal.retire(path, keep=False)

    def files(self, pair: str = "BTC/USD") -> list[Path]:
        return self.layout.trade_files(pair)


@contextmanager
def writing(data: Path) -> Iterator[Written]:
    """Create an archive in the folder ``data``."""
    layout, disk = Layout(data), Disk()
    layout.create(disk)
    with files.staging(layout, disk) as staging:
        written = Written(data, staging)
        yield written
        written.journal.close()
