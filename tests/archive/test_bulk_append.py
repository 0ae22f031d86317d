"""Rows of history files in large files: what other processes do meanwhile, and what is left of an append that ends."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from msgspec import structs

from recorder.archive import bulk_append, read_trades
from recorder.archive.bulk_append import BulkAppend
from recorder.archive.disown import disown
from recorder.archive.footer import Imported
from recorder.archive.layout import Layout
from recorder.archive.schema import trades_table
from recorder.archive.trades import TradeArchive
from recorder.core.model import Trade
from recorder.core.trade_ids import Span, Spans
from tests.archive.rows import PAIR, START_US, archive, ids, over_new_year, trades
from tests.powercut import PowerCut, PowerLoss, Unsynced, lay


def bulk(rows: Sequence[Trade]) -> pa.Table:
    return trades_table([structs.replace(row, source="bulk") for row in rows])


def stored(data: Path) -> list[tuple[int, str]]:
    return sorted((row.trade_id, row.source) for row in read_trades.trades(Layout(data), PAIR))


def test_what_another_process_stored_or_disowned_meanwhile_is_left_out(tmp_path: Path) -> None:
    added = Spans()
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(30, 31))
        with BulkAppend(opened, PAIR, stored=added.update) as append:
            append.add(bulk(trades(1, 9)))
            append.add(bulk(trades(12, 20)))
            with archive(tmp_path, Unsynced()) as other:
                other.append(PAIR, trades(4, 5))
                disown(other, PAIR, Spans([Span(14, 14), Span(31, 31)]), now_us=START_US, reason="odd")
            append.finish()
    assert added == Spans([Span(1, 3), Span(6, 9), Span(12, 13), Span(15, 20)])
    expected = {one: "bulk" for span in added for one in range(span.first, span.last + 1)}
    assert stored(tmp_path) == sorted((expected | {4: "rest", 5: "rest", 30: "rest"}).items())


def test_files_are_parted_by_year_and_size_and_say_what_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_append, "MAX_ROWS", 17)
    rows = over_new_year(range(1, 41))
    with archive(tmp_path, Unsynced()) as opened, BulkAppend(opened, PAIR, stored=lambda _: None) as append:
        for start in range(0, 40, 8):
            append.add(bulk(rows[start : start + 8]))
        append.finish()
        files = opened.coverage.files(PAIR, anew=True)
    assert [(file.path.parent.name, file.rows) for file in files] == [
        ("year=2025", 16),
        ("year=2025", 4),
        ("year=2026", 12),
        ("year=2026", 8),
    ]
    assert [one for file in files for one in file.footer.imported] == [
        Imported(run.span, 6) for file in files for run in file.footer.runs
    ]
    assert len(stored(tmp_path)) == 40


def test_an_append_that_is_not_finished_leaves_nothing_behind(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        with BulkAppend(opened, PAIR, stored=lambda _: None) as append:
            append.add(bulk(trades(1, 9)))
        assert not list(opened.staging.iterdir())
    assert stored(tmp_path) == []


def test_a_power_cut_at_any_call_loses_no_row_that_counted_as_stored(tmp_path: Path) -> None:
    before = tmp_path / "before"
    with archive(before, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 3))
    states = 0
    for cut_at in itertools.count(1):
        data, acked = shutil.copytree(before, tmp_path / "now"), set(range(1, 4))
        staging = data / ".staging" / "mine"
        staging.mkdir()
        disk = PowerCut(data, cut_at=cut_at)
        with contextlib.suppress(PowerLoss):
            bulk_rows(TradeArchive(Layout(data), disk, staging=staging), acked)
        for number, tree in enumerate(disk.aftermaths()):
            found = set(ids(lay(tree, tmp_path / f"after-{cut_at}-{number}")))
            assert acked <= found <= {*range(1, 4), *range(7, 10)}, f"cut at call {cut_at}"
            states += 1
        shutil.rmtree(data)
        if not disk.lost:
            assert acked == {*range(1, 4), *range(7, 10)}
            break
    assert states > cut_at


def bulk_rows(opened: TradeArchive, acked: set[int]) -> None:
    def stored(added: Spans) -> None:
        for span in added:
            acked.update(range(span.first, span.last + 1))

    with BulkAppend(opened, PAIR, stored=stored) as append:
        append.add(bulk(trades(7, 9)))
        append.finish()
