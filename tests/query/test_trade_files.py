from __future__ import annotations

import os
from pathlib import Path

import pytest

from recorder.archive.parquet import FileFacts, read_facts
from recorder.core.trade_ids import Run, Span, Spans
from recorder.errors import CorruptFile, NoSuchArchive
from recorder.query import trade_files
from recorder.query.trade_files import TradeFiles
from tests.archives import START_US, Written, trades

PAIR = "BTC/USD"


def test_a_folder_without_an_archive_is_refused_with_the_remedy(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NoSuchArchive, match=f"no archive at {folder}: .*`recorder run --data {folder}`"):
            TradeFiles(folder)


def test_a_table_whose_first_file_was_removed_is_told_with_the_remedy(archive: Written) -> None:
    born = Path(TradeFiles(archive.data).schema_file)
    born.unlink()
    with pytest.raises(NoSuchArchive, match=f"^{born} is missing.*start the recorder"):
        TradeFiles(archive.data)


def test_it_lists_the_files_of_each_pair_with_the_ids_in_them(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(7, 9), *trades(5, 5, pair="ETH/USD")])
    archive.append(trades(4, 4))
    found = TradeFiles(archive.data).of(["BTC/USD", "NO/NE"])
    bitcoin = found["BTC/USD"]
    assert sorted(bitcoin.footers) == [str(path) for path in archive.files()]
    assert bitcoin.ids == Spans([Span(1, 4), Span(7, 9)])
    assert bitcoin.runs[0] == Run(PAIR, Span(1, 4), START_US + 1_000_000, START_US + 4_000_000)
    assert found["NO/NE"].ids == Spans()
    assert sorted(TradeFiles(archive.data).pairs()) == ["BTC/USD", "ETH/USD"]


def test_a_footer_is_read_once_however_often_files_are_listed(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(path: Path) -> FileFacts:
        read.append(path)
        return read_facts(path)

    files = TradeFiles(archive.data)
    monkeypatch.setattr(trade_files, "read_facts", counted)
    for number in range(1, 6):
        archive.append(trades(2 * number, 2 * number))
        for _ in range(3):
            files.of(["BTC/USD"])
    archive.compact()
    merged = files.of(["BTC/USD"])["BTC/USD"]
    assert len(read) == len(set(read)) == 6
    assert merged.ids.count() == 5


def test_a_directory_exchanged_while_it_is_listed_is_not_believed(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.append(trades(1, 3))
    archive.append(trades(4, 6))
    files, original = TradeFiles(archive.data), os.listdir

    def late(place: str | int) -> list[str]:
        if isinstance(place, int):  # the directory is open; now it is exchanged, and emptied
            monkeypatch.undo()
            archive.compact()
        return original(place)

    monkeypatch.setattr(os, "listdir", late)
    with pytest.raises(FileNotFoundError, match="exchanged while it was listed"):
        files.of(["BTC/USD"])
    assert files.of(["BTC/USD"])["BTC/USD"].ids.count() == 6


def test_a_file_that_is_not_ours_is_a_fault_of_its_pair_that_names_it(archive: Written) -> None:
    archive.append([*trades(1, 1), *trades(1, 1, pair="ETH/USD")])
    (archive.files()[0].parent / "mine.parquet").write_bytes(b"PAR1")
    found = TradeFiles(archive.data).of(["BTC/USD", "ETH/USD"])
    assert isinstance(found["BTC/USD"].fault, CorruptFile)
    assert "mine.parquet" in str(found["BTC/USD"].fault)
    assert found["ETH/USD"].fault is None


def test_many_footers_read_side_by_side_say_what_those_read_one_by_one_do(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"P{number}/USD" for number in range(9)]
    archive.append([one for name in names for one in trades(1, 2, pair=name)])
    (archive.files(names[4])[0]).write_bytes(b"PAR1")
    one_by_one = TradeFiles(archive.data).of(names)
    monkeypatch.setattr(trade_files, "_MANY", 1)
    files = TradeFiles(archive.data)
    for found in (files.of(names), files.of(names)):
        assert list(found) == names
        assert {name: held.runs for name, held in found.items()} == {name: one_by_one[name].runs for name in names}
        assert [name for name, held in found.items() if held.fault] == [names[4]]
