from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import recorder
from recorder.core.model import Event, Trade
from recorder.errors import CorruptFile, GapError, NoSuchArchive, RecorderError, StorageError, UsageError
from recorder.query.connect import Archive, connect
from recorder.query.engine import Engine
from tests import builders
from tests.archives import MINUTE_US, START, START_US, Written, candle, minute, trade, trades, writing

MODES = [{}, {"live": True}, {"frozen": True}, {"live": True, "frozen": True}]


def rows(opened: Archive) -> int:
    return int(opened.sql("SELECT count(*) AS n FROM trades")["n"][0])


def second(number: int) -> datetime:
    return START + timedelta(seconds=number)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_answers_every_question(archive: Written, mode: dict[str, Any]) -> None:
    archive.append([*trades(1, 3), *trades(7, 130)])
    archive.listed("BTC/USD", 1)
    with connect(archive.data, **mode) as opened:
        assert rows(opened) == 127
        assert opened.sql("SELECT max(price) AS p FROM trades WHERE trade_id < $n", n=5)["p"].tolist() == [100.0]
        assert opened.trades("BTC/USD", second(7), second(9), on_gap="ignore")["trade_id"].tolist() == [7, 8]
        assert opened.candles("BTC/USD", "1m", second(60), second(120))["complete"].tolist() == [True]
        assert opened.coverage()["rows"].tolist() == [3, 124]
        assert opened.gaps()["missing"].tolist() == [3]


def test_by_default_each_call_sees_what_is_archived_now(archive: Written) -> None:
    with connect(archive.data) as opened:
        for number in range(1, 4):
            archive.append(trades(number, number))
            archive.journalled(trades(99, 99))
            assert rows(opened) == len(opened.trades("BTC/USD")) == number


def test_live_also_sees_what_is_only_in_the_journal(archive: Written) -> None:
    with connect(archive.data, live=True) as opened:
        for number in range(1, 7):
            archive.journalled(trades(number, number))
            if number % 2 == 0:
                archive.drain()
            assert rows(opened) == len(opened.trades("BTC/USD")) == number
            assert opened.coverage()["last_id"].tolist() == [number]
            assert opened.candles("BTC/USD", "1h")["count"].tolist() == [number]


def test_frozen_keeps_its_moment_until_it_is_refreshed(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(6, 6)])
    archive.journalled(trades(4, 4))
    with connect(archive.data, live=True, frozen=True) as opened:
        for change in (archive.drain, archive.compact, lambda: archive.append(trades(5, 5)), archive.compact):
            change()
            assert opened.sql("SELECT trade_id FROM trades ORDER BY 1")["trade_id"].tolist() == [1, 2, 3, 4, 6]
            assert opened.trades("BTC/USD", on_gap="ignore")["trade_id"].tolist() == [1, 2, 3, 4, 6]
            assert opened.coverage()["rows"].tolist() == [4, 1]
            assert opened.candles("BTC/USD", "1h", on_gap="ignore")["count"].tolist() == [5]
        opened.refresh()
        assert rows(opened) == 6


def test_refresh_of_a_frozen_moment_whose_rows_are_gone_takes_what_is_there(archive: Written) -> None:
    archive.append(trades(1, 3))
    archive.append(trades(4, 6))
    with connect(archive.data, frozen=True) as opened:
        archive.files()[0].unlink()
        with pytest.raises(StorageError, match="are gone"):
            rows(opened)
        opened.refresh()
        assert rows(opened) == 3


@pytest.mark.parametrize(("mode", "expected"), [({}, 5), ({"live": True}, 5), ({"frozen": True}, 3)])
def test_a_call_that_lost_a_file_to_a_compaction_begins_anew(
    archive: Written, monkeypatch: pytest.MonkeyPatch, mode: dict[str, Any], expected: int
) -> None:
    archive.append(trades(1, 3))
    original: Callable[..., Any] = Engine._relation
    attempts: list[int] = []

    def unlucky(engine: Engine, *args: Any, **options: Any) -> Any:
        if len(attempts) < 2:
            archive.append(trades(4 + len(attempts), 4 + len(attempts)))
            archive.compact()
        attempts.append(1)
        return original(engine, *args, **options)

    with connect(archive.data, **mode) as opened:
        monkeypatch.setattr(Engine, "_relation", unlucky)
        assert opened.trades("BTC/USD")["trade_id"].tolist() == list(range(1, expected + 1))
    # A frozen one looks only for its own rows again, and those moved a second time meanwhile.
    assert len(attempts) == 3


def test_files_that_vanish_at_every_attempt_are_an_error_at_last(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished(*_: object, **__: object) -> None:
        raise duckdb.IOException(f"IO Error: Cannot open file {archive.data}/trades/x.parquet")

    monkeypatch.setattr(Engine, "_relation", vanished)
    with (
        connect(archive.data) as opened,
        pytest.raises(StorageError, match="keep changing faster than"),
    ):
        opened.sql("FROM trades")


def test_a_file_of_the_callers_own_is_the_callers_mistake(archive: Written) -> None:
    with connect(archive.data) as opened, pytest.raises(UsageError, match=r"nowhere\.parquet"):
        opened.sql("FROM read_parquet('nowhere.parquet')")


def test_trades_come_as_pleasant_frames_or_exactly(archive: Written) -> None:
    archive.append([trade(1, price="0.1", qty="383320500.12345678"), trade(2, price="0.3")])
    with connect(archive.data) as opened:
        frame = opened.trades("BTC/USD")
        assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
            "pair": "category",
            "trade_id": "int64",
            "time": "datetime64[us, UTC]",
            "price": "float64",
            "qty": "float64",
            "side": "category",
            "ord_type": "category",
            "misc": "str",
            "source": "category",
            "received": "datetime64[us, UTC]",
        }
        assert frame["price"].tolist() == [0.1, 0.3]
        exact = opened.trades("BTC/USD", decimals=True)
        assert exact["qty"][0] == Decimal("383320500.12345678")
        assert opened.trades("BTC/USD", to="polars").height == 2
        assert opened.trades("BTC/USD", to="arrow", decimals=True)["price"].to_pylist()[0] == Decimal("0.1")


def test_trades_are_in_the_order_of_their_ids_wherever_they_lie(archive: Written) -> None:
    archive.append(trades(11, 20))
    archive.append(trades(1, 5))
    archive.journalled(trades(6, 10))
    with connect(archive.data, live=True) as opened:
        assert opened.trades("BTC/USD")["trade_id"].tolist() == list(range(1, 21))


def test_across_a_hole_rows_are_given_only_to_those_who_say_so(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(7, 9)])
    with connect(archive.data) as opened:
        with pytest.raises(GapError, match=r"BTC/USD lacks 3 \(ids 4 to 6 between .*`recorder backfill BTC/USD --from"):
            opened.trades("BTC/USD")
        with pytest.raises(GapError):
            opened.candles("BTC/USD", "1m")
        with pytest.warns(UserWarning, match="ids 4 to 6"):
            assert len(opened.trades("BTC/USD", on_gap="warn")) == 6
        assert len(opened.trades("BTC/USD", on_gap="ignore")) == 6
        assert len(opened.trades("BTC/USD", stop=second(3))) == 2
        assert len(opened.trades("BTC/USD", start=second(8))) == 2


def test_a_warning_points_at_the_line_that_asked(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(7, 9)])
    with connect(archive.data) as opened, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        opened.trades("BTC/USD", on_gap="warn")
        opened.candles("BTC/USD", "1m", on_gap="warn")
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name] * 2


def test_candles_of_a_range_ask_for_whole_bars_only(archive: Written) -> None:
    archive.append([*trades(1, 50), *trades(59, 200)])
    with connect(archive.data) as opened:
        # The hole is in the first minute, in which no bar of this range begins.
        assert opened.candles("BTC/USD", "1m", second(10), second(130))["time"].tolist() == [second(60), second(120)]
        with pytest.raises(GapError):
            opened.candles("BTC/USD", "1m", second(0))


@pytest.mark.parametrize("mode", MODES)
def test_an_unknown_pair_is_an_error_that_names_those_held(archive: Written, mode: dict[str, Any]) -> None:
    archive.append([*trades(1, 1), *trades(1, 1, pair="ETH/USD")])
    with connect(archive.data, **mode) as opened:
        with pytest.raises(UsageError, match=r"no trades of 'BTC/USS'; did you mean BTC/USD"):
            opened.trades("BTC/USS")
        with pytest.raises(UsageError, match=r"no trades of 'SOL/EUR'"):
            opened.candles("SOL/EUR", "1m")


def test_mistakes_are_refused_before_anything_is_read(archive: Written) -> None:
    with connect(archive.data) as opened:
        mistakes: list[Callable[[], object]] = [
            lambda: opened.trades("BTC/USD", "2025-11-10T12:00:00"),
            lambda: opened.trades("BTC/USD", second(2), second(1)),
            lambda: opened.candles("BTC/USD", "2m"),
            lambda: opened.trades("BTC/USD", on_gap="cry"),  # type: ignore[call-overload]
            lambda: opened.sql("FROM trades", to="excel"),  # type: ignore[call-overload]
        ]
        for mistake in mistakes:
            with pytest.raises(UsageError):
                mistake()


def test_where_there_is_no_archive_connect_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoSuchArchive, match="recorder run"):
        connect(tmp_path)


def test_a_relative_folder_stays_the_same_when_the_process_moves(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.append(trades(1, 1))
    monkeypatch.chdir(archive.data.parent)
    with connect("data") as opened:
        monkeypatch.chdir("/")
        assert rows(opened) == 1


def test_a_closed_archive_says_so(archive: Written) -> None:
    opened = connect(archive.data)
    rows(opened)
    opened.close()
    opened.close()
    with pytest.raises(UsageError, match="closed"):
        rows(opened)


def test_another_thread_is_sent_to_a_cursor_of_its_own(archive: Written) -> None:
    archive.append(trades(1, 3))
    with connect(archive.data, frozen=True) as opened, ThreadPoolExecutor(1) as other:
        with pytest.raises(UsageError, match=r"another thread.*cursor\(\)"):
            other.submit(rows, opened).result()
        archive.append(trades(4, 4))
        archive.compact()

        def elsewhere() -> int:
            with opened.cursor() as cursor:
                return rows(cursor)

        assert other.submit(elsewhere).result() == rows(opened) == 3


def test_the_package_exposes_connect_without_loading_pandas_or_duckdb_for_the_daemon() -> None:
    code = "import sys, recorder; assert not {'duckdb', 'pandas'} & set(sys.modules), 'loaded too early'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_connection_and_one_pair_as_arrow_come_without_what_takes_longer_to_import(archive: Written) -> None:
    archive.append(trades(1, 3))
    code = f"""
import sys, recorder
with recorder.connect({str(archive.data)!r}) as archive:
    late = {{"pyarrow.compute", "pyarrow.parquet", "recorder.kraken.records", "concurrent.futures", "logging", "ssl"}}
    assert not late & set(sys.modules), late & set(sys.modules)
    archive.trades("BTC/USD", to="arrow")
    archive.candles("BTC/USD", "1m", to="arrow")
    archive.sql("FROM gaps", to="arrow")
assert "pandas" not in sys.modules, "loaded, which takes longer than the answer"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


CANDLE_COLUMNS = {
    "pair": "category",
    "timeframe": "category",
    "time": "datetime64[us, UTC]",
    **dict.fromkeys(("open", "high", "low", "close", "vwap", "volume"), "float64"),
    "count": "int64",
    "source": "category",
    "seen": "datetime64[us, UTC]",
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_exchanges_candles_and_events(archive: Written, mode: dict[str, Any]) -> None:
    archive.append([trade(n + 1, START_US + n * MINUTE_US) for n in range(6)])
    archive.listed("BTC/USD", 1)
    archive.published([candle(n) for n in (0, 1, 3)], seen=second(999))
    archive.published([candle(3, "1", "1", "1", "1", "1", "2.5", 7)], seen=second(1000))
    archive.published([candle(0, timeframe="1h")])
    archive.noted(event(1), event(2, "throttled"), event(3, pair="BTC/USD"))
    with connect(archive.data, **mode) as opened:
        found = opened.ohlc("BTC/USD", "1m", on_gap="ignore")
        assert {name: str(kind) for name, kind in found.dtypes.items()} == CANDLE_COLUMNS
        assert found["time"].tolist() == [second(0), second(60), second(180)]
        assert found["count"].tolist() == [1, 1, 7]
        assert opened.ohlc("BTC/USD", "1m", second(1), second(180))["time"].tolist() == [second(60)]
        assert opened.ohlc("BTC/USD", "1m", on_gap="ignore", decimals=True, to="arrow")["volume"].to_pylist()[
            2
        ] == Decimal("2.5")
        filled = opened.ohlc("BTC/USD", "1m", second(60), filled=True)
        assert {name: str(kind) for name, kind in filled.dtypes.items()} == CANDLE_COLUMNS
        assert filled["source"].tolist() == ["rest", "trades", "rest"]
        assert filled["time"].tolist() == [second(60), second(120), second(180)]
        assert opened.events()["time"].tolist() == [second(1), second(2), second(3)]
        assert opened.events(second(2))["kind"].tolist() == ["throttled", "connected"]
        assert opened.events(stop=second(2), to="arrow").to_pylist() == [
            {"time": second(1), "kind": "connected", "pair": None, "detail": '{"n":1}'}
        ]
        assert opened.events(kind="throttled")["detail"].tolist() == ['{"n":2}']
        assert opened.events(pair="BTC/USD")["time"].tolist() == [second(3)]
        assert opened.sql("FROM ohlc_gaps")["missing"].tolist() == [1]
        assert opened.sql("SELECT verdict FROM candle_audit('BTC/USD', '1m')")["verdict"].tolist() == [
            "equal", "equal", "missing ohlc", "differs", "missing ohlc", "missing ohlc"
        ]  # fmt: skip


def event(number: int, kind: str = "connected", pair: str | None = None) -> Event:
    return Event(START_US + number * 1_000_000, kind, pair, f'{{"n":{number}}}')


def test_candles_that_nobody_records_are_refused_with_those_there_are(archive: Written) -> None:
    archive.published([candle(0), candle(0, timeframe="1d"), candle(0, pair="ETH/USD")])
    with connect(archive.data) as opened:
        with pytest.raises(UsageError, match=r"no candles of 'XBT/USD'; did you mean BTC/USD"):
            opened.ohlc("XBT/USD", "1m")
        with pytest.raises(UsageError, match=r"no 5m candles of BTC/USD, but 1m, 1d: add 5m to ohlc.timeframes"):
            opened.ohlc("BTC/USD", "5m")
        with pytest.raises(UsageError, match=r"no timeframe '60m': use one of 1m, 5m"):
            opened.ohlc("BTC/USD", "60m")
        with pytest.raises(UsageError, match=r"a pair is a text"):
            opened.ohlc(None, "1m")  # type: ignore[call-overload]
        with pytest.raises(UsageError, match="has no time zone"):
            opened.ohlc("BTC/USD", "1m", "2025-11-10T12:00:00")
        assert len(opened.ohlc("BTC/USD", "1m", stop=second(0))) == 0
        assert len(opened.ohlc("ETH/USD", "1m", second(60), filled=True)) == 0


def test_events_that_cannot_be_are_refused_and_those_that_were_not_are_none(archive: Written) -> None:
    archive.noted(event(1, pair="BTC/USD"), event(2, "of_a_later_release"))
    archive.listed("ETH/USD", 1)
    with connect(archive.data) as opened:
        with pytest.raises(UsageError, match=r"no events of the kind 'conected': use one of .*connected"):
            opened.events(kind="conected")
        with pytest.raises(UsageError, match=r"no events of 'XBT/USD'; did you mean BTC/USD"):
            opened.events(pair="XBT/USD")
        with pytest.raises(UsageError, match=r"a kind is a text such as 'connected', not 5"):
            opened.events(kind=5)  # type: ignore[call-overload]
        assert len(opened.events(kind="disk_low")) == len(opened.events(pair="ETH/USD")) == 0
        assert len(opened.events(kind="of_a_later_release")) == 1


def test_by_default_each_call_sees_the_candles_that_are_archived_now(archive: Written) -> None:
    with connect(archive.data) as opened:
        for number in range(1, 5):
            archive.published([candle(number)])
            if number == 3:
                archive.merge("ohlc")
            assert len(opened.ohlc("BTC/USD", "1m")) == number
            assert opened.sql("SELECT count(*) AS n FROM ohlc")["n"].tolist() == [number]


def test_frozen_keeps_candles_events_and_instruments_whatever_is_merged(archive: Written) -> None:
    archive.published([candle(0), candle(1)], seen=second(60))
    archive.published([candle(3)], seen=second(70))
    archive.noted(event(1))
    archive.noted(event(2))
    archive.listed("BTC/USD", 1, second(0))
    archive.listed("BTC/USD", 2, second(10))
    with connect(archive.data, frozen=True) as opened:
        queries = ("FROM ohlc", "FROM ohlc_gaps", "FROM ohlc_filled", "FROM events", "FROM instruments")
        before = [opened.sql(f"{text} ORDER BY ALL", to="arrow").to_pylist() for text in queries]
        archive.published([candle(0, "9", "9", "9", "9", "9", "9", 9), candle(2)], seen=second(80))
        archive.noted(event(3))
        archive.listed("BTC/USD", 3, second(20))
        for _ in range(2):
            assert [opened.sql(f"{text} ORDER BY ALL", to="arrow").to_pylist() for text in queries] == before
            for table in ("ohlc", "events", "instruments"):
                archive.merge(table)
            archive.noted(event(4))
        assert len(opened.ohlc("BTC/USD", "1m", on_gap="ignore")) == 3
        with opened.cursor() as cursor:
            assert len(cursor.events()) == 2
        opened.refresh()
        assert len(opened.ohlc("BTC/USD", "1m")) == len(opened.events()) - 1 == 4
        assert opened.sql("FROM instruments")["pair_decimals"].tolist() == [1, 2, 3]


def test_files_that_no_question_is_about_are_not_opened(archive: Written) -> None:
    archive.append(trades(1, 3))
    archive.published([candle(0)])
    archive.noted(event(1))
    for folder in ("ohlc/timeframe=1m/year=2025", "events/year=2025"):
        (archive.data / folder / "broken.parquet").write_bytes(b"not Parquet")
    with connect(archive.data, live=True) as opened:
        assert rows(opened) == 3
        assert len(opened.trades("BTC/USD")) == 3
        with pytest.raises(CorruptFile, match="broken"):
            opened.events()


COUNT = "SELECT count(*)::BIGINT AS n, count(DISTINCT trade_id)::BIGINT AS ids FROM trades"
BATCH = 10


class Watched:
    """A reader in a thread of its own that counts as fast as it can while this one writes."""

    def __init__(self, archive: Written, mode: dict[str, Any]) -> None:
        self.claimed = 0
        self.looks = 0
        self.wrong: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._loop, args=(archive, mode))

    def _loop(self, archive: Written, mode: dict[str, Any]) -> None:
        before = 0
        with connect(archive.data, **mode) as opened:
            while not self._done.is_set() or self.looks < 3:
                least = self.claimed
                found = opened.sql(COUNT, to="arrow")
                seen, ids = found["n"][0].as_py(), found["ids"][0].as_py()
                # A row is durable a moment before it is claimed, so a batch more may be seen.
                if not max(before, least) <= seen == ids <= self.claimed + BATCH:
                    self.wrong.append(f"{before=} {least=} {seen=} {ids=} {self.claimed=}")
                before = seen
                self.looks += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def batch(number: int) -> list[Trade]:
    return trades(BATCH * number + 1, BATCH * (number + 1))


def test_a_looping_reader_never_sees_a_wrong_count_while_files_come_and_are_merged(archive: Written) -> None:
    with Watched(archive, {}) as reader:
        for number in range(60):
            archive.append(batch(number))
            reader.claimed += BATCH
            if number % 2:
                archive.compact()
    assert reader.wrong == []
    assert reader.looks >= 3


def test_a_looping_live_reader_never_sees_a_wrong_count_while_rows_move(archive: Written) -> None:
    with Watched(archive, {"live": True}) as reader:
        for number in range(60):
            archive.journalled(batch(number))
            reader.claimed += BATCH
            if number % 3 == 0:
                archive.drain()
            if number % 2:
                archive.compact()
    assert reader.wrong == []
    assert reader.looks >= 3


def test_a_looping_frozen_reader_always_counts_the_same(archive: Written) -> None:
    archive.append(batch(0))
    archive.journalled(batch(1))
    with connect(archive.data, live=True, frozen=True) as opened:
        for number in range(2, 20):
            archive.append(batch(number))
            archive.drain()
            archive.compact()
            assert opened.sql(COUNT).to_numpy().tolist() == [[20, 20]]


def test_a_connection_whose_first_query_failed_is_good_again_when_the_archive_is(tmp_path: Path) -> None:
    with builders.shop(tmp_path) as opened:
        opened.archive.append(builders.PAIR, builders.trades(1, 10))
    listing = tmp_path / "instruments" / "schema.parquet"
    listing.rename(tmp_path / "away")
    with recorder.connect(tmp_path) as archive:
        with pytest.raises(RecorderError):
            archive.sql("SELECT count(*) AS n FROM candles('BTC/USD', '1m')")
        (tmp_path / "away").rename(listing)
        assert archive.sql("SELECT count(*) AS n FROM candles('BTC/USD', '1m')", to="arrow").to_pylist() == [{"n": 1}]


def test_a_file_of_another_pair_is_refused_and_not_read_as_this_one(tmp_path: Path) -> None:
    with builders.shop(tmp_path) as opened:
        opened.archive.append(builders.PAIR, builders.trades(1, 10))
        opened.archive.append("ETH/EUR", builders.trades(20, 30, pair="ETH/EUR"))
        (foreign,) = opened.layout.trade_files("ETH/EUR")
        foreign.rename(opened.layout.trade_files(builders.PAIR)[0].with_name(foreign.name))
    with (
        recorder.connect(tmp_path, live=True) as archive,
        pytest.raises(CorruptFile, match="lies among trades of BTC/USD"),
    ):
        archive.sql("SELECT count(*) FROM trades")


@pytest.mark.parametrize("folder", ["pair=XX", "back\\slash"])
def test_a_folder_that_readers_would_misread_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UsageError, match="put the archive elsewhere"):
        recorder.connect(tmp_path / folder)


MACROS = [
    "pair_trades($pair)", "candles($pair, '1m')", "time_bars($pair, '1 hour')", "tick_bars($pair, 5)",
    "volume_bars($pair, 5)", "dollar_bars($pair, 5)", "candle_audit($pair, '1m')", "pair_coverage($pair)",
    "pair_holes($pair)", "missing_between($pair)", "pair_known_runs($pair)", "pair_unknown_ids($pair)",
    "pair_begins($pair)", "pair_ohlc_filled($pair, '1m')",
]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_a_macro_refuses_a_pair_that_is_not_there_as_every_method_does(archive: Written, mode: dict[str, Any]) -> None:
    archive.append(trades(1, 2))
    archive.journalled([trade(1, pair="ETH/USD")])
    with connect(archive.data, **mode) as opened:
        for macro in MACROS[:: 4 if mode else 1]:  # what is refused is the same in every mode
            with pytest.raises(UsageError, match=r"no trades of 'BTCUSD'; did you mean BTC/USD"):
                opened.sql(f"FROM {macro}", pair="BTCUSD")
            assert opened.sql(f"FROM {macro}", pair="BTC/USD") is not None
        if mode.get("live"):
            assert len(opened.sql("FROM pair_trades('ETH/USD')")) == 1


@pytest.mark.parametrize(
    "value",
    [
        datetime(2025, 11, 10),  # noqa: DTZ001 -- that is the mistake
        pd.Timestamp("2025-11-10"),
        np.datetime64("2025-11-10"),
        [minute(0), datetime(2025, 11, 10)],  # noqa: DTZ001
    ],
)
def test_a_moment_without_a_zone_is_no_parameter(archive: Written, value: object) -> None:
    with connect(archive.data) as opened, pytest.raises(UsageError, match=r"when .*has no time zone"):
        opened.sql("FROM trades WHERE list_contains([$when], time)", when=value)


def test_a_moment_with_a_zone_and_a_day_are(archive: Written) -> None:
    archive.append(trades(1, 2))
    with connect(archive.data) as opened:
        for when in (minute(1), pd.Timestamp(minute(1)), date(2025, 11, 11)):
            assert opened.sql("SELECT count(*) AS n FROM trades WHERE time < $when", when=when)["n"].tolist() == [2]
        assert opened.sql("SELECT $when AS x", when=pd.NaT)["x"].isna().all()


@pytest.mark.parametrize("make", [pd.DataFrame, pa.table])
def test_a_frame_of_ones_own_joins(archive: Written, make: Callable[[object], object]) -> None:
    archive.append(trades(1, 2))
    with connect(archive.data) as opened:
        for score in (0.5, 0.75):  # the second takes the place of the first
            opened.register("signals", make({"trade_id": [2], "score": [score]}))
            found = opened.sql("SELECT trade_id, score FROM trades JOIN signals USING (trade_id)")
            assert found.to_dict("list") == {"trade_id": [2], "score": [score]}
        for name in ("trades", "Trades", "candles", "recorder_files", "two words", ""):
            with pytest.raises(UsageError, match="cannot be called"):
                opened.register(name, make({"x": [1]}))
        with pytest.raises(UsageError, match="not suitable"):
            opened.register("signals", 5)


def test_a_frame_without_rows_has_the_types_of_one_with_rows(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(1, 2, pair="ETH/USD")])
    archive.published([candle(0), candle(1)])
    archive.listed("BTC/USD", 1)
    pairs = ["ETH/USD", "BTC/USD"]
    early = {"start": "2020-01-01", "stop": "2020-01-02"}
    archive.noted(Event(START_US, "connected", None, "{}"), Event(START_US, "subscribed", "BTC/USD", "{}"))
    with connect(archive.data) as opened:
        asking: Callable[..., Any] = opened.events
        for backend in (None, "pyarrow"):
            found = asking(dtype_backend=backend), asking(dtype_backend=backend, **early)
            assert list(map(len, found)) == [2, 0]
            assert found[0].dtypes.equals(found[1].dtypes)
        asks: list[Callable[..., Any]] = [
            lambda **given: opened.trades("BTC/USD", on_gap="ignore", **given),
            lambda **given: opened.trades(pairs, on_gap="ignore", **given),
            lambda **given: opened.candles("BTC/USD", "1m", on_gap="ignore", **given),
            lambda **given: opened.candles(pairs, "1m", on_gap="ignore", **given),
            lambda **given: opened.ohlc("BTC/USD", "1m", **given),
            lambda **given: opened.ohlc("BTC/USD", "1m", filled=True, **given),
        ]
        for ask in asks:
            for backend in (None, "pyarrow"):
                full, empty = ask(dtype_backend=backend), ask(dtype_backend=backend, **early)
                assert len(full) > len(empty) == 0
                assert full.dtypes.equals(empty.dtypes)
        assert list(opened.trades(pairs)["pair"].cat.categories) == pairs
        views = ("coverage", "gaps", "certificates")
        archive.append(trades(5, 6))
        full = [getattr(opened, view)(dtype_backend=backend) for view in views for backend in (None, "pyarrow")]
    with writing(archive.data.parent / "empty") as nothing, connect(nothing.data) as opened:
        none = [getattr(opened, view)(dtype_backend=backend) for view in views for backend in (None, "pyarrow")]
        for some, without in zip(full, none, strict=True):
            assert len(some) > len(without) == 0
            assert some.dtypes.equals(without.dtypes)
            assert not [name for name in some if name.endswith("_id") and some[name].dtype.kind == "f"]
        with pytest.raises(UsageError, match="no dtype_backend 'numpy'"):
            opened.coverage(dtype_backend="numpy")  # type: ignore[call-overload]
