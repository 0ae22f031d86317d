"""Malformed rows on demand, in frames, pages and candles alike: fields with wrong values, or missing fields.

Contains which rows are malformed, and how. They are changed as text when they are sent: the stored trade stays
unchanged. All faults last until released, except those of quotes, which have no ids: they are for so many rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from recorder.errors import UsageError

Where = Literal["rest", "stream", "both"]
WHERE: Final[tuple[Where, ...]] = ("both", "rest", "stream")
FIELDS: Final[Mapping[str, int]] = {
    "price": 0,
    "qty": 1,
    "timestamp": 2,
    "side": 3,
    "ord_type": 4,
    "misc": 5,
    "trade_id": 6,
}
"""Field of a trade → its place in a row of REST; the stream has no ``misc``."""
CANDLE_FIELDS: Final[Mapping[str, int]] = {
    name: at for at, name in enumerate(("time", "open", "high", "low", "close", "vwap", "volume", "count"))
}
QUOTE_FIELDS: Final = ("symbol", "bid", "bid_qty", "ask", "ask_qty", "last", "timestamp")
"""Fields of a quote that a recorder stores."""
ROW: Final = "row"
"""Stands for the whole row."""
_ROW: Final = re.compile(r"\[[^\[\]]*\]")
_TICKER: Final = b'{"channel":"ticker",'
_ENTRY: Final = re.compile(r"\{[^{}]*\}")


class RowFaults:
    """The malformed rows. ``text`` is the JSON of a field, empty to leave the field out."""

    def __init__(self) -> None:
        self._rest: dict[str, dict[int, tuple[str, str]]] = {}
        self._stream: dict[str, dict[int, tuple[str, str]]] = {}
        self._candles: dict[str, dict[int, tuple[str, str]]] = {}
        self._quotes: dict[str, list[tuple[str, str]]] = {}

    def quote(self, symbol: str, field: str, text: str, n: int = 1) -> None:
        """Send the next ``n`` rows of the ticker of a pair with this text in a field. Raise UsageError likewise."""
        if (field not in QUOTE_FIELDS and field != ROW) or n < 1:
            known = f"{', '.join(QUOTE_FIELDS)}, or {ROW}; n must be 1 or more"
            raise UsageError(f"a quote has no field {field!r} for {n} rows; there are {known}")
        self._quotes.setdefault(symbol, []).extend([(field, text)] * n)

    def trade(self, symbol: str, trade_id: int, field: str, text: str, where: Where = "both") -> None:
        """Send a trade with this text in a field. Raise UsageError for an unknown field."""
        if (field not in FIELDS and field != ROW) or where not in WHERE:
            known = f"{', '.join(FIELDS)}, or {ROW}; where: {', '.join(WHERE)}"
            raise UsageError(f"a trade has no field {field!r} {where}; there are {known}")
        if where != "stream":
            self._rest.setdefault(symbol, {})[trade_id] = field, text
        if where != "rest" and field != "misc":
            self._stream.setdefault(symbol, {})[trade_id] = field, text

    def candle(self, symbol: str, start_s: int, field: str, text: str) -> None:
        """Send every candle that begins then with this text in a field. Raise UsageError as :meth:`trade` does."""
        if field not in CANDLE_FIELDS and field != ROW:
            raise UsageError(f"a candle has no field {field!r}; there are {', '.join(CANDLE_FIELDS)}, or {ROW}")
        self._candles.setdefault(symbol, {})[start_s] = field, text

    def release(self) -> None:
        """Send all rows unchanged."""
        for odd in (self._rest, self._stream, self._candles):
            odd.clear()
        self._quotes.clear()

    def in_page(self, symbol: str, rows: str) -> str:
        """Return the rows of a page of trades as they are sent."""
        return _spoilt(rows, self._rest.get(symbol), at=-1, fields=FIELDS)

    def in_candles(self, symbol: str, rows: str) -> str:
        """Return the rows of an answer with candles as they are sent."""
        return _spoilt(rows, self._candles.get(symbol), at=0, fields=CANDLE_FIELDS)

    def in_frame(self, payload: bytes) -> bytes:
        """Return a frame of the stream as it is sent."""
        if self._quotes and payload.startswith(_TICKER):
            odd = self._odd_quote
        elif self._stream and b'"trade_id":' in payload:
            odd = self._odd_trade
        else:
            return payload

        def sent(found: re.Match[str]) -> str:
            entry = json.loads(found[0], parse_float=_Verbatim, parse_int=_Verbatim)
            field, text = odd(entry)
            if field == ROW:
                return text
            printed = {
                name: str(value) if isinstance(value, _Verbatim) else json.dumps(value) for name, value in entry.items()
            }
            if field:
                printed[field] = text
            return "{" + ",".join(f'"{name}":{value}' for name, value in printed.items() if value) + "}"

        return _ENTRY.sub(sent, payload.decode()).encode()

    def _odd_trade(self, entry: Mapping[str, Any]) -> tuple[str, str]:
        return self._stream.get(entry.get("symbol", ""), {}).get(int(entry.get("trade_id", 0)), ("", ""))

    def _odd_quote(self, entry: Mapping[str, Any]) -> tuple[str, str]:
        waiting = self._quotes.get(entry.get("symbol", ""))
        return waiting.pop(0) if waiting else ("", "")


class _Verbatim(str):
    """A number with its exact text."""

    __slots__ = ()


def _spoilt(rows: str, odd: Mapping[int, tuple[str, str]] | None, *, at: int, fields: Mapping[str, int]) -> str:
    if not odd:
        return rows

    def sent(found: re.Match[str]) -> str:
        parts = found[0][1:-1].split(",")
        field, text = odd.get(int(parts[at]), ("", ""))
        if field == ROW:
            return text
        if field:
            parts[fields[field]] = text
        return f"[{','.join(part for part in parts if part)}]"

    return _ROW.sub(sent, rows)
