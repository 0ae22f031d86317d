from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.disk import Disk
from recorder.errors import UsageError
from recorder.ops import process_setup


def test_what_the_daemon_writes_is_its_user_s_alone(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
os.umask(0)
from recorder.ops import process_setup
process_setup.prepare()
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.disk import Disk
create(Layout(Path({str(tmp_path / "data")!r})), Disk())
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    made = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert len(made) > 10
    assert {path: oct(path.stat().st_mode & 0o077) for path in made if path.stat().st_mode & 0o077} == {}


@pytest.mark.skipif(process_setup._malloc_trim is None, reason="a C library that gives memory back by itself")
def test_memory_that_is_free_is_given_back_although_some_around_it_is_not() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    blocks = [bytes(10_000) for _ in range(5_000)]
    kept = blocks[::500]
    full = resident()
    del blocks
    process_setup.release_memory()
    assert len(kept) == 10
    assert full - resident() > 30_000_000


def test_nobody_writes_into_the_archive_of_another_user_who_could_not_read_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    process_setup.as_owner(layout.data)
    assert not layout.data.exists()
    create(layout, Disk())
    process_setup.as_owner(layout.data)
    if os.geteuid() == 0:
        os.chown(layout.trades, 65534, -1)
    else:
        shutil.rmtree(layout.trades)
        layout.trades.symlink_to("/")  # which is root's
    with pytest.raises(UsageError, match=rf"the archive {layout.data} belongs to \w+, who could not read what .* call"):
        process_setup.as_owner(layout.data)
    assert list(layout.staging.iterdir()) == [layout.exchange]
