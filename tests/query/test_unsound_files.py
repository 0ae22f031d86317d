"""The check that comes with the printed views: plain readers see no footer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from recorder.core.model import Event
from recorder.query.connect import connect
from tests.archives import START_US, Ask, Written, candle, minute, trade, trades

FOUND = "SELECT file, problem FROM unsound_files ORDER BY ALL"


@pytest.fixture
def pairs(archive: Written) -> Written:
    archive.append([*trades(1, 3), *trades(7, 9), *trades(1, 2, pair="ETH/USD")])
    archive.append(trades(4, 6))
    archive.append([trade(10, START_US + 366 * 86_400_000_000)])
    archive.listed("BTC/USD", 1)
    archive.listed("BTC/USD", 2, minute(1))
    archive.published([candle(0), candle(0, timeframe="1h")])
    archive.noted(
        Event(START_US, "connected", None, "{}"), Event(START_US + 366 * 86_400_000_000, "connected", None, "{}")
    )
    return archive


def copied(path: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(path, folder / "copy.parquet"))


def first_in(folder: Path) -> Path:
    return next(path for path in sorted(folder.iterdir()) if path.name not in {"schema.parquet", "copy.parquet"})


def test_of_an_archive_that_nobody_touched_nothing_is_said(pairs: Written, ask: Ask) -> None:
    assert ask(FOUND) == []


def test_ids_in_two_files_are_said_with_both(pairs: Written, ask: Ask) -> None:
    path = pairs.files()[0]
    os.link(path, path.with_name("copy.parquet"))
    ((file, problem),) = ask(FOUND)
    assert {str(file), str(problem).split()[-2]} == {str(path), str(path.with_name("copy.parquet"))}
    assert str(problem).startswith("holds id 1 as ")


@pytest.mark.parametrize("spelled", ["pair=BTC%2fUSD", "pair=BTC%2fusd", "pair=ETH%2FUSD"])
def test_another_folder_and_another_spelling_are_said(pairs: Written, ask: Ask, spelled: str) -> None:
    copy = copied(pairs.files()[0], pairs.data / "trades" / spelled / "year=2025")
    assert (str(copy), f"belongs in pair=BTC%2FUSD, and lies in {spelled}") in ask(FOUND)


def test_another_year_and_another_table_are_said(pairs: Written, ask: Ask) -> None:
    path = pairs.files()[0]
    moved = path.rename(pairs.files()[-1].with_name("moved.parquet"))
    copy = copied(pairs.files()[-1], pairs.data / "events" / "year=2025")
    found = ask(FOUND)
    assert (str(moved), "holds a row of another year, and lies in year=2026") in found
    assert (str(copy), "holds trades, and lies among events") in found


@pytest.mark.parametrize("folder", ["events/year=2025", "ohlc/timeframe=1m/year=2025", "instruments"])
def test_copies_in_tables_without_ids_are_said(pairs: Written, ask: Ask, folder: str) -> None:
    path = first_in(pairs.data / folder)
    copy = copied(path, pairs.data / folder)
    ((file, problem),) = ask(FOUND)
    assert {str(file), str(problem).removesuffix(" does").split()[-1]} == {str(path), str(copy)}


def test_it_can_be_asked_over_a_connection_too_which_answers_nothing_else(pairs: Written) -> None:
    copied(pairs.files()[0], pairs.files()[0].parent)
    with connect(pairs.data) as opened:
        assert len(opened.sql("FROM unsound_files")) == 1
