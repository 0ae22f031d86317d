from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recorder.archive import stored_evidence
from recorder.archive.footer import Footer
from recorder.archive.layout import Layout, listed
from recorder.archive.open_archive import create
from recorder.archive.parquet import write
from recorder.archive.schema import EVENTS, TIME
from recorder.core import evidence
from recorder.core.absent_ids import AbsentIds
from recorder.core.evidence import Confirmed, Disowned, Knowledge, Reclaimed, Void, detail, kind
from recorder.core.model import Event
from recorder.core.trade_ids import Span, Spans
from recorder.errors import StorageError
from tests.powercut import Unsynced
from tests.segments import named

T0_US = int(datetime(2025, 11, 10, tzinfo=UTC).timestamp()) * 1_000_000


def void(pair: str, first_id: int, last_id: int) -> Event:
    return Event(T0_US, "void", pair, json.dumps({"first_id": first_id, "last_id": last_id, "answers": ["a", "b"]}))


def confirmed(pair: str, last_id: int, until_us: int) -> Event:
    return Event(T0_US, "confirmed", pair, json.dumps({"last_id": last_id, "until_us": until_us}))


def noted(data: Path, events: Sequence[Event], *, segment: int = 1) -> Path:
    """Write one file of the table events, as docs/format.md describes it."""
    layout = Layout(data)
    create(layout, Unsynced())
    columns = [
        pa.array([event.time_us for event in events], pa.int64()).cast(TIME),
        pa.array([event.kind for event in events], pa.string()),
        pa.array([event.pair for event in events], pa.string()),
        pa.array([event.detail for event in events], pa.string()),
    ]
    path = data / "events" / "year=2025" / f"{segment:012d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    footer = Footer("events", segments=(named(segment),))
    write(pa.table(columns, schema=EVENTS), footer, path, Unsynced(), staged_in=layout.staging)
    return path


def test_what_is_known_of_a_pair_is_gathered_from_all_its_events(tmp_path: Path) -> None:
    noted(
        tmp_path,
        [
            void("A/B", 1, 2),
            Event(T0_US, "connected", None, "{}"),
            confirmed("A/B", 7, 20),
            confirmed("A/B", 7, 10),
            void("C/D", 5, 5),
            Event(T0_US, "void", "A/B", "not JSON"),
        ],
    )
    noted(tmp_path, [void("A/B", 3, 4), void("A/B", 8, 8), confirmed("A/B", 9, 30)], segment=2)
    found = stored_evidence.read(Layout(tmp_path))
    assert found.void == {"A/B": Spans([Span(1, 4), Span(8, 8)]), "C/D": Spans([Span(5, 5)])}
    assert sorted(found.confirmed("A/B"), key=lambda one: (one.last_id, one.until_us)) == [
        Confirmed("A/B", 7, 10),
        Confirmed("A/B", 7, 20),
        Confirmed("A/B", 9, 30),
    ]
    assert found.confirmed("C/D") == []
    assert not found.findings


def test_an_archive_without_events_knows_nothing(tmp_path: Path) -> None:
    assert stored_evidence.read(Layout(tmp_path)) == stored_evidence.StoredEvidence()


def test_a_damaged_file_is_a_finding_and_the_others_are_read(tmp_path: Path) -> None:
    broken = noted(tmp_path, [void("A/B", 1, 2)])
    broken.write_bytes(broken.read_bytes()[:-5])
    noted(tmp_path, [void("A/B", 3, 4)], segment=2)
    found = stored_evidence.read(Layout(tmp_path))
    assert found.void == {"A/B": Spans([Span(3, 4)])}
    (finding,) = found.findings
    assert finding.file == broken
    assert "is not a complete Parquet file" in finding.problem


def test_a_file_that_another_program_put_there_is_a_finding(tmp_path: Path) -> None:
    foreign = noted(tmp_path, [void("A/B", 1, 2)])
    pq.write_table(pa.table({"a": [1]}), foreign)
    noted(tmp_path, [void("A/B", 3, 4)], segment=2)
    found = stored_evidence.read(Layout(tmp_path))
    assert found.void == {"A/B": Spans([Span(3, 4)])}
    (finding,) = found.findings
    assert (finding.file, finding.problem) == (foreign, "is none of ours: it carries no footer of this archive")


def test_a_folder_that_is_exchanged_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted(tmp_path, [void("A/B", 1, 2)])
    original, looks = listed, 0

    def exchanged(directory: Path) -> list[str]:
        nonlocal looks
        looks += 1
        return ["gone.parquet", *original(directory)] if looks < 3 else original(directory)

    monkeypatch.setattr("recorder.archive.layout.listed", exchanged)
    assert stored_evidence.read(Layout(tmp_path)).void == {"A/B": Spans([Span(1, 2)])}
    monkeypatch.setattr("recorder.archive.layout.listed", lambda _: ["gone.parquet"])
    with pytest.raises(StorageError, match="keep changing"):
        stored_evidence.read(Layout(tmp_path))


def test_who_reads_again_and_again_reads_each_file_once_and_knows_what_is_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted(tmp_path, [void("A/B", 1, 2), confirmed("A/B", 7, 20), confirmed("A/B", 9, 30), void("C/D", 5, 5)])
    reader = stored_evidence.EvidenceReader(Layout(tmp_path))
    told = {Void("A/B", Span(1, 2)), Void("C/D", Span(5, 5)), Confirmed("A/B", 9, 30)}
    assert set(reader.read().knowledge()) == told
    reading: list[Path] = []
    newest = stored_evidence._newest

    def read(path: Path) -> stored_evidence._Dated:
        reading.append(path)
        return newest(path)

    monkeypatch.setattr(stored_evidence, "_newest", read)
    second = noted(tmp_path, [confirmed("A/B", 11, 40)], segment=2)
    assert set(reader.read().confirmed("A/B")) == {Confirmed("A/B", 9, 30), Confirmed("A/B", 11, 40)}
    assert set(reader.read().knowledge()) == {*told, Confirmed("A/B", 11, 40)}
    assert reading == [second]
    second.unlink()
    assert set(reader.read().knowledge()) == told
    second.write_bytes(b"no Parquet")
    assert [finding.file for finding in reader.read().findings] == [second]


def test_ids_that_the_owner_let_go_are_known_until_they_are_reclaimed(tmp_path: Path) -> None:
    told: list[Knowledge] = [
        Reclaimed("A/B", Span(4, 4), 20),
        Disowned("A/B", Span(1, 9), 10, "released"),
        Disowned("C/D", Span(2, 2), 30, "disowned"),
    ]
    noted(tmp_path, [Event(T0_US, kind(one), one.pair, json.dumps(detail(one))) for one in told])
    noted(tmp_path, [void("A/B", 3, 4)], segment=2)
    for found in (stored_evidence.read(Layout(tmp_path)), stored_evidence.EvidenceReader(Layout(tmp_path)).read()):
        assert found.absent("A/B") == AbsentIds(Spans([Span(3, 4)]), Spans([Span(1, 3), Span(5, 9)]))
        assert dict(found.absent("A/B").by_state())["void"] == Spans([Span(4, 4)])
        assert found.absent("C/D") == AbsentIds(disowned=Spans([Span(2, 2)]))
        assert found.absent("E/F") == AbsentIds()


CERTIFIED = {"day": "2025-11-10", "revision": 1, "rows": 3, "first_id": 1, "last_id": 3, "sha256": "ab"}
ODD: list[dict[str, object]] = [
    {},
    {"day": "2025-02-30"},
    {"day": "0001-01-01"},
    {"day": "2024-12-31", "first_id": 4, "last_id": 9},
    {"day": "2025-11-11", "first_id": 4, "last_id": 4, "revision": 12},
    {"first_id": 9, "last_id": 2},
    {"rows": 0},
    {"revision": 0},
    {"last_id": 2**63 - 1},
    {"sha256": 'a"b'},
    {"first_id": "1"},
    {"note": "of a later release"},
    {"day": "2025-11-12", "first_id": 5, "last_id": 7},
]


@pytest.mark.parametrize("spelling", [(",", ":"), (", ", ": ")])
def test_certified_days_that_are_read_by_columns_are_those_that_are_read_one_by_one(
    tmp_path: Path, spelling: tuple[str, str]
) -> None:
    details = [json.dumps({**CERTIFIED, **changed}, separators=spelling) for changed in ODD]
    details += ["{}", "no JSON", json.dumps(dict(reversed(CERTIFIED.items())))]
    pairs = ("A/B", "C/D", None)
    events = [Event(T0_US, "certified", pair, text) for text in details for pair in pairs]
    noted(tmp_path, [*events, void("A/B", 1, 2)])
    expected = stored_evidence.StoredEvidence()
    for event in events:
        if (one := evidence.from_event(event)) is not None:
            expected.know(one)
    for found in (stored_evidence.read(Layout(tmp_path)), stored_evidence.EvidenceReader(Layout(tmp_path)).read()):
        assert found.memories.keys() == expected.memories.keys() == {"A/B", "C/D"}
        for pair, memory in found.memories.items():
            assert (memory.ids, memory.days) == (expected.memories[pair].ids, expected.memories[pair].days)
        assert found.void["A/B"] == Spans([Span(1, 2)])
    days = stored_evidence.certified(Layout(tmp_path)).of("A/B")
    assert {one.day.isoformat() for one in days} == {
        "2025-11-10",
        "2024-12-31",
        "2025-11-11",
        "2025-11-12",
        "0001-01-01",
    }
