"""Which ids the archive holds: computed from the footers of its files, and from nothing else.

A footer is read once and remembered by file name, which the recorder never uses twice. Whoever looks for what others
did to the files asks for them anew: where inode, size or time of change differ, a file is read again. Forget it all and
nothing is lost.
"""

from __future__ import annotations

from pathlib import Path

from recorder.archive.datasets import TRADES, Branch
from recorder.archive.integrity import MOVE_BACK, check_place
from recorder.archive.layout import Layout
from recorder.archive.parquet import SET_APART, FileFacts, Stamp, read_facts, stamp
from recorder.core import evidence
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Spans
from recorder.disk import Disk
from recorder.errors import UnsoundFile


class Coverage:
    """The footers of an archive, brought up to date on demand.

    With a ``disk``, what others have written is made durable before it counts: whoever gave a file its name may
    have died before the name was on the disk. Who only looks needs no disk.
    """

    def __init__(self, layout: Layout, disk: Disk | None = None) -> None:
        self._layout = layout
        self._disk = disk
        self._facts: dict[str, dict[Path, tuple[Stamp, FileFacts]]] = {}

    def files(self, pair: str, *, anew: bool = False) -> list[FileFacts]:
        """Return what the files of ``pair`` hold now. Raises FileNotFoundError if one vanishes meanwhile.

        With ``anew`` a file is read again that bears the name of another, or was changed.
        Under the pair's lock none can vanish; a reader without it starts again. Raises UnsoundFile where a
        file cannot be what its place says.
        """
        known, branch = self._facts.get(pair, {}), Branch(TRADES, pair)
        self._check_folder(branch)
        found: dict[Path, tuple[Stamp, FileFacts]] = {}
        # Sought by path, since a compaction keeps the names of files that it leaves alone, and their inodes.
        for path in self._layout.files(branch):
            seen = known.get(path)
            if seen is None or (anew and seen[0] != stamp(path)):
                # The stamp before the footer: what changes in between is read at the next look.
                seen = stamp(path), check_place(read_facts(path), branch)
            found[path] = seen
        if self._disk is not None:
            for directory in sorted({path.parent for path in found if found[path] is not known.get(path)}):
                self._disk.sync_dir(directory)
        self._facts[pair] = found
        return [facts for _, facts in found.values()]

    def _check_folder(self, branch: Branch) -> None:
        folder = self._layout.home(branch)
        if folder.is_file():
            raise UnsoundFile(folder, "is a file, and lies where the folder of a pair belongs", MOVE_BACK)

    def readable(self, pair: str) -> tuple[list[FileFacts], Spans]:
        """Return what those files of ``pair`` hold now that can be read, and the ids that others held when they could.

        Others still count as holding these ids, for :meth:`spans`: they may come back, and nothing is to be held twice.
        Raises FileNotFoundError if a file vanishes meanwhile.
        """
        known, branch = self._facts.get(pair, {}), Branch(TRADES, pair)
        found, lost = list[FileFacts](), Spans()
        try:
            paths = self._layout.files(branch)
        except SET_APART:  # a folder
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
        """Take in a file of ``pair`` that the caller has just written, durably and under the pair's lock."""
        self._facts.setdefault(pair, {})[facts.path] = stamp(facts.path), facts

    def spans(self, pair: str) -> Spans:
        """Return the ids of ``pair`` that the archive holds now."""
        return Spans(run.span for file in self.files(pair) for run in file.footer.runs)

    def observe_into(self, ledger: Ledger, pair: str) -> int:
        """Count all that the archive holds of ``pair`` now, read anew, in ``ledger``; return its rows.

        What its files tell of the promise of the pair is taken along.
        """
        held = self.files(pair, anew=True)
        ledger.observe_all(run for file in held for run in file.footer.runs)
        if (promise := evidence.earliest(*{file.footer.promise for file in held})) is not None:
            for note in evidence.notes(pair, promise):
                ledger.know(note)
        return sum(file.rows for file in held)
