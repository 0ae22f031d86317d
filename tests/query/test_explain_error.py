"""One damaged file: whoever asks for its rows is told which one it is, and what to do."""

from __future__ import annotations

import re

import duckdb
import pytest

from recorder.archive.datasets import SCHEMA_FILE
from recorder.core.model import Event
from recorder.errors import CorruptFile, UsageError
from recorder.query.connect import connect
from recorder.query.explain_error import explain_error
from tests.archives import START_US, Written, candle, trades

ZSTD = b"\x28\xb5\x2f\xfd"
"""What each compressed page begins with (RFC 8878)."""


@pytest.mark.parametrize("content", [b"x", None], ids=["short", "cut"])
@pytest.mark.parametrize("text", ["FROM trades", "FROM coverage", "FROM candles('BTC/USD', '1m')"])
def test_sql_over_a_damaged_file_names_it_and_what_to_do(archive: Written, text: str, content: bytes | None) -> None:
    archive.append([*trades(1, 3), *trades(1, 3, pair="ETH/USD")])
    (path,) = archive.files()
    path.write_bytes(content or path.read_bytes()[:-3])
    with connect(archive.data) as opened:
        with pytest.raises(
            CorruptFile, match=rf"^{re.escape(str(path))} is not a complete Parquet file.*: move it out of"
        ):
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


@pytest.mark.parametrize("place", ["events/year=2025", "ohlc/timeframe=1m/year=2025", "instruments"])
def test_damage_of_which_duckdb_names_no_file_is_found_in_those_that_were_asked_for(
    archive: Written, place: str
) -> None:
    archive.append(trades(1, 3))
    archive.noted(Event(START_US, "connected", None, "{}"))
    archive.published([candle(0)])
    archive.listed("BTC/USD", 1)
    (path,) = (one for one in (archive.data / place).glob("*.parquet") if one.name != SCHEMA_FILE)
    content = bytearray(path.read_bytes())
    metadata = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[metadata : metadata + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(duckdb.Error) as raised:
        duckdb.sql(f"FROM '{path}'")
    assert str(path) not in str(raised.value), "DuckDB names it by now: then this is no longer needed"
    table = place.partition("/")[0]
    with connect(archive.data) as opened, pytest.raises(CorruptFile, match=rf"^{re.escape(str(path))} "):
        opened.sql(f"FROM {table}")


def test_a_damaged_page_is_named_and_a_users_mistake_beside_it_is_still_the_users(archive: Written) -> None:
    archive.append(trades(1, 3))
    archive.published([candle(minute) for minute in range(500)])
    (path,) = (archive.data / "ohlc" / "timeframe=1m" / "year=2025").glob("*.parquet")
    path.write_bytes(path.read_bytes().replace(ZSTD, bytes(4)))
    with connect(archive.data) as opened:
        with pytest.raises(CorruptFile, match=rf"^{re.escape(str(path))} is damaged: .*merge a back-up"):
            opened.sql("FROM ohlc")
        with pytest.raises(UsageError, match="my mistake"):
            opened.sql("SELECT error('my mistake')")


def test_what_is_not_the_archives_fault_is_not_blamed_on_it(archive: Written) -> None:
    archive.append(trades(1, 3))
    (path,) = archive.files()
    assert explain_error(ValueError(f"cannot open '{path}'"), archive.data) is None
    assert explain_error(ValueError(f"cannot open '{path}.gone.parquet'"), archive.data) is None
    own = archive.data.parent / "own.parquet"
    own.write_bytes(b"cut")
    with connect(archive.data) as opened, pytest.raises(UsageError, match=r"own\.parquet"):
        opened.sql(f"FROM '{own}'")
