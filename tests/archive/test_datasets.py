from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from recorder.archive import compaction, datasets, integrity, parquet, verify_tables
from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import BY_NAME, DATASETS, Branch, Dataset, branch_named
from recorder.archive.layout import Layout
from recorder.archive.schema import TIME
from recorder.archive.segment_tables import SegmentTables
from recorder.errors import UnsoundFile
from tests.archive.rows import archive
from tests.example_dataset import TOY, register
from tests.powercut import Unsynced
from tests.segments import named

DAY_US = 86_400_000_000


@pytest.mark.parametrize("dataset", [*DATASETS, TOY], ids=[dataset.name for dataset in [*DATASETS, TOY]])
def test_what_an_entry_says_of_columns_is_true_of_them(dataset: Dataset) -> None:
    names = dataset.columns.names
    assert {*dataset.order, dataset.time, *dataset.encodings, dataset.stamp or dataset.time} <= set(names)
    assert dataset.partition not in names
    assert dataset.columns.field(dataset.time).type == TIME
    assert dataset.build([]).schema == dataset.columns
    assert (dataset.has_ids or dataset.imported) == (dataset.stamp is None), "a row without an id says when it came"


def test_names_are_told_apart() -> None:
    assert len(BY_NAME) == len(DATASETS)
    assert all(dataset.name.isidentifier() for dataset in DATASETS)


def test_two_datasets_parted_alike_share_neither_locks_nor_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    branches = [Branch(datasets.TRADES, "A/B"), Branch(TOY, "A/B"), Branch(TOY), Branch(datasets.EVENTS)]
    names = [branch.name for branch in branches]
    assert names == ["pair=A%2FB", "table=toys,pair=A%2FB", "table=toys", "table=events"]
    assert [branch_named(name) for name in names] == branches
    layout = Layout(Path("data"))
    assert layout.home(branches[1]) == Path("data/toys/pair=A%2FB")
    assert layout.built(branches[0]) != layout.built(branches[1])


def test_a_table_parted_by_days_is_written_compacted_and_checked_by_its_entry_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch)
    branch = Branch(TOY, "A/B")
    with archive(tmp_path, Unsynced()) as opened:
        assert (
            opened.layout.schema_file(TOY) == tmp_path / "toys" / "pair=__none__" / "date=1970-01-01" / "schema.parquet"
        )
        tables = SegmentTables(opened.layout, Unsynced(), staging=opened.staging)
        for segment, added in ((1, 2), (2, 2), (3, 2), (3, 0)):
            tables.add(branch, [(number * DAY_US + segment, "ball") for number in (1, 0)])
            assert tables.write(named(segment)) == added
        leaves = opened.layout.leaves(branch)
        assert [leaf.name for leaf in leaves] == ["date=1970-01-01", "date=1970-01-02"]
        today = date(1970, 1, 2)
        done = compact_segments(tables.segments, branch, today=today)
        assert done == compaction.Compacted(branch, 3, 3), "only a day that is over is merged for good"
        assert compact_segments(tables.segments, branch, today=today) is None
        assert list(verify_tables.findings(opened.layout)) == []
        assert list(verify_tables.findings(opened.layout, days=integrity.Days(date(1971, 1, 1)))) == []
        (merged,) = opened.layout.files(branch)[:1]
        with parquet.OpenFile(merged) as file:
            assert [row["word"] for row in file.table(columns=["word"]).to_pylist()] == ["ball"] * 3
        moved = merged.rename(leaves[1] / "moved.parquet")
        (finding,) = verify_tables.findings(opened.layout)
        assert (finding.file, finding.problem) == (moved, "holds a row of 1970-01-01, and lies in date=1970-01-02")
        moved.write_bytes(b"PAR1")
        with pytest.raises(UnsoundFile, match="play another game"):
            parquet.read_facts(moved)
