from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from recorder.ops import log


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
