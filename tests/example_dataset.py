"""A table without ids that is there by its entry, its class and its source alone; and a registry that knows it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pytest

from recorder.archive import datasets
from recorder.archive.datasets import BY_NAME, DATASETS, WITHOUT_IDS, Dataset
from recorder.archive.schema import TIME
from recorder.core.segment_names import MAIN_JOURNAL
from recorder.errors import Malformed
from recorder.kraken import records
from recorder.kraken.records import SOURCES, Parts, RecordSource, TableRows
from recorder.query import catalogue

COLUMNS = pa.schema(
    [pa.field("time", TIME, nullable=False), pa.field("seen", TIME, nullable=False), pa.field("word", pa.string())]
)


def toy_table(rows: Sequence[tuple[int, str]]) -> pa.Table:
    times_us = pa.array([time_us for time_us, _ in rows], pa.int64()).cast(TIME)
    return pa.table([times_us, times_us, pa.array([word for _, word in rows], pa.string())], schema=COLUMNS)


TOY = Dataset(
    "toys",
    COLUMNS,
    toy_table,
    order=("time",),
    time="time",
    remedy="play another game",
    encodings={"time": "delta", "word": "words"},
    partition="pair",
    period="date",
    stamp="seen",
)


class Toys(TableRows, frozen=True, gc=False):
    """A word for each of some pairs, ``A/B=ball C/D=kite``, of the moment when they came."""

    table = "toys"

    def parts(self) -> Parts:
        """Return the words by pair. Raises Malformed."""
        rows: dict[str | None, list[tuple[int, str]]] = {}
        for said in self.line.payload.decode().split():
            pair, equals, word = said.partition("=")
            if not equals:
                raise Malformed(f"a toy without a pair: {said}")
            rows.setdefault(pair, []).append((self.line.recv_ns // 1000, word))
        return rows


def register(patch: pytest.MonkeyPatch, *, journal: str = MAIN_JOURNAL) -> None:
    """Let every module that asks the registry, and the reader of the journal, know toys, of this journal."""
    toy = replace(TOY, journal=journal)
    registries: dict[str, tuple[object, object]] = {
        "DATASETS": (DATASETS, (*DATASETS, toy)),
        "WITHOUT_IDS": (WITHOUT_IDS, (*WITHOUT_IDS, toy)),
    }
    for module in [module for name, module in sys.modules.items() if name.startswith("recorder.")]:
        for name, (there, more) in registries.items():
            if getattr(module, name, None) is there:
                patch.setattr(module, name, more)
    assert TOY in datasets.DATASETS
    patch.setitem(BY_NAME, toy.name, toy)
    patch.setattr(records, "SOURCES", (*SOURCES, RecordSource("ws:toys:<connection>", "words", Toys)))
    records._reader.cache_clear()
    for cached in ("_sources", "names"):  # from which a query's tables are told: computed anew, once
        patch.setattr(catalogue, cached, functools.cache(getattr(catalogue, cached).__wrapped__))
