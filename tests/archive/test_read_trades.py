from __future__ import annotations

from pathlib import Path

import pytest

from recorder.archive import read_trades
from tests.archive.rows import PAIR, archive, over_new_year, trades
from tests.powercut import Unsynced


def test_rows_come_back_as_they_were_appended_batch_after_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_trades, "_BATCH", 3)
    rows = over_new_year(range(1, 21))
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, rows)
        opened.append("ETH/USD", trades(1, 5, pair="ETH/USD"))
        assert list(read_trades.trades(opened.layout, PAIR)) == rows
        assert list(read_trades.trades(opened.layout, "ETH/USD")) == trades(1, 5, pair="ETH/USD")
        assert list(read_trades.trades(opened.layout, "XRP/USD")) == []
