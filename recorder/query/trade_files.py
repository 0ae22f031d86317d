"""The trade files that the archive has now, and the ids in them according to their footers.

Contains a listing that is consistent under compactions, and a cache of footers, each valid while the file of that name
is unchanged: the recorder never reuses a name, but a user may put another file there. Takes no lock.
:mod:`recorder.query.folder_cache` decides when a folder must be listed anew.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from recorder import object_store
from recorder.archive import duplicate_files
from recorder.archive.datasets import NO_PARTITION, TRADES, Branch
from recorder.archive.footer import Footer, imported_spans
from recorder.archive.integrity import MOVE_BACK, check_place
from recorder.archive.layout import existing
from recorder.archive.parquet import FileFacts, Stamp, read_facts, stamp
from recorder.core import evidence
from recorder.core.evidence import Promise
from recorder.core.trade_ids import Run, Spans, joined
from recorder.errors import NoSuchArchive, UnsoundFile
from recorder.object_store import is_address, located
from recorder.query import refused_files
from recorder.query.folder_cache import FolderCache
from recorder.query.refused_files import FAULTS, Fault

_PAIR: Final = "pair="
_YEAR: Final = "year="
_PAIRS: Final = 4_096
"""The number of names cached in both spellings: several times the number of pairs that the exchange has ever listed."""
_MANY: Final = 64
"""The number of pairs with unread footers from which threads are worth starting."""
_READERS: Final = 4
"""The number of reader threads: parsing a footer releases the interpreter lock, and a disk serves several reads at
once.
"""


@dataclass(frozen=True, slots=True)
class PairFiles:
    """The files of one pair, the metadata of each, and of all the ids, the promises and the imported ids.

    ``stamps`` show whether the files are still those that were read. If something is wrong with one of them there is a
    ``fault``, and the others must not be used either.
    """

    stamps: Mapping[str, Stamp]
    footers: Mapping[str, Footer]
    runs: tuple[Run, ...]
    ids: Spans
    promise: Promise | None
    fault: Fault | None = None
    imported: Spans = field(default_factory=Spans)


_NONE: Final = PairFiles({}, {}, (), Spans(), None)


class TradeFiles:
    """The trade files of the archive at ``data`` as of each call."""

    def __init__(self, data: Path, folders: FolderCache | None = None) -> None:
        """Open the archive. Raise NoSuchArchive; UnknownVersion if a newer release has written here."""
        layout = existing(data)
        self._trades = str(layout.trades)
        self._folders = folders or FolderCache()
        self.schema_file = str(layout.schema_file(TRADES))
        try:
            read_facts(located(self.schema_file))  # a newer release marks it first
        except FileNotFoundError:
            raise NoSuchArchive(
                f"{self.schema_file} is missing, and without any file SQL cannot read the table: start the recorder, "
                "which makes it"
            ) from None
        self._known: dict[str, PairFiles] = {}
        self._elsewhere: Path | None = None

    def pairs(self) -> list[str]:
        """Return the pairs that have files."""
        names = self._folders.names(self._trades)
        return [_pair(name) for name in names if name.startswith(_PAIR) and name != f"{_PAIR}{NO_PARTITION}"]

    def paths(self, pair: str) -> list[str]:
        """Return the current files of ``pair``.

        Raise FileNotFoundError if a file was compacted meanwhile; UnlistedFolder, UnsoundFile.
        """
        return self._files_in(f"{self._trades}/{_folder(pair)}")

    def of(self, pairs: Iterable[str]) -> dict[str, PairFiles]:
        """Return the current files of ``pairs`` with the ids in them, reading each footer once.

        Raise FileNotFoundError if a file was compacted meanwhile.
        """
        astray, pairs = self._astray(), list(pairs)

        def read(pair: str) -> PairFiles:
            return self._read(pair, astray.get(_folder(pair).casefold(), ()))

        many = 2 if is_address(self._trades) else _MANY  # objects take as long to come as threads to start
        if len(pairs) - len(self._known) < many:
            return {pair: read(pair) for pair in pairs}
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 -- takes milliseconds, and is rarely needed

        with ThreadPoolExecutor(_READERS, "footers") as readers:
            return dict(zip(pairs, readers.map(read, pairs), strict=True))

    def instead_of(self, pair: str) -> str:
        """Return the path to list instead of the files of a pair that must not be read."""
        home = f"{self._trades}/{_folder(pair)}"
        with contextlib.suppress(*FAULTS):
            for year in self._years(home):
                path = refused_files.failing_path(f"{home}/{year}")
                if os.path.exists(path):  # noqa: PTH110 -- text
                    return path
        # If the pair's folder cannot be entered, use a folder of that name elsewhere.
        if self._elsewhere is None:
            self._elsewhere = Path(tempfile.mkdtemp(prefix="recorder-"))
            weakref.finalize(self, shutil.rmtree, self._elsewhere, ignore_errors=True)
        other = self._elsewhere / _folder(pair) / "year=1970"
        other.mkdir(parents=True, exist_ok=True)
        return refused_files.failing_path(str(other))

    def _read(self, pair: str, astray: Iterable[str]) -> PairFiles:
        known = self._known.get(pair, _NONE)
        try:
            stamps = {path: stamp(path) for path in self.paths(pair)}
            for folder in astray:
                self._refuse_astray(folder)
            if known.stamps == stamps:
                return known
            found = self._held(pair, known, stamps)
        except FAULTS as error:
            return PairFiles({}, {}, (), Spans(), None, error)
        self._known[pair] = found
        return found

    def _held(self, pair: str, known: PairFiles, stamps: Mapping[str, Stamp]) -> PairFiles:
        """Read the footers that are not cached. Raise UnsoundFile if files cannot be those of the pair."""
        object_store.read_ahead(path for path in stamps if known.stamps.get(path) != stamps[path])
        footers = {
            path: known.footers[path] if known.stamps.get(path) == stamps[path] else self._footer(pair, path)
            for path in stamps
        }
        every = [run for footer in footers.values() for run in footer.runs]
        runs = tuple(joined(every))
        if sum(len(run.span) for run in every) != sum(len(run.span) for run in runs):
            duplicate_files.check(
                duplicate_files.same_ids(
                    (run, located(path)) for path, footer in footers.items() for run in footer.runs
                )
            )
        promise = evidence.earliest(*{footer.promise for footer in footers.values()})
        ids, imported = Spans(run.span for run in runs), imported_spans(footers.values())
        return PairFiles(stamps, footers, runs, ids, promise, imported=imported)

    def _footer(self, pair: str, path: str) -> Footer:
        facts = read_facts(located(path))
        try:
            return check_place(facts, Branch(TRADES, pair)).footer
        except UnsoundFile as error:
            raise UnsoundFile(path, error.problem + self._as_well(facts), error.remedy) from error

    def _as_well(self, facts: FileFacts) -> str:
        """Return a message that names the file that also holds ids of this one, if its own pair has them."""
        with contextlib.suppress(FileNotFoundError, *FAULTS):
            for path in self._files_in(f"{self._trades}/{_folder(facts.footer.pair or '')}"):
                other = read_facts(located(path))
                runs = [(run, one.path) for one in (facts, other) for run in one.footer.runs]
                if other.path != facts.path and (found := duplicate_files.same_ids(runs)):
                    return f"; it {found[0].problem}" if found[0].file == facts.path else f"; {path} {found[0].problem}"
        return ""

    def _astray(self) -> dict[str, list[str]]:
        """Return the folders that represent a pair but are not spelled as the recorder spells them, by pair.

        Readers that decode names take them for a pair's own, and so do case-insensitive file systems.
        """
        astray: dict[str, list[str]] = {}
        for name in self._folders.names(self._trades):
            if name.startswith(_PAIR) and (right := _folder(_pair(name))) != name:
                astray.setdefault(right.casefold(), []).append(name)
        return astray

    def _refuse_astray(self, folder: str) -> None:
        """Raise UnsoundFile if there are files in a folder that is not spelled as the recorder spells it."""
        for path in self._files_in(f"{self._trades}/{folder}"):
            facts = read_facts(located(path))
            right = f"and the recorder spells that folder {_folder(facts.footer.pair or _pair(folder))}"
            raise UnsoundFile(path, f"lies in {folder}, {right}{self._as_well(facts)}", MOVE_BACK)

    def _files_in(self, pair_dir: str) -> list[str]:
        return [path for year in self._years(pair_dir) for path in self._folders.files(f"{pair_dir}/{year}")]

    def _years(self, pair_dir: str) -> list[str]:
        try:
            names = self._folders.names(pair_dir)
        except (FileNotFoundError, NotADirectoryError):  # no trade of this pair yet, or no partition
            return []
        return [name for name in names if name.startswith(_YEAR) and name.removeprefix(_YEAR).isdecimal()]


@functools.lru_cache(_PAIRS)
def _folder(pair: str) -> str:
    return f"{_PAIR}{quote(pair, safe='')}"


@functools.lru_cache(_PAIRS)
def _pair(folder: str) -> str:
    return unquote(folder.removeprefix(_PAIR))
