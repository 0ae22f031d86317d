"""Which files of another archive were merged here, so that a repeated merge reads only what is new.

Only a hint beside the locks: without it, everything is read and compared again. A file's name contains the digest of
its bytes and is never reused, so a name stands for its rows. That they were merged once does not prove that they are
stored now: for trades the ids tell, and for tables without ids the hint counts as long as every file that was here
then still is. A merge is the only one at a time, so nothing else writes the hint.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from recorder.archive import archive_id
from recorder.archive.layout import Layout, digest_in
from recorder.archive.trades import TradeArchive
from recorder.core.evidence import Certified
from recorder.errors import DiskError

_VERSION: Final = 1


class _Leaf(msgspec.Struct, frozen=True):
    """A folder of the other archive: ``theirs`` were merged, and ``ours`` were the files of the same folder here."""

    theirs: frozenset[str] = frozenset()
    ours: frozenset[str] = frozenset()


_Day: TypeAlias = tuple[str, int]
"""A UTC day, and the revision of its certificate."""


class _Hint(msgspec.Struct):
    """The content of the file."""

    version: int = _VERSION
    leaves: dict[str, _Leaf] = {}
    differing: dict[str, list[_Day]] = {}


_decode = msgspec.json.Decoder(_Hint).decode


class MergedFiles:
    """What was merged of the archive ``theirs``. ``skipped`` is how many of its files were not read again."""

    def __init__(self, theirs: Layout, hint: _Hint) -> None:
        self._theirs = theirs
        self._hint = hint
        self._differing = {pair: set(days) for pair, days in hint.differing.items()}
        self.skipped = 0

    def of(self, leaf: Path) -> frozenset[str]:
        """Return the names of the files in ``leaf``, a folder of the other archive, that were merged."""
        return self._stored(leaf).theirs

    def of_unchanged(self, leaf: Path, ours: Iterable[str]) -> frozenset[str]:
        """Return the same if all files that were in our folder then are among ``ours``, its files now, else none.

        A compaction removes files too, and cannot be told from a loss: then all are compared again.
        """
        stored = self._stored(leaf)
        return stored.theirs if stored.ours <= frozenset(ours) else frozenset()

    def note(self, leaf: Path, theirs: Iterable[str], *, ours: Iterable[str] = ()) -> None:
        """Note that exactly these files of ``leaf`` are merged; ``ours`` are the files of our folder now."""
        named = frozenset(name for name in theirs if digest_in(name) is not None)
        self._hint.leaves[self._key(leaf)] = _Leaf(named, frozenset(ours))

    def differs(self, one: Certified) -> bool:
        """Return whether this certificate of the other archive was compared with the rows here, and did not hold."""
        return _day(one) in self._differing.get(one.pair, ())

    def note_differing(self, one: Certified) -> None:
        """Note that this certificate of the other archive does not hold for the rows here, which will not change."""
        self._differing.setdefault(one.pair, set()).add(_day(one))

    def encode(self) -> bytes:
        """Return the content of the hint's file."""
        self._hint.differing = {pair: sorted(days) for pair, days in self._differing.items()}
        return msgspec.json.encode(self._hint, order="sorted")

    def _stored(self, leaf: Path) -> _Leaf:
        return self._hint.leaves.get(self._key(leaf), _Leaf())

    def _key(self, leaf: Path) -> str:
        return str(leaf.relative_to(self._theirs.data))


def _day(one: Certified) -> _Day:
    return one.day.isoformat(), one.revision


@contextlib.contextmanager
def remembered(archive: TradeArchive, theirs: Layout) -> Iterator[MergedFiles]:
    """Yield what was merged of the archive ``theirs``, and store on exit what was noted, also if the merge ends early.

    Of an archive without an id nothing is remembered.
    """
    named = archive_id.read(theirs.data)
    path = archive.layout.locks / f"merged-{named}.json"
    files = MergedFiles(theirs, _read(path) if named else _Hint())
    with contextlib.ExitStack() as ending:
        if named:
            ending.callback(_write, path, files, archive)
        yield files


def _read(path: Path) -> _Hint:
    with contextlib.suppress(OSError, ValueError):
        hint = _decode(path.read_bytes())
        if hint.version == _VERSION:
            return hint
    return _Hint()


def _write(path: Path, files: MergedFiles, archive: TradeArchive) -> None:
    """Replace the file, if the disk lets us. It may be lost, and is not synced; what it claims is durable."""
    disk, staged = archive.disk, archive.staging / uuid.uuid4().hex
    with contextlib.suppress(DiskError), disk.create(staged) as file:
        disk.write(file, files.encode())
        disk.rename(staged, path)
