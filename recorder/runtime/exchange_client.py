"""The only client of the exchange's REST API: parses answers, stores unreadable ones, counts and raises failures.

Pacing, pauses and timeouts belong to ``net.http``; callers decide when to retry.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import structlog

from recorder.core.event_kinds import EventKind
from recorder.core.model import Trade
from recorder.errors import ExchangeError, Malformed
from recorder.kraken import odd_trades, rest_api, trade_pages
from recorder.kraken.odd_rows import OddRow
from recorder.kraken.trade_pages import TradesPage
from recorder.net.http import Http, HttpAnswer, OnRefusal, Scope
from recorder.ops.metrics import Metrics
from recorder.runtime.notes import Notes

_Value = TypeVar("_Value")

log = structlog.get_logger()


class UnreadableAnswerStore(Protocol):
    """Storage for answers and rows that could not be read."""

    async def unreadable(self, request: rest_api.Request, error: Malformed, *, pair: str | None = None) -> None:
        """Store the body carried by ``error``, an answer to ``request``; on return it is durable or queued."""
        ...

    async def odd(self, request: rest_api.Request, recv_ns: int, pair: str, rows: Sequence[OddRow]) -> None:
        """Store and report the rows of an answer that could not be read, when other rows of it could."""
        ...

    async def stored(self, request: rest_api.Request, trades: Sequence[Trade]) -> None:
        """Report unusual trades that are stored as received, once per pair."""
        ...


class Exchange:
    """Sends requests over ``http``; counts failures in ``metrics`` and passes unreadable bodies to ``keeper``."""

    def __init__(self, http: Http, keeper: UnreadableAnswerStore, *, metrics: Metrics) -> None:
        self._http = http
        self._keeper = keeper
        self._metrics = metrics

    async def request(
        self, request: rest_api.Request, read: Callable[[bytes], _Value], *, pair: str | None = None
    ) -> tuple[HttpAnswer, _Value]:
        """Wait for this request's turn; return its answer, and the result in it as parsed by ``read``.

        ``read`` raises Malformed if it cannot parse the result. ``pair`` is the pair the answer concerns, if it is one.
        Raises ExchangeError, whose ``retry`` describes what to do next; an unreadable body has been stored by then.
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
        """Send no request for ``pause_s`` seconds, because ``path``, which is not part of REST, refused us."""
        await self._http.pause(pause_s, reason=reason, path=path)

    async def trades(self, request: rest_api.Request, pair: str) -> tuple[HttpAnswer, TradesPage]:
        """Request a page of trades of ``pair``. Raises ExchangeError, as :meth:`request` does.

        Rows that could not be read have been stored by then.
        """
        answer, page = await self.request(request, functools.partial(trade_pages.parse_page, pair=pair), pair=pair)
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
    """Return a callback that notes, meters and logs each refusal."""

    async def refused(*, reason: str, path: str, scope: Scope, pause_s: float, per_s: float) -> None:
        metrics.throttled_seconds.inc(pause_s)
        log.warning("requests paused", path=path, scope=scope, pause_s=pause_s, reason=reason)
        await notes.event(EventKind.THROTTLED, reason=reason, path=path, scope=scope, pause_s=pause_s, per_s=per_s)

    return refused
