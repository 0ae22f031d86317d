from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
import typer
from typer.testing import CliRunner

from recorder.cli.views import views
from recorder.errors import NoSuchArchive
from tests.archives import trades, writing

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


def test_where_there_is_no_archive_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoSuchArchive, match="recorder run"):
        CliRunner().invoke(app, ["--data", str(tmp_path)], catch_exceptions=False)
