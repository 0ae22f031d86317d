"""One WebSocket v2 connection to one channel as a state machine: frames and time in, effects out (API.md 8).

Contains which pairs are requested, answered, refused, and when the connection counts as dead. Does not know sockets,
clocks, files, the differences between channels (``channels``), or when a pair is requested again (``subscriptions``).
What becomes of data differs between trades (:class:`Session`) and what has no ids (``quote_session``).
The caller calls :meth:`Session.opened` once, :meth:`Session.receive` for each frame and :meth:`Session.tick` about
every second, and carries out the effects.

States of a pair::

    requested ──ack──► subscribed
      │ ├─no such pair─────► rejected for as long as this connection lasts
      │ ├─another refusal──► rejected, and requested again later, with growing waits
      │ └─silence──► requested again ──silence──► as refused; if nothing is subscribed, hang up

Pairs come and go while the connection is open: :meth:`Session.add` requests them, and :meth:`Session.drop` forgets them
at once, whatever their state and whatever is answered.

Signs of life: with a subscription, only data and heartbeats, which come every second. Half-dead gateways go on
answering pings, and perhaps more, while nothing is delivered. Without a subscription any frame is one: then no
heartbeat comes, and an answer to our pings is the best available sign.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, KeysView, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from recorder.core.report_limit import ReportLimit
from recorder.core.trade_ids import Run
from recorder.errors import Malformed
from recorder.kraken import odd_rows, timestamps, wire
from recorder.kraken.channels import Channel, Claim
from recorder.kraken.odd_rows import OddRow
from recorder.kraken.subscriptions import ACK_S, Subscriptions, is_for_good

SUBSCRIBE_BATCH: Final = 100
"""Symbols in one subscribe message: no cap is published; others split at 100 as a precaution (API.md 8.2)."""
IDLE_S: Final = 8.0
"""A connection without a sign of life for this many seconds is dead: heartbeats come every second (API.md 8.1, 8.3).
With ticks about every second it is closed within ten seconds."""
PING_AFTER_S: Final = 4.0
"""A connection this quiet gets a ping, so that a market without subscriptions is not taken for dead."""
REASON_LIMIT: Final = odd_rows.REASON_LIMIT
"""Maximum characters of a reason, which may quote a frame of any size."""

KEPT_BYTES: Final = 1024 * 1024
"""Maximum bytes stored of a frame of an unknown kind; the longest known are some kilobytes."""

_HEARTBEAT: Final = "heartbeat"
_KIND_LIMIT: Final = 60
"""Maximum characters of the name of a kind, which comes from the wire."""
_KEYS: Final = 5
"""Number of keys that describe a frame that names neither a channel nor a method."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this text."""

    text: str


class TradeRows(msgspec.Struct, frozen=True, gc=False):
    """Data of the channel in one frame, either new rows or the snapshot after a subscription.

    ``runs`` are the claims from the frame. Its rows are read when they are requested.
    """

    runs: list[Run]
    frame: bytes
    received_ns: int


class PartialRows(msgspec.Struct, frozen=True, gc=False):
    """Data of the channel in a frame whose rows ``odd`` cannot be read; ``runs`` are of the others."""

    runs: list[Run]
    frame: bytes
    received_ns: int
    odd: Sequence[OddRow]


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The exchange acknowledged the subscription of ``pair``.

    ``time_in_us`` is when it received the message, by its own clock (µs since 1970 UTC); None if it does not report it.
    """

    pair: str
    time_in_us: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The exchange refused ``pairs`` for ``reason``; empty if the refusal does not identify them.

    They are requested again in ``retry_s`` seconds; None: not on this connection, because there are no such pairs, at
    least not under these symbols. ``times`` is the number of consecutive refusals.
    """

    pairs: tuple[str, ...]
    reason: str
    retry_s: float | None = None
    times: int = 1

    @property
    def for_good(self) -> bool:
        """Whether the exchange reports that it has no such pair."""
        return bool(self.pairs) and self.retry_s is None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The exchange reports its state: online, maintenance, cancel_only, post_only, or some other word.

    The entries of the two lists are as received (API.md 6.2); before 2026 there were none.
    """

    system: str
    connection_id: int | None
    upcoming_maintenance: list[dict[str, Any]] = field(default_factory=list)
    emergency: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class UnreadableFrame:
    """A frame of unknown form, or of unusual content of a ``pair``; it is stored and counted."""

    reason: str
    pair: str | None = None


Kind = Literal["answer", "status", "unreadable"]
"""The kind of a frame without data in the journal."""


@dataclass(frozen=True, slots=True)
class UnknownFrame:
    """A frame without data that belongs in the journal."""

    kind: Kind
    frame: bytes
    received_ns: int


@dataclass(frozen=True, slots=True)
class Hangup:
    """This connection has stopped working: close it and open another."""

    reason: str


Common = Send | Subscribed | Rejected | StatusReport | UnreadableFrame | UnknownFrame | Hangup
"""The effects of a session of any channel."""
Effect = TradeRows | PartialRows | Common
"""The effects of a session of trades."""
Data = TypeVar("Data")
"""The effects of data, which differ between channels."""


class ChannelSession(ABC, Generic[Claim, Data]):
    """The state machine of the module. ``pairs`` are v2 symbols; all times are monotonic seconds of one clock.

    ``limit`` is the limit on stored frames of an unknown kind; all connections of a run share one.
    """

    def __init__(
        self,
        channel: Channel[Claim],
        pairs: Iterable[str],
        *,
        batch: int = SUBSCRIBE_BATCH,
        limit: ReportLimit | None = None,
    ) -> None:
        self._channel = channel
        self._prefix = channel.prefix
        self._claims = channel.claims
        self._pairs = dict.fromkeys(pairs)
        self._limit = ReportLimit() if limit is None else limit
        self._open = False
        self._asking = Subscriptions(batch)
        self._dropped: set[str] = set()
        self._goodbyes: set[int] = set()
        self._next_req_id = 1
        self._heard_s = 0.0
        self._delivered = False
        self._last_ping_s = 0.0
        self.subscribed: set[str] = set()
        self.rejected: dict[str, str] = {}

    def opened(self, now_s: float) -> list[Common | Data]:
        """Begin: request every pair, in batches."""
        self._heard_s = self._last_ping_s = now_s
        self._open = True
        return self._begin(list(self._pairs), now_s)

    @property
    def pairs(self) -> KeysView[str]:
        """The pairs that this connection is for."""
        return self._pairs.keys()

    def add(self, symbols: Iterable[str], now_s: float) -> list[Common | Data]:
        """Add pairs: request those that are new here, in batches; before the connection is open :meth:`opened` does."""
        new = [symbol for symbol in dict.fromkeys(symbols) if symbol not in self._pairs]
        self._pairs.update(dict.fromkeys(new))
        self._dropped.difference_update(new)
        return self._begin(new, now_s) if self._open else []

    def drop(self, symbols: Iterable[str]) -> list[Common | Data]:
        """Remove pairs, in batches. Nothing is awaited: data that still comes is processed, answers are ignored."""
        gone = [symbol for symbol in dict.fromkeys(symbols) if symbol in self._pairs]
        running = [symbol for symbol in gone if self._asking.forget(symbol) or symbol in self.subscribed]
        for symbol in gone:
            del self._pairs[symbol]
            self.subscribed.discard(symbol)
            self.rejected.pop(symbol, None)
        self._dropped.update(running)
        return [self._unsubscribe(batch) for batch in self._asking.batches(running)]

    def closed(self) -> Sequence[Common | Data]:
        """Return what is left to be done after the connection has ended for whatever reason."""
        return ()

    def receive(self, frame: bytes, now_s: float, *, received_ns: int) -> Sequence[Common | Data]:
        """Process one frame. ``received_ns`` is the wall clock, for the rows. Never raises, whatever the frame."""
        if frame.startswith(self._prefix):
            try:
                claims = self._claims(frame)
            except Malformed:
                pass  # the code below finds out what it is instead, or what is wrong with it
            else:
                self._heard_s = now_s
                self._delivered = True
                return self._rows(claims, frame, now_s, received_ns)
        return self._read(frame, now_s, received_ns)

    def _read(self, frame: bytes, now_s: float, received_ns: int) -> Sequence[Common | Data]:
        """Process a frame that is not data in Kraken's present spelling."""
        try:
            known = wire.any_frame(frame)
        except wire.UNREADABLE as error:
            reason, data = f"a frame that cannot be read: {error}", frame.startswith(self._prefix)
            self._hear(now_s, alive=data)
            if not data:
                return self._unknown("no object", reason, frame, now_s, received_ns)
            return self._unread(frame, reason, received_ns)
        channel = None if known.method else known.channel
        self._hear(now_s, alive=channel in {self._channel.name, _HEARTBEAT})
        if channel == self._channel.name:  # Kraken may change the order of keys
            try:
                return self._data(frame, now_s, received_ns)
            except Malformed as error:
                return self._unread(frame, str(error), received_ns)
        return self._control(known, frame, now_s, received_ns)

    def _control(self, known: wire.Frame, frame: bytes, now_s: float, received_ns: int) -> Sequence[Common | Data]:
        kind, effects = self._judge(known, now_s)
        if kind is not None:
            return [UnknownFrame(kind, frame, received_ns), *effects]
        if known.method == "pong" or (known.method is None and known.channel == _HEARTBEAT):
            return ()
        what = _kind(known, frame)
        return self._unknown(what, f"a frame of an unknown kind: {what}", frame, now_s, received_ns)

    @abstractmethod
    def _came(self, claims: list[Claim], frame: bytes, received_ns: int) -> Sequence[Common | Data]:
        """Return the effects of data of pairs that were requested."""

    @abstractmethod
    def _salvaged(self, frame: bytes, error: Malformed, now_s: float, received_ns: int) -> Sequence[Common | Data]:
        """Return the effects of data that ``error`` keeps from being read whole. Raises Malformed if no row can be."""

    def _unread(self, frame: bytes, reason: str, received_ns: int) -> Sequence[Common | Data]:
        """Store and report data that cannot be read: it comes only once, so however many such frames there are."""
        return [UnknownFrame("unreadable", frame, received_ns), _unreadable(reason)]

    def _rows(self, claims: list[Claim], frame: bytes, now_s: float, received_ns: int) -> Sequence[Common | Data]:
        """Process data; rows of symbols that were never requested on this connection are stored and reported."""
        known, left = self._pairs, self._dropped
        for claim in claims:  # nearly always one, of a known pair
            if claim.pair not in known and claim.pair not in left:
                break
        else:
            return self._came(claims, frame, received_ns)
        strange = dict.fromkeys(claim.pair for claim in claims if claim.pair not in known and claim.pair not in left)
        effects: list[Common | Data] = []
        for pair in strange:
            reason = f"rows of {pair}, which was not requested"
            effects += self._unknown(f"symbol {pair}", reason, frame, now_s, received_ns)
        ours = self._channel.only(frame, lambda pair: pair not in strange)
        if ours is not None:
            effects += self._data(ours, now_s, received_ns)
        return effects

    def _unknown(self, kind: str, reason: str, frame: bytes, now_s: float, received_ns: int) -> list[Common | Data]:
        """Store and report an unknown frame, unless too many of its kind came recently: then only count it."""
        if not self._limit.allows(kind[:_KIND_LIMIT], now_s):
            return []
        return [UnknownFrame("unreadable", frame[:KEPT_BYTES], received_ns), _unreadable(reason)]

    def _data(self, frame: bytes, now_s: float, received_ns: int) -> Sequence[Common | Data]:
        """Process data as a whole, or else row by row. Raises Malformed if no row can be read."""
        try:
            claims = self._claims(frame)
        except Malformed as error:
            return self._salvaged(frame, error, now_s, received_ns)
        return self._rows(claims, frame, now_s, received_ns)

    def _hear(self, now_s: float, *, alive: bool) -> None:
        """Record a frame as a sign of life if it is one, by the state before it.

        Data that cannot be read is one as well: a new connection would deliver the same.
        """
        if alive or not self.subscribed:
            self._heard_s = now_s
        self._delivered |= alive

    def _judge(self, frame: wire.Frame, now_s: float) -> tuple[Kind | None, Sequence[Common | Data]]:
        """Return the kind under which a frame without data is stored, and its effects; None if its kind is unknown."""
        if frame.method == "unsubscribe" or (frame.method and frame.req_id in self._goodbyes):
            return "answer", ()  # also if it reports that there was nothing to end
        if frame.method == "subscribe":
            return "answer", self._answered(frame, now_s)
        if frame.error:
            return "answer", [_unreadable(f"an error to something we did not ask: {frame.error}")]
        if frame.channel == "status":
            return "status", _statuses(frame)
        return None, ()

    def _unsubscribed(self, frame: wire.Frame) -> list[str]:
        """Return the pair whose subscription this frame ends by its word; none for any other frame."""
        if frame.method != "unsubscribe" or not frame.success:
            return []
        try:
            ended = wire.ack_result(frame.result)
        except wire.UNREADABLE:
            return []
        return [ended.symbol] if ended.channel == self._channel.name and ended.symbol else []

    def tick(self, now_s: float) -> list[Common | Data]:
        """Let time pass: hang up on a dead connection, ping a quiet one, repeat unanswered requests."""
        quiet_s = now_s - self._heard_s
        if quiet_s >= IDLE_S:
            lacking = "data or heartbeat" if self.subscribed else "frame"
            return [Hangup(f"no {lacking} for {quiet_s:.0f} s")]
        effects: list[Common | Data] = []
        if unanswered := self._asking.unanswered(now_s):
            if not self.subscribed:
                return [Hangup(f"no answer to the subscription of {', '.join(sorted(unanswered)[:5])}")]
            # The connection works for other pairs, which must not suffer for these.
            effects.append(self._postpone(unanswered, f"no answer within {ACK_S:.0f} s, twice", now_s, named=False))
        if due := self._asking.due(now_s):
            effects.append(self._subscribe(due, now_s))
        if quiet_s >= PING_AFTER_S and now_s - self._last_ping_s >= PING_AFTER_S:
            self._last_ping_s = now_s
            effects.append(Send(f'{{"method":"ping","req_id":{self._take_req_id()}}}'))
        for kind, count in self._limit.suppressed(now_s):
            effects.append(_unreadable(f"{count} more frames were counted and not stored: {kind}"))
        return effects

    @property
    def heard_s(self) -> float:
        """When the last sign of life came; before the first, when the connection was opened."""
        return self._heard_s

    @property
    def serves(self) -> bool:
        """Whether the exchange has shown that it serves this connection: data or a heartbeat came, or nothing is due.

        An acknowledgement alone is no proof: half-dead gateways may send it.
        """
        return self._delivered if self.subscribed else bool(self.rejected)

    @property
    def settled(self) -> bool:
        """Whether every pair was either acknowledged or refused."""
        return self._pairs.keys() == self.subscribed | self.rejected.keys()

    def _begin(self, symbols: Sequence[str], now_s: float) -> list[Common | Data]:
        return [self._subscribe(batch, now_s) for batch in self._asking.begin(symbols, now_s)]

    def _subscribe(self, symbols: Sequence[str], now_s: float) -> Send:
        req_id = self._take_req_id()
        self._asking.sent(req_id, symbols, now_s)
        return _send("subscribe", req_id, self._channel.subscription(symbols))

    def _unsubscribe(self, symbols: Sequence[str]) -> Send:
        req_id = self._take_req_id()
        self._goodbyes.add(req_id)
        return _send("unsubscribe", req_id, self._channel.end(symbols))

    def _take_req_id(self) -> int:
        req_id, self._next_req_id = self._next_req_id, self._next_req_id + 1
        return req_id

    def _answered(self, frame: wire.Frame, now_s: float) -> Sequence[Common | Data]:
        if frame.error:
            return self._refused(frame, frame.error, now_s)
        if not frame.success:
            return [_unreadable("an answer to a subscription that names neither success nor error")]
        try:
            acknowledged = wire.ack_result(frame.result)
        except wire.UNREADABLE as error:
            return [_unreadable(f"an acknowledgement that cannot be read: {error}")]
        if acknowledged.channel != self._channel.name:
            return ()
        return self._acknowledged(acknowledged.symbol, frame.time_in, now_s)

    def _refused(self, frame: wire.Frame, error: str, now_s: float) -> Sequence[Common | Data]:
        symbol = self._refused_symbol(frame, error)
        # The first answers an end without a subscription (API.md 8.2); the second is late, and of no use any more.
        if error.startswith("Subscription Not Found") or symbol in self._dropped:
            return ()
        if error.startswith("Already subscribed"):
            return self._acknowledged(symbol, frame.time_in, now_s)
        if symbol is None:  # all in that message, or in any: granted ones are acknowledged nevertheless
            meant = [one for one, req_id in self._asking.pending() if frame.req_id is None or req_id == frame.req_id]
            return [self._postpone(meant, error, now_s, named=False)]
        if not is_for_good(error, symbol):
            return [self._postpone([symbol], error, now_s, named=True)]
        self._asking.forget(symbol)
        self._reject(symbol, error)
        return [Rejected((symbol,), error[:REASON_LIMIT])]

    def _postpone(self, symbols: Sequence[str], error: str, now_s: float, *, named: bool) -> Rejected:
        """Request ``symbols`` again, later."""
        ours = [symbol for symbol in symbols if symbol in self._pairs]
        for symbol in ours:
            self._reject(symbol, error)
        wait_s, times = self._asking.refused(ours, now_s, named=named)
        return Rejected(tuple(symbols), error[:REASON_LIMIT], wait_s, times)

    def _reject(self, symbol: str, error: str) -> None:
        self.subscribed.discard(symbol)
        if symbol in self._pairs:
            self.rejected[symbol] = error[:REASON_LIMIT]

    def _acknowledged(self, symbol: str | None, time_in: str | None, now_s: float) -> Sequence[Common | Data]:
        if symbol is None or not self._asking.granted(symbol, now_s):
            return ()
        self.subscribed.add(symbol)
        self.rejected.pop(symbol, None)
        return [Subscribed(symbol, _moment(time_in))]

    def _refused_symbol(self, frame: wire.Frame, error: str) -> str | None:
        """Return the symbol that a refusal means: it may not name it, and a message may have requested many."""
        if frame.symbol:
            return frame.symbol
        named = next((symbol for symbol in chain(self._pairs, self._dropped) if error.endswith(f" {symbol}")), None)
        if named is not None or frame.req_id is None:
            return named
        requested = [symbol for symbol, req_id in self._asking.pending() if req_id == frame.req_id]
        return requested[0] if len(requested) == 1 else None


class Session(ChannelSession[Run, TradeRows | PartialRows]):
    """A session of a channel with ids: each frame comes with the runs of ids that it proves."""

    def _came(self, claims: list[Run], frame: bytes, received_ns: int) -> Sequence[Effect]:
        return (TradeRows(claims, frame, received_ns),)

    def _salvaged(self, frame: bytes, error: Malformed, now_s: float, received_ns: int) -> Sequence[Effect]:
        if self._channel.salvage is None:
            raise error
        runs, odd = self._channel.salvage(frame)
        strange = not odd or [run.pair for run in runs if run.pair not in self._pairs and run.pair not in self._dropped]
        if strange:
            return self._rows(runs, frame, now_s, received_ns)
        return [PartialRows(runs, frame, received_ns, odd)]


def _moment(stamp: str | None) -> int | None:
    """Return µs since 1970 of a stamp; None if there is none that can be read."""
    try:
        return None if stamp is None else timestamps.micros(stamp)
    except ValueError:
        return None


def _statuses(frame: wire.Frame) -> Sequence[StatusReport | UnreadableFrame]:
    try:
        content = wire.any_json(frame.data)
    except wire.UNREADABLE as error:
        return [_unreadable(f"a status frame that cannot be read: {error}")]
    entries = wire.entries([content] if isinstance(content, dict) else content)
    found = [status for entry in entries if (status := _status(entry)) is not None]
    return found or [_unreadable("a status frame that cannot be read: it names no system")]


def _status(entry: dict[str, Any]) -> StatusReport | None:
    system, number = entry.get("system"), entry.get("connection_id")
    if not isinstance(system, str):
        return None
    planned, emergency = wire.entries(entry.get("upcoming_maintenance")), wire.entries(entry.get("emergency"))
    return StatusReport(system, number if isinstance(number, int) else None, planned, emergency)


def _kind(known: wire.Frame, frame: bytes) -> str:
    """Return the kind of this frame, by its method or channel, or else by its keys."""
    if known.method is not None:
        return f"method {known.method}"
    if known.channel is not None:
        return f"channel {known.channel}"
    try:
        keys = sorted(wire.table_result(frame))
    except wire.UNREADABLE:  # keys that are not UTF-8
        return "keys that are no text"
    return f"keys {', '.join(keys[:_KEYS])}" if keys else "no keys"


def _send(method: str, req_id: int, params: dict[str, object]) -> Send:
    return Send(msgspec.json.encode({"method": method, "params": params, "req_id": req_id}).decode())


def _unreadable(reason: str) -> UnreadableFrame:
    return UnreadableFrame(reason[:REASON_LIMIT])
