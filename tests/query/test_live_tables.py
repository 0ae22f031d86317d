"""Candles and events that are only in the journal: a live connection has them as they will be once they are drained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recorder.archive.datasets import MARKET_JOURNAL
from recorder.archive.layout import Layout
from recorder.core.event_kinds import EventKind
from recorder.journal import segment
from recorder.kraken import records
from recorder.kraken.quote_session import SessionEnd
from recorder.query.connect import Archive, connect
from tests.ingest.drained_archive import SEGMENT, at, candles, drain, journal_lines, note, prepared
from tests.kraken.quote_frames import ticker, top
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


MARKET = (
    "FROM quotes ORDER BY ALL",
    "FROM quote_sessions ORDER BY ALL",
    EVENTS,
)


def quoted(received_s: float, message: int, *pairs: str, session: int = 7) -> bytes:
    source = records.numbered_source("ticker", 1, dict.fromkeys(pairs, (session, message)))
    return segment.encode(at(received_s), source, ticker(*map(top, pairs)))


def ended(received_s: float, *messages: int, session: int = 7) -> bytes:
    ends = [SessionEnd("BTC/USD", session, count, at(received_s - 1)) for count in messages]
    return segment.encode(at(received_s), records.ended_source("ticker", 1), records.encode_ends(ends))


def test_live_quotes_and_their_sessions_are_those_that_the_drain_will_store(tmp_path: Path) -> None:
    data, name = tmp_path / "data", MARKET_JOURNAL
    data.mkdir()
    journalled = [note(-5, "connected", connection=1), *(quoted(n, n, "BTC/USD") for n in range(3))]
    drain(data, Unsynced(), journalled=journalled, journal_name=name)
    later = [quoted(4, 3, "BTC/USD", "ETH/USD"), ended(8, 5), quoted(9, 0, "BTC/USD", session=9), note(9, "stalled")]
    journal_lines(data, later, name)
    path = max(segment.segments(Layout(data).journal_dir(name)), key=lambda one: one.stat().st_size)

    def seen(*, live: bool) -> list[list[dict[str, Any]]]:
        with connect(data, live=live) as opened:
            frame = opened.quotes("BTC/USD", on_gap="ignore", to="arrow")
            pieces = [*opened.quote_batches("BTC/USD", rows=2, on_gap="ignore", to="arrow")]
            assert pa.concat_tables(pieces).select(frame.column_names).equals(frame)
            return [frame.to_pylist(), *(rows(opened, text) for text in MARKET)]

    content, before, expected = path.read_bytes(), seen(live=False), seen(live=True)
    assert [len(found) for found in expected] == [5, 6, 3, 2]
    with connect(data, live=True, frozen=True) as frozen:
        assert [rows(frozen, text) for text in MARKET] == expected[1:]
        drain(data, Unsynced(), journal_name=name)
        assert [rows(frozen, text) for text in MARKET] == expected[1:]
    assert before != expected == seen(live=False)
    # Between the writing of a segment's rows and its retirement they are in both places; and a reader may have read the
    # journal when the segment had fewer lines.
    for lines in (2, 5):
        path.write_bytes(b"".join(content.splitlines(keepends=True)[:lines]))
        assert seen(live=True) == expected
