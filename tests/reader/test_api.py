"""The API over an archive, in this process: each address against the document that describes it."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp.test_utils import TestClient, TestServer

from recorder.clock import SystemClock
from recorder.core.model import Event
from recorder.page import static_files
from recorder.page.paths import API
from recorder.reader import answers
from recorder.reader.__main__ import application
from recorder.reader.api import Api
from recorder.reader.questions import Answer
from recorder.reader.workers import TooLong, Workers
from tests.archives import Written, at_us, trades, writing

found = static_files.static_file("openapi.json")
assert found is not None
OPENAPI = json.loads(found.content)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """BTC/USD 1 to 120 without 51 to 59, the last 20 only in the journal; ETH/USD; five events."""
    with writing(tmp_path_factory.mktemp("api") / "data") as written:
        written.append([*trades(1, 50), *trades(60, 100), *trades(5, 9, pair="ETH/USD")])
        written.journalled(trades(101, 120))
        written.noted(*(Event(at_us(number), "connected", None, f'{{"connection":{number}}}') for number in range(5)))
        yield written


@pytest.fixture(scope="module")
def workers(archive: Written) -> Iterator[Workers]:
    made = Workers(archive.data, at_once=1)
    yield made
    made.close()


@asynccontextmanager
async def asking(archive: Written, workers: Workers) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(application(archive.data, workers))) as client:
        yield client


async def get(client: TestClient[Any, Any], path: str, **parameters: str) -> Any:
    """Return the answer, after comparing it with the document."""
    async with client.get(API + path, params=parameters) as answer:
        content = await answer.json()
        assert answer.status == 200, content
        check(content, OPENAPI["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"])
        return content


def check(content: Any, schema: dict[str, Any]) -> None:
    jsonschema.validate(content, {**schema, "components": OPENAPI["components"]})


def test_the_document_lists_every_address_with_exactly_its_parameters(archive: Written, workers: Workers) -> None:
    endpoints = Api(archive.data, workers, SystemClock()).endpoints
    served = {(one.path, one.method.lower()): (set(one.known), set(one.needed)) for one in endpoints}
    written = {
        (path, method): (
            {one["name"] for one in said.get("parameters", ())},
            {one["name"] for one in said.get("parameters", ()) if one.get("required")},
        )
        for path, methods in OPENAPI["paths"].items()
        for method, said in methods.items()
    }
    assert served == written


async def test_lists_come_in_pages_that_are_as_documented(archive: Written, workers: Workers) -> None:
    async with asking(archive, workers) as client:
        assert [one["pair"] for one in (await get(client, "/pairs"))["pairs"]] == ["BTC/USD", "ETH/USD"]
        (gap,) = (await get(client, "/gaps", pair="XBTUSD"))["gaps"]
        assert (gap["first_id"], gap["last_id"], gap["state"]) == (51, 59, "open")
        day = "2025-11-10"
        (certificate,) = (await get(client, "/certificates", pair="BTC/USD", start=day, stop="2025-11-11"))[
            "certificates"
        ]
        assert (certificate["day"], certificate["status"], certificate["missing"]) == (day, "open", 9)
        seen: list[str] = []
        page: dict[str, Any] = {"next": None}
        while not seen or page["next"]:
            more = {"cursor": page["next"]} if page["next"] else {}
            page = await get(client, "/events", kind="connected", limit="2", **more)
            seen += [one["detail"] for one in page["events"]]
        assert seen == [f'{{"connection":{number}}}' for number in range(5)]
        assert await get(client, "/events", stop=day) == {"events": [], "next": None}


async def test_trades_are_paged_over_gaps_in_both_directions_and_with_what_is_only_journalled(
    archive: Written, workers: Workers
) -> None:
    async with asking(archive, workers) as client:
        for direction, first, expected in (
            ("after", "0", [*range(1, 51), *range(60, 121)]),
            ("before", "1000", [*range(120, 59, -1), *range(50, 0, -1)]),
        ):
            ids: list[int] = []
            following: str | None = first
            while following is not None:
                page = await get(client, "/trades", pair="BTC/USD", limit="60", **{direction: following})
                ids += [one["trade_id"] for one in page["trades"]]
                following = None if page["next"] is None else str(page["next"])
            assert ids == expected
        newest = (await get(client, "/trades", pair="BTC/USD", limit="1"))["trades"]
        assert newest[0] | {"received": None} == {
            "trade_id": 120, "time": "2025-11-10T12:02:00Z", "price": "100", "qty": "1", "side": "buy",
            "ord_type": "limit", "misc": "", "source": "ws", "received": None,
        }  # fmt: skip


async def test_candles_and_charts_are_of_the_range_or_of_the_last_bars(archive: Written, workers: Workers) -> None:
    async with asking(archive, workers) as client:
        last = await get(client, "/candles", pair="BTC/USD", timeframe="1m", limit="2")
        assert [(one["time"], one["count"]) for one in last["candles"]] == [
            ("2025-11-10T12:01:00Z", 60),
            ("2025-11-10T12:02:00Z", 1),
        ]
        before = await get(client, "/candles", pair="BTC/USD", timeframe="1m", limit="2", stop=last["previous"])
        assert [one["count"] for one in before["candles"]] == [50]
        first = await get(client, "/candles", pair="BTC/USD", timeframe="1m", limit="1", start="2025-11-10T12:00:00Z")
        assert (first["candles"][0]["complete"], first["next"]) == (False, "2025-11-10T12:01:00Z")
        drawn = await get(client, "/chart", pair="BTC/USD", timeframe="1m")
        assert [span["missing"] for span in drawn["spans"] if span["kind"] == "missing"] == [9]
        assert (await get(client, "/chart", pair="BTC/USD", timeframe="1m", stop="2025-11-01"))["bars"] is None


@pytest.mark.filterwarnings("ignore:trades may be missing")
async def test_queries_answer_in_every_format_with_their_completeness(archive: Written, workers: Workers) -> None:
    async with asking(archive, workers) as client:
        asked: dict[str, Any] = {"sql": "SELECT trade_id, price FROM trades WHERE pair = 'BTC/USD' ORDER BY 1 DESC;"}
        bodies = {}
        for form in ("json", "csv", "parquet", "arrow"):
            async with client.post(f"{API}/query", json={**asked, "format": form}) as answer:
                bodies[form], headers = await answer.read(), answer.headers
                assert answer.status == 200
                if form != "json":
                    assert json.loads(headers["Completeness"])["missing"] == {"BTC/USD": 9}
        content = json.loads(bodies["json"])
        check(content, {"$ref": "#/components/schemas/Answer"})
        assert (content["rows"][0], content["truncated"]) == ([120, "100"], False)
        assert bodies["csv"].splitlines()[:2] == [b"trade_id,price", b"120,100"]
        assert pq.read_table(io.BytesIO(bodies["parquet"])).num_rows == 111
        assert pa.ipc.open_stream(bodies["arrow"]).read_all().num_rows == 111
        named = {"name": "vwap", "parameters": {"pair": "BTC/USD", "width": "1 minute"}}
        async with client.post(f"{API}/query", json=named) as answer:
            content = await answer.json()
            assert (len(content["rows"]), content["completeness"]["missing"]) == (3, {"BTC/USD": 9})
        async with client.get(f"{API}/catalogue") as answer:
            check(await answer.json(), OPENAPI["paths"]["/catalogue"]["get"]["responses"]["200"]["content"][
                "application/json"]["schema"])  # fmt: skip


async def test_what_cannot_be_answered_is_refused_in_a_sentence(archive: Written, workers: Workers) -> None:
    async with asking(archive, workers) as client:
        for path, expected in {
            "/trades": "pair is missing, such as BTC/USD",
            "/trades?pair=BTC/USD&aftr=1": "there is no parameter 'aftr'; did you mean after?",
            "/trades?pair=BTC/USD&after=-1": "after is '-1': a number from 0 to",
            "/trades?pair=BTC/USD&after=1&before=2": "and not both",
            "/trades?pair=NO/PE": "NO/PE",
            f"/gaps?pair={'x' * 300}": "a pair's name has at most 64 bytes",
            "/candles?pair=BTC/USD&timeframe=2m": "'2m'",
            "/candles?pair=BTC/USD&timeframe=1m&start=x": "start is 'x': ",
            "/events?cursor=x": "cursor is not one that an answer gave as next",
            "/events?limit=0": "a number from 1 to 10000",
            "/trades/stream?pairs=BTC/USD&after=BTC/USD": "is no place to resume from",
            "/trades/stream?pairs=BTC/USD&format=xml": "write ndjson or sse",
        }.items():
            async with client.get(API + path) as answer:
                assert (answer.status, (await answer.json())["error"].count(expected)) == (400, 1), path
        for body, expected in (
            ({"sql": "COPY trades TO '/tmp/x.csv'"}, "COPY is refused"),
            ({"sql": "FROM read_text('/etc/hostname')"}, "Permission"),
            ({"sql": "FROM '/etc/hostname'"}, "DuckDB"),
            ({"sql": "SELECT 1; SELECT 2"}, "these are 2 SQL statements"),
            ({"sql": "SET threads = 9"}, "SET is refused"),
            ({"name": "vwap", "parameters": {"pair": "BTC/USD", "to": "pandas"}}, "no parameter 'to'"),
            ({"name": "nope"}, "there is no query 'nope'"),
            ({"name": "vwap", "parameters": {"pair": "x" * 400}}, "a pair's name has at most 64 bytes"),
            (
                {"name": "correlation", "parameters": {"pairs": ["BTC/USD", "\ud800"]}},
                "the body is not what is expected",
            ),
            ({"sql": "SELECT '\ud800'"}, "the body is not what is expected"),
            ({}, "give either sql"),
            ({"sql": "SELECT 1", "limit": 3}, "the body is not what is expected"),
            ({"sql": "x" * 70_000}, "the body has more than 65,536 bytes"),
        ):
            async with client.post(f"{API}/query", json=body) as answer:
                assert (answer.status, (await answer.json())["error"].count(expected)) == (400, 1), body


def test_the_header_of_a_download_stays_short_with_any_number_of_pairs() -> None:
    missing = {f"PAIR{number}/USD": number for number in range(1, 1_001)}
    answer = Answer(pa.table({"x": [1]}), "SELECT 1", missing, dict.fromkeys(missing, "2025-11-10T12:00:00Z"))
    header = answers.response(b"", answers.Format.CSV, answer, "query").headers["Completeness"]
    assert len(header) < 4_096
    assert json.loads(header)["missing"]["PAIR1000/USD"] == 1_000
    assert not json.loads(header)["complete"]


async def test_answers_are_cut_at_a_hundred_thousand_rows(archive: Written, workers: Workers) -> None:
    async with (
        asking(archive, workers) as client,
        client.post(f"{API}/query", json={"sql": "FROM range(1000000)", "format": "csv"}) as answer,
    ):
        assert json.loads(answer.headers["Completeness"])["truncated"]
        assert (await answer.read()).count(b"\n") == 100_001


async def test_a_query_that_takes_too_long_is_interrupted_and_the_next_one_answered(archive: Written) -> None:
    hasty = Workers(archive.data, at_once=1, limit_s=0.5)
    try:
        with pytest.raises(TooLong, match=r"it took longer than 0\.5 s"):
            await hasty.answer(
                lambda opened: opened.sql("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b")
            )
        hasty._limit_s = 60
        assert await hasty.answer(lambda opened: opened.pairs()) == ["BTC/USD", "ETH/USD"]
    finally:
        hasty.close()


async def lines(answer: aiohttp.ClientResponse, count: int) -> list[str]:
    return [(await answer.content.readline()).decode() for _ in range(count)]


async def test_a_stream_waits_for_missing_trades_says_so_and_is_resumed_exactly(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as written:
        written.append([*trades(1, 3), *trades(7, 8), *trades(5, 6, pair="ETH/USD")])
        workers = Workers(written.data, at_once=1)
        async with asking(written, workers) as client:
            path = f"{API}/trades/stream?pairs=BTC/USD,ETH/USD&after=BTC/USD:2,ETH/USD:5"
            async with client.get(path) as answer:
                seen = [json.loads(line) for line in await lines(answer, 3)]
                for one in seen:
                    check(one, {"$ref": "#/components/schemas/StreamLine"})
                ids = sorted((one["pair"], one["trade_id"]) for one in seen if "pair" in one)
                assert ids == [("BTC/USD", 3), ("ETH/USD", 6)]
                assert [one for one in seen if "waiting" in one] == [{"waiting": {"BTC/USD": [4, 6]}}]
            written.append(trades(4, 6))  # the gap closes meanwhile
            resumed = {"Accept": "text/event-stream", "Last-Event-ID": "BTC/USD:3,ETH/USD:6"}
            async with client.get(f"{API}/trades/stream?pairs=BTC/USD,ETH/USD", headers=resumed) as answer:
                assert answer.content_type == "text/event-stream"
                events = "".join(await lines(answer, 20)).split("\n\n")[:5]
                assert [event.splitlines()[0] for event in events] == [
                    f"id: BTC/USD:{number},ETH/USD:6" for number in (4, 5, 6, 7, 8)
                ]
                assert all(event.splitlines()[1] == "event: trade" for event in events)
        workers.close()
