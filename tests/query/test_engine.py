from __future__ import annotations

import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.core.model import Event
from recorder.errors import UsageError
from recorder.query import catalogue
from recorder.query.engine import Engine
from recorder.query.snapshot import Snapshots
from tests.archives import START_US, Ask, Written, trades


@pytest.fixture
def engine(archive: Written) -> Iterator[Engine]:
    opened = Engine(archive.data)
    yield opened
    opened.close()


PRICES = st.decimals("0.000000000001", "9999999999999999", places=12, allow_nan=False)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PRICES)
def test_decimals_become_the_nearest_doubles_or_stay_exact(engine: Engine, price: Decimal) -> None:
    text = f"SELECT {price:f}::DECIMAL(28, 12) AS price"
    assert engine.fetch(text)["price"].to_pylist() == [float(price)]
    assert engine.fetch(text, exact=True)["price"].to_pylist() == [price]


def test_times_are_in_utc(engine: Engine) -> None:
    table = engine.fetch("SELECT TIMESTAMPTZ '2025-11-10 12:00:00Z' AS time")
    assert table.schema.field("time").type == pa.timestamp("us", "UTC")


def test_columns_may_have_any_name_even_the_same_twice(engine: Engine) -> None:
    table = engine.fetch('SELECT 1 AS "a ""b"" c", 2.5 AS x, 3 AS x')
    assert table.column_names[0] == 'a "b" c'
    assert [column.to_pylist() for column in table.columns] == [[1], [2.5], [3]]


def test_parameters_are_values_and_not_sql(engine: Engine) -> None:
    nasty = "'; DROP TABLE x; --"
    assert engine.fetch("SELECT $name AS name", {"name": nasty})["name"].to_pylist() == [nasty]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("SELEC 1", 'DuckDB: Parser Error: syntax error at or near "SELEC"'),
        ("FROM nowhere", "DuckDB: Catalog Error: Table with name nowhere does not exist!"),
        ("SELECT $a", "DuckDB: Invalid Input Error: Values were not provided"),
        ("SELECT error('no')", "DuckDB: Invalid Input Error: no"),
        ("  ", "there is no SQL statement"),
    ],
)
def test_what_duckdb_cannot_do_is_one_sentence(engine: Engine, text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        engine.fetch(text)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_stays_an_error_to_try_again_after(engine: Engine, archive: Written) -> None:
    archive.append(trades(1, 1))
    moment = Snapshots(archive.data, live=False).take()
    archive.append(trades(2, 2))
    archive.compact()
    engine.pin(moment)
    with pytest.raises(duckdb.IOException, match="BTC%2FUSD"):
        engine.fetch("FROM trades")


RELATIONS = [
    "trades",
    "coverage",
    "gaps",
    "instruments",
    "events",
    "ohlc",
    "ohlc_gaps",
    "ohlc_filled",
    "stored_ohlc()",
    "stored_events()",
    "stored_instruments()",
    "pair_trades('BTC/USD')",
    "pair_coverage('BTC/USD')",
    "candles('BTC/USD', '1m')",
    "candle_audit('BTC/USD', '1m')",
    "pair_holes('BTC/USD')",
    "missing_between('BTC/USD')",
    "time_bars('BTC/USD', '1 hour')",
    "tick_bars('BTC/USD', 5)",
    "volume_bars('BTC/USD', 5)",
    "dollar_bars('BTC/USD', 5)",
]


def test_a_pinned_relation_has_the_columns_and_types_of_the_plain_one(
    engine: Engine, archive: Written, ask: Ask
) -> None:
    archive.append(trades(1, 2))
    engine.pin(Snapshots(archive.data, live=True).take())
    for relation in RELATIONS:
        pinned = engine.fetch(f"DESCRIBE FROM {relation}").to_pydict()
        plain = list(zip(*ask(f"DESCRIBE FROM {relation}"), strict=True))
        assert [tuple(values) for values in pinned.values()] == plain, relation


def test_views_are_there_for_statements_that_name_list_compute_or_misspell_them(
    engine: Engine, archive: Written
) -> None:
    archive.append(trades(1, 3))
    engine.pin(Snapshots(archive.data, live=False).take())
    for text, there in (
        ('SELECT count(*) AS n FROM "TRADES"', {"trades"}),
        ("WITH x AS (FROM trades) SELECT count(*) AS n FROM x JOIN ohlc ON false", {"trades", "ohlc"}),
    ):
        engine.fetch(text)
        found = engine._connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        assert {name for (name,) in found} == there
    with pytest.raises(UsageError, match='Did you mean "gaps"'):
        engine.fetch("FROM gap")
    engine.fetch("FROM query_table('cover' || 'age')")


@pytest.mark.parametrize("unread", [True, False])
def test_coverage_is_the_same_whoever_reads_the_footers(engine: Engine, archive: Written, unread: bool) -> None:  # noqa: FBT001
    archive.append([*trades(1, 3), *trades(7, 9), *trades(1, 1, pair="ETH/USD")])
    archive.append(trades(4, 4))
    moments = Snapshots(archive.data, live=False)
    engine.pin(moments.listed() if unread else moments.take())
    found = engine.fetch("SELECT pair, first_id, last_id, rows FROM coverage ORDER BY pair, first_id").to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("BTC/USD", 1, 4, 4),
        ("BTC/USD", 7, 9, 3),
        ("ETH/USD", 1, 1, 1),
    ]
    (row,) = engine.fetch("SELECT first_id, last_id FROM pair_coverage('ETH/USD')").to_pylist()
    assert row == {"first_id": 1, "last_id": 1}


def test_a_spill_goes_neither_into_the_archive_nor_the_working_folder(engine: Engine, archive: Written) -> None:
    spill = Path(engine.fetch("SELECT current_setting('temp_directory') AS folder")["folder"][0].as_py())
    assert spill.parent == Path(tempfile.gettempdir())
    assert not spill.is_relative_to(archive.data)


def test_what_a_moment_shares_with_the_one_before_is_not_handed_over_again(engine: Engine, archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(1, 3, pair="ETH/USD")])
    archive.journalled(trades(4, 5))
    moments = Snapshots(archive.data, live=True)
    for _ in range(2):
        for pair, ids in (("BTC/USD", [1, 2, 3, 4, 5]), ("ETH/USD", [1, 2, 3])):
            engine.pin(moments.take(pair))
            assert engine.fetch("SELECT trade_id FROM trades ORDER BY 1")["trade_id"].to_pylist() == ids
            assert engine.fetch("SELECT pair FROM coverage")["pair"].to_pylist() == [pair]


def test_absent_ids_are_gathered_again_only_when_there_are_other_events(
    engine: Engine, archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, load = [], catalogue.text

    def counted(name: str) -> str:
        loaded.append(name)
        return load(name)

    def absent() -> list[dict[str, int]]:
        engine.pin(moments.take())
        found: list[dict[str, int]] = engine.fetch("SELECT first_id, last_id FROM absent_spans()").to_pylist()
        return found

    monkeypatch.setattr(catalogue, "text", counted)
    moments = Snapshots(archive.data, live=False)
    assert absent() == []
    loaded.clear()
    for number in range(1, 4):
        archive.append(trades(number, number))
        assert absent() == []
    assert loaded.count(catalogue.ABSENT) == 0
    archive.noted(Event(START_US, "void", "BTC/USD", '{"first_id": 4, "last_id": 5}'))
    assert absent() == [{"first_id": 4, "last_id": 5}]
    assert loaded.count(catalogue.ABSENT) == 1
    assert "views/certificates" not in loaded, "a view is created by the first statement that may use it"
