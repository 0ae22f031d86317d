"""WebSocket frames of trades, from bytes to rows: exact, without floats.

The live session, the drain and the live tail all parse frames here, so that what was claimed is what is archived.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from recorder.core.model import PAIR_LIMIT, Trade, check_all_exact, check_exact, is_pair
from recorder.core.plausibility import AHEAD_US, EARLIEST_US
from recorder.core.trade_ids import Run, Span, runs_of
from recorder.errors import Malformed
from recorder.kraken import frame_rows, wire
from recorder.kraken.odd_rows import OddRow, SalvagedRows, describe, one_by_one, optional
from recorder.kraken.timestamps import micros

_FIRST_PAIR = re.compile(
    rb'\{"channel":"trade","type":"(?:update|snapshot)","data":\[\{"symbol":"([ !#-\[\]-~]{1,%d})"' % PAIR_LIMIT
)


def parse_trades(frame: bytes, *, received_ns: int, checked: bool = False) -> list[Trade]:
    """Return the trades of one v2 trade frame, in the frame's order. Raises Malformed; never returns part of a frame.

    The rows of a snapshot are history that a subscription repeats: they have no receive time. ``checked`` is whether
    the frame was read before, so that its numbers are known to fit the archive, which checks them once more.
    """
    try:
        return _trades(_decode(frame, checked=checked), received_ns)
    except wire.UNREADABLE as error:
        raise _malformed(error) from error


def parse_usual_trades(frame: bytes, *, received_ns: int) -> list[Trade] | None:
    """Return what :func:`parse_trades` does of a frame that was read before; None where that fails, or a row is odd.

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


def parse_runs(frame: bytes, *, checked: bool = False) -> list[Run]:
    """Return the runs of ids in one v2 trade frame. Raises Malformed exactly where :func:`parse_trades` does.

    These are the recorder's claims from a frame, at two thirds of the cost of its trades.
    """
    found: list[Run] = []
    pair, first, last, first_us, last_us = "", 0, -1, 0, 0
    try:
        stamp, time_us = None, 0
        for entry in _decode(frame, checked=checked).data or ():
            if entry.timestamp != stamp:  # most trades of a sweep share one
                stamp, time_us = entry.timestamp, micros(entry.timestamp)
            trade_id = entry.trade_id
            if trade_id != last + 1 or entry.symbol != pair:
                if last > 0:
                    found.append(Run(pair, Span(first, last), first_us, last_us))
                pair, first, first_us = entry.symbol, trade_id, time_us
            last, last_us = trade_id, time_us
    except wire.UNREADABLE as error:
        raise _malformed(error) from error
    if last > 0:
        found.append(Run(pair, Span(first, last), first_us, last_us))
    return found


def salvage_trades(frame: bytes, *, received_ns: int) -> SalvagedRows:
    """Read the rows of one v2 trade frame one by one. Raises Malformed if none can be read.

    A malformed row costs only itself. This is many times slower than :func:`parse_trades`, which refuses such frames.
    """
    try:
        content = wire.raw_frame(frame)
    except wire.UNREADABLE as error:
        raise _malformed(error) from error
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

    trades, odd = one_by_one(content.data or (), read, _pair_and_id)
    if odd and not trades:
        raise Malformed(f"a trade frame that cannot be read: {odd[0].reason}")
    return SalvagedRows(trades, odd)


def salvage_runs(frame: bytes) -> tuple[list[Run], Sequence[OddRow]]:
    """Return the runs of the readable rows of a frame, and the other rows. Raises Malformed if none can be read."""
    found = salvage_trades(frame, received_ns=0)
    return runs_of(found.trades), found.odd


def _received_us(kind: str | None, received_ns: int) -> int | None:
    return None if kind == "snapshot" else received_ns // 1000


def _pair_and_id(raw: msgspec.Raw) -> tuple[str | None, int | None]:
    pair = optional(wire.named, raw)
    numbered = optional(wire.numbered, raw)
    return None if pair is None else pair.symbol, None if numbered is None else numbered.trade_id


def _decode(frame: bytes, *, checked: bool) -> wire.TradeFrame:
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


def _malformed(error: Exception) -> Malformed:
    return Malformed(f"a trade frame that cannot be read: {describe(error)}")


def only_rows(frame: bytes, wanted: Callable[[str], bool]) -> bytes | None:
    """Return a trade frame with only the rows whose symbol is ``wanted``, byte for byte; None if there are none.

    A row whose symbol cannot be read stays.
    """
    return frame_rows.only("trade", frame, wanted)


def first_pair(frame: bytes) -> str | None:
    """Return the pair of the first trade in a trade frame, without parsing it: a tenth of the cost.

    None if the frame has another form than Kraken's, or no trades.
    """
    found = _FIRST_PAIR.match(frame)
    return found[1].decode() if found else None
