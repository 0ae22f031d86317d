from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.archive import files
from recorder.archive.compact import compact
from recorder.archive.files import Layout
from recorder.archive.tables import TABLES, TRADES, Branch, Table, branch_named
from recorder.disk import ASIDE
from recorder.errors import ArchiveInUse, DiskError, StorageError
from tests.archive.rows import PAIR, archive, ids, trades
from tests.powercut import PowerCut, PowerLoss, Unsynced

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from recorder.archive import files
from recorder.archive.files import Layout
from recorder.archive.tables import TRADES, Branch
from recorder.disk import Disk
layout = Layout(Path(sys.argv[1]))
layout.create(Disk())
branch = Branch(TRADES, "BTC/USD")
with files.hold(layout.lock), files.branch_lock(layout, branch), files.staging(layout, Disk()) as private:
    (private / "half written").touch()
    print(private, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "data")
    made.create(Unsynced())
    return made


@pytest.mark.parametrize(
    ("table", "born"),
    list(
        zip(
            TABLES,
            [
                "trades/pair=__none__/year=1970/schema.parquet",
                "ohlc/timeframe=__none__/year=1970/schema.parquet",
                "events/year=1970/schema.parquet",
                "instruments/schema.parquet",
            ],
            strict=True,
        )
    ),
    ids=[table.name for table in TABLES],
)
def test_every_table_is_born_with_one_empty_file_that_carries_its_schema(
    layout: Layout, table: Table, born: str
) -> None:
    assert list(layout.folder(table).rglob("*.parquet")) == [layout.data / born]
    parquet = pq.ParquetFile(layout.data / born)
    assert parquet.metadata.num_rows == 0
    assert parquet.schema_arrow.remove_metadata().equals(table.columns)
    if table.partition is not None:
        assert layout.branches(table) == []


def test_creating_an_archive_that_is_there_changes_nothing(layout: Layout) -> None:
    before = sorted(layout.data.rglob("*.parquet"))
    layout.create(Unsynced())
    assert sorted(layout.data.rglob("*.parquet")) == before


def test_no_name_is_used_twice(layout: Layout) -> None:
    assert files.new_name(1, 2) != files.new_name(1, 2)
    assert files.new_name(1, 2).startswith("000000000001-000000000002-")


def test_what_is_taken_away_meanwhile_is_looked_at_again_but_not_for_ever() -> None:
    taken_away = [FileNotFoundError(), FileNotFoundError()]

    def look() -> str:
        if taken_away:
            raise taken_away.pop()
        return "seen"

    def never() -> None:
        raise FileNotFoundError

    assert files.undisturbed(look, "the files of BTC/USD") == "seen"
    with pytest.raises(StorageError, match=r"^the files of BTC/USD keep changing faster than they can be read$"):
        files.undisturbed(never, "the files of BTC/USD")


def test_a_lock_is_held_by_one_and_free_again_afterwards(layout: Layout) -> None:
    for _ in range(2):
        with files.hold(layout.lock), pytest.raises(ArchiveInUse, match="held by another process"):
            files.hold(layout.lock).__enter__()


def test_a_lock_that_cannot_be_opened_is_the_disks_fault(layout: Layout) -> None:
    with pytest.raises(DiskError, match="cannot open the lock"), files.hold(layout.data / "nowhere" / "lock"):
        pass


def test_what_a_living_process_holds_and_stages_stays_until_it_is_killed(layout: Layout) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(layout.data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with holder:
        try:
            assert holder.stdout is not None
            private = Path(holder.stdout.readline().strip())
            files.sweep_staging(layout, Unsynced())
            assert (private / "half written").exists()
            with pytest.raises(ArchiveInUse), files.hold(layout.lock):
                pass
            with pytest.raises(ArchiveInUse), files.branch_lock(layout, Branch(TRADES, PAIR), wait=False):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        with files.hold(layout.lock), files.branch_lock(layout, Branch(TRADES, PAIR), wait=False):
            pass
        assert private.exists()
        files.sweep_staging(layout, Unsynced())
        assert [path.name for path in layout.staging.iterdir()] == ["exchange"]


def test_a_folder_in_staging_without_a_lock_is_rubbish(layout: Layout) -> None:
    (layout.staging / "left" / "deep").mkdir(parents=True)
    with files.staging(layout, Unsynced()) as living:
        files.sweep_staging(layout, Unsynced())
        assert living.exists()
    assert [path.name for path in layout.staging.iterdir()] == ["exchange"]


def test_a_private_folder_goes_when_its_process_is_done_even_by_an_error(layout: Layout) -> None:
    def use() -> None:
        with files.staging(layout, Unsynced()) as private:
            (private / "half written").touch()
            raise DiskError("full")

    with pytest.raises(DiskError):
        use()
    assert [path.name for path in layout.staging.iterdir()] == ["exchange"]


def merge_cut_between_renames(data: Path) -> None:
    """Leave a year of PAIR aside, as a process that died between the renames does."""
    with archive(data, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 2))
        opened.append(PAIR, trades(3, 4))
        opened.disk = PowerCut(data, can_swap=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PowerCut, "rename", _first_only)
            with pytest.raises(PowerLoss):
                compact(opened, PAIR, this_year=9999)


def _first_only(disk: PowerCut, old: Path, new: Path) -> None:
    if not new.name.endswith(ASIDE):
        raise PowerLoss
    Unsynced.rename(disk, old, new)


def test_a_year_left_aside_gets_its_name_back_at_the_next_start(layout: Layout) -> None:
    merge_cut_between_renames(layout.data)
    assert ids(layout.data) == []
    files.sweep_staging(layout, Unsynced())
    assert ids(layout.data) == [1, 2, 3, 4]
    assert not list(layout.exchange.iterdir())


def test_a_process_that_runs_already_finds_a_year_left_aside_before_it_appends(layout: Layout) -> None:
    with archive(layout.data, Unsynced()) as running:
        merge_cut_between_renames(layout.data)
        running.append(PAIR, trades(2, 5))
    assert ids(layout.data) == [1, 2, 3, 4, 5]


def test_a_merge_that_another_process_is_at_is_left_alone(layout: Layout) -> None:
    built = layout.built(Branch(TRADES, PAIR)) / "year=2025"
    built.mkdir(parents=True)
    with files.branch_lock(layout, Branch(TRADES, PAIR)):
        files.sweep_staging(layout, Unsynced())
        assert built.exists()
    files.sweep_staging(layout, Unsynced())
    assert not built.exists()


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
