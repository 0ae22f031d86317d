"""Domain types: trades, candles, events, instruments, timeframes, and exact decimal text.

Does not know any wire format, file or clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final, Literal, Protocol

import msgspec

Side = Literal["buy", "sell"]
Source = Literal["ws", "rest", "bulk"]

PAIR_LIMIT: Final = 64
"""Maximum bytes of a pair's name. The longest of the 1,218 listed in 2025 has 14. Folders and locks are named after it:
file systems allow 255 bytes for a name, and each byte may need three."""
PRICE_SCALE: Final = 12
"""Digits after the decimal point of a price in the archive; REST prints up to 12 (BONKUSD, API.md 7.1)."""
QTY_SCALE: Final = 8
"""Digits after the decimal point of a quantity in the archive; Kraken's lot_decimals is 5 or 8."""
PRECISION: Final = 28
"""Total digits of a price or a quantity."""

CURRENCY: Final = "currency"
TOKENIZED: Final = "tokenized_asset"
ASSET_CLASSES: Final = (CURRENCY, TOKENIZED)
"""The listed asset classes. Pairs of any but the first are listed only if the request names their class (API.md
16.1)."""

TIMEFRAMES: Final[dict[str, int]] = {
    "1m": 1,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "4h": 240,
    "12h": 720,
    "1d": 1440,
    "1w": 10080,
    "15d": 21600,
}
"""Timeframe → minutes: of candles that are built here, and of Kraken's."""
SERVED_TIMEFRAMES: Final = tuple(name for name in TIMEFRAMES if name != "12h")
"""Those whose candles Kraken serves (API.md 6.6). Its history files have 12h too, but none that is longer than 1d."""


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One match, identified by (pair, trade_id).

    ``time_us`` and ``received_us`` are microseconds since 1970-01-01 UTC; ``received_us`` is None unless the trade
    arrived live. ``side`` and ``ord_type`` are the taker's; ``ord_type`` is ``limit`` or ``market``, and a value that
    Kraken may add is stored as received. Prices and quantities are exact.
    """

    pair: str
    trade_id: int
    time_us: int
    price: Decimal
    qty: Decimal
    side: Side
    ord_type: str
    misc: str
    source: Source
    received_us: int | None


class TopOfBook(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask of one pair as one frame shows them, identified by (pair, session, message).

    ``session`` is when the session's first frame was received (ns since 1970-01-01 UTC), and ``message`` counts its
    frames from 0. ``time_us`` and ``received_us`` are µs since 1970-01-01 UTC; ``time_us``, the exchange's, is None
    where the frame has none. A price or a quantity is None where the frame has a null. All numbers are exact.
    """

    pair: str
    time_us: int | None
    received_us: int
    bid: Decimal | None
    bid_qty: Decimal | None
    ask: Decimal | None
    ask_qty: Decimal | None
    last: Decimal | None
    session: int
    message: int


class SessionPart(msgspec.Struct, frozen=True, gc=False):
    """What some journal lines contain of a session of one pair: frames, its end, or both.

    ``first_message`` is None if there is no frame among them; ``last_message`` is the highest that is known of, also
    where only the end tells. ``rows`` is the number of frames, and ``first_us`` and ``last_us`` are when the first and
    the last of them were received. ``ended_us`` is until when the session is known to have run; None if its end is not
    among these lines. ``seen_us`` is when the newest of them was received. All times are µs since 1970-01-01 UTC.
    """

    pair: str
    session: int
    first_message: int | None
    last_message: int
    rows: int
    first_us: int | None
    last_us: int | None
    ended_us: int | None
    seen_us: int


BookKind = Literal["snapshot", "update", "evicted", "checkpoint"]
"""Why a row of a book is there: the exchange sent the whole book, or a change; a level fell out of the window without
being announced; or the recorder wrote down the whole book."""


class BookRow(msgspec.Struct, frozen=True, gc=False):
    """The new quantity at one price of a book, zero where the level is gone.

    It is identified by (pair, session, message, position). ``session`` is when the session's first frame was received
    (ns since 1970-01-01 UTC), ``message`` counts its frames and checkpoints from 0, and ``position`` the rows of a
    message from 0. ``time_us``, the exchange's, and ``received_us`` are µs since 1970-01-01 UTC. A message without
    levels is one row without side, price and quantity. ``checksum`` is the exchange's, of the state after the message;
    only the last row of a whole book has it. Numbers are exact, as text.
    """

    pair: str
    time_us: int | None
    received_us: int
    session: int
    message: int
    position: int
    kind: BookKind
    side: Literal["bid", "ask"] | None
    price: str | None
    qty: str | None
    checksum: int | None


class BookPart(msgspec.Struct, frozen=True, gc=False):
    """What some journal lines contain of a session of one pair's book: messages, its end, or both.

    ``first_message`` is None if there is no message among them; ``last_message`` is the highest that is known of, also
    where only the end tells. ``messages`` is how many there are; of these the checksum held for ``verified`` and did
    not for ``mismatches``. ``first_us`` is when the first of them was received, ``last_us`` the last frame among them
    whose checksum held: None if there is none.
    ``depth`` is that of the subscription, and the digits are those of the texts in the checksum; None if no line tells.
    ``ended_us`` is until when the session is known to have run, and ``end`` why it ended; None if its end is not among
    these lines. ``seen_us`` is when the newest of them was received. All times are µs since 1970-01-01 UTC.
    """

    pair: str
    session: int
    first_message: int | None
    last_message: int
    messages: int
    verified: int
    mismatches: int
    first_us: int | None
    last_us: int | None
    depth: int | None
    price_digits: int | None
    qty_digits: int | None
    ended_us: int | None
    end: str | None
    seen_us: int


class Candle(msgspec.Struct, frozen=True, gc=False):
    """A committed candle as the exchange published it, identified by (pair, timeframe, time).

    ``time_us`` is the start, in µs since 1970-01-01 UTC. In an interval without trades open, high, low and close are
    the previous close, and vwap, volume and count are zero (API.md 6.6). ``volume`` is in the base currency.
    """

    pair: str
    timeframe: str
    time_us: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: Decimal
    count: int


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event at the recorder or at the exchange. ``detail`` is a JSON object as text; ``pair`` may be None.

    ``time_us`` is when the recorder recorded it, in µs since 1970-01-01 UTC.
    """

    time_us: int
    kind: str
    pair: str | None
    detail: str


class Instrument(msgspec.Struct, frozen=True):
    """The listing of one pair (AssetPairs, API.md 6.4), decimals as canonical text.

    ``asset_class`` is for requests: it is not archived, and an instrument read from the archive has the default one.
    """

    pair: str
    key: str
    altname: str
    wsname: str
    base: str
    quote: str
    pair_decimals: int
    lot_decimals: int
    cost_decimals: int | None
    tick_size: str | None
    ordermin: str | None
    costmin: str | None
    status: str
    asset_class: str = CURRENCY


_quantize = Context(prec=PRECISION, traps=[Inexact, InvalidOperation]).quantize  # bound once: called for every number
_PRICE_UNIT = Decimal(1).scaleb(-PRICE_SCALE)
_QTY_UNIT = Decimal(1).scaleb(-QTY_SCALE)
_ZERO = Decimal(0)
_SHOWN: Final = 40
"""Characters of a number that an error message repeats: twice what fits, but not all of a million digits."""


def is_pair(name: str) -> bool:
    """Return whether this can be a pair's name, from which the archive can make a folder name."""
    return 0 < len(name.encode(errors="replace")) <= PAIR_LIMIT


def check_exact(price: Decimal, qty: Decimal) -> None:
    """Return if the archive stores both to the last digit, and neither is below zero. Raises ValueError otherwise.

    Nothing is ever rounded. Zero is unusual for both, but fits.
    """
    try:
        _quantize(price, _PRICE_UNIT)
        _quantize(qty, _QTY_UNIT)
        # NaN passes quantize without a signal, and wire text may contain it, but it cannot be compared.
        negative = not (price >= _ZERO and qty >= _ZERO)
    except (Inexact, InvalidOperation):
        raise ValueError(
            f"price {_shown(price)} or quantity {_shown(qty)} does not fit the archive's "
            f"decimal128({PRECISION}, {PRICE_SCALE}) and decimal128({PRECISION}, {QTY_SCALE}) exactly"
        ) from None
    if negative:
        raise ValueError(f"price {_shown(price)} or quantity {_shown(qty)} is below zero")


class Priced(Protocol):
    """What has a price and a quantity."""

    @property
    def price(self) -> Decimal:
        """In the quote currency."""
        ...

    @property
    def qty(self) -> Decimal:
        """In the base currency."""
        ...


def check_all_exact(rows: Sequence[Priced]) -> None:
    """Return if :func:`check_exact` does for each of these, at less cost. Raises ValueError as it does."""
    quantize, price_unit, qty_unit, zero = _quantize, _PRICE_UNIT, _QTY_UNIT, _ZERO
    try:
        for row in rows:
            price, qty = row.price, row.qty
            quantize(price, price_unit)
            quantize(qty, qty_unit)
            if not (price >= zero and qty >= zero):
                break
        else:
            return
    except (Inexact, InvalidOperation):
        pass
    for row in rows:
        check_exact(row.price, row.qty)


def fits_price(number: Decimal) -> bool:
    """Return whether the archive stores this price to the last digit, and it is not below zero."""
    return _fits(number, _PRICE_UNIT)


def fits_qty(number: Decimal) -> bool:
    """Return whether the archive stores this quantity to the last digit, and it is not below zero."""
    return _fits(number, _QTY_UNIT)


def _fits(number: Decimal, unit: Decimal) -> bool:
    try:
        _quantize(number, unit)
        return bool(number >= _ZERO)
    except (Inexact, InvalidOperation):  # NaN passes quantize, and cannot be compared
        return False


def _shown(number: Decimal) -> str:
    text = str(number)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def plain(value: Decimal) -> str:
    """Return the canonical text: no exponent, no trailing zeros, no sign before zero.

    >>> plain(Decimal("1E-10")), plain(Decimal("100")), plain(Decimal("0.10"))
    ('0.0000000001', '100', '0.1')
    """
    text = f"{value:f}" if value else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text
