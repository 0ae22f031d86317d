from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.evidence import Promise
from recorder.core.trade_ids import Gap, Run, Span
from recorder.object_store import located
from recorder.query.arguments import Range
from recorder.query.id_runs import LostCandles, candle_sentence, late_sentence, lost_in, missing_in, sentence

PAIR = "BTC/USD"

ALWAYS = Range(None, None)


def span(first: int, last: int) -> Run:
    """Return a run in which trade n happens at 10 n µs."""
    return Run(PAIR, Span(first, last), 10 * first, 10 * last)


def test_between_two_runs_something_is_missing_whenever_it_may_lie_in_the_range() -> None:
    runs = [span(1, 3), span(7, 9)]  # held until 30 µs and from 70 µs on
    hole = Gap(PAIR, Span(4, 6), 30, 70)
    for start_us, stop_us, touched in [
        (None, None, True),
        (None, 30, False),  # up to the trade at 30, which is not in the range
        (None, 31, True),  # a missing trade may share the time of its neighbour
        (70, None, True),
        (71, None, False),
        (40, 50, True),
        (0, 20, False),
    ]:
        assert missing_in(runs, Range(start_us, stop_us)) == ([hole] if touched else []), (start_us, stop_us)


def test_what_was_traded_before_the_first_run_is_not_missing() -> None:
    assert missing_in([span(5, 9)], ALWAYS) == missing_in([span(5, 9)], Range(20, None)) == []


def test_pairs_that_begin_after_the_range_are_reported_with_the_remedy() -> None:
    said = late_sentence({f"P{n}/USD": n * 1_500_000 for n in range(1, 6)}, 0, DATA)
    assert "P1/USD begins at 1970-01-01T00:00:01.500000Z; P2/USD begins at" in said
    assert "and 2 more pairs begin later" in said
    assert "P4/USD" not in said
    assert "`recorder backfill P1/USD P2/USD P3/USD … --from 1970-01-01T00:00:00Z --to 1970-01-01T00:00:08Z" in said


def test_after_the_last_run_nothing_is_known_to_be_missing() -> None:
    assert missing_in([span(1, 9)], Range(None, 10_000)) == []
    assert missing_in([], Range(0, 10_000)) == []


def test_what_lies_between_the_anchor_of_a_promise_and_the_first_run_is_missing() -> None:
    runs, promise = [span(8, 9)], Promise(40, 4)
    between = Gap(PAIR, Span(5, 7), 40, 80)
    assert missing_in(runs, ALWAYS, promise=promise) == [between]
    assert missing_in(runs, Range(50, None), promise=promise) == [between]
    assert missing_in(runs, Range(20, None), promise=promise) == [between], "what is below is history"
    assert missing_in(runs, Range(None, 40), promise=promise) == []
    assert missing_in(runs, Range(75, None), promise=Promise(70, 7)) == [], "all before was made before 70"
    assert missing_in(runs, Range(20, None), promise=Promise(70, 7)) == []
    assert missing_in(runs, Range(0, None), [Span(1, 7)], promise=Promise(70, 0)) == []


def test_an_odd_time_keeps_no_hole_out_of_a_range() -> None:
    now_us = 1_783_465_205_000_000
    for odd_us in (0, 4_176_528_432_000_000):
        runs = [Run(PAIR, Span(1, 3), now_us - 9, odd_us), Run(PAIR, Span(7, 9), now_us - 2, now_us - 1)]
        hole = [Gap(PAIR, Span(4, 6), odd_us, now_us - 2)]
        assert missing_in(runs, Range(None, now_us - 8), now_us=now_us) == hole
        assert missing_in(runs, Range(now_us, None), now_us=now_us) == []
        runs = [Run(PAIR, Span(1, 3), now_us - 9, now_us - 8), Run(PAIR, Span(7, 9), odd_us, now_us - 1)]
        assert missing_in(runs, Range(now_us, None), now_us=now_us) == [Gap(PAIR, Span(4, 6), now_us - 8, odd_us)]


DATA = Path("/srv/my data")


def test_the_sentence_counts_what_is_missing_and_gives_the_command_that_fetches_it() -> None:
    holes = [Gap(PAIR, Span(10 * n, 10 * n + 4), n * 1_500_000, n * 1_500_000 + 9) for n in range(1, 6)]
    text = sentence({"BTC/USD": holes, "ETH/USD": [Gap(PAIR, Span(7, 7), 0, 1)]}, DATA)
    assert text.startswith("trades in this range are not archived: BTC/USD lacks 25 (ids 10 to 14 between ")
    assert "1970-01-01T00:00:01.500000Z and 1970-01-01T00:00:01.500009Z" in text
    assert "and 2 more holes); ETH/USD lacks 1 (id 7 between" in text
    assert text.count("ids ") == 3
    command = "--from 1970-01-01T00:00:00Z --to 1970-01-01T00:00:08Z --data '/srv/my data'"
    assert f"`recorder backfill BTC/USD ETH/USD {command}`" in text
    assert "on_gap='warn' or 'ignore'" in text


def test_what_a_copy_in_object_storage_lacks_is_fetched_where_it_was_copied_from() -> None:
    text = sentence({"BTC/USD": [Gap(PAIR, Span(7, 7), 0, 1)]}, located("s3://bucket/archive"))
    assert text.count("s3:") == 0
    assert "--data FOLDER_IT_WAS_COPIED_FROM`" in text


def test_of_many_pairs_a_sentence_names_a_few() -> None:
    text = sentence({f"P{n}/USD": [Gap(PAIR, Span(7, 7), 0, 1)] for n in range(5)}, DATA)
    assert "P2/USD lacks 1" in text
    assert "P3/USD" not in text
    assert "and 2 more pairs lack some" in text
    assert "`recorder backfill P0/USD P1/USD P2/USD … --from" in text


def test_what_the_exchange_does_not_have_is_not_missing() -> None:
    runs = [span(1, 3), span(7, 9)]
    assert missing_in(runs, ALWAYS, [Span(4, 6)]) == []
    assert missing_in(runs, ALWAYS, [Span(5, 5), Span(60, 70)]) == [
        Gap(PAIR, Span(4, 4), 30, 70),
        Gap(PAIR, Span(6, 6), 30, 70),
    ]


@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 30)), max_size=40), st.integers(1, 3))
def test_lost_candles_are_those_between_candles_of_the_same_pair(made: list[tuple[str, int]], width: int) -> None:
    candles = sorted(set(made))
    lost = lost_in([pair for pair, _ in candles], [number * width for _, number in candles], width)
    for pair in "AB":
        numbers = [number for name, number in candles if name == pair]
        expected = set(range(min(numbers), max(numbers))).difference(numbers) if numbers else set()
        found = [
            number
            for stretch in lost.get(pair, ())
            for number in range(stretch.first_us // width, stretch.last_us // width + 1)
        ]
        assert sorted(expected) == found
        assert sum(stretch.count for stretch in lost.get(pair, ())) == len(expected)


def test_the_sentence_of_lost_candles_says_what_can_stand_in_for_them() -> None:
    lost = {"BTC/USD": [LostCandles(60_000_000, 60_000_000, 1), LostCandles(240_000_000, 300_000_000, 2)]}
    text = candle_sentence(lost, "1m", DATA, filled=False)
    assert "BTC/USD lacks 3 (those of 1970-01-01T00:01:00Z; 1970-01-01T00:04:00Z to 1970-01-01T00:05:00Z)" in text
    assert "filled=True" in text
    assert "recorder backfill BTC/USD --from 1970-01-01T00:01:00Z --to 1970-01-01T00:06:01Z --data" in text
    assert "filled=True" not in candle_sentence(lost, "1m", DATA, filled=True)


@pytest.mark.parametrize("runs", [[], [span(1, 9)]])
def test_where_no_id_is_missing_there_is_no_hole(runs: list[Run]) -> None:
    assert missing_in(runs, ALWAYS) == []
