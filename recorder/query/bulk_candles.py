"""Candles of a pair with history files counted in, and the bars that no source covers whole.

Does not know snapshots or frames. The macros are described in ``queries/macros/bulk_candles.sql``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from recorder.lazy_imports import pc
from recorder.query import arguments, gap_rows, id_runs
from recorder.query.arguments import Range
from recorder.query.bars import CANDLE, VALUES
from recorder.query.dataframes import WORDS, labelled
from recorder.query.engine import Engine

ORIGIN: Final = "origin"
_ROWS: Final = """
    SELECT * EXCLUDE (pair, timeframe, first_id, last_id)
    FROM bulk_candle_rows($pair, $timeframe, make_timestamptz($start), make_timestamptz($stop))
    ORDER BY time
"""
KNOWN: Final = "SELECT low, high FROM bulk_known_bars($pair, $timeframe) WHERE low <= high ORDER BY low, high"
"""Asks for the bars that a source covers whole, as runs of their numbers."""
_SHOWN: Final = 3


class Uncovered(NamedTuple):
    """Bars that no source covers whole, between others: their number, and where the first begins (µs since 1970)."""

    bars: int
    first_us: int


def rows(engine: Engine, pair: str, timeframe: str, limits: Range, *, exact: bool) -> pa.Table:
    """Return the candles of a pair that begin in a range, each from one source."""
    params = {"pair": pair, "timeframe": timeframe, "start": limits.start_us, "stop": limits.stop_us}
    found = engine.fetch(_ROWS, params, exact=exact)
    return labelled(found, pair=pair, timeframe=timeframe).select(["pair", "timeframe", *CANDLE, ORIGIN])


def uncovered(known: Iterable[Mapping[str, int]], timeframe: str, limits: Range) -> list[Uncovered]:
    """Return the bars of a range between ``known`` ones, the rows of KNOWN, that no source covers whole."""
    width_us = arguments.timeframe_us(timeframe)
    low = -(2**62) if limits.start_us is None else -(-limits.start_us // width_us)
    high = 2**62 if limits.stop_us is None else -(-limits.stop_us // width_us) - 1
    found, reached = [], None
    for run in known:
        if reached is not None and run["low"] > reached + 1:
            first, last = max(low, reached + 1), min(high, run["low"] - 1)
            if first <= last:
                found.append(Uncovered(last - first + 1, first * width_us))
        reached = run["high"] if reached is None else max(reached, run["high"])
    return found


def sentence(found: Mapping[str, Sequence[Uncovered]], timeframe: str) -> str | None:
    """Return a message about bars that no source covers whole; None if there are none."""
    lacking = []
    for pair, stretches in found.items():
        if stretches:
            shown = ", ".join(id_runs.text(one.first_us) for one in stretches[:_SHOWN])
            more = f" and {len(stretches) - _SHOWN} more times" if len(stretches) > _SHOWN else ""
            lacking.append(f"{sum(one.bars for one in stretches):,} of {pair} from {shown}{more} on")
    if not lacking:
        return None
    return (
        f"neither stored trades nor history files cover these {timeframe} bars whole: {'; '.join(lacking)}. "
        f"Fetch their trades with `recorder backfill`, import the history files of that time, or {id_runs.SHOWN_GAP}"
    )


def unbroken(
    table: pa.Table, pairs: Sequence[str], found: Mapping[str, Sequence[Uncovered]], timeframe: str
) -> Iterator[tuple[str, pa.Table]]:
    """Yield each run of bars of a pair that is interrupted by none of the ``found`` ones, without these."""
    width_us = arguments.timeframe_us(timeframe)
    gaps = {
        pair: [(one.first_us // width_us, one.first_us // width_us + one.bars - 1) for one in stretches]
        for pair, stretches in found.items()
    }
    for pair, begin, end in gap_rows.outside(table, pairs, gaps, width_us):
        yield pair, table.slice(begin, end - begin)


def nulled(table: pa.Table) -> pa.Table:
    """Return bars without the values of those that are not complete."""
    for name in (name for name in table.column_names if name in VALUES):
        kept = pc.if_else(table["complete"], table[name], pa.scalar(None, table[name].type))
        table = table.set_column(table.column_names.index(name), name, kept)
    return table


def attrs(table: pa.Table, found: Mapping[str, Sequence[Uncovered]]) -> dict[str, object]:
    """Return what a frame of these bars rests on: bars by source, and how many no source covers whole."""
    counts = {row["values"]: row["counts"] for row in pc.value_counts(table[ORIGIN]).to_pylist()}
    return {
        "origins": {origin: counts.get(origin, 0) for origin in WORDS[ORIGIN]},
        "missing": {pair: sum(one.bars for one in stretches) for pair, stretches in found.items()},
    }
