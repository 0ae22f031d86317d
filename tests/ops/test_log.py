from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from recorder.ops import log
from recorder.ops.log_dedup import LINES, WINDOW_S
from tests.clocks import ManualClock


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_machines_get_one_json_object_a_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    structlog.get_logger().info("hole closed", pair="BTC/USD", missing=3)
    said = capsys.readouterr()
    line = json.loads(said.err)
    assert said.out == ""
    assert (line["event"], line["pair"], line["missing"], line["level"]) == ("hole closed", "BTC/USD", 3, "info")
    assert line["timestamp"].endswith("Z")


def test_people_get_plain_lines_and_only_what_is_worth_knowing(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("console", level=logging.INFO)
    structlog.get_logger().debug("compacted")
    structlog.get_logger().warning("stream interrupted", reason="no frame for 8 s")
    said = capsys.readouterr().err
    assert "stream interrupted" in said
    assert "compacted" not in said


@pytest.mark.parametrize("style", ["console", "json"])
def test_repeats_are_counted_and_told_when_their_minute_is_over(
    style: Literal["console", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    clock = ManualClock()
    log.configure(style, clock=clock)
    for number in range(30):
        structlog.get_logger().info("recording", pair=f"P{number}/USD")
    log.report_suppressed()
    assert len(capsys.readouterr().err.splitlines()) == LINES
    clock.move(WINDOW_S)
    log.report_suppressed()
    (line,) = capsys.readouterr().err.splitlines()
    assert "recording" in line
    assert ("held_back=20" if style == "console" else '"held_back": 20') in line
    log.report_suppressed()
    assert capsys.readouterr().err == ""


def test_what_is_held_back_is_told_at_the_end() -> None:
    program = (
        "import structlog; from recorder.ops import log; log.configure('json');"
        "[structlog.get_logger().error('poll failed') for _ in range(9)]"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    assert [json.loads(line).get("repeated") for line in said.splitlines()] == [None, None, None, 6]


def test_a_line_for_people_begins_with_when_how_bad_what_and_which_pair(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("console")
    structlog.get_logger().warning("not fetched", reason="HTTP 502 from a proxy", pair="BTC/USD", retry_in_s=5)
    said = capsys.readouterr().err
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ warning not fetched BTC/USD reason="HTTP 502 from a proxy" retry_in_s=5\n',
        said,
    )


def test_a_terminal_is_given_times_without_dates(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log.configure("console")
    structlog.get_logger().error("poll failed", pair="BTC/USD")
    said = re.sub("\x1b\\[\\d+m", "", capsys.readouterr().err)
    assert re.fullmatch(r"\d\d:\d\d:\d\d error   poll failed BTC/USD\n", said)


def test_a_traceback_shows_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("console")
    token = "wonderful"
    try:
        len(token) / 0
    except ZeroDivisionError:
        structlog.get_logger().exception("unexpected")
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert token not in said


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_name_neither_steers_a_terminal_nor_forges_a_line(
    capsys: pytest.CaptureFixture[str], style: Literal["console", "json"]
) -> None:
    harm = "X\x1b]0;title\x07\nforged\u202e\x9b31m\u2028/USD"
    log.configure(style)
    structlog.get_logger().warning("not fetched", pair=harm, reason=f"EQuery: {harm}", **{"from": [harm]})
    structlog.get_logger().error("unexpected", pair=harm, exc_info=ValueError(harm))
    said = capsys.readouterr().err
    assert all(line.isprintable() for line in said.split("\n"))
    assert said.split("\n")[0].count("forged") == 3
    assert said.split("\n")[1].count("forged") >= 1
