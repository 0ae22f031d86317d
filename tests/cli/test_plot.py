from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from recorder.cli.plot import plot
from recorder.errors import UsageError
from tests.archives import START_US, quote, small_book, trades, writing

app = typer.Typer()
app.command()(plot)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with writing(tmp_path / "data") as archive:
        archive.append([*trades(1, 200), *trades(1, 3, pair="ETH/USD")])
        archive.journalled(trades(201, 400))
        archive.booked(small_book())
        archive.quoted([quote(1, number, START_US + number * 1_000_000) for number in range(90)])
    return tmp_path / "data"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("candles", "BTC/USD"), "candles-BTC-USD.html"),
        (("coverage",), "coverage.html"),
        (("volume", "ETH/USD", "BTC/USD"), "volume-ETH-USD-BTC-USD.html"),
        (("spread", "BTC/USD"), "spread-BTC-USD.html"),
        (("depth", "BTC/USD", "--at", "2025-11-10T12:00:01Z"), "depth-BTC-USD.html"),
    ],
)
def test_the_path_of_the_page_is_printed(arguments: tuple[str, ...], name: str, data: Path) -> None:
    assert run(*arguments).output == f"{name}\n"
    assert (data.parent / name).read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_each_file_asked_for_is_written_in_its_own_format(data: Path) -> None:
    printed = run("candles", "ethusd", "-o", "a.png", "--out", "b.svg")
    assert (printed.stdout, printed.stderr) == ("a.png\nb.svg\n", "recorder: ethusd is taken for ETH/USD\n")
    assert (data.parent / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "ETH/USD in 1m candles" in (data.parent / "b.svg").read_text(encoding="utf-8")


def test_range_timeframe_and_the_tail_are_passed_on(data: Path) -> None:
    def drawn(*options: str) -> str:
        run("candles", "BTC/USD", "-o", "x.svg", "--width", "500", *options)
        return (data.parent / "x.svg").read_text(encoding="utf-8")

    assert "199 trades" not in drawn()
    assert "200 trades in 4 bars" in drawn()
    assert "400 trades in 7 bars" in drawn("--live")
    ranged = drawn("--live", "--timeframe", "5m", "--from", "2025-11-10T12:05:00Z", "--to", "2025-11-10T12:30:00Z")
    assert "2025-11-10 12:05 to 2025-11-10 12:30 UTC" in ranged
    assert "BTC/USD in 5m candles" in ranged


def test_a_range_that_begins_before_the_trades_is_said(data: Path) -> None:
    with writing(data) as archive:
        archive.append(trades(7, 9, pair="SOL/USD"))
    early = ("--from", "2025-11-09", "-o")
    begins = "recorder: the range begins before what is archived: SOL/USD begins at 2025-11-10T12:00:07.000000Z\n"
    assert run("candles", "SOL/USD", *early, "a.svg").stderr == begins
    assert run("volume", *early, "b.svg").stderr == begins
    assert run("volume", "BTC/USD", *early, "c.svg").stderr == ""
    assert run("coverage", *early, "d.svg").stderr == "", "the calendar shows it"


def test_a_young_archive_is_drawn_from_its_journal(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as archive:
        archive.journalled(trades(1, 3))
    young = ("--data", str(tmp_path / "data"), "-o", str(tmp_path / "x.svg"))
    with pytest.raises(UsageError, match="no trade is archived yet; --live counts"):
        run("candles", "BTC/USD", *young)
    run("candles", "BTC/USD", "--live", *young)
    assert "3 trades in 1 bar" in (tmp_path / "x.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("candles",), "candles takes one pair: recorder plot candles BTC/USD"),
        (("depth", "BTC/USD"), "depth is of one moment: recorder plot depth BTC/USD --at"),
        (("depth", "BTC/USD", "--at", "2025-11-10", "--from", "2025-11-10"), "give --at, not --from and --to"),
        (("spread", "BTC/USD", "--at", "2025-11-10"), "--at is for depth; spread has --from and --to"),
        (("candles", "BTC/USD", "ETH/USD"), "candles takes one pair"),
        (("coverage", "--timeframe", "1m"), "--timeframe is for candles and spreads; coverage goes by days"),
        (("volume", "-o", "x.jpg"), "one of .html, .png, .svg, and 'x.jpg' does not"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    arguments: tuple[str, ...], sentence: str, data: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        run(*arguments)
    assert [path.name for path in data.parent.iterdir()] == ["data"]
