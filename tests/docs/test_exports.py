"""docs/exports.md, run: each of its commands, on the archive that the tests of exports share."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recorder.cli import app
from recorder.exports.export import SIDECAR
from tests.end_to_end.harness import REPOSITORY
from tests.exports.sample import build

DOCUMENT = (REPOSITORY / "docs" / "exports.md").read_text()
NAMES = re.compile(r"`((?:BTC_?USD|kraken_)[^`]+\.(?:feather|npz|csv\.gz))`")


def test_each_command_writes_files_of_the_names_that_the_document_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build(tmp_path / "data")
    block = re.search(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block is not None
    files: set[str] = set()
    for line in block[1].splitlines():
        given = [*shlex.split(line)[1:], "--on-gap", "ignore"]
        if "nautilus" in given:
            result = CliRunner().invoke(app, given)
            assert "cannot be run" in str(result.exception), "its package is not here"
            continue
        result = CliRunner().invoke(app, given, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        told = json.loads((tmp_path / given[given.index("-o") + 1] / SIDECAR).read_text())
        files |= {file["name"] for file in told["files"]}
    named = set(NAMES.findall(DOCUMENT))
    assert len(named) == 4
    assert named <= files
