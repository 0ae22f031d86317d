"""The server's half of one WebSocket v2 connection: a frame and a moment in, frames out (API.md 8).

Owns subscriptions, acknowledgements, snapshots and refusals. Refuses sockets, queues and clocks: ``clients`` is the
rim. Where the texts of Kraken are not established (malformed JSON, unknown method or channel), this says so itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Container
from typing import Any, Final

from recorder.sandbox import wire
from recorder.sandbox.status import Told
from recorder.sandbox.venue import Venue

SNAPSHOT_TRADES: Final = 50
"""Trades in the snapshot after a subscription (API.md 8.5)."""
HANDLING_NS: Final = 40_000
"""From time_in to time_out, as in the captures."""
HEARTBEAT: Final = '{"channel":"heartbeat"}'

_PRIVATE: Final = ("executions", "balances")
_WELL_FORMED: Final = re.compile(r"[A-Z0-9.]+/[A-Z0-9.]+")


class Connection:
    """What the server knows of one client. Each method returns the frames to send, in order.

    ``rejected`` pairs are refused like unlisted ones. Those that are ``silent`` get no snapshot.
    """

    def __init__(
        self,
        venue: Venue,
        *,
        connection_id: int,
        status: Callable[[], Told] = Told,
        rejected: Container[str] = (),
        silent: Callable[[Collection[str]], bool] = lambda _: False,
    ) -> None:
        self._venue = venue
        self._connection_id = connection_id
        self._status = status
        self._rejected = rejected
        self._silent = silent
        self.symbols: set[str] = set()
        """v2 symbols whose trades this client follows."""

    def opened(self) -> list[str]:
        """Greet: the status frame comes before anything is asked."""
        return [self.status()]

    def status(self) -> str:
        """Return the status frame of this moment."""
        return self._status().frame(self._connection_id)

    def receive(self, text: str, *, now_ns: int) -> list[str]:
        """Answer one frame of the client. However wrong it is, the connection stays open."""
        try:
            request = json.loads(text)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            return [_failure("Malformed request: not a JSON object", now_ns=now_ns)]
        answer = _Answer(request, now_ns)
        params = request.get("params")
        match request.get("method"):
            case "ping":
                return [answer.pong()]
            case "subscribe" if isinstance(params, dict):
                return self._subscribe(answer, params)
            case "unsubscribe" if isinstance(params, dict):
                return self._unsubscribe(answer, params)
            case method:
                return [answer.failure(f"Malformed request: cannot do {method!r} with these params")]

    def _subscribe(self, answer: _Answer, params: dict[str, Any]) -> list[str]:
        channel, symbols, snapshot = params.get("channel"), _symbols(params), params.get("snapshot", False)
        if refusal := _refused(channel, symbols):
            return [answer.failure(refusal)]
        acks, snapshots = [], []
        for symbol in symbols or ():
            if not _WELL_FORMED.fullmatch(symbol):
                acks.append(answer.failure(f"Currency pair not in ISO 4217-A3 format {symbol}", symbol))
            elif symbol not in self._venue.listing or symbol in self._rejected:
                acks.append(answer.failure(f"Currency pair not supported {symbol}", symbol))
            elif symbol in self.symbols:
                acks.append(answer.failure("Already subscribed", symbol))
            else:
                self.symbols.add(symbol)
                acks.append(answer.done({"channel": "trade", "snapshot": snapshot is True, "symbol": symbol}))
                if snapshot is True and not self._silent((symbol,)):
                    snapshots.append(wire.snapshot_frame(self._venue.tapes[symbol], SNAPSHOT_TRADES))
                self._venue.wanted(symbol, answer.now_ns)
        return acks + snapshots

    def _unsubscribe(self, answer: _Answer, params: dict[str, Any]) -> list[str]:
        channel, symbols = params.get("channel"), _symbols(params)
        if refusal := _refused(channel, symbols):
            return [answer.failure(refusal)]
        acks = []
        for symbol in symbols or ():
            if symbol in self.symbols:
                self.symbols.remove(symbol)
                acks.append(answer.done({"channel": "trade", "symbol": symbol}))
            else:
                # Kraken calls this refusal one of a subscribe.
                acks.append(answer.failure("Subscription Not Found", symbol, method="subscribe"))
        return acks


def _symbols(params: dict[str, Any]) -> list[str] | None:
    symbols = params.get("symbol")
    if isinstance(symbols, list) and symbols and all(isinstance(symbol, str) for symbol in symbols):
        return symbols
    return None


def _refused(channel: object, symbols: list[str] | None) -> str | None:
    if channel in _PRIVATE:
        return "Private data and trading are unavailable on this endpoint. Try ws-auth.kraken.com"
    if channel != "trade":
        return f"Malformed request: the sandbox has no channel {channel!r}"
    return None if symbols else "Malformed request: symbol is a list of texts"


class _Answer:
    """The envelope that all answers to one request share: the same two stamps, and its req_id if it had one."""

    def __init__(self, request: dict[str, Any], now_ns: int) -> None:
        self.now_ns = now_ns
        self._method = request.get("method")
        self._req_id = {"req_id": request["req_id"]} if "req_id" in request else {}

    def done(self, result: dict[str, Any]) -> str:
        return _json(
            {"method": self._method, **self._req_id, "result": result, "success": True, **_stamps(self.now_ns)}
        )

    def pong(self) -> str:
        return _json({"method": "pong", **self._req_id, **_stamps(self.now_ns)})

    def failure(self, error: str, symbol: str | None = None, *, method: str | None = None) -> str:
        about = {} if symbol is None else {"symbol": symbol}
        named = {"method": method or self._method, **self._req_id}
        return _failure(error, named=named, about=about, now_ns=self.now_ns)


def _failure(
    error: str, *, now_ns: int, named: dict[str, Any] | None = None, about: dict[str, str] | None = None
) -> str:
    return _json({"error": error, **(named or {}), "success": False, **(about or {}), **_stamps(now_ns)})


def _stamps(now_ns: int) -> dict[str, str]:
    return {"time_in": wire.stamp_us(now_ns), "time_out": wire.stamp_us(now_ns + HANDLING_NS)}


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)
