"""Which ids the archive holds: computed from the footers of its files, and from nothing else.

A footer is read once and remembered by file name, which is never used twice. Forget it all and nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from recorder.archive.files import Layout, on_one_line, remedy
from recorder.archive.schema import Footer
from recorder.core.ids import Spans
from recorder.core.ledger import Ledger
from recorder.disk import Disk
from recorder.errors import CorruptFile, DiskError


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What one file holds, by its footer."""

    path: Path
    footer: Footer
    rows: int
    size: int

    @property
    def first_id(self) -> int:
        """The lowest id in the file."""
        return self.footer.runs[0].span.first


def read_facts(path: Path) -> FileFacts:
    """Read the footer of ``path``. Raises CorruptFile; FileNotFoundError where a compaction took the file away."""
    try:
        with path.open("rb") as file:
            metadata = pq.read_metadata(file)
            size = file.seek(0, 2)
    except FileNotFoundError:
        raise
    except ValueError as error:  # pyarrow's own, and names in the footer that are no text
        raise CorruptFile(f"{path} is no whole Parquet file ({on_one_line(error)}): {remedy(path)}") from error
    except OSError as error:
        if error.errno is None:  # pyarrow's own, of a footer that it cannot parse
            raise CorruptFile(f"{path} has a damaged Parquet footer ({on_one_line(error)}): {remedy(path)}") from error
        raise DiskError(f"cannot read {path}: {error.strerror}") from error
    return FileFacts(path, Footer.decode(metadata.metadata, str(path)), metadata.num_rows, size)


class Coverage:
    """The footers of an archive, brought up to date on demand.

    With a ``disk``, what others have written is made durable before it counts: whoever gave a file its name may
    have died before the name was on the disk. Who only looks needs no disk.
    """

    def __init__(self, layout: Layout, disk: Disk | None = None) -> None:
        self._layout = layout
        self._disk = disk
        self._facts: dict[str, dict[Path, FileFacts]] = {}

    def files(self, pair: str) -> list[FileFacts]:
        """Return what the files of ``pair`` hold now. Raises FileNotFoundError if one vanishes meanwhile.

        Under the pair's lock none can vanish; a reader without it starts again. Raises CorruptFile where a file
        cannot be what its place says.
        """
        known = self._facts.get(pair, {})
        paths = self._layout.trade_files(pair)
        # Sought by path, since a compaction keeps the names of files that it leaves alone.
        facts = {path: known.get(path) or checked(read_facts(path), pair) for path in paths}
        if self._disk is not None:
            for directory in sorted({path.parent for path in facts if path not in known}):
                self._disk.sync_dir(directory)
        self._facts[pair] = facts
        return list(facts.values())

    def wrote(self, pair: str, facts: FileFacts) -> None:
        """Take in a file of ``pair`` that the caller has just written, durably and under the pair's lock."""
        self._facts.setdefault(pair, {})[facts.path] = facts

    def spans(self, pair: str) -> Spans:
        """Return the ids of ``pair`` that the archive holds now."""
        return Spans(run.span for file in self.files(pair) for run in file.footer.runs)

    def observe_into(self, ledger: Ledger, pair: str) -> int:
        """Count all that the archive holds of ``pair`` now in ``ledger``; return its rows."""
        held = self.files(pair)
        ledger.observe_all(run for file in held for run in file.footer.runs)
        return sum(file.rows for file in held)


def checked(facts: FileFacts, pair: str) -> FileFacts:
    """Return the facts if they can be those of a file of ``pair``: another's ids must never count as its own."""
    footer = facts.footer
    if footer.table != "trades" or footer.pair != pair:
        raise CorruptFile(
            f"{facts.path} says it holds {footer.table} of {footer.pair}, and lies among trades of {pair}: "
            f"was it moved there by hand? Move it back"
        )
    claimed = sum(len(run.span) for run in footer.runs)
    if claimed != facts.rows or not claimed:
        raise CorruptFile(f"{facts.path} holds {facts.rows} rows, but its footer claims {claimed} ids")
    return facts
