"""Rows equal ids: what lies in the archive twice, or in the wrong place, is no answer but an error that names it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sized
from pathlib import Path
from typing import Any

import pytest

from recorder.core.model import Event
from recorder.errors import StorageError, UnlistedFolder, UsageError
from recorder.query import catalogue, refused_files
from recorder.query.connect import Archive, connect
from tests.archives import START_US, Written, candle, minute, trade, trades
from tests.end_to_end.harness import denied

YEAR_US = 366 * 86_400_000_000
Harm = Callable[[Written, Path], Path]
"""Does harm by a file of BTC/USD to it, or beside it; returns what the sentence must name as well."""


def other(archive: Written, folder: str) -> Path:
    found = archive.data / folder
    found.mkdir(parents=True, exist_ok=True)
    return found / "copy.parquet"


def copied(archive: Written, path: Path) -> Path:
    return Path(shutil.copy(path, path.with_name("copy.parquet")))


def linked(archive: Written, path: Path) -> Path:
    os.link(path, path.with_name("copy.parquet"))
    return path.with_name("copy.parquet")


def pointed_at(archive: Written, path: Path) -> Path:
    path.with_name("copy.parquet").symlink_to(path)
    return path.with_name("copy.parquet")


def copied_to_another_year(archive: Written, path: Path) -> Path:
    return Path(shutil.copy(path, other(archive, "trades/pair=BTC%2FUSD/year=2024")))


def copied_to_another_spelling(archive: Written, path: Path) -> Path:
    return Path(shutil.copy(path, other(archive, "trades/pair=BTC%2fusd/year=2025")))


def copied_to_a_lower_escape(archive: Written, path: Path) -> Path:
    return Path(shutil.copy(path, other(archive, "trades/pair=BTC%2fUSD/year=2025")))


DOUBLED: list[Harm] = [
    copied,
    linked,
    pointed_at,
    copied_to_another_year,
    copied_to_another_spelling,
    copied_to_a_lower_escape,
]

ASKED: dict[str, Callable[[Archive], object]] = {
    "trades": lambda opened: opened.trades("BTC/USD"),
    "candles": lambda opened: opened.candles("BTC/USD", "1m"),
    "batches": lambda opened: list(opened.batches("BTC/USD")),
    "several": lambda opened: opened.trades(["ETH/USD", "BTC/USD"]),
    "filled": lambda opened: opened.ohlc("BTC/USD", "1m", filled=True, on_gap="ignore"),
    "coverage": lambda opened: opened.coverage(),
    "gaps": lambda opened: opened.gaps(),
    "certificates": lambda opened: opened.certificates(),
    "view": lambda opened: opened.sql("SELECT count(*) FROM trades"),
    "of one": lambda opened: opened.sql("SELECT count(*) FROM trades WHERE pair = $pair", pair="BTC/USD"),
    "macro": lambda opened: opened.sql("FROM candles('BTC/USD', '1m')"),
    "parameter": lambda opened: opened.sql("FROM candles($pair, '1m')", pair="BTC/USD"),
    "made": lambda opened: opened.sql("FROM candles('BTC' || '/USD', '1m')"),
    "coverage of one": lambda opened: opened.sql("SELECT count(*) FROM coverage WHERE pair = 'BTC/USD'"),
    "gaps of one": lambda opened: opened.sql("SELECT count(*) FROM gaps WHERE pair = 'BTC/USD'"),
    "certificates of one": lambda opened: opened.sql("SELECT count(*) FROM certificates WHERE pair = 'BTC/USD'"),
    "filled of one": lambda opened: opened.sql("SELECT count(*) FROM ohlc_filled WHERE pair = 'BTC/USD'"),
    "hidden": lambda opened: opened.sql("SELECT count(*) FROM query_table('tra' || 'des')"),
}
SOME = ("trades", "coverage", "view", "macro")
OTHERS: dict[str, Callable[[Archive], Sized]] = {
    "trades": lambda opened: opened.trades("ETH/USD"),
    "candles": lambda opened: opened.candles("ETH/USD", "1m"),
    "view": lambda opened: opened.sql("SELECT * FROM trades WHERE pair = 'ETH/USD'"),
    "macro": lambda opened: opened.sql("FROM candles('ETH/USD', '1m')"),
    "made": lambda opened: opened.sql("FROM candles('ETH' || '/USD', '1m')"),
    "coverage": lambda opened: opened.sql("SELECT * FROM coverage WHERE pair IN ('ETH/USD', 'SOL/USD')"),
    "gaps": lambda opened: opened.sql("SELECT count(*) FROM gaps WHERE pair = $pair", pair="ETH/USD"),
    "certificates": lambda opened: opened.sql(
        "SELECT * EXCLUDE (sha256) FROM certificates WHERE pair = 'ETH/USD' LIMIT 1"
    ),
    "hashed": lambda opened: opened.trades("ETH/USD", hashed=True),
    "ohlc": lambda opened: opened.ohlc("ETH/USD", "1m"),
    "filled": lambda opened: opened.sql("FROM ohlc_filled WHERE pair LIKE 'ETH%'"),
    "bars": lambda opened: opened.sql("FROM time_bars('ETH/USD', '1 minute')"),
    "batches": lambda opened: list(opened.batches("ETH/USD", check=True)),
    "none": lambda opened: opened.sql("SELECT 1 AS one"),
    "another table": lambda opened: opened.sql("FROM events"),
}


@pytest.fixture
def pairs(archive: Written) -> Written:
    archive.append([*trades(1, 3), *trades(1, 2, pair="ETH/USD")])
    archive.append(trades(4, 6))
    archive.listed("BTC/USD", 1)
    archive.listed("ETH/USD", 1)
    archive.published([candle(0), candle(2), candle(0, pair="ETH/USD")])
    archive.noted(Event(START_US, "connected", None, "{}"))
    return archive


def test_whoever_asks_for_rows_that_lie_there_twice_is_told_of_both_files(pairs: Written) -> None:
    path = pairs.files()[0]
    with connect(pairs.data) as opened:
        for harm in DOUBLED:
            copy = harm(pairs, path)
            for name in SOME if harm is copied else ("trades", "view"):
                with pytest.raises(StorageError, match="move") as told:
                    ASKED[name](opened)
                assert str(copy) in str(told.value), (harm, name)
                assert str(path) in str(told.value), (harm, name)
            OTHERS["macro"](opened)
            copy.unlink()
            ASKED["trades"](opened)
        for name in SOME:
            ASKED[name](opened)


MODES: list[tuple[dict[str, bool], Iterable[str], Iterable[str]]] = [
    ({}, ASKED, OTHERS),
    ({"live": True}, ("trades", "view", "of one", "made", "certificates of one"), ("trades", "view", "made")),
    (
        {"live": True, "frozen": True},
        (*SOME, "batches", "several", "filled", "made", "gaps of one", "filled of one", "hidden"),
        ("trades", "candles", "view", "coverage", "certificates", "filled", "batches"),
    ),
]
"""How it is opened, and what is asked then; with ``check`` by the test of a byte that flipped."""


@pytest.mark.parametrize(("mode", "asked", "others"), MODES)
def test_every_mode_does(pairs: Written, mode: dict[str, Any], asked: Iterable[str], others: Iterable[str]) -> None:
    copy = copied(pairs, pairs.files()[0])
    with connect(pairs.data, **mode) as opened:
        for name in asked:
            with pytest.raises(StorageError) as told:
                ASKED[name](opened)
            assert str(copy) in str(told.value), name
        for name in others:
            assert len(OTHERS[name](opened)) > 0, name


def test_a_copy_that_comes_between_two_questions_is_seen_and_so_is_that_it_went(pairs: Written) -> None:
    with connect(pairs.data) as opened:
        for _ in range(2):
            assert len(opened.trades("BTC/USD")) == 6
            copy = copied(pairs, pairs.files()[0])
            with pytest.raises(StorageError, match="holds id 1 as"):
                opened.trades("BTC/USD")
            with pytest.raises(StorageError, match="holds id 1 as"):
                opened.sql("FROM trades")
            copy.unlink()


def test_another_file_under_a_name_that_is_known_is_read_anew(pairs: Written) -> None:
    first, second = pairs.files()
    with connect(pairs.data) as opened:
        assert len(opened.trades("BTC/USD")) == 6
        shutil.copy(first, second)
        with pytest.raises(StorageError, match="holds id 1 as"):
            opened.trades("BTC/USD")


def test_a_file_of_before_a_merge_that_is_put_back_is_one_too_many(pairs: Written, tmp_path: Path) -> None:
    path = pairs.files()[0]
    kept = Path(shutil.copy(path, tmp_path))
    pairs.compact()
    (merged,) = pairs.files()
    shutil.copy(kept, path)
    with connect(pairs.data) as opened, pytest.raises(StorageError) as told:
        opened.sql("SELECT sum(qty) FROM trades")
    assert {str(path), str(merged)} == {str(path), str(merged)}.intersection(str(told.value).replace(",", " ").split())


def test_a_file_moved_to_another_pair_is_no_answer_of_that_one(pairs: Written) -> None:
    path = pairs.files()[1]
    moved = path.rename(pairs.files("ETH/USD")[0].with_name("moved.parquet"))
    with connect(pairs.data) as opened:
        for ask in ("trades", "view", "candles", "coverage"):
            with pytest.raises(StorageError, match=f"{moved} says it holds trades of BTC/USD.*move it back") as told:
                OTHERS[ask](opened)
            assert "as well" not in str(told.value)
        assert len(opened.trades("BTC/USD", on_gap="ignore")) == 3


def test_a_file_copied_to_another_pair_is_named_with_where_it_belongs(pairs: Written) -> None:
    path = pairs.files()[1]
    copy = Path(shutil.copy(path, pairs.files("ETH/USD")[0].with_name("moved.parquet")))
    with connect(pairs.data) as opened, pytest.raises(StorageError) as told:
        opened.trades("ETH/USD")
    assert str(copy) in str(told.value)
    assert str(path) in str(told.value)


def test_a_file_moved_to_another_year_is_told_to_move_back(pairs: Written) -> None:
    pairs.append([trade(7, START_US + YEAR_US)])
    path = pairs.files()[-1]
    moved = path.rename(path.parent.with_name("year=2025") / path.name)
    with connect(pairs.data) as opened:
        for ask in (ASKED[name] for name in SOME):
            with pytest.raises(StorageError, match=f"{moved} holds a row of 2026, and lies in year=2025.*move it back"):
                ask(opened)


def test_a_damaged_file_of_one_pair_leaves_the_others_alone(pairs: Written) -> None:
    pairs.files()[0].write_bytes(b"PAR1")
    with connect(pairs.data) as opened, connect(pairs.data, live=True) as live:
        for name in ("trades", "view", "coverage", "certificates"):
            assert len(OTHERS[name](opened)) > 0, name
        assert len(OTHERS["gaps"](live)) > 0
        for name in SOME:
            with pytest.raises(StorageError, match="is not a complete Parquet file"):
                ASKED[name](opened)
        with pytest.raises(StorageError, match="is not a complete Parquet file"):
            ASKED["trades"](live)


def test_with_check_a_flipped_byte_affects_only_its_own_pair(
    pairs: Written,
) -> None:
    path = pairs.files()[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with connect(pairs.data, check=True) as opened:
        for name, ask in OTHERS.items():
            assert len(ask(opened)) > 0, name
        for name, question in ASKED.items():
            with pytest.raises(StorageError, match="SHA-256") as told:
                question(opened)
            assert str(path) in str(told.value), name


def test_an_inaccessible_pair_folder_fails_that_pair_and_no_other(pairs: Written) -> None:
    folder = pairs.files()[0].parent.parent
    with denied(folder), connect(pairs.data) as opened:
        for text in ("FROM trades WHERE pair = 'BTC/USD'", "FROM coverage WHERE pair = 'BTC/USD'", "FROM trades"):
            with pytest.raises(UnlistedFolder, match=str(folder)):
                opened.sql(text)
        assert len(opened.sql("FROM trades WHERE pair = 'ETH/USD'")) == 2
        assert len(opened.sql("FROM coverage WHERE pair = 'ETH/USD'")) == 1


def test_a_snapshot_found_again_answers_for_pairs_beside_a_damaged_one(pairs: Written) -> None:
    pairs.append(trades(3, 4, pair="ETH/USD"))
    with connect(pairs.data, frozen=True) as opened:
        assert len(opened.trades("ETH/USD")) == 4
        pairs.compact("ETH/USD")
        damaged = pairs.files()[0]
        damaged.write_bytes(b"PAR1")
        assert len(opened.sql("FROM trades WHERE pair = $pair", pair="ETH/USD")) == 4
        for ask in (ASKED["trades"], ASKED["view"]):
            with pytest.raises(StorageError, match=damaged.name):
                ask(opened)


def test_ids_of_one_pair_that_were_deleted_by_hand_cost_a_kept_moment_that_pair_alone(pairs: Written) -> None:
    kept = [(path, path.read_bytes()) for path in pairs.files()]
    with connect(pairs.data, frozen=True) as opened:
        for gone in (kept[:1], kept):
            for path, _ in gone:
                path.unlink()
            for name in ("trades", "view", "of one", "coverage"):
                with pytest.raises(StorageError, match=r"ids .* of BTC/USD were in the archive and are gone"):
                    ASKED[name](opened)
            for name in ("trades", "candles", "view", "gaps", "certificates"):
                assert len(OTHERS[name](opened)) > 0, name
            for path, content in gone:
                path.write_bytes(content)
            assert len(opened.trades("BTC/USD")) == 6
        shutil.rmtree(pairs.layout.pair_dir("BTC/USD"))
        with pytest.raises(StorageError, match="are gone"):
            ASKED["of one"](opened)
        assert len(OTHERS["view"](opened)) == 2
        opened.refresh()
        assert len(opened.sql("FROM trades")) == 2


@pytest.mark.parametrize("mode", [{}, {"frozen": True}])
def test_a_pipe_among_events_keeps_no_question_waiting(pairs: Written, mode: dict[str, Any]) -> None:
    os.mkfifo(pairs.data / "events/year=2025/pipe.parquet")
    with connect(pairs.data, **mode) as opened:
        assert len(opened.trades("BTC/USD")) == 6
        assert len(opened.sql("FROM trades")) == 8
        for ask in (opened.events, opened.gaps):
            with pytest.raises(StorageError, match=r"pipe\.parquet is no file"):
                ask()


TABLES = [
    ("events", "events/year=2025", "FROM events"),
    ("ohlc", "ohlc/timeframe=1m/year=2025", "FROM ohlc"),
    ("ohlc", "ohlc/timeframe=1m/year=2025", "SELECT count(*) FROM stored_ohlc()"),
    ("instruments", "instruments", "FROM instruments"),
]


def test_tables_without_ids_are_held_to_their_segments(pairs: Written) -> None:
    with connect(pairs.data) as opened:
        for table, folder, text in TABLES:
            before = len(opened.sql(text))
            path = next(one for one in sorted((pairs.data / folder).iterdir()) if one.name != "schema.parquet")
            for how in (copied, linked, pointed_at):
                copy = how(pairs, path)
                with pytest.raises(StorageError, match="move one of the two out") as told:
                    opened.sql(text)
                assert str(copy) in str(told.value), (table, how)
                assert str(path) in str(told.value), (table, how)
                copy.unlink()
            assert len(opened.sql(text)) == before
        copied(pairs, path)
        assert len(opened.trades("BTC/USD")) == 6


def test_frames_of_tables_without_ids_are_held_to_them_too(pairs: Written) -> None:
    for folder in ("events/year=2025", "ohlc/timeframe=1m/year=2025"):
        copied(pairs, next(one for one in (pairs.data / folder).iterdir() if one.name != "schema.parquet"))
    with connect(pairs.data) as opened:
        with pytest.raises(StorageError, match=r"as .* does: move one of the two out"):
            opened.events()
        with pytest.raises(StorageError, match=r"as .* does: move one of the two out"):
            opened.ohlc("ETH/USD", "1m")


def test_a_copy_in_another_folder_of_candles_is_seen(pairs: Written) -> None:
    path = next(one for one in (pairs.data / "ohlc/timeframe=1m/year=2025").iterdir() if one.name != "schema.parquet")
    with connect(pairs.data) as opened:
        for folder in ("ohlc/timeframe=1m/year=2024", "ohlc/timeframe=1h/year=2025"):
            copy = Path(shutil.copy(path, other(pairs, folder)))
            with pytest.raises(StorageError, match=str(copy)):
                opened.sql("SELECT count(*) FROM ohlc")
            copy.unlink()


def test_a_question_of_another_timeframe_is_answered(pairs: Written) -> None:
    pairs.published([candle(0, timeframe="1h")])
    copied(
        pairs,
        next(one for one in (pairs.data / "ohlc/timeframe=1m/year=2025").iterdir() if one.name != "schema.parquet"),
    )
    with connect(pairs.data) as opened:
        assert len(opened.ohlc("BTC/USD", "1h")) == 1
        assert len(opened.sql("FROM ohlc WHERE timeframe = '1h'")) == 1


def test_listings_of_one_moment_may_come_in_several_files(archive: Written) -> None:
    archive.append(trades(1, 3))
    archive.listed("BTC/USD", 1)
    archive.listed("BTC/USD", 2, minute(1))
    with connect(archive.data) as opened:
        assert len(opened.sql("FROM instruments")) == 2


def test_files_of_a_trade_table_among_events_are_refused(pairs: Written) -> None:
    shutil.copy(pairs.files()[0], other(pairs, "events/year=2025"))
    with connect(pairs.data) as opened:
        with pytest.raises(StorageError, match="says it holds trades, and lies among events"):
            opened.events()
        assert len(opened.trades("BTC/USD")) == 6


def test_what_a_statement_needs_is_told_by_its_words() -> None:
    assert catalogue.needs("SELECT 1") == catalogue.Needs(every=False, named=False, tables=())
    assert catalogue.needs("FROM events").tables[0].name == "events"
    assert catalogue.needs("FROM trades").every
    assert catalogue.needs("FROM TRADES").every
    one = catalogue.needs("FROM candles('BTC/USD', '1m')")
    assert (one.every, one.named, "instruments" in {table.name for table in one.tables}) == (False, True, True)
    for name in ("coverage", "gaps", "certificates", "ohlc_filled", "candles_of", "query_table"):
        assert catalogue.needs(f"FROM {name}").every, name
    for name in catalogue.names():
        assert catalogue.needs(f"FROM {name}") is not None


def test_an_error_that_names_no_refused_path_is_not_taken_for_one() -> None:
    path = refused_files.failing_path("/data/trades/pair=A/year=2025")
    fault = StorageError("why")
    assert refused_files.refused_file(UsageError(f"File '{path}' too small"), {path: fault}) is fault
    assert refused_files.refused_file(UsageError("File '/data/x.parquet' too small"), {path: fault}) is None
    assert refused_files.refused_file(UsageError(f"File '{path}' too small"), {}) is None
