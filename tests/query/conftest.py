from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from recorder.query import catalogue
from tests.archives import Ask, Written, writing


class Client:
    """A plain DuckDB client, which runs each part of the script of `recorder views` when it is needed first.

    The script finds the archive by a variable, so one client serves many archives, one after the other.
    """

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self._ran: set[str] = set()

    def over(self, data: Path) -> None:
        """Turn to the archive at ``data``, with all settings as at the beginning."""
        self.connection.execute(f"RESET threads; {catalogue.preamble(data)}")

    def answer(self, text: str, *params: object, **named: object) -> list[tuple[object, ...]]:
        for name in catalogue._files("plain", f"{text} trades"):
            if name not in self._ran:
                self.connection.execute(catalogue.text(name))
                self._ran.add(name)
        return self.connection.execute(text, named or params).fetchall()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Written]:
    with writing(tmp_path / "data") as written:
        yield written


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """The client of all tests: it takes longer to start, and to make views and macros, than a test to ask."""
    made = Client()
    yield made
    made.connection.close()


@pytest.fixture
def ask(archive: Written, client: Client) -> Ask:
    """A plain DuckDB client over the archive."""
    client.over(archive.data)
    return client.answer
