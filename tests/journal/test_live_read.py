from __future__ import annotations

from pathlib import Path

import pytest

from recorder.errors import StorageError
from recorder.journal import live_read, segment
from recorder.journal.live_read import JournalReader


def written(journal: Path, number: int, content: bytes) -> Path:
    journal.mkdir(exist_ok=True)
    path = segment.path_of(journal, number)
    path.write_bytes(content)
    return path


def line(number: int) -> bytes:
    return segment.encode(number, "test", b"{}")


def test_a_reader_gets_whole_lines_of_all_segments_oldest_first(tmp_path: Path) -> None:
    written(tmp_path, 2, line(3) + line(4)[:10])
    written(tmp_path, 1, line(1) + b"corrupt\n" + line(2))
    assert [entry.recv_ns for entry in live_read.entries(tmp_path)] == [1, 2, 3]


def test_without_a_journal_there_is_no_tail(tmp_path: Path) -> None:
    assert live_read.entries(tmp_path / "journal") == []


def test_a_segment_that_is_retired_meanwhile_makes_the_reader_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retired = written(tmp_path, 1, line(1))
    written(tmp_path, 2, line(2))
    listed = segment.segments

    def then_retired(journal: Path) -> list[Path]:
        found = listed(journal)
        retired.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(segment, "segments", then_retired)
    assert [entry.recv_ns for entry in live_read.entries(tmp_path)] == [2]


def test_segments_that_never_stay_are_an_error_not_an_endless_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "segments", lambda journal: [journal / "gone.jsonl"])
    with pytest.raises(StorageError, match=r"the segments in .* keep changing faster"):
        live_read.entries(tmp_path)


def test_a_reader_reads_on_and_returns_each_whole_line_once(tmp_path: Path) -> None:
    reader, first, second = JournalReader(tmp_path), segment.path_of(tmp_path, 1), segment.path_of(tmp_path, 2)
    first.write_bytes(line(1) + b"not a line\n" + line(2) + line(3)[:9])
    assert [entry.recv_ns for entry in reader.read()] == [1, 2]
    assert (reader.read(), reader.changes) == ([], 1)
    with first.open("ab") as file:
        file.write(line(3)[9:])
    second.write_bytes(b"not a line\n")
    assert [entry.recv_ns for entry in reader.read()] == [3]
    assert (reader.read(), reader.changes) == ([], 2)
    first.unlink()
    assert (reader.read(), reader.changes) == ([], 3)
    with second.open("ab") as file:
        file.write(line(4))
    assert [entry.recv_ns for entry in reader.read()] == [4]
    reader.rewind()
    assert [entry.recv_ns for entry in reader.read()] == [4]
