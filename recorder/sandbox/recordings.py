"""Parsing of recordings from the real Kraken: REST Trades pages, WebSocket v2 sessions, AssetPairs answers.

Contains the conversion of recorded text to rows of exact values, and the check that the rows print as the very text
they came from. Does not know files and the passing of time (``replay``). Anything that could not be served exactly is
refused with a message: a sandbox must not invent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from recorder.core.trade_ids import Span
from recorder.errors import UsageError
from recorder.sandbox import wire_format
from recorder.sandbox.pairs import Pair, SandboxListing, listed, pair_of
from recorder.sandbox.tape import MARKET, SELL, Tape

_SIDE_MARKS = {"b": 0, "s": SELL, "buy": 0, "sell": SELL}
_ORD_TYPE_MARKS = {"l": 0, "m": MARKET, "limit": 0, "market": MARKET}


class RecordedRow(NamedTuple):
    """One recorded trade, as :class:`~recorder.sandbox.tape.Tape` stores it, except for the scale."""

    trade_id: int
    time_ns: int
    price: Decimal
    qty: Decimal
    mark: int


@dataclass(frozen=True, slots=True)
class RecordedPage:
    """The trades of one REST answer."""

    pair: Pair
    rows: tuple[RecordedRow, ...]


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One server frame verbatim, ``offset_ns`` after the session's first stamp, and its trades."""

    offset_ns: int
    text: str
    symbols: frozenset[str]
    rows: Mapping[str, Sequence[RecordedRow]]


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """One recorded connection: the frames to play, and by pair the trades that were in its snapshots.

    Status frames, acknowledgements and trade snapshots are not played: they answered another client's requests, and the
    sandbox sends its own.
    """

    frames: tuple[RecordedFrame, ...]
    earlier: Mapping[str, Sequence[RecordedRow]]
    pairs: tuple[Pair, ...]

    @property
    def symbols(self) -> frozenset[str]:
        """The v2 symbols of all its pairs."""
        return frozenset(pair.symbol for pair in self.pairs)


def read_listing(text: str) -> list[Pair]:
    """Return the pairs of an AssetPairs answer."""
    return [listed(key, fields) for key, fields in _result(text).items()]


def read_page(text: str, listing: SandboxListing) -> RecordedPage:
    """Return the page of a REST Trades answer whose rows have ids; ``listing`` must have its pair unless v2-named."""
    result = _result(text, exact=True)
    keys = [name for name in result if name != "last"]
    if len(keys) != 1:
        raise UsageError(f"a recorded page holds the trades of one pair, not of {keys}")
    (key,) = keys
    if not result[key] or any(len(row) != 7 for row in result[key]):
        raise UsageError(
            f"the recorded page of {key} is not of rows with trade ids; older ones, and empty ones, cannot be served"
        )
    rows = [_rest_row(row) for row in result[key]]
    rows = _with_exact_last(rows, str(result.get("last", "")))
    pair = listing.named(key) or _guessed(key, [row[0] for row in result[key]], rest_text=True)
    page = RecordedPage(pair, tuple(rows))
    _check_order(pair.symbol, page.rows)
    _check_reprint(page, result[key])
    return page


def read_session(lines: Iterable[str], listing: SandboxListing) -> RecordedSession:
    """Return the session of WebSocket v2 frames: one server frame a line, of any channels."""
    frames: list[RecordedFrame] = []
    earlier: dict[str, list[RecordedRow]] = {}
    by_pair: dict[str, list[RecordedRow]] = {}
    prices: dict[str, list[str]] = {}
    began_ns: int | None = None
    offset_ns = 0
    for line in lines:
        text = line.rstrip("\r\n")
        content: dict[str, Any] = json.loads(text, parse_float=str)
        if "channel" not in content or content["channel"] == "status":
            continue
        data = [entry for entry in content.get("data", ()) if isinstance(entry, dict)]
        trades = data if content["channel"] == "trade" else []
        rows = {symbol: _socket_rows(trades, symbol) for symbol in dict.fromkeys(row["symbol"] for row in trades)}
        for row in trades:
            prices.setdefault(row["symbol"], []).append(str(row["price"]))
        for symbol, some in rows.items():
            by_pair.setdefault(symbol, []).extend(some)
        if trades and content["type"] == "snapshot":
            for symbol, some in rows.items():
                earlier.setdefault(symbol, []).extend(some)
            continue
        for stamp in _stamps(content, data):
            began_ns = stamp if began_ns is None else began_ns
            # Frames without a stamp, and stamps that lag, are sent with the frame before them.
            offset_ns = max(offset_ns, stamp - began_ns)
        symbols = frozenset(entry["symbol"] for entry in data if "symbol" in entry)
        frames.append(RecordedFrame(offset_ns, text, symbols, rows))
    if not by_pair:
        raise UsageError("the recorded session tells of no trade; it must hold frames of the trade channel")
    for symbol, some in by_pair.items():
        _check_order(symbol, some)
    pairs = tuple(listing.named(symbol) or _guessed(symbol, prices[symbol], rest_text=False) for symbol in by_pair)
    return RecordedSession(tuple(frames), earlier, pairs)


def tape_for(pair: Pair, rows: Iterable[RecordedRow]) -> Tape:
    """Return an empty tape fit for ``rows``: their first id, and digits enough for the finest price."""
    rows = list(rows)
    needed = max((_digits(row.price) for row in rows), default=0)
    return Tape(pair, first_id=rows[0].trade_id if rows else 1, price_digits=max(needed, pair.pair_decimals))


def put(tape: Tape, rows: Iterable[RecordedRow]) -> Span | None:
    """Append recorded rows to a tape that was made for them; return their ids."""
    first = tape.next_id
    for row in rows:
        price, qty = row.price.scaleb(tape.price_digits), row.qty.scaleb(tape.qty_digits)
        if qty != int(qty):
            raise UsageError(
                f"{tape.pair.symbol} {row.trade_id} has quantity {row.qty}, finer than the {tape.qty_digits} digits "
                "of its listing; give the AssetPairs answer of its time"
            )
        tape.append(row.time_ns, price=int(price), qty=int(qty), mark=row.mark)
    return Span(first, tape.last_id) if first <= tape.last_id else None


def _result(text: str, *, exact: bool = False) -> dict[str, Any]:
    content = json.loads(text, parse_float=str if exact else None)
    if not isinstance(content, dict) or not isinstance(content.get("result"), dict):
        raise UsageError(f"a recorded REST answer must be a whole answer with a result, not {text[:60]!r}")
    result: dict[str, Any] = content["result"]
    return result


def _rest_row(row: Sequence[Any]) -> RecordedRow:
    price, qty, time, side, ord_type, _misc, trade_id = row
    mark = _SIDE_MARKS[side] | _ORD_TYPE_MARKS[ord_type]
    return RecordedRow(trade_id, int(Decimal(str(time)).scaleb(9)), Decimal(price), Decimal(qty), mark)


def _with_exact_last(rows: list[RecordedRow], last: str) -> list[RecordedRow]:
    """Return the rows with the last one at the exact time ``last``, if that matches, and none before it later.

    Of the other rows only the printed double is known, which may be up to 119 ns after the true time.
    """
    latest_ns = rows[-1].time_ns
    if last.isdigit() and wire_format.printed_double(int(last)) == wire_format.printed_double(latest_ns):
        latest_ns = int(last)
    fitted = [rows[-1]._replace(time_ns=latest_ns)]
    for row in reversed(rows[:-1]):
        latest_ns = min(latest_ns, row.time_ns)
        fitted.append(row._replace(time_ns=latest_ns))
    return fitted[::-1]


def _socket_rows(trades: Iterable[Mapping[str, Any]], symbol: str) -> list[RecordedRow]:
    return [
        RecordedRow(
            trade["trade_id"],
            _stamp_ns(trade["timestamp"]),
            Decimal(str(trade["price"])),
            Decimal(str(trade["qty"])),
            _SIDE_MARKS[trade["side"]] | _ORD_TYPE_MARKS[trade["ord_type"]],
        )
        for trade in trades
        if trade["symbol"] == symbol
    ]


def _stamps(content: Mapping[str, Any], data: Iterable[Mapping[str, Any]]) -> Iterator[int]:
    for holder in (content, *data):
        if "timestamp" in holder:
            yield _stamp_ns(holder["timestamp"])


def _stamp_ns(text: str) -> int:
    """Return an RFC 3339 time in UTC with 0 to 9 digits of fraction, in ns since 1970."""
    seconds = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return int(seconds.timestamp()) * 1_000_000_000 + int(text[20:].removesuffix("Z").ljust(9, "0"))


def _guessed(symbol: str, prices: Sequence[str], *, rest_text: bool) -> Pair:
    """Return a pair with as many digits as the recorded prices, because its listing is missing."""
    if "/" not in symbol:
        raise UsageError(f"no listing given knows {symbol}, and names are not cut by guess; give its AssetPairs answer")
    digits = len(prices[0].partition(".")[2])
    if not rest_text:
        return pair_of(symbol, pair_decimals=digits, lot_decimals=8)
    needed = max(_digits(Decimal(price)) for price in prices)
    return pair_of(symbol, pair_decimals=needed, lot_decimals=8, cost_decimals=digits)


def _digits(value: Decimal) -> int:
    """Return the digits after the point that ``value`` needs."""
    return max(0, -int(value.normalize().as_tuple().exponent))


def _check_order(symbol: str, rows: Sequence[RecordedRow]) -> None:
    for one, following in pairwise(rows):
        if following.trade_id != one.trade_id + 1 or following.time_ns < one.time_ns:
            raise UsageError(
                f"the recorded trades of {symbol} go from {one.trade_id} to {following.trade_id}; "
                "a sandbox can serve only unbroken ids in order of time"
            )


def _check_reprint(page: RecordedPage, originals: Sequence[Sequence[Any]]) -> None:
    tape = tape_for(page.pair, page.rows)
    span = put(tape, page.rows)
    assert span is not None, "a page has rows"
    for printed, row in zip(wire_format.rest_rows(tape, span), originals, strict=True):
        price, qty, time, *rest = row
        original = f'["{price}","{qty}",{time},{json.dumps(rest, separators=(",", ":"))[1:]}'
        if printed != original:
            raise UsageError(
                f"the recorded row {original} of {page.pair.symbol} would be served as {printed}; "
                "give the AssetPairs answer of its time"
            )
