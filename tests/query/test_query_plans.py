"""What DuckDB expects of the views, for that decides how it joins them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from recorder.archive.parquet import FileFacts, read_facts
from recorder.core.model import Candle, Event
from recorder.query import file_order
from recorder.query.connect import Archive, connect
from recorder.query.engine import Engine
from tests.archives import START, START_US, Ask, Written, candle, trades

RELATIONS = ["trades", "pair_trades('BTC/USD')", "pair_trades('aUSD/USD')", "stored_ohlc()", "ohlc", "events"]


def fill(archive: Written) -> None:
    """Write what compaction and the drains since leave: of each a large file and smaller ones."""
    for pair, large, small in (("BTC/USD", 3_000, 400), ("ETH/USD", 500, 80), ("aUSD/USD", 1_000, 200)):
        archive.append(trades(1, large, pair=pair))
        for part in range(3):
            archive.append(trades(large + part * small + 1, large + (part + 1) * small, pair=pair))
    archive.published([candle(0, timeframe="15d")])
    for part in range(4):
        archive.published([candle(60 * hour, timeframe="1h") for hour in range(part * 10, (part + 1) * 10)])
        archive.published([varied(minute) for minute in range(part * 600, (part + 1) * 600)])
    archive.noted(*(Event(START_US + number, "connected", None, "{}") for number in range(500)))
    archive.noted(*(Event(START_US + number, "connected", None, "{}") for number in range(500, 600)))


def varied(minute: int) -> Candle:
    """Return a candle that compresses no better than real ones."""
    price = f"{100 + minute * 7919 % 1009 / 10:.1f}"
    return candle(
        minute, price, price, price, price, f"{price}{minute * 104729 % 9973}", f"0.{minute * 7907 % 99991}", 5
    )


def plain(archive: Written) -> Archive:
    return connect(archive.data)


def live(archive: Written) -> Archive:
    archive.journalled(trades(5_001, 5_100))
    return connect(archive.data, live=True)


def frozen(archive: Written) -> Archive:
    return connect(archive.data, frozen=True)


def frozen_and_merged(archive: Written) -> Archive:
    opened = connect(archive.data, frozen=True)
    archive.append(trades(6_001, 6_010))
    archive.compact()
    archive.noted(Event(START_US + 601, "connected", None, "{}"))
    archive.merge("events")
    return opened


@pytest.fixture(params=[plain, live, frozen, frozen_and_merged])
def opened(archive: Written, request: pytest.FixtureRequest) -> Iterator[Archive]:
    fill(archive)
    open_archive: Callable[[Written], Archive] = request.param
    with open_archive(archive) as found:
        yield found


def planned(archive: Archive, text: str) -> dict[str, Any]:
    archive.sql(text, to="arrow")  # finds a moment that is kept in the files of now
    (root,) = json.loads(archive.sql(f"EXPLAIN (FORMAT json) {text}", to="arrow")["explain_value"][0].as_py())
    return dict(root)


def expected(node: dict[str, Any]) -> int:
    """Return how many rows DuckDB expects; of a union it says so of the parts alone."""
    told = node["extra_info"].get("Estimated Cardinality")
    return int(told) if told is not None else sum(expected(child) for child in node["children"])


def operators(node: dict[str, Any]) -> Iterator[str]:
    yield node["name"]
    for child in node["children"]:
        yield from operators(child)


@pytest.mark.parametrize("relation", RELATIONS)
def test_duckdb_expects_about_as_many_rows_as_there_are(opened: Archive, relation: str) -> None:
    true = opened.sql(f"SELECT count(*) AS n FROM {relation}", to="arrow")["n"][0].as_py()
    assert true / 10 <= expected(planned(opened, f"FROM {relation}")) <= true * 10


JOINS = pytest.mark.parametrize(
    ("left", "right"),
    [
        ("pair_trades('ETH/USD')", "pair_trades('BTC/USD')"),
        ("(FROM trades WHERE pair = 'ETH/USD')", "(FROM trades WHERE pair = 'BTC/USD')"),
        ("(FROM trades WHERE pair = 'aUSD/USD')", "(FROM ohlc WHERE pair = 'BTC/USD' AND timeframe = '1m')"),
        ("(FROM ohlc WHERE pair = 'BTC/USD' AND timeframe = '1h')", "pair_trades('BTC/USD')"),
        ("events", "trades"),
    ],
)


@JOINS
def test_an_asof_join_compares_no_row_with_every_other(opened: Archive, left: str, right: str) -> None:
    text = f"SELECT a.time FROM {left} AS a ASOF JOIN {right} AS b ON a.time >= b.time"
    assert not any("LOOP" in name for name in operators(planned(opened, text)))


@JOINS
def test_nor_does_one_in_a_client_that_ran_the_script(archive: Written, ask: Ask, left: str, right: str) -> None:
    fill(archive)
    text = f"SELECT a.time FROM {left} AS a ASOF JOIN {right} AS b ON a.time >= b.time"
    ((_, plan),) = ask(f"EXPLAIN (FORMAT json) {text}")
    (root,) = json.loads(str(plan))
    assert not any("LOOP" in name for name in operators(root))


def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Return what DuckDB is asked from now on, as it is asked."""
    found: list[tuple[str, dict[str, Any]]] = []
    relation = Engine._relation

    def noted(engine: Engine, text: str, params: Mapping[str, object] | None) -> Any:
        found.append((text, dict(params or {})))
        return relation(engine, text, params)

    monkeypatch.setattr(Engine, "_relation", noted)
    return found


def explained(archive: Archive, text: str, params: dict[str, Any]) -> str:
    """Return DuckDB's plan of what the connection asked last, at the same moment."""
    return str(archive._reader._engine.fetch(f"EXPLAIN {text}", params)["explain_value"][0].as_py())


def test_trades_are_read_in_the_order_of_their_files_and_not_sorted(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first, last in ((1, 400), (1_001, 1_010), (401, 1_000), (1_021, 1_030), (1_011, 1_020)):
        archive.append(trades(first, last))
    archive.append([*trades(1, 2, pair="ETH/USD"), *trades(5, 6, pair="ETH/USD")])
    archive.append(trades(3, 4, pair="ETH/USD"))
    with connect(archive.data) as opened:
        statements = asked(monkeypatch)
        assert opened.trades("BTC/USD")["trade_id"].tolist() == list(range(1, 1_031))
        assert "ORDER" not in explained(opened, *statements[-1])
        found = opened.trades(["ETH/USD", "BTC/USD"])
        assert found["trade_id"].tolist() == [*range(1, 7), *range(1, 1_031)]
        plan = explained(opened, *statements[-1])
        assert "ORDER" not in plan
        assert "list_contains" not in plan


@pytest.mark.parametrize("pairs", ["BTC/USD", ["BTC/USD", "ETH/USD"]])
def test_candles_take_one_look_at_the_trades_and_none_at_a_file_that_there_need_not_be(
    archive: Written, monkeypatch: pytest.MonkeyPatch, pairs: str | list[str]
) -> None:
    for pair in ("BTC/USD", "ETH/USD", "SOL/USD"):
        archive.append(trades(1, 3, pair=pair))
    with connect(archive.data) as opened:
        statements = asked(monkeypatch)
        opened.candles(pairs, "1m", START, to="arrow")
        (only,) = statements
        plan = explained(opened, *only)
        assert "list_contains" not in plan
        assert "list_position" not in plan
        assert "recorder_archived" not in plan
        assert plan.count("Asof Join") == 1, "bars are sorted once to join them"


def test_macros_of_a_pair_read_no_footer_that_is_known_and_no_trades_but_its_own(archive: Written) -> None:
    for pair in ("BTC/USD", "ETH/USD"):
        archive.append(trades(1, 3, pair=pair))
    with connect(archive.data) as opened:
        opened.sql("FROM tick_bars('BTC/USD', 2)", to="arrow")
        lists = opened._reader._engine._lists
        assert [len(lists[name]) for name in ("files", "unread")] == [2, 1]


def test_a_certificate_reads_the_footers_of_its_pair_alone_and_of_each_file_once(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pair in ("BTC/USD", "ETH/USD", "SOL/USD"):
        archive.append(trades(1, 3, pair=pair))
        archive.append(trades(4, 6, pair=pair))
    footers, times = files_read(monkeypatch)
    (first, second) = sorted(path.name for path in archive.data.glob("trades/pair=BTC*/*/*.parquet"))
    one = "FROM certificates WHERE pair = $pair AND day = '2025-11-10'"
    with connect(archive.data) as opened:
        footers.clear()
        for _ in range(2):
            assert opened.sql(one, pair="BTC/USD")["rows"].tolist() == [6]
            for found in (footers, times):
                assert sorted(Path(path).name for path in found if path.count("/pair=BTC")) == [first, second]
                assert sum("/pair=ETH" in path or "/pair=SOL" in path for path in found) == 0
        for ask in (opened.certificates, opened.certificates, opened.gaps, opened.coverage):
            ask()
            assert [len({*found}) for found in (footers, times)] == [6, 7]  # and the empty one
            assert [len(found) for found in (footers, times)] == [6, 7]
        replaced = next(archive.data.glob("trades/pair=ETH*/*/*.parquet"))
        os.utime(replaced, (0, 0))
        opened.certificates()
        assert [found[-1] for found in (footers, times)] == [str(replaced)] * 2
        assert [len(found) for found in (footers, times)] == [7, 8]


def files_read(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Return the files whose footers are read from now on, and those whose times are."""
    footers: list[str] = []
    times: list[str] = []
    read_times = Engine._read_times

    def noted_footer(path: Path) -> FileFacts:
        footers.append(str(path))
        return read_facts(path)

    def noted_times(engine: Engine, files: list[str]) -> None:
        times.extend(files)
        read_times(engine, files)

    monkeypatch.setattr("recorder.query.trade_files.read_facts", noted_footer)
    monkeypatch.setattr(Engine, "_read_times", noted_times)
    return footers, times


def test_files_come_in_the_order_of_how_typical_they_are_and_the_empty_one_last() -> None:
    sizes = {"a": 1, "b": 50, "c": 60, "d": 500, "e": 5}
    found = file_order.planned([["a", "b", "c"], [], ["d", "e"]], sizes.__getitem__, "born")
    assert found == ("b", "a", "c", "d", "e", "born")
    assert file_order.planned([], sizes.__getitem__, "born") == ("born",)


@pytest.mark.parametrize(
    ("name", "rows"), [("000000000011-000000000020-0f.parquet", 10), ("mine.parquet", 1), ("a-b-c.parquet", 1)]
)
def test_a_name_says_about_how_many_trades_a_file_holds(name: str, rows: int) -> None:
    assert file_order.named_rows(f"/data/trades/pair=A-B%2FUSD/year=2025/{name}") == rows


def test_bars_sort_the_trades_or_the_bars_once(archive: Written) -> None:
    archive.append([*trades(1, 300), *trades(302, 303)])
    with connect(archive.data) as opened:
        for kind in ("volume_bars", "dollar_bars"):
            names = list(operators(planned(opened, f"FROM {kind}('BTC/USD', 2)")))
            assert names.count("STREAMING_WINDOW") == 2, "sums over sorted rows are made as they come"
        names = list(operators(planned(opened, "FROM time_bars('BTC/USD', '1 minute')")))
        assert names.count("ASOF_JOIN") == 1
