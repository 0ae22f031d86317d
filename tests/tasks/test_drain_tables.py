"""A drain of trades, candles, notes and a listing: cut at every call, each row comes once."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from recorder.errors import DiskError
from tests.archive.candles import repeated, rows
from tests.archive.rows import ids
from tests.powercut import PowerCut, PowerLoss, Unsynced, lay
from tests.tasks.drained import NEW_YEAR_S, SEGMENT, TO_AND_FRO, drain, listing, note, prepared, state


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
        ("delisted", "OLD/USD"),
        ("listed", "NEW/USD"),
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
def test_a_power_cut_at_any_call_of_a_drain_neither_loses_nor_doubles_nor_invents_a_row(
    tmp_path: Path, lines: Sequence[bytes], *, merging: bool
) -> None:
    before = prepared(tmp_path, lines)
    whole = shutil.copytree(before, tmp_path / "whole")
    counting = PowerCut(whole)
    drain(whole, counting)
    expected = state(whole)
    checked = []
    for cut_at in range(1, len(counting.calls) + 1):
        data = shutil.copytree(before, tmp_path / "now")
        disk = PowerCut(data, cut_at=cut_at)
        with pytest.MonkeyPatch.context() as patch:
            names = itertools.count(1)  # the same names each time, so that states can be compared
            patch.setattr(uuid, "uuid4", lambda names=names: uuid.UUID(int=next(names) << 64))
            with pytest.raises(PowerLoss):
                drain(data, disk)
        for tree in disk.aftermaths(("lost",)):
            if tree in checked:
                continue
            checked.append(tree)
            after = lay(tree, tmp_path / "after")
            drain(after, Unsynced(), journalled=[note(100, "connected")], merging=merging)
            drain(after, Unsynced(), journalled=[note(101, "connected")])
            found = state(after)
            found["events"] = [row for row in rows(after, "events") if row["time"].timestamp() < NEW_YEAR_S + 100]
            assert found == expected, f"cut at call {cut_at}, before {disk.calls[-1]}"
            shutil.rmtree(after)
        shutil.rmtree(data)
    assert len(checked) > 10


@pytest.mark.parametrize("lines", [SEGMENT, TO_AND_FRO], ids=["all kinds", "to and fro"])
def test_a_refusal_of_any_call_of_a_drain_is_one_sentence_and_the_next_drain_has_it_all(
    tmp_path: Path, lines: Sequence[bytes]
) -> None:
    before = prepared(tmp_path, lines)
    whole = shutil.copytree(before, tmp_path / "whole")
    counting = PowerCut(whole)
    drain(whole, counting)
    expected = state(whole)
    for fails_at in range(1, len(counting.calls) + 1):
        code = (errno.ENOSPC, errno.EIO, errno.EROFS)[fails_at % 3]
        data = shutil.copytree(before, tmp_path / "now")
        disk = PowerCut(data, cut_at=fails_at, fails=code)
        with pytest.raises(DiskError, match=rf"^cannot .*: {os.strerror(code)}$"):
            drain(data, disk)
        if fails_at % 2:  # and then the power goes as well
            shutil.rmtree(data)
            lay(next(disk.aftermaths()), data)
        drain(data, Unsynced())
        assert state(data) == expected, f"refused at call {fails_at}, {disk.calls[fails_at - 1]}"
        shutil.rmtree(data)
    assert len(counting.calls) > 40


def test_a_listing_that_lacks_most_pairs_delists_none_and_is_told(tmp_path: Path) -> None:
    names = [f"P{number}" for number in range(30)]
    drain(tmp_path, Unsynced(), journalled=[listing(1, *names), listing(2, "P1", "Q")])
    assert {row["status"] for row in rows(tmp_path, "instruments")} == {"online"}
    found = sorted(rows(tmp_path, "events"), key=lambda row: str(row["kind"]))
    assert [(row["kind"], row["pair"], json.loads(row["detail"])) for row in found] == [
        ("listed", "Q/USD", {"status": "online"}),
        (
            "malformed",
            None,
            {
                "source": "rest:/0/public/AssetPairs",
                "reason": "the listing lacks 29 of 30 pairs that were listed: not believed",
            },
        ),
    ]


def test_a_corrupt_line_is_told_at_the_time_of_the_line_before(tmp_path: Path) -> None:
    spoilt = note(5, "connected").replace(b"connected", b"connectex")
    drain(tmp_path, Unsynced(), journalled=[note(4, "connected"), spoilt])
    first, second = sorted(rows(tmp_path, "events"), key=lambda row: row["kind"])
    assert (first["kind"], second["kind"]) == ("connected", "malformed")
    assert second["time"] == first["time"]
    assert json.loads(second["detail"])["source"] == "journal"


def test_damaged_candles_keep_neither_trades_nor_candles_from_the_archive(before: Path) -> None:
    (path,) = (before / "ohlc").rglob("0*.parquet")
    path.write_bytes(b"junk")
    drain(before, Unsynced())
    path.unlink()
    assert ids(before) == [1, 2, 3, 4, 5]
    assert len({row["time"] for row in rows(before, "ohlc") if row["timeframe"] == "1m"}) == 9
