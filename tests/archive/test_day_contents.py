from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from recorder.archive import parquet, verify_trades
from recorder.archive.day_contents import held_days
from recorder.core.certificate import DAY_US
from recorder.core.certified_days import number_of
from recorder.core.trade_ids import Span
from tests.archives import START_US, trade, writing

PAIR = "BTC/USD"


@pytest.mark.parametrize("seed", range(4))
def test_days_hold_what_verify_finds_in_them_by_whatever_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 7)
    dice = Random(seed)
    with writing(tmp_path) as archive:
        time_us, rows = START_US, []
        for trade_id in range(1, 120):
            time_us += dice.choice((-1, 0, 1, 2, 9)) * 3_600_000_000
            rows.append(trade(trade_id, time_us, dice.choice(("1", "2.50", "1e-9"))))
        dice.shuffle(rows)
        for start in range(0, len(rows), 30):
            archive.append(rows[start : start + 30])
        files = archive.writer.coverage.files(PAIR)
        with ThreadPoolExecutor(1) as pool:
            expected = verify_trades.read(archive.layout, PAIR, pool).days
    for day, held in expected.items():
        number = number_of(day)
        assert held_days(files, Span(number, number)) == {day: held}
        ids = Span(held.first_id, held.last_id)
        assert held_days(files, Span(number, number), ids=ids) == {day: held}
    first = START_US // DAY_US
    days = Span(first, first + 5)
    assert held_days(files, days) == {day: held for day, held in expected.items() if number_of(day) in days}
    assert held_days(files, Span(1, 2)) == {}
