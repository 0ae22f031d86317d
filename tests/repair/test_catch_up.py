from __future__ import annotations

from typing import cast

import pytest

from recorder.core.evidence import Anchored, Confirmed, Promised
from recorder.core.trade_ids import Run, Span
from recorder.errors import Malformed, RateLimited, Unavailable
from recorder.kraken import records, rest_api
from recorder.kraken.rest_api import Request
from recorder.net.http import HttpAnswer
from recorder.repair.catch_up import CLOCK_S, CatchUp
from tests.builders import BTC, PAIR, T0_US, events, trades
from tests.fakes import FakeHttp, Fakes


class Bench(Fakes):
    def __init__(self, last: int, held: int | None = None) -> None:
        self.http = FakeHttp(last)
        super().__init__(self.http)
        self.instruments = {PAIR: BTC}
        if held is not None:
            self.ledger.observe_trades(trades(1, held))
        self.tail = CatchUp(self.ledger, self.context, instruments=self.instruments)

    async def behind(self) -> int | None:
        """Fetch, and claim what was journalled, as the commit would."""
        last_id = await self.tail.fetch_newest(PAIR)
        self.journalled()
        return last_id

    def ids(self) -> list[int]:
        """Return the ids of all that was journalled."""
        return [t.trade_id for e in self.entries for t in records.trades(e)]

    @property
    def held(self) -> list[Span]:
        return list(self.ledger.of(PAIR).spans)


async def test_newer_trades_are_fetched_in_one_request_and_journalled() -> None:
    bench = Bench(130, held=100)
    assert await bench.behind() == 130
    assert bench.held == [Span(1, 130)]
    assert bench.ids() == list(range(99, 131))
    (request,) = bench.http.asked
    assert f"since={(T0_US + 100_000) * 1000 - 1_000_000}" in request.target


async def test_without_newer_trades_nothing_is_journalled() -> None:
    bench = Bench(100, held=100)
    assert await bench.behind() == 100
    assert bench.entries == []


async def test_an_empty_page_says_that_nothing_is_newer() -> None:
    bench = Bench(50, held=100)
    assert await bench.behind() == 100
    assert bench.entries == []


async def test_of_a_pair_of_which_nothing_is_held_the_newest_page_is_fetched() -> None:
    bench = Bench(500)
    assert await bench.behind() == 500
    assert bench.held == [Span(401, 500)]


async def test_a_pair_that_never_traded_has_the_last_id_0() -> None:
    assert await Bench(0).behind() == 0


async def test_after_a_full_page_the_newest_follows_and_leaves_a_gap_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rest_api, "PAGE_LIMIT", 100)
    bench = Bench(1000, held=100)
    assert await bench.behind() == 1000
    assert bench.held == [Span(1, 198), Span(901, 1000)]
    assert len(bench.http.asked) == 2
    assert "since" not in bench.http.asked[1].target


@pytest.mark.parametrize("problem", [Unavailable("HTTP 502"), RateLimited("slow down"), Malformed("odd")])
async def test_a_refusal_is_counted_and_told_and_holds_nothing_up(problem: Exception) -> None:
    bench = Bench(130, held=100)
    bench.http.problems = [cast("Unavailable", problem)]
    assert await bench.behind() is None
    assert bench.value("recorder_rest_failures_total", kind=type(problem).__name__) == 1
    assert bench.held == [Span(1, 100)]


async def test_an_unreadable_answer_is_journalled_under_a_source_of_its_own() -> None:
    bench = Bench(130, held=100)

    async def odd(request: Request) -> HttpAnswer:
        return HttpAnswer(1, b'{"error":[],"result":[]}', b"[]")

    bench.http.get = odd  # type: ignore[method-assign]
    assert await bench.behind() is None
    kept, note = bench.entries
    assert kept.payload == b'{"error":[],"result":[]}'
    assert isinstance(records.read(kept), records.UnreadableRecord)
    (event,) = events([note])
    assert (event.kind, event.pair) == ("malformed", PAIR)


async def test_a_pair_that_has_left_is_not_asked_for() -> None:
    bench = Bench(130, held=100)
    bench.instruments.clear()
    assert await bench.behind() is None
    assert bench.http.asked == []


# -- that nothing came ----------------------------------------------------------------------------------------------


async def confirmed(bench: Bench) -> Confirmed | None:
    """Ask, and return what was noted."""
    said = await bench.tail.confirm(PAIR)
    known = [inbound.known for inbound in bench.inbox.take() if inbound.known is not None]
    assert bool(known) == said
    return cast("Confirmed", known[0]) if known else None


async def test_an_answer_that_ends_with_the_last_trade_held_confirms_that_nothing_came() -> None:
    bench = Bench(100, held=100)
    bench.http.recv_ns, bench.http.date_s = 2_000_000_000_000_000_000, 1_999_999_990
    assert await confirmed(bench) == Confirmed(PAIR, 100, (1_999_999_990 - CLOCK_S) * 1_000_000)
    bench.http.date_s = 2_000_000_500  # whichever clock is ahead does not vouch
    assert await confirmed(bench) == Confirmed(PAIR, 100, (2_000_000_000 - CLOCK_S) * 1_000_000)


async def test_an_answer_that_ends_with_a_row_that_nobody_can_read_confirms_nothing() -> None:
    bench = Bench(101, held=100)
    bench.http.recv_ns, bench.http.date_s = 2_000_000_000_000_000_000, 1_999_999_990
    for odd in ("null", '["1","1",1783465205.101,"b","l",null,101]'):
        bench.http.odd = {101: odd}
        assert await confirmed(bench) is None
    bench.http.last, bench.http.odd = 100, {99: "null"}
    assert await confirmed(bench) is not None, "one before the last says nothing of what came after it"


async def test_news_is_journalled_and_confirms_nothing() -> None:
    bench = Bench(130, held=100)
    bench.http.date_s = 2_000_000_000
    assert not await bench.tail.confirm(PAIR)
    (inbound,) = bench.inbox.take()
    assert inbound.known is None
    assert [run.span for run in inbound.claims] == [Span(99, 130)]


@pytest.mark.parametrize("last", [50, 99])
async def test_an_answer_without_the_last_trade_held_confirms_nothing(last: int) -> None:
    bench = Bench(last, held=100)
    bench.http.date_s = 2_000_000_000
    assert await confirmed(bench) is None


async def test_a_full_page_that_ends_with_the_last_trade_held_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of more trades of one instant than a page holds, the others come after it.
    monkeypatch.setattr(rest_api, "PAGE_LIMIT", 2)
    bench = Bench(100, held=100)
    bench.http.date_s = 2_000_000_000
    assert await confirmed(bench) is None
    monkeypatch.setattr(rest_api, "PAGE_LIMIT", 3)
    bench.http.recv_ns = 2_000_000_000_000_000_000
    assert await confirmed(bench) is not None


async def test_without_the_servers_time_or_an_answer_or_a_trade_nothing_is_confirmed() -> None:
    bench = Bench(100, held=100)
    assert await confirmed(bench) is None
    bench.http.date_s = 2_000_000_000
    bench.http.problems = [Unavailable("HTTP 502")]
    assert await confirmed(bench) is None
    assert await confirmed(Bench(100)) is None
    bench.instruments.clear()
    assert await confirmed(bench) is None


@pytest.mark.parametrize("last_id", [0, 7])
async def test_a_pair_without_trades_since_its_promise_is_confirmed(last_id: int) -> None:
    bench = Bench(last_id)
    bench.ledger.know(Promised(PAIR, T0_US + 900_000))
    assert not await confirmed(bench)  # not before it is anchored
    bench.ledger.know(Anchored(PAIR, T0_US + 900_000, last_id))
    bench.http.recv_ns, bench.http.date_s = 2_000_000_000_000_000_000, 1_999_999_990
    assert await confirmed(bench) == Confirmed(PAIR, last_id, (1_999_999_990 - CLOCK_S) * 1_000_000)
    assert not bench.held


async def test_what_came_unheard_since_the_promise_is_fetched_instead() -> None:
    bench = Bench(9)
    bench.ledger.know(Promised(PAIR, T0_US + 8_000))
    bench.ledger.know(Anchored(PAIR, T0_US + 8_000, 7))
    bench.http.date_s = 2_000_000_000
    assert not await bench.tail.confirm(PAIR)
    bench.journalled()
    assert bench.held == [Span(1, 9)]


# -- odd times ------------------------------------------------------------------------------------------------------

IN_2102_US, IN_2013_US = 4_176_528_432_000_000, 1_370_000_000_000_000


@pytest.mark.parametrize("odd_us", [IN_2102_US, IN_2013_US, 0, -62_135_596_800_000_000])
async def test_what_is_newer_than_a_trade_with_an_odd_time_is_fetched_nevertheless(odd_us: int) -> None:
    bench = Bench(last=9_000)
    bench.ledger.observe(Run(PAIR, Span(8_950, 8_950), odd_us, odd_us))
    assert await bench.tail.fetch_newest(PAIR) == 9_000
    assert bench.http.asked
    assert len(bench.http.asked) <= 2
