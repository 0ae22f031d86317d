from __future__ import annotations

import ast
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import recorder
from recorder.archive import parquet
from recorder.archive.datasets import DATASETS, Dataset, remedy
from recorder.archive.footer import Footer
from recorder.archive.parquet import OpenFile, read_facts
from recorder.core.model import Event
from recorder.errors import CorruptFile, DiskError, UnreadableFile, UnsoundFile
from tests.archive.rows import trades
from tests.powercut import Unsynced

PACKAGE = Path(recorder.__file__).parent
EVENTS = [Event(number, "connected", None, "{}") for number in range(300)]


def test_one_module_opens_and_writes_parquet() -> None:
    """Else there would soon be many explanations again of what is wrong with a file, each with its own remedy."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(alias.name == "pyarrow.parquet" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("pyarrow.parquet."))
        or (isinstance(node, ast.ImportFrom) and node.module == "pyarrow" and node.names[0].name == "parquet")
    }
    assert found == {"archive/parquet.py"}


def written(tmp_path: Path, dataset: Dataset, rows: pa.Table) -> Path:
    """Return a file among those of a table."""
    folder = tmp_path / dataset.name
    folder.mkdir()
    path = folder / "0-1-a.parquet"
    parquet.write(rows, Footer(dataset.name), path, Unsynced(), staged_in=tmp_path)
    return path


@pytest.fixture(params=DATASETS, ids=[dataset.name for dataset in DATASETS])
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return written(tmp_path, request.param, request.param.columns.empty_table())


def test_a_damaged_file_gives_the_same_sentence_and_remedy_everywhere(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])
    for opening in (read_facts, OpenFile):
        with pytest.raises(UnsoundFile) as raised:
            opening(file)
        assert isinstance(raised.value, CorruptFile)
        assert raised.value.file == str(file)
        assert raised.value.problem.startswith("is not a complete Parquet file (")
        assert raised.value.remedy == remedy(file)
        assert str(raised.value) == f"{file} {raised.value.problem}: {raised.value.remedy}"


def test_remedies_differ_where_what_is_lost_cannot_be_fetched_again() -> None:
    assert len({dataset.remedy for dataset in DATASETS}) == len(DATASETS)


def test_a_file_that_is_gone_is_left_to_the_caller(tmp_path: Path) -> None:
    for opening in (read_facts, OpenFile):
        with pytest.raises(FileNotFoundError):
            opening(tmp_path / "gone.parquet")


def test_what_the_system_does_not_read_is_its_fault_and_not_the_file_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, DATASETS[2], DATASETS[2].build(EVENTS))

    def refused(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with OpenFile(path) as opened:
        monkeypatch.setattr(opened._parquet, "iter_batches", refused)
        with pytest.raises(UnreadableFile) as raised:
            list(opened.read(10))
    assert isinstance(raised.value, DiskError)
    assert raised.value.problem == "cannot be read: Input/output error"
    assert "check the disk" in raised.value.remedy
    monkeypatch.setattr("recorder.archive.parquet.pq.ParquetFile", refused)
    with pytest.raises(UnreadableFile, match=f"^cannot read {path}: Input/output error; check the disk"):
        OpenFile(path)


def test_a_damaged_page_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, DATASETS[2], DATASETS[2].build(EVENTS))
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(0)
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    with OpenFile(path) as opened, pytest.raises(UnsoundFile, match=rf"^{path} is damaged: .*from a back-up"):
        list(opened.read(10))


def test_columns_that_are_not_there_are_said_so(tmp_path: Path) -> None:
    path = written(tmp_path, DATASETS[0], DATASETS[0].build(trades(1, 3)).drop_columns("misc"))
    with OpenFile(path, words=["misc", "side"]) as opened:
        assert "misc" not in opened.columns().names
        with pytest.raises(UnsoundFile, match="has other columns than the table of trades"):
            list(opened.read(10, columns=["trade_id", "misc"]))
        with pytest.raises(UnsoundFile, match="has other columns than the table of trades"):
            opened.span("misc")


def test_limits_are_those_of_the_rows_and_a_file_without_rows_has_no_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 100)
    path = written(tmp_path, DATASETS[2], DATASETS[2].build(EVENTS))
    with OpenFile(path) as opened:
        assert [opened.limits("time", group) for group in opened.groups] == [(0, 99), (100, 199), (200, 299)]
        assert opened.span("time") == (0, 299)
        assert opened.limits("kind", 0) == (b"connected", b"connected")
        assert opened.table(columns=["time"], groups=[1]).num_rows == 100
    with OpenFile(written(tmp_path, DATASETS[1], DATASETS[1].columns.empty_table())) as empty:
        assert list(empty.groups) == []
        assert empty.table(columns=["pair"]).num_rows == 0
