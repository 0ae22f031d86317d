"""docs/verify_alone.py by itself, the same by the recorder, and what both go by."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recorder.cli import app
from recorder.core.model import Event
from tests.archives import START_US, Written
from tests.end_to_end.harness import REPOSITORY

PROGRAM = REPOSITORY / "docs" / "verify_alone.py"


def alone(data: Path) -> subprocess.CompletedProcess[str]:
    """Run the program by itself, where nothing of ours can be imported."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", BARE, str(data)], check=False, capture_output=True, text=True, timeout=120
    )


BARE = f"""
import runpy, sys
sys.path += {[path for path in sys.path if path.endswith("site-packages")]!r}
sys.modules["recorder"] = None
runpy.run_path({str(PROGRAM)!r}, run_name="__main__")
"""


def printed(data: Path) -> list[dict[str, Any]]:
    """Return the certificates that the program prints, run in this process, which takes a quarter of the time."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(PROGRAM), str(data)])
        runpy.run_path(str(PROGRAM), run_name="__main__")
    found: list[dict[str, Any]] = json.loads(said.getvalue())["certificates"]
    return found


def by_recorder(data: Path) -> list[dict[str, Any]]:
    said = CliRunner().invoke(app, ["verify", "--data", str(data), "--json"])
    found: list[dict[str, Any]] = json.loads(said.stdout)["certificates"]
    return found


def told(kind: str, pair: str, **detail: int | bool | str) -> Event:
    return Event(START_US, kind, pair, json.dumps(detail))


def certify(archive: Written, pair: str, *, revision: int = 1) -> None:
    """Certify each day as it is now."""
    for one in by_recorder(archive.data):
        if one["pair"] == pair and one["rows"]:
            said = {key: one[key] for key in ("day", "rows", "first_id", "last_id", "sha256")}
            archive.noted(told("certified", pair, revision=revision, **said))
