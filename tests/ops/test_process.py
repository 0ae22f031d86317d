from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_what_the_daemon_writes_is_its_user_s_alone(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
os.umask(0)
from recorder.ops import process
process.prepare()
from recorder.archive.files import Layout
from recorder.disk import Disk
Layout(Path({str(tmp_path / "data")!r})).create(Disk())
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    made = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert len(made) > 10
    assert {path: oct(path.stat().st_mode & 0o077) for path in made if path.stat().st_mode & 0o077} == {}
