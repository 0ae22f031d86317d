"""One damaged file: whoever asks for its rows is told which one it is, and what to do."""

from __future__ import annotations

import re

import pytest

from recorder.core.model import Event
from recorder.errors import CorruptFile, UsageError
from recorder.query.connect import connect
from recorder.query.damage import blamed
from tests.query.writing import START_US, Written, trades


@pytest.mark.parametrize("content", [b"x", None], ids=["short", "cut"])
@pytest.mark.parametrize("text", ["FROM trades", "FROM coverage", "FROM candles('BTC/USD', '1m')"])
def test_sql_over_a_damaged_file_names_it_and_what_to_do(archive: Written, text: str, content: bytes | None) -> None:
    archive.append([*trades(1, 3), *trades(1, 3, pair="ETH/USD")])
    (path,) = archive.files()
    path.write_bytes(content or path.read_bytes()[:-3])
    with connect(archive.data) as opened:
        with pytest.raises(CorruptFile, match=rf"^{re.escape(str(path))} is no whole Parquet file.*: move it out of"):
            opened.sql(text)
        assert len(opened.sql("FROM candles('ETH/USD', '1m')")) == 1, "of another pair nothing is amiss"


def test_bars_that_cannot_know_what_is_void_name_the_file_of_events(archive: Written) -> None:
    archive.append(trades(1, 3))
    archive.noted(Event(START_US, "connected", None, "{}"))
    (path,) = (archive.data / "events" / "year=2025").glob("*.parquet")
    path.write_bytes(b"cut")
    with connect(archive.data) as opened:
        assert len(opened.trades("BTC/USD")) == 3
        with pytest.raises(CorruptFile, match=rf"^{re.escape(str(path))} .*move it out of the archive"):
            opened.candles("BTC/USD", "1m")


def test_what_is_not_the_archives_fault_is_not_blamed_on_it(archive: Written) -> None:
    archive.append(trades(1, 3))
    (path,) = archive.files()
    assert blamed(ValueError(f"cannot open '{path}'"), archive.data) is None
    assert blamed(ValueError(f"cannot open '{path}.gone.parquet'"), archive.data) is None
    own = archive.data.parent / "own.parquet"
    own.write_bytes(b"cut")
    with connect(archive.data) as opened, pytest.raises(UsageError, match=r"own\.parquet"):
        opened.sql(f"FROM '{own}'")
