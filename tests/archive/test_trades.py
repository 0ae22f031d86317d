from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.archive import locks, open_archive, read_trades
from recorder.archive import trades as module
from recorder.archive.layout import Layout
from recorder.core.model import Trade
from recorder.core.plausibility import is_same
from recorder.core.trade_ids import Spans
from recorder.errors import ArchiveInUse, StorageError
from tests.archive.rows import PAIR, START_US, YEAR_END_US, archive, held, ids, over_new_year, trade, trades
from tests.powercut import Unsynced

batches = st.lists(st.lists(st.integers(1, 60), max_size=30), max_size=6)


@given(offered=batches, moment=st.integers(-40, 40))
@settings(max_examples=40)
def test_appending_any_batches_in_any_order_is_set_union_by_id(
    tmp_path_factory: pytest.TempPathFactory, offered: list[list[int]], moment: int
) -> None:
    data = tmp_path_factory.mktemp("data")
    union: set[int] = set()
    with archive(data, Unsynced()) as opened:
        for batch in offered:
            # Times near the end of a year, so that batches reach over it.
            rows = [trade(trade_id, YEAR_END_US + trade_id * 1000 - 1000 * moment) for trade_id in batch]
            assert opened.append(PAIR, rows) == Spans.of_ids(set(batch) - union)
            union |= set(batch)
            assert opened.coverage.spans(PAIR) == Spans.of_ids(union)
    assert ids(data) == sorted(union)  # which also holds every footer against the ids really stored


@given(offered=batches)
@settings(max_examples=20)
def test_two_archives_over_one_folder_see_what_the_other_holds(
    tmp_path_factory: pytest.TempPathFactory, offered: list[list[int]]
) -> None:
    data = tmp_path_factory.mktemp("data")
    with archive(data, Unsynced()) as one, archive(data, Unsynced()) as other:
        for number, batch in enumerate(offered):
            (one, other)[number % 2].append(PAIR, [trade(trade_id) for trade_id in batch])
    assert ids(data) == sorted({trade_id for batch in offered for trade_id in batch})


exact = st.builds(
    Trade,
    pair=st.just(PAIR),
    trade_id=st.integers(1, 2**62),
    time_us=st.integers(0, 4_000_000_000_000_000),
    price=st.decimals(0, 10**15, places=12, allow_nan=False, allow_infinity=False),
    qty=st.decimals(0, 10**19, places=8, allow_nan=False, allow_infinity=False),
    side=st.sampled_from(["buy", "sell"]),
    ord_type=st.sampled_from(["limit", "market", "new kind"]),
    misc=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    source=st.sampled_from(["ws", "rest", "bulk"]),
    received_us=st.none() | st.integers(0, 4_000_000_000_000_000),
)


@given(row=exact)
@settings(max_examples=60)
def test_a_row_is_read_back_to_the_last_digit(tmp_path_factory: pytest.TempPathFactory, row: Trade) -> None:
    data = tmp_path_factory.mktemp("data")
    with archive(data, Unsynced()) as opened:
        opened.append(PAIR, [row])
        assert list(read_trades.trades(opened.layout, PAIR)) == [row]


def test_of_rows_with_one_id_the_first_is_kept(tmp_path: Path) -> None:
    first = trade(1)
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, [first, msgspec.structs.replace(first, price=Decimal(7))])
        opened.append(PAIR, [msgspec.structs.replace(first, price=Decimal(8))])
        assert list(read_trades.trades(opened.layout, PAIR)) == [first]


def test_what_is_finer_than_the_schema_is_an_error_never_rounded(tmp_path: Path) -> None:
    row = msgspec.structs.replace(trade(1), qty=Decimal("0.123456789"))
    with archive(tmp_path, Unsynced()) as opened, pytest.raises(StorageError, match="does not fit the archive"):
        opened.append(PAIR, [row])
    assert ids(tmp_path) == []


def test_rows_lie_in_the_year_of_their_time_whatever_their_ids(tmp_path: Path) -> None:
    late_id_early_time = [trade(9, YEAR_END_US - 1), trade(8, YEAR_END_US), trade(10, YEAR_END_US + 1)]
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, late_id_early_time)
        assert [path.name for path in opened.layout.years(PAIR)] == ["year=2025", "year=2026"]
    assert held(tmp_path)[PAIR].files == 2  # held() checks each time against its folder


def test_no_file_has_more_rows_than_the_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 10)
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 25))
        assert [pq.read_metadata(path).num_rows for path in opened.layout.trade_files(PAIR)] == [10, 10, 5]
    assert ids(tmp_path) == list(range(1, 26))


def test_what_is_all_held_writes_nothing(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 5))
        before = opened.layout.trade_files(PAIR)
        assert opened.append(PAIR, trades(2, 4)) == Spans()
        assert opened.append(PAIR, []) == Spans()
        assert opened.layout.trade_files(PAIR) == before


def test_pairs_with_strange_names_stay_inside_the_table(tmp_path: Path) -> None:
    names = ["../../etc", "A/B", ".", "a%2Fb", "Ä/€", "pair=X", " "]
    with archive(tmp_path, Unsynced()) as opened:
        for name in names:
            opened.append(name, trades(1, 2, pair=name))
        assert opened.layout.pairs() == sorted(names)
    assert {pair: one.ids for pair, one in held(tmp_path).items()} == {name: [1, 2] for name in names}


def test_an_append_after_new_year_keeps_the_order_of_ids_in_each_file(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, over_new_year(range(1, 11))[::-1])
    assert ids(tmp_path) == list(range(1, 11))
    assert START_US < YEAR_END_US


def test_opening_begins_an_archive_and_takes_away_what_a_dead_process_left_staged(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "new" / "data")
    with open_archive.opened(layout, Unsynced()) as opened:
        assert layout.exists
        assert opened.staging.parent == layout.staging
    left = layout.staging / "left"
    left.mkdir()
    with open_archive.opened(layout, Unsynced()):
        assert not left.exists()


def test_who_must_be_alone_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.data.mkdir()
    refused = open_archive.opened(layout, Unsynced(), alone=layout.lock, in_use="it is in use: wait")
    with locks.hold(layout.lock), pytest.raises(ArchiveInUse, match=r"^it is in use: wait$"), refused:
        pass
    assert list(layout.data.iterdir()) == [layout.lock]
    with open_archive.opened(layout, Unsynced(), alone=layout.lock, in_use="it is in use: wait"):
        pass


# -- the same id with other content ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"price": Decimal(7)}, {"qty": Decimal(7)}, {"side": "sell"}, {"time_us": START_US + 2_001_001}],
    ids=lambda change: next(iter(change)),
)
def test_a_row_that_differs_from_what_is_held_is_found_and_not_stored(
    tmp_path: Path, change: dict[str, object]
) -> None:
    other = msgspec.structs.replace(trade(2), **change)
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 3))
        assert opened.repeated(PAIR, [trade(1), other, trade(9)]) == [(trade(1), trade(1)), (other, trade(2))]
        assert opened.append(PAIR, [other]) == Spans()
    assert list(read_trades.trades(Layout(tmp_path), PAIR)) == trades(1, 3)


def test_two_rows_that_come_together_under_one_id_are_held_against_each_other(tmp_path: Path) -> None:
    other = msgspec.structs.replace(trade(2), qty=Decimal(7))
    first = trade(2)
    with archive(tmp_path, Unsynced()) as opened:
        assert opened.repeated(PAIR, [first, other, trade(1), trade(2)]) == [(other, first), (trade(2), first)]


def test_what_both_ways_of_hearing_of_a_trade_tell_apart_is_no_difference(tmp_path: Path) -> None:
    streamed = msgspec.structs.replace(
        trade(2), time_us=START_US + 2_001_000, price=Decimal("1.250000"), misc="x", source="ws", received_us=7
    )
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, [msgspec.structs.replace(trade(2), price=Decimal("1.25"))])
        ((came, held),) = opened.repeated(PAIR, [streamed])
    assert is_same(came, held)
