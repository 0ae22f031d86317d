"""The sandbox's own endpoints, through which another process activates faults and queries the state.

Contains ``/sandbox/…`` over HTTP; everything here can be done in-process on a :class:`Controlled` as well. These
requests are neither logged nor refused.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, cast

from aiohttp import web

from recorder.clock import Clock
from recorder.errors import UsageError
from recorder.sandbox.clients import Clients
from recorder.sandbox.exchange_status import StatusBoard
from recorder.sandbox.fault_injection import rest_faults
from recorder.sandbox.fault_injection.fault_schedule import NAMES, Faults
from recorder.sandbox.fault_injection.rest_faults import Beside
from recorder.sandbox.fault_injection.row_faults import Where
from recorder.sandbox.fault_injection.subscription_faults import TOO_MANY, SubscriptionFaults
from recorder.sandbox.fault_injection.websocket_faults import Stall
from recorder.sandbox.pairs import Pair, pair_of
from recorder.sandbox.throttle import FORMS, PER_S, SIZE, Throttle

_WHOLE_FIELDS: Final = ("pair_decimals", "lot_decimals", "cost_decimals", "lot_multiplier")
"""AssetPairs fields that are numbers; other fields given by query are texts."""


class Controlled(Protocol):
    """The operations on a sandbox from outside."""

    @property
    def clock(self) -> Clock:
        """The clock of the sandbox."""
        ...

    @property
    def faults(self) -> Faults:
        """The fault switches."""
        ...

    @property
    def status(self) -> StatusBoard:
        """The reported status of the exchange."""
        ...

    def burst(self, symbol: str, n: int) -> None:
        """Make ``n`` trades of a pair at once."""
        ...

    def skip_ids(self, symbol: str, n: int) -> None:
        """Skip the next ``n`` ids of a pair for good."""
        ...

    def say(self, text: str) -> None:
        """Send every client a frame."""
        ...

    def stamp(self, symbol: str, n: int, time_s: int) -> None:
        """Stamp the next ``n`` trades of a pair with this second."""
        ...

    def stray(self, symbol: str, trade_id: int) -> None:
        """Send the newest trade of a pair once more under a wrong id."""
        ...

    def sever(self, symbol: str) -> None:
        """Cut the connections that follow a pair."""
        ...

    def deaden(self, symbol: str, stall: Stall) -> None:
        """Make these connections dead for good, without notice."""
        ...

    def freeze(self) -> None:
        """Make no more trades."""
        ...

    def thaw(self) -> None:
        """Make trades again."""
        ...

    def throttle(self, throttle: Throttle | None) -> None:
        """Limit the rate of REST requests, or lift the limit."""
        ...

    def enlist(self, pair: Pair, *, trades_per_s: float) -> None:
        """List a new pair."""
        ...

    def delist(self, symbol: str) -> None:
        """Remove a pair from the listing."""
        ...

    def relist(self, symbol: str, **fields: Any) -> None:  # noqa: ANN401  # AssetPairs fields are of every type
        """Change fields of a listed pair."""
        ...

    def renumber(self, symbol: str) -> None:
        """Restart the ids of a pair at 1."""
        ...

    def revise(self, symbol: str, minutes: int, start_s: int | None = None) -> int:
        """Change a committed candle once; return its start."""
        ...

    @property
    def clients(self) -> Clients:
        """The open connections, and what was sent on all."""
        ...

    def last_ids(self) -> Mapping[str, int]:
        """Return the last id made, by pair."""
        ...


def routes(sandbox: Controlled) -> web.RouteTableDef:
    """Return the control endpoints. Every answer is the last id made, by pair.

    POST /sandbox/<fault>?for_s=… for each name in ``fault_schedule.NAMES``; those of REST answers also accept n=…,
    path=… and (slow) delay_s=…, those of frames n=…, and stall accepts ping_frames=0 and ping_messages=0, each for a
    kind of ping that dead lines do not answer either. Errors and pages accept retry_after=600 (date=1: as a date) and
    location=…, and pages with path=/v2 replace handshakes. Further endpoints, all POST except the last:

    - /sandbox/burst?pair=BTC/USD&n=1000, /sandbox/skip_ids?pair=BTC/USD&n=5, /sandbox/freeze, /sandbox/thaw
    - /sandbox/stamp?pair=BTC/USD&n=3&time_s=0 (the next 3 trades are stamped 1970)
    - /sandbox/stray?pair=BTC/USD&id=1099511627776 (one frame sends subscribers the newest trade under this id)
    - /sandbox/throttle?size=30&per_s=1&sticky=0&form=too_many_requests, /sandbox/unthrottle
    - /sandbox/status?system=maintenance, /sandbox/plan_maintenance?in_s=1800&for_s=600, /sandbox/emergency,
      /sandbox/all_clear
    - /sandbox/enlist?pair=NEW/USD&pair_decimals=4&lot_decimals=8&trades_per_s=1, /sandbox/delist?pair=NEW/USD,
      /sandbox/relist?pair=BTC/USD&status=cancel_only&tick_size=0.5 (any AssetPairs field)
    - /sandbox/renumber?pair=BTC/USD: its trades are numbered from 1 again, and the earlier ones are forgotten
    - /sandbox/revise?pair=BTC/USD&interval=1&start=… (without start: the newest committed candle)
    - /sandbox/reject?pair=BTC/USD, /sandbox/accept?pair=BTC/USD, and for pairs that are silent though subscribed
      /sandbox/mute?pair=BTC/USD, /sandbox/unmute?pair=BTC/USD
    - /sandbox/refuse_subscriptions?text=…&for_s=…&named=1&pair=BTC/USD (without pair: all; without text: that of a
      throttle; with an empty one: no answer), /sandbox/limit_subscriptions?symbols=50&per_s=20 (symbols in a message,
      and messages per second), /sandbox/grant_subscriptions
    - /sandbox/spoil?pair=BTC/USD&field=tick_size&value=null (any JSON text), /sandbox/lack?pair=BTC/USD&n=2 (omitted
      from 2 listings), /sandbox/double?pair=BTC/USD&key=XBTUSD.B&status=… (one more entry), and beside the rows of
      every page /sandbox/beside?name=count&value=5; a release ends these
    - /sandbox/odd_row?pair=BTC/USD&trade_id=140&field=misc&value=null (any JSON text; none: left out; field=row: all of
      it; where=rest or where=stream: only there), /sandbox/odd_candle?pair=BTC/USD&start=…&field=vwap&value=null;
      likewise
    - /sandbox/odd_quote?pair=BTC/USD&field=bid&value=null&n=2 (likewise, of the next 2 rows of the ticker)
    - /sandbox/record_sent?channel=ticker: from now on GET /sandbox/sent returns which of its frames were really sent,
      after all faults, by the number of the connection
    - /sandbox/say?text=… sends everyone any frame, /sandbox/nulls?on=1 makes empty lists of the status null
    - /sandbox/sever?pair=BTC/USD, /sandbox/deaden?pair=BTC/USD: like disconnect and stall (and its fields), but only
      connections that follow this pair
    - GET /sandbox/truth
    """
    doors: dict[str, Callable[[_Asked], None]] = {
        "burst": lambda asked: sandbox.burst(asked.text("pair"), int(asked.number("n"))),
        "skip_ids": lambda asked: sandbox.skip_ids(asked.text("pair"), int(asked.number("n"))),
        "stamp": lambda asked: sandbox.stamp(asked.text("pair"), int(asked.number("n", 1)), asked.whole("time_s")),
        "stray": lambda asked: sandbox.stray(asked.text("pair"), asked.whole("id")),
        "sever": lambda asked: sandbox.sever(asked.text("pair")),
        "deaden": lambda asked: sandbox.deaden(asked.text("pair"), _stall(asked)),
        "freeze": lambda _: sandbox.freeze(),
        "thaw": lambda _: sandbox.thaw(),
        "throttle": lambda asked: sandbox.throttle(_throttle(sandbox.clock, asked)),
        "unthrottle": lambda _: sandbox.throttle(None),
        "status": lambda asked: sandbox.status.show(asked.text("system"), asked.perhaps("for_s")),
        "plan_maintenance": lambda asked: sandbox.status.plan_maintenance(
            in_s=asked.number("in_s"), for_s=asked.number("for_s")
        ),
        "emergency": lambda _: sandbox.status.declare_emergency(),
        "all_clear": lambda _: sandbox.status.all_clear(),
        "enlist": lambda asked: sandbox.enlist(_new_pair(asked), trades_per_s=asked.number("trades_per_s", 1.0)),
        "delist": lambda asked: sandbox.delist(asked.text("pair")),
        "relist": lambda asked: sandbox.relist(asked.text("pair"), **_fields(asked, apart_from=("pair",))),
        "renumber": lambda asked: sandbox.renumber(asked.text("pair")),
        "revise": lambda asked: _revise(sandbox, asked),
        "reject": lambda asked: sandbox.faults.reject(asked.text("pair")),
        "accept": lambda asked: sandbox.faults.accept(asked.text("pair")),
        "refuse_subscriptions": lambda asked: _refuse(sandbox.faults.entry, asked),
        "limit_subscriptions": lambda asked: sandbox.faults.entry.limit_to(
            symbols=asked.perhaps("symbols") or math.inf, per_s=asked.perhaps("per_s") or math.inf
        ),
        "grant_subscriptions": lambda _: sandbox.faults.entry.release(),
        "spoil": lambda asked: sandbox.faults.quirks.spoil(
            asked.text("pair"), asked.text("field"), asked.text("value")
        ),
        "lack": lambda asked: sandbox.faults.quirks.lack(
            asked.text("pair"), None if asked.perhaps("n") is None else int(asked.number("n"))
        ),
        "double": lambda asked: sandbox.faults.quirks.double(
            asked.text("pair"), asked.text("key"), **_fields(asked, apart_from=("pair", "key"))
        ),
        "odd_row": lambda asked: sandbox.faults.rows.trade(
            asked.text("pair"),
            int(asked.number("trade_id")),
            asked.text("field"),
            asked.text("value", ""),
            cast("Where", asked.text("where", "both")),
        ),
        "odd_candle": lambda asked: sandbox.faults.rows.candle(
            asked.text("pair"), int(asked.number("start")), asked.text("field"), asked.text("value", "")
        ),
        "odd_quote": lambda asked: sandbox.faults.rows.quote(
            asked.text("pair"), asked.text("field"), asked.text("value", ""), int(asked.number("n", 1))
        ),
        "record_sent": lambda asked: sandbox.clients.sent.record(asked.text("channel", "ticker")),
        "beside": lambda asked: sandbox.faults.quirks.beside(asked.text("name"), asked.text("value")),
        "say": lambda asked: sandbox.say(asked.text("text")),
        "nulls": lambda asked: setattr(sandbox.status, "nulls", bool(asked.number("on", 1))),
        "mute": lambda asked: sandbox.faults.lines.muted.add(asked.text("pair")),
        "unmute": lambda asked: sandbox.faults.lines.muted.discard(asked.text("pair")),
    }
    doors |= {name: _fault(sandbox.faults, name) for name in NAMES}

    def open_door(do: Callable[[_Asked], None]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                do(_Asked(request))
            except UsageError as error:
                raise web.HTTPBadRequest(text=str(error)) from error
            return web.json_response(dict(sandbox.last_ids()))

        return handle

    table = web.RouteTableDef()
    for name, do in doors.items():
        table.post(f"/sandbox/{name}")(open_door(do))
    table.get("/sandbox/truth")(open_door(lambda _: None))

    @table.get("/sandbox/sent")
    async def sent(_: web.Request) -> web.Response:
        return web.json_response({str(name): texts for name, texts in sandbox.clients.sent.by_connection.items()})

    return table


class _Asked:
    """The parameters of one request. Raises UsageError for an invalid one."""

    def __init__(self, request: web.Request) -> None:
        self.query = request.query
        self._path = request.path

    def text(self, name: str, default: str = "") -> str:
        return self.query.get(name, default)

    def number(self, name: str, default: float = math.nan) -> float:
        try:
            number = float(self.query[name]) if name in self.query else default
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(f"{name} must be a number, like {self._path}?{name}=5")
        return number

    def whole(self, name: str) -> int:
        try:
            return int(self.query[name])
        except (KeyError, ValueError):
            raise UsageError(f"{name} must be a whole number, like {self._path}?{name}=5") from None

    def perhaps(self, name: str) -> float | None:
        return self.number(name) if name in self.query else None


def _fault(faults: Faults, name: str) -> Callable[[_Asked], None]:
    def throw(asked: _Asked) -> None:
        n = asked.perhaps("n")
        for_s, path = asked.perhaps("for_s"), asked.text("path", rest_faults.EVERYWHERE)
        if name in rest_faults.NAMES:
            delay_s = asked.number("delay_s", rest_faults.SLOW_S)
            beside = Beside(asked.perhaps("retry_after"), bool(asked.number("date", 0)), asked.text("location"))
            faults.rest.throw(name, for_s, n=None if n is None else int(n), path=path, delay_s=delay_s, beside=beside)
        else:
            faults.throw(name, for_s, n=None if n is None else int(n), path=path, stall=_stall(asked))

    return throw


def _refuse(entry: SubscriptionFaults, asked: _Asked) -> None:
    symbols = [asked.text("pair")] if "pair" in asked.query else []
    named = bool(asked.number("named", 1))
    entry.refuse(asked.text("text", TOO_MANY), asked.perhaps("for_s"), symbols=symbols, named=named)


def _stall(asked: _Asked) -> Stall:
    return Stall(ping_frames=bool(asked.number("ping_frames", 1)), ping_messages=bool(asked.number("ping_messages", 1)))


def _throttle(clock: Clock, asked: _Asked) -> Throttle:
    return Throttle(
        clock,
        size=asked.number("size", SIZE),
        per_s=asked.number("per_s", PER_S),
        sticky=bool(asked.number("sticky", 0)),
        form=asked.text("form", FORMS[0]),
    )


def _revise(sandbox: Controlled, asked: _Asked) -> None:
    start_s = asked.perhaps("start")
    sandbox.revise(asked.text("pair"), int(asked.number("interval")), None if start_s is None else int(start_s))


def _new_pair(asked: _Asked) -> Pair:
    symbol = asked.text("pair")
    if not all(symbol.partition("/")):
        raise UsageError(f"pair must be a v2 symbol, like NEW/USD, not {symbol!r}")
    fields = {"pair_decimals": 4, "lot_decimals": 8, **_fields(asked, apart_from=("pair", "trades_per_s"))}
    return pair_of(symbol, **fields)


def _fields(asked: _Asked, *, apart_from: tuple[str, ...]) -> dict[str, Any]:
    """Return the given AssetPairs fields with the types they have there."""
    given = (name for name in asked.query if name not in apart_from)
    return {name: int(asked.number(name)) if name in _WHOLE_FIELDS else asked.text(name) for name in given}
