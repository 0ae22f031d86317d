"""Trades as a stream of text: each once it is durable, strictly by id per pair, as NDJSON or as server-sent events.

A stream begins behind a cursor, the map of the last id of each pair, such as ``BTC/USD:123,ETH/USD:45``; every event
carries the map after it as its id, so that whoever reconnects resumes exactly. While a pair waits for missing ids, that
is reported once a second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Literal

import msgspec

from recorder.clock import Clock
from recorder.core.model import plain
from recorder.core.trade_ids import Span
from recorder.errors import UsageError
from recorder.query.follow import Follower, LiveTrade

Form = Literal["ndjson", "sse"]

PAIRS: Final = 100
"""The maximum number of pairs of one stream: the map of their ids must fit in a header."""
REPORT_S: Final = 1.0
"""Seconds between two lines about missing ids, and between two signs of life of a stream of events."""


def cursor_of(after: Mapping[str, int]) -> str:
    """Return the text of a cursor.

    >>> cursor_of({"BTC/USD": 123, "ETH/USD": 45})
    'BTC/USD:123,ETH/USD:45'
    """
    return ",".join(f"{pair}:{trade_id}" for pair, trade_id in after.items())


def parsed_cursor(text: str) -> dict[str, int]:
    """Return the map of a cursor. Raise UsageError if the text is none.

    >>> parsed_cursor("BTC/USD:123,ETH/USD:45")
    {'BTC/USD': 123, 'ETH/USD': 45}
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        pair, colon, number = part.strip().rpartition(":")
        if not colon or not pair or not number.isascii() or not number.isdigit() or len(number) > 18:
            raise UsageError(f"{part!r} is no place to resume from: write a pair and an id, such as BTC/USD:123")
        found[pair] = int(number)
    return found


def trade_fields(trade: LiveTrade) -> dict[str, Any]:
    """Return a trade in plain values; ``skipped`` only where ids were passed over."""
    fields = {
        "pair": trade.pair,
        "trade_id": trade.trade_id,
        "time": trade.time,
        "price": plain(trade.price),
        "qty": plain(trade.qty),
        "side": trade.side,
        "ord_type": trade.ord_type,
        "misc": trade.misc,
        "source": trade.source,
        "received": trade.received,
    }
    return {**fields, "skipped": trade.skipped} if trade.skipped else fields


async def lines(follower: Follower, form: Form, clock: Clock) -> AsyncIterator[bytes]:
    """Yield what the stream sends, in pieces, for ever."""
    encode = _as_event if form == "sse" else _as_line
    reported_s = clock.monotonic()
    after = follower.after
    while True:
        batch = await follower.batch()
        piece = []
        for trade in batch:
            after[trade.pair] = trade.trade_id
            piece.append(encode("trade", trade_fields(trade), after))
        now_s = clock.monotonic()
        if now_s - reported_s >= REPORT_S:
            reported_s = now_s
            if waiting := follower.waiting:
                piece.append(encode("waiting", {"waiting": _spans(waiting)}, after))
            elif form == "sse" and not batch:
                piece.append(b":\n\n")  # a sign of life, which every client passes over
        if piece:
            yield b"".join(piece)


def _spans(waiting: Mapping[str, Span]) -> dict[str, list[int]]:
    return {pair: [span.first, span.last] for pair, span in waiting.items()}


def _as_line(_kind: str, content: Mapping[str, Any], _after: Mapping[str, int]) -> bytes:
    return msgspec.json.encode(content) + b"\n"


def _as_event(kind: str, content: Mapping[str, Any], after: Mapping[str, int]) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (
        cursor_of(after).encode(),
        kind.encode(),
        msgspec.json.encode(content),
    )
