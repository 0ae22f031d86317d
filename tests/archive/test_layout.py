from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.archive.datasets import EVENTS, INSTRUMENTS, OHLC, TRADES, Branch, Dataset, branch_named
from recorder.archive.layout import Layout, new_name
from recorder.archive.open_archive import create
from tests.powercut import Unsynced


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "data")
    create(made, Unsynced())
    return made


@pytest.mark.parametrize(
    ("table", "born"),
    [
        (TRADES, "trades/pair=__none__/year=1970/schema.parquet"),
        (OHLC, "ohlc/timeframe=__none__/year=1970/schema.parquet"),
        (EVENTS, "events/year=1970/schema.parquet"),
        (INSTRUMENTS, "instruments/schema.parquet"),
    ],
    ids=lambda given: given.name if isinstance(given, Dataset) else "",
)
def test_every_table_is_born_with_one_empty_file_that_carries_its_schema(
    layout: Layout, table: Dataset, born: str
) -> None:
    assert list(layout.folder(table).rglob("*.parquet")) == [layout.data / born]
    parquet = pq.ParquetFile(layout.data / born)
    assert parquet.metadata.num_rows == 0
    assert parquet.schema_arrow.remove_metadata().equals(table.columns)
    if table.partition is not None:
        assert layout.branches(table) == []


def test_creating_an_archive_that_is_there_changes_nothing(layout: Layout) -> None:
    before = sorted(layout.data.rglob("*.parquet"))
    create(layout, Unsynced())
    assert sorted(layout.data.rglob("*.parquet")) == before


def test_no_name_is_used_twice(layout: Layout) -> None:
    digest = "9f86d081884c7d65" + 48 * "0"
    assert new_name(1, 2, digest) != new_name(1, 2, digest)
    assert new_name(1, 2, digest).startswith("000000000001-000000000002-")


HOSTILE = [
    "../../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/../../b",
    "..\\..\\x",
    "BTC/USD\0.parquet",
    "%2e%2e%2f%2e%2e",
    "pair=../x",
    "~root",
    "*",
    "[a-z]",
    "a\nb",
    "__HIVE_DEFAULT_PARTITION__/../../x",
    "ＢＴＣ／ＵＳＤ",  # noqa: RUF001 -- wide letters are the point
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_a_pair_leads_out_of_its_table(layout: Layout, name: str) -> None:
    branch = Branch(TRADES, name)
    for path, home in (
        (layout.pair_dir(name), layout.trades),
        (layout.year_dir(name, 2025).parent, layout.trades),
        (layout.built(branch), layout.exchange),
        (layout.locks / f"{branch.name}.lock", layout.locks),
    ):
        assert path.parent == home
        assert Path(os.path.normpath(path)) == path
        assert not set("/\\\0*?[") & set(path.name)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_name_of_a_pair_is_one_folder_which_says_it_again(name: str) -> None:
    branch = Branch(TRADES, name)
    assert Path(branch.name).name == branch.name
    assert branch_named(branch.name) == branch or name == ""


def test_each_journal_has_a_lock_and_folders_of_its_own(layout: Layout) -> None:
    assert layout.journal_lock("journal") == layout.lock
    assert layout.journal_lock("journal_market") == layout.locks / "journal_market.lock"
    assert (layout.journal_dir("journal"), layout.raw_dir("journal")) == (layout.journal, layout.raw)
    assert layout.raw_dir("journal_market") == layout.data / "raw_market"
