"""Paths of an archive: its folders and file names.

No name is trusted: coverage is computed from footers. A file name is never reused.
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

from recorder import object_store
from recorder.archive import datasets
from recorder.archive.datasets import NO_PARTITION, SCHEMA_FILE, TRADES, Branch, Dataset
from recorder.core.segment_names import MAIN_JOURNAL, raw_folder
from recorder.disk import check_link, folders_in, listing, names_in, undisturbed
from recorder.errors import NoSuchArchive, UnlistedFolder, UnsoundFile, UsageError
from recorder.object_store import ObjectPath, is_address

SUFFIX: Final = ".parquet"
DIGITS: Final = 16
"""Hexadecimal digits of a file's SHA-256 in its name: 64 bits, which damage does not match by chance."""
_NAME: Final = re.compile(rf"\d+-\d+-[0-9a-f]+-([0-9a-f]{{{DIGITS}}}){re.escape(SUFFIX)}")
_NUMBERS: Final = re.compile(r"\d{1,19}-(\d{1,19})-", re.ASCII)
_EPOCH: Final = date(1970, 1, 1)
"""A table's schema file is in the folder that a row of this day would be in."""


class Layout:
    """The paths of the archive at ``data``. Raises UsageError for a location that readers would misinterpret."""

    def __init__(self, data: Path) -> None:
        if not isinstance(data, ObjectPath) and any(map(is_address, data.parts)):  # also below the current directory
            raise UsageError(
                "an archive in object storage is only read: by recorder.connect(), and by `recorder sql`, `query`, "
                "`export`, `plot` and `views`; everything else needs the folder that it was copied from"
            )
        keys = tuple(f"{dataset.partition}=" for dataset in datasets.DATASETS if dataset.partition)
        for part in data.absolute().parts:
            if part.startswith(keys) or "\\" in part:
                raise UsageError(
                    f"{data} lies in a folder named {part!r}, which readers of Parquet would take for a partition or "
                    "a pattern: put the archive elsewhere"
                )
        self.data = data
        self.journal = self.journal_dir(MAIN_JOURNAL)
        self.raw = self.raw_dir(MAIN_JOURNAL)
        self.quarantine = data / "quarantine"
        self.trades = self.folder(TRADES)
        self.staging = data / ".staging"
        self.exchange = data / ".staging" / "exchange"
        self.locks = data / ".locks"
        self.lock = data / ".lock"
        self.rate_limit = data / ".locks" / "requests.turns"
        self.attempts = data / ".locks" / "connections.turns"

    @property
    def exists(self) -> bool:
        """Whether there is an archive here."""
        return self.trades.is_dir()

    def journal_dir(self, journal: str) -> Path:
        """Return the folder of a journal's segments."""
        return self.data / journal

    def raw_dir(self, journal: str) -> Path:
        """Return the folder of a journal's retired segments."""
        return self.data / raw_folder(journal)

    def journal_lock(self, journal: str) -> Path:
        """Return the lock of the one process that writes a journal and drains it."""
        owner = datasets.LOCKED_WITH.get(journal, journal)
        return self.lock if owner == MAIN_JOURNAL else self.locks / f"{owner}.lock"

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
        """Return the files of ``pair``, sorted by path. Raises FileNotFoundError if a compaction interferes."""
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
        """Return the folder that contains the leaves of a branch; leaves are the folders that contain its files."""
        return self._top(branch) if branch.dataset.period else self._top(branch).parent

    def leaf(self, branch: Branch, period: str | None) -> Path:
        """Return the leaf of one period (``2025``); with None, that of a branch without periods."""
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
        # Other entries beside a partition, like year=2025.tar, are not leaves.
        return [leaf for leaf in found if period_of(leaf) is not None]

    def lacks(self, dataset: Dataset) -> bool:
        """Return whether the archive lacks a table that was added after the release which recorded it."""
        return dataset.added_later and not names_in(self.folder(dataset))

    def files(self, branch: Branch) -> list[Path]:
        """Return the files of a branch, sorted by path. Raises FileNotFoundError if a compaction interferes."""
        return [leaf / name for leaf in self.leaves(branch) for name in listed(leaf)]

    def built(self, branch: Branch) -> Path:
        """Return the folder in which a compaction, under its lock, builds new leaves of ``branch``."""
        return self.exchange / branch.name

    def schema_file(self, dataset: Dataset) -> Path:
        """Return the path of the file without rows that a table is created with."""
        branch = Branch(dataset, None if dataset.partition is None else NO_PARTITION)
        return self.leaf(branch, dataset.period_of(_EPOCH)) / SCHEMA_FILE


def existing(data: Path) -> Layout:
    """Return the layout of the archive at ``data``.

    Raises NoSuchArchive; UnlistedFolder and UnsoundFile as :func:`listed` does.
    """
    layout = Layout(data)
    for folder in (layout.data, layout.trades):
        check_link(folder)
    with listing(layout.trades):
        there = layout.exists
    if not there and is_address(data):
        raise NoSuchArchive(f"there is no archive at {data}: name the bucket, and the prefix to which one was copied")
    if not there:
        raise NoSuchArchive(
            f"there is no archive at {data}: name its folder, or begin one there with `recorder run --data {data}`"
        )
    return layout


def period_of(leaf: Path) -> str | None:
    """Return the period of a leaf (``2025``); None if it has none.

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
    """Return a new name for a file with these lowest and highest ids (or segments) and this SHA-256 (hexadecimal).

    The ids or segments are for people. They are followed by a unique part, and by the first digits of the digest, which
    :func:`digest_in` reads.
    """
    return f"{first:012d}-{last:012d}-{uuid.uuid4().hex[:16]}-{sha256[:DIGITS]}{SUFFIX}"


def digest_in(name: str) -> str | None:
    """Return the first digits of a file's SHA-256 from its name; None if the name contains none.

    >>> digest_in("000000000001-000000000002-5f0c6d2a9b1e4c7d-9f86d081884c7d65.parquet")
    '9f86d081884c7d65'
    >>> digest_in("000000000001-000000000002-5f0c6d2a9b1e4c7d.parquet"), digest_in("schema.parquet")
    (None, None)
    """
    found = _NAME.fullmatch(name)
    return None if found is None else found[1]


def last_in(name: str) -> int | None:
    """Return the highest id or segment that the name of a file tells; None if it tells none.

    >>> last_in("000000000001-000000000002-5f0c6d2a9b1e4c7d-9f86d081884c7d65.parquet"), last_in("schema.parquet")
    (2, None)
    """
    found = _NUMBERS.match(name)
    return None if found is None else int(found[1])


def listed(directory: str | Path) -> list[str]:
    """Return the names of the Parquet files in one directory, as a complete listing or not at all.

    A compaction exchanges the directory for another and then empties it. A reader that is still listing it would see
    too few files, so its path must still lead to the same directory afterwards. (Globs do not check this: DuckDB's
    ignores names that have vanished, and silently misses rows.) Raises FileNotFoundError if a compaction interferes;
    UnlistedFolder; UnsoundFile for a dangling link.
    """
    try:
        with listing(directory):
            return _listed(directory)
    except FileNotFoundError:
        check_link(directory)
        raise


def _listed(directory: str | Path) -> list[str]:
    if is_address(directory):
        return [name for name in object_store.names(directory) if name.endswith(SUFFIX)]
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = sorted(name for name in os.listdir(handle) if name.endswith(SUFFIX))  # noqa: PTH208 -- a handle
        if not os.path.samestat(os.stat(directory), os.fstat(handle)):  # noqa: PTH116 -- thousands of times
            raise FileNotFoundError(f"{directory} was exchanged while it was listed")
    finally:
        os.close(handle)
    return names


def names_of_leaf(leaf: Path) -> list[str]:
    """Return the names of the Parquet files in a leaf as :func:`listed` does; none if the leaf does not exist."""
    return undisturbed(lambda: listed(leaf) if names_in(leaf) else [], f"the files in {leaf}")


def size_of(leaf: Path) -> int:
    """Return the approximate bytes of the Parquet files in one directory: 0 if a compaction or rights interfere."""
    with contextlib.suppress(OSError, UnlistedFolder, UnsoundFile):
        return sum((leaf / name).stat().st_size for name in listed(leaf))
    return 0
