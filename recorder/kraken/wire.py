"""Kraken's JSON as types: what stands on the wire, nothing else.

Numbers become exact ``Decimal`` straight from their text. Unknown fields are passed over, since Kraken adds
some every year (API.md 1.9). What cannot be read raises one of :data:`UNREADABLE`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

TradeId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""Ids count from 1 and are stored in 64 bits. Runs of trade_id 0 were served before 2024-06-13 (API.md 6.7): such
rows cannot be told apart."""


class TradeEntry(msgspec.Struct, gc=False):
    """One row of a v2 trade frame (API.md 8.5)."""

    symbol: str
    side: Literal["buy", "sell"]
    price: Decimal
    qty: Decimal
    ord_type: str
    trade_id: TradeId
    timestamp: str


class TradeFrame(msgspec.Struct, gc=False):
    """A v2 trade frame."""

    channel: str
    type: str
    data: list[TradeEntry]


class Frame(msgspec.Struct):
    """Any v2 frame: an update of a channel, or the answer to a method. An empty field may be left out or null."""

    channel: str | None = None
    method: str | None = None
    success: bool | None = None
    error: str | None = None
    symbol: str | None = None
    req_id: int | None = None
    time_in: str | None = None
    result: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()


class AckResult(msgspec.Struct):
    """The ``result`` of an acknowledged subscription; ``warnings`` and the like are passed over."""

    channel: str
    symbol: str | None = None


class StatusEntry(msgspec.Struct):
    """The single entry of a ``status`` frame (API.md 8.4); the arrays exist since 2026."""

    system: str
    connection_id: int | None = None
    upcoming_maintenance: list[dict[str, Any]] = []
    emergency: list[dict[str, Any]] = []


class SystemStatus(msgspec.Struct):
    """The result of REST SystemStatus (API.md 6.2)."""

    status: str
    upcoming_maintenance: list[dict[str, Any]] = []
    emergency: list[dict[str, Any]] = []


class Answer(msgspec.Struct):
    """The envelope of every REST answer (API.md 2)."""

    error: list[str]
    result: msgspec.Raw = msgspec.Raw()


class RestTrade(msgspec.Struct, array_like=True, gc=False):
    """One positional row of REST Trades (API.md 6.7); later positions that Kraken may add are passed over."""

    price: str
    volume: str
    time: Decimal
    side: str
    ord_type: str
    misc: str
    trade_id: TradeId


class TickerEntry(msgspec.Struct, gc=False):
    """What is read of one pair's part of REST Ticker (API.md 6.5); later positions that Kraken may add are passed over.

    ``c`` begins with price and volume of the last trade, ``t`` with the number of trades since 00:00 UTC.
    """

    c: Annotated[list[str], msgspec.Meta(min_length=2)]
    t: Annotated[list[Annotated[int, msgspec.Meta(ge=0)]], msgspec.Meta(min_length=1)]


class OhlcRow(msgspec.Struct, array_like=True, gc=False):
    """One positional row of REST OHLC (API.md 6.6); ``time`` is the start in whole seconds."""

    time: int
    open: str
    high: str
    low: str
    close: str
    vwap: str
    volume: str
    count: int


class AssetPair(msgspec.Struct):
    """One entry of AssetPairs (API.md 6.4); older answers lack several fields."""

    altname: str
    base: str
    quote: str
    pair_decimals: int
    lot_decimals: int
    wsname: str = ""
    cost_decimals: int | None = None
    tick_size: str | None = None
    ordermin: str | None = None
    costmin: str | None = None
    status: str = "online"


UNREADABLE = (ValueError, RecursionError)
"""What decoding may raise: msgspec.DecodeError and UnicodeDecodeError are ValueErrors, and text nested a thousand
deep ends in a RecursionError."""

trade_frame = msgspec.json.Decoder(TradeFrame).decode
any_frame = msgspec.json.Decoder(Frame).decode
ack_result = msgspec.json.Decoder(AckResult).decode
status_entries = msgspec.json.Decoder(list[StatusEntry]).decode
answer = msgspec.json.Decoder(Answer).decode
table_result = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
ohlc_rows = msgspec.json.Decoder(list[OhlcRow]).decode
ticker_entry = msgspec.json.Decoder(TickerEntry).decode
system_status = msgspec.json.Decoder(SystemStatus).decode
note = msgspec.json.Decoder(dict[str, Any]).decode
trade_rows = msgspec.json.Decoder(list[RestTrade]).decode
cursor = msgspec.json.Decoder(str | int | None).decode
asset_pairs = msgspec.json.Decoder(dict[str, AssetPair]).decode
