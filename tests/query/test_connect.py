from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import duckdb
import pytest

import recorder
from recorder.core.model import Trade
from recorder.errors import CorruptFile, GapError, NoSuchArchive, RecorderError, StorageError, UsageError
from recorder.query.connect import Archive, connect
from recorder.query.engine import Engine
from tests.query.writing import START, Written, trade, trades
from tests.tasks import support

MODES = [{}, {"live": True}, {"frozen": True}, {"live": True, "frozen": True}]


def rows(opened: Archive) -> int:
    return int(opened.sql("SELECT count(*) AS n FROM trades")["n"][0])


def second(number: int) -> datetime:
    return START + timedelta(seconds=number)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_answers_every_question(archive: Written, mode: dict[str, bool]) -> None:
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
    archive: Written, monkeypatch: pytest.MonkeyPatch, mode: dict[str, bool], expected: int
) -> None:
    archive.append(trades(1, 3))
    original: Callable[..., Any] = Engine.fetch
    attempts: list[int] = []

    def unlucky(engine: Engine, *args: Any, **options: Any) -> Any:
        if len(attempts) < 2:
            archive.append(trades(4 + len(attempts), 4 + len(attempts)))
            archive.compact()
        attempts.append(1)
        return original(engine, *args, **options)

    with connect(archive.data, **mode) as opened:
        monkeypatch.setattr(Engine, "fetch", unlucky)
        assert opened.trades("BTC/USD")["trade_id"].tolist() == list(range(1, expected + 1))
    # A frozen one looks only for its own rows again, and those moved a second time meanwhile.
    assert len(attempts) == 3


def test_files_that_vanish_at_every_attempt_are_an_error_at_last(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished(*_: object, **__: object) -> None:
        raise duckdb.IOException(f"IO Error: Cannot open file {archive.data}/trades/x.parquet")

    monkeypatch.setattr(Engine, "fetch", vanished)
    with connect(archive.data) as opened, pytest.raises(StorageError, match="could not be read in 50 attempts"):
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
        with pytest.raises(GapError, match=r"trades of BTC/USD .*3 in all \(ids 4 to 6 between .*`recorder run`"):
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
def test_an_unknown_pair_is_an_error_that_names_those_held(archive: Written, mode: dict[str, bool]) -> None:
    archive.append([*trades(1, 1), *trades(1, 1, pair="ETH/USD")])
    with connect(archive.data, **mode) as opened:
        with pytest.raises(UsageError, match=r"no trades of 'XBT/USD'; did you mean BTC/USD"):
            opened.trades("XBT/USD")
        with pytest.raises(UsageError, match=r"no trades of 'SOL/EUR'"):
            opened.candles("SOL/EUR", "1m")


def test_mistakes_are_refused_before_anything_is_read(archive: Written) -> None:
    with connect(archive.data) as opened:
        mistakes: list[Callable[[], object]] = [
            lambda: opened.trades("BTC/USD", "2025-11-10T12:00:00"),
            lambda: opened.trades("BTC/USD", second(2), second(1)),
            lambda: opened.candles("BTC/USD", "2m"),
            lambda: opened.trades("BTC/USD", on_gap="cry"),  # type: ignore[arg-type]
            lambda: opened.sql("FROM trades", to="excel"),  # type: ignore[arg-type]
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


COUNT = "SELECT count(*)::BIGINT AS n, count(DISTINCT trade_id)::BIGINT AS ids FROM trades"
BATCH = 10


class Watched:
    """A reader in a thread of its own that counts as fast as it can while this one writes."""

    def __init__(self, archive: Written, mode: dict[str, bool]) -> None:
        self.claimed = 0
        self.looks = 0
        self.wrong: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._loop, args=(archive, mode))

    def _loop(self, archive: Written, mode: dict[str, bool]) -> None:
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
    with support.shop(tmp_path) as opened:
        opened.archive.append(support.PAIR, support.trades(1, 10))
    listing = tmp_path / "instruments" / "schema.parquet"
    listing.rename(tmp_path / "away")
    with recorder.connect(tmp_path) as archive:
        with pytest.raises(RecorderError):
            archive.sql("SELECT count(*) AS n FROM candles('BTC/USD', '1m')")
        (tmp_path / "away").rename(listing)
        assert archive.sql("SELECT count(*) AS n FROM candles('BTC/USD', '1m')", to="arrow").to_pylist() == [{"n": 1}]


def test_a_file_of_another_pair_is_refused_and_not_read_as_this_one(tmp_path: Path) -> None:
    with support.shop(tmp_path) as opened:
        opened.archive.append(support.PAIR, support.trades(1, 10))
        opened.archive.append("ETH/EUR", support.trades(20, 30, pair="ETH/EUR"))
        (foreign,) = opened.layout.trade_files("ETH/EUR")
        foreign.rename(opened.layout.trade_files(support.PAIR)[0].with_name(foreign.name))
    with (
        recorder.connect(tmp_path, live=True) as archive,
        pytest.raises(CorruptFile, match="lies among trades of BTC/USD"),
    ):
        archive.sql("SELECT count(*) FROM trades")


@pytest.mark.parametrize("folder", ["pair=XX", "back\\slash"])
def test_a_folder_that_readers_would_misread_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UsageError, match="put the archive elsewhere"):
        recorder.connect(tmp_path / folder)
