"""Kraken's JSON as types: what stands on the wire, nothing else.

Numbers become exact ``Decimal`` straight from their text. Unknown fields are passed over, since Kraken adds
some every year (API.md 1.9). What cannot be read raises one of :data:`UNREADABLE`.

Owns the bounds of what comes over the wire: each text and each count has one, here where it is read, so that nothing
behind it can be made to grow, or to name a folder that no disk takes.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec

from recorder.core.model import PAIR_LIMIT

WORD_LIMIT: Final = 32
"""Characters of a word that says of which kind something is, such as an order type: those that there are have 6."""
MISC_LIMIT: Final = 1_024
"""Characters of a trade's ``misc``, which has been empty wherever it was seen."""
NUMBER_LIMIT: Final = 64
"""Characters of a number that is printed as a text: the archive takes 28 digits, and Kraken prints 18 at most."""
EXPONENT_LIMIT: Final = 64
"""How far the point of a number may lie from its digits, to either side. One that is further away would be written out
in full by whoever prints it: 1E+900000000 in 900 MB."""
DECIMALS_LIMIT: Final = 64
"""Digits after the point that a listing may speak of: the archive keeps 12, and more is a pair that it cannot hold."""
COUNT_LIMIT: Final = 2**63 - 1
"""What is counted is stored in 64 bits."""

Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=PAIR_LIMIT)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=WORD_LIMIT)]
Name = Annotated[str, msgspec.Meta(max_length=PAIR_LIMIT)]
Decimals = Annotated[int, msgspec.Meta(ge=0, le=DECIMALS_LIMIT)]
NumberText = Annotated[str, msgspec.Meta(max_length=NUMBER_LIMIT)]
StartS = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800)]
"""When a candle begins, in seconds since 1970: before year 10000, from which on calendars name no moment."""
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_LIMIT)]
TradeId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""Ids count from 1 and are stored in 64 bits. Runs of trade_id 0 were served before 2024-06-13 (API.md 6.7): such
rows cannot be told apart."""


class TradeEntry(msgspec.Struct, gc=False):
    """One row of a v2 trade frame (API.md 8.5)."""

    symbol: Symbol
    side: Literal["buy", "sell"]
    price: Decimal
    qty: Decimal
    ord_type: Word
    trade_id: TradeId
    timestamp: str


class TradeFrame(msgspec.Struct, gc=False):
    """A v2 trade frame."""

    channel: str
    type: str
    data: list[TradeEntry]


class RawFrame(msgspec.Struct):
    """A v2 trade frame whose rows are left as they came."""

    type: str | None
    data: list[msgspec.Raw] | None


class Numbered(msgspec.Struct):
    """The id of a row of a v2 trade frame of which more cannot be read."""

    trade_id: TradeId


class Named(msgspec.Struct):
    """The pair of a row of a v2 trade frame of which more cannot be read."""

    symbol: Symbol


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

    price: NumberText
    volume: NumberText
    time: Decimal
    side: str
    ord_type: Word
    misc: Annotated[str, msgspec.Meta(max_length=MISC_LIMIT)]
    trade_id: TradeId


class TickerEntry(msgspec.Struct, gc=False):
    """What is read of one pair's part of REST Ticker (API.md 6.5); later positions that Kraken may add are passed over.

    ``c`` begins with price and volume of the last trade, ``t`` with the number of trades since 00:00 UTC.
    """

    c: Annotated[list[NumberText], msgspec.Meta(min_length=2)]
    t: Annotated[list[Count], msgspec.Meta(min_length=1)]


class OhlcRow(msgspec.Struct, array_like=True, gc=False):
    """One positional row of REST OHLC (API.md 6.6); ``time`` is the start in whole seconds."""

    time: StartS
    open: NumberText
    high: NumberText
    low: NumberText
    close: NumberText
    vwap: NumberText
    volume: NumberText
    count: Count


class AssetPair(msgspec.Struct):
    """One entry of AssetPairs (API.md 6.4); older answers lack several fields."""

    altname: Name
    base: Name
    quote: Name
    pair_decimals: Decimals
    lot_decimals: Decimals
    wsname: Name = ""
    cost_decimals: Decimals | None = None
    tick_size: NumberText | None = None
    ordermin: NumberText | None = None
    costmin: NumberText | None = None
    status: Word = "online"


UNREADABLE = (ValueError, RecursionError)
"""What decoding may raise: msgspec.DecodeError and UnicodeDecodeError are ValueErrors, and text nested a thousand
deep ends in a RecursionError."""

trade_frame = msgspec.json.Decoder(TradeFrame).decode
any_frame = msgspec.json.Decoder(Frame).decode
ack_result = msgspec.json.Decoder(AckResult).decode
status_entries = msgspec.json.Decoder(list[StatusEntry]).decode
answer = msgspec.json.Decoder(Answer).decode
table_result = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
ohlc_row = msgspec.json.Decoder(OhlcRow).decode
ticker_entry = msgspec.json.Decoder(TickerEntry).decode
system_status = msgspec.json.Decoder(SystemStatus).decode
note = msgspec.json.Decoder(dict[str, Any]).decode
trade_rows = msgspec.json.Decoder(list[RestTrade]).decode
raw_frame = msgspec.json.Decoder(RawFrame).decode
raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
trade_entry = msgspec.json.Decoder(TradeEntry).decode
rest_trade = msgspec.json.Decoder(RestTrade).decode
numbered = msgspec.json.Decoder(Numbered).decode
named = msgspec.json.Decoder(Named).decode
trade_id = msgspec.json.Decoder(TradeId).decode
start_s = msgspec.json.Decoder(StartS).decode
number = msgspec.json.Decoder(Decimal).decode
any_json = msgspec.json.Decoder().decode
asset_pairs = msgspec.json.Decoder(dict[str, AssetPair]).decode
