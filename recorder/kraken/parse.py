"""Wire text to the model: exact decimals, microseconds without a float, and one sentence where it fails.

The live session, the drain and the live tail all parse trades here, so that what was claimed is what is archived.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

import msgspec

from recorder.core.model import Instrument, Side, Trade, check_exact, plain
from recorder.errors import Malformed
from recorder.kraken import wire
from recorder.kraken.names import v2_symbol

TRADE_SOURCE: Final = "ws:trade:"
"""Journal sources of live trade frames begin so; the connection's number follows."""
LISTING_SOURCE: Final = "rest:/0/public/AssetPairs"
"""The journal source of an AssetPairs answer begins so."""

_SIDES: Final[dict[str, Side]] = {"b": "buy", "s": "sell"}
_ORDER_TYPES: Final = {"m": "market", "l": "limit"}
_US_PER_S: Final = 1_000_000
_USUAL_LENGTH: Final = len("2026-07-07T23:00:05.562702Z")


@dataclass(frozen=True, slots=True)
class TradesPage:
    """One answer of REST Trades: rows in ascending id, and the cursor ``last`` as the text it came as.

    ``last`` is None where Kraken left it out, as it sporadically does (API.md 6.7).
    """

    trades: tuple[Trade, ...]
    last: str | None


def trade_frame(frame: bytes, *, received_ns: int) -> list[Trade]:
    """Return the trades of one v2 trade frame, in the frame's order. Raises Malformed; never part of a frame.

    The rows of a snapshot are history that a subscription repeats: they carry no receive time.
    """
    trades = []
    try:
        content = wire.trade_frame(frame)
        received_us = None if content.type == "snapshot" else received_ns // 1000
        for entry in content.data:
            check_exact(entry.price, entry.qty)
            trades.append(
                Trade(
                    entry.symbol,
                    _checked_id(entry.trade_id),
                    micros(entry.timestamp),
                    entry.price,
                    entry.qty,
                    entry.side,
                    entry.ord_type,
                    "",
                    "ws",
                    received_us,
                )
            )
    except ValueError as error:  # msgspec's errors are ValueErrors too
        raise Malformed(f"a trade frame that cannot be read: {error}") from error
    return trades


def journalled_trades(source: str, payload: bytes, recv_ns: int) -> list[Trade]:
    """Return the trades that a journal line carries; none where its source is something else. Raises Malformed."""
    return trade_frame(payload, received_ns=recv_ns) if source.startswith(TRADE_SOURCE) else []


def trades_page(result: bytes, pair: str) -> TradesPage:
    """Read the ``result`` of REST Trades asked for ``pair`` (the v2 symbol). Raises Malformed.

    The result holds one list under some name of the pair (API.md 5.2), and ``last``.
    """
    try:
        content = wire.trades_result(result)
        last = content.pop("last", None)
        (rows,) = content.values()  # ValueError unless exactly one pair was answered
        trades = [_rest_trade(row, pair) for row in wire.trade_rows(rows)]
        cursor = None if last is None else str(wire.cursor(last))
    except (msgspec.DecodeError, ValueError) as error:
        raise Malformed(f"an answer of Trades for {pair} that cannot be read: {error}") from error
    trades.sort(key=lambda trade: trade.trade_id)
    return TradesPage(tuple(trades), cursor)


def instruments(result: bytes) -> list[Instrument]:
    """Read the ``result`` of AssetPairs. Raises Malformed.

    Pairs without a wsname (the dark pools of 2021) are not on the WebSocket and are left out.
    """
    try:
        return [_instrument(key, entry) for key, entry in wire.asset_pairs(result).items() if entry.wsname]
    except (msgspec.DecodeError, InvalidOperation) as error:
        raise Malformed(f"an answer of AssetPairs that cannot be read: {error}") from error


def micros(stamp: str) -> int:
    """Return µs since 1970 of an RFC 3339 UTC stamp with 0 to 9 digits, cut (not rounded) as Kraken cuts them.

    >>> micros("2026-07-07T23:00:05.562702Z") - micros("2026-07-07T23:00:05Z")
    562702
    """
    digits = stamp[20:-1]
    # Six digits and a Z are what trades carry; the rest of the grammar is for other channels and other years.
    if len(stamp) != _USUAL_LENGTH:
        if len(stamp) < _USUAL_LENGTH - 7 or len(stamp) > _USUAL_LENGTH + 3:
            raise ValueError(f"{stamp!r} is not a UTC time like 2026-07-07T23:00:05.562702Z")
        digits = digits[:6].ljust(6, "0")
    if stamp[-1] != "Z" or stamp[19] not in ".Z" or not digits.isdecimal():
        raise ValueError(f"{stamp!r} is not a UTC time like 2026-07-07T23:00:05.562702Z")
    return _second_us(stamp[:19]) + int(digits)


def rest_micros(seconds: Decimal) -> int:
    """Return µs since 1970 of REST's printed seconds, cut. The print itself may be 119 ns off (API.md 7.3)."""
    return int(seconds.scaleb(6))


@lru_cache(maxsize=1024)
def _second_us(stamp: str) -> int:
    """Trades come by the second, so the calendar is asked once per second and not once per trade."""
    moment = datetime.fromisoformat(f"{stamp}+00:00")
    return int(moment.timestamp()) * _US_PER_S


def _instrument(key: str, entry: wire.AssetPair) -> Instrument:
    return Instrument(
        pair=v2_symbol(entry.wsname),
        key=key,
        altname=entry.altname,
        wsname=entry.wsname,
        base=entry.base,
        quote=entry.quote,
        pair_decimals=entry.pair_decimals,
        lot_decimals=entry.lot_decimals,
        cost_decimals=entry.cost_decimals,
        tick_size=_plain(entry.tick_size),
        ordermin=_plain(entry.ordermin),
        costmin=_plain(entry.costmin),
        status=entry.status,
    )


def _rest_trade(row: wire.RestTrade, pair: str) -> Trade:
    side = _SIDES.get(row.side)
    if side is None:
        raise ValueError(f"trade {row.trade_id} has side {row.side!r}, neither 'b' nor 's'")
    try:
        price, qty = Decimal(row.price), Decimal(row.volume)
    except InvalidOperation:
        raise ValueError(f"trade {row.trade_id}: {row.price!r} or {row.volume!r} is no number") from None
    check_exact(price, qty)
    return Trade(
        pair,
        _checked_id(row.trade_id),
        rest_micros(row.time),
        price,
        qty,
        side,
        _ORDER_TYPES.get(row.ord_type, row.ord_type),
        row.misc,
        "rest",
        None,
    )


def _plain(text: str | None) -> str | None:
    """Spell equal numbers equally, so that a listing that only prints differently is no change."""
    return None if text is None else plain(Decimal(text))


def _checked_id(trade_id: int) -> int:
    # Runs of trade_id 0 were served before 2024-06-13 (API.md 6.7): such rows cannot be told apart.
    if trade_id < 1:
        raise ValueError(f"trade_id {trade_id} identifies nothing; Kraken counts from 1")
    return trade_id
