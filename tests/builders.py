"""What tests are made of: instruments, trades, frames and listings, an archive opened for writing, what came of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from recorder.archive import locks
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.model import CURRENCY, Event, Instrument, Source, Trade
from recorder.core.pair_registry import Listed
from recorder.disk import Disk
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import records, rest_api
from recorder.kraken.pair_names import v2_symbol
from recorder.net.http import HttpAnswer
from recorder.runtime.inbox import Inbound

PAIR = "BTC/USD"
HEARTBEAT = b'{"channel":"heartbeat"}'
T0_US = 1_783_465_205_000_000

BTC = Instrument(
    pair=PAIR,
    key="XXBTZUSD",
    altname="XBTUSD",
    wsname="XBT/USD",
    base="XXBT",
    quote="ZUSD",
    pair_decimals=1,
    lot_decimals=8,
    cost_decimals=5,
    tick_size="0.1",
    ordermin="0.00005",
    costmin="0.5",
    status="online",
)


ETH = msgspec.structs.replace(BTC, pair="ETH/USD", key="XETHZUSD", altname="ETHUSD", wsname="ETH/USD")


def instrument(wsname: str, *, altname: str | None = None, key: str | None = None, **fields: Any) -> Instrument:
    """A pair by its v1 name, whose other names follow from it unless they are given."""
    base, quote = wsname.split("/")
    alt = altname or base + quote
    made = Instrument(v2_symbol(wsname), key or alt, alt, wsname, base, quote, 1, 8, 5, None, None, None, "online")
    return msgspec.structs.replace(made, **fields)


def listing_body(listing: Iterable[Instrument]) -> bytes:
    """The AssetPairs answer that lists these."""
    fields = ("altname", "wsname", "base", "quote", "pair_decimals", "lot_decimals", "cost_decimals", "status")
    result = {one.key: {field: getattr(one, field) for field in fields} for one in listing}
    return json.dumps({"error": [], "result": result}).encode()


def listed(*instruments: Instrument, asked: str = CURRENCY) -> Listed:
    """What a listing says that has these entries, all of them readable."""
    return Listed(asked, instruments)


def answered(body: bytes, *, recv_ns: int = 1, date_s: int | None = None) -> HttpAnswer:
    """A good answer of which this is the body."""
    return HttpAnswer(recv_ns, body, rest_api.result(200, body), date_s)


def trade(trade_id: int, *, pair: str = PAIR, source: str = "ws") -> Trade:
    """A trade made ``trade_id`` milliseconds after T0."""
    time_us = T0_US + trade_id * 1000
    received_us = time_us + 30_000 if source == "ws" else None
    kind: Source = "ws" if source == "ws" else "rest"
    return Trade(pair, trade_id, time_us, Decimal("63501.6"), Decimal("0.001"), "buy", "limit", "", kind, received_us)


def trades(first: int, last: int, **rest: str) -> list[Trade]:
    return [trade(trade_id, **rest) for trade_id in range(first, last + 1)]


def frame(first: int, last: int, *, kind: str = "update") -> bytes:
    """The v2 frame of ``trades(first, last)``."""
    rows = ",".join(
        f'{{"symbol":"BTC/USD","side":"buy","price":63501.6,"qty":0.00100000,"ord_type":"limit","trade_id":{n},'
        f'"timestamp":"2026-07-07T23:00:{5 + n // 1000:02d}.{n % 1000:03d}000Z"}}'
        for n in range(first, last + 1)
    )
    return f'{{"channel":"trade","type":"{kind}","data":[{rows}]}}'.encode()


class Shop:
    """An archive's folder, opened for writing."""

    def __init__(self, data: Path, staging: Path) -> None:
        self.layout = Layout(data)
        self.disk = Disk()
        self.journal = Journal(data, self.disk, staging=staging, now_ns=1)
        self.archive = TradeArchive(self.layout, self.disk, staging=staging)
        self.tables = SegmentTables(self.layout, self.disk, staging=staging)

    def ids(self, pair: str = PAIR) -> list[int]:
        return [i for span in self.archive.coverage.spans(pair) for i in range(span.first, span.last + 1)]


@contextlib.contextmanager
def shop(data: Path) -> Iterator[Shop]:
    layout, disk = Layout(data), Disk()
    create(layout, disk)
    with locks.staging(layout, disk) as staging:
        opened = Shop(data, staging)
        try:
            yield opened
        finally:
            opened.journal.close()


def journalled(waiting: Iterable[Inbound]) -> list[segment.Entry]:
    """What waited in an inbox, as it will stand in the journal."""
    return [segment.decode(inbound.line.rstrip(b"\n")) for inbound in waiting]


def events(entries: Iterable[segment.Entry]) -> list[Event]:
    """The events among ``entries``, as the drain finds them."""
    return [record.event() for record in map(records.read, entries) if isinstance(record, records.Note)]
