from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest
import typer
from typer.testing import CliRunner

import recorder
from recorder.archive.datasets import WITHOUT_IDS
from recorder.cli.views import views
from recorder.core.model import Event
from recorder.errors import NoSuchArchive, UsageError
from tests.archives import START_US, trades, writing

app = typer.Typer()
app.command()(views)


def test_it_prints_a_script_that_works_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(tmp_path / "data") as archive:
        archive.append(trades(1, 3))
    monkeypatch.chdir(tmp_path)
    script = CliRunner().invoke(app, [], catch_exceptions=False).output
    monkeypatch.chdir("/")
    assert script.startswith("SET TimeZone='UTC';")
    with duckdb.connect() as client:
        client.execute(script)
        assert client.execute("SELECT rows FROM coverage").fetchall() == [(3,)]


def test_tables_that_an_earlier_release_left_no_folder_for_are_empty(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as archive:
        archive.append(trades(1, 3))
        archive.noted(Event(START_US, "connected", None, "{}"))
        columns = {}
        with recorder.connect(archive.data) as opened:
            for table in (one for one in WITHOUT_IDS if one.added_later):
                columns[table.name] = opened.sql(f"DESCRIBE FROM stored_{table.name}()", to="arrow").to_pylist()
                shutil.rmtree(archive.layout.folder(table))
    options = ["--data", str(tmp_path / "data")]
    made = tmp_path / "archive.duckdb"
    CliRunner().invoke(app, [*options, "--database", str(made)], catch_exceptions=False)
    with duckdb.connect() as script, duckdb.connect(str(made), read_only=True) as database:
        script.execute(CliRunner().invoke(app, options, catch_exceptions=False).output)
        for client in (script, database):
            for name, expected in columns.items():
                told = client.execute(f"DESCRIBE FROM stored_{name}()").fetchall()
                assert [row[:2] for row in told] == [(row["column_name"], row["column_type"]) for row in expected]
            assert client.execute("FROM spread_bars('BTC/USD', '1 minute')").fetchall() == []
            assert client.execute("SELECT kind FROM events").fetchall() == [("connected",)]
            assert client.execute("FROM unsound_files").fetchall() == []


def test_where_there_is_no_archive_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoSuchArchive, match="recorder run"):
        CliRunner().invoke(app, ["--data", str(tmp_path)], catch_exceptions=False)


def database(folder: Path) -> Path:
    """Write an archive and a database of views over it, and return the database."""
    with writing(folder / "data") as archive:
        archive.append(trades(1, 3))
    made = folder / "archive.duckdb"
    told = CliRunner().invoke(app, ["--data", str(folder / "data"), "--database", str(made)], catch_exceptions=False)
    assert told.output == f"{made}: the views over {folder / 'data'}\n"
    return made


def test_a_database_opens_again_and_attaches_and_sees_what_was_archived_since(tmp_path: Path) -> None:
    made = database(tmp_path)
    with duckdb.connect(str(made), read_only=True) as client:
        assert client.execute("SELECT count(*) FROM trades").fetchall() == [(3,)]
        assert client.execute("SELECT count FROM candles('BTC/USD', '1m')").fetchall() == [(3,)]
    with writing(tmp_path / "data") as archive:
        archive.append(trades(4, 5))
    with duckdb.connect() as client:
        client.execute(f"ATTACH '{made}' AS other (READ_ONLY)")
        assert client.execute("SELECT rows FROM other.coverage").fetchall() == [(5,)]
        client.execute("SET search_path = 'memory.main,other.main'")  # macros use others, and these must be found
        assert client.execute("SELECT count FROM candles('BTC/USD', '1m')").fetchall() == [(5,)]
        told = client.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'other'").fetchall()
        assert told == [({"storage_version": "v1.0.0+"},)]
    assert [path.name for path in tmp_path.iterdir() if path != tmp_path / "data"] == [made.name]


def test_a_database_is_replaced_by_its_like_and_nothing_else_is(tmp_path: Path) -> None:
    made = database(tmp_path)
    inode = made.stat().st_ino
    again = ["--data", str(tmp_path / "data"), "--database"]
    assert CliRunner().invoke(app, [*again, str(made)]).exit_code == 0
    assert made.stat().st_ino != inode
    added, other, text = made, tmp_path / "other.duckdb", tmp_path / "text.duckdb"
    for path in (added, other):
        with duckdb.connect(str(path)) as client:
            client.execute("CREATE VIEW mine AS SELECT 1 AS one")
    text.write_text("a text")
    for path, said in ((added, "your own, mine"), (other, "another database"), (text, "no database")):
        content = path.read_bytes()
        with pytest.raises(UsageError, match=said):
            CliRunner().invoke(app, [*again, str(path)], catch_exceptions=False)
        assert path.read_bytes() == content
    with pytest.raises(UsageError, match="there is no folder"):
        CliRunner().invoke(app, [*again, str(tmp_path / "nowhere" / "a.duckdb")], catch_exceptions=False)
