"""The server's side of one WebSocket v2 connection: a frame and a time in, frames out (API.md 8).

Contains subscriptions, acknowledgements and refusals. Does not know sockets, queues and clocks, which are in
``clients``, nor the differences between channels, which are in ``channels``. Where Kraken's texts are not established
(malformed JSON, unknown method or channel), this uses its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from recorder.sandbox import wire_format
from recorder.sandbox.channels import TRADES, Channel, SubscriptionRefused
from recorder.sandbox.exchange_status import StatusMessage
from recorder.sandbox.market_protocol import MarketProtocol

if TYPE_CHECKING:  # only tests inject faults: a sandbox that is merely served does not load them
    from recorder.sandbox.fault_injection.injected_faults import InjectedFaults

HANDLING_NS: Final = 40_000
"""From time_in to time_out, as in the captures."""
HEARTBEAT: Final = '{"channel":"heartbeat"}'
PONG: Final = '{"method":"pong"'
"""The beginning of the answer to a ping message."""

_PRIVATE: Final = ("executions", "balances")
_WELL_FORMED: Final = re.compile(r"[A-Z0-9.]+/[A-Z0-9.]+")


class Connection:
    """The server's state for one client. Each method returns the frames to send, in order.

    ``rejected`` pairs are refused like unlisted ones, others as the ``injected`` faults decide. Those that are
    ``silent`` get no snapshot.
    """

    def __init__(
        self,
        venue: MarketProtocol,
        *,
        connection_id: int,
        channels: Sequence[Channel] = (TRADES,),
        status: Callable[[], StatusMessage] = StatusMessage,
        rejected: Container[str] = (),
        injected: Callable[[], InjectedFaults | None] = lambda: None,
        silent: Callable[[Collection[str]], bool] = lambda _: False,
    ) -> None:
        self._venue = venue
        self._connection_id = connection_id
        self._status = status
        self._rejected = rejected
        self._injected = injected
        self._silent = silent
        # Of each channel the symbols, each with what its subscription asked for.
        self._followed: dict[Channel, dict[str, Mapping[str, Any]]] = {channel: {} for channel in channels}

    @property
    def symbols(self) -> set[str]:
        """v2 symbols that this client follows, on any channel."""
        return set[str]().union(*self._followed.values())

    @property
    def connection_id(self) -> int:
        """The number that the status frame names."""
        return self._connection_id

    def followed(self, channel: Channel) -> Collection[str]:
        """Return the symbols that this client follows on a channel."""
        return self._followed[channel].keys()

    def follows(self, channel: Channel, symbols: Collection[str], requires: Mapping[str, Any] | None = None) -> bool:
        """Return whether this client follows one of ``symbols`` on a channel, with what a frame ``requires``."""
        followed = self._followed[channel]
        if not requires:
            return not followed.keys().isdisjoint(symbols)
        return any(requires.items() <= followed[symbol].items() for symbol in symbols if symbol in followed)

    def opened(self) -> list[str]:
        """Return the greeting: the status frame is sent before any request."""
        return [self.status()]

    def status(self) -> str:
        """Return the current status frame."""
        return self._status().frame(self._connection_id)

    def receive(self, text: str, *, now_ns: int) -> list[str]:
        """Return the answers to one frame of the client. However invalid it is, the connection stays open."""
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
        try:
            channel, accepted = self._accepted(params)
        except SubscriptionRefused as refusal:
            return [answer.failure(str(refusal))]
        injected = self._injected()
        refusals = None if injected is None else injected.entry
        if refusals is not None and (text := refusals.message(params["symbol"])) is not None:
            return [answer.failure(text)] if text else []
        followed = self._followed[channel]
        acks, snapshots = [], []
        for symbol in params["symbol"]:
            text = None if refusals is None else refusals.symbol(symbol)
            if text is not None:
                acks += [answer.failure(text, symbol)] if text else []
            elif symbol not in self._venue.listing and not _WELL_FORMED.fullmatch(symbol):
                acks.append(answer.failure(f"Currency pair not in ISO 4217-A3 format {symbol}", symbol))
            elif symbol not in self._venue.listing or symbol in self._rejected:
                acks.append(answer.failure(f"Currency pair not supported {symbol}", symbol))
            elif symbol in followed:
                acks.append(answer.failure("Already subscribed", symbol))
            else:
                followed[symbol] = accepted
                acks.append(answer.done(channel, symbol, accepted))
                if accepted["snapshot"] and not self._silent((symbol,)):
                    snapshots.append(channel.snapshot(self._venue.tapes[symbol], accepted))
                self._venue.wanted(symbol, answer.now_ns)
        return acks + snapshots

    def _unsubscribe(self, answer: _Answer, params: dict[str, Any]) -> list[str]:
        try:
            channel, accepted = self._accepted(params)
        except SubscriptionRefused as refusal:
            return [answer.failure(str(refusal))]
        del accepted["snapshot"]
        followed = self._followed[channel]
        acks = []
        for symbol in params["symbol"]:
            if symbol in followed:
                del followed[symbol]
                acks.append(answer.done(channel, symbol, accepted))
            else:
                # Kraken labels this refusal a subscribe.
                acks.append(answer.failure("Subscription Not Found", symbol, method="subscribe"))
        return acks

    def _accepted(self, params: dict[str, Any]) -> tuple[Channel, dict[str, Any]]:
        """Return the requested channel, and the params in its acknowledgement. Raise SubscriptionRefused."""
        name = params.get("channel")
        if name in _PRIVATE:
            raise SubscriptionRefused(
                "Private data and trading are unavailable on this endpoint. Try ws-auth.kraken.com"
            )
        for channel in self._followed:
            if channel.name == name:
                return channel, channel.accepted(params)
        raise SubscriptionRefused(f"Malformed request: the sandbox has no channel {name!r}")


class _Answer:
    """The envelope shared by all answers to one request: the same two stamps, and its req_id if it had one."""

    def __init__(self, request: dict[str, Any], now_ns: int) -> None:
        self.now_ns = now_ns
        self._method = request.get("method")
        self._req_id = {"req_id": request["req_id"]} if "req_id" in request else {}

    def done(self, channel: Channel, symbol: str, accepted: dict[str, Any]) -> str:
        # The keys are alphabetical (API.md 8.2).
        result = dict(sorted({"channel": channel.name, "symbol": symbol, **accepted}.items()))
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
    return {"time_in": wire_format.stamp_us(now_ns), "time_out": wire_format.stamp_us(now_ns + HANDLING_NS)}


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)
