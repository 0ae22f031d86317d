"""Kraken's JSON as types: the wire format only.

Numbers become exact ``Decimal`` straight from their text. Unknown fields are ignored, because Kraken adds some every
year (API.md 1.9). Text that cannot be read raises one of :data:`UNREADABLE`.

Contains the limits on wire input: each text and each count has one, here where it is read, so that no input can make
later code use unbounded memory, or name a folder that no file system accepts.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from recorder.core.model import PAIR_LIMIT

WORD_LIMIT: Final = 32
"""Maximum characters of a word that names a kind, such as an order type: the known ones have 6."""
MISC_LIMIT: Final = 1_024
"""Maximum characters of a trade's ``misc``, which has been empty wherever it was seen."""
NUMBER_LIMIT: Final = 64
"""Maximum characters of a number printed as text: the archive stores 28 digits, and Kraken prints 18 at most."""
EXPONENT_LIMIT: Final = 64
"""Maximum distance of a number's decimal point from its digits, to either side. One that is further away would be
written out in full by any code that prints it: 1E+900000000 in 900 MB."""
COUNT_LIMIT: Final = 2**63 - 1
"""Counts are stored in 64 bits."""

Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=PAIR_LIMIT)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=WORD_LIMIT)]
NumberText = Annotated[str, msgspec.Meta(max_length=NUMBER_LIMIT)]
StartS = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800)]
"""When a candle begins, in seconds since 1970: before year 10000, from which on calendars have no times."""
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_LIMIT)]
Checksum = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
"""A CRC-32."""
OrderType = Literal["limit", "market"]
"""The kinds of orders that there are (API.md 6.7, 8.5)."""
TradeId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""Ids count from 1 and are stored in 64 bits. Runs of trade_id 0 were served before 2024-06-13 (API.md 6.7): such rows
cannot be told apart."""


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
    type: str | None
    data: list[TradeEntry] | None


class UsualTradeEntry(TradeEntry, gc=False):
    """The same, by an order of a known kind: that costs nothing to find out here, and much row by row."""

    ord_type: OrderType


class UsualTradeFrame(TradeFrame, gc=False):
    """A v2 trade frame of such rows."""

    data: list[UsualTradeEntry] | None  # type: ignore[assignment]


class TopEntry(msgspec.Struct, gc=False):
    """One row of a v2 ticker frame (API.md 8.7), without its 24-hour statistics; ``timestamp`` is absent before 2026.

    A null is read as what it is: nothing documents what is sent for an empty side.
    """

    symbol: Symbol
    bid: Decimal | None
    bid_qty: Decimal | None
    ask: Decimal | None
    ask_qty: Decimal | None
    last: Decimal | None
    timestamp: str | None = None


class TopFrame(msgspec.Struct, gc=False):
    """A v2 ticker frame."""

    channel: str
    type: str | None
    data: list[TopEntry]


class BookLevel(msgspec.Struct, gc=False):
    """One level of a v2 book frame (API.md 8.8): its text, because the digits are what the checksum is made of."""

    price: msgspec.Raw
    qty: msgspec.Raw


class BookEntry(msgspec.Struct, gc=False):
    """One row of a v2 book frame: the levels of a snapshot, or those that changed."""

    symbol: Symbol
    bids: list[BookLevel]
    asks: list[BookLevel]
    checksum: Checksum
    timestamp: str | None = None


class BookFrame(msgspec.Struct, gc=False):
    """A v2 book frame."""

    channel: str
    type: str | None
    data: list[BookEntry]


class RawFrame(msgspec.Struct):
    """A v2 frame with unparsed rows."""

    type: str | None
    data: list[msgspec.Raw] | None


class Numbered(msgspec.Struct):
    """The id of a row of a v2 trade frame whose other fields cannot be read."""

    trade_id: TradeId


class Named(msgspec.Struct):
    """The pair of a row of a v2 trade frame, whatever its other fields."""

    symbol: Symbol


class Frame(msgspec.Struct):
    """Any v2 frame: an update of a channel, or the answer to a method.

    A field that is absent, null or of the wrong type is None.
    """

    channel: str | None = None
    method: str | None = None
    success: bool | None = None
    error: str | None = None
    symbol: str | None = None
    req_id: int | None = None
    time_in: str | None = None
    result: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()


class _LooseFrame(msgspec.Struct):
    """The same, with fields of any type."""

    channel: Any = None
    method: Any = None
    success: Any = None
    error: Any = None
    symbol: Any = None
    req_id: Any = None
    time_in: Any = None
    result: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()


class AckResult(msgspec.Struct):
    """The ``result`` of an acknowledged subscription; ``warnings`` and the like are ignored."""

    channel: str
    symbol: str | None = None


class SystemStatus(msgspec.Struct):
    """The result of REST SystemStatus (API.md 6.2)."""

    status: str
    upcoming_maintenance: Any = None
    emergency: Any = None


class Answer(msgspec.Struct):
    """The envelope of every REST answer (API.md 2). ``error`` should be a list of texts, but may be anything."""

    error: Any = None
    result: msgspec.Raw = msgspec.Raw()


class RestTrade(msgspec.Struct, array_like=True, gc=False):
    """One positional row of REST Trades (API.md 6.7); later positions that Kraken may add are ignored."""

    price: NumberText
    volume: NumberText
    time: Decimal
    side: str
    ord_type: Word
    misc: Annotated[str, msgspec.Meta(max_length=MISC_LIMIT)]
    trade_id: TradeId


class KeptRows(msgspec.Struct):
    """Rows of an answer that could not be read, in our own encoding: each as received, and its possible ids."""

    rows: list[msgspec.Raw]
    ids: list[tuple[TradeId, TradeId] | None]


class TickerEntry(msgspec.Struct, gc=False):
    """The fields used of one pair's part of REST Ticker (API.md 6.5); later positions that Kraken may add are ignored.

    ``c`` begins with price and volume of the last trade, ``t`` with the number of trades since 00:00 UTC.
    """

    c: Annotated[list[NumberText], msgspec.Meta(min_length=2)]
    t: Annotated[list[Count], msgspec.Meta(min_length=1)]


class TickerCounts(msgspec.Struct, gc=False):
    """The numbers of trades in one pair's part of REST Ticker: since 00:00 UTC, and of the last 24 hours."""

    t: Annotated[list[Count], msgspec.Meta(min_length=2)]


class TickerDay(msgspec.Struct, gc=False):
    """One pair's part of REST Ticker (API.md 6.5): in ``v``, ``p``, ``t``, ``l`` and ``h`` the second is of 24 h."""

    a: Annotated[list[NumberText], msgspec.Meta(min_length=1)]
    b: Annotated[list[NumberText], msgspec.Meta(min_length=1)]
    c: Annotated[list[NumberText], msgspec.Meta(min_length=2)]
    v: Annotated[list[NumberText], msgspec.Meta(min_length=2)]
    p: Annotated[list[NumberText], msgspec.Meta(min_length=2)]
    t: Annotated[list[Count], msgspec.Meta(min_length=2)]
    l: Annotated[list[NumberText], msgspec.Meta(min_length=2)]  # noqa: E741 -- the exchange's name
    h: Annotated[list[NumberText], msgspec.Meta(min_length=2)]


class DepthLevel(msgspec.Struct, array_like=True, gc=False):
    """One positional level of REST Depth (API.md 6.8); ``time`` is its last change in whole seconds."""

    price: NumberText
    qty: NumberText
    time: StartS


class DepthSides(msgspec.Struct, gc=False):
    """The book of one pair: asks ascend, bids descend in price."""

    asks: list[DepthLevel]
    bids: list[DepthLevel]


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


Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""A name of a pair or of an asset: the longest of 2025 has 14 characters, and a symbol becomes the name of a folder."""
Decimals = Annotated[int, msgspec.Meta(ge=0, le=100)]
"""Digits after the decimal point; a pair finer than the archive is refused elsewhere, with a sentence."""


class BarePair(msgspec.Struct):
    """The fields of an AssetPairs entry without which its pair cannot be recorded."""

    altname: Name
    pair_decimals: Decimals
    lot_decimals: Decimals
    wsname: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    aclass_base: Name | None = None


class AssetPair(BarePair):
    """One entry of AssetPairs (API.md 6.4); older answers have fewer fields. Decimals are text, or numbers."""

    base: Name = ""
    quote: Name = ""
    cost_decimals: Decimals | None = None
    tick_size: msgspec.Raw = msgspec.Raw(b"null")
    ordermin: msgspec.Raw = msgspec.Raw(b"null")
    costmin: msgspec.Raw = msgspec.Raw(b"null")
    status: Name = "online"
    execution_venue: str | None = None


class PairNamesEntry(msgspec.Struct):
    """The names in an entry of AssetPairs, of any type."""

    altname: Any = None
    wsname: Any = None


UNREADABLE = (ValueError, RecursionError)
"""Exceptions of decoding: msgspec.DecodeError and UnicodeDecodeError are ValueErrors, and text nested a thousand deep
ends in a RecursionError."""

trade_frame = msgspec.json.Decoder(TradeFrame).decode
usual_trade_frame = msgspec.json.Decoder(UsualTradeFrame).decode
top_frame = msgspec.json.Decoder(TopFrame).decode
top_entry = msgspec.json.Decoder(TopEntry).decode
book_frame = msgspec.json.Decoder(BookFrame).decode
book_entry = msgspec.json.Decoder(BookEntry).decode
raw_frame = msgspec.json.Decoder(RawFrame).decode
_loose_frame = msgspec.json.Decoder(_LooseFrame).decode
ack_result = msgspec.json.Decoder(AckResult).decode
answer = msgspec.json.Decoder(Answer).decode
table_result = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
ticker_counts = msgspec.json.Decoder(TickerCounts).decode
ticker_days = msgspec.json.Decoder(dict[str, TickerDay]).decode
depths = msgspec.json.Decoder(dict[str, DepthSides]).decode
ohlc_row = msgspec.json.Decoder(OhlcRow).decode
ticker_entry = msgspec.json.Decoder(TickerEntry).decode
system_status = msgspec.json.Decoder(SystemStatus).decode
note = msgspec.json.Decoder(dict[str, Any]).decode
trade_rows = msgspec.json.Decoder(list[RestTrade]).decode
raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
trade_entry = msgspec.json.Decoder(TradeEntry).decode
kept_rows = msgspec.json.Decoder(KeptRows).decode
rest_trade = msgspec.json.Decoder(RestTrade).decode
numbered = msgspec.json.Decoder(Numbered).decode
named = msgspec.json.Decoder(Named).decode
trade_id = msgspec.json.Decoder(TradeId).decode
start_s = msgspec.json.Decoder(StartS).decode
number = msgspec.json.Decoder(Decimal).decode
text_of = msgspec.json.Decoder(str).decode
any_json = msgspec.json.Decoder().decode
asset_pair = msgspec.json.Decoder(AssetPair).decode
bare_pair = msgspec.json.Decoder(BarePair).decode
pair_names = msgspec.json.Decoder(PairNamesEntry).decode


_Kind = TypeVar("_Kind", str, bool, int)


def any_frame(text: bytes) -> Frame:
    """Read any frame that is a JSON object. Raises one of :data:`UNREADABLE`."""
    loose = _loose_frame(text)
    return Frame(
        channel=_typed(loose.channel, str),
        method=_typed(loose.method, str),
        success=_typed(loose.success, bool),
        error=_typed(loose.error, str),
        symbol=_typed(loose.symbol, str),
        req_id=_typed(loose.req_id, int),
        time_in=_typed(loose.time_in, str),
        result=loose.result,
        data=loose.data,
    )


def _typed(value: object, kind: type[_Kind]) -> _Kind | None:
    return value if isinstance(value, kind) else None


def entries(value: object) -> list[dict[str, Any]]:
    """Return the objects in what should be an array of them: none if it is null; other elements are ignored."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
