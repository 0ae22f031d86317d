"""The API: each address with its parameters, and the answers as JSON, or in the format that was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import structlog
from aiohttp import web

from recorder.archive.layout import Layout
from recorder.clock import Clock
from recorder.errors import NoSuchArchive, RecorderError, UsageError
from recorder.page.paths import API, HISTORY
from recorder.query import catalogue
from recorder.query.arguments import Range
from recorder.query.connect import Archive
from recorder.query.follow import Follower
from recorder.reader import answers, parameters, questions, trade_stream
from recorder.reader.parameters import Reading
from recorder.reader.questions import Answer
from recorder.reader.workers import Busy, TooLong, Workers

BODY_BYTES: Final = 64 * 1024
"""Largest body of a query."""
STREAMS: Final = 32
"""Streams of trades at once; each keeps what it reads of the journal, and waiting rows."""
_PAGE: Final = 1_000
_LARGEST: Final = 10_000

log = structlog.get_logger()

_Respond = Callable[[Mapping[str, Any], web.Request], Awaitable[web.StreamResponse]]


class QueryBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a query: either ``sql``, or the ``name`` of a question of the catalogue with its ``parameters``."""

    sql: str | None = None
    name: str | None = None
    parameters: dict[str, str | int | float | bool | list[str]] = {}
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address below :data:`API`: its method, the parameters it takes, and which it needs."""

    path: str
    respond: _Respond
    known: Mapping[str, Reading] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    method: str = "GET"


_RANGE: Final = {"start": parameters.time_us, "stop": parameters.time_us}
_PAGED: Final = {"limit": parameters.limit(_LARGEST), "cursor": parameters.CURSOR}
_PAIR: Final = {"pair": parameters.pair}


class Api:
    """The API over the archive at ``data``."""

    def __init__(self, data: Path, workers: Workers, clock: Clock) -> None:
        self._data = data
        self._workers = workers
        self._clock = clock
        self._streams = 0
        bars = {**_PAIR, "timeframe": parameters.text, **_RANGE}
        self.endpoints: tuple[Endpoint, ...] = (
            Endpoint("/pairs", self._list("pairs"), {**_PAGED, **_PAIR}),
            Endpoint("/gaps", self._list("gaps"), {**_PAGED, **_PAIR}),
            Endpoint("/certificates", self._list("certificates"), {**_PAGED, **_PAIR, **_RANGE}),
            Endpoint("/events", self._list("events"), {**_PAGED, **_PAIR, "kind": parameters.text, **_RANGE}),
            Endpoint(
                "/trades",
                self._trades,
                {**_PAIR, "after": parameters.ID, "before": parameters.ID, "limit": parameters.limit(_LARGEST)},
                ("pair",),
            ),
            Endpoint(
                "/trades/stream",
                self._stream,
                {"pairs": parameters.pairs, "after": trade_stream.parsed_cursor, "format": parameters.text},
                ("pairs",),
            ),
            Endpoint(
                "/candles",
                self._candles,
                {**bars, "limit": parameters.limit(questions.BARS)},
                ("pair", "timeframe"),
            ),
            Endpoint("/chart", self._chart, bars, ("pair", "timeframe")),
            Endpoint("/catalogue", self._catalogue),
            Endpoint("/query", self._query, method="POST"),
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of all addresses, and of what only the page asks for."""
        found = [web.route(one.method, API + one.path, self._handler(one)) for one in self.endpoints]
        return [*found, web.get(HISTORY, self._handler(Endpoint(HISTORY, self._history)))]

    def _handler(self, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                given = parameters.read(dict(request.query), endpoint.known, endpoint.needed)
                return await endpoint.respond(given, request)
            except RecorderError as error:
                return as_json({"error": str(error)}, status=status_of(error))
            except Exception as error:  # noqa: BLE001 -- of any library: the log says which
                return as_json({"error": unexpected(request, error)}, status=500)

        return handle

    def _list(self, name: str) -> _Respond:
        async def respond(given: Mapping[str, Any], _: web.Request) -> web.Response:
            rest = {key: value for key, value in given.items() if key not in {"limit", "cursor"}}
            for key in ("start", "stop"):
                if key in rest:
                    rest[key] = parameters.as_time(rest[key])

            def query(archive: Archive) -> questions.Page:
                if "pair" in rest:
                    rest["pair"] = archive.resolve(rest["pair"])
                return questions.listed(archive, name, given.get("limit", _PAGE), given.get("cursor"), **rest)

            return as_json(await self._workers.answer(query))

        return respond

    async def _trades(self, given: Mapping[str, Any], _: web.Request) -> web.Response:
        after, before = given.get("after"), given.get("before")
        if after is not None and before is not None:
            raise UsageError("give after for later trades, or before for earlier ones, and not both")
        found = await self._workers.answer(
            lambda archive: questions.trades(
                archive, given["pair"], given.get("limit", _PAGE), after=after, before=before
            )
        )
        return as_json(found)

    async def _candles(self, given: Mapping[str, Any], _: web.Request) -> web.Response:
        limits, limit = _limits(given), given.get("limit", _PAGE)
        found = await self._workers.answer(
            lambda archive: questions.candles(archive, given["pair"], given["timeframe"], limit, limits)
        )
        return as_json(found)

    async def _chart(self, given: Mapping[str, Any], _: web.Request) -> web.Response:
        limits = _limits(given)
        found = await self._workers.answer(
            lambda archive: questions.chart(archive, given["pair"], given["timeframe"], limits)
        )
        return as_json(found)

    async def _catalogue(self, _given: Mapping[str, Any], _: web.Request) -> web.Response:
        found = [
            {
                "name": one.name,
                "question": one.asks,
                "parameters": [
                    {"name": each.name, "type": each.kind, "default": each.default, "help": each.help}
                    for each in one.parameters
                ],
            }
            for one in catalogue.questions()
        ]
        return as_json({"catalogue": found})

    async def _query(self, _given: Mapping[str, Any], request: web.Request) -> web.Response:
        body = await query_body(request)
        if (body.sql is None) == (body.name is None):
            raise UsageError("give either sql, or the name of a question of the catalogue")
        chosen = answers.format_of(body.format, request.headers.get("Accept", ""))
        given = parameters.of_query(body.parameters)

        def query(archive: Archive) -> tuple[Answer, bytes]:
            if body.sql is not None:
                answer = questions.own_sql(archive, body.sql)
            else:
                answer = questions.named(archive, body.name or "", given)
            return answer, answers.encoded(answer, chosen)

        answer, content = await self._workers.answer(query)
        return answers.response(content, chosen, answer, body.name or "query")

    async def _stream(self, given: Mapping[str, Any], request: web.Request) -> web.StreamResponse:
        form = given.get("format") or ("sse" if "text/event-stream" in request.headers.get("Accept", "") else "ndjson")
        if form not in {"ndjson", "sse"}:
            raise UsageError(f"format is {form!r}: write ndjson or sse")
        after = given.get("after")
        if resumed := request.headers.get("Last-Event-ID"):
            after = trade_stream.parsed_cursor(resumed)
        if self._streams >= STREAMS:
            raise Busy(f"{STREAMS} streams are open already: close one, or follow several pairs in one")
        self._streams += 1
        try:
            pairs = await self._resolved(given["pairs"])
            with await asyncio.to_thread(Follower, self._data, pairs, after, clock=self._clock) as follower:
                kind = "text/event-stream" if form == "sse" else "application/x-ndjson"
                response = web.StreamResponse(headers={"Content-Type": kind})
                await response.prepare(request)
                await self._send(response, follower, cast("trade_stream.Form", form))
                return response
        finally:
            self._streams -= 1

    async def _resolved(self, names: Sequence[str]) -> list[str]:
        """Return the pairs that names mean. Those of pairs themselves, as programs send, need no turn of a worker."""
        if set(names) <= set(await asyncio.to_thread(Layout(self._data).pairs)):
            return list(names)
        found = await self._workers.answer(lambda archive: [archive.resolve(name) for name in names])
        return list(dict.fromkeys(found))

    async def _send(self, response: web.StreamResponse, follower: Follower, form: trade_stream.Form) -> None:
        with contextlib.suppress(ConnectionError):
            try:
                async for piece in trade_stream.lines(follower, form, self._clock):
                    await response.write(piece)
            except RecorderError as error:  # such as damaged files: the reason ends the stream
                line = json.dumps({"error": str(error)}).encode()
                await response.write(b"event: error\ndata: %s\n\n" % line if form == "sse" else line + b"\n")

    async def _history(self, _given: Mapping[str, Any], _: web.Request) -> web.Response:
        now = datetime.fromtimestamp(self._clock.wall_ns() // 1_000_000_000, UTC)
        return as_json(await self._workers.answer(lambda archive: questions.history(archive, now)))


def as_json(content: object, status: int = 200) -> web.Response:
    """Return plain values as a response."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return web.Response(status=status, text=text, content_type="application/json", charset="utf-8")


def unexpected(request: web.Request, error: Exception) -> str:
    """Report an error that nobody foresaw, and return what the client is to know of it."""
    log.error("the reader failed", path=request.path, error=type(error).__name__, reason=str(error))
    return "an unexpected error: the recorder's log says which; please report it"


def status_of(error: RecorderError) -> int:
    """Return the HTTP status of an error."""
    match error:
        case TooLong():
            return 504
        case Busy():
            return 503
        case NoSuchArchive():
            return 404
        case UsageError():
            return 400
        case _:
            return 500


def _limits(given: Mapping[str, Any]) -> Range:
    start_us, stop_us = given.get("start"), given.get("stop")
    if start_us is not None and stop_us is not None and start_us >= stop_us:
        raise UsageError("the range is reversed: start is not before stop")
    return Range(start_us, stop_us)


async def query_body(request: web.Request) -> QueryBody:
    """Return what a request asks. Raises UsageError for a body that is too long, or is no question."""
    content = bytearray()
    async for piece in request.content.iter_any():
        content += piece
        if len(content) > BODY_BYTES:
            raise UsageError(f"the body has more than {BODY_BYTES:,} bytes")
    try:
        return msgspec.json.decode(bytes(content), type=QueryBody)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise UsageError(f'the body is not what is expected, such as {{"sql": "FROM coverage"}}: {error}') from None
