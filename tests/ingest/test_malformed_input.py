from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recorder.archive import quarantine
from recorder.archive.layout import Layout
from tests.ingest import malformed_input


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited and measured as Linux does")
def test_a_start_over_any_journal_succeeds_at_once_in_bounded_memory(tmp_path: Path) -> None:
    for name in ("empty", "hostile"):
        (tmp_path / name).mkdir()
    lines = malformed_input.written(tmp_path / "hostile")
    command = [sys.executable, "-m", "tests.ingest.malformed_input", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["address_space"] < malformed_input.MARGIN
    assert said["held"] >= 10 + 19_999, "all good rows are archived, whatever stands beside them"
    kept = list(quarantine.listed(Layout(tmp_path / "hostile")))
    assert lines > 3_000
    assert len(kept) > 1_000
    assert not list((tmp_path / "hostile/journal").glob("*1.jsonl"))
