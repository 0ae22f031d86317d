"""Footers name the ids from history files, whatever rewrites or moves a file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

from msgspec import structs

from recorder.archive import verify_trades
from recorder.archive.compaction import compact
from recorder.archive.coverage import Coverage
from recorder.archive.disown import disown
from recorder.archive.footer import Imported, imported_ids, joined_imported
from recorder.archive.layout import Layout
from recorder.archive.open_archive import opened
from recorder.archive.parquet import OpenFile, write_new
from recorder.archive.schema import trades_table
from recorder.core.model import Trade
from recorder.core.trade_ids import Span, Spans
from tests.archives import START_US, trade, trades
from tests.powercut import Unsynced

PAIR = "BTC/USD"


def bulk(first: int, last: int, step_us: int = 1_000_000) -> list[Trade]:
    return [
        structs.replace(trade(number, START_US + number * step_us), source="bulk") for number in range(first, last + 1)
    ]


def named(data: Path) -> list[tuple[Imported, ...]]:
    return [file.footer.imported for file in sorted(Coverage(Layout(data)).files(PAIR), key=lambda one: one.first_id)]


def test_a_file_names_them_with_the_digits_of_their_times() -> None:
    rows = [*bulk(1, 2), *trades(3, 4), *bulk(5, 5), *bulk(7, 9, 250_000)]
    assert imported_ids(trades_table(rows)) == (
        Imported(Span(1, 2), 2),
        Imported(Span(5, 5), 2),
        Imported(Span(7, 9), 2),
    )
    assert imported_ids(trades_table(bulk(1, 1))) == (Imported(Span(1, 1), 0),)
    assert imported_ids(trades_table(trades(1, 3))) == ()


def test_neighbours_are_joined_only_with_the_same_digits() -> None:
    parts = [Imported(Span(4, 6), 6), Imported(Span(1, 3), 6), Imported(Span(7, 8), 3), Imported(Span(10, 11), 3)]
    assert joined_imported(parts) == (Imported(Span(1, 6), 6), Imported(Span(7, 8), 3), Imported(Span(10, 11), 3))


def test_merging_and_disowning_keep_them(tmp_path: Path) -> None:
    with opened(Layout(tmp_path), Unsynced()) as archive:
        for rows in (bulk(1, 30), trades(31, 60), bulk(61, 90, 500_000)):
            archive.append(PAIR, rows)
        assert compact(archive, PAIR, today=date(2030, 1, 1)) is not None
        assert named(tmp_path) == [(Imported(Span(1, 30), 0), Imported(Span(61, 90), 1))]
        disown(archive, PAIR, Spans([Span(10, 65)]), reason="test", now_us=START_US)
    assert named(tmp_path) == [(Imported(Span(1, 9), 0), Imported(Span(66, 90), 1))]
    with ThreadPoolExecutor(1) as pool:
        assert list(verify_trades.read(Layout(tmp_path), PAIR, pool).findings) == []


def test_verify_compares_them_with_the_rows(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with opened(layout, Unsynced()) as archive:
        archive.append(PAIR, bulk(1, 9))
        (path,) = layout.trade_files(PAIR)
        with OpenFile(path) as file:
            rows, footer = file.table(columns=file.columns().names), file.footer
        path.unlink()
        write_new(rows, replace(footer, imported=()), path.parent, Unsynced(), named=(1, 9), staged_in=archive.staging)
    with ThreadPoolExecutor(1) as pool:
        (finding,) = verify_trades.read(layout, PAIR, pool).findings
    assert "history files" in finding.problem
