"""The SQL over the tables without ids, filled from the registry: it has its columns, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from recorder.archive.datasets import WITHOUT_IDS, Dataset
from recorder.query import catalogue
from recorder.query.connect import connect
from tests.archives import writing
from tests.example_dataset import register

AS_EVER = {
    "ohlc": (
        "pair, timeframe, time, open, high, low, close, vwap, volume, count, source, seen",
        "/ohlc/*/*/*.parquet",
        ", hive_partitioning = true, hive_types = {'timeframe': VARCHAR, 'year': BIGINT}, hive_types_autocast = false",
        "seen",
    ),
    "events": (
        "time, kind, pair, detail",
        "/events/*/*.parquet",
        ", hive_partitioning = true, hive_types = {'year': BIGINT}, hive_types_autocast = false",
        "time",
    ),
    "instruments": (
        (
            "pair, valid_from, key, altname, wsname, base, quote, pair_decimals, lot_decimals, cost_decimals, "
            "tick_size, ordermin, costmin, status"
        ),
        "/instruments/*.parquet",
        "",
        "valid_from",
    ),
    "toys": (
        "pair, date, time, seen, word",
        "/toys/*/*/*.parquet",
        ", hive_partitioning = true, hive_types = {'pair': VARCHAR, 'date': DATE}, hive_types_autocast = false",
        "seen",
    ),
}
"""Columns in their order, files, options and stamp of tables, as they were written by hand; and those of a toy."""


def macros(source: str) -> dict[str, str]:
    """Return the macros of a source by name, in one line each and without the spaces beside parentheses."""
    text = re.sub(r"--.*", "", catalogue.text(f"sources/{source}/stored"))
    created = r"CREATE OR REPLACE MACRO (?:stored|recorder_archived)_(\w+)\(\) AS TABLE (SELECT.*?);"
    found = re.findall(created, " ".join(text.split()))
    return {table: re.sub(r"(?<=\() | (?=\))", "", body) for table, body in found}


def named(columns: str) -> str:
    """Return a list of columns, each with the name of what it is of."""
    return re.sub(r"\w+", r"f.\g<0>", columns)


def test_the_stored_rows_are_those_that_they_were_when_each_table_was_written_by_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(monkeypatch)
    assert (
        macros("plain").items()
        >= {
            table: f"SELECT {named(columns)} FROM read_parquet(getvariable('recorder_data') || '{glob}'{hive}) AS f"
            for table, (columns, glob, hive, _) in AS_EVER.items()
        }.items()
    )
    assert (
        macros("snapshot").items()
        >= {
            table: f"SELECT {named(columns)} FROM (FROM read_parquet(getvariable('recorder_{table}_files'){hive}) "
            f"UNION ALL SELECT * EXCLUDE (filename) "
            f"FROM read_parquet(getvariable('recorder_{table}_cut_files'){hive}, filename = true) "
            f"WHERE recorder_at_moment(filename, {stamp})) AS f"
            for table, (columns, _, hive, stamp) in AS_EVER.items()
        }.items()
    )


@pytest.mark.parametrize("dataset", WITHOUT_IDS, ids=[dataset.name for dataset in WITHOUT_IDS])
def test_stored_rows_have_the_columns_of_their_table_over_folders_and_over_a_moment(
    tmp_path: Path, dataset: Dataset
) -> None:
    with writing(tmp_path / "data"):
        pass
    with duckdb.connect() as plain:
        plain.execute(catalogue.script(tmp_path / "data"))
        folders = plain.sql(f"FROM stored_{dataset.name}()").to_arrow_table().schema
    with connect(tmp_path / "data") as opened:
        moment = opened.sql(f"FROM stored_{dataset.name}()", to="arrow", decimals=True).schema
    expected = {column.name: column.type for column in dataset.columns}
    if dataset.period == "date":
        expected["date"] = pa.date32()
    for found in (folders, moment):
        types = {column.name: column.type for column in found if column.name != dataset.partition}
        assert types == expected
        assert (dataset.partition in found.names) == (dataset.partition is not None)
