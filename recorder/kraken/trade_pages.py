"""Answers of REST Trades, from bytes to rows: exact, without floats."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from recorder.core.model import Side, Trade, check_exact
from recorder.core.trade_ids import Span
from recorder.errors import Malformed
from recorder.kraken import wire
from recorder.kraken.exact_numbers import exact_number, quoted
from recorder.kraken.odd_rows import REASON_LIMIT, OddRow, ReadPairAndId, SalvagedRows, describe, one_by_one, optional
from recorder.kraken.rest_rows import rows_and_last
from recorder.kraken.timestamps import rest_micros

_SIDES: Final[dict[str, Side]] = {"b": "buy", "s": "sell"}
_ORDER_TYPES: Final = {"m": "market", "l": "limit"}
_BETWEEN_IDS: Final = 1_000
"""Between rows whose ids are further apart than the rows of a page, an id cannot be derived from its position."""
_ID_AT: Final = 6
_TIME_AT: Final = 2


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


def parse_page(result: bytes, pair: str) -> TradesPage:
    """Read the ``result`` of REST Trades for ``pair`` (the v2 symbol). Raises Malformed if no row can be read.

    The result contains one list under some name of the pair (API.md 5.2), and ``last``; see :func:`rows_and_last`.
    """
    try:
        rows, last = rows_and_last(result, "trades")
        try:
            return _page([_rest_trade(row, pair) for row in wire.trade_rows(rows)], last)
        except wire.UNREADABLE:
            page = parse_rows(rows, pair, last=last)
            if not page.trades:
                raise ValueError(page.odd[0].reason) from None
            return page
    except wire.UNREADABLE as error:
        raise Malformed(f"an answer of Trades for {pair} that cannot be read: {describe(error)}") from error


def parse_rows(rows: bytes, pair: str, *, last: str | None = None) -> TradesPage:
    """Read a list of rows of REST Trades one by one. Raises one of :data:`wire.UNREADABLE`."""
    raw = wire.raw_rows(rows)
    trades, odd = one_by_one(raw, lambda row: _rest_trade(wire.rest_trade(row), pair), _pair_and_id(pair))
    odd_places = {row.at for row in odd}
    places = (at for at in range(len(raw)) if at not in odd_places)
    ids = [(at, trade.trade_id) for at, trade in zip(places, trades, strict=True)]
    end_us = _rest_time_us(raw[-1]) if len(raw) - 1 in odd_places else None
    return _page(trades, last, tuple(_with_ids_between(row, ids) for row in odd), end_us)


def decode_odd_rows(text: bytes, pair: str) -> SalvagedRows:
    """Read the output of :func:`encode_odd_rows`: rows that can be read by now, and the others. Raises Malformed."""
    try:
        kept = wire.kept_rows(text)
        spans = [None if ids is None else Span(*ids) for ids in kept.ids]
        rows = list(zip(kept.rows, spans, strict=True))
    except wire.UNREADABLE as error:
        raise Malformed(f"stored rows that cannot be read: {describe(error)}") from error
    trades, odd = one_by_one(kept.rows, lambda row: _rest_trade(wire.rest_trade(row), pair), _pair_and_id(pair))
    return SalvagedRows(trades, tuple(msgspec.structs.replace(row, span=rows[row.at][1]) for row in odd))


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


def _with_ids_between(row: OddRow, ids: Sequence[tuple[int, int]]) -> OddRow:
    """Return a malformed row with the ids between its neighbours, if it has none; ``ids`` are (index, id) pairs."""
    if row.span is not None:
        return row
    index = bisect_left(ids, (row.at,))
    if not 0 < index < len(ids):
        return row
    below, above = ids[index - 1][1], ids[index][1]
    if not 1 < above - below <= _BETWEEN_IDS:
        return row
    reason = f"between trades {below} and {above}: {row.reason}"[:REASON_LIMIT]
    return msgspec.structs.replace(row, span=Span(below + 1, above - 1), reason=reason)


def _pair_and_id(pair: str) -> ReadPairAndId:
    return lambda row: (pair, _rest_id(row))


def _rest_id(raw: msgspec.Raw) -> int | None:
    fields = optional(wire.raw_rows, raw)
    return None if fields is None or len(fields) <= _ID_AT else optional(wire.trade_id, fields[_ID_AT])


def _rest_time_us(raw: msgspec.Raw) -> int | None:
    fields = optional(wire.raw_rows, raw)
    if fields is None or len(fields) <= _TIME_AT:
        return None
    return optional(lambda field: rest_micros(wire.number(field)), fields[_TIME_AT])


def _rest_trade(row: wire.RestTrade, pair: str) -> Trade:
    side = _SIDES.get(row.side)
    if side is None:
        raise ValueError(f"trade {row.trade_id} has side {quoted(row.side)}, neither 'b' nor 's'")
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
