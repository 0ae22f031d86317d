"""One WebSocket v2 connection as a state machine: frames and time in, effects out (API.md 8).

Owns: which pairs are asked for, answered, refused; when the line counts as dead. Refuses: sockets, clocks,
files. The rim calls :meth:`Session.opened` once, :meth:`Session.receive` for each frame and
:meth:`Session.tick` about every second, and does what the effects say.

States of a pair::

    asked ──ack──► subscribed
      │ ├─refusal─► rejected
      │ └─silence─► asked again, alone ──silence──► hang up

Pairs come and go while the line is open: :meth:`Session.add` asks for them, and :meth:`Session.drop` forgets them at
once, whatever state they are in and whatever is answered.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import msgspec

from recorder.core.ids import Run
from recorder.core.model import Trade
from recorder.errors import Malformed
from recorder.kraken import parse, wire

SUBSCRIBE_BATCH: Final = 100
"""Symbols in one subscribe message: no cap is published; others split at 100 as a precaution (API.md 8.2)."""
IDLE_S: Final = 8.0
"""A line without any frame for so long is dead: heartbeats come every second (API.md 8.1, 8.3). With ticks about
every second a silent line is left within the ten seconds that DESIGN 10 allows."""
PING_AFTER_S: Final = 4.0
"""A line this quiet is asked whether it lives, so that a market without subscriptions is not taken for dead."""
ACK_S: Final = 10.0
"""Acknowledgements come within half a second; after this long they do not come."""
REASON_LIMIT: Final = 300
"""Characters of a reason, which may quote a frame of any size."""

_TRADES_BEGIN: Final = b'{"channel":"trade",'


@dataclass(frozen=True, slots=True)
class Send:
    """Send this text."""

    text: str


class Rows(msgspec.Struct, frozen=True, gc=False):
    """Trades arrived, in one frame, news or the snapshot after a subscription alike: the ids decide.

    ``runs`` is what the frame lets us claim. The trades themselves are read when somebody asks for them.
    """

    runs: list[Run]
    frame: bytes
    received_ns: int

    @property
    def trades(self) -> list[Trade]:
        """The trades of the frame, in its order."""
        return parse.trade_frame(self.frame, received_ns=self.received_ns)


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The exchange acknowledged the subscription of ``pair``."""

    pair: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The exchange refused ``pair`` (None where it did not say which) for ``reason``."""

    pair: str | None
    reason: str

    @property
    def unsupported(self) -> bool:
        """Whether the exchange does not stream such a pair, at least not under this symbol (API.md 8.2)."""
        return self.reason.startswith("Currency pair not")


@dataclass(frozen=True, slots=True)
class Status:
    """The exchange reports its state: online, maintenance, cancel_only, post_only, or some other word.

    The entries of the two lists are as they came (API.md 6.2); before 2026 there were none.
    """

    system: str
    connection_id: int | None
    upcoming_maintenance: list[dict[str, Any]] = field(default_factory=list)
    emergency: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A frame that is not what we know; it is kept and counted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Keep:
    """The frame just received belongs in the journal, as of this channel."""

    channel: str


@dataclass(frozen=True, slots=True)
class Hangup:
    """This connection is of no use any more: close it and open another."""

    reason: str


Effect = Send | Rows | Subscribed | Rejected | Status | Unreadable | Keep | Hangup


@dataclass(slots=True)
class _Asked:
    """A symbol whose answer is awaited."""

    req_id: int
    since_s: float
    alone: bool


class Session:
    """See the module. ``pairs`` are v2 symbols; all times are monotonic seconds of one clock."""

    def __init__(self, pairs: Iterable[str], *, batch: int = SUBSCRIBE_BATCH) -> None:
        self._pairs = dict.fromkeys(pairs)
        self._batch = batch
        self._open = False
        self._asked: dict[str, _Asked] = {}
        self._dropped: set[str] = set()
        self._goodbyes: set[int] = set()
        self._next_req_id = 1
        self._last_frame_s = 0.0
        self._last_ping_s = 0.0
        self.subscribed: set[str] = set()
        self.rejected: dict[str, str] = {}

    def opened(self, now_s: float) -> list[Effect]:
        """Begin: ask for every pair, in batches."""
        self._last_frame_s = self._last_ping_s = now_s
        self._open = True
        return [self._subscribe(batch, now_s) for batch in self._batches(list(self._pairs))]

    @property
    def pairs(self) -> KeysView[str]:
        """The pairs that this connection is for."""
        return self._pairs.keys()

    def add(self, symbols: Iterable[str], now_s: float) -> list[Effect]:
        """Take up pairs: ask for those that are new here, in batches; before the line is open :meth:`opened` does."""
        new = [symbol for symbol in dict.fromkeys(symbols) if symbol not in self._pairs]
        self._pairs.update(dict.fromkeys(new))
        self._dropped.difference_update(new)
        return [self._subscribe(batch, now_s) for batch in self._batches(new)] if self._open else []

    def drop(self, symbols: Iterable[str]) -> list[Effect]:
        """Leave pairs, in batches. Nothing is awaited: trades that still come are rows, answers say nothing new."""
        gone = [symbol for symbol in dict.fromkeys(symbols) if symbol in self._pairs]
        running = [symbol for symbol in gone if symbol in self._asked or symbol in self.subscribed]
        for symbol in gone:
            del self._pairs[symbol]
            self._asked.pop(symbol, None)
            self.subscribed.discard(symbol)
            self.rejected.pop(symbol, None)
        self._dropped.update(running)
        return [self._unsubscribe(batch) for batch in self._batches(running)]

    def receive(self, frame: bytes, now_s: float, *, received_ns: int) -> Sequence[Effect]:
        """Take one frame. ``received_ns`` is the wall clock, for the rows. No frame makes it raise."""
        self._last_frame_s = now_s
        if frame.startswith(_TRADES_BEGIN):
            try:
                return [Rows(parse.trade_runs(frame), frame, received_ns)]
            except Malformed:
                pass  # what it is instead, or what is wrong with it, is found out below
        try:
            known = wire.any_frame(frame)
        except wire.UNREADABLE as error:
            return [Keep("unreadable"), _unreadable(f"a frame that cannot be read: {error}")]
        if known.method:
            return self._answer(known)
        if known.channel == "trade":  # key order is Kraken's to change
            return self._trades(frame, received_ns)
        return self._other(known)

    def _answer(self, frame: wire.Frame) -> Sequence[Effect]:
        if frame.req_id in self._goodbyes or frame.method == "unsubscribe":
            return [Keep("answer")]  # also where it says that there was nothing to end
        if frame.method == "subscribe":
            return [Keep("answer"), *self._answered(frame)]
        return () if frame.method == "pong" and not frame.error else self._other(frame)

    def _other(self, frame: wire.Frame) -> Sequence[Effect]:
        if frame.error:
            return [Keep("answer"), _unreadable(f"an error to something we did not ask: {frame.error}")]
        if frame.channel == "status":
            return self._status(frame)
        return ()

    def tick(self, now_s: float) -> list[Effect]:
        """Let time pass: hang up on a dead line, ping a quiet one, ask again what was not answered."""
        quiet_s = now_s - self._last_frame_s
        if quiet_s >= IDLE_S:
            return [Hangup(f"no frame for {quiet_s:.0f} s")]
        effects: list[Effect] = []
        late = [symbol for symbol, asked in self._asked.items() if now_s - asked.since_s >= ACK_S]
        if any(self._asked[symbol].alone for symbol in late):
            return [Hangup(f"no answer to the subscription of {', '.join(sorted(late)[:5])}")]
        # Alone, so that even a refusal without a symbol can be told by its req_id.
        effects.extend(self._subscribe([symbol], now_s, alone=True) for symbol in late)
        if quiet_s >= PING_AFTER_S and now_s - self._last_ping_s >= PING_AFTER_S:
            self._last_ping_s = now_s
            effects.append(Send(f'{{"method":"ping","req_id":{self._take_req_id()}}}'))
        return effects

    @property
    def heard_s(self) -> float:
        """When the last frame came; before the first, when the connection was opened."""
        return self._last_frame_s

    @property
    def settled(self) -> bool:
        """Whether every pair was either acknowledged or refused."""
        return not self._asked

    def _batches(self, symbols: Sequence[str]) -> list[Sequence[str]]:
        return [symbols[start : start + self._batch] for start in range(0, len(symbols), self._batch)]

    def _subscribe(self, symbols: Sequence[str], now_s: float, *, alone: bool = False) -> Send:
        req_id = self._take_req_id()
        for symbol in symbols:
            self._asked[symbol] = _Asked(req_id, now_s, alone)
        # snapshot is explicit: its default was true in 2024 and is documented false in 2026 (API.md 8.5).
        return _send("subscribe", req_id, {"channel": "trade", "symbol": list(symbols), "snapshot": True})

    def _unsubscribe(self, symbols: Sequence[str]) -> Send:
        req_id = self._take_req_id()
        self._goodbyes.add(req_id)
        return _send("unsubscribe", req_id, {"channel": "trade", "symbol": list(symbols)})

    def _take_req_id(self) -> int:
        req_id, self._next_req_id = self._next_req_id, self._next_req_id + 1
        return req_id

    def _trades(self, frame: bytes, received_ns: int) -> Sequence[Effect]:
        try:
            return [Rows(parse.trade_runs(frame), frame, received_ns)]
        except Malformed as error:
            return [Keep("unreadable"), _unreadable(str(error))]

    def _status(self, frame: wire.Frame) -> Sequence[Effect]:
        try:
            entries = wire.status_entries(frame.data)
        except wire.UNREADABLE as error:
            return [Keep("status"), _unreadable(f"a status frame that cannot be read: {error}")]
        told = (
            Status(entry.system, entry.connection_id, entry.upcoming_maintenance, entry.emergency) for entry in entries
        )
        return [Keep("status"), *told]

    def _answered(self, frame: wire.Frame) -> Sequence[Effect]:
        if frame.error:
            return self._refused(frame, frame.error)
        if not frame.success:
            return [_unreadable("an answer to a subscription that names neither success nor error")]
        try:
            acknowledged = wire.ack_result(frame.result)
        except wire.UNREADABLE as error:
            return [_unreadable(f"an acknowledgement that cannot be read: {error}")]
        return self._acknowledged(acknowledged.symbol) if acknowledged.channel == "trade" else ()

    def _refused(self, frame: wire.Frame, error: str) -> Sequence[Effect]:
        symbol = self._refused_symbol(frame, error)
        # The first is how the end of nothing is answered (API.md 8.2); the second is late, and of no use any more.
        if error.startswith("Subscription Not Found") or symbol in self._dropped:
            return ()
        if error.startswith("Already subscribed"):
            return self._acknowledged(symbol)
        if symbol is not None:
            self._asked.pop(symbol, None)
            self.subscribed.discard(symbol)
            self.rejected[symbol] = error[:REASON_LIMIT]
        return [Rejected(symbol, error[:REASON_LIMIT])]

    def _acknowledged(self, symbol: str | None) -> Sequence[Effect]:
        if symbol is None or symbol not in self._asked:
            return ()
        del self._asked[symbol]
        self.subscribed.add(symbol)
        return [Subscribed(symbol)]

    def _refused_symbol(self, frame: wire.Frame, error: str) -> str | None:
        """Find out whom a refusal means: it may lack the symbol, and a message may have asked for many."""
        if frame.symbol:
            return frame.symbol
        named = next((symbol for symbol in chain(self._asked, self._dropped) if error.endswith(f" {symbol}")), None)
        if named is not None or frame.req_id is None:
            return named
        asked = [symbol for symbol, asked in self._asked.items() if asked.req_id == frame.req_id]
        return asked[0] if len(asked) == 1 else None


def _send(method: str, req_id: int, params: dict[str, object]) -> Send:
    return Send(msgspec.json.encode({"method": method, "params": params, "req_id": req_id}).decode())


def _unreadable(reason: str) -> Unreadable:
    return Unreadable(reason[:REASON_LIMIT])
