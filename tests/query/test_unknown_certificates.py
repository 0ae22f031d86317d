"""Certificates rest on events: where one file of these cannot be read, every day is unknown, and the file is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recorder.archive import stored_evidence
from recorder.cli import app
from recorder.clock import SystemClock
from recorder.core.model import Event
from recorder.errors import StorageError, UnlistedFolder
from recorder.ops import certificates
from recorder.query import catalogue, plots
from recorder.query.connect import Archive, connect
from tests.archives import START_US, Written, candle, trades
from tests.end_to_end.harness import denied

ASKED: dict[str, Callable[[Archive], Any]] = {
    "frame": lambda opened: opened.certificates(to="arrow"),
    "hashed": lambda opened: opened.certificates(hashed=True, to="arrow"),
    "view": lambda opened: opened.sql("SELECT * EXCLUDE (sha256) FROM certificates", to="arrow"),
    "of one": lambda opened: opened.sql("FROM certificates WHERE pair = $pair", pair="BTC/USD", to="arrow"),
    "query": lambda opened: opened.sql(
        catalogue.question("certificates").text, pair="BTC/USD", start=None, stop=None, hashed=True, to="arrow"
    ),
}
OF_EVENTS = ("FROM gaps", "FROM events", "SELECT * FROM certificates JOIN events USING (pair)")
MODES: list[dict[str, bool]] = [{}, {"live": True}, {"frozen": True}, {"check": True}]


@pytest.fixture
def told(archive: Written) -> Path:
    """The file of events of an archive with two pairs."""
    archive.append([*trades(1, 3), *trades(1, 2, pair="ETH/USD")])
    archive.noted(Event(START_US, "connected", None, "{}"))
    return next(path for path in (archive.data / "events/year=2025").iterdir() if path.name != "schema.parquet")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)


HARMS: dict[str, tuple[Callable[[Path], object], Callable[[Path], Path]]] = {
    "": (truncated, lambda path: path),
    "live": (truncated, lambda path: path),
    "frozen": (Path.unlink, lambda path: path.parent),
    "check": (flipped, lambda path: path),
}
"""What is done to the file in each mode, and what the warning names."""


def is_unknown(found: Any, path: Path) -> None:
    assert found.num_rows > 0
    assert {*found["status"].to_pylist()} == {"unknown"}
    assert str(path) in json.loads(found.schema.metadata[b"recorder"])["unknown"]


@pytest.mark.parametrize("mode", MODES)
def test_certificates_are_unknown_in_every_form_and_the_file_is_named(
    archive: Written, told: Path, mode: dict[str, Any]
) -> None:
    harm, names = HARMS[next(iter(mode), "")]
    with connect(archive.data, **mode) as opened:
        known = opened.certificates()
        sound = told.read_bytes()
        harm(told)
        for ask in [ASKED["frame"], ASKED["of one"]] if mode else ASKED.values():
            with pytest.warns(UserWarning, match="certificates are unknown: .*events"):
                is_unknown(ask(opened), names(told))
        assert len(opened.trades("ETH/USD")) == 2
        for text in OF_EVENTS:
            with pytest.raises(StorageError, match="events"):
                opened.sql(text)
        told.write_bytes(sound)
        opened.refresh()
        assert opened.certificates().equals(known)


def test_beside_a_damaged_pair_they_are_an_error_that_names_its_file(archive: Written, told: Path) -> None:
    truncated(told)
    damaged = archive.files()[0]
    damaged.write_bytes(b"PAR1")
    with connect(archive.data) as opened:
        with pytest.raises(StorageError, match=damaged.name):
            ASKED["frame"](opened)
        with pytest.warns(UserWarning, match=told.name):
            is_unknown(opened.sql("FROM certificates WHERE pair = 'ETH/USD'", to="arrow"), told)


@pytest.mark.parametrize("frozen", [False, True])
def test_events_that_nobody_may_list_leave_the_rest_alone(archive: Written, told: Path, *, frozen: bool) -> None:
    candles = archive.data / "ohlc/timeframe=1m"
    archive.published([candle(0), candle(0, timeframe="1h")])
    with denied(told.parent), denied(candles), connect(archive.data, frozen=frozen) as opened:
        assert len(opened.trades("BTC/USD")) == 3
        with pytest.raises(UnlistedFolder, match=str(candles)):
            opened.ohlc("BTC/USD", "1m")
        with pytest.warns(UserWarning, match=str(told.parent)):
            is_unknown(ASKED["frame"](opened), told.parent)


def test_commands_say_so_on_standard_error_and_so_do_plots(archive: Written, told: Path) -> None:
    truncated(told)
    for words in (["query", "certificates"], ["sql", "SELECT pair, status FROM certificates"]):
        found = CliRunner().invoke(app, [*words, "--data", str(archive.data), "--format", "csv"])
        assert found.exit_code == 0, found.output
        assert str(told) in found.stderr
        assert {"unknown"} == {line.split(",")[-1 if "sql" in words else 2] for line in found.stdout.splitlines()[1:]}
    with connect(archive.data) as opened, pytest.warns(UserWarning, match=told.name):
        assert "unknown" in json.dumps(plots.coverage(opened).figure().to_dict())


def test_they_are_as_verify_has_them(archive: Written, told: Path) -> None:
    truncated(told)
    seen = stored_evidence.read(archive.layout)
    proven = certificates.certify(archive.layout, ["BTC/USD"], seen, now_us=SystemClock().wall_ns() // 1000)
    days = [(one.day, one.status, one.held.rows if one.held else 0) for found in proven for one in found.certificates]
    with connect(archive.data) as opened, pytest.warns(UserWarning, match=told.name):
        rows = ASKED["of one"](opened).to_pylist()
    assert sorted((row["day"], row["status"], row["rows"]) for row in rows) == days
