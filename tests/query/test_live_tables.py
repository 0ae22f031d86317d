"""Candles and events that are only in the journal: a live connection has them as they will be once they are drained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from recorder.archive.layout import Layout
from recorder.core.event_kinds import EventKind
from recorder.query.connect import Archive, connect
from tests.ingest.drained_archive import SEGMENT, candles, drain, note, prepared
from tests.powercut import Unsynced

FOUND_BY_THE_DRAIN = {"ohlc_lost", "ohlc_revised", "malformed", "listed"}
CANDLES = "FROM stored_ohlc() ORDER BY ALL"
EVENTS = "SELECT time, kind, pair, detail::VARCHAR AS detail FROM events ORDER BY ALL"


def rows(archive: Archive, text: str) -> list[dict[str, Any]]:
    found = archive.sql(text, to="arrow", decimals=True).to_pylist()
    return [row for row in found if row.get("kind") not in FOUND_BY_THE_DRAIN]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with an earlier segment, and the next one in the journal."""
    # The answer that another release could not read is none of a table.
    return prepared(tmp_path_factory.mktemp("live"), SEGMENT)


@pytest.fixture
def data(before: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(before, tmp_path / "data"))


def test_live_rows_are_those_that_the_drain_will_store(data: Path) -> None:
    with connect(data) as plain:
        archived = {text: rows(plain, text) for text in (CANDLES, EVENTS)}
    with connect(data, live=True) as opened:
        live = {text: rows(opened, text) for text in (CANDLES, EVENTS)}
        newest = opened.ohlc("BTC/USD", "1m", on_gap="ignore", to="arrow").to_pylist()
        connected = opened.events(kind="connected", to="arrow").num_rows
    journal = shutil.copytree(Layout(data).journal, data.parent / "journal")
    drain(data, Unsynced())
    with connect(data) as plain:
        for text in (CANDLES, EVENTS):
            assert len(live[text]) > len(archived[text])
            assert live[text] == rows(plain, text)
        assert newest == plain.ohlc("BTC/USD", "1m", on_gap="ignore", to="arrow").to_pylist()
        assert connected == plain.events(kind="connected", to="arrow").num_rows == 2
    # Between the writing of a segment's rows and its retirement they are in both places.
    shutil.copytree(journal, Layout(data).journal, dirs_exist_ok=True)
    with connect(data, live=True) as opened:
        assert {text: rows(opened, text) for text in (CANDLES, EVENTS)} == live


def test_a_live_connection_goes_on_with_what_comes_and_what_is_drained(data: Path) -> None:
    with connect(data, live=True) as opened:
        seen = rows(opened, EVENTS)
        drain(data, Unsynced())
        assert rows(opened, EVENTS) == seen
        candles_before = rows(opened, CANDLES)
        drain(data, Unsynced(), journalled=[note(70, "connected", connection=3), candles(70, 0, 1, "100")])
        assert len(rows(opened, EVENTS)) == len(seen) + 1
        assert len(rows(opened, CANDLES)) == len(candles_before) + 1


def test_a_frozen_live_connection_keeps_its_rows_through_a_drain_and_a_merge(data: Path) -> None:
    with connect(data, live=True, frozen=True) as opened:
        seen = {text: rows(opened, text) for text in (CANDLES, EVENTS)}
        drain(data, Unsynced())
        drain(data, Unsynced(), journalled=[note(70, "connected"), candles(70, -1, 1, "102")], merging=True)
        assert {text: rows(opened, text) for text in (CANDLES, EVENTS)} == seen
        opened.refresh()
        assert len(rows(opened, EVENTS)) > len(seen[EVENTS])


def test_evidence_in_the_journal_counts(data: Path) -> None:
    void = note(59, EventKind.VOID, pair="BTC/USD", first_id=6, last_id=6, evidence=[])
    with connect(data, live=True) as opened:
        assert rows(opened, "FROM absent_spans()") == []
    with (data / "journal" / max(path.name for path in (data / "journal").iterdir())).open("ab") as file:
        file.write(void)
    with connect(data, live=True) as opened:
        assert [row["first_id"] for row in rows(opened, "FROM absent_spans()")] == [6]


def test_without_live_the_journal_is_not_opened(data: Path) -> None:
    shutil.rmtree(data / "journal")
    with connect(data) as opened:
        assert rows(opened, EVENTS)
