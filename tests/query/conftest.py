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
    """A plain DuckDB client over the archive, which runs what it needs of the script of `recorder views`, once."""
    connection = duckdb.connect()
    ran: set[str] = set()

    def answer(text: str, *params: object) -> list[tuple[object, ...]]:
        if not ran:
            connection.execute(catalogue.preamble(archive.data))
        for name in catalogue._files("plain", f"{text} trades"):
            if name not in ran:
                connection.execute(catalogue.text(name))
                ran.add(name)
        return connection.execute(text, params).fetchall()

    yield answer
    connection.close()
