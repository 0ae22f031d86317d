"""A drain of quotes: each frame once, and one row for each session of the segment, wherever the drain is cut."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.dataset as pads
import pytest

from recorder.archive.datasets import MARKET_JOURNAL
from recorder.journal import segment
from recorder.kraken import records
from recorder.kraken.quote_session import SessionEnd
from tests.ingest.drained_archive import at, drain, journal_lines
from tests.kraken.quote_frames import PAIR, ticker, top
from tests.powercut import PowerCut, PowerLoss, Unsynced, lay

ETH = "ETH/USD"


def frame(received_s: float, message: int, *, session: int = 7, rows: Sequence[str] = (), pairs: str = PAIR) -> bytes:
    numbers = dict.fromkeys(pairs.split(), (session, message))
    source = records.numbered_source("ticker", 1, numbers)
    return segment.encode(at(received_s), source, ticker(*(rows or [top(pair) for pair in pairs.split()])))


def ended(received_s: float, messages: int, *, session: int = 7) -> bytes:
    payload = records.encode_ends([SessionEnd(PAIR, session, messages, at(received_s - 1))])
    return segment.encode(at(received_s), records.ended_source("ticker", 1), payload)


# Around New Year, so that a session has rows in two folders.
SEGMENT = [
    *(frame(second, message) for message, second in enumerate((-20, -10, 5, 10))),
    frame(11, 4, pairs=f"{PAIR} {ETH}"),
    ended(13, 6),
    frame(14, 0, session=8),
]


def quotes(data: Path) -> list[tuple[str, int, int]]:
    found = pads.dataset(data / "quotes", partitioning="hive").to_table().to_pylist()
    return sorted((row["pair"].replace("%2F", "/"), row["session"], row["message"]) for row in found)


def sessions(data: Path) -> list[tuple[object, ...]]:
    found = pads.dataset(data / "quote_sessions", partitioning="hive").to_table().to_pylist()
    names = ("pair", "session", "first_message", "last_message", "rows")
    return sorted(((*(row[name] for name in names), row["ended"] is not None) for row in found), key=str)


EXPECTED = [*((PAIR, 7, message) for message in range(5)), (PAIR, 8, 0), (ETH, 7, 4)]


def test_each_frame_has_a_row_and_each_session_of_a_segment_one(tmp_path: Path) -> None:
    drain(tmp_path, Unsynced(), journalled=SEGMENT, journal_name=MARKET_JOURNAL)
    assert quotes(tmp_path) == EXPECTED
    assert sessions(tmp_path) == [(PAIR, 7, 0, 5, 5, True), (PAIR, 8, 0, 0, 1, False), (ETH, 7, 4, 4, 1, False)]


def test_an_end_in_a_later_segment_has_a_row_without_frames(tmp_path: Path) -> None:
    drain(tmp_path, Unsynced(), journalled=[frame(14, 0)], journal_name=MARKET_JOURNAL)
    drain(tmp_path, Unsynced(), journalled=[ended(20, 1)], journal_name=MARKET_JOURNAL)
    assert sessions(tmp_path) == [(PAIR, 7, 0, 0, 1, False), (PAIR, 7, None, 0, 0, True)]


def test_a_power_cut_at_any_call_neither_loses_nor_doubles_a_quote(tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    drain(before, Unsynced())
    journal_lines(before, [frame(0, 0), frame(1, 1), ended(2, 2)], MARKET_JOURNAL)
    whole = shutil.copytree(before, tmp_path / "whole")
    counting = PowerCut(whole)
    drain(whole, counting, journal_name=MARKET_JOURNAL)
    expected = quotes(whole), sessions(whole)
    assert expected == ([(PAIR, 7, 0), (PAIR, 7, 1)], [(PAIR, 7, 0, 1, 2, True)])
    for cut_at in range(1, len(counting.calls) + 1, 2):  # the writer is cut at each call in its own tests
        data = shutil.copytree(before, tmp_path / "now")
        disk = PowerCut(data, cut_at=cut_at)
        with pytest.raises(PowerLoss):
            drain(data, disk, journal_name=MARKET_JOURNAL)
        for tree in disk.aftermaths(("lost",)):
            after = lay(tree, tmp_path / "after")
            for _ in range(2):
                drain(after, Unsynced(), journal_name=MARKET_JOURNAL)
            assert (quotes(after), sessions(after)) == expected, f"cut at call {cut_at}"
            shutil.rmtree(after)
        shutil.rmtree(data)


def test_a_line_that_another_release_numbered_wrongly_costs_itself(tmp_path: Path) -> None:
    wrong = segment.encode(at(1), "ws:ticker:1?nobody", ticker())
    drain(tmp_path, Unsynced(), journalled=[frame(0, 0), wrong, frame(2, 2)], journal_name=MARKET_JOURNAL)
    assert quotes(tmp_path) == [(PAIR, 7, 0), (PAIR, 7, 2)]
    assert sessions(tmp_path) == [(PAIR, 7, 0, 2, 2, False)], "its number is missing: nothing is carried over it"
    (path,) = (tmp_path / "quarantine").iterdir()
    assert json.loads(path.read_bytes())["line"] == json.loads(wrong)
