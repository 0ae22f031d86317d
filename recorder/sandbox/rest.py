"""The public REST answers: a path, a query and a time in, the text of the body out (API.md 2, 3, 5, 6).

Contains what Kraken would answer. Does not know HTTP: status codes, headers and the edge's own refusals are in
``rest_frontend``. Every answer is one that is sent with HTTP 200: failures are in ``error``, without ``result``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from recorder.sandbox import book, wire_format
from recorder.sandbox.candles import INTERVALS, CandleSeries
from recorder.sandbox.exchange_status import StatusMessage
from recorder.sandbox.market_protocol import MarketProtocol
from recorder.sandbox.pairs import USUAL_CLASS, Pair
from recorder.sandbox.ticker import Ticker

if TYPE_CHECKING:  # only tests inject faults: a sandbox that is merely served does not load them
    from recorder.sandbox.fault_injection.injected_faults import InjectedFaults

PAGE_LIMIT: Final = 1000
"""Rows of one Trades page; a request for more gets this many and is not refused (API.md 6.7)."""
FRACTION_SLACK_NS: Final = 10_000_000
"""How much too early a ``since`` in fractions of seconds is read, as was seen live (API.md 6.7)."""

_NS: Final = 1_000_000_000
_INTERVALS: Final = {str(minutes): minutes for minutes in INTERVALS}
_LEAST_NS: Final = 10**12
"""``since`` from here on is nanoseconds, below it seconds: the unit is guessed from the magnitude."""


class _Failure(Exception):
    """An answer with one entry in ``error``."""


UNKNOWN_METHOD: Final = "EGeneral:Unknown method"
UNKNOWN_PAIR: Final = "EQuery:Unknown asset pair"
INVALID: Final = "EGeneral:Invalid arguments"


class Rest:
    """The public REST API over one market.

    ``inclusive`` is whether ``since`` includes a trade of that very nanosecond: the newest observations say yes, the
    documentation says no, so a client has to handle both. ``inclusive_ohlc`` is the same for candles, where the
    observations contradict each other. The market must have made its trades up to the ``now_ns`` of a request: candles
    that end before it are committed, and must not change.
    """

    def __init__(
        self,
        venue: MarketProtocol,
        *,
        inclusive: bool = True,
        inclusive_ohlc: bool = True,
        status: Callable[[], StatusMessage] = StatusMessage,
        injected: Callable[[], InjectedFaults | None] = lambda: None,
    ) -> None:
        self._venue = venue
        self._inclusive = inclusive
        self._inclusive_ohlc = inclusive_ohlc
        self._status = status
        self._injected = injected
        self._candles: dict[tuple[str, int], CandleSeries] = {}
        self._tickers: dict[str, Ticker] = {}
        self._methods: dict[str, Callable[[Mapping[str, str], int], str]] = {
            "Time": self._time,
            "SystemStatus": lambda _query, now_ns: self._status().answer(now_ns),
            "AssetPairs": self._asset_pairs,
            "Ticker": self._ticker,
            "OHLC": self._ohlc,
            "Trades": self._trades,
            "Depth": self._depth,
        }

    def answer(self, method: str, query: Mapping[str, str], *, now_ns: int) -> str:
        """Return the body for ``/0/public/<method>``. Parameters that Kraken does not know are ignored."""
        handler = self._methods.get(method)
        if handler is None:
            return failure(UNKNOWN_METHOD)
        try:
            return f'{{"error":[],"result":{handler(query, now_ns)}}}'
        except _Failure as failed:
            return failure(str(failed))

    def candles(self, symbol: str, minutes: int) -> CandleSeries:
        """Return the candles of a pair that the market has, by v2 symbol and interval."""
        tape, known = self._venue.tapes[symbol], self._candles.get((symbol, minutes))
        if known is None or known.tape is not tape:
            known = self._candles[symbol, minutes] = CandleSeries(tape, minutes)
        return known

    def _time(self, _query: Mapping[str, str], now_ns: int) -> str:
        now = datetime.fromtimestamp(now_ns // _NS, UTC)
        return _json({"unixtime": now_ns // _NS, "rfc1123": now.strftime("%a, %d %b %y %H:%M:%S +0000")})

    def _asset_pairs(self, query: Mapping[str, str], _now_ns: int) -> str:
        display = query.get("assetVersion") == "1"
        wanted, asset_class = query.get("pair"), query.get("aclass_base", USUAL_CLASS)
        injected = self._injected()
        if wanted is None:
            listed = [pair for pair in self._of(asset_class) if injected is None or not injected.quirks.lacks(pair)]
            chosen = [(pair, pair.key) for pair in listed]
        else:
            chosen = [self._find(name, asset_class) for name in wanted.split(",")]
        entries: list[str] = []
        for pair, key in chosen:
            fields = {**pair.fields, **_display_codes(pair)} if display else pair.fields
            name = pair.symbol if display else key
            if injected is None:
                entries.append(f"{json.dumps(name)}:{_json(fields)}")
            else:
                entries += injected.quirks.entries(pair, name, fields)
        return f"{{{','.join(entries)}}}"

    def _ticker(self, query: Mapping[str, str], now_ns: int) -> str:
        asset_class = query.get("asset_class", USUAL_CLASS)
        if "pair" in query:
            requested = [self._find(name, asset_class) for name in query["pair"].split(",")]
        else:
            requested = [(pair, pair.key) for pair in self._of(asset_class)]
        return _json({key: self._ticker_of(pair.symbol).entry(now_ns) for pair, key in requested})

    def _ticker_of(self, symbol: str) -> Ticker:
        tape, known = self._venue.tapes[symbol], self._tickers.get(symbol)
        if known is None or known.tape is not tape:
            known = self._tickers[symbol] = Ticker(tape)
        return known

    def _ohlc(self, query: Mapping[str, str], now_ns: int) -> str:
        if "pair" not in query:
            raise _Failure(INVALID)
        pair, key = self._find(query["pair"], query.get("asset_class", USUAL_CLASS))
        candles = self.candles(pair.symbol, _interval(query.get("interval")))
        since_s = _since_s(query["since"]) if "since" in query else None
        rows = candles.window(now_ns, since_s=since_s, inclusive=self._inclusive_ohlc)
        printed = ",".join(wire_format.candle_row(candles.tape, candle) for candle in rows)
        if (injected := self._injected()) is not None:
            printed = injected.rows.in_candles(pair.symbol, printed)
        return f'{{{self._beside()}"{key}":[{printed}],"last":{candles.committed_s if rows else 0}}}'

    def _trades(self, query: Mapping[str, str], _now_ns: int) -> str:
        if "pair" not in query:
            raise _Failure(INVALID)
        pair, key = self._find(query["pair"], query.get("asset_class", USUAL_CLASS))
        count = _count(query.get("count"))
        tape = self._venue.tapes[pair.symbol]
        since_ns = _since_ns(query["since"]) if "since" in query else None
        span = tape.newest(count) if since_ns is None else tape.page(since_ns, count=count, inclusive=self._inclusive)
        if span is None:
            return f'{{{self._beside()}"{key}":[],"last":"{since_ns or 0}"}}'
        rows = ",".join(wire_format.rest_rows(tape, span))
        if (injected := self._injected()) is not None:
            rows = injected.rows.in_page(pair.symbol, rows)
        return f'{{{self._beside()}"{key}":[{rows}],"last":"{tape.time_ns(span.last)}"}}'

    def _beside(self) -> str:
        """Return the injected fields before the rows of an answer."""
        injected = self._injected()
        return "" if injected is None else injected.quirks.fields()

    def _depth(self, query: Mapping[str, str], now_ns: int) -> str:
        if "pair" not in query:
            raise _Failure(INVALID)
        pair, key = self._find(query["pair"], query.get("asset_class", USUAL_CLASS))
        count = query.get("count", "100")
        if not count.isdecimal() or not 1 <= int(count) <= book.DEEPEST:
            raise _Failure(INVALID)
        return _json({key: book.depth(self._venue.tapes[pair.symbol], int(count), now_ns)})

    def _of(self, asset_class: str) -> list[Pair]:
        return [pair for pair in self._venue.listing.pairs if pair.asset_class == asset_class]

    def _find(self, name: str, asset_class: str) -> tuple[Pair, str]:
        """Return the pair, and its key in the answer: the v2 symbol if that was requested.

        A pair of a class that was not named is unknown (API.md 16.1).
        """
        pair = self._venue.listing.named(name)
        if pair is None or pair.asset_class != asset_class:
            raise _Failure(UNKNOWN_PAIR)
        return pair, pair.symbol if "/" in name else pair.key


def failure(error: str) -> str:
    """Return the body of a refusal.

    >>> failure("EGeneral:Too many requests")
    '{"error":["EGeneral:Too many requests"]}'
    """
    return _json({"error": [error]})


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))


def _display_codes(pair: Pair) -> dict[str, str]:
    base, quote = pair.symbol.split("/")
    return {"base": base, "quote": quote}


def _count(text: str | None) -> int:
    if text is None:
        return PAGE_LIMIT
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise _Failure(f"{INVALID}:count")
    return min(int(text), PAGE_LIMIT)


def _interval(text: str | None) -> int:
    if text is None:
        return 1
    if text not in _INTERVALS:
        raise _Failure(INVALID)
    return _INTERVALS[text]


def _since_s(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= _LEAST_NS:
        raise _Failure(f"{INVALID}:since")
    return int(text)


def _since_ns(text: str) -> int:
    try:
        since = Decimal(text)
        whole = since == since.to_integral_value()
    except InvalidOperation:
        raise _Failure(f"{INVALID}:since") from None
    if not since.is_finite() or not 0 <= since < 2**63:
        raise _Failure(f"{INVALID}:since")
    if since >= _LEAST_NS:
        return int(since)
    return int(since * _NS) - (0 if whole else FRACTION_SLACK_NS)
