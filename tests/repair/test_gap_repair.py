from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from recorder.archive.coverage import Coverage
from recorder.core.evidence import Anchored, Promised, Unreadable, Void
from recorder.core.trade_ids import Run, Span
from recorder.core.void_evidence import APART_S
from recorder.errors import DiskError, Unavailable, UnknownPair
from recorder.kraken.gap_fill import OVERLAPS_NS, STALLED_PAGES
from recorder.kraken.rest_api import Request
from recorder.net.http import HttpAnswer
from recorder.repair import fetch_trades
from recorder.repair.fetch_trades import Fetcher
from recorder.repair.gap_repair import LAST_RETRY_S, UNREADABLE_S, Repair
from tests.builders import BTC, ETH, PAIR, T0_US, Shop, shop, trades
from tests.clocks import asleep, settle, settle_until
from tests.fakes import JUMP, FakeHttp, Fakes


class Bench(Fakes):
    def __init__(self, opened: Shop, http: FakeHttp | None = None) -> None:
        self.opened, self.http = opened, http or FakeHttp()
        super().__init__(self.http)
        self.instruments = {PAIR: BTC, "ETH/USD": ETH}
        self.earlier: list[str] = []
        self.fetcher = Fetcher(
            self.ledger,
            opened.archive,
            self.exchange,
            instruments=self.instruments,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.repair = Repair(
            self.ledger,
            self.fetcher,
            self.context,
            instruments=self.instruments,
            history_from_us=None,
            earlier_names=lambda pair: self.earlier if pair == PAIR else [],
            damaged=self.damage,
        )
        self.damaged: list[str] = []

    def damage(self, pair: str, error: Exception) -> None:
        """Take that the files of a pair cannot be trusted: nothing is asked for it any more."""
        if isinstance(error, DiskError):
            raise error
        self.damaged.append(pair)
        del self.instruments[pair]

    def hold(self, *spans: tuple[int, int], pair: str = PAIR) -> None:
        for first, last in spans:
            self.ledger.observe_trades(trades(first, last, pair=pair))

    def ids_noted(self) -> list[tuple[str, int, int]]:
        """Return the kind and the ids of each note since the last look."""
        self.details = self.noted()
        return [(detail["kind"], detail["first_id"], detail["last_id"]) for detail in self.details]


@contextlib.asynccontextmanager
async def repairing(tmp_path: Path) -> AsyncIterator[tuple[Bench, Callable[[], None]]]:
    with shop(tmp_path) as opened:
        bench = Bench(opened)
        started: list[asyncio.Task[None]] = []
        try:
            yield bench, lambda: started.append(asyncio.create_task(bench.repair.run()))
        finally:
            for task in started:
                task.cancel()
                await asyncio.wait([task])


async def test_a_bad_file_that_a_fetch_meets_ends_the_work_for_its_pair_alone(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.opened.archive.append(PAIR, trades(1, 2))
        bench.opened.archive.coverage = Coverage(bench.opened.layout, bench.opened.disk)
        bench.opened.layout.trade_files(PAIR)[0].write_bytes(b"PAR1")
        for pair in (PAIR, "ETH/USD"):
            bench.hold((1, 10), (500, 600), pair=pair)
        start()
        await settle_until(lambda: not bench.ledger.of("ETH/USD").gaps())
        assert bench.damaged == [PAIR]
        assert bench.ledger.of(PAIR).gaps()


async def test_a_hole_is_fetched_archived_and_then_counted_as_held(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (500, 600))
        start()
        await settle_until(lambda: not bench.ledger.of(PAIR).gaps())
        assert bench.opened.ids() == list(range(11, 500))
        assert 5 <= len(bench.http.asked) <= 7


async def test_a_hole_seen_later_wakes_it(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        start()
        await settle()
        bench.hold((1, 10), (20, 30))
        await settle()
        assert bench.http.asked == []
        bench.repair.hole_seen()
        await settle_until(lambda: not bench.ledger.of(PAIR).gaps())


async def test_a_refused_repair_leaves_its_hole_open_and_is_tried_again(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (20, 30))
        bench.http.problems = [Unavailable("HTTP 502"), UnknownPair("EQuery:Unknown asset pair")]
        start()
        await asleep(bench.clock)
        assert bench.ledger.of(PAIR).gaps()
        bench.clock.move(4.9)
        await settle()
        assert len(bench.http.asked) == 1
        bench.clock.move(0.2)
        await settle_until(lambda: len(bench.http.asked) == 2 and bench.clock.sleepers == 1)
        bench.clock.move(10.1)
        await settle_until(lambda: not bench.ledger.of(PAIR).gaps())


async def test_only_answers_without_the_ids_make_it_look_further_back(tmp_path: Path) -> None:
    """A refusal says nothing about where to look; looking further costs pages, which refusals would cut again."""
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 4_000), (4_020, 4_030))
        bench.http.problems = [Unavailable("HTTP 502")] * 3
        start()
        for _ in range(3):
            await asleep(bench.clock)
            bench.clock.move(LAST_RETRY_S)
        await settle_until(lambda: not bench.ledger.of(PAIR).gaps())
        assert len({request.target for request in bench.http.asked}) == 1


async def test_ids_that_the_exchange_does_not_serve_stay_a_hole(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (500, 600))
        bench.http.last = 300
        start()
        await asleep(bench.clock)
        (hole,) = bench.ledger.of(PAIR).gaps()
        assert (hole.span.first, hole.span.last) == (301, 499)
        assert bench.opened.ids() == list(range(11, 301))


async def test_a_problem_half_way_keeps_what_came_before_it(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (500, 600))
        real_get = bench.http.get

        async def get(request: Request) -> HttpAnswer:
            if len(bench.http.asked) == 2:
                bench.http.problems = [Unavailable("truncated")]
            return await real_get(request)

        bench.http.get = get  # type: ignore[method-assign]
        start()
        await asleep(bench.clock)
        assert bench.opened.ids() == list(range(11, 11 + len(bench.opened.ids())))
        assert len(bench.opened.ids()) > 100


async def test_newest_holes_come_first(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (20, 30))
        bench.hold((1, 10), (2000, 2010), pair="ETH/USD")
        start()
        await settle_until(lambda: not bench.ledger.of(PAIR).gaps() and not bench.ledger.of("ETH/USD").gaps())
        pairs = [parse_qs(request.target.partition("?")[2])["pair"][0] for request in bench.http.asked]
        assert pairs[0] == "ETHUSD"
        assert pairs[-1] == "XBTUSD"


async def test_many_small_holes_are_closed_by_the_pages_that_hold_them(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold(*((3 * n + 1, 3 * n + 2) for n in range(301)))
        start()
        await settle_until(lambda: not bench.ledger.of(PAIR).gaps())
        assert bench.opened.ids() == list(range(3, 903, 3))
        assert len(bench.http.asked) <= 12  # of a hundred rows each


async def test_a_pair_that_is_refused_waits_with_all_its_holes(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold(*((n, n) for n in range(1, 9_000, 1_000)))
        bench.hold((1, 10), (20, 30), pair="ETH/USD")
        bench.http.problems = [Unavailable("HTTP 502"), Unavailable("HTTP 502")]
        start()
        await asleep(bench.clock)
        assert len(bench.http.asked) == 2
        bench.clock.move(5.1)
        await settle_until(lambda: not bench.ledger.of(PAIR).gaps() and not bench.ledger.of("ETH/USD").gaps())


async def test_tens_of_thousands_of_holes_are_one_note_and_closed_bit_by_bit(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.ledger.observe_all(
            Run(PAIR, Span(2 * n + 1, 2 * n + 1), T0_US + 2000 * n + 1000, T0_US + 2000 * n + 1000)
            for n in range(60_001)
        )
        bench.http.last = 120_001
        start()
        await settle_until(lambda: len(bench.http.asked) >= 10)
        assert bench.ids_noted() == [("hole_opened", 2, 120_000)]
        assert (bench.details[0]["missing"], bench.details[0]["holes"]) == (60_000, 60_000)


async def test_what_an_answer_stepped_over_waits_for_the_proof_while_the_rest_goes_on(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        lacking = frozenset(range(2_005, 3_000, 100))
        bench.http.lacking = lacking
        bench.hold((1, 2_000))
        bench.hold(*((first, first + 79) for first in range(2_011, 3_011, 100)))
        start()
        await asleep(bench.clock)
        assert ids_missing(bench) == lacking
        bench.noted()
        for _ in range(3):
            bench.clock.move(APART_S)
            await asleep(bench.clock)
        assert {first for kind, first, _ in bench.ids_noted() if kind == "void"} == lacking


def ids_missing(bench: Bench) -> set[int]:
    return {i for gap in bench.ledger.of(PAIR).gaps() for i in range(gap.span.first, gap.span.last + 1)}


async def test_a_hole_is_noted_once_when_it_opens_and_once_when_it_is_held_again(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (500, 600))
        bench.http.problems = [Unavailable("HTTP 502")]
        start()
        await asleep(bench.clock)
        assert bench.ids_noted() == [("hole_opened", 11, 499)]
        (detail,) = bench.details
        assert detail == {
            "kind": "hole_opened",
            "pair": PAIR,
            "first_id": 11,
            "last_id": 499,
            "missing": 489,
            "after": "2026-07-07T23:00:05.010000Z",
            "before": "2026-07-07T23:00:05.500000Z",
        }
        bench.clock.move(5.1)
        await settle_until(lambda: not bench.ledger.of(PAIR).gaps())
        await asleep(bench.clock)
        assert bench.ids_noted() == [("hole_closed", 11, 499)]
        assert bench.details[0]["missing"] == 489


async def test_a_hole_that_is_filled_in_part_is_neither_closed_nor_opened_anew(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (500, 600))
        bench.http.last = 10
        start()
        await asleep(bench.clock)
        assert bench.ids_noted() == [("hole_opened", 11, 499)]
        bench.hold((100, 200))
        bench.repair.hole_seen()
        await asleep(bench.clock, 2)
        assert len(bench.ledger.of(PAIR).gaps()) == 2
        assert bench.ids_noted() == []
        bench.hold((11, 99))
        bench.clock.move(2 * LAST_RETRY_S)
        await asleep(bench.clock)
        assert bench.ids_noted() == []
        bench.hold((201, 499))
        bench.clock.move(2 * LAST_RETRY_S)
        await settle()
        assert bench.ids_noted() == [("hole_closed", 11, 499)]


async def test_a_hole_that_others_fill_is_noted_as_closed_and_no_longer_asked_for(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (20, 30))
        bench.http.problems = [Unavailable("HTTP 502")]
        start()
        await asleep(bench.clock)
        bench.hold((5, 25))
        asked = len(bench.http.asked)
        bench.clock.move(LAST_RETRY_S)
        await settle()
        assert bench.ids_noted() == [("hole_opened", 11, 19), ("hole_closed", 11, 19)]
        assert len(bench.http.asked) == asked


async def test_ids_that_are_found_void_close_their_hole(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (20, 30))
        bench.http.last = 10
        start()
        await asleep(bench.clock)
        bench.ledger.know(Void(PAIR, Span(15, 15)))
        bench.repair.hole_seen()
        await asleep(bench.clock, 2)
        assert bench.ids_noted() == [("hole_opened", 11, 19)], "parted by void ids, it is still the same hole"
        bench.ledger.know(Void(PAIR, Span(11, 19)))
        bench.repair.hole_seen()
        await asleep(bench.clock, 3)
        assert bench.ids_noted() == [("hole_closed", 11, 19)]


async def test_a_gap_that_opens_during_a_long_repair_is_noted_and_repaired_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_trades, "BATCH_ROWS", 300)
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (900, 1000))
        real_get = bench.http.get

        async def get(request: Request) -> HttpAnswer:
            if len(bench.http.asked) == 1:
                bench.hold((2000, 2010))
            return await real_get(request)

        bench.http.get = get  # type: ignore[method-assign]
        start()
        await settle_until(lambda: not bench.ledger.of(PAIR).gaps())
        await asleep(bench.clock)
        assert bench.ids_noted() == [
            ("hole_opened", 11, 899),
            ("hole_opened", 1001, 1999),
            ("hole_closed", 1001, 1999),
            ("hole_closed", 11, 899),
        ]


async def test_gaps_of_added_pairs_are_planned_and_those_of_dropped_pairs_stay(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        del bench.instruments["ETH/USD"]
        bench.hold((1, 10), (20, 30), pair="ETH/USD")
        start()
        await asleep(bench.clock)
        assert (bench.ids_noted(), bench.http.asked) == ([], [])
        bench.instruments["ETH/USD"] = ETH
        bench.repair.follow([ETH], [])
        await settle_until(lambda: not bench.ledger.of("ETH/USD").gaps())
        await asleep(bench.clock, 2)
        assert bench.ids_noted() == [("hole_opened", 11, 19), ("hole_closed", 11, 19)]
        asked = len(bench.http.asked)
        del bench.instruments[PAIR]
        bench.repair.follow([], [PAIR])
        bench.hold((1, 10), (20, 30))
        bench.repair.hole_seen()
        await asleep(bench.clock, 3)
        assert (bench.ids_noted(), len(bench.http.asked)) == ([], asked)


async def test_a_pair_that_goes_while_its_hole_is_filled_is_asked_for_no_more(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.hold((1, 10), (2000, 2010))
        real_get = bench.http.get

        async def get(request: Request) -> HttpAnswer:
            if len(bench.http.asked) == 2:
                del bench.instruments[PAIR]
            return await real_get(request)

        bench.http.get = get  # type: ignore[method-assign]
        start()
        await asleep(bench.clock)
        assert len(bench.http.asked) == 3
        assert bench.opened.ids(), "what was fetched is kept"
        assert bench.ledger.of(PAIR).gaps()


async def test_ids_that_two_answers_some_minutes_apart_step_over_are_noted_as_void(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.http.lacking = frozenset({2_015, 2_016})
        bench.hold((1, 2_010), (2_020, 2_030))
        start()
        await asleep(bench.clock)
        bench.ids_noted()
        attempts = 0
        while not (noted := bench.ids_noted()):
            attempts += 1
            assert attempts <= 3, "asking before an answer can prove something is no manner"
            bench.clock.move(APART_S)
            await asleep(bench.clock)
        assert noted == [("void", 2_015, 2_016)]
        assert bench.details[0]["answers"] == 2
        assert bench.details[0]["apart_s"] >= APART_S


@pytest.mark.parametrize(
    "row", ["null", '["1","1",null,"b","l","",2015]', '["1","1",1783465207.015,"b","l",null,2015]']
)
async def test_ids_with_odd_rows_in_two_answers_minutes_apart_are_unreadable(tmp_path: Path, row: str) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.http.odd = {2_015: row}
        bench.hold((1, 2_010), (2_020, 2_030))
        start()
        await asleep(bench.clock)
        (hole,) = bench.ledger.of(PAIR).gaps()
        assert hole.span == Span(2_015, 2_015), "the others of the page are stored"
        bench.ids_noted()
        attempts = 0
        while not (noted := bench.ids_noted()):
            attempts += 1
            assert attempts <= 3, "asking before an answer can prove something is no manner"
            bench.clock.move(APART_S)
            await asleep(bench.clock)
        assert noted == [("unreadable", 2_015, 2_015)]
        (detail,) = bench.details
        assert (detail["row"], detail["answers"]) == (row, 2)
        assert detail["apart_s"] >= APART_S


async def test_a_page_of_which_nothing_can_be_read_leaves_its_gap_and_no_other(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.http.odd = dict.fromkeys(range(3_900, 6_000), "null")
        bench.hold((1, 2_010), (2_020, 4_000), (4_300, 8_000), (8_020, 8_100))
        start()
        await asleep(bench.clock)
        assert [gap.span for gap in bench.ledger.of(PAIR).gaps()] == [Span(4_001, 4_299)]


async def test_unreadable_ids_are_requested_at_start_and_daily_until_readable(
    tmp_path: Path,
) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.http.odd = {2_015: "null"}
        bench.hold((1, 2_014), (2_016, 2_030))
        bench.ledger.know(Unreadable(PAIR, Span(2_015, 2_015)))
        assert bench.ledger.of(PAIR).gaps() == ()
        start()
        await asleep(bench.clock)
        assert len(bench.http.asked) == 1
        for _ in range(int(UNREADABLE_S / LAST_RETRY_S) - 1):
            bench.clock.move(LAST_RETRY_S)
            await asleep(bench.clock)
        assert len(bench.http.asked) == 1
        bench.http.odd = {}
        bench.clock.move(2 * LAST_RETRY_S)
        await settle_until(lambda: 2_015 in bench.ledger.of(PAIR).spans)
        assert not bench.ledger.of(PAIR).unreadable


async def test_ids_that_jump_by_ten_million_are_void_after_two_answers(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.http.jump_after = 210
        bench.hold((1, 210))
        bench.ledger.observe(Run(PAIR, Span(211 + JUMP, 230 + JUMP), T0_US + 211_000, T0_US + 230_000))
        bench.ledger.of(PAIR).shown_id = 230 + JUMP
        start()
        await asleep(bench.clock)
        bench.ids_noted()
        attempts = 0
        while not (noted := bench.ids_noted()):
            attempts += 1
            assert attempts <= 3, "asking before an answer can prove something is no manner"
            bench.clock.move(APART_S)
            await asleep(bench.clock)
        assert noted == [("void", 211, 210 + JUMP)]
        assert len(bench.http.asked) <= 12
        bench.ledger.know(Void(PAIR, Span(211, 210 + JUMP)))
        assert bench.ledger.of(PAIR).gaps() == ()


async def test_where_a_proof_that_is_due_fails_asking_waits_longer_and_longer(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.http.jump_after = 210
        bench.hold((1, 210))
        bench.ledger.observe(Run(PAIR, Span(211 + JUMP, 230 + JUMP), T0_US + 211_000, T0_US + 230_000))
        bench.ledger.of(PAIR).shown_id = 230 + JUMP
        start()
        await asleep(bench.clock)
        bench.http.last = 210  # it has stepped over them, and says no more about them
        asked = len(bench.http.asked)
        for _ in range(120):
            bench.clock.move(30)
            await asleep(bench.clock)
        most = 20 * (len(OVERLAPS_NS) + STALLED_PAGES)
        assert 12 <= len(bench.http.asked) - asked <= most, "in an hour, of 20 attempts"


async def test_odd_times_of_what_is_fetched_are_noted_once(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.http.stamps = {20: 4_176_528_432, 21: 0}
        bench.hold((1, 10), (30, 40))
        start()
        await settle_until(lambda: not bench.ledger.of(PAIR).gaps())
        await asleep(bench.clock)
        assert bench.opened.ids() == list(range(11, 30))
        (noted,) = [one for one in bench.noted() if one["kind"] == "malformed"]
        said = "trade 20 is stamped 2102-05-08T10:47:12Z and came at 2026-07-07T23:00:05Z, and so are 1 others"
        assert (noted["pair"], noted["reason"]) == (PAIR, f"{said}: stored as it came")
        assert noted["source"].startswith("rest:/0/public/Trades?pair=XBTUSD")


async def test_wanted_history_is_fetched_after_the_holes(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.repair.want_history(T0_US + 7_000_000)
        bench.hold((9_000, 9_010), (9_020, 9_030))
        start()
        await asleep(bench.clock)
        assert list(bench.ledger.of(PAIR).spans) == [Span(6_999, 9_030)]
        assert [kind for kind, *_ in bench.ids_noted()] == ["hole_opened", "hole_closed"] * 2
        since = [
            int(parse_qs(request.target.partition("?")[2])["since"][0]) // 1_000_000 for request in bench.http.asked
        ]
        assert since[0] > T0_US // 1000 + 8_000
        assert min(since[1:]) < T0_US // 1000 + 7_000


async def test_a_renamed_pair_is_wanted_from_its_last_trade_under_the_old_name(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.earlier = ["XBT/USD", "OLD/USD"]
        bench.hold((6_000, 6_010), pair="OLD/USD")
        bench.hold((9_000, 9_010))
        bench.hold((9_000, 9_010), pair="ETH/USD")
        start()
        await asleep(bench.clock)
        assert list(bench.ledger.of("ETH/USD").spans) == [Span(9_000, 9_010)], "nothing before is wanted of others"
        (held,) = bench.ledger.of(PAIR).spans
        assert (5_900 < held.first <= 6_010, held.last) == (True, 9_010)


async def test_while_the_disk_is_low_history_waits_and_holes_do_not(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.repair.want_history(0)
        bench.http.problems = [Unavailable("tried, and due again later")]
        bench.http.last = 60_200
        bench.hold((100, 110), (60_111, 60_120))
        start()
        await asleep(bench.clock)
        bench.repair.hold_history(waits=True)
        bench.clock.move(LAST_RETRY_S)
        bench.hold((60_150, 60_160))
        await asleep(bench.clock)
        before = len(bench.http.asked)
        assert list(bench.ledger.of(PAIR).spans) == [Span(100, 110), Span(60_111, 60_160)]
        await settle()
        assert len(bench.http.asked) == before
        bench.repair.hold_history(waits=False)
        await settle_until(lambda: list(bench.ledger.of(PAIR).spans) == [Span(1, 60_160)])


async def test_history_is_wanted_of_every_pair_and_stops_with_its_first_trade(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.repair.want_history(0)
        bench.hold((150, 160))
        bench.hold((150, 160), pair="ETH/USD")
        start()
        await asleep(bench.clock)
        assert bench.opened.ids() == bench.opened.ids("ETH/USD") == list(range(1, 150))


async def test_ids_below_the_first_trade_of_all_become_void(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.repair.want_history(0)
        bench.http.lacking = frozenset({1, 2})
        bench.hold((3, 10))
        start()
        await asleep(bench.clock)
        bench.clock.move(APART_S)
        await asleep(bench.clock)
        assert bench.ids_noted() == [("void", 1, 2)]
        assert len(bench.http.asked) == 2


class Mortal(FakeHttp):
    """Answers so many requests, and the next one never: that is when its recorder is stopped."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.left = answers
        self.over = asyncio.Event()

    async def get(self, request: Request) -> HttpAnswer:
        if not self.left:
            self.over.set()
            await asyncio.Event().wait()
        self.left -= 1
        return await super().get(request)


async def one_life(opened: Shop, answers: int) -> bool:
    """Repair until that many answers have come, and stop; return whether gaps are left."""
    http = Mortal(answers)
    bench = Bench(opened, http)
    opened.archive.coverage.observe_into(bench.ledger, PAIR)
    repairing = asyncio.create_task(bench.repair.run())
    await settle_until(lambda: http.over.is_set() or not bench.ledger.of(PAIR).gaps())
    repairing.cancel()
    await asyncio.wait([repairing])
    return bool(bench.ledger.of(PAIR).gaps())


async def test_a_recorder_that_is_restarted_over_and_over_gets_on(tmp_path: Path) -> None:
    """Each run ends long before its first batch would, and asks for little that an earlier one had."""
    pages, answers = 50, 7
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, [*trades(1, 10), *trades(5_000, 5_009)])
        lives = 1
        while await one_life(opened, answers):
            lives += 1
            assert lives <= pages / (answers - 2)
        assert lives > 5
        assert opened.ids() == list(range(1, 5_010))


async def test_what_was_made_between_the_promise_and_the_first_trade_held_is_fetched(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.ledger.know(Promised(PAIR, T0_US + 100_000))
        bench.ledger.know(Anchored(PAIR, T0_US + 100_000, 99))
        bench.hold((500, 600))
        start()
        await settle_until(lambda: not bench.ledger.of(PAIR).gaps())
        await settle()
        assert bench.opened.ids() == list(range(100, 500))


async def test_ids_below_a_first_trade_other_than_1_are_void_after_two_answers(tmp_path: Path) -> None:
    async with repairing(tmp_path) as (bench, start):
        bench.http.lacking = frozenset({1, 2})
        bench.ledger.know(Promised(PAIR, T0_US))
        bench.ledger.know(Anchored(PAIR, T0_US, 0))
        bench.hold((3, 10))
        start()
        await settle()
        for _ in range(60):
            await bench.pass_time(20, step_s=5.0)
            bench.journalled()
            if not bench.ledger.of(PAIR).gaps():
                break
        assert list(bench.ledger.of(PAIR).void) == [Span(1, 2)]
