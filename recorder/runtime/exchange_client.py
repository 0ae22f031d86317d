"""The one place that asks the exchange: what it answers is read, or kept as it came; what fails is counted and raised.

Pace, pauses and time-outs are the business of ``net.http`` below; when to ask again, that of whoever asks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import structlog

from recorder.core.event_kinds import EventKind
from recorder.core.model import Trade
from recorder.errors import ExchangeError, Malformed
from recorder.kraken import odd_trades, parse, rest_api
from recorder.kraken.parse import OddRow, TradesPage
from recorder.net.http import Http, HttpAnswer, OnRefusal, Scope
from recorder.ops.metrics import Metrics
from recorder.runtime.notes import Notes

_Value = TypeVar("_Value")

log = structlog.get_logger()


class UnreadableAnswerStore(Protocol):
    """Who keeps what could not be read."""

    async def unreadable(self, request: rest_api.Request, error: Malformed, *, pair: str | None = None) -> None:
        """Keep the body that ``error`` carries, of an answer to ``request``; it is durable, or will be, after that."""
        ...

    async def odd(self, request: rest_api.Request, recv_ns: int, pair: str, rows: Sequence[OddRow]) -> None:
        """Keep rows of an answer that could not be read while others could, and tell of them."""
        ...

    async def stored(self, request: rest_api.Request, trades: Sequence[Trade]) -> None:
        """Tell of odd trades that are stored as they came, once of each pair."""
        ...


class Exchange:
    """Asks over ``http``. Failures are counted in ``metrics``; ``keeper`` keeps each body that could not be read."""

    def __init__(self, http: Http, keeper: UnreadableAnswerStore, *, metrics: Metrics) -> None:
        self._http = http
        self._keeper = keeper
        self._metrics = metrics

    async def request(
        self, request: rest_api.Request, read: Callable[[bytes], _Value], *, pair: str | None = None
    ) -> tuple[HttpAnswer, _Value]:
        """Wait for this request's turn; return its answer, and what ``read`` makes of the result in it.

        ``read`` raises Malformed where it can make nothing of it. ``pair`` is whose answer it is, if it is of one.
        Raises ExchangeError, whose ``retry`` says what to do next; a body that could not be read is kept by then.
        """
        try:
            answer = await self._http.get(request)
            return answer, _read(answer, read)
        except ExchangeError as error:
            self._metrics.rest_failed(error)
            if isinstance(error, Malformed):
                await self._keeper.unreadable(request, error, pair=pair)
            raise

    async def pause(self, pause_s: float, *, reason: str, path: str) -> None:
        """Ask nothing for so long: we were refused at ``path``, which is none of REST."""
        await self._http.pause(pause_s, reason=reason, path=path)

    async def trades(self, request: rest_api.Request, pair: str) -> tuple[HttpAnswer, TradesPage]:
        """Ask for a page of trades of ``pair``. Raises ExchangeError, as :meth:`ask` does.

        Rows of it that could not be read are kept by then.
        """
        answer, page = await self.request(request, functools.partial(parse.trades_page, pair=pair), pair=pair)
        if page.odd:
            await self._keeper.odd(request, answer.recv_ns, pair, page.odd)
        if any(map(odd_trades.is_odd, page.trades)):
            await self._keeper.stored(request, page.trades)
        return answer, page


def _read(answer: HttpAnswer, read: Callable[[bytes], _Value]) -> _Value:
    try:
        return read(answer.result)
    except Malformed as error:
        error.body = answer.body
        raise


def note_refusals(notes: Notes, metrics: Metrics) -> OnRefusal:
    """Return who is to be told of refusals, to note, to meter and to log each."""

    async def refused(*, reason: str, path: str, scope: Scope, pause_s: float, per_s: float) -> None:
        metrics.throttled_seconds.inc(pause_s)
        log.warning("the exchange is left alone for a while", path=path, scope=scope, pause_s=pause_s, reason=reason)
        await notes.event(EventKind.THROTTLED, reason=reason, path=path, scope=scope, pause_s=pause_s, per_s=per_s)

    return refused
