"""Scripts of a session: what it is given, and the effects it must answer with, in one line each.

::

    script = play(Session(TRADES, ["BTC/USD"])) >> opened << asks("BTC/USD")
    assert script >> ack("BTC/USD") << answer << stands("BTC/USD")

``>>`` gives the session a frame, :data:`opened`, pairs to :class:`add` or :class:`drop`, or a :class:`tick` (so many
seconds later); ``<<`` takes its next effect, which must equal what stands there, or satisfy it where it is a question.
No effect may be left over.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from recorder.core.model import Trade
from recorder.core.trade_ids import runs_of
from recorder.kraken import timestamps, trade_frames
from recorder.kraken.channels import TRADES
from recorder.kraken.websocket_session import (
    Effect,
    Hangup,
    Rejected,
    Send,
    Session,
    Subscribed,
    TradeRows,
    UnknownFrame,
    UnreadableFrame,
)

RECEIVED_NS: Final = 1_783_465_205_562_702_999
HEARTBEAT = '{"channel":"heartbeat"}'
BTC = "BTC/USD"
ETH = "ETH/USD"
XRP = "XRP/USD"


@dataclass(frozen=True)
class Opened:
    """The connection is open."""


@dataclass(frozen=True)
class tick:  # noqa: N801 -- reads as the word that it is
    """So many seconds pass."""

    seconds: float


class add:  # noqa: N801
    """Pairs come."""

    def __init__(self, *symbols: str) -> None:
        self.symbols = symbols


class drop(add):  # noqa: N801
    """Pairs go."""


@dataclass(frozen=True)
class like:  # noqa: N801
    """An effect that satisfies ``test``."""

    what: str
    test: Callable[[Effect], bool]


opened: Final = Opened()


class play:  # noqa: N801
    """See the module."""

    def __init__(self, session: Session, *, now_s: float = 100.0) -> None:
        self.session = session
        self.now_s = now_s
        self._effects: list[Effect] = []

    def __rshift__(self, step: Opened | tick | add | bytes | str) -> play:
        assert not self._effects, f"before {step!r} nobody expected {self._effects}"
        match step:
            case Opened():
                self._effects = list(self.session.opened(self.now_s))
            case tick(seconds):
                self.now_s += seconds
                self._effects = list(self.session.tick(self.now_s))
            case drop():
                self._effects = list(self.session.drop(step.symbols))
            case add():
                self._effects = list(self.session.add(step.symbols, self.now_s))
            case _:
                frame = step.encode() if isinstance(step, str) else step
                self._effects = list(self.session.receive(frame, self.now_s, received_ns=RECEIVED_NS))
        return self

    def __lshift__(self, expected: Effect | like) -> play:
        assert self._effects, f"{expected} was expected, and nothing came"
        effect = self._effects.pop(0)
        if isinstance(expected, like):
            assert expected.test(effect), f"{expected.what} was expected, not {effect}"
        else:
            assert effect == expected
        return self

    def __bool__(self) -> bool:
        assert not self._effects, f"in the end nobody expected {self._effects}"
        return True


def asks(*symbols: str) -> like:
    """A subscription to exactly these symbols, with its snapshot asked for."""

    def test(effect: Effect) -> bool:
        if not isinstance(effect, Send):
            return False
        message = json.loads(effect.text)
        params = {"channel": "trade", "symbol": list(symbols), "snapshot": True}
        return bool(message == {"method": "subscribe", "params": params, "req_id": message.get("req_id")})

    return like(f"a subscription to {symbols}", test)


def leaves(*symbols: str) -> like:
    """The end of the subscription to exactly these symbols."""

    def test(effect: Effect) -> bool:
        if not isinstance(effect, Send):
            return False
        message = json.loads(effect.text)
        params = {"channel": "trade", "symbol": list(symbols)}
        return bool(message == {"method": "unsubscribe", "params": params, "req_id": message.get("req_id")})

    return like(f"the end of a subscription to {symbols}", test)


def pings() -> like:
    """A ping."""
    return like("a ping", lambda effect: isinstance(effect, Send) and json.loads(effect.text)["method"] == "ping")


def hangs_up(because: str) -> like:
    """A hang-up whose reason says ``because``."""
    return like(f"a hang-up: {because}", lambda effect: isinstance(effect, Hangup) and because in effect.reason)


def is_unreadable(because: str) -> like:
    """A frame that could not be read, and why."""
    return like(
        f"unreadable: {because}", lambda effect: isinstance(effect, UnreadableFrame) and because in effect.reason
    )


def is_rejected(pair: str | None, because: str) -> like:
    """A refusal of ``pair`` alone (None: nobody can tell of which), and why."""
    pairs = () if pair is None else (pair,)
    return like(
        f"a refusal of {pair}: {because}",
        lambda effect: isinstance(effect, Rejected) and effect.pairs == pairs and because in effect.reason,
    )


def puts_off(*pairs: str, seconds: float) -> like:
    """A refusal of exactly these pairs, which are asked for again so much later."""
    return like(
        f"a refusal of {pairs} for {seconds} s",
        lambda effect: isinstance(effect, Rejected) and effect.pairs == pairs and effect.retry_s == seconds,
    )


def has_trades(*trades: tuple[str, int]) -> like:
    """Rows of exactly these (pair, trade_id), in this order."""
    return like(
        f"rows {trades}",
        lambda effect: (
            isinstance(effect, TradeRows)
            and [(row.pair, row.trade_id) for row in rows_of(effect)] == list(trades)
            and effect.runs == runs_of(rows_of(effect))
        ),
    )


def rows_of(effect: Effect) -> list[Trade]:
    """Return the trades of the frame that came."""
    assert isinstance(effect, TradeRows), effect
    return trade_frames.parse_trades(effect.frame, received_ns=effect.received_ns)


def keeps(kind: str) -> like:
    """That the frame is kept as a ``kind``."""
    return like(f"that it is kept: {kind}", lambda effect: isinstance(effect, UnknownFrame) and effect.kind == kind)


answer: Final = keeps("answer")
status: Final = keeps("status")
unreadable: Final = keeps("unreadable")

TIMES: Final = {"time_in": "2026-09-25T17:48:24.745996Z", "time_out": "2026-09-25T17:48:24.746032Z"}


def stands(pair: str) -> Subscribed:
    """What follows from the acknowledgement of ``pair``."""
    return Subscribed(pair, timestamps.micros(TIMES["time_in"]))


def frame(**content: Any) -> str:
    """Return the text of a frame as Kraken spells it, without spaces."""
    return json.dumps(content, separators=(",", ":"))


def ack(symbol: str, /, *, channel: str = "trade", **more: Any) -> str:
    """Return an acknowledgement."""
    result = {"channel": channel, "snapshot": True, "symbol": symbol}
    return frame(method="subscribe", **more, result=result, success=True, **TIMES)


def goodbye(symbol: str, /, **more: Any) -> str:
    """Return the answer to the end of a subscription."""
    result = {"channel": "trade", "symbol": symbol}
    return frame(method="unsubscribe", **more, result=result, success=True, **TIMES)


def refusal(error: str, **more: Any) -> str:
    """Return a refusal."""
    return frame(error=error, method="subscribe", success=False, **more, **TIMES)


def trade_json(trade_id: int, symbol: str = "BTC/USD", /, **fields: str) -> str:
    """Return one row of a trade frame; ``fields`` are JSON text."""
    usual = {
        "symbol": json.dumps(symbol),
        "side": '"buy"',
        "price": "63501.9",
        "qty": "0.00004134",
        "ord_type": '"limit"',
        "trade_id": str(trade_id),
        "timestamp": '"2026-07-07T23:00:04.590753Z"',
    }
    return "{" + ",".join(f'"{name}":{text}' for name, text in (usual | fields).items()) + "}"


def trades(*rows: str, kind: str = "update") -> str:
    """Return a trade frame."""
    return f'{{"channel":"trade","type":"{kind}","data":[{",".join(rows)}]}}'


def sent_ids(session: Session) -> list[int]:
    return [req_id for _, req_id in session._asking.pending()]


def beats(script: play, seconds: int) -> play:
    for _ in range(seconds):
        script >> tick(1) >> HEARTBEAT
    return script


def pong(req_id: int = 101) -> str:
    return frame(method="pong", req_id=req_id, time_in="x", time_out="y")


def subscribed(*pairs: str) -> play:
    """A session with exactly these pairs, all acknowledged."""
    script = play(Session(TRADES, list(pairs))) >> opened << asks(*pairs)
    for pair in pairs:
        script >> ack(pair) << answer << stands(pair)
    return script
