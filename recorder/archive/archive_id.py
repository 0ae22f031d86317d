"""The id of an archive: a UUID in ``archive.json``, which the footer of every file with rows repeats.

Segments of its journals are named by it (:mod:`recorder.core.segment_names`), so it must never belong to two archives
that both record. ``archive.json`` therefore contains its own inode too: a copy has another one, and gets an id of its
own before anything is recorded there. What was named before keeps its name, since that stands in the first line of
each segment. So a new id is always safe, and one that is needlessly new costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from recorder.archive import locks
from recorder.archive.datasets import DATASETS
from recorder.archive.layout import Layout
from recorder.archive.readable_footers import readable_footers
from recorder.disk import Disk
from recorder.errors import DiskError

FILE: Final = "archive.json"


class _Stored(msgspec.Struct, frozen=True):
    """The content of the file: ``inode`` is that of the file itself, when it was written."""

    id: uuid.UUID
    inode: int


def read(data: Path) -> str:
    """Return the id of the archive at ``data``; an empty text if it has none, or a damaged one. Raises DiskError."""
    stored = _stored(data / FILE)
    return "" if stored is None else str(stored.id)


def ensure(layout: Layout, disk: Disk, staging: Path) -> None:
    """Give an archive without an id one, durably: the one that its footers name, or else a new one.

    If they name several, it cannot be known which is its own. ``staging`` is for the new file. Raises DiskError.
    """
    if _stored(layout.data / FILE) is None:
        with _alone(layout):
            if _stored(layout.data / FILE) is None:
                _write(_named_in_footers(layout) or uuid.uuid4(), layout, disk, staging)


def claim(layout: Layout, disk: Disk, staging: Path) -> None:
    """Give an archive that lies elsewhere than when it got its id a new one, durably.

    It was copied, restored from a back-up, or moved to another file system: the original may record on under the old
    id. For the process that journals, before it does; ``staging`` is for the new file. Raises DiskError.
    """
    path = layout.data / FILE
    with _alone(layout):
        stored = _stored(path)
        if stored is None or stored.inode != path.stat().st_ino:
            _write(uuid.uuid4(), layout, disk, staging)


def _named_in_footers(layout: Layout) -> uuid.UUID | None:
    with contextlib.suppress(ValueError):  # it is none, several, or no UUID
        (named,) = {footer.archive for footer in readable_footers(layout, DATASETS) if footer.archive}
        return uuid.UUID(named)
    return None


@contextlib.contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    with locks.hold(layout.locks / "archive.lock", wait=True):
        yield


def _stored(path: Path) -> _Stored | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Stored)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror}") from error


def _write(number: uuid.UUID, layout: Layout, disk: Disk, staging: Path) -> None:
    staged = staging / FILE
    with disk.create(staged) as file:
        disk.write(file, msgspec.json.encode(_Stored(number, os.fstat(file.fileno()).st_ino)) + b"\n")
        disk.sync(file)
    disk.rename(staged, layout.data / FILE)
    disk.sync_dir(layout.data)
