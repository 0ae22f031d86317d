"""What the events table knows of ids beside the rows: void and confirmed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recorder.archive import files
from recorder.archive.files import Layout
from recorder.archive.read import batches, footer_of
from recorder.archive.tables import EVENTS, Branch
from recorder.archive.verify import DAMAGE, NO_FOOTER, OTHER_COLUMNS, Finding, damage
from recorder.core import knowledge
from recorder.core.ids import Spans
from recorder.core.knowledge import Confirmed, Knowledge, Void
from recorder.core.model import Event
from recorder.errors import CorruptFile

_KINDS: Final = ["void", "confirmed"]
_COLUMNS: Final = ["kind", "pair", "detail"]
_BATCH: Final = 32_768


@dataclass(slots=True)
class Known:
    """What is known of each pair; ``findings`` are files that could not be read."""

    void: dict[str, Spans] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _until_us: dict[str, dict[int, int]] = field(default_factory=dict)

    def confirmed(self, pair: str) -> list[Confirmed]:
        """Return, of each id after which none came, until when at least."""
        return [Confirmed(pair, last_id, until_us) for last_id, until_us in self._until_us.get(pair, {}).items()]

    def told(self) -> Iterator[Knowledge]:
        """Return all of it."""
        for pair, spans in self.void.items():
            yield from (Void(pair, span) for span in spans)
        for pair in self._until_us:
            yield from self.confirmed(pair)

    def take(self, event: Event) -> None:
        """Take in what an event tells, if it tells anything of the kind."""
        match knowledge.told(event):
            case Void(pair, span):
                self.void.setdefault(pair, Spans()).add(span)
            case Confirmed(pair, last_id, until_us):
                known = self._until_us.setdefault(pair, {})
                known[last_id] = max(until_us, known.get(last_id, until_us))


def read(layout: Layout, pairs: Sequence[str]) -> Known:
    """Read what is known of ``pairs``. Raises UnknownVersion; StorageError if files keep changing as they are read."""
    wanted = pa.array(pairs, pa.string())
    return files.undisturbed(lambda: _read(layout, wanted), f"the files in {layout.folder(EVENTS)}")


def _read(layout: Layout, pairs: pa.Array) -> Known:
    known = Known()
    for path in _paths(layout):
        try:
            for event in _events(path, pairs):
                known.take(event)
        except FileNotFoundError:
            raise
        except CorruptFile:
            known.findings.append(Finding(path, NO_FOOTER, files.remedy(path)))
        except DAMAGE as error:
            known.findings.append(Finding(path, damage(error), files.remedy(path)))
        except KeyError:  # pyarrow's word for a column that is not there
            known.findings.append(Finding(path, OTHER_COLUMNS.format(EVENTS.name), files.remedy(path)))
    return known


def _paths(layout: Layout) -> list[Path]:
    return [leaf / name for leaf in layout.leaves(Branch(EVENTS)) for name in files.listed(leaf)]


def _events(path: Path, pairs: pa.Array) -> Iterator[Event]:
    with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
        for rows in batches(parquet, footer_of(parquet, path), _BATCH, columns=_COLUMNS):
            mask = pc.and_(pc.is_in(rows["kind"], value_set=pa.array(_KINDS)), pc.is_in(rows["pair"], value_set=pairs))
            for row in rows.filter(mask).to_pylist():
                yield Event(0, row["kind"], row["pair"], row["detail"])
