from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from recorder.cli.query import query
from recorder.errors import NoSuchArchive, UsageError
from recorder.query import catalogue
from tests.archives import START, Written, trades, writing

app = typer.Typer()
app.command()(query)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Written]:
    with writing(tmp_path / "data") as written:
        yield written


def run(archive: Written, *options: str) -> Result:
    return CliRunner().invoke(app, [*options, "--data", str(archive.data)], catch_exceptions=False)


def rows(result: Result) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(result.stdout)
    return found


def test_without_a_name_it_lists_what_can_be_asked(archive: Written) -> None:
    said = run(archive).stdout
    for question in catalogue.questions():
        assert f"{question.name} " in said
    assert "What was the price of one pair on average" in said
    assert "--pair, [width=1 hour]" in said
    assert "--pair, size=…" in said
    listed = {one["name"]: one for one in rows(run(archive, "--json"))}
    assert listed["vwap"]["parameters"][1] == {  # type: ignore[index]
        "name": "width",
        "type": "INTERVAL",
        "default": "1 hour",
        "help": "the length of a bar, '7 minutes'",
    }


def test_a_question_is_asked_by_name_with_a_pair_a_range_and_parameters(archive: Written) -> None:
    archive.append(trades(1, 400))
    start, stop = ((START + timedelta(minutes=n)).isoformat() for n in (1, 3))
    options = ("--pair", "BTC/USD", "--from", start, "--to", stop, "--param", "width=1 minute", "--json")
    found = rows(run(archive, "time_bars", *options))
    assert [(row["first_id"], row["close"], row["complete"]) for row in found] == [
        (60, "100", True),
        (120, "100", True),
    ]
    assert len(rows(run(archive, "time_bars", "--pair", "BTC/USD", "--json", "--param", "width=1 minute"))) == 7


def test_what_is_given_is_bound_and_never_becomes_sql(archive: Written) -> None:
    archive.append(trades(1, 3))
    with pytest.raises(UsageError, match="no trades of"):
        run(archive, "vwap", "--pair", "BTC/USD'; DROP VIEW trades; --")
    with pytest.raises(UsageError, match="INTERVAL"):
        run(archive, "vwap", "--pair", "BTC/USD", "--param", "width=1 hour'; DROP VIEW trades; --")


def test_several_pairs_go_where_several_are_asked_for(archive: Written) -> None:
    archive.append([*trades(1, 300), *trades(1, 300, pair="ETH/USD"), *trades(1, 300, pair="XRP/USD")])
    two = ("--pair", "BTC/USD", "--pair", "ETH/USD")
    (row,) = rows(run(archive, "correlation", *two, "--param", "width=1 minute", "--json"))
    assert (row["pair_a"], row["pair_b"], row["bars"]) == ("BTC/USD", "ETH/USD", 4)
    with pytest.raises(UsageError, match="vwap takes one --pair, not 2"):
        run(archive, "vwap", *two)


def test_holes_are_told_on_standard_error(archive: Written) -> None:
    archive.append([*trades(1, 5), *trades(8, 9)])
    result = run(archive, "vwap", "--pair", "BTC/USD", "--json")
    assert rows(result)[0]["missing_trades"] == 2
    assert "trades may be missing in it" in result.stderr
    told = run(archive, "vwap", "--pair", "BTC/USD", "--from", "2025-11-09", "--json").stderr
    assert "begins at" not in told, "it is known from id 1 on"
    archive.append(trades(6, 7))
    archive.append(trades(7, 9, pair="ETH/USD"))
    told = run(archive, "vwap", "--pair", "ETH/USD", "--from", "2025-11-09", "--json").stderr
    assert told == "recorder: the range begins before what is archived: ETH/USD begins at 2025-11-10T12:00:07.000000Z\n"
    assert run(archive, "vwap", "--pair", "BTC/USD", "--json").stderr == ""
    told = run(archive, "correlation", "--from", "2025-11-09", "--param", "width=1 minute", "--json").stderr
    assert "ETH/USD begins at" in told, "without --pair it is of all pairs"
    assert run(archive, "vwap", "--pair", "xbt-usd", "--json").stderr == "recorder: xbt-usd is taken for BTC/USD\n"


def test_live_counts_in_the_journal(archive: Written) -> None:
    archive.journalled(trades(1, 3))
    (row,) = rows(run(archive, "time_bars", "--pair", "BTC/USD", "--live", "--json"))
    assert row["count"] == 3
    without = CliRunner().invoke(app, ["time_bars", "--pair", "BTC/USD", "--data", str(archive.data)])
    assert isinstance(without.exception, UsageError)
    assert "none of any pair" in str(without.exception)
    assert without.stderr == "recorder: nothing is archived yet; 3 trades in the journal: --live counts them in\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["vwpa"], "did you mean vwap"),
        (["vwap"], "vwap needs --pair: the v2 symbol"),
        (["tick_bars", "--pair", "BTC/USD", "--param", "size=many"], "size = 'many' is no BIGINT: how many trades"),
        (["volume_bars", "--pair", "BTC/USD"], "volume_bars needs --param size=…: how much of the base currency"),
        (["vwap", "--pair", "BTC/US"], "did you mean BTC/USD"),
        (["vwap", "--pair", "BTC/USD", "--from", "2025-11-11", "--to", "2025-11-10"], "reversed"),
        (["vwap", "--pair", "BTC/USD", "--param", "width"], "not of the form name=value, such as width=1 hour"),
        (["vwap", "--pair", "BTC/USD", "--param", "start=2025-11-10"], "give start with --from"),
        (["vwap", "--pair", "BTC/USD", "--param", "height=1"], "no parameter 'height'"),
        (["--pair", "BTC/USD"], "which question"),
        (["--format", "csv"], "a table, or JSON"),
    ],
)
def test_mistakes_are_sentences_with_exit_code_2(archive: Written, options: list[str], said: str) -> None:
    archive.append(trades(1, 3))
    with pytest.raises(UsageError, match=said) as caught:
        run(archive, *options)
    assert caught.value.exit_code == 2


def test_where_there_is_no_archive_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoSuchArchive, match="recorder run"):
        CliRunner().invoke(app, ["coverage_calendar", "--data", str(tmp_path)], catch_exceptions=False)
