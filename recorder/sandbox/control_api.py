"""The sandbox's own endpoints, through which another process activates faults and queries the state.

Contains ``/sandbox/…`` over HTTP; everything here can be done in-process on a :class:`Controlled` as well. These
requests are neither logged nor refused.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from aiohttp import web

from recorder.clock import Clock
from recorder.errors import UsageError
from recorder.sandbox import rest_faults
from recorder.sandbox.clients import Clients
from recorder.sandbox.exchange_status import StatusBoard
from recorder.sandbox.fault_schedule import NAMES, Faults
from recorder.sandbox.pairs import Pair, pair_of
from recorder.sandbox.rest_faults import Beside
from recorder.sandbox.throttle import FORMS, PER_S, SIZE, Throttle
from recorder.sandbox.websocket_faults import Stall

if TYPE_CHECKING:  # only tests inject faults: a sandbox that is merely served does not load them
    from recorder.sandbox.fault_injection.row_faults import Where
    from recorder.sandbox.fault_injection.subscription_faults import SubscriptionFaults

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
    - /sandbox/odd_book?pair=BTC/USD&fault=checksum&n=1 (or lose_top, lose_deep, cross, snapshot: see ``book_faults``)
    - /sandbox/record_sent?channel=ticker: from now on GET /sandbox/sent returns which of its frames were really sent,
      after all faults, by the number of the connection
    - /sandbox/say?text=… sends everyone any frame, /sandbox/nulls?on=1 makes empty lists of the status null
    - /sandbox/sever?pair=BTC/USD, /sandbox/deaden?pair=BTC/USD: like disconnect and stall (and its fields), but only
      connections that follow this pair
    - GET /sandbox/truth
    """
    doors: dict[str, Callable[[_Form], None]] = {
        "burst": lambda form: sandbox.burst(form.text("pair"), int(form.number("n"))),
        "skip_ids": lambda form: sandbox.skip_ids(form.text("pair"), int(form.number("n"))),
        "stamp": lambda form: sandbox.stamp(form.text("pair"), int(form.number("n", 1)), form.whole("time_s")),
        "stray": lambda form: sandbox.stray(form.text("pair"), form.whole("id")),
        "sever": lambda form: sandbox.sever(form.text("pair")),
        "deaden": lambda form: sandbox.deaden(form.text("pair"), _stall(form)),
        "freeze": lambda _: sandbox.freeze(),
        "thaw": lambda _: sandbox.thaw(),
        "throttle": lambda form: sandbox.throttle(_throttle(sandbox.clock, form)),
        "unthrottle": lambda _: sandbox.throttle(None),
        "status": lambda form: sandbox.status.show(form.text("system"), form.perhaps("for_s")),
        "plan_maintenance": lambda form: sandbox.status.plan_maintenance(
            in_s=form.number("in_s"), for_s=form.number("for_s")
        ),
        "emergency": lambda _: sandbox.status.declare_emergency(),
        "all_clear": lambda _: sandbox.status.all_clear(),
        "enlist": lambda form: sandbox.enlist(_new_pair(form), trades_per_s=form.number("trades_per_s", 1.0)),
        "delist": lambda form: sandbox.delist(form.text("pair")),
        "relist": lambda form: sandbox.relist(form.text("pair"), **_fields(form, apart_from=("pair",))),
        "renumber": lambda form: sandbox.renumber(form.text("pair")),
        "revise": lambda form: _revise(sandbox, form),
        "reject": lambda form: sandbox.faults.reject(form.text("pair")),
        "accept": lambda form: sandbox.faults.accept(form.text("pair")),
        "refuse_subscriptions": lambda form: _refuse(sandbox.faults.entry, form),
        "limit_subscriptions": lambda form: sandbox.faults.entry.limit_to(
            symbols=form.perhaps("symbols") or math.inf, per_s=form.perhaps("per_s") or math.inf
        ),
        "grant_subscriptions": lambda _: sandbox.faults.entry.release(),
        "spoil": lambda form: sandbox.faults.quirks.spoil(form.text("pair"), form.text("field"), form.text("value")),
        "lack": lambda form: sandbox.faults.quirks.lack(
            form.text("pair"), None if form.perhaps("n") is None else int(form.number("n"))
        ),
        "double": lambda form: sandbox.faults.quirks.double(
            form.text("pair"), form.text("key"), **_fields(form, apart_from=("pair", "key"))
        ),
        "odd_row": lambda form: sandbox.faults.rows.trade(
            form.text("pair"),
            int(form.number("trade_id")),
            form.text("field"),
            form.text("value", ""),
            cast("Where", form.text("where", "both")),
        ),
        "odd_candle": lambda form: sandbox.faults.rows.candle(
            form.text("pair"), int(form.number("start")), form.text("field"), form.text("value", "")
        ),
        "odd_quote": lambda form: sandbox.faults.rows.quote(
            form.text("pair"), form.text("field"), form.text("value", ""), int(form.number("n", 1))
        ),
        "odd_book": lambda form: sandbox.faults.books.throw(
            form.text("pair"), form.text("fault"), int(form.number("n", 1))
        ),
        "record_sent": lambda form: sandbox.clients.sent.record(form.text("channel", "ticker")),
        "beside": lambda form: sandbox.faults.quirks.beside(form.text("name"), form.text("value")),
        "say": lambda form: sandbox.say(form.text("text")),
        "nulls": lambda form: setattr(sandbox.status, "nulls", bool(form.number("on", 1))),
        "mute": lambda form: sandbox.faults.lines.muted.add(form.text("pair")),
        "unmute": lambda form: sandbox.faults.lines.muted.discard(form.text("pair")),
    }
    doors |= {name: _fault(sandbox.faults, name) for name in NAMES}

    def open_door(do: Callable[[_Form], None]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                do(_Form(request))
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


class _Form:
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


def _fault(faults: Faults, name: str) -> Callable[[_Form], None]:
    def throw(form: _Form) -> None:
        n = form.perhaps("n")
        for_s, path = form.perhaps("for_s"), form.text("path", rest_faults.EVERYWHERE)
        if name in rest_faults.NAMES:
            delay_s = form.number("delay_s", rest_faults.SLOW_S)
            beside = Beside(form.perhaps("retry_after"), bool(form.number("date", 0)), form.text("location"))
            faults.rest.throw(name, for_s, n=None if n is None else int(n), path=path, delay_s=delay_s, beside=beside)
        else:
            faults.throw(name, for_s, n=None if n is None else int(n), path=path, stall=_stall(form))

    return throw


def _refuse(entry: SubscriptionFaults, form: _Form) -> None:
    from recorder.sandbox.fault_injection.subscription_faults import TOO_MANY  # noqa: PLC0415 -- see above

    symbols = [form.text("pair")] if "pair" in form.query else []
    named = bool(form.number("named", 1))
    entry.refuse(form.text("text", TOO_MANY), form.perhaps("for_s"), symbols=symbols, named=named)


def _stall(form: _Form) -> Stall:
    return Stall(ping_frames=bool(form.number("ping_frames", 1)), ping_messages=bool(form.number("ping_messages", 1)))


def _throttle(clock: Clock, form: _Form) -> Throttle:
    return Throttle(
        clock,
        size=form.number("size", SIZE),
        per_s=form.number("per_s", PER_S),
        sticky=bool(form.number("sticky", 0)),
        form=form.text("form", FORMS[0]),
    )


def _revise(sandbox: Controlled, form: _Form) -> None:
    start_s = form.perhaps("start")
    sandbox.revise(form.text("pair"), int(form.number("interval")), None if start_s is None else int(start_s))


def _new_pair(form: _Form) -> Pair:
    symbol = form.text("pair")
    if not all(symbol.partition("/")):
        raise UsageError(f"pair must be a v2 symbol, like NEW/USD, not {symbol!r}")
    fields = {"pair_decimals": 4, "lot_decimals": 8, **_fields(form, apart_from=("pair", "trades_per_s"))}
    return pair_of(symbol, **fields)


def _fields(form: _Form, *, apart_from: tuple[str, ...]) -> dict[str, Any]:
    """Return the given AssetPairs fields with the types they have there."""
    given = (name for name in form.query if name not in apart_from)
    return {name: int(form.number(name)) if name in _WHOLE_FIELDS else form.text(name) for name in given}
