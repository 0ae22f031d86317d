"""The SQL over the tables without ids has the columns that the registry has, and no others."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from recorder.archive.datasets import WITHOUT_IDS, Dataset
from recorder.query import catalogue
from recorder.query.connect import connect
from tests.archives import writing


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
    for found in (folders, moment):
        types = {column.name: column.type for column in found if column.name != dataset.partition}
        assert types == expected
        assert (dataset.partition in found.names) == (dataset.partition is not None)
