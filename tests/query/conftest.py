from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from recorder.query import catalogue
from tests.archives import Ask, Written, writing


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Written]:
    with writing(tmp_path / "data") as written:
        yield written


@pytest.fixture
def ask(archive: Written) -> Iterator[Ask]:
    """A plain DuckDB client over the archive, which ran the script of `recorder views` at its first question."""
    connection = duckdb.connect()

    def answer(text: str, *params: object) -> list[tuple[object, ...]]:
        if not connection.sql("FROM duckdb_views() WHERE view_name = 'trades'").fetchall():
            connection.execute(catalogue.script(archive.data))
        return connection.execute(text, params).fetchall()

    yield answer
    connection.close()
