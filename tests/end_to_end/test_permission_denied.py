"""What cannot be listed is not empty: every way to ask names the folder, and calls a link that leads nowhere that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recorder.archive.layout import Layout
from recorder.cli import app
from recorder.core.model import Event
from recorder.disk import Disk, folders_in, names_in
from recorder.errors import DiskError, RecorderError, UnlistedFolder, UnsoundFile
from recorder.journal.journal import Journal
from recorder.ops import archive_status, missing_ids
from recorder.query.connect import connect
from tests.archives import START_US, candle, trades, writing
from tests.end_to_end.harness import denied


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give an archive of two pairs."""
    with writing(tmp_path / "data") as archive:
        archive.append([*trades(1, 5), *trades(1, 3, pair="ETH/USD")])
        archive.published([candle(0)])
        archive.noted(Event(START_US, "connected", None, "{}"))
    return tmp_path / "data"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    said = result.output
    if isinstance(result.exception, RecorderError):
        return result.exception.exit_code, f"{said}{result.exception}"
    return result.exit_code, f"{said}{result.exception!r}"


def year(layout: Layout) -> Path:
    return layout.year_dir("BTC/USD", 2025)


@pytest.mark.parametrize("place", [year, lambda layout: layout.pair_dir("BTC/USD")])
def test_a_pair_that_cannot_be_listed_is_named_and_the_others_are_read(
    data: Path, place: Callable[[Layout], Path]
) -> None:
    folder = place(Layout(data))
    with denied(folder):
        damaged: dict[str, str] = {}
        assert list(missing_ids.read(data, damaged)) == ["ETH/USD"]
        assert str(folder) in damaged["BTC/USD"]
        assert "cannot be listed: Permission denied" in damaged["BTC/USD"]
        with pytest.raises(UnlistedFolder, match="cannot be listed"):
            missing_ids.read(data)
        found = archive_status.everything(data)
        assert [pair.pair for pair in found.pairs] == ["ETH/USD"]
        assert [str(folder) in said for said in found.damaged] == [True]
        code, said = run("verify", "--data", str(data))
        assert code == 1
        assert f"{folder}" in said.replace("\n", "")
        for live in (False, True):
            with connect(data, live=live) as opened:
                for question in ("FROM trades", "FROM coverage", "FROM pair_trades('BTC/USD')"):
                    with pytest.raises(UnlistedFolder, match=str(folder)):
                        opened.sql(question)
                with pytest.raises(UnlistedFolder, match=str(folder)):
                    opened.trades("BTC/USD")
                assert len(opened.trades("ETH/USD")) == 3


UNREAD = {"gaps": ("ohlc", "instruments", "quarantine"), "verify": ("quarantine", "journal")}
"""The tables that a verb has nothing to ask of."""


@pytest.mark.parametrize("name", ["trades", "events", "ohlc", "instruments", "journal", "quarantine", ""])
def test_every_way_to_ask_names_the_folder_that_cannot_be_listed(data: Path, name: str) -> None:
    folder = data / name
    with denied(folder):
        for verb in ("status", "gaps", "verify"):
            code, said = run(verb, "--data", str(data))
            if name not in UNREAD.get(verb, ()):
                assert code in {1, 4}, (verb, said)
                assert str(folder) in said.replace("\n", ""), (verb, said)
        if name in {"trades", "events", "ohlc", ""}:
            with pytest.raises((DiskError, UnsoundFile), match=str(folder)):
                connect(data).sql("FROM trades")


def test_a_number_of_a_segment_is_not_given_again_where_those_used_cannot_be_seen(data: Path) -> None:
    layout = Layout(data)
    with denied(layout.raw), pytest.raises(UnlistedFolder, match=str(layout.raw)):
        Journal(layout.data, Disk(), staging=layout.staging, now_ns=0)


@pytest.mark.parametrize("place", ["pair", "year", "file"])
def test_a_link_that_leads_nowhere_is_called_that(data: Path, place: str) -> None:
    layout = Layout(data)
    path = {"pair": layout.pair_dir("BTC/USD"), "year": year(layout), "file": layout.trade_files("BTC/USD")[0]}[place]
    path.rename(data.parent / "elsewhere")
    path.symlink_to(data.parent / "nowhere")
    told = f"{path} is a link to {data.parent / 'nowhere'}, which is not there: bring back what it leads to"
    damaged: dict[str, str] = {}
    assert list(missing_ids.read(data, damaged)) == ["ETH/USD"]
    assert damaged["BTC/USD"].startswith(told)
    assert [said.startswith(told) for said in archive_status.everything(data).damaged] == [True]
    code, said = run("verify", "--data", str(data))
    assert code == 1
    assert "is a link to" in said
    for live in (False, True):
        with connect(data, live=live) as opened:
            for question in ("FROM trades", "FROM pair_trades('BTC/USD')"):
                with pytest.raises(UnsoundFile, match="is a link to"):
                    opened.sql(question)
            with pytest.raises(UnsoundFile, match="is a link to"):
                opened.trades("BTC/USD")
            assert len(opened.trades("ETH/USD")) == 3
    path.unlink()
    path.symlink_to(data.parent / "elsewhere")
    assert list(missing_ids.read(data)) == ["BTC/USD", "ETH/USD"]


def test_an_archive_behind_a_link_that_leads_nowhere_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(tmp_path / "unmounted")
    for verb in ("status", "gaps", "verify"):
        code, said = run(verb, "--data", str(tmp_path / "data"))
        assert (code, "is a link to" in said.replace("\n", " ")) == (1, True)


def test_names_are_listed_or_it_is_said_why_not(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").touch()
    (tmp_path / "c").symlink_to("nowhere")
    (tmp_path / "d").symlink_to("d")
    assert names_in(tmp_path) == ["a", "b", "c", "d"]
    assert folders_in(tmp_path) == ["b", "c", "d"]
    assert names_in(tmp_path / "missing") == folders_in(tmp_path / "a") == []
    with pytest.raises(UnsoundFile, match="is a link to nowhere, which is not there"):
        names_in(tmp_path / "c")
    with pytest.raises(UnlistedFolder, match="Too many levels of symbolic links"):
        folders_in(tmp_path / "d")
