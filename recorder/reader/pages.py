"""The pages that need the archive: a pair, the catalogue and its answers, events and certificates; as HTML."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import pyarrow as pa
from aiohttp import web

from recorder.errors import RecorderError, UsageError
from recorder.page import paths, templates
from recorder.query import catalogue, row_text
from recorder.query.arguments import Range
from recorder.query.catalogue import NamedQuery
from recorder.query.connect import Archive
from recorder.reader import answers, figures, parameters, questions
from recorder.reader.answers import Format
from recorder.reader.api import query_body, status_of, unexpected
from recorder.reader.questions import Answer, Page
from recorder.reader.workers import Workers

SHOWN: Final = 200
"""Rows of an answer that a page shows; downloads have them all."""
_TAPE: Final = 60
_CANDLES: Final = 48
_EVENTS: Final = 100
_FEW: Final = 12
_DAYS: Final = 14
_TIMEFRAME: Final = "15m"
_PARTS: Final[Mapping[str, Callable[[Archive, str], Any]]] = {"quote": questions.quote, "book": questions.book}
"""Parts of the page of a pair, each with a template of its name."""
_OWN: Final = frozenset({"run", "format"})
"""Parameters of the page of a question that are not the question's."""


class Pages:
    """The pages over an archive."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the pages."""
        pages = {
            f"{paths.PAIR}{{pair:.+}}": self._pair,
            paths.ASK: self._ask,
            f"{paths.ASK}/{{name}}": self._question,
            paths.EVENTS: self._events,
            paths.CERTIFICATES: self._certificates,
        }
        return [
            web.post(paths.ASK, _handler(self._own_sql)),
            *(web.get(path, _handler(page)) for path, page in pages.items()),
        ]

    async def _pair(self, request: web.Request) -> web.StreamResponse:
        if "part" in request.query:
            return await self._part(request)
        known = {
            "part": parameters.text,
            "timeframe": parameters.text,
            "start": parameters.time_us,
            "stop": parameters.time_us,
        }
        written = {key: value for key, value in request.query.items() if value}
        given = parameters.read(written, known)
        timeframe = given.get("timeframe", _TIMEFRAME)
        limits = Range(given.get("start"), given.get("stop"))
        name = _pair_of(request)

        def look(archive: Archive) -> dict[str, Any]:
            pair = archive.resolve(name)
            return {
                "pair": pair,
                **{part: ask(archive, pair) for part, ask in _PARTS.items()},
                "tape": questions.trades(archive, pair, _TAPE, after=None, before=None)["trades"],
                "candles": questions.candles(archive, pair, timeframe, _CANDLES, limits)["candles"][::-1],
                "gaps": questions.listed(archive, "gaps", _FEW, None, newest=True, pair=pair)["gaps"],
                "events": questions.listed(archive, "events", _FEW, None, newest=True, pair=pair)["events"],
                "days": questions.listed(archive, "certificates", _DAYS, None, newest=True, pair=pair)["certificates"],
            }

        found = await self._workers.answer(look)
        return _html(
            "pair.html",
            **found,
            timeframe=timeframe,
            timeframes=questions.timeframes(),
            start=written.get("start", ""),
            stop=written.get("stop", ""),
        )

    async def _part(self, request: web.Request) -> web.StreamResponse:
        """Return a part of the page of a pair, which is fetched again and again."""
        part, name = request.query["part"], _pair_of(request)
        if part not in _PARTS:
            raise UsageError(f"part is not one of {', '.join(_PARTS)}")
        found = await self._workers.answer(lambda archive: _PARTS[part](archive, archive.resolve(name)))
        return _html(f"parts/{part}.html", **{part: found})

    async def _ask(self, _: web.Request) -> web.StreamResponse:
        return _html("ask.html", questions=catalogue.questions())

    async def _own_sql(self, request: web.Request) -> web.StreamResponse:
        """Answer a statement with the part of the page that shows its rows, or the problem."""
        try:
            statement = (await query_body(request)).sql
            if statement is None:
                raise UsageError("sql is missing")
            shown = await self._workers.answer(lambda archive: _shown(questions.own_sql(archive, statement)))
        except RecorderError as error:
            return _html("parts/answer.html", status=status_of(error), problem=str(error), answer=None)
        return _html("parts/answer.html", problem=None, address=None, **shown)

    async def _question(self, request: web.Request) -> web.StreamResponse:
        question = catalogue.question(request.match_info["name"])
        given = _given(question, request)
        chosen = answers.format_of(request.query.get("format"))
        shown: dict[str, Any] = {"answer": None}
        problem = None
        if "run" in request.query:
            try:
                if chosen is not Format.JSON:
                    return await self._download(question, given, chosen)
                shown = await self._workers.answer(
                    lambda archive: _shown(questions.named(archive, question.name, given))
                )
            except RecorderError as error:
                problem = str(error)
        written = {key: ",".join(value) if isinstance(value, list) else str(value) for key, value in given.items()}
        return _html(
            "question.html",
            status=400 if problem else 200,
            question=question,
            given=written,
            problem=problem,
            **shown,
            address=f"{paths.ASK}/{question.name}?{urlencode({**written, 'run': '1'})}",
        )

    async def _download(self, question: NamedQuery, given: Mapping[str, object], chosen: Format) -> web.StreamResponse:
        def rows(archive: Archive) -> tuple[Answer, bytes]:
            answer = questions.named(archive, question.name, given)
            return answer, answers.encoded(answer, chosen)

        answer, content = await self._workers.answer(rows)
        return answers.response(content, chosen, answer, question.name)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        known = {"cursor": parameters.CURSOR, "kind": parameters.text, "pair": parameters.pair}
        given = parameters.read({key: value for key, value in request.query.items() if value}, known)
        filters: dict[str, str] = {key: value for key, value in given.items() if key != "cursor"}
        page = await self._listed("events", _EVENTS, given.get("cursor"), filters)
        older, chosen = _following(page, filters), _chosen(filters)
        return _html("events.html", events=page["events"], older=older, chosen=chosen)

    async def _certificates(self, request: web.Request) -> web.StreamResponse:
        known = {"cursor": parameters.CURSOR, "pair": parameters.pair}
        given = parameters.read({key: value for key, value in request.query.items() if value}, known)
        filters: dict[str, str] = {key: value for key, value in given.items() if key != "cursor"}
        page = await self._listed("certificates", _EVENTS, given.get("cursor"), filters)
        older = _following(page, filters)
        return _html("certificates.html", days=page["certificates"], older=older, chosen=_chosen(filters))

    async def _listed(self, name: str, limit: int, cursor: str | None, filters: Mapping[str, str]) -> Page:
        return await self._workers.answer(
            lambda archive: questions.listed(archive, name, limit, cursor, newest=True, **filters)
        )


def _pair_of(request: web.Request) -> str:
    found: str = parameters.read({"pair": request.match_info["pair"]}, {"pair": parameters.pair})["pair"]
    return found


def _given(question: NamedQuery, request: web.Request) -> dict[str, object]:
    """Return the parameters of a form; a field that is left empty is not given."""
    found: dict[str, object] = {}
    kinds = {one.name: one.kind for one in question.parameters}
    for name, written in request.query.items():
        if written and name not in _OWN:
            found[name] = written.split(",") if kinds.get(name, "").endswith("[]") else written
    return parameters.of_query(found)


def _handler(
    page: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await page(request)
        except RecorderError as error:
            return _html("problem.html", status=status_of(error), problem=str(error))
        except Exception as error:  # noqa: BLE001 -- of any library: the log says which
            return _html("problem.html", status=500, problem=unexpected(request, error))

    return handle


def _html(template: str, *, status: int = 200, **content: object) -> web.Response:
    text = templates.rendered(template, **content)
    return web.Response(status=status, text=text, content_type="text/html", charset="utf-8")


def _chosen(filters: Mapping[str, str]) -> dict[str, str]:
    return {"kind": filters.get("kind", ""), "pair": filters.get("pair", "")}


def _following(page: Page, filters: Mapping[str, str]) -> str | None:
    return None if page["next"] is None else "?" + urlencode({**filters, "cursor": page["next"]})


def _shown(answer: Answer) -> dict[str, Any]:
    """Return what ``parts/answer.html`` shows of an answer; in the thread that asked, since there may be many rows."""
    rows = [[row_text.cell(value) for value in row] for row in row_text.rows(answer.rows.slice(0, SHOWN))]
    numeric = [
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        for kind in answer.rows.schema.types
    ]
    return {
        "answer": answer,
        "names": answer.rows.column_names,
        "rows": rows,
        "numeric": numeric,
        "figures": figures.figures(answer.rows),
    }
