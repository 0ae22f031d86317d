"""Where things lie: the folders of an archive, and the names in them.

Names say nothing that is trusted: coverage comes from footers. A name is never used twice.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from datetime import date
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from recorder.archive import datasets
from recorder.archive.datasets import MAIN_JOURNAL, NO_PARTITION, SCHEMA_FILE, TRADES, Branch, Dataset
from recorder.disk import check_link, folders_in, listing
from recorder.errors import NoSuchArchive, UnlistedFolder, UnsoundFile, UsageError

SUFFIX: Final = ".parquet"
DIGITS: Final = 16
"""Hexadecimal digits of a file's SHA-256 in its name: 64 bits, which no damage hits by chance."""
_NAME: Final = re.compile(rf"\d+-\d+-[0-9a-f]+-([0-9a-f]{{{DIGITS}}}){re.escape(SUFFIX)}")
_EPOCH: Final = date(1970, 1, 1)
"""The file that a table is born with lies where a row of this day would."""


class Layout:
    """The paths of the archive at ``data``. Raises UsageError for a place where readers would misread them."""

    def __init__(self, data: Path) -> None:
        keys = tuple(f"{dataset.partition}=" for dataset in datasets.DATASETS if dataset.partition)
        for part in data.absolute().parts:
            if part.startswith(keys) or "\\" in part:
                raise UsageError(
                    f"{data} lies in a folder named {part!r}, which readers of Parquet would take for a partition or "
                    "a pattern: put the archive elsewhere"
                )
        self.data = data
        self.journal = data / MAIN_JOURNAL
        self.raw = data / "raw"
        self.quarantine = data / "quarantine"
        self.trades = self.folder(TRADES)
        self.staging = data / ".staging"
        self.exchange = data / ".staging" / "exchange"
        self.locks = data / ".locks"
        self.lock = data / ".lock"
        self.turns = data / ".locks" / "requests.turns"
        self.attempts = data / ".locks" / "connections.turns"

    @property
    def exists(self) -> bool:
        """Whether there is an archive here."""
        return self.trades.is_dir()

    def pair_dir(self, pair: str) -> Path:
        """Return the partition of ``pair``. The name is percent-encoded, so no pair can leave the archive."""
        return self.home(Branch(TRADES, pair))

    def year_dir(self, pair: str, year: int) -> Path:
        """Return the partition of one UTC year of ``pair``."""
        return self.leaf(Branch(TRADES, pair), str(year))

    def pairs(self) -> list[str]:
        """Return the pairs that have a partition, sorted."""
        return [str(branch.value) for branch in self.branches(TRADES)]

    def years(self, pair: str) -> list[Path]:
        """Return the year partitions of ``pair``, oldest first."""
        return self.leaves(Branch(TRADES, pair))

    def trade_files(self, pair: str) -> list[Path]:
        """Return the files of ``pair``, sorted by path. Raises FileNotFoundError where a compaction came between."""
        return self.files(Branch(TRADES, pair))

    def folder(self, dataset: Dataset) -> Path:
        """Return the folder of a table."""
        return self.data / dataset.name

    def branches(self, dataset: Dataset) -> list[Branch]:
        """Return the branches that a table has, sorted."""
        if dataset.partition is None:
            return [Branch(dataset)]
        prefix = f"{dataset.partition}="
        names = folders_in(self.folder(dataset))
        values = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
        return [Branch(dataset, value) for value in sorted(unquote(value) for value in values if value != NO_PARTITION)]

    def home(self, branch: Branch) -> Path:
        """Return the folder in which the leaves of a branch lie: the folders that hold its files."""
        return self._top(branch) if branch.dataset.period else self._top(branch).parent

    def leaf(self, branch: Branch, period: str | None) -> Path:
        """Return the leaf of one period (``2025``); without one that of a branch which is not parted by time."""
        return self._top(branch) if period is None else self._top(branch) / f"{branch.dataset.period}={period}"

    def _top(self, branch: Branch) -> Path:
        folder = self.folder(branch.dataset)
        return folder if branch.value is None else folder / branch.folder

    def leaves(self, branch: Branch) -> list[Path]:
        """Return the leaves that a branch has, oldest first."""
        if branch.dataset.period is None:
            return [self.leaf(branch, None)]
        home, prefix = self.home(branch), f"{branch.dataset.period}="
        found = (home / name for name in folders_in(home) if name.startswith(prefix))
        # What people put beside a partition, like year=2025.tar, is none.
        return [leaf for leaf in found if period_of(leaf) is not None]

    def files(self, branch: Branch) -> list[Path]:
        """Return the files of a branch, sorted by path. Raises FileNotFoundError where a compaction came between."""
        return [leaf / name for leaf in self.leaves(branch) for name in listed(leaf)]

    def built(self, branch: Branch) -> Path:
        """Return where a compaction builds leaves of ``branch`` anew, under its lock."""
        return self.exchange / branch.name

    def schema_file(self, dataset: Dataset) -> Path:
        """Return the file without rows that a table is born with."""
        branch = Branch(dataset, None if dataset.partition is None else NO_PARTITION)
        return self.leaf(branch, dataset.period_of(_EPOCH)) / SCHEMA_FILE


def existing(data: Path) -> Layout:
    """Return the layout of the archive at ``data``. Raises NoSuchArchive; UnlistedFolder, UnsoundFile as listed()."""
    layout = Layout(data)
    for folder in (layout.data, layout.trades):
        check_link(folder)
    with listing(layout.trades):
        there = layout.exists
    if not there:
        raise NoSuchArchive(
            f"there is no archive at {data}: name its folder, or begin one there with `recorder run --data {data}`"
        )
    return layout


def period_of(leaf: Path) -> str | None:
    """Return the period of a leaf (``2025``); None where it is not parted by time.

    >>> period_of(Path("events/year=2025")), period_of(Path("events/year=2025.tar")), period_of(Path("instruments"))
    ('2025', None, None)
    """
    key, _, value = leaf.name.partition("=")
    if key == "year":
        return value if value.isdecimal() else None
    if key == "date":
        with contextlib.suppress(ValueError):
            return value if date.fromisoformat(value).isoformat() == value else None
    return None


def new_name(first: int, last: int, sha256: str) -> str:
    """Return the name of a file with this SHA-256 (hexadecimal), and with these as its lowest and highest id.

    The ids, or the segments, are for people. Something that never comes again follows, and the first digits of the
    digest, which :func:`digest_in` finds again.
    """
    return f"{first:012d}-{last:012d}-{uuid.uuid4().hex[:16]}-{sha256[:DIGITS]}{SUFFIX}"


def digest_in(name: str) -> str | None:
    """Return the first digits of the SHA-256 that a file has by its name; None where the name tells none.

    >>> digest_in("000000000001-000000000002-5f0c6d2a9b1e4c7d-9f86d081884c7d65.parquet")
    '9f86d081884c7d65'
    >>> digest_in("000000000001-000000000002-5f0c6d2a9b1e4c7d.parquet"), digest_in("schema.parquet")
    (None, None)
    """
    found = _NAME.fullmatch(name)
    return None if found is None else found[1]


def listed(directory: str | Path) -> list[str]:
    """Return the names of the Parquet files in one directory, wholly or not at all.

    A compaction exchanges the directory for another and then empties it. Who is still reading it then sees fewer
    files than there ever were; so it must still bear its name after it was read. (Globs do not ask: DuckDB's passes
    over a name that is gone when it looks again, and misses rows without a word.)
    Raises FileNotFoundError where a compaction came between; UnlistedFolder; UnsoundFile for a link that leads nowhere.
    """
    try:
        with listing(directory):
            return _listed(directory)
    except FileNotFoundError:
        check_link(directory)
        raise


def _listed(directory: str | Path) -> list[str]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = sorted(name for name in os.listdir(handle) if name.endswith(SUFFIX))  # noqa: PTH208 -- a handle
        if not os.path.samestat(os.stat(directory), os.fstat(handle)):  # noqa: PTH116 -- thousands of times
            raise FileNotFoundError(f"{directory} was exchanged while it was listed")
    finally:
        os.close(handle)
    return names


def size_of(leaf: Path) -> int:
    """Return the bytes of the Parquet files in one directory, about: 0 where a compaction comes between."""
    with contextlib.suppress(FileNotFoundError, UnlistedFolder, UnsoundFile):
        return sum((leaf / name).stat().st_size for name in listed(leaf))
    return 0
