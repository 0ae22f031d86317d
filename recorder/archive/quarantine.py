"""What could not be read where no journal is at hand: kept for good in ``data/quarantine/``, for people to look at."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

from recorder.archive.files import Layout
from recorder.disk import Disk

SUFFIX: Final = ".jsonl"


def keep(layout: Layout, disk: Disk, *lines: bytes) -> Path:
    """Write ``lines`` of a journal's form to a file of their own; durable when this returns. Raises DiskError."""
    disk.make_dir(layout.quarantine)
    path = layout.quarantine / f"{uuid.uuid4().hex}{SUFFIX}"
    with disk.create(path) as file:
        disk.write(file, b"".join(lines))
        disk.sync(file)
    disk.sync_dir(layout.quarantine)
    return path
