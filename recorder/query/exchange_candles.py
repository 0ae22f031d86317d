"""Candles as published by the exchange: the last seen version of each, and substitutes built from trades for lost ones.

Reads no more than requested. Stored rows are nearly always sorted and unique, so this is checked, and only the
exceptions are sorted; in SQL, the view ``ohlc`` needs eight aggregates to find the last seen version. Does not know
when to retry, or how lost candles are handled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recorder.query import arguments, id_runs
from recorder.query.arguments import Range
from recorder.query.dataframes import labelled
from recorder.query.engine import Engine
from recorder.query.id_runs import LostCandles

_STORED: Final = """
    SELECT {columns}
    FROM stored_ohlc()
    WHERE {pairs} AND timeframe = $timeframe
        AND ($start IS NULL OR time >= make_timestamptz($start))
        AND ($stop IS NULL OR time < make_timestamptz($stop))
"""
_FILLED: Final = """
    SELECT * EXCLUDE (pair, timeframe)
    FROM pair_ohlc_filled($pair, $timeframe, make_timestamptz($start), make_timestamptz($stop))
    ORDER BY time
"""
_BEYOND: Final = """
    SELECT time
    FROM stored_ohlc()
    WHERE pair = $pair AND timeframe = $timeframe
        AND (time < make_timestamptz($start) OR time >= make_timestamptz($stop))
    LIMIT 1
"""

_Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CandleQuery:
    """The requested candles: their pairs and range; ``exact`` requests unrounded decimals."""

    pairs: tuple[str, ...]
    timeframe: str
    limits: Range
    exact: bool

    @property
    def width_us(self) -> int:
        """The length of an interval."""
        return arguments.timeframe_us(self.timeframe)


def published(engine: Engine, series: CandleQuery) -> pa.Table:
    """Return the candles, of the pairs in the order given, oldest first."""
    return _stored(engine, series, series.limits)


def filled(engine: Engine, series: CandleQuery) -> pa.Table:
    """Return the same, with lost candles built from trades where possible."""
    limits = series.limits.in_bars(series.timeframe)
    held = _stored(engine, series, limits)
    if _is_whole(engine, held, series, limits):
        return held
    for pair in series.pairs:
        engine.know(pair)  # there may be candles of it, but no trades
    each = [
        labelled(
            engine.fetch(_FILLED, _params(series, series.limits) | {"pair": pair}, exact=series.exact),
            pair=pair,
            timeframe=series.timeframe,
        )
        for pair in series.pairs
    ]
    return pa.concat_tables(each).unify_dictionaries()


def lost(table: pa.Table, series: CandleQuery) -> dict[str, list[LostCandles]]:
    """Return the candles of each pair that are lost between those in the table."""
    named = table["pair"].to_pylist() if len(series.pairs) > 1 else series.pairs
    return id_runs.lost_in(named, _integers(table, "time"), series.width_us)


def _stored(engine: Engine, series: CandleQuery, limits: Range) -> pa.Table:
    if len(series.pairs) > 1:
        text, wanted = _STORED.format(columns="*", pairs="list_contains($pairs, pair)"), {"pairs": list(series.pairs)}
        found = engine.fetch(text, {**_params(series, limits), **wanted}, exact=series.exact)
        positions = {pair: position for position, pair in enumerate(series.pairs)}
        return _seen_last(found, np.array([positions[pair] for pair in found["pair"].to_pylist()], np.int64))
    (pair,) = series.pairs
    text = _STORED.format(columns="* EXCLUDE (pair, timeframe)", pairs="pair = $pair")
    found = engine.fetch(text, {**_params(series, limits), "pair": pair}, exact=series.exact)
    found = _seen_last(found, np.zeros(found.num_rows, np.int64))
    return labelled(found, pair=pair, timeframe=series.timeframe)


def _params(series: CandleQuery, limits: Range) -> dict[str, object]:
    return {"timeframe": series.timeframe, "start": limits.start_us, "stop": limits.stop_us}


def _seen_last(table: pa.Table, positions: _Integers) -> pa.Table:
    """Return the last seen version of each candle, sorted by the position of its pair and by time."""
    times = _integers(table, "time")
    steps, later = np.diff(positions), np.diff(times)
    if np.all((steps > 0) | ((steps == 0) & (later > 0))):
        return table
    order = np.lexsort((_integers(table, "seen"), times, positions))
    last = np.ones(len(order), bool)
    last[:-1] = (np.diff(positions[order]) != 0) | (np.diff(times[order]) != 0)
    return table.take(pa.array(order[last]))


def _is_whole(engine: Engine, held: pa.Table, series: CandleQuery, limits: Range) -> bool:
    """Return whether no candle can be lost in the range: none between two, nor one between two beyond its ends.

    Always false for several pairs.
    """
    times = _integers(held, "time")
    if len(series.pairs) > 1 or not len(times) or lost(held, series):
        return False
    lacks_first = limits.start_us is not None and times[0] > limits.start_us
    lacks_last = limits.stop_us is not None and times[-1] < limits.stop_us - series.width_us
    beyond = Range(limits.start_us if lacks_first else None, limits.stop_us if lacks_last else None)
    params = _params(series, beyond) | {"pair": series.pairs[0]}
    return not (lacks_first or lacks_last) or not engine.fetch(_BEYOND, params).num_rows


def _integers(table: pa.Table, column: str) -> _Integers:
    found: _Integers = table[column].cast(pa.int64()).to_numpy()
    return found
