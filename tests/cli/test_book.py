from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from recorder.cli.book import book
from recorder.errors import UsageError
from tests.archives import small_book, writing

app = typer.Typer()
app.command()(book)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("book") / "data"
    with writing(folder) as archive:
        archive.booked(small_book())
    return folder


def run(data: Path, *options: str) -> str:
    arguments = ["BTC/USD", "--data", str(data), *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "80"}).output


def test_a_book_is_a_ladder_that_says_what_proves_it(data: Path) -> None:
    lines = [line.split() for line in run(data, "--at", "2025-11-10T12:00:01.5Z").splitlines() if line.strip()]
    assert lines[:5] == [
        ["BTC/USD", "at", "2025-11-10", "12:00:01.500000", "UTC"],
        ["state", "verified", "by", "checksums"],
        ["message", "1", "of", "the", "session", "of", "2025-11-10", "12:00:00.000000"],
        ["age", "0.500", "s:", "received", "at", "2025-11-10", "12:00:01.000000"],
        ["spread", "0.5", "(49.63", "bps)"],
    ]
    assert lines[7:] == [["2", "100.5", "101.0", "1"], ["1", "100.0", "102.0", "1"], ["1", "99.0"]]
    later = run(data, "--at", "2025-11-10T13:00:00Z", "--levels", "1")
    assert "state   as received\n" in later
    assert "age     3598.000 s" in later


def test_as_json_numbers_are_exact_texts(data: Path) -> None:
    found = json.loads(run(data, "--at", "2025-11-10T12:00:01Z", "--levels", "1", "--json"))
    assert (found["pair"], found["moment"], found["message"]) == ("BTC/USD", "2025-11-10T12:00:01.000000Z", 1)
    assert found["bids"] == [{"price": "100.5", "qty": "2", "verified": True}]
    assert found["asks"] == [{"price": "101", "qty": "1", "verified": True}]


def test_a_moment_or_a_clock_without_an_answer_is_an_error(data: Path) -> None:
    with pytest.raises(
        UsageError, match=r"nothing is known of the book of BTC/USD at 2025-11-01T00:00:00.*book_sessions"
    ):
        run(data, "--at", "2025-11-01T00:00:00Z")
    with pytest.raises(UsageError, match="there is no clock 'dice'"):
        run(data, "--by", "dice")
