"""Trades for archive tests, and what an archive holds as plain Parquet readers see it: no coverage, no locks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from recorder.archive.layout import Layout
from recorder.archive.open_archive import opened
from recorder.archive.trades import TradeArchive
from recorder.core.model import Trade
from recorder.disk import Disk, Room

PAIR = "BTC/USD"
START_US = int(datetime(2025, 11, 10, tzinfo=UTC).timestamp()) * 1_000_000
YEAR_END_US = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def trade(trade_id: int, time_us: int | None = None, *, pair: str = PAIR) -> Trade:
    """Return trade ``trade_id``; left to itself it happened so many seconds after START_US."""
    moment_us = START_US + trade_id * 1_000_000 if time_us is None else time_us
    price = Decimal(trade_id % 977) / 8 + 1
    return Trade(pair, trade_id, moment_us, price, Decimal("0.00000001"), "buy", "limit", "", "rest", None)


def trades(first: int, last: int, *, pair: str = PAIR) -> list[Trade]:
    return [trade(trade_id, pair=pair) for trade_id in range(first, last + 1)]


def over_new_year(ids: Sequence[int]) -> list[Trade]:
    """Return trades of which the second half was made in the next year."""
    return [trade(trade_id, YEAR_END_US + index - len(ids) // 2) for index, trade_id in enumerate(ids)]


def plenty() -> Room:
    """Return what a disk says that has room for all there is."""
    return Room(10**12, 10**12)


@dataclass(frozen=True)
class Held:
    """What stands in the files of one pair."""

    ids: list[int]
    files: int


def held(data: Path) -> dict[str, Held]:
    """Read every file of the trades table with pyarrow alone, and check each against its own footer."""
    found: dict[str, Held] = {}
    for path in sorted((data / "trades").rglob("*")):
        if path.is_dir():
            continue
        assert path.suffix == ".parquet", f"{path} is staged inside a table"
        assert path.parent.name.startswith("year=")
        assert path.parent.parent.parent == data / "trades"
        ids, years, pair = _inside(path.read_bytes())
        assert years <= {int(path.parent.name.removeprefix("year="))}
        if ids:
            assert pair == unquote(path.parent.parent.name.removeprefix("pair="))
            before = found.get(pair, Held([], 0))
            found[pair] = Held([*before.ids, *ids], before.files + 1)
    for pair, one in found.items():
        assert len(set(one.ids)) == len(one.ids), f"an id of {pair} lies in two files"
    return found


@lru_cache(1000)
def _inside(content: bytes) -> tuple[tuple[int, ...], frozenset[int], str]:
    """Return the ids of one file, the years of its times and its pair, once checked against its footer."""
    parquet = pq.ParquetFile(pa.BufferReader(content))
    table = parquet.read(use_threads=False)
    footer = json.loads(parquet.metadata.metadata[b"recorder"])
    ids = table["trade_id"].to_pylist()
    assert ids == [i for first, last, *_ in footer.get("spans", []) for i in range(first, last + 1)], footer
    return tuple(ids), frozenset(moment.year for moment in table["time"].to_pylist()), footer.get("pair", "")


def ids(data: Path, pair: str = PAIR) -> list[int]:
    found = held(data).get(pair)
    return sorted(found.ids) if found else []


@contextmanager
def archive(data: Path, disk: Disk | None = None) -> Iterator[TradeArchive]:
    """Open the archive at ``data`` as the daemon does at its start."""
    disk = disk or Disk()
    layout = Layout(data)
    with opened(layout, disk) as archive:
        yield archive
