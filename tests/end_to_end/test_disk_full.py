"""A disk that is full, or fails: recording ends with exit code 4 and a sentence, and nothing recorded is lost."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from recorder import app
from recorder.clock import SystemClock
from recorder.core.disk_limits import disk_limits
from recorder.disk import Disk, room
from recorder.errors import DiskError
from recorder.journal import segment
from recorder.ops import archive_status
from recorder.runtime.stop import Stop
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import (
    Process,
    archived,
    caught_up,
    claimed_now,
    config_for,
    environ_for,
    held_on_disk,
    recording,
    until,
)

SIZE = 64 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    at = tmp_path / "disk"
    at.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(at)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("a small disk must be mounted for this test, which is not allowed here")
    yield at
    subprocess.run(["umount", "--lazy", str(at)], check=True)


def fill(disk: Path, *, leaving: int) -> Path:
    """Fill the disk but for so many bytes."""
    ballast = disk / "ballast"
    chunk = bytes(65_536)
    with ballast.open("wb", buffering=0) as file:
        try:
            while (left := room(disk).free - leaving) > 0:
                file.write(chunk[:left])
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 -- whoever writes beside us may be quicker
    return ballast


def archived_all(data: Path, sandbox: Sandbox) -> bool:
    """Tell whether all that was made is in the archive, and nothing waits in the journal."""
    return caught_up(data, sandbox.last_ids()) and not any(pair.journalled for pair in archive_status.read(data))


@pytest.mark.parametrize(
    ("share", "sentence"),
    [(0.0, "No space left on device|recording ends at"), (0.75, "recording ends at .*: make room and start again")],
    ids=["to the brim", "to the last mark"],
)
async def test_a_disk_that_fills_up_ends_the_run_and_the_next_one_has_it_all(
    small_disk: Path, tmp_path: Path, share: float, sentence: str
) -> None:
    clock = SystemClock()
    data = small_disk / "data"
    limits = disk_limits(SIZE)
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=2000), clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve():
        first = Process("run", "--data", str(data), cwd=tmp_path, **environ_for(sandbox))
        try:
            await until(lambda: (data / "trades").is_dir() and len(archive_status.read(data)) >= 5, what="it records")
            ballast = fill(small_disk, leaving=int(limits.stop * share))
            claims = claimed_now(data)
            assert await first.ended() == DiskError.exit_code, first.said
            last_line = first.said.splitlines()[-1]
            assert last_line.startswith("recorder: "), first.said
            assert re.search(sentence, last_line)
        finally:
            first.close()
        if share:
            (left,) = segment.segments(data / "journal")
            assert len(list(segment.entries(left))) == 1, "it ended well: all is drained"
        held = held_on_disk(data)
        assert all(held[pair].covers(span) for pair, spans in claims.items() for span in spans)
        ballast.unlink()
        again = Process("run", "--data", str(data), cwd=tmp_path, **environ_for(sandbox))
        try:
            await again.says("recording")
            sandbox.freeze()
            await until(lambda: archived_all(data, sandbox), what="every hole is closed")
            again.signal(signal.SIGTERM)
            assert await again.ended() == 0
        finally:
            again.close()
    verdict = compare(archived(data), read_truth(tmp_path / "truth"))
    assert verdict.perfect, str(verdict)


class Failing(Disk):
    """A disk that fails ``name``, from the ``nth`` call of it on, with this error number."""

    def __init__(self, name: str, nth: int, code: int) -> None:
        self.name, self.left, self.code = name, nth, code

    def _call(self, name: str) -> None:
        if name == self.name:
            self.left -= 1
            if self.left <= 0:
                raise DiskError(f"cannot {name}: {os.strerror(self.code)}")

    def write(self, file: BinaryIO, content: bytes | memoryview) -> None:
        try:
            self._call("write")
        except DiskError:
            super().write(file, memoryview(content).cast("B")[: len(content) // 2])
            raise
        super().write(file, content)

    def sync(self, file: BinaryIO) -> None:
        self._call("sync")
        super().sync(file)

    def sync_dir(self, path: Path) -> None:
        self._call("sync_dir")
        super().sync_dir(path)

    def create(self, path: Path) -> BinaryIO:
        self._call("create")
        file = super().create(path)
        if self.name == "close":
            close = file.close

            def failing() -> None:
                close()
                self._call("close")

            file.close = failing  # type: ignore[method-assign]
        return file

    def make_dir(self, path: Path) -> None:
        self._call("make_dir")
        super().make_dir(path)

    def rename(self, old: Path, new: Path) -> None:
        self._call("rename")
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        super().unlink(path)


FAILURES = [
    ("write", 12, errno.ENOSPC),
    ("write", 40, errno.EIO),
    ("sync", 15, errno.EIO),
    ("sync", 41, errno.EROFS),
    ("sync_dir", 40, errno.EIO),
    ("create", 25, errno.ENOSPC),
    ("rename", 20, errno.EROFS),
    ("unlink", 1, errno.EROFS),
    ("close", 12, errno.EROFS),
    ("close", 25, errno.EDQUOT),
    ("write", 25, errno.EDQUOT),
    ("create", 30, errno.EDQUOT),
    ("make_dir", 16, errno.ENOSPC),
]


@pytest.mark.parametrize(("name", "nth", "code"), FAILURES)
async def test_a_disk_that_fails_under_the_daemon_ends_it_and_the_next_run_has_it_all(
    tmp_path: Path, name: str, nth: int, code: int
) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=2000), clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve():
        config = config_for(sandbox, data, drain_every_s=0.2)
        # Where closing fails, closing the journal at the end does too.
        with pytest.raises((ExceptionGroup, DiskError)) as ended:
            await asyncio.wait_for(app.record(config, Stop(), disk=Failing(name, nth, code)), 60)
        if isinstance(ended.value, DiskError):  # where closing fails, closing the journal at the end does too
            assert os.strerror(code) in str(ended.value)
        else:
            assert ended.group_contains(DiskError, match=os.strerror(code), depth=1)
        async with recording(config):
            sandbox.freeze()
            await until(lambda: archived_all(data, sandbox), what="every hole is closed")
    verdict = compare(archived(data), read_truth(tmp_path / "truth"))
    assert verdict.perfect, str(verdict)
