"""The newest trade of each pair, from the last row group of the file that has it, remembered by file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from recorder.archive.footer import Footer
from recorder.archive.parquet import OpenFile
from recorder.archive.schema import TRADES
from recorder.object_store import located
from recorder.query.engine import Engine
from recorder.query.snapshot import Snapshot

COLUMNS: Final = ("trade_id", "time", "price", "qty", "side")
_SCHEMA: Final = pa.schema([TRADES.field(name) for name in COLUMNS])
_SELECT: Final = """
    SELECT pair, trade_id, time, price, qty, side
    FROM trades
    WHERE list_contains($pairs, pair) AND trade_id = $ids[list_position($pairs, pair)]
"""


class LatestTrades:
    """Finds the newest trades of a snapshot in its files; one that is only elsewhere is left to :func:`select`."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Mapping[str, Footer], pa.Table]] = {}

    def of(self, moment: Snapshot, pairs: Iterable[str]) -> dict[str, pa.Table]:
        """Return the newest trade of each pair whose newest file has it as its last row.

        Raise FileNotFoundError if a file was compacted meanwhile; CorruptFile, UnreadableFile.
        """
        found = {}
        for pair in pairs:
            footers = moment.footers.get(pair)
            if footers:
                known = self._known.get(pair)
                # These are the same object while the files of the pair are the same.
                row = known[1] if known is not None and known[0] is footers else _last_row(newest(footers))
                self._known[pair] = footers, row
                if row["trade_id"].to_pylist() == [moment.runs[pair][-1].span.last]:
                    found[pair] = row
        return found


def newest(footers: Mapping[str, Footer]) -> str:
    """Return the file with the highest id."""
    return max(footers, key=lambda path: max((run.span.last for run in footers[path].runs), default=0))


def select(engine: Engine, ends: Sequence[tuple[str, int]]) -> dict[str, pa.Table]:
    """Return trades by pair and id: from the journal, or from files that also hold later ones."""
    if not ends:
        return {}
    rows = engine.fetch(_SELECT, {"pairs": [pair for pair, _ in ends], "ids": [one for _, one in ends]}, exact=True)
    return {pair: rows.slice(at, 1).select(COLUMNS).cast(_SCHEMA) for at, pair in enumerate(rows["pair"].to_pylist())}


def table(pairs: Sequence[str], rows: Mapping[str, pa.Table]) -> pa.Table:
    """Return the rows in the order of the pairs."""
    found = pa.concat_tables([rows[pair] for pair in pairs] or [_SCHEMA.empty_table()])
    names = pa.DictionaryArray.from_arrays(
        pa.array(np.arange(len(pairs), dtype=np.int32)), pa.array(pairs, pa.string())
    )
    return found.combine_chunks().add_column(0, "pair", names)


def _last_row(path: str) -> pa.Table:
    with OpenFile(located(path)) as file:
        rows = file.table(columns=COLUMNS, groups=file.groups[-1:])
    return rows.slice(max(0, rows.num_rows - 1)).combine_chunks().cast(_SCHEMA)
