"""Coverage: which ids the archive stores, computed only from the footers of its files.

A footer is read once and cached by file name, which the recorder never reuses. To detect changes by others, a caller
reads them anew: a file whose inode, size or modification time differs is read again. The cache can be dropped without
loss.
"""

from __future__ import annotations

from pathlib import Path

from recorder.archive.datasets import TRADES, Branch
from recorder.archive.footer import imported_spans
from recorder.archive.integrity import MOVE_BACK, check_place
from recorder.archive.layout import Layout
from recorder.archive.parquet import SET_APART, FileFacts, Stamp, read_facts, stamp
from recorder.core import evidence
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Spans
from recorder.disk import Disk, listing
from recorder.errors import UnsoundFile


class Coverage:
    """The footers of an archive, brought up to date on demand.

    With a ``disk``, files written by others are made durable before they count: the process that renamed a file into
    place may have died before its name was durable. Read-only callers need no disk.
    """

    def __init__(self, layout: Layout, disk: Disk | None = None) -> None:
        self._layout = layout
        self._disk = disk
        self._facts: dict[str, dict[Path, tuple[Stamp, FileFacts]]] = {}

    def files(self, pair: str, *, anew: bool = False) -> list[FileFacts]:
        """Return the current files of ``pair``. Raises FileNotFoundError if one vanishes meanwhile.

        With ``anew``, a file that was replaced or changed is read again. Under the pair's lock no file can vanish; a
        reader without it starts over. Raises UnsoundFile if a file does not match its place.
        """
        known, branch = self._facts.get(pair, {}), Branch(TRADES, pair)
        self._check_folder(branch)
        found: dict[Path, tuple[Stamp, FileFacts]] = {}
        # Looked up by path: a compaction keeps the names and inodes of files that it does not merge.
        for path in self._layout.files(branch):
            seen = known.get(path)
            if seen is None or (anew and seen[0] != stamp(path)):
                # The stamp is taken before the footer, so that a change in between is noticed next time.
                seen = stamp(path), check_place(read_facts(path), branch)
            found[path] = seen
        if self._disk is not None:
            for directory in sorted({path.parent for path in found if found[path] is not known.get(path)}):
                self._disk.sync_dir(directory)
        self._facts[pair] = found
        return [facts for _, facts in found.values()]

    def _check_folder(self, branch: Branch) -> None:
        folder = self._layout.home(branch)
        with listing(folder.parent):
            is_file = folder.is_file()
        if is_file:
            raise UnsoundFile(folder, "is a file, and lies where the folder of a pair belongs", MOVE_BACK)

    def readable(self, pair: str) -> tuple[list[FileFacts], Spans]:
        """Return the readable files of ``pair``, and the ids that the others stored when they could be read.

        For :meth:`spans`, the others still count as storing these ids: they may become readable again, and nothing may
        be stored twice. Raises FileNotFoundError if a file vanishes meanwhile.
        """
        known, branch = self._facts.get(pair, {}), Branch(TRADES, pair)
        found, lost = list[FileFacts](), Spans()
        try:
            paths = self._layout.files(branch)
        except SET_APART:  # an unreadable folder
            return [], Spans(run.span for _, facts in known.values() for run in facts.footer.runs)
        for path in paths:
            seen = known.get(path)
            try:
                if seen is not None and seen[0] == stamp(path):
                    found.append(seen[1])
                else:
                    found.append(check_place(read_facts(path), branch))
            except SET_APART:
                lost.update(run.span for run in (seen[1].footer.runs if seen else ()))
        return found, lost

    def add_file(self, pair: str, facts: FileFacts) -> None:
        """Add a file of ``pair`` that the caller has just written, durably and under the pair's lock."""
        self._facts.setdefault(pair, {})[facts.path] = stamp(facts.path), facts

    def spans(self, pair: str) -> Spans:
        """Return the ids of ``pair`` that the archive stores now."""
        return Spans(run.span for file in self.files(pair) for run in file.footer.runs)

    def observe_into(self, ledger: Ledger, pair: str) -> int:
        """Read anew all that the archive stores of ``pair``, count it in ``ledger``, and return the number of rows.

        The promise of the pair in its files is included.
        """
        held = self.files(pair, anew=True)
        ledger.observe_all(run for file in held for run in file.footer.runs)
        ledger.observe_imported(pair, imported_spans(file.footer for file in held))
        if (promise := evidence.earliest(*{file.footer.promise for file in held})) is not None:
            for note in evidence.notes(pair, promise):
                ledger.know(note)
        return sum(file.rows for file in held)
