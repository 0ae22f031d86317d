from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from recorder.cli.sql import sql
from recorder.errors import NoSuchArchive, UsageError
from tests.archives import Written, trade, trades, writing
from tests.builders import shop

app = typer.Typer()
app.command()(sql)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Written]:
    with writing(tmp_path / "data") as written:
        yield written


def run(archive: Written, text: str, *options: str) -> Result:
    return CliRunner().invoke(app, [text, "--data", str(archive.data), *options], catch_exceptions=False)


def test_json_is_one_array_of_objects_with_exact_texts(archive: Written) -> None:
    archive.append([trade(1, 1_762_795_433_971_744, "0.0000000001", "383320500.12345678"), trade(2, 0, "100", "10")])
    result = run(archive, "SELECT time, price, qty, side, received FROM trades ORDER BY trade_id", "--json")
    assert json.loads(result.output) == [
        {
            "time": "2025-11-10T17:23:53.971744Z",
            "price": "0.0000000001",
            "qty": "383320500.12345678",
            "side": "buy",
            "received": None,
        },
        {"time": "1970-01-01T00:00:00Z", "price": "100", "qty": "10", "side": "buy", "received": None},
    ]


def test_json_has_a_form_for_whatever_sql_returns(archive: Written) -> None:
    text = """SELECT sum(range) AS whole, 0.5::DOUBLE AS half, 'nan'::DOUBLE AS nan,
        [1.50] AS list, {'a': 2.25} AS struct, DATE '2025-11-10' AS day, TIMESTAMP '2025-11-10 12:00' AS local,
        TIME '12:00' AS time, 'ab'::BLOB AS bytes, true AS yes, INTERVAL 90 SECOND AS wait FROM range(10)"""
    (row,) = json.loads(run(archive, text, "--json").output)
    assert row.pop("wait")
    assert row == {
        "whole": 45,
        "half": 0.5,
        "nan": None,
        "list": ["1.5"],
        "struct": {"a": "2.25"},
        "day": "2025-11-10",
        "local": "2025-11-10T12:00:00",
        "time": "12:00:00",
        "bytes": "6162",
        "yes": True,
    }


def test_json_without_rows_is_an_empty_array(archive: Written) -> None:
    assert json.loads(run(archive, "FROM trades", "--json").output) == []


def test_without_json_it_is_a_table_that_nothing_folds(archive: Written) -> None:
    archive.append([trade(1, price="0.0000000001")])
    output = run(archive, "SELECT pair, price, misc, repeat('x', 300) AS long FROM trades").output
    assert "BTC/USD" in output
    assert "0.0000000001" in output
    assert "x" * 300 in output


def test_a_long_table_is_cut_and_says_so(archive: Written) -> None:
    output = run(archive, "SELECT 'row' || range AS name FROM range(1000)").output
    assert output.count("row") == 201  # and the last line
    assert "200 of 1000 rows; another --format, such as csv, has them all" in output


def test_live_counts_in_the_journal(archive: Written) -> None:
    archive.journalled(trades(1, 3))
    count = "SELECT count(*) AS n FROM trades"
    without = run(archive, count, "--json")
    assert json.loads(without.stdout) == [{"n": 0}]
    assert "nothing is archived yet; 3 trades in the journal: --live counts them in" in without.stderr
    live = run(archive, count, "--json", "--live")
    assert json.loads(live.stdout) == [{"n": 3}]
    assert live.stderr == ""
    archive.append(trades(1, 1))
    assert run(archive, count, "--json").stderr == ""


def test_mistakes_are_sentences_with_exit_code_2(archive: Written, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Parser Error") as caught:
        run(archive, "SELEC 1")
    assert caught.value.exit_code == 2
    with pytest.raises(NoSuchArchive, match="recorder run"):
        CliRunner().invoke(app, ["FROM trades", "--data", str(tmp_path)], catch_exceptions=False)


def test_text_that_looks_like_markup_is_printed_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with shop(tmp_path):
        pass
    sql("SELECT '[red]gone' AS x, '[/red]' AS \"[/y]\"", data=tmp_path, live=False, as_json=False)
    said = capsys.readouterr().out
    assert "[red]gone" in said
    assert "[/red]" in said
    assert "[/y]" in said


def test_a_value_that_python_cannot_name_is_one_sentence(tmp_path: Path) -> None:
    with shop(tmp_path):
        pass
    with pytest.raises(UsageError, match="cast its column to VARCHAR"):
        sql("SELECT DATE '20000-01-01' AS x", data=tmp_path, live=False, as_json=False)


def test_the_statement_can_come_from_a_file(archive: Written, tmp_path: Path) -> None:
    archive.append(trades(1, 3))
    script = tmp_path / "mine.sql"
    script.write_text("-- How many?\nSELECT count(*) AS n FROM trades")
    result = CliRunner().invoke(app, ["-f", str(script), "--data", str(archive.data), "--format", "ndjson"])
    assert result.output == '{"n": 3}\n'
    piped = CliRunner().invoke(app, ["-f", "-", "--data", str(archive.data), "--json"], input="SELECT 1 AS n")
    assert json.loads(piped.output) == [{"n": 1}]
    with pytest.raises(UsageError, match="there is no file"):
        CliRunner().invoke(app, ["-f", str(tmp_path / "none.sql"), "--data", str(archive.data)], catch_exceptions=False)
    for wrong in ([], ["SELECT 1", "-f", str(script)]):
        with pytest.raises(UsageError, match="give one SQL statement"):
            CliRunner().invoke(app, wrong, catch_exceptions=False)


def test_rows_go_to_a_file_in_the_format_of_its_name(archive: Written, tmp_path: Path) -> None:
    archive.append([trade(1, price="0.0000000001")])
    path = tmp_path / "x.csv"
    assert run(archive, "SELECT trade_id, price FROM trades", "-o", str(path)).output == ""
    assert path.read_text() == "trade_id,price\n1,0.0000000001\n"
    with pytest.raises(UsageError, match="not overwritten"):
        run(archive, "SELECT 1", "-o", str(path))


def test_threads_and_memory_are_options_and_what_writes_is_refused(archive: Written) -> None:
    setting = "SELECT current_setting('threads') AS threads, current_setting('memory_limit') AS memory"
    output = run(archive, setting, "--threads", "1", "--memory", "200MiB", "--json").output
    assert json.loads(output) == [{"threads": 1, "memory": "200.0 MiB"}]
    with pytest.raises(UsageError, match=r"SET is refused, .* --threads and --memory"):
        run(archive, "SET threads = 1")
