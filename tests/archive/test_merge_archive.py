from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.archive import merge_archive, read_trades
from recorder.archive.candles import CandleArchive
from recorder.archive.compaction import compact, compact_segments
from recorder.archive.datasets import INSTRUMENTS, OHLC, Branch
from recorder.archive.disown import disown
from recorder.archive.integrity import Finding
from recorder.archive.layout import Layout
from recorder.archive.merge_archive import Disagreement, Tally, TradeMerge
from recorder.archive.parquet import OpenFile
from recorder.archive.segment_tables import Segments, SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.model import Candle, Trade
from recorder.core.segment_names import MAIN_JOURNAL
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Disk, Room
from recorder.errors import CorruptFile, DiskError
from tests.archive.candles import NEW_YEAR_US, candle, candles, latest_seen, repeated, rows
from tests.archive.rows import PAIR, START_US, archive, held, ids, over_new_year, plenty, trade, trades
from tests.builders import instrument
from tests.powercut import Frozen, PowerCut, Tree, Unsynced, cuts, frozen, lay, lying, same_names
from tests.segments import named, numbers_in

Tidy = Callable[[str], None]


def fill(data: Path, *batches: Iterable[Trade], disk: Disk | None = None) -> Path:
    """Write an archive, one file for each batch (and year)."""
    with archive(data, disk or Unsynced()) as opened:
        for batch in batches:
            opened.append(PAIR, list(batch))
    return data


class Merged:
    def __init__(self) -> None:
        self.disagreements: list[Disagreement] = []
        self.findings: list[Finding] = []
        self.tidied = 0
        self.tally = Tally()


def take_all(job: TradeMerge, other: Path) -> list[Finding]:
    layout = Layout(other)
    return [finding for leaf in layout.years(PAIR) for finding in job.year(PAIR, leaf)]


def merge(data: Path, other: Path, disk: Disk | None = None, *, dry: bool = False) -> Merged:
    found = Merged()

    def tidy(_: str) -> None:
        found.tidied += 1

    if dry:
        job = TradeMerge(Layout(data), None, disagreed=found.disagreements.append, tidy=tidy, room=plenty)
        found.findings = take_all(job, other)
    else:
        with archive(data, disk or Unsynced()) as opened:
            job = TradeMerge(opened.layout, opened, disagreed=found.disagreements.append, tidy=tidy, room=plenty)
            found.findings = take_all(job, other)
    found.tally = job.tally(PAIR)
    return found


def stored(data: Path) -> dict[int, Trade]:
    return {row.trade_id: row for row in read_trades.trades(Layout(data), PAIR)}


def tree(data: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns) for path in data.rglob("*")
    }


Sets = st.lists(st.sets(st.integers(1, 60), max_size=40), max_size=4)


@given(Sets, Sets)
@settings(max_examples=50)
def test_the_ids_of_two_archives_become_their_union_and_every_row_stays_what_it_was(
    tmp_path_factory: pytest.TempPathFactory, mine: list[set[int]], yours: list[set[int]]
) -> None:
    at = tmp_path_factory.mktemp("merge")
    fill(at / "a", *([trade(n) for n in batch] for batch in mine))
    live = [[msgspec.structs.replace(trade(n), source="ws", received_us=n) for n in batch] for batch in yours]
    fill(at / "b", *live)
    before, theirs, other = stored(at / "a"), stored(at / "b"), tree(at / "b")
    looked = merge(at / "a", at / "b", dry=True)
    assert stored(at / "a") == before
    done = merge(at / "a", at / "b")
    assert stored(at / "a") == {**theirs, **before}
    held(at / "a")  # no id twice, footers true
    assert done.tally == looked.tally == Tally(len(theirs.keys() - before.keys()), len(theirs.keys() & before.keys()))
    assert not done.disagreements
    assert tree(at / "b") == other
    again = merge(at / "a", at / "b")
    assert again.tally == Tally(0, len(theirs))
    shutil.rmtree(at)


def test_years_and_many_batches_and_row_groups_come_over_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_archive, "APPENDED_ROWS", 100)
    monkeypatch.setattr(merge_archive, "_BATCH", 64)
    monkeypatch.setattr("recorder.archive.parquet.ROW_GROUP", 50)
    fill(tmp_path / "a", (trade(n) for n in range(1, 1000, 3)), trades(400, 420))
    fill(tmp_path / "b", (trade(n) for n in range(1, 1000, 2)), (trade(n) for n in range(2, 1000, 2)))
    fill(tmp_path / "b", over_new_year(range(1001, 1021)))
    done = merge(tmp_path / "a", tmp_path / "b")
    assert ids(tmp_path / "a") == [*range(1, 1000), *range(1001, 1021)]
    assert done.tally.added + done.tally.compared == 1019
    assert not done.disagreements
    assert done.tidied == 2, "after eight files, and at the end of a year that brought some"


def changed(trade_id: int, **fields: object) -> Trade:
    return msgspec.structs.replace(trade(trade_id), **fields)


def test_what_both_hold_is_compared_told_and_never_overwritten(tmp_path: Path) -> None:
    fill(tmp_path / "a", trades(1, 20))
    fill(
        tmp_path / "b",
        [
            changed(2, price=Decimal("7.25")),
            changed(3, qty=Decimal("0.00000002")),
            changed(4, side="sell", ord_type="market"),
            changed(5, time_us=START_US + 5_000_001),
            changed(6, misc="x"),
            changed(7, source="ws", time_us=START_US + 7_000_001, misc="x", received_us=9),
            changed(8, source="ws", time_us=START_US + 7_999_998),
            trade(9),
            trade(30),
        ],
    )
    before = stored(tmp_path / "a")
    done = merge(tmp_path / "a", tmp_path / "b")
    told = sorted((one.trade_id, one.field, one.ours, one.theirs) for one in done.disagreements)
    assert told == [
        (2, "price", "1.25", "7.25"),
        (3, "qty", "0.00000001", "0.00000002"),
        (4, "ord_type", "limit", "market"),
        (4, "side", "buy", "sell"),
        (5, "time", "2025-11-10T00:00:05Z", "2025-11-10T00:00:05.000001Z"),
        (6, "misc", "", "x"),
        (8, "time", "2025-11-10T00:00:08Z", "2025-11-10T00:00:07.999998Z"),
    ]
    assert done.tally == Tally(1, 8, 7)
    assert stored(tmp_path / "a") == {**before, 30: trade(30)}


def test_a_file_that_is_not_sound_is_left_out_and_named_and_the_others_come(tmp_path: Path) -> None:
    fill(tmp_path / "a", trades(1, 2))
    fill(tmp_path / "b", trades(1, 10), trades(11, 20), trades(21, 30))
    paths = Layout(tmp_path / "b").trade_files(PAIR)
    content = bytearray(paths[1].read_bytes())
    content[100] ^= 1
    paths[1].write_bytes(content)
    done = merge(tmp_path / "a", tmp_path / "b")
    assert ids(tmp_path / "a") == [*range(1, 11), *range(21, 31)]
    assert [finding.file for finding in done.findings] == [paths[1]]
    paths[1].write_bytes(b"junk")
    assert len(merge(tmp_path / "a", tmp_path / "b").findings) == 1


def test_ids_that_lie_in_two_files_of_the_other_archive_come_once(tmp_path: Path) -> None:
    fill(tmp_path / "b", trades(1, 10))
    (path,) = Layout(tmp_path / "b").trade_files(PAIR)
    shutil.copy(path, path.with_name("copied-by-hand.parquet"))
    done = merge(tmp_path / "a", tmp_path / "b")
    assert ids(tmp_path / "a") == list(range(1, 11))
    assert done.tally == Tally(10)
    assert merge(tmp_path / "a", tmp_path / "b").tally == Tally(0, 10)


def test_damage_of_our_own_is_not_compared_but_said(tmp_path: Path) -> None:
    fill(tmp_path / "a", trades(1, 10))
    fill(tmp_path / "b", trades(1, 10))
    (path,) = Layout(tmp_path / "a").trade_files(PAIR)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=rf"^{path} is damaged: "):
        merge(tmp_path / "a", tmp_path / "b")


def merge_and_tidy(data: Path, other: Path, disk: Disk) -> None:
    with archive(data, disk) as opened:

        def tidy(pair: str) -> None:
            while compact(opened, pair, today=date(9999, 1, 1)):
                pass

        take_all(TradeMerge(opened.layout, opened, disagreed=lambda _: None, tidy=tidy, room=plenty), other)


def two_archives(tmp_path: Path) -> tuple[Path, Path]:
    ours = fill(tmp_path / "before", trades(1, 5), trades(8, 9))
    return ours, fill(tmp_path / "b", trades(4, 8), [trade(12)], over_new_year(range(20, 26)))


COMPLETE = [*range(1, 10), 12, *range(20, 26)]


def goes_on(left: Tree, other: Path, at: Path) -> None:
    after = lay(left, at)
    assert set(ids(fill(after))) >= {1, 2, 3, 4, 5, 8, 9}
    merge_and_tidy(after, other, Unsynced())
    assert ids(after) == COMPLETE
    shutil.rmtree(after)


def test_cut_at_any_call_it_goes_on_from_there_when_called_again(tmp_path: Path) -> None:
    ours, other = two_archives(tmp_path)
    moments = cuts(PowerCut(ours), lambda disk: merge_and_tidy(ours, other, disk), contents=("lost",))
    assert ids(ours) == COMPLETE
    for cut in moments:
        for left in cut.trees[:4]:
            try:
                goes_on(left, other, tmp_path / "after")
            except AssertionError as error:
                raise AssertionError(f"cut before {cut.before}") from error
    assert sum(len(cut.trees) for cut in moments) > len(moments) / 4, "hardly any state differed: is the model at work?"


def test_refused_at_any_call_it_goes_on_from_there_when_called_again(tmp_path: Path) -> None:
    ours, other = two_archives(tmp_path)
    counting = PowerCut(shutil.copytree(ours, tmp_path / "whole"))
    merge_and_tidy(tmp_path / "whole", other, counting)
    checked: set[Frozen] = set()
    for fails_at in range(1, len(counting.calls) + 1):
        data = shutil.copytree(ours, tmp_path / "now")
        disk = PowerCut(data, cut_at=fails_at, fails=(errno.ENOSPC, errno.EIO)[fails_at % 2])
        with same_names(), pytest.raises(DiskError):
            merge_and_tidy(data, other, disk)
        # And every other time the power goes as well.
        left = next(disk.aftermaths()) if fails_at // 2 % 2 else lying(data)
        if (key := frozen(left)) not in checked:
            checked.add(key)
            goes_on(left, other, tmp_path / "after")
        shutil.rmtree(data)
    assert len(checked) > len(counting.calls) / 4, "hardly any state differed: is the model at work?"


class Shrinking:
    """A disk that is low from the look on whose number is given."""

    def __init__(self, low_at: int) -> None:
        self.low_at, self.looks = low_at, 0

    def __call__(self) -> Room:
        self.looks += 1
        return Room(1_000_000_000 - (self.looks >= self.low_at), 10_000_000_000)


def test_a_merge_ends_before_the_disk_is_full_and_can_be_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_archive, "APPENDED_ROWS", 5)
    monkeypatch.setattr(merge_archive, "_BATCH", 5)
    monkeypatch.setattr(merge_archive, "TIDY_FILES", 2)
    fill(tmp_path / "b", trades(1, 30))
    # The third look is before the small files are merged.
    for low_at, complete, tidied in ((1, 0, 0), (2, 5, 0), (3, 10, 0), (4, 10, 1)):
        found: list[str] = []
        with archive(tmp_path / str(low_at), Unsynced()) as opened:
            room = Shrinking(low_at)
            job = TradeMerge(opened.layout, opened, disagreed=lambda _: None, tidy=found.append, room=room)
            with pytest.raises(
                DiskError,
                match=f"BTC/USD: stopped with {complete} of its trades added, which are safe: the disk has 1,000.0 MB "
                "left, and below 1,000.0 MB history waits. Free some space and run the same",
            ):
                take_all(job, tmp_path / "b")
            assert (room.looks, len(found)) == (low_at, tidied)
        assert stored(tmp_path / str(low_at)).keys() == set(range(1, complete + 1))
    assert merge(tmp_path / "4", tmp_path / "b").tally == Tally(20, 10)
    assert len(ids(tmp_path / "4")) == 30
    looked = TradeMerge(Layout(tmp_path / "new"), None, disagreed=lambda _: None, tidy=found.append, room=Shrinking(1))
    take_all(looked, tmp_path / "b")
    assert looked.tally(PAIR) == Tally(30), "what writes nothing needs no room"


def seen(data: Path, *answers: tuple[int, list[Candle]], first_segment: int = 1) -> None:
    """Archive answers with candles, each (seen at, candles) from a journal segment of its own."""
    with archive(data, Unsynced()) as opened:
        tables = SegmentTables(opened.layout, Unsynced(), staging=opened.staging)
        table = CandleArchive(tables)
        for number, (seen_us, answer) in enumerate(answers, first_segment):
            table.take(answer, seen_us)
            tables.write(named(number))


@contextmanager
def segments(data: Path) -> Iterator[tuple[TradeArchive, Segments]]:
    with archive(data, Unsynced()) as opened:
        yield opened, Segments(opened.layout, Unsynced(), staging=opened.staging)


def test_candles_that_are_not_held_come_with_their_own_moment_and_those_held_stay(tmp_path: Path) -> None:
    day: dict[str, Any] = {"from_us": NEW_YEAR_US}
    seen(tmp_path / "a", (100, candles(1, 3, **day)), (110, candles(1, 3, pair="ETH/USD", **day)))
    seen(
        tmp_path / "b",
        (200, candles(-2, 2, "101", **day)),
        (210, candles(5, 6, **day)),
        (220, [candle(6, "102", **day)]),
        (230, candles(1, 2, pair="XRP/USD", timeframe="1h", **day)),
    )
    before, other = rows(tmp_path / "a", "ohlc"), tree(tmp_path / "b")
    layout = Layout(tmp_path / "a")
    looked = merge_archive.rows_of(OHLC, layout, None, Layout(tmp_path / "b"), room=plenty)
    assert rows(tmp_path / "a", "ohlc") == before
    with segments(tmp_path / "a") as (_, writing):
        assert merge_archive.rows_of(OHLC, layout, writing, Layout(tmp_path / "b"), room=plenty) == looked == (8, [])
        assert merge_archive.rows_of(OHLC, layout, writing, Layout(tmp_path / "b"), room=plenty) == (0, []), (
            "nothing, again"
        )
    assert tree(tmp_path / "b") == other
    found = latest_seen(tmp_path / "a")
    minute = {key[2]: price for key, price in found.items() if key[:2] == ("BTC/USD", "1m")}
    assert minute == {
        NEW_YEAR_US + n * 60_000_000: Decimal(price)
        for n, price in [(-2, 101), (-1, 101), (0, 101), (1, 100), (2, 100), (3, 100), (5, 100), (6, 102)]
    }
    moments = {row["seen"].timestamp() for row in rows(tmp_path / "a", "ohlc") if row["pair"] != "ETH/USD"}
    assert {round(moment * 1e6) for moment in moments} == {100, 200, 210, 220, 230}
    assert len([row for row in rows(tmp_path / "a", "ohlc") if row not in before]) == 8


def test_rows_are_told_apart_by_their_key_whatever_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_archive, "_BATCH", 1)
    monkeypatch.setattr("recorder.archive.parquet.ROW_GROUP", 1)
    ours, theirs = tmp_path / "a", tmp_path / "b"
    seen(ours, (1, [candle(number) for number in (2, 3, 5)]), (2, [candle(1, pair="ETH/USD")]))
    seen(theirs, (10, candles(1, 6)), (20, candles(3, 4, "101")), (30, candles(1, 2, pair="ETH/USD")))
    here = rows(ours, "ohlc")
    held = {(row["pair"], row["time"]) for row in here}
    fresh = [row for row in rows(theirs, "ohlc") if (row["pair"], row["time"]) not in held]
    assert len(fresh) == 5, "of a candle that is not held every version comes"
    with segments(ours) as (opened, writing):
        assert merge_archive.rows_of(OHLC, opened.layout, writing, Layout(theirs), room=plenty) == (5, [])
    assert sorted(map(str, rows(ours, "ohlc"))) == sorted(map(str, [*here, *fresh]))


def test_of_our_files_only_row_groups_that_may_have_the_same_candles_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recorder.archive.parquet.ROW_GROUP", 10)
    ours, theirs = tmp_path / "a", tmp_path / "b"
    seen(ours, (1, candles(1, 40)), (2, candles(1, 10, pair="XRP/USD")))
    seen(theirs, (3, candles(31, 45)))
    groups: list[object] = []
    read = OpenFile.read

    def noted(self: OpenFile, *given: Any, **options: Any) -> Iterator[Any]:
        if self.path.is_relative_to(ours):
            groups.append(options["groups"])
        return read(self, *given, **options)

    monkeypatch.setattr(OpenFile, "read", noted)
    with segments(ours) as (opened, writing):
        assert merge_archive.rows_of(OHLC, opened.layout, writing, Layout(theirs), room=plenty) == (5, [])
    assert groups == [[3]]


def test_merged_candles_block_neither_drains_nor_compaction(
    tmp_path: Path,
) -> None:
    seen(tmp_path / "b", *((number, [candle(number)]) for number in range(1, 20)))
    with segments(tmp_path / "a") as (opened, writing):
        for _ in range(2):
            merge_archive.rows_of(OHLC, opened.layout, writing, Layout(tmp_path / "b"), room=plenty)
    seen(tmp_path / "a", *((100 + number, [candle(number)]) for number in range(30, 50)))
    assert len(latest_seen(tmp_path / "a")) == 39
    assert repeated(tmp_path / "a") == []
    with segments(tmp_path / "a") as (opened, writing):
        while compact_segments(writing, Branch(OHLC, "1m"), today=date(9999, 1, 1), drained_to={MAIN_JOURNAL: 20}):
            pass
        paths = list((tmp_path / "a" / "ohlc" / "timeframe=1m").rglob("*.parquet"))
        assert len(paths) == 1
        assert merge_archive.rows_of(OHLC, opened.layout, writing, Layout(tmp_path / "b"), room=plenty) == (0, [])
    assert len(rows(tmp_path / "a", "ohlc")) == 39


def test_a_damaged_file_of_candles_is_left_out_there_and_stops_it_here(tmp_path: Path) -> None:
    seen(tmp_path / "a", (1, candles(1, 2)))
    seen(tmp_path / "b", (1, candles(1, 5)), (2, candles(6, 9)))
    (first, _) = sorted((tmp_path / "b" / "ohlc" / "timeframe=1m").rglob("*.parquet"))
    content = bytearray(first.read_bytes())
    content[60] ^= 1
    first.write_bytes(content)
    with segments(tmp_path / "a") as (opened, writing):
        added, findings = merge_archive.rows_of(OHLC, opened.layout, writing, Layout(tmp_path / "b"), room=plenty)
    assert (added, [finding.file for finding in findings]) == (4, [first])
    (own, *_) = sorted((tmp_path / "a" / "ohlc" / "timeframe=1m").rglob("*-000000000001-*.parquet"))
    own.write_bytes(b"junk")
    with segments(tmp_path / "a") as (opened, writing), pytest.raises(CorruptFile, match=str(own)):
        merge_archive.rows_of(OHLC, opened.layout, writing, Layout(tmp_path / "b"), room=plenty)


def test_candles_and_listings_wait_for_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_archive, "WRITTEN_ROWS", 1)
    seen(tmp_path / "b", (1, candles(1, 3)), (2, candles(1, 2, pair="ETH/USD")))
    with archive(tmp_path / "b", Unsynced()) as opened:
        tables = SegmentTables(opened.layout, Unsynced(), staging=opened.staging)
        tables.add(Branch(INSTRUMENTS), [(1, instrument(PAIR))])
        tables.write(named(1))
    other = Layout(tmp_path / "b")
    with segments(tmp_path / "a") as (opened, writing):
        with pytest.raises(DiskError, match=r"^ohlc 1m: stopped with 3 rows added, which are safe: "):
            merge_archive.rows_of(OHLC, opened.layout, writing, other, room=Shrinking(2))
        with pytest.raises(DiskError, match=r"^instruments: stopped with 0 rows added, which are safe: "):
            merge_archive.listings(opened.layout, writing, other, room=Shrinking(1))
        assert (len(rows(tmp_path / "a", "ohlc")), len(rows(tmp_path / "a", "instruments"))) == (3, 0)
        assert merge_archive.rows_of(OHLC, opened.layout, None, other, room=Shrinking(1)) == (2, []), (
            "nothing is written"
        )
        assert merge_archive.rows_of(OHLC, opened.layout, writing, other, room=Shrinking(2)) == (2, [])


def test_listings_come_of_pairs_that_have_none(tmp_path: Path) -> None:
    for name, pairs in (("a", ["A/USD", "B/USD"]), ("b", ["B/USD", "C/USD", "D/USD"])):
        with archive(tmp_path / name, Unsynced()) as opened:
            tables = SegmentTables(opened.layout, Unsynced(), staging=opened.staging)
            tables.add(Branch(INSTRUMENTS), [(1 if name == "a" else 2, instrument(pair)) for pair in pairs])
            tables.write(named(1))
    with segments(tmp_path / "a") as (opened, writing):
        other = Layout(tmp_path / "b")
        assert merge_archive.listings(opened.layout, None, other, room=plenty) == (2, [])
        assert merge_archive.listings(opened.layout, writing, other, room=plenty) == (2, [])
        late = [(3, instrument("D/USD")), (3, instrument("E/USD"))]
        assert merge_archive.listings(opened.layout, None, other, late, room=plenty) == (1, [])
        assert merge_archive.listings(opened.layout, writing, other, room=plenty) == (0, [])
        (path,) = (tmp_path / "a" / "instruments").glob("000000000000-*.parquet")
        assert numbers_in(path) == [], "no segment of this archive brought them"
    found = [(row["pair"], row["valid_from"].timestamp()) for row in rows(tmp_path / "a", "instruments")]
    assert found == [("A/USD", 1e-6), ("B/USD", 1e-6), ("C/USD", 2e-6), ("D/USD", 2e-6)]


def test_a_merge_takes_no_ids_disowned_here_but_those_disowned_there(tmp_path: Path) -> None:
    odd = Spans([Span(3, 4)])
    with archive(tmp_path / "a", Unsynced()) as mine, archive(tmp_path / "b", Unsynced()) as theirs:
        mine.append(PAIR, trades(1, 6))
        theirs.append(PAIR, trades(1, 9))
        disown(mine, PAIR, odd, now_us=1, reason="odd")
        disown(theirs, PAIR, Spans([Span(8, 8)]), now_us=1, reason="odd")
        for written in (None, mine):  # a dry run tells the same
            job = TradeMerge(mine.layout, written, disagreed=print, tidy=lambda _: None, room=plenty)
            assert take_all(job, tmp_path / "b") == []
            assert job.tally(PAIR).added == 2
    assert ids(tmp_path / "a") == [1, 2, 5, 6, 7, 9]
