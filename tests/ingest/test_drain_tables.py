"""A drain of trades, candles, notes and a listing: cut at every call, each row comes once."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from recorder.archive import quarantine
from recorder.archive.layout import Layout
from recorder.errors import DiskError, TableUnusable
from recorder.ingest.odd_listing_entries import SINGLY
from recorder.ingest.unreadable_lines import KEPT
from recorder.journal import segment
from tests.archive.candles import repeated, rows
from tests.archive.rows import ids
from tests.end_to_end.harness import denied
from tests.ingest.drained_archive import NEW_YEAR_S, SEGMENT, TO_AND_FRO, at, drain, listing, note, prepared, state
from tests.powercut import Frozen, PowerCut, Unsynced, cuts, frozen, lay, lying, same_names


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return prepared(tmp_path, SEGMENT)


def test_a_segment_ends_up_in_its_tables(before: Path) -> None:
    drain(before, Unsynced())
    assert ids(before) == [1, 2, 3, 4, 5]
    found = sorted(rows(before, "events"), key=lambda row: (row["time"], row["kind"]))
    assert [(row["kind"], row["pair"]) for row in found] == [
        ("connected", None),
        ("disconnected", None),
        ("ohlc_lost", "BTC/USD"),
        ("listed", "NEW/USD"),
        ("listed", "ODD/USD"),
        ("malformed", "ODD/USD"),
        ("delisted", "OLD/USD"),
        *[("ohlc_revised", "BTC/USD")] * 7,
        *[("ohlc_revised", "BTC/USD")] * 4,
        ("malformed", None),
        ("connected", None),
    ]
    assert repeated(before) == []
    (lost,) = (row["detail"] for row in rows(before, "events") if row["kind"] == "ohlc_lost")
    assert json.loads(lost) == {
        "timeframe": "1m",
        "first": "2025-12-31T23:49:00Z",
        "last": "2025-12-31T23:51:00Z",
        "count": 3,
    }
    statuses = {row["pair"]: row["status"] for row in rows(before, "instruments")}
    assert statuses["OLD/USD"] == "delisted"


@pytest.mark.parametrize(
    ("lines", "merging"),
    [(SEGMENT, False), (SEGMENT, True), (TO_AND_FRO, False), (TO_AND_FRO, True)],
    ids=["all kinds", "all kinds, then merged", "to and fro", "to and fro, then merged"],
)
def test_a_power_cut_at_any_call_of_a_drain_leaves_each_row_once(
    tmp_path: Path, lines: Sequence[bytes], *, merging: bool
) -> None:
    before = prepared(tmp_path, lines)
    whole = shutil.copytree(before, tmp_path / "whole")
    moments = cuts(PowerCut(whole), lambda disk: drain(whole, disk), contents=("lost",))
    expected = state(whole)
    for cut in moments:
        for tree in cut.trees:
            after = lay(tree, tmp_path / "after")
            drain(after, Unsynced(), journalled=[note(100, "connected")], merging=merging)
            drain(after, Unsynced(), journalled=[note(101, "connected")])
            found = state(after)
            found["events"] = [row for row in rows(after, "events") if row["time"].timestamp() < NEW_YEAR_S + 100]
            assert found == expected, f"cut before {cut.before}"
            shutil.rmtree(after)
    assert sum(len(cut.trees) for cut in moments) > 10


@pytest.mark.parametrize("lines", [SEGMENT, TO_AND_FRO], ids=["all kinds", "to and fro"])
def test_a_failed_call_in_a_drain_is_one_sentence_and_the_next_drain_has_all(
    tmp_path: Path, lines: Sequence[bytes]
) -> None:
    before = prepared(tmp_path, lines)
    whole = shutil.copytree(before, tmp_path / "whole")
    counting = PowerCut(whole)
    drain(whole, counting)
    expected = state(whole)
    drained: set[Frozen] = set()
    for fails_at in range(1, len(counting.calls) + 1):
        code = (errno.ENOSPC, errno.EIO, errno.EROFS)[fails_at % 3]
        data = shutil.copytree(before, tmp_path / "now")
        disk = PowerCut(data, cut_at=fails_at, fails=code)
        with same_names(), pytest.raises(DiskError, match=rf"^cannot .*: {os.strerror(code)}$"):
            drain(data, disk)
        # And every other time the power goes as well.
        left = next(disk.aftermaths()) if fails_at % 2 else lying(data)
        shutil.rmtree(data)
        if (key := frozen(left)) not in drained:
            drained.add(key)
            drain(lay(left, data), Unsynced())
            assert state(data) == expected, f"refused at call {fails_at}, {disk.calls[fails_at - 1]}"
            shutil.rmtree(data)
    assert len(counting.calls) > 40


def test_what_a_listing_lacks_changes_nothing_and_a_note_delists(tmp_path: Path) -> None:
    names = [f"P{number}" for number in range(30)]
    gone = note(3, "delisted", pair="P5/USD")
    drain(tmp_path, Unsynced(), journalled=[listing(1, *names), listing(2, "P1", "Q"), gone])
    assert {row["pair"] for row in rows(tmp_path, "instruments") if row["status"] != "online"} == {"P5/USD"}
    found = sorted(rows(tmp_path, "events"), key=lambda row: str(row["kind"]))
    assert [(row["kind"], row["pair"]) for row in found] == [("delisted", "P5/USD"), ("listed", "Q/USD")]


def test_an_odd_entry_is_told_once_and_kept_however_often_it_comes(tmp_path: Path) -> None:
    for start in range(3):
        first, then = (listing(10 * start + at_s, "P", odd=["O1", "O2"]) for at_s in (0, 1))
        drain(tmp_path, Unsynced(), journalled=[first, then])
    told = [(row["pair"], json.loads(row["detail"])) for row in rows(tmp_path, "events") if row["kind"] == "malformed"]
    assert sorted((pair, detail["reason"]) for pair, detail in told) == [
        (f"O{n}/USD", f"the entry of O{n}ZUSD cannot be read: 'none' is no number") for n in (1, 2)
    ]
    kept = list(quarantine.listed(Layout(tmp_path)))
    assert [(one.pair, one.reason, one.recv_ns) for one in kept] == [(f"O{n}/USD", "malformed", at(0)) for n in (1, 2)]
    entry = segment.decode(kept[0].line)
    assert entry.source == "rest-unreadable:/0/public/AssetPairs?pair=O1ZUSD"
    assert json.loads(entry.payload)["tick_size"] == "none"
    assert {row["pair"]: row["tick_size"] for row in rows(tmp_path, "instruments")}["O1/USD"] is None


def test_unreadable_input_is_quarantined_each_content_once(tmp_path: Path) -> None:
    texts = [b'{"Error":"Exceeded msg rate"}', b"upstream timed out", b"\xff", b'{"Error":"Exceeded msg rate"}']
    lines = [segment.encode(at(n), f"ws:unreadable:{n}", text) for n, text in enumerate(texts, 1)]
    lines += [segment.encode(at(9), "rest-unreadable:/0/public/SystemStatus", b"[]")]
    lines += [segment.encode(at(10 + n), "ws:unreadable:1", b"%d" % n) for n in range(2 * KEPT)]
    drain(tmp_path, Unsynced(), journalled=lines)
    kept = [segment.decode(one.line) for one in quarantine.listed(Layout(tmp_path))]
    assert [entry.payload for entry in kept[:4]] == [*texts[:3], b"[]"]
    assert [entry.source for entry in kept[:2]] == ["ws:unreadable:1", "ws:unreadable:2"]
    assert len(kept) == KEPT


def test_what_is_known_of_a_pair_whose_entry_is_odd_stays(tmp_path: Path) -> None:
    drain(tmp_path, Unsynced(), journalled=[listing(1, "P", "O"), listing(2, "P", odd=["O"]), listing(3, "P", "O")])
    assert len(rows(tmp_path, "instruments")) == 2
    assert [row["kind"] for row in rows(tmp_path, "events")] == ["malformed"]


def test_the_entry_that_loses_its_symbol_is_reported_and_quarantined(tmp_path: Path) -> None:
    entry = segment.decode(listing(1, "P", "Q").rstrip(b"\n"))
    body = entry.payload.replace(b'"wsname": "Q/USD"', b'"wsname": "P/USD"')
    drain(tmp_path, Unsynced(), journalled=[listing(1, "P"), segment.encode(at(2), entry.source, body)])
    (told,) = (row for row in rows(tmp_path, "events") if row["kind"] == "malformed")
    (kept,) = quarantine.listed(Layout(tmp_path))
    why = "two entries list P/USD: that of PZUSD counts, that of QZUSD does not"
    assert (told["pair"], json.loads(told["detail"])["reason"], kept.why) == ("P/USD", why, why)
    assert segment.decode(kept.line).payload == json.dumps(json.loads(body)["result"]["QZUSD"]).encode()


def test_very_many_odd_entries_are_reported_singly_and_then_by_number(tmp_path: Path) -> None:
    drain(tmp_path, Unsynced(), journalled=[listing(1, "P", odd=[f"O{number}" for number in range(SINGLY + 5)])])
    reasons = [json.loads(row["detail"])["reason"] for row in rows(tmp_path, "events") if row["kind"] == "malformed"]
    assert len(reasons) == SINGLY + 1
    assert "5 more entries of the listing do not count" in reasons
    assert len(list(quarantine.listed(Layout(tmp_path)))) == SINGLY


def test_a_corrupt_line_is_told_at_the_time_of_the_line_before(tmp_path: Path) -> None:
    spoilt = note(5, "connected").replace(b"connected", b"connectex")
    drain(tmp_path, Unsynced(), journalled=[note(4, "connected"), spoilt])
    first, second = sorted(rows(tmp_path, "events"), key=lambda row: row["kind"])
    assert (first["kind"], second["kind"]) == ("connected", "malformed")
    assert second["time"] == first["time"]
    assert json.loads(second["detail"])["source"] == "journal"


@pytest.mark.parametrize("table", ["events", "ohlc", "instruments"])
def test_an_unusable_table_folder_keeps_its_segment_but_trades_are_archived(before: Path, table: str) -> None:
    undisturbed = Path(shutil.copytree(before, before.with_name("undisturbed")))
    with denied(before / table):
        with pytest.raises(TableUnusable, match=f"{before / table}.*Permission denied"):
            drain(before, Unsynced())
        assert ids(before) == [1, 2, 3, 4, 5], "trades are archived"
    assert segment.segments(before / "journal")
    drain(before, Unsynced())
    drain(undisturbed, Unsynced())
    assert state(before) == state(undisturbed)


def test_damaged_candles_keep_neither_trades_nor_candles_from_the_archive(before: Path) -> None:
    (path,) = (before / "ohlc").rglob("0*.parquet")
    path.write_bytes(b"junk")
    drain(before, Unsynced())
    path.unlink()
    assert ids(before) == [1, 2, 3, 4, 5]
    assert len({row["time"] for row in rows(before, "ohlc") if row["timeframe"] == "1m"}) == 9
