from __future__ import annotations

import importlib.resources
import re
from pathlib import Path

import duckdb
import pytest

from recorder.query import catalogue
from tests.query.writing import trades, writing

QUERIES = Path(__file__).parents[2] / "queries"
OURS = sorted(
    path.relative_to(QUERIES).with_suffix("").as_posix()
    for folder in ("macros", "views", "pinned")
    for path in (QUERIES / folder).glob("*.sql")
)


def test_every_view_and_macro_is_loaded_and_nothing_else() -> None:
    assert sorted({*catalogue.PLAIN, *catalogue.PINNED}) == OURS
    assert sorted(catalogue.PLAIN) == [name for name in OURS if not name.startswith("pinned/")]


@pytest.mark.parametrize("name", OURS)
def test_every_file_begins_with_its_question_and_its_parameters(name: str) -> None:
    first, *rest = catalogue.text(name).splitlines()
    assert first.startswith("-- ")
    assert "?" in first
    assert rest[0] == "--"
    assert rest[1].startswith("-- ")
    assert "(" in rest[1] or "recorder_" in rest[1]


@pytest.mark.parametrize("path", sorted((QUERIES / "analysis").glob("*.sql")), ids=lambda path: path.stem)
def test_every_analysis_begins_with_its_question_and_names_each_parameter_with_its_type(path: Path) -> None:
    first, blank, *rest = path.read_text().splitlines()
    assert first.startswith("-- ")
    assert first.endswith("?")
    assert blank == "--"
    header = [line for line in rest if line.startswith("-- $")]
    body = "\n".join(line for line in rest if not line.startswith("--"))
    assert {line.split()[1] for line in header} == set(re.findall(r"\$\w+", body))
    assert all(re.match(r"-- \$\w+ +[A-Z]+ +\w", line) for line in header)


def test_the_script_begins_in_utc_and_needs_nothing_but_itself(tmp_path: Path) -> None:
    # Everything in this name is special to a glob or to SQL.
    folder = tmp_path / "it's [a] *strange* {folder}?"
    with writing(folder) as archive:
        archive.append(trades(1, 3))
        script = catalogue.script(folder)
        assert script.startswith("SET TimeZone='UTC';")
        with duckdb.connect() as client:
            client.execute(script)
            assert client.execute("SELECT count(*), sum(count)::INT FROM candles('BTC/USD', '1h')").fetchall() == [
                (1, 3)
            ]
            assert client.execute("SELECT rows FROM coverage").fetchall() == [(3,)]
            assert client.execute("FROM gaps").fetchall() == []


def test_the_plain_sql_needs_no_option_that_came_with_duckdb_2() -> None:
    # `recorder views` is for any client; allow_empty is the newest option that would be of use here.
    assert not any("allow_empty" in catalogue.text(name) for name in catalogue.PLAIN)


def test_an_installed_wheel_brings_its_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = tmp_path / "recorder" / "_queries" / "views"
    packaged.mkdir(parents=True)
    (packaged / "trades.sql").write_text("-- from the wheel")
    monkeypatch.setattr(importlib.resources, "files", lambda _: tmp_path / "recorder")
    assert catalogue.text("views/trades") == "-- from the wheel"
