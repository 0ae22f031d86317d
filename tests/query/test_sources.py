"""The SQL that names files, against the registry of tables: no column, type or version is another there."""

from __future__ import annotations

import duckdb
import pytest

from recorder.archive import schema_versions
from recorder.archive.datasets import DATASETS, TRADES, Dataset
from recorder.query.connect import connect
from tests.archives import Ask, Written, trades

PER_TABLE = pytest.mark.parametrize("table", DATASETS, ids=lambda table: table.name)


def registered(table: Dataset) -> dict[str, str]:
    """Return the columns of a table, and what parts it into folders, with DuckDB's names for their types."""
    rows = table.columns.empty_table()
    with duckdb.connect() as client:
        found = {name: str(kind) for name, kind, *_ in client.sql("DESCRIBE FROM rows").fetchall()}
    assert list(found) == rows.column_names
    days = {"date": "DATE"} if table.period == "date" else {}
    return found | days | ({} if table.partition is None else {table.partition: "VARCHAR"})


def relations(table: Dataset) -> list[str]:
    return ["trades", "pair_trades('BTC/USD')"] if table is TRADES else [f"stored_{table.name}()"]


@PER_TABLE
def test_a_plain_source_has_the_columns_of_its_table(ask: Ask, table: Dataset) -> None:
    for relation in relations(table):
        assert {name: kind for name, kind, *_ in ask(f"DESCRIBE FROM {relation}")} == registered(table)


@PER_TABLE
def test_a_source_of_one_moment_has_the_columns_of_its_table(archive: Written, table: Dataset) -> None:
    archive.append(trades(1, 1))
    with connect(archive.data) as opened:
        for relation in relations(table):
            told = opened.sql(f"DESCRIBE FROM {relation}", to="arrow").to_pydict()
            assert dict(zip(told["column_name"], told["column_type"], strict=True)) == registered(table)


def test_the_views_of_what_was_noted_show_every_column_of_their_tables(ask: Ask) -> None:
    columns = {table.name: registered(table) for table in DATASETS}
    expected = {
        "ohlc": columns["ohlc"],
        "events": columns["events"] | {"detail": "JSON"},
        "instruments": columns["instruments"] | {"valid_to": "TIMESTAMP WITH TIME ZONE"},
    }
    for view, shown in expected.items():
        assert {name: kind for name, kind, *_ in ask(f"DESCRIBE {view}")} == shown


def test_the_script_reads_the_schema_version_that_is_written(ask: Ask) -> None:
    assert ask("SELECT getvariable('recorder_schema')") == [(schema_versions.current("trades"),)]
