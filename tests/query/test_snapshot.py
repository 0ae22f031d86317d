from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from recorder.core.trade_ids import Spans
from recorder.query.snapshot import Snapshot, Snapshots
from recorder.query.trade_files import PairFiles, TradeFiles
from tests.archives import Written, trades


def tail_ids(moment: Snapshot) -> list[int]:
    found: list[int] = moment.tail["trade_id"].to_pylist()
    return found


def held(moment: Snapshot, pair: str = "BTC/USD") -> list[tuple[int, int]]:
    return [(run.span.first, run.span.last) for run in moment.runs.get(pair, ())]


def test_without_live_a_moment_is_what_is_archived(archive: Written) -> None:
    archive.append(trades(1, 3))
    archive.journalled(trades(4, 5))
    moment = Snapshots(archive.data, live=False).take()
    assert (held(moment), tail_ids(moment)) == ([(1, 3)], [])


def test_live_adds_what_is_only_in_the_journal(archive: Written) -> None:
    archive.append(trades(1, 3))
    archive.journalled([*trades(2, 5), *trades(1, 2, pair="ETH/USD")])
    moments = Snapshots(archive.data, live=True)
    moment = moments.take()
    assert tail_ids(moment) == [4, 5, 1, 2]
    assert (held(moment), held(moment, "ETH/USD")) == ([(1, 5)], [(1, 2)])
    assert sorted(moments.pairs()) == ["BTC/USD", "ETH/USD"]


def test_a_moment_of_one_pair_has_nothing_of_the_others(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(1, 3, pair="ETH/USD")])
    archive.journalled([*trades(4, 4), *trades(4, 4, pair="ETH/USD")])
    moment = Snapshots(archive.data, live=True).take("ETH/USD")
    assert list(moment.runs) == ["ETH/USD"]
    assert tail_ids(moment) == [4]
    assert all("ETH" in path or "schema" in path for path in moment.files)


@pytest.mark.parametrize("when", ["before", "after"])
def test_rows_that_are_drained_meanwhile_are_neither_missed_nor_doubled(
    archive: Written, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    archive.append(trades(1, 3))
    archive.journalled(trades(4, 6))
    original: Callable[[TradeFiles, Iterable[str]], dict[str, PairFiles]] = TradeFiles.of

    def drained(listing: TradeFiles, pairs: Iterable[str]) -> dict[str, PairFiles]:
        if when == "before":
            archive.drain()
        found = original(listing, pairs)
        archive.drain()
        return found

    monkeypatch.setattr(TradeFiles, "of", drained)
    moment = Snapshots(archive.data, live=True).take()
    assert held(moment) == [(1, 6)]
    assert tail_ids(moment) == ([] if when == "before" else [4, 5, 6])


def test_a_kept_moment_is_found_again_after_its_files_were_merged_with_newer_ones(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(8, 9)])
    archive.append(trades(1, 3, pair="ETH/USD"))
    archive.journalled(trades(4, 5))
    moments = Snapshots(archive.data, live=True)
    kept = moments.take()
    archive.drain()
    archive.append(trades(6, 7))
    archive.compact()
    again = moments.find_again(kept)
    assert [path for path in again.cut_files if "BTC" in path] == [str(archive.files()[0])]
    assert [path for path in again.files if "schema" not in path] == [str(archive.files("ETH/USD")[0])]
    assert (again.runs, again.tail, again.archived) == (kept.runs, kept.tail, kept.archived)
    assert again.archived["BTC/USD"] == Spans.of_ids([1, 2, 3, 8, 9])


def test_files_that_only_came_later_are_no_part_of_a_kept_moment(archive: Written) -> None:
    archive.append(trades(1, 3))
    moments = Snapshots(archive.data, live=False)
    kept = moments.take()
    archive.append(trades(4, 6))
    assert moments.find_again(kept).files == kept.files


def test_rows_of_a_kept_moment_that_are_gone_are_a_fault_of_their_pair_that_names_them(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(1, 2, pair="ETH/USD")])
    moments = Snapshots(archive.data, live=False)
    kept = moments.take()
    archive.files()[0].unlink()
    found = moments.find_again(kept)
    assert found.faults.keys() == {"BTC/USD"}
    gone = f"ids 1..3 of BTC/USD were in the archive and are gone from {archive.layout.pair_dir('BTC/USD')}"
    assert gone in str(found.faults["BTC/USD"])
    assert found.files[0] == str(archive.files("ETH/USD")[0])
