"""Which trade files the archive has at this moment, and the ids in them by their footers.

Owns: a listing that no compaction can tear, and what each footer said, remembered for as long as the file of that name
is the one that was read: the recorder never uses a name twice, but a person may put another file there. Takes no lock.
When a folder must be listed anew is up to :mod:`recorder.query.folders`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from recorder.archive.datasets import NO_PARTITION, TRADES, Branch
from recorder.archive.footer import Footer
from recorder.archive.integrity import placed
from recorder.archive.layout import existing
from recorder.archive.parquet import Stamp, read_facts, stamp
from recorder.core import evidence
from recorder.core.evidence import Promise
from recorder.core.ids import Run, Spans, joined
from recorder.errors import NoSuchArchive
from recorder.query.folders import Folders

_PAIR: Final = "pair="
_YEAR: Final = "year="
_PAIRS: Final = 4_096
"""So many names are kept in both spellings: some times the pairs that the exchange has ever listed."""


@dataclass(frozen=True, slots=True)
class PairFiles:
    """The files of one pair, what each says of itself, and what they hold, and promise, together.

    ``stamps`` tell whether the files are still those that were read.
    """

    stamps: Mapping[str, Stamp]
    footers: Mapping[str, Footer]
    runs: tuple[Run, ...]
    ids: Spans
    promise: Promise | None


_NONE: Final = PairFiles({}, {}, (), Spans(), None)


class Listing:
    """The trade files of the archive at ``data`` as of each call."""

    def __init__(self, data: Path, folders: Folders | None = None) -> None:
        """Open the archive. Raises NoSuchArchive; UnknownVersion where a newer release has written here."""
        layout = existing(data)
        self._trades = str(layout.trades)
        self._folders = folders or Folders()
        self.schema_file = str(layout.born(TRADES))
        try:
            read_facts(Path(self.schema_file))  # a newer release marks it first
        except FileNotFoundError:
            raise NoSuchArchive(
                f"{self.schema_file} is missing, and without any file SQL cannot read the table: start the recorder, "
                "which makes it"
            ) from None
        self._known: dict[str, PairFiles] = {}

    def pairs(self) -> list[str]:
        """Return the pairs that have files."""
        names = self._folders.names(self._trades)
        return [_pair(name) for name in names if name.startswith(_PAIR) and name != f"{_PAIR}{NO_PARTITION}"]

    def paths(self, pairs: Iterable[str]) -> dict[str, list[str]]:
        """Return the files there are now of ``pairs``. Raises FileNotFoundError where a compaction came between."""
        return {pair: self._files_in(f"{self._trades}/{_folder(pair)}") for pair in pairs}

    def of(self, pairs: Iterable[str]) -> dict[str, PairFiles]:
        """Return the files there are now of ``pairs`` with the ids in them, reading each footer once.

        Raises FileNotFoundError where a compaction came between.
        """
        return {pair: self._read(pair, paths) for pair, paths in self.paths(pairs).items()}

    def _read(self, pair: str, paths: list[str]) -> PairFiles:
        known = self._known.get(pair, _NONE)
        stamps = {path: stamp(path) for path in paths}
        if known.stamps == stamps:
            return known
        footers = {
            path: known.footers[path]
            if known.stamps.get(path) == stamps[path]
            else placed(read_facts(Path(path)), Branch(TRADES, pair)).footer
            for path in paths
        }
        runs = tuple(joined(run for footer in footers.values() for run in footer.runs))
        ids = Spans(run.span for run in runs)
        promise = evidence.earliest(*{footer.promise for footer in footers.values()})
        found = self._known[pair] = PairFiles(stamps, footers, runs, ids, promise)
        return found

    def _files_in(self, pair_dir: str) -> list[str]:
        try:
            years = self._folders.names(pair_dir)
        except (FileNotFoundError, NotADirectoryError):  # no trade of this pair yet, or no partition
            return []
        return [
            path
            for year in years
            if year.startswith(_YEAR) and year.removeprefix(_YEAR).isdecimal()
            for path in self._folders.files(f"{pair_dir}/{year}")
        ]


@functools.lru_cache(_PAIRS)
def _folder(pair: str) -> str:
    return f"{_PAIR}{quote(pair, safe='')}"


@functools.lru_cache(_PAIRS)
def _pair(folder: str) -> str:
    return unquote(folder.removeprefix(_PAIR))
