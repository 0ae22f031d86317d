"""The pages of the archive as their HTML, in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from recorder.reader.__main__ import application
from recorder.reader.workers import Workers
from tests.archives import Written, at_us, quote, trades, writing

ASK = "/ask"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """Trades of BTC/USD with a quote and a verified book, and of ETH/USD with a book that is as received."""
    with writing(tmp_path_factory.mktemp("pages") / "data") as written:
        written.append([*trades(1, 10), *trades(20, 90), *trades(1, 3, pair="ETH/USD"), *trades(1, 3, pair="ADA/USD")])
        earlier, newest = quote(1, 0, at_us(1), "99", "102"), quote(1, 1, at_us(2), "100.5", "101.5")
        written.quoted([earlier, newest])
        written.one_book({"100.1": "2", "100": "1"}, {"100.3": "3", "101": "0.5"}, at_us(2))
        written.one_book({"9": "1"}, {}, at_us(1), pair="ETH/USD", verified=False)
        written.one_book({"10": "1"}, {"11": "4"}, at_us(2), pair="ETH/USD")
        yield written


@pytest.fixture(scope="module")
def workers(archive: Written) -> Iterator[Workers]:
    made = Workers(archive.data, at_once=1)
    yield made
    made.close()


async def test_quotes_and_books_are_shown_where_they_are_recorded(archive: Written, workers: Workers) -> None:
    async with TestClient(TestServer(application(archive.data, workers))) as client:

        async def page(path: str) -> str:
            async with client.get(path) as answer:
                assert answer.status == 200, await answer.text()
                return " ".join((await answer.text()).replace("><", "> <").split())

        whole = await page("/pair/BTC/USD")
        parts = [await page(f"/pair/BTC/USD?part={part}") for part in ("quote", "book")]
        assert all(part in whole for part in parts)
        market = " ".join(parts)
        for shown in ("100.5<small>", "101.5<small>", "1<small>99 bp</small>", "verified,", "3.5"):
            assert shown in market, shown
        assert f'data-age="{at_us(2) // 1000}"' in market
        levels = [row.split("<td")[2].split(">")[1].split("<")[0] for row in market.split('<tr class="')[1:]]
        assert levels == ["101.0", "100.3", "100.1", "100.0"]
        assert 'class="bid best"' in market
        other = await page("/pair/ETH/USD")
        assert "Best bid and ask" not in other
        assert "10<" in other
        neither = await page("/pair/ADA/USD")
        assert "Order book" not in neither
        assert 'id="market"' not in neither
        async with client.get("/pair/ADA/USD?part=<b>") as answer:
            assert (answer.status, "part is not one of quote, book" in await answer.text()) == (400, True)


@pytest.mark.filterwarnings("ignore:trades may be missing")
async def test_a_statement_is_answered_like_a_question_with_charts_and_completeness(
    archive: Written, workers: Workers
) -> None:
    async with TestClient(TestServer(application(archive.data, workers))) as client:
        statement = "SELECT time, close FROM candles('BTC/USD', '1m') ORDER BY time DESC"
        async with client.post(ASK, json={"sql": statement}) as answer:
            text = await answer.text()
            assert answer.status == 200
        assert text.lstrip().startswith('<section class="answer"')
        assert 'aria-label="close between 100 and 100, from 2025-11-10 12:00:00 to 2025-11-10 12:01:00"' in text
        assert "BTC/USD: 9 trades of the archive missing." in text
        async with client.post(
            ASK, json={"sql": "SELECT pair, count(*) AS n FROM trades GROUP BY 1 ORDER BY 1"}
        ) as answer:
            assert 'aria-label="n between 0 and 81, from ADA/USD to ETH/USD"' in await answer.text()
        async with client.get(f"{ASK}/vwap?pair=BTC/USD&width=1+minute&run=1") as answer:
            question = await answer.text()
        assert "9 trades of the range missing" in question
        assert question.count("<figure") == 3
        assert "format=csv" in question
        async with client.get(f"{ASK}/vwap?pair=BTC/USD&width=1+minute&run=1&format=csv") as answer:
            assert (answer.content_type, (await answer.text()).count("\n")) == ("text/csv", 3)
        for body, expected in (
            ({"sql": "COPY trades TO '/tmp/x.csv'"}, "COPY is refused"),
            ({"sql": "SELECT '<script>' AS x FROM nope"}, "nope"),
            ({"name": "vwap"}, "sql is missing"),
            ({}, "sql is missing"),
        ):
            async with client.post(ASK, json=body) as answer:
                text = await answer.text()
                assert (answer.status, text.count('class="problem"'), expected in text) == (400, 1, True), body
        async with client.post(ASK, json={"sql": "SELECT '<script>' AS \"<b>\""}) as answer:
            text = await answer.text()
            assert "<script>" not in text
            assert "<b>" not in text
