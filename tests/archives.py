"""Archives that tests write, by the writers that the daemon uses, and what goes into them."""

from __future__ import annotations

import itertools
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from recorder.archive import locks, schema
from recorder.archive.compaction import compact
from recorder.archive.datasets import (
    BOOK,
    BOOK_SESSIONS,
    BOOKS_JOURNAL,
    INSTRUMENTS,
    MARKET_JOURNAL,
    QUOTE_SESSIONS,
    QUOTES,
    SCHEMA_FILE,
    Branch,
    journals,
)
from recorder.archive.footer import Footer
from recorder.archive.layout import Layout, digest_in
from recorder.archive.open_archive import create
from recorder.archive.parquet import OpenFile, write_stream, writer
from recorder.archive.schema import PRICE, QTY, TIME
from recorder.archive.segment_tables import SegmentTables, highest
from recorder.archive.trades import TradeArchive
from recorder.core.evidence import Promise
from recorder.core.model import BookKind, BookRow, Candle, Event, Instrument, SessionPart, TopOfBook, Trade
from recorder.disk import Disk
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import book_lines, records
from recorder.kraken.book import Digits
from recorder.kraken.book_lines import BookEnd, BookPlace, EndReason
from tests.segments import named

START = datetime(2025, 11, 10, 12, tzinfo=UTC)
"""A moment at which a bar of every timeframe up to 4h begins."""
START_US = int(START.timestamp()) * 1_000_000
MINUTE_US = 60_000_000
Ask = Callable[..., list[tuple[object, ...]]]
"""A question to a plain DuckDB client (the fixture ``ask``): SQL and its parameters to rows."""


def at_us(minutes: float) -> int:
    """Return the moment so many minutes after START in µs since 1970 UTC."""
    return START_US + round(minutes * MINUTE_US)


def rows_read(ask: Ask, text: str, folder: Path) -> int:
    """Return how many rows of files in ``folder`` DuckDB takes up to answer."""
    ((_, plan),) = ask(f"EXPLAIN (ANALYZE, FORMAT json) {text}")

    def walk(nodes: list[dict[str, Any]]) -> int:
        here: int = sum(node["intermediate_rows"] for node in nodes if str(folder) in str(node["extra_info"]))
        return here + sum(walk(node["children"]) for node in nodes if "children" in node)

    return walk(json.loads(str(plan))["operator"])


def minute(number: float) -> datetime:
    """Return the moment so many minutes after START."""
    return START + timedelta(minutes=number)


def sold(one: Trade) -> Trade:
    """Return a trade as it would be if its taker had sold."""
    return msgspec.structs.replace(one, side="sell")


def trade(
    trade_id: int, time_us: int | None = None, price: str = "100", qty: str = "1", *, pair: str = "BTC/USD"
) -> Trade:
    """Return a trade; left to itself, trade ``n`` happens ``n`` seconds after START."""
    moment_us = START_US + trade_id * 1_000_000 if time_us is None else time_us
    return Trade(pair, trade_id, moment_us, Decimal(price), Decimal(qty), "buy", "limit", "", "rest", None)


def trades(first: int, last: int, *, pair: str = "BTC/USD") -> list[Trade]:
    return [trade(trade_id, pair=pair) for trade_id in range(first, last + 1)]


def candle(minute: int, *numbers: str | int, pair: str = "BTC/USD", timeframe: str = "1m") -> Candle:
    """Return the candle that begins so many minutes after START, of open, high, low, close, vwap, volume and count.

    Left to itself it is the same all over, with one trade of 1.
    """
    first, high, low, last, vwap, volume, count = numbers or ("100", "100", "100", "100", "100", "1", 1)
    return Candle(
        pair=pair,
        timeframe=timeframe,
        time_us=START_US + minute * MINUTE_US,
        open=Decimal(first),
        high=Decimal(high),
        low=Decimal(low),
        close=Decimal(last),
        vwap=Decimal(vwap),
        volume=Decimal(volume),
        count=int(count),
    )


def silent(minute: int, close: str, *, pair: str = "BTC/USD", timeframe: str = "1m") -> Candle:
    """Return the candle of an interval without trades, as the exchange publishes it."""
    return candle(minute, close, close, close, close, "0", "0", 0, pair=pair, timeframe=timeframe)


def small_book(pair: str = "BTC/USD") -> list[BookRow]:
    """Return a book of two levels a side from START on, whose best bid rises a second later and is gone after two."""
    whole = [("bid", "100", "1"), ("bid", "99", "1"), ("ask", "101", "1"), ("ask", "102", "1")]
    messages = [whole, [("bid", "100.5", "2")], [("bid", "100.5", "0")]]
    return [
        BookRow(
            pair,
            START_US + 1_000_000 * number,
            START_US + 1_000_000 * number,
            START_US * 1000,
            number,
            position,
            "update" if number else "snapshot",
            "bid" if side == "bid" else "ask",
            price,
            qty,
            None,
        )
        for number, changed in enumerate(messages)
        for position, (side, price, qty) in enumerate(changed)
    ]


def quote(
    session: int,
    message: int,
    received_us: int,
    bid: str = "100",
    ask: str = "101",
    *,
    pair: str = "BTC/USD",
    bid_qty: str = "1",
    ask_qty: str = "1",
    time_us: int | None = None,
) -> TopOfBook:
    """Return a quote; its time is its receive time unless it is given."""
    return TopOfBook(
        pair,
        received_us if time_us is None else time_us,
        received_us,
        Decimal(bid),
        Decimal(bid_qty),
        Decimal(ask),
        Decimal(ask_qty),
        Decimal(bid),
        session,
        message,
    )


def book_row(
    session: int,
    message: int,
    received_us: int,
    price: str = "100.0",
    qty: str = "1",
    *,
    pair: str = "BTC/USD",
    side: Literal["bid", "ask"] = "bid",
    position: int = 0,
    kind: BookKind | None = None,
) -> BookRow:
    """Return a row of a book; its time is its receive time, and the first message of a session is a snapshot."""
    kind = kind or ("update" if message else "snapshot")
    checksum = None if kind == "update" else 7
    return BookRow(pair, received_us, received_us, session, message, position, kind, side, price, qty, checksum)


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
        self.promises: dict[str, Promise | None] = {}
        """What is promised of pairs, so that what is appended from now on says so."""
        self._archive.promised = self.promises.get
        self.writer = self._archive
        self._tables = SegmentTables(self.layout, Disk(), staging=staging)
        self._quotes = SegmentTables(self.layout, Disk(), staging=staging, journal=MARKET_JOURNAL)
        self._books = SegmentTables(self.layout, Disk(), staging=staging, journal=BOOKS_JOURNAL)
        self._segment = itertools.count(max(highest(self.layout, journal) for journal in journals()) + 1)
        self.journal = Journal(data, Disk(), staging=staging, now_ns=START_US * 1000)

    def append(self, rows: Sequence[Trade]) -> None:
        """Archive trades, one file for each pair among them (and year)."""
        for pair in dict.fromkeys(row.pair for row in rows):
            self._archive.append(pair, [row for row in rows if row.pair == pair])

    def compact(self, pair: str = "BTC/USD") -> None:
        """Merge all files of ``pair``, as of a year that is over."""
        while compact(self._archive, pair, today=date(9999, 1, 1)) is not None:
            pass

    def quoted(self, rows: Sequence[TopOfBook], *, ended: dict[tuple[str, int], int] | None = None) -> None:
        """Archive quotes as one drained segment brings them, and the ends (µs) of sessions, by pair and session."""
        for pair in dict.fromkeys(row.pair for row in rows):
            self._quotes.add(Branch(QUOTES, pair), [row for row in rows if row.pair == pair])
        parts = [
            SessionPart(
                row.pair,
                row.session,
                row.message,
                row.message,
                1,
                row.received_us,
                row.received_us,
                None,
                row.received_us,
            )
            for row in rows
        ]
        lasts = {(row.pair, row.session): row.message for row in rows}
        for (pair, session), ended_us in (ended or {}).items():
            last = lasts.get((pair, session), 0)
            parts.append(SessionPart(pair, session, None, last, 0, None, None, ended_us, ended_us))
        self._quotes.add(Branch(QUOTE_SESSIONS), parts)
        self._quotes.write(named(next(self._segment), journal=MARKET_JOURNAL))

    def booked(
        self,
        rows: Sequence[BookRow],
        *,
        ended: dict[tuple[str, int], int] | None = None,
        reason: EndReason = "disconnected",
    ) -> None:
        """The same of books; each message is verified, but the last one of a session that ends with a mismatch."""
        for pair in dict.fromkeys(row.pair for row in rows):
            self._books.add(Branch(BOOK, pair), [row for row in rows if row.pair == pair])
        lasts = {(row.pair, row.session): row.message for row in rows}
        parts = []
        for row in rows:
            if row.position == 0:
                key = row.pair, row.session
                mismatch = reason == "mismatch" and key in (ended or {}) and row.message == lasts[key]
                at = BookPlace(*key, row.message, 10, Digits(1, 8), (), (), mismatch)
                is_checkpoint = row.kind == "checkpoint"
                parts.append(book_lines.part(at, received_us=row.received_us, is_checkpoint=is_checkpoint))
        for (pair, session), ended_us in (ended or {}).items():
            end = BookEnd(pair, session, lasts.get((pair, session), 0) + 1, ended_us * 1000, reason)
            parts.append(book_lines.ended_part(end, seen_us=ended_us))
        self._books.add(Branch(BOOK_SESSIONS), parts)
        self._books.write(named(next(self._segment), journal=BOOKS_JOURNAL))

    def one_book(
        self,
        bids: Mapping[str, str],
        asks: Mapping[str, str],
        received_us: int,
        *,
        pair: str = "BTC/USD",
        verified: bool = True,
    ) -> None:
        """Archive a session of one whole book, of prices and quantities; one not verified ends with a mismatch."""
        session = received_us * 1000
        sides: list[tuple[Literal["bid", "ask"], str, str]] = [("bid", *one) for one in bids.items()]
        sides += [("ask", *one) for one in asks.items()]
        rows = [
            BookRow(pair, received_us, received_us, session, 0, place, "snapshot", *level, None)
            for place, level in enumerate(sides)
        ]
        ended = None if verified else {(pair, session): received_us}
        self.booked(rows, ended=ended, reason="mismatch")

    def published(self, candles: Sequence[Candle], *, seen: datetime = START) -> None:
        """Archive candles of the exchange as one answer of that moment brought them, a file for each folder."""
        by_folder: dict[tuple[str, int], list[Candle]] = {}
        for one in sorted(candles, key=lambda one: (one.pair, one.time_us)):
            year = datetime.fromtimestamp(one.time_us // 1_000_000, UTC).year
            by_folder.setdefault((one.timeframe, year), []).append(one)
        for (timeframe, year), rows in by_folder.items():
            prices = {
                name: pa.array([str(getattr(row, name)) for row in rows]).cast(QTY if name == "volume" else PRICE)
                for name in ("open", "high", "low", "close", "vwap", "volume")
            }
            columns = {
                "pair": [row.pair for row in rows],
                "time": pa.array([row.time_us for row in rows]).cast(TIME),
                **prices,
                "count": [row.count for row in rows],
                "source": ["rest"] * len(rows),
                "seen": [seen] * len(rows),
            }
            folder = self.data / "ohlc" / f"timeframe={timeframe}" / f"year={year}"
            self._store(pa.table(columns, schema=schema.OHLC), "ohlc", folder)

    def noted(self, *events: Event) -> None:
        """Archive events, a file for each year."""
        for year in sorted({datetime.fromtimestamp(event.time_us // 1_000_000, UTC).year for event in events}):
            rows = [one for one in events if datetime.fromtimestamp(one.time_us // 1_000_000, UTC).year == year]
            columns = {
                "time": pa.array([row.time_us for row in rows]).cast(TIME),
                "kind": [row.kind for row in rows],
                "pair": pa.array([row.pair for row in rows], pa.string()),
                "detail": [row.detail for row in rows],
            }
            self._store(pa.table(columns, schema=schema.EVENTS), "events", self.data / "events" / f"year={year}")

    def _store(self, table: pa.Table, name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        number = next(self._segment)
        footer = Footer(name, segments=(named(number),))
        write_stream([table], table.schema, footer, folder, Disk(), named=(number, number))

    def merge(self, name: str) -> None:
        """Merge the files of each folder of a table without ids, and exchange the folder for one with the result."""
        for folder in sorted({path.parent for path in (self.data / name).rglob("*.parquet")}):
            paths = [path for path in sorted(folder.glob("*.parquet")) if path.name != SCHEMA_FILE]
            if len(paths) > 1:
                aside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
                aside.mkdir()
                merged = pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths])
                footer = Footer(name, segments=(named(next(self._segment)),))
                with writer(str(aside / f"{uuid.uuid4().hex}.parquet"), merged.schema, footer) as parquet:
                    parquet.write_table(merged)
                for born in folder.glob(SCHEMA_FILE):
                    os.link(born, aside / born.name)
                Disk().exchange(aside, folder)
                Disk().remove_tree(aside)

    def listed(self, pair: str, decimals: int, valid_from: datetime = START, *, status: str = "online") -> None:
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
            status=status,
        )
        self._tables.add(Branch(INSTRUMENTS), [(int(valid_from.timestamp()) * 1_000_000, instrument)])
        self._tables.write(named(next(self._segment)))

    def journalled(self, rows: Sequence[Trade]) -> None:
        """Receive trades: they are durable in the journal, and nowhere else."""
        self.journal.append([segment.encode(START_US * 1000, "ws:trade:1", frame(rows), parsed=True)])

    def drain(self) -> None:
        """Move all that is journalled into the archive."""
        self.journal.rotate(START_US * 1000)
        for path in self.journal.closed():
            entries = [entry for entry in segment.entries(path) if isinstance(entry, segment.Entry)]
            rows = [row for entry in entries for row in records.trades(entry)]
            self.append(rows)
            self.journal.retire(path, keep=False)

    def files(self, pair: str = "BTC/USD") -> list[Path]:
        return self.layout.trade_files(pair)


@contextmanager
def writing(data: Path) -> Iterator[Written]:
    """Create an archive in the folder ``data``."""
    layout, disk = Layout(data), Disk()
    create(layout, disk)
    with locks.staging(layout, disk) as staging:
        written = Written(data, staging)
        yield written
        written.journal.close()


def name_as_before(data: Path) -> None:
    """Give all files of an archive names without a digest, as older releases did."""
    for path in data.rglob("*.parquet"):
        if digest_in(path.name) is not None:
            path.rename(path.with_name(f"{path.name.rpartition('-')[0]}.parquet"))


def forget_promise(path: Path) -> None:
    """Replace a file of trades by one that says nothing of a promise, as older releases wrote it."""
    with OpenFile(path) as file:
        rows, footer = file.table(columns=schema.TRADES.names), file.footer
    named = footer.runs[0].span.first, footer.runs[-1].span.last
    write_stream([rows], schema.TRADES, replace(footer, promise=None), path.parent, Disk(), named=named)
    path.unlink()
