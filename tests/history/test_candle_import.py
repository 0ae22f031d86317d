"""Candles of history files come digit by digit as they are printed, once, and what differs is the user's to decide."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from recorder.archive.imported_files import Prefer
from recorder.errors import UsageError
from tests.history.candles import HOUR_S, NEW_YEAR_S, candles, entry, imported, said, series, stored, written
from tests.powercut import PowerCut, PowerLoss

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "real" / "ohlcvt"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not at hand")
def test_the_real_samples_come_digit_by_digit(tmp_path: Path) -> None:
    entries = [entry(REAL / name) for name in ("STORJUSD_60.csv", "XBTUSD_1440.csv")]
    imported(tmp_path / "data", *entries)
    found = stored(tmp_path / "data")
    for one, timeframe in zip(entries, ("1h", "1d"), strict=True):
        assert found[timeframe] == said(one.member.file.read_text().splitlines())
    assert [(one.added, one.compared) for one in imported(tmp_path / "data", *entries)] == [(0, 1_508), (0, 2_722)]


def test_what_is_stored_is_compared_and_kept_unless_the_new_one_is_preferred(tmp_path: Path) -> None:
    first, data = candles(-30, 40), tmp_path / "data"
    second = [*candles(20, 30), *candles(30, 32, "7"), *candles(32, 60)]
    one, other = written(tmp_path / "1" / "AB_60.csv", first), written(tmp_path / "2" / "AB_60.csv", second)
    imported(data, one)
    for _ in range(2):
        (result,) = imported(data, other)
        assert result.differing.count == 2
    assert result.compared == 40
    assert stored(data)["1h"] == said([*first, *candles(40, 60)])
    assert imported(data, other, prefer=Prefer.HELD)[0].differing.count == 0
    (result,) = imported(data, other, prefer=Prefer.NEW)
    assert (result.added, result.differing.count) == (2, 0)
    assert stored(data)["1h"] == said([*candles(-30, 30), *candles(30, 32, "7"), *candles(32, 60)])
    assert [(one.rows, one.stored, one.differing) for one in series(data)] == [(30, 30, 0), (40, 38, 2), (40, 22, 0)]
    assert [imported(data, either)[0].differing.count for either in (one, other)] == [2, 0]


def test_rows_that_are_no_candles_are_set_aside(tmp_path: Path) -> None:
    printed = candles(0, 9)
    again, between, back = printed[2], f"{NEW_YEAR_S + 7 * HOUR_S + 60},1,1,1,1,1,1", candles(1, 2)[0]
    odd = written(
        tmp_path / "AB_60.csv",
        [*printed[:3], again, *printed[3:8], between, back, "x", printed[8], candles(9, 10, "1E-19")[0]],
    )
    (result,) = imported(tmp_path / "data", odd)
    assert stored(tmp_path / "data")["1h"] == said(printed)
    assert result.odd.count == 5
    assert [text.rpartition(": ")[2] for text in result.odd.first[:1]]
    with pytest.raises(UsageError, match="does not end in their length"):
        imported(tmp_path / "data", written(tmp_path / "AB_7.csv", printed))


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_overlapping_files_killed_on_the_way_gives_every_candle(tmp_path: Path, seed: int) -> None:
    chance, data = random.Random(seed), tmp_path / "data"
    parts = [(60, candles(-50, 0)), (60, candles(-20, 40)), (60, candles(30, 70))]
    daily = [f"{NEW_YEAR_S + day * 86_400},1,1,1,1,{day + 5},1" for day in range(-3, 3)]
    members = [written(tmp_path / str(at) / f"AB_{minutes}.csv", part) for at, (minutes, part) in enumerate(parts)]
    members.append(written(tmp_path / "daily" / "AB_1440.csv", daily))
    chance.shuffle(members)
    imported(data)
    for member in members:
        while True:
            with contextlib.suppress(PowerLoss):
                imported(data, member, disk=PowerCut(data, cut_at=chance.randrange(1, 90)))
                break
    assert stored(data) == {"1h": said(candles(-50, 70)), "1d": said(daily)}
    assert sum(one.added for one in imported(data, *members)) == 0
