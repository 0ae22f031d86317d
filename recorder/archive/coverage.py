"""Which ids the archive holds: computed from the footers of its files, and from nothing else.

A footer is read once and remembered by file name, which is never used twice. Forget it all and nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recorder.archive.files import Layout
from recorder.archive.schema import Footer
from recorder.core.ledger import Ledger
from recorder.core.model import Span
from recorder.core.spans import Spans
from recorder.errors import CorruptFile


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
        return self.footer.spans[0].first_id


def read_facts(path: Path) -> FileFacts:
    """Read the footer of ``path``. Raises CorruptFile; FileNotFoundError where a compaction took the file away."""
    try:
        with path.open("rb") as file:
            metadata = pq.read_metadata(file)
            size = file.seek(0, 2)
    except pa.ArrowInvalid as error:
        raise CorruptFile(f"{path} is no whole Parquet file: {error}") from error
    return FileFacts(path, Footer.decode(metadata.metadata, str(path)), metadata.num_rows, size)


class Coverage:
    """The footers of an archive, brought up to date on demand."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._facts: dict[str, dict[Path, FileFacts]] = {}

    def files(self, pair: str) -> list[FileFacts]:
        """Return what the files of ``pair`` hold now. Raises FileNotFoundError if one vanishes meanwhile.

        Under the pair's lock none can vanish; a reader without it starts again.
        """
        known = self._facts.get(pair, {})
        paths = self._layout.trade_files(pair)
        # Sought by path, since a compaction keeps the names of files that it leaves alone.
        self._facts[pair] = {path: known.get(path) or read_facts(path) for path in paths}
        return list(self._facts[pair].values())

    def spans(self, pair: str) -> Spans:
        """Return the ids of ``pair`` that the archive holds now."""
        return Spans(Span(span.first_id, span.last_id) for file in self.files(pair) for span in file.footer.spans)

    def observe_into(self, ledger: Ledger, pair: str) -> int:
        """Count all that the archive holds of ``pair`` now in ``ledger``; return its rows."""
        held = self.files(pair)
        for span in sorted(span for file in held for span in file.footer.spans):
            ledger.observe(pair, Span(span.first_id, span.last_id), first_us=span.first_us, last_us=span.last_us)
        return sum(file.rows for file in held)
