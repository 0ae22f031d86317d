"""Who must not end looks at a file first: small ones by their digest, others in a child, each once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.archive import stored_evidence
from recorder.archive.check_readable import Guard, Probe
from recorder.archive.parquet import OpenFile, looked_at_first
from recorder.core.model import Event
from recorder.errors import UnsoundFile
from tests.archives import START_US, Written, name_as_before, writing


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Written]:
    with writing(tmp_path / "data") as written:
        yield written


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Give the files that a child is asked about, all of which would end it."""
    asked: list[Path] = []

    def ends(_: Probe, path: Path, *, rows: bool) -> bool:
        assert not rows
        asked.append(path)
        return False

    monkeypatch.setattr(Probe, "survives", ends)
    return asked


def events(archive: Written) -> Path:
    detail = json.dumps({"first_id": 7, "last_id": 7})
    archive.noted(Event(START_US, "void", "BTC/USD", detail))
    return next(path for path in (archive.data / "events").rglob("*.parquet") if path.name != "schema.parquet")


def as_before(archive: Written) -> Path:
    path = events(archive)
    name_as_before(archive.data)
    return path.with_name(f"{path.name.rpartition('-')[0]}.parquet")


def test_a_small_file_with_a_digest_and_one_as_born_need_no_child(archive: Written, asked: list[Path]) -> None:
    path = events(archive)
    with looked_at_first(Guard().look):
        assert not stored_evidence.read(archive.layout).findings
        path.write_bytes(path.read_bytes()[::-1])
        (finding,) = stored_evidence.read(archive.layout).findings
    assert finding.file == path
    assert "SHA-256" in finding.problem
    assert not asked


def test_an_older_file_that_would_end_the_process_is_named_and_not_opened(archive: Written, asked: list[Path]) -> None:
    older = as_before(archive)
    with looked_at_first(Guard().look):
        (finding,) = stored_evidence.read(archive.layout).findings
        assert (finding.file, asked) == (older, [older])
        assert "ends the process" in finding.problem
        with pytest.raises(UnsoundFile, match="ends the process"):
            OpenFile(older)
    with OpenFile(older) as file:  # whoever may end
        assert file.rows == 1


def test_a_file_is_looked_at_once_as_long_as_it_stays_the_same(
    archive: Written, asked: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    older = as_before(archive)

    def survives(_: Probe, path: Path, *, rows: bool) -> bool:
        asked.append(path)
        return True

    monkeypatch.setattr(Probe, "survives", survives)
    guard = Guard()
    for _ in range(2):
        guard.look(older)
    assert asked == [older]
    older.write_bytes(older.read_bytes() + b" ")
    guard.look(older)
    assert asked == [older, older]
