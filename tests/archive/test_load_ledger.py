from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.archive import layout, load_ledger
from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.event_rows import event
from recorder.archive.layout import Layout
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Confirmed, Knowledge, Void
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Run, Span
from recorder.errors import CorruptFile, StorageError
from tests.archive.rows import PAIR, archive, trade, trades
from tests.powercut import Unsynced
from tests.segments import named

ETH = "ETH/USD"


def run(first: int, last: int, pair: str = PAIR) -> Run:
    return Run(pair, Span(first, last), trade(first).time_us, trade(last).time_us)


def note_void(opened: TradeArchive, first_id: int, last_id: int) -> None:
    tables = SegmentTables(opened.layout, opened.disk, staging=opened.staging)
    tables.add(Branch(EVENTS), [event(first_id, EventKind.VOID, PAIR, first_id=first_id, last_id=last_id)])
    tables.write(named(first_id))


def test_journal_footers_and_events_are_counted_together(tmp_path: Path) -> None:
    ledger = Ledger()
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 10))
        opened.append(ETH, trades(5, 6, pair=ETH))
        note_void(opened, 13, 14)
    journal: list[Run | Knowledge] = [run(9, 12), Void(PAIR, Span(16, 16)), Confirmed(PAIR, 20, 7), run(18, 20)]
    loaded = load_ledger.load(ledger, Layout(tmp_path), journal)
    assert loaded == load_ledger.LoadResult({PAIR: 10, ETH: 2}, {}, [])
    account = ledger.of(PAIR)
    assert list(account.spans) == [Span(1, 12), Span(18, 20)]
    assert [gap.span for gap in account.gaps()] == [Span(15, 15), Span(17, 17)]
    assert account.confirmed == Confirmed(PAIR, 20, 7)
    assert (account.time_us(1), account.time_us(18)) == (trade(1).time_us, trade(18).time_us)


def test_what_is_in_the_journal_alone_is_known_by_events_too(tmp_path: Path) -> None:
    ledger = Ledger()
    with archive(tmp_path, Unsynced()) as opened:
        note_void(opened, 2, 3)
    load_ledger.load(ledger, Layout(tmp_path), [run(1, 1), run(4, 4)])
    assert [gap.span for gap in ledger.of(PAIR).gaps()] == []


@pytest.mark.parametrize("joined", [1, 3, 20_000])
def test_a_long_journal_is_counted_in_parts_and_the_parts_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, joined: int
) -> None:
    monkeypatch.setattr(load_ledger, "JOINED_RUNS", joined)
    ledger = Ledger()
    with archive(tmp_path, Unsynced()) as opened:
        load_ledger.load(ledger, opened.layout, [run(n, n) for n in range(1, 11)])
    assert list(ledger.of(PAIR).spans) == [Span(1, 10)]


def test_a_row_that_moves_while_the_journal_is_read_is_not_missed(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:

        def drained() -> Iterator[Run | Knowledge]:
            opened.append(PAIR, trades(1, 3))  # and so its segment is gone
            yield from ()

        ledger = Ledger()
        load_ledger.load(ledger, opened.layout, drained())
    assert list(ledger.of(PAIR).spans) == [Span(1, 3)]


def test_of_some_pairs_the_footers_of_these_alone_are_read(tmp_path: Path) -> None:
    ledger = Ledger()
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 10))
        opened.append(ETH, trades(5, 6, pair=ETH))
        loaded = load_ledger.load(ledger, opened.layout, [], coverage=opened.coverage, pairs=[ETH, "SOL/USD"])
    assert loaded.rows == {ETH: 2, "SOL/USD": 0}
    assert list(ledger) == [ETH]


def test_a_damaged_file_costs_its_pair_alone_and_who_cannot_do_without_raises_it(tmp_path: Path) -> None:
    ledger = Ledger()
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 3))
        opened.append(PAIR, trades(4, 6))
        opened.append(ETH, trades(1, 2, pair=ETH))
        damaged = opened.layout.trade_files(PAIR)[0]
    damaged.write_bytes(damaged.read_bytes()[:-3])
    loaded = load_ledger.load(ledger, Layout(tmp_path), [run(6, 7)])
    assert loaded.rows == {ETH: 2}
    assert list(loaded.damaged) == [PAIR]
    assert list(ledger.of(PAIR).spans) == [Span(6, 7)], "nothing of a damaged pair counts but its journal"
    with pytest.raises(CorruptFile, match=str(damaged)):
        loaded.check()


def test_a_damaged_file_of_events_is_a_finding_and_the_others_count(tmp_path: Path) -> None:
    ledger = Ledger()
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, [trade(1), trade(4)])
        note_void(opened, 2, 2)
        note_void(opened, 3, 3)
    damaged = min((tmp_path / "events").rglob("0*.parquet"))
    damaged.write_bytes(b"not Parquet")
    loaded = load_ledger.load(ledger, Layout(tmp_path), [])
    assert [finding.file for finding in loaded.findings] == [damaged]
    assert [gap.span for gap in ledger.of(PAIR).gaps()] == [Span(2, 2)]
    loaded.check()


def test_a_compaction_that_comes_between_is_looked_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 3))
    listed, looks = layout.listed, 0

    def exchanged(directory: str | Path) -> list[str]:
        nonlocal looks
        looks += 1
        return ["gone.parquet", *listed(directory)] if looks < 3 else listed(directory)

    monkeypatch.setattr(layout, "listed", exchanged)
    ledger = Ledger()
    assert load_ledger.load(ledger, Layout(tmp_path), []).rows == {PAIR: 3}
    monkeypatch.setattr(layout, "listed", lambda _: ["gone.parquet"])
    with pytest.raises(StorageError, match="keep changing"):
        load_ledger.load(Ledger(), Layout(tmp_path), [])
