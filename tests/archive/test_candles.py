from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.archive import candles as module
from recorder.archive.candles import REMEMBERED, CandleArchive
from recorder.archive.datasets import OHLC
from recorder.archive.segment_tables import SegmentTables
from recorder.core.model import Candle, Event
from recorder.errors import CorruptFile
from tests.archive.candles import (
    MINUTE_US,
    NEW_YEAR_US,
    NOON_US,
    candle,
    candles,
    files_in,
    latest_seen,
    repeated,
    rows,
)
from tests.archive.rows import archive
from tests.powercut import Unsynced
from tests.segments import named

SEEN_US = NOON_US + 86_400_000_000


@contextmanager
def writing(data: Path) -> Iterator[CandleArchive]:
    with archive(data, Unsynced()) as opened:
        yield CandleArchive(SegmentTables(opened.layout, Unsynced(), staging=opened.staging))


def reopened(table: CandleArchive) -> CandleArchive:
    """Return the same table as a process that starts anew sees it."""
    segments = table._tables.segments
    return CandleArchive(SegmentTables(segments.layout, Unsynced(), staging=segments._staging))


def told(events: Sequence[Event]) -> list[tuple[str, str | None, dict[str, object]]]:
    return [(event.kind, event.pair, json.loads(event.detail)) for event in events]


def answer(table: CandleArchive, segment: int, page: list[Candle]) -> tuple[int, Sequence[Event]]:
    """Archive one answer, as a segment of its own."""
    table._tables.begin()
    taken = table.take(page, SEEN_US + segment)
    table._tables.write(named(segment))
    assert taken.unreadable is None
    return taken.rows, taken.events


# An answer: where its window ends, how long it is, which of its candles say something else than usual, what comes then,
# and how much later it came by the host's clock.
answers = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.integers(1, 12),
        st.dictionaries(st.integers(0, 30), st.sampled_from(["100", "101", "100.0"]), max_size=4),
        st.sampled_from(["go on", "next segment", "restart"]),
        st.sampled_from([1, 0, 60_000_000, -3_600_000_000]),
    ),
    max_size=10,
)


@given(sequence=answers)
@settings(max_examples=120)
def test_whatever_answers_come_the_last_seen_content_is_archived_and_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, sequence: list[tuple[int, int, dict[int, str], str, int]]
) -> None:
    data = tmp_path_factory.mktemp("data")
    expected: dict[tuple[str, str, int], Decimal] = {}
    with pytest.MonkeyPatch.context() as patch, archive(data, Unsynced()) as opened:
        patch.setattr(module, "REMEMBERED", 8)  # so that answers reach further back than what is remembered
        table = CandleArchive(SegmentTables(opened.layout, Unsynced(), staging=opened.staging))
        segment = 1
        revisions = changed = 0
        seen_us = SEEN_US
        for number, (last, length, prices, then, step_us) in enumerate(sequence):
            page = [candle(n, prices.get(n, "100")) for n in range(max(0, last - length + 1), last + 1)]
            seen_us += step_us  # the host's clock, which may be set back
            taken = table.take(page, seen_us)
            for one in page:
                key = (one.pair, one.timeframe, one.time_us)
                changed += key in expected and expected[key] != one.close
                expected[key] = one.close
            revisions += sum(event.kind == "ohlc_revised" for event in taken.events)
            if then != "go on" or number == len(sequence) - 1:
                table._tables.write(named(segment))
                segment += 1
            if then == "restart":
                table = CandleArchive(SegmentTables(opened.layout, Unsynced(), staging=opened.staging))
    assert latest_seen(data) == expected
    assert repeated(data) == []
    assert revisions == changed


def test_equal_numbers_are_no_change_however_they_are_printed(tmp_path: Path) -> None:
    with writing(tmp_path) as table:
        assert answer(table, 1, [candle(1, "105899.4")]) == (1, ())
        assert answer(table, 2, [candle(1, "105899.40")]) == (0, ())
    with writing(tmp_path) as table:
        assert answer(table, 3, [candle(1, "105899.400")]) == (0, ())
    assert len(rows(tmp_path, "ohlc")) == 1


def test_silent_candles_of_different_times_are_different_candles(tmp_path: Path) -> None:
    with writing(tmp_path) as table:
        assert answer(table, 1, candles(1, 3))[0] == 3
        assert answer(table, 2, candles(1, 4))[0] == 1


@pytest.mark.parametrize("restart", [False, True])
def test_a_revision_tells_what_was_and_what_is(tmp_path: Path, *, restart: bool) -> None:
    with writing(tmp_path) as table:
        answer(table, 1, candles(1, 3))
        revised = msgspec.structs.replace(candle(2), high=Decimal("100.50"), count=4)
        again = reopened(table) if restart else table
        added, events = answer(again, 2, [candle(1), revised, candle(3)])
    assert added == 1
    assert told(events) == [
        (
            "ohlc_revised",
            "BTC/USD",
            {
                "timeframe": "1m",
                "time": "2025-11-10T12:02:00Z",
                "was": {"high": "100", "count": "3"},
                "now": {"high": "100.5", "count": "4"},
            },
        )
    ]
    assert events[0].time_us == SEEN_US + 2


def test_a_revision_of_what_still_waits_in_the_segment_is_seen_too(tmp_path: Path) -> None:
    with writing(tmp_path) as table:
        assert table.take(candles(1, 2), SEEN_US).events == ()
        (event,) = table.take([candle(1), candle(2, "101")], SEEN_US + 1).events
        assert json.loads(event.detail)["was"]["close"] == "100"
        (event,) = table.take([candle(2, "99")], SEEN_US + 2).events
        assert json.loads(event.detail)["was"]["close"] == "101"
        assert table._tables.write(named(1)) == 4
    assert latest_seen(tmp_path)["BTC/USD", "1m", NOON_US + 2 * MINUTE_US] == 99


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(("first", "lost"), [(3, None), (4, None), (5, (4, 4, 1)), (5000, (4, 4999, 4996))])
def test_candles_that_slipped_out_of_the_window_are_told(
    tmp_path: Path, first: int, lost: tuple[int, int, int] | None, *, restart: bool
) -> None:
    with writing(tmp_path) as table:
        answer(table, 1, candles(1, 3))
        again = reopened(table) if restart else table
        _, events = answer(again, 2, candles(first, first + 5))
        assert answer(again, 3, candles(first, first + 6)) == (1, ()), "told once"
    if lost is None:
        assert events == ()
        return
    ((kind, pair, detail),) = told(events)
    assert (kind, pair, detail["timeframe"], detail["count"]) == ("ohlc_lost", "BTC/USD", "1m", lost[2])
    for name, number in zip(("first", "last"), lost[:2], strict=True):
        hours, minutes = divmod(12 * 60 + number, 60)
        assert detail[name] == f"2025-11-{10 + hours // 24}T{hours % 24:02d}:{minutes:02d}:00Z"


def test_an_answer_far_behind_what_is_remembered_is_compared_with_the_archive(tmp_path: Path) -> None:
    with writing(tmp_path) as table:
        answer(table, 1, candles(1, 3))
        answer(table, 2, candles(4, 3 + REMEMBERED))
        assert answer(table, 3, candles(1, 5)) == (0, ())
        added, events = answer(table, 4, [candle(1), candle(2, "7")])
        assert (added, [event.kind for event in events]) == (1, ["ohlc_revised"])


def test_series_are_told_apart_and_lie_in_their_timeframe_and_year(tmp_path: Path) -> None:
    with writing(tmp_path) as table:
        table._tables.begin()
        for timeframe in ("1m", "1d"):
            for pair in ("BTC/USD", "ETH/USD", "Ä/€"):
                page = candles(-1, 1, pair=pair, timeframe=timeframe, from_us=NEW_YEAR_US)
                assert table.take(page, SEEN_US).rows == 3
        assert table._tables.write(named(9)) == 18
    assert files_in(tmp_path / "ohlc" / "timeframe=1m") == {"year=2025": 1, "year=2026": 1}
    assert len(rows(tmp_path, "ohlc")) == 18  # which also holds each time against its folder
    with writing(tmp_path) as table:
        page = candles(-1, 1, pair="ETH/USD", from_us=NEW_YEAR_US)
        assert answer(table, 10, page) == (0, ()), "read back over New Year"


def test_a_segment_written_in_part_is_completed_and_not_repeated(tmp_path: Path) -> None:
    with writing(tmp_path) as table:
        answer(table, 1, candles(1, 3))
        for _ in range(2):
            again = reopened(table)
            assert again._tables.segments.holds(OHLC, named(1))
            assert not again._tables.segments.holds(OHLC, named(2))
            again.take(candles(1, 3), SEEN_US)
            again.take(candles(1, 3, timeframe="1h"), SEEN_US)
            again._tables.write(named(1))
    assert len(rows(tmp_path, "ohlc")) == 6


def test_what_was_taken_and_never_written_is_forgotten(tmp_path: Path) -> None:
    with writing(tmp_path) as table:
        table.take(candles(1, 3), SEEN_US)
        assert answer(table, 1, candles(1, 3)) == (3, ())
    assert len(rows(tmp_path, "ohlc")) == 3


def test_a_damaged_file_makes_everything_new_and_loses_nothing(tmp_path: Path) -> None:
    with writing(tmp_path) as table:
        answer(table, 1, candles(1, 3))
    (path,) = (tmp_path / "ohlc").rglob("0*.parquet")
    path.write_bytes(b"junk")
    with writing(tmp_path) as table:
        table._tables.begin()
        taken = table.take(candles(1, 4), SEEN_US)
        assert isinstance(taken.unreadable, CorruptFile)
        assert (taken.rows, taken.events) == (4, ())
        taken = table.take([candle(4), candle(5)], SEEN_US + 1)
        assert (taken.rows, taken.unreadable) == (1, None), "what came since is known"
        table._tables.write(named(2))
    path.unlink()
    assert len(rows(tmp_path, "ohlc")) == 5


def test_a_damaged_page_is_found_out_and_nothing_is_lost(tmp_path: Path) -> None:
    with writing(tmp_path) as table:
        answer(table, 1, candles(1, 300))
    (path,) = (tmp_path / "ohlc").rglob("0*.parquet")
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with writing(tmp_path) as table:
        taken = table.take(candles(1, 301), SEEN_US)
        assert isinstance(taken.unreadable, CorruptFile)
        assert taken.rows == 301


def test_what_is_remembered_of_3000_series_is_below_30_megabytes() -> None:
    series = module._Series(candle(0))
    for one in candles(0, 2 * REMEMBERED):
        series.remember(one.time_us, 1 << 63)
    size = sys.getsizeof(series) + sys.getsizeof(series._digests) + sys.getsizeof(series.newest_us)
    assert 3000 * (size + 300) < 30_000_000


def test_an_empty_answer_changes_nothing(tmp_path: Path) -> None:
    with writing(tmp_path) as table:
        assert answer(table, 1, []) == (0, ())


def test_two_candles_that_begin_in_one_interval_are_both_kept(tmp_path: Path) -> None:
    """Long timeframes are aligned to the epoch as far as anybody has seen; nothing is lost should one ever not be."""
    odd = msgspec.structs.replace(candle(1), time_us=candle(1).time_us + MINUTE_US // 2)
    with writing(tmp_path) as table:
        assert answer(table, 1, [candle(1), odd])[0] == 2
        assert answer(table, 2, [candle(1), odd]) == (0, ())


def test_what_was_never_held_needs_no_look_into_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(tmp_path) as table:
        answer(table, 1, candles(1, REMEMBERED))
        monkeypatch.setattr(table, "_archived", lambda *_: pytest.fail("looked up"))
        assert answer(table, 2, candles(REMEMBERED + 6, REMEMBERED + 10))[0] == 5
        assert answer(table, 3, candles(REMEMBERED - 1, REMEMBERED + 11))[0] == 6, "what was left out comes later"
