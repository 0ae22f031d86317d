"""Parsing of WebSocket frames and REST answers into trades, candles, listings and quotes: exact, without floats.

The live session, the drain and the live tail all parse trades here, so that what was claimed is what is archived.
"""

from __future__ import annotations

import contextlib
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from recorder.core.model import (
    CURRENCY,
    PAIR_LIMIT,
    TIMEFRAMES,
    Candle,
    Instrument,
    Side,
    Trade,
    check_all_exact,
    check_exact,
    is_pair,
    plain,
)
from recorder.core.pair_registry import Listed, OddEntry
from recorder.core.plausibility import AHEAD_US, EARLIEST_US
from recorder.core.trade_ids import Run, Span, runs_of
from recorder.errors import Malformed
from recorder.kraken import wire
from recorder.kraken.pair_names import v2_symbol

_NULL: Final = msgspec.Raw(b"null")
_OWN_VENUE: Final = (None, "international")
"""The ``execution_venue`` of entries of the exchange itself; before 2026 there was no such field."""
_UNTOLD: Final = "online"
"""The status of a pair whose status cannot be read: that of nearly all."""
_NOTHING: Final = Decimal(0)
_SHOWN: Final = 40
KEY_LIMIT: Final = 64
"""Maximum characters of the key of an entry of the listing."""
_NO_ROWS: Final = msgspec.Raw(b"[]")
_LIST = re.compile(rb"\[")
_ROWS = re.compile(rb"\[\s*\[")
_EMPTY = re.compile(rb"\[\s*\]")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
_SIDES: Final[dict[str, Side]] = {"b": "buy", "s": "sell"}
_ORDER_TYPES: Final = {"m": "market", "l": "limit"}
_US_PER_S: Final = 1_000_000
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
_FIRST_PAIR = re.compile(
    rb'\{"channel":"trade","type":"(?:update|snapshot)","data":\[\{"symbol":"([ !#-\[\]-~]{1,%d})"' % PAIR_LIMIT
)
_TO_THE_POINT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.")
_US: Final = Decimal("0.000001")
_BEGIN_S: Final = -62_135_596_800
_END_S: Final = 253_402_300_800
"""10000-01-01, in seconds since 1970: calendars, here and in every reader of the archive, have no time from then on."""
_STRETCH_IDS: Final = 1_000
"""Between rows whose ids are further apart than the rows of a page, an id cannot be derived from its position."""
REASON_LIMIT: Final = 300
"""Maximum characters of a reason, which may quote input of any size."""
_ID_AT: Final = 6
_TIME_AT: Final = 2

_Row = TypeVar("_Row")
_Known: TypeAlias = Callable[[msgspec.Raw], tuple[str | None, int | None]]
"""Returns what is known of a row that cannot be read: its pair and its id."""


class OddRow(msgspec.Struct, frozen=True):
    """A row that cannot be read, in a frame or answer whose other rows can: the bytes as received, and why.

    ``at`` is its index among all rows received. ``span`` are its possible ids of ``pair``: its own id, or those between
    its neighbours if it has none that can be read; None if nothing is known.
    """

    raw: bytes
    reason: str
    at: int
    pair: str | None = None
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class TradesPage:
    """One answer of REST Trades: rows in ascending id, and the cursor ``last`` as the text received.

    ``last`` is None if Kraken left it out, as it sporadically does (API.md 6.7). ``odd`` rows cannot be read.
    ``odd_end_us`` is the time of the last row received, if that row cannot be read but its time can.
    """

    trades: tuple[Trade, ...]
    last: str | None
    odd: tuple[OddRow, ...] = ()
    odd_end_us: int | None = None

    @property
    def rows(self) -> int:
        """The number of rows received, from which follows whether the answer had room for more."""
        return len(self.trades) + len(self.odd)

    @property
    def begins_oddly(self) -> bool:
        """Whether the first row received cannot be read."""
        return bool(self.odd) and self.odd[0].at == 0

    @property
    def ends_oddly(self) -> bool:
        """Whether the last row received cannot be read: it may be newer than all that can."""
        return bool(self.odd) and self.odd[-1].at == self.rows - 1


class SalvagedRows(NamedTuple):
    """The readable rows of a frame of trades in which some rows cannot be read."""

    trades: list[Trade]
    odd: tuple[OddRow, ...]


class CandleAnswer(NamedTuple):
    """The committed candles of one answer of REST OHLC, oldest first, and its rows that cannot be read.

    ``first_us`` and ``last_us`` are the starts of the first and the last of all these rows, including malformed ones
    whose start can be read (µs since 1970 UTC); None if there are none.
    """

    rows: list[Candle]
    odd: tuple[OddRow, ...] = ()
    first_us: int | None = None
    last_us: int | None = None


class Quote(msgspec.Struct, frozen=True, gc=False):
    """A pair's trades as shown by REST Ticker: price and quantity of the last one, and the number of today's trades.

    ``today`` counts from 00:00 UTC; 35 in the real answer that has 35 ids beside it (API.md 6.5, 6.7).
    """

    price: Decimal
    qty: Decimal
    today: int


@dataclass(frozen=True, slots=True)
class Quotes:
    """One answer of REST Ticker by pair, and the reasons for the pairs whose part could not be read."""

    by_pair: dict[str, Quote]
    unreadable: dict[str, str]


def trade_frame(frame: bytes, *, received_ns: int, checked: bool = False) -> list[Trade]:
    """Return the trades of one v2 trade frame, in the frame's order. Raises Malformed; never returns part of a frame.

    The rows of a snapshot are history that a subscription repeats: they have no receive time. ``checked`` is whether
    the frame was read before, so that its numbers are known to fit the archive, which checks them once more.
    """
    try:
        return _trades(_content(frame, checked=checked), received_ns)
    except wire.UNREADABLE as error:
        raise _unread(error) from error


def usual_trades(frame: bytes, *, received_ns: int) -> list[Trade] | None:
    """Return what :func:`trade_frame` does of a frame that was read before; None where that fails, or a row is odd.

    It is by an order type that nobody knows, a price or quantity of zero, or a time before the exchange opened or far
    ahead of when it came. To see that here costs a fifth of looking at each trade that was made.
    """
    try:
        return _trades(wire.usual_trade_frame(frame), received_ns, usual=True) if frame.isascii() else None
    except wire.UNREADABLE:
        return None


def _trades(content: wire.TradeFrame, received_ns: int, *, usual: bool = False) -> list[Trade]:
    """Return the trades in a frame. Raises ValueError for a time that is none, and if ``usual`` for an odd row."""
    received_us, until_us = _received_us(content.type, received_ns), received_ns // 1000 + AHEAD_US
    stamp, time_us, trades = None, 0, list[Trade]()
    for entry in content.data or ():
        if entry.timestamp != stamp:  # the trades of a sweep mostly share one
            stamp, time_us = entry.timestamp, micros(entry.timestamp)
            if usual and not EARLIEST_US <= time_us <= until_us:
                raise ValueError(f"{stamp} is an odd time")
        price, qty = entry.price, entry.qty
        if usual and not (price and qty):
            raise ValueError("a price or a quantity is zero")
        trades.append(
            Trade(
                entry.symbol,
                entry.trade_id,
                time_us,
                price,
                qty,
                entry.side,
                entry.ord_type,
                "",
                "ws",
                received_us,
            )
        )
    return trades


def trade_runs(frame: bytes, *, checked: bool = False) -> list[Run]:
    """Return the runs of ids in one v2 trade frame. Raises Malformed exactly where :func:`trade_frame` does.

    These are the recorder's claims from a frame, at two thirds of the cost of its trades.
    """
    found: list[Run] = []
    pair, first, last, first_us, last_us = "", 0, -1, 0, 0
    try:
        stamp, time_us = None, 0
        for entry in _content(frame, checked=checked).data or ():
            if entry.timestamp != stamp:  # most trades of a sweep share one
                stamp, time_us = entry.timestamp, micros(entry.timestamp)
            trade_id = entry.trade_id
            if trade_id != last + 1 or entry.symbol != pair:
                if last > 0:
                    found.append(Run(pair, Span(first, last), first_us, last_us))
                pair, first, first_us = entry.symbol, trade_id, time_us
            last, last_us = trade_id, time_us
    except wire.UNREADABLE as error:
        raise _unread(error) from error
    if last > 0:
        found.append(Run(pair, Span(first, last), first_us, last_us))
    return found


def salvaged(frame: bytes, *, received_ns: int) -> SalvagedRows:
    """Read the rows of one v2 trade frame one by one. Raises Malformed if none can be read.

    A malformed row costs only itself. This is many times slower than :func:`trade_frame`, which refuses such frames.
    """
    try:
        content = wire.raw_frame(frame)
    except wire.UNREADABLE as error:
        raise _unread(error) from error
    received_us = _received_us(content.type, received_ns)

    def read(raw: msgspec.Raw) -> Trade:
        entry = wire.trade_entry(raw)
        if not is_pair(entry.symbol):
            raise ValueError(f"{entry.symbol!r} is no name of a pair")
        check_exact(entry.price, entry.qty)
        return Trade(
            entry.symbol,
            entry.trade_id,
            micros(entry.timestamp),
            entry.price,
            entry.qty,
            entry.side,
            entry.ord_type,
            "",
            "ws",
            received_us,
        )

    trades, odd = _one_by_one(content.data or (), read, _of_frame)
    if odd and not trades:
        raise Malformed(f"a trade frame that cannot be read: {odd[0].reason}")
    return SalvagedRows(trades, odd)


def salvaged_runs(frame: bytes) -> tuple[list[Run], Sequence[OddRow]]:
    """Return the runs of the readable rows of a frame, and the other rows. Raises Malformed if none can be read."""
    found = salvaged(frame, received_ns=0)
    return runs_of(found.trades), found.odd


def _received_us(kind: str | None, received_ns: int) -> int | None:
    return None if kind == "snapshot" else received_ns // 1000


def _one_by_one(
    rows: Sequence[msgspec.Raw],
    read: Callable[[msgspec.Raw], _Row],
    known: _Known,
) -> tuple[list[_Row], tuple[OddRow, ...]]:
    """Read rows one by one; for each that cannot be read return why, and what is ``known``: pair and id."""
    good, odd = list[_Row](), list[OddRow]()
    for at, raw in enumerate(rows):
        try:
            good.append(read(raw))
        except wire.UNREADABLE as error:
            pair, trade_id = known(raw)
            reason = _describe(error) if trade_id is None else f"trade {trade_id}: {_describe(error)}"
            span = None if trade_id is None else Span(trade_id, trade_id)
            odd.append(OddRow(bytes(raw), reason, at, pair, span))
    return good, tuple(odd)


def _of_frame(raw: msgspec.Raw) -> tuple[str | None, int | None]:
    pair = _optional(wire.named, raw)
    numbered = _optional(wire.numbered, raw)
    return None if pair is None else pair.symbol, None if numbered is None else numbered.trade_id


def _optional(decode: Callable[[msgspec.Raw], _Row], raw: msgspec.Raw) -> _Row | None:
    try:
        return decode(raw)
    except wire.UNREADABLE:
        return None


def _describe(error: Exception) -> str:
    return str(error)[:REASON_LIMIT]


def _content(frame: bytes, *, checked: bool) -> wire.TradeFrame:
    """Decode one trade frame, and check its numbers unless that was done. Raises one of :data:`wire.UNREADABLE`."""
    if not frame.isascii():  # as all trade frames are; a frame with other names is read row by row
        raise ValueError("it is not ASCII")
    try:
        content: wire.TradeFrame = wire.usual_trade_frame(frame)  # sooner done, and nearly always
    except wire.UNREADABLE:
        content = wire.trade_frame(frame)
    if not checked:
        check_all_exact(content.data or ())
    return content


def _unread(error: Exception) -> Malformed:
    return Malformed(f"a trade frame that cannot be read: {_describe(error)}")


def only_rows(frame: bytes, wanted: Callable[[str], bool]) -> bytes | None:
    """Return a trade frame with only the rows whose symbol is ``wanted``, byte for byte; None if there are none.

    A row whose symbol cannot be read stays.
    """
    content = wire.raw_frame(frame)
    named = ((row, _optional(wire.named, row)) for row in content.data or ())
    rows = [bytes(row) for row, name in named if name is None or wanted(name.symbol)]
    if not rows:
        return None
    kind = msgspec.json.encode(content.type)
    return b'{"channel":"trade","type":' + kind + b',"data":[' + b",".join(rows) + b"]}"


def first_pair(frame: bytes) -> str | None:
    """Return the pair of the first trade in a trade frame, without parsing it: a tenth of the cost.

    None if the frame has another form than Kraken's, or no trades.
    """
    found = _FIRST_PAIR.match(frame)
    return found[1].decode() if found else None


def trades_page(result: bytes, pair: str) -> TradesPage:
    """Read the ``result`` of REST Trades for ``pair`` (the v2 symbol). Raises Malformed if no row can be read.

    The result contains one list under some name of the pair (API.md 5.2), and ``last``; see :func:`_rows_and_last`.
    """
    try:
        rows, last = _rows_and_last(result, "trades")
        try:
            return _page([_rest_trade(row, pair) for row in wire.trade_rows(rows)], last)
        except wire.UNREADABLE:
            page = rest_rows(rows, pair, last=last)
            if not page.trades:
                raise ValueError(page.odd[0].reason) from None
            return page
    except wire.UNREADABLE as error:
        raise Malformed(f"an answer of Trades for {pair} that cannot be read: {_describe(error)}") from error


def rest_rows(rows: bytes, pair: str, *, last: str | None = None) -> TradesPage:
    """Read a list of rows of REST Trades one by one. Raises one of :data:`wire.UNREADABLE`."""
    raw = wire.raw_rows(rows)
    trades, odd = _one_by_one(raw, lambda row: _rest_trade(wire.rest_trade(row), pair), _of_page(pair))
    odd_places = {row.at for row in odd}
    places = (at for at in range(len(raw)) if at not in odd_places)
    ids = [(at, trade.trade_id) for at, trade in zip(places, trades, strict=True)]
    end_us = _rest_time_us(raw[-1]) if len(raw) - 1 in odd_places else None
    return _page(trades, last, tuple(_placed(row, ids) for row in odd), end_us)


def decode_odd_rows(text: bytes, pair: str) -> SalvagedRows:
    """Read the output of :func:`encode_odd_rows`: rows that can be read by now, and the others. Raises Malformed."""
    try:
        kept = wire.kept_rows(text)
        spans = [None if ids is None else Span(*ids) for ids in kept.ids]
        told = list(zip(kept.rows, spans, strict=True))
    except wire.UNREADABLE as error:
        raise Malformed(f"stored rows that cannot be read: {_describe(error)}") from error
    trades, odd = _one_by_one(kept.rows, lambda row: _rest_trade(wire.rest_trade(row), pair), _of_page(pair))
    return SalvagedRows(trades, tuple(msgspec.structs.replace(row, span=told[row.at][1]) for row in odd))


def encode_odd_rows(rows: Iterable[OddRow]) -> bytes:
    """Encode rows that cannot be read, each as received, with its possible ids."""
    kept = list(rows)
    ids = msgspec.json.encode([None if row.span is None else (row.span.first, row.span.last) for row in kept])
    return b'{"ids":' + ids + b',"rows":[' + b",".join(row.raw for row in kept) + b"]}"


def _page(
    trades: list[Trade], last: str | None, odd: tuple[OddRow, ...] = (), odd_end_us: int | None = None
) -> TradesPage:
    trades.sort(key=lambda trade: trade.trade_id)
    return TradesPage(tuple(trades), last, odd, odd_end_us)


def _placed(row: OddRow, ids: Sequence[tuple[int, int]]) -> OddRow:
    """Return a malformed row with the ids between its neighbours, if it has none; ``ids`` are (index, id) pairs."""
    if row.span is not None:
        return row
    index = bisect_left(ids, (row.at,))
    if not 0 < index < len(ids):
        return row
    below, above = ids[index - 1][1], ids[index][1]
    if not 1 < above - below <= _STRETCH_IDS:
        return row
    reason = f"between trades {below} and {above}: {row.reason}"[:REASON_LIMIT]
    return msgspec.structs.replace(row, span=Span(below + 1, above - 1), reason=reason)


def _of_page(pair: str) -> _Known:
    return lambda row: (pair, _rest_id(row))


def _of_answer(pair: str) -> _Known:
    return lambda _: (pair, None)


def _rest_id(raw: msgspec.Raw) -> int | None:
    fields = _optional(wire.raw_rows, raw)
    return None if fields is None or len(fields) <= _ID_AT else _optional(wire.trade_id, fields[_ID_AT])


def _rest_time_us(raw: msgspec.Raw) -> int | None:
    fields = _optional(wire.raw_rows, raw)
    if fields is None or len(fields) <= _TIME_AT:
        return None
    return _optional(lambda field: rest_micros(wire.number(field)), fields[_TIME_AT])


def candles(result: bytes, pair: str, timeframe: str) -> list[Candle]:
    """Return the candles of :func:`ohlc_answer`."""
    return ohlc_answer(result, pair, timeframe).rows


def ohlc_answer(result: bytes, pair: str, timeframe: str) -> CandleAnswer:
    """Return the committed candles in the ``result`` of REST OHLC for ``pair``, oldest first.

    The last row is always the running interval, and ``last`` the start of the last committed one (API.md 6.6). A row
    counts as committed only if both agree; one left out for that reason comes with the next answer. Rows out of time
    order are malformed, as few of them as possible. Raises Malformed if no row at all can be read.
    """
    try:
        rows, last = _rows_and_last(result, "candles")
        raw = wire.raw_rows(rows)
        end_us = (_END_S if last is None else min(_whole(last), _END_S)) * _US_PER_S
        read, odd = _one_by_one(raw, lambda row: _candle(wire.ohlc_row(row), pair, timeframe), _of_answer(pair))
        if odd and not read:
            raise ValueError(odd[0].reason)
    except wire.UNREADABLE as error:
        reason = f"an answer of OHLC for {pair} in {timeframe} that cannot be read: {_describe(error)}"
        raise Malformed(reason) from error
    odd_places = {row.at for row in odd}
    places = [at for at in range(len(raw)) if at not in odd_places]
    ordered = set(_ascending([candle.time_us for candle in read]))
    stepping = [
        OddRow(bytes(raw[at]), f"the candle at {one.time_us // _US_PER_S} is not in the order of time", at, pair)
        for index, (at, one) in enumerate(zip(places, read, strict=True))
        if index not in ordered
    ]
    running = len(raw) - 1
    committed = [
        one
        for index, (at, one) in enumerate(zip(places, read, strict=True))
        if index in ordered and at < running and one.time_us <= end_us
    ]
    left = tuple(sorted((row for row in (*odd, *stepping) if row.at < running), key=lambda row: row.at))
    starts = [one.time_us for one in committed]
    step_us = TIMEFRAMES[timeframe] * 60 * _US_PER_S
    known = [(at, one.time_us) for index, (at, one) in enumerate(zip(places, read, strict=True)) if index in ordered]
    starts += [start for row in odd if row.at < running and (start := _start_us(row, known, step_us)) is not None]
    return CandleAnswer(committed, left, min(starts, default=None), max(starts, default=None))


def _ascending(times: Sequence[int]) -> Sequence[int]:
    """Return the indices of the longest ascending subsequence of ``times``: nearly always all of them.

    Of several the one nearer to what follows: an invalid time is more likely 0 than a minute off.
    """
    if all(before < after for before, after in pairwise(times)):
        return range(len(times))
    ends, lasts, before = list[int](), list[int](), list[int | None]()  # of the subsequences found: last time and index
    for place, time in enumerate(reversed(times)):
        index = bisect_left(ends, -time)
        before.append(lasts[index - 1] if index else None)
        ends[index : index + 1], lasts[index : index + 1] = [-time], [place]
    found, at = list[int](), lasts[-1] if lasts else None
    while at is not None:
        found.append(len(times) - 1 - at)
        at = before[at]
    return found


def _start_us(row: OddRow, known: Sequence[tuple[int, int]], step_us: int) -> int | None:
    """Return the start of a candle that cannot be read; None if its start cannot be read or does not fit its position.

    ``known`` are the positions and starts of readable candles: a malformed row must not make later ones unwanted.
    """
    fields = _optional(wire.raw_rows, msgspec.Raw(row.raw))
    start_s = None if not fields else _optional(wire.start_s, fields[0])
    index = bisect_left(known, (row.at,))
    if start_s is None or not known:
        return None
    at, start_us = known[min(index, len(known) - 1)]
    return start_s * _US_PER_S if start_s * _US_PER_S == start_us + (row.at - at) * step_us else None


def quotes(result: bytes, instruments: Iterable[Instrument]) -> Quotes:
    """Read the parts of ``instruments`` in the ``result`` of REST Ticker. Raises Malformed if it is no table.

    Pairs are found under any of their names (API.md 5.2); other parts and missing pairs are ignored. One part that
    cannot be read does not affect the others.
    """
    try:
        table = wire.table_result(result)
    except wire.UNREADABLE as error:
        raise Malformed(f"an answer of Ticker that cannot be read: {error}") from error
    found, unreadable = dict[str, Quote](), dict[str, str]()
    for instrument in instruments:
        names = (instrument.key, instrument.altname, instrument.pair, instrument.wsname)
        part = next((table[name] for name in names if name in table), None)
        if part is None:
            continue
        try:
            found[instrument.pair] = _quote(part)
        except wire.UNREADABLE as error:
            unreadable[instrument.pair] = f"a part of Ticker for {instrument.pair} that cannot be read: {error}"
    return Quotes(found, unreadable)


def listing(result: bytes, asked: str = CURRENCY) -> Listed:
    """Read the ``result`` of AssetPairs for the asset class ``asked``. Raises Malformed.

    Pairs without a wsname (the dark pools of 2021) are not on the WebSocket and are left out. An entry that cannot be
    read does not affect the others.
    """
    if asked != CURRENCY and _EMPTY.match(result):  # some encoders print an empty table this way
        return Listed(asked, ())
    table = entries(result)
    own, others, odd = list[Instrument](), list[Instrument](), dict[str, OddEntry]()
    for key, raw in table.items():
        try:
            entry = wire.asset_pair(raw)
            if entry.wsname:
                venue = others if entry.execution_venue not in _OWN_VENUE else own
                venue.append(_instrument(key, entry, asked))
        except wire.UNREADABLE as error:
            odd[key[:KEY_LIMIT]] = _odd_entry(key, raw, str(error), asked)
    if table and len(odd) == len(table) and all(entry.bare is None for entry in odd.values()):
        reason = next(iter(odd.values())).reason
        raise Malformed(f"an answer of AssetPairs without a readable entry: {reason[:REASON_LIMIT]}")
    return Listed(asked, [*own, *others], odd)


def entries(result: bytes) -> dict[str, msgspec.Raw]:
    """Return the entries in the ``result`` of AssetPairs as received, by key. Raises Malformed."""
    try:
        return wire.table_result(result)
    except wire.UNREADABLE as error:
        raise Malformed(f"an answer of AssetPairs that cannot be read: {error}") from error


def micros(stamp: str) -> int:
    """Return µs since 1970 of an RFC 3339 UTC stamp with 0 to 9 digits, truncated (not rounded) like Kraken's.

    >>> micros("2026-07-07T23:00:05.562702Z") - micros("2026-07-07T23:00:05Z")
    562702
    """
    digits = stamp[20:-1]
    # Trades have six digits and a Z; the rest of the grammar is for other channels and other years.
    if len(digits) == 6 and digits.isdecimal() and stamp[-1] == "Z" and stamp.isascii():
        return _second_us(stamp[:20]) + int(digits)
    found = _STAMP.fullmatch(stamp)
    if found is None:
        raise _no_stamp(stamp)
    second, digits = found.groups("")
    return _second_us(f"{second}.") + int(digits[:6].ljust(6, "0"))


def rest_micros(seconds: Decimal) -> int:
    """Return µs since 1970 of REST's printed seconds, truncated. The print itself may be 119 ns off (API.md 7.3).

    Raises ValueError if it is no time from year 1 to 9999.
    """
    if not (seconds.is_finite() and _BEGIN_S <= seconds < _END_S):
        raise ValueError(f"{_quoted(str(seconds))} is not a time in seconds since 1970, like 1756443816.201052")
    return int(seconds.quantize(_US, ROUND_FLOOR).scaleb(6))


@lru_cache(maxsize=1024)
def _second_us(stamp: str) -> int:
    """Return µs of a stamp up to its decimal point; cached, because many trades share a second."""
    if not _TO_THE_POINT.fullmatch(stamp):  # datetime would accept week dates and commas too
        raise _no_stamp(stamp)
    moment = datetime.fromisoformat(f"{stamp[:19]}+00:00")
    return int(moment.timestamp()) * _US_PER_S


def _no_stamp(stamp: str) -> ValueError:
    return ValueError(f"{_quoted(stamp)} is not a UTC time like 2026-07-07T23:00:05.562702Z")


def _rows_and_last(result: bytes, what: str) -> tuple[msgspec.Raw, str | None]:
    """Return the one list of rows in a result, whatever its name, and ``last`` as text, None if there is none.

    Other fields that Kraken may add are ignored: scalars, objects, and lists that are no rows, which are lists
    themselves. A null is an empty list if there is no other. Raises one of :data:`wire.UNREADABLE`.
    """
    content = wire.table_result(result)
    last = wire.any_json(content.pop("last", _NULL))
    lists = [raw for raw in content.values() if _LIST.match(raw)]
    found = [raw for raw in lists if _ROWS.match(raw)] or [raw for raw in lists if _EMPTY.match(raw)][:1] or lists
    if not found and _NULL in content.values():
        found = [_NO_ROWS]
    if len(found) != 1:
        raise ValueError(f"it should hold one list of {what} beside `last`, not {len(found)}")
    return found[0], str(last) if isinstance(last, str | int) and not isinstance(last, bool) else None


def _instrument(key: str, entry: wire.AssetPair, asked: str) -> Instrument:
    return Instrument(
        pair=_symbol(entry),
        key=_key(key),
        altname=entry.altname,
        wsname=entry.wsname or "",
        base=entry.base,
        quote=entry.quote,
        pair_decimals=entry.pair_decimals,
        lot_decimals=entry.lot_decimals,
        cost_decimals=entry.cost_decimals,
        tick_size=_plain("tick_size", entry.tick_size),
        ordermin=_plain("ordermin", entry.ordermin),
        costmin=_plain("costmin", entry.costmin),
        status=entry.status,
        asset_class=entry.aclass_base or asked,
    )


def _bare(key: str, entry: wire.BarePair, asked: str) -> Instrument:
    """Return a pair from the required fields of its entry; the rest is left at a minimum."""
    pair = _symbol(entry)
    base, _, quote = (entry.wsname or "").partition("/")
    return Instrument(
        pair=pair,
        key=_key(key),
        altname=entry.altname,
        wsname=entry.wsname or "",
        base=base,
        quote=quote,
        pair_decimals=entry.pair_decimals,
        lot_decimals=entry.lot_decimals,
        cost_decimals=None,
        tick_size=None,
        ordermin=None,
        costmin=None,
        status=_UNTOLD,
        asset_class=entry.aclass_base or asked,
    )


def _odd_entry(key: str, raw: msgspec.Raw, reason: str, asked: str) -> OddEntry:
    names, bare = {key}, None
    with contextlib.suppress(*wire.UNREADABLE):
        said = wire.pair_names(raw)
        names |= {name for name in (said.altname, said.wsname) if isinstance(name, str)}
        names |= {v2_symbol(name) for name in names if "/" in name}
        bare = _bare(key, wire.bare_pair(raw), asked)
    shown = {name[:KEY_LIMIT] for name in names}
    return OddEntry(
        f"the entry of {key[:KEY_LIMIT]} cannot be read: {reason}"[:REASON_LIMIT], bytes(raw), frozenset(shown), bare
    )


def _symbol(entry: wire.BarePair) -> str:
    pair = v2_symbol(entry.wsname or "")
    base, _, quote = pair.partition("/")
    if not (base and quote and pair.isascii() and pair.isprintable()):
        raise ValueError(f"{pair!r} is no symbol of a pair, like BTC/USD")
    return pair


def _key(key: str) -> str:
    if not 0 < len(key) <= KEY_LIMIT:
        raise ValueError(f"a key of {len(key)} characters")
    return key


def _rest_trade(row: wire.RestTrade, pair: str) -> Trade:
    side = _SIDES.get(row.side)
    if side is None:
        raise ValueError(f"trade {row.trade_id} has side {_quoted(row.side)}, neither 'b' nor 's'")
    price, qty = exact_number(row.price), exact_number(row.volume)
    check_exact(price, qty)
    return Trade(
        pair,
        row.trade_id,
        rest_micros(row.time),
        price,
        qty,
        side,
        _ORDER_TYPES.get(row.ord_type, row.ord_type),
        row.misc,
        "rest",
        None,
    )


def _quote(part: msgspec.Raw) -> Quote:
    entry = wire.ticker_entry(part)
    return Quote(exact_number(entry.c[0]), exact_number(entry.c[1]), entry.t[0])


def _candle(row: wire.OhlcRow, pair: str, timeframe: str) -> Candle:
    volume = exact_number(row.volume)

    def price(text: str) -> Decimal:
        number = exact_number(text)
        try:
            check_exact(number, volume)
        except ValueError as error:
            raise ValueError(f"the candle at {row.time}: {error}") from None
        return number

    return Candle(
        pair,
        timeframe,
        row.time * _US_PER_S,
        open=price(row.open),
        high=price(row.high),
        low=price(row.low),
        close=price(row.close),
        vwap=price(row.vwap),
        volume=volume,
        count=row.count,
    )


def _plain(field: str, raw: msgspec.Raw) -> str | None:
    """Return the canonical text of a number, so that a listing that differs only in spelling is no change."""
    if raw == _NULL:
        return None
    printed = bytes(raw)
    text = wire.text_of(raw) if printed.startswith(b'"') else printed.decode()
    number = exact_number(text)
    try:
        check_exact(number, _NOTHING)
    except ValueError:
        raise ValueError(f"{field} {text[:_SHOWN]!r} does not fit the archive's decimals") from None
    return plain(number)


def exact_number(text: str) -> Decimal:
    """Read a number as the exchange prints it, exactly. Raises ValueError."""
    # Decimal itself would also accept white space, underscores and words.
    if len(text) > wire.NUMBER_LIMIT or not _NUMBER.fullmatch(text):
        raise ValueError(f"{_quoted(text)} is no number")
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent that is far too large
        raise ValueError(f"{text!r} is no number that can be held") from None
    if not (int(number.as_tuple().exponent) >= -wire.EXPONENT_LIMIT and number.adjusted() <= wire.EXPONENT_LIMIT):
        raise ValueError(f"{text!r} is no number that can be held")
    return number


def _whole(text: str) -> int:
    if len(text) > wire.NUMBER_LIMIT or not _NUMBER.fullmatch(text):
        raise ValueError(f"{_quoted(text)} is no number")
    return int(text)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= wire.NUMBER_LIMIT else f"{text[: wire.NUMBER_LIMIT]}…")
