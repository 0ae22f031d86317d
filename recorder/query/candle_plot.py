"""Candles of an archive for a chart: the bars of a pair over a range, and what is known of the time between them.

Contains the choice of the timeframe: for a still the finest whose bars can be seen, for a page the finest that fits.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from recorder.chart.candles import DATA_BYTES, Band, Bar, CandleChart, Kind, candidates
from recorder.core.model import TIMEFRAMES
from recorder.errors import UsageError
from recorder.query import bulk_candles
from recorder.query.arguments import Range
from recorder.query.bulk_candles import Uncovered
from recorder.query.chart_rows import Axis, Bars, Row, bar_begin, micros, moment, text, width_us
from recorder.query.connect import Archive

BAR_PX: Final = 3
"""A candle of a still that is narrower than this shows neither its body nor its colour."""

_HELD: Final = """
SELECT epoch_us(min(first_time)) AS first_us, epoch_us(max(last_time)) AS last_us FROM coverage
WHERE pair = $pair AND (proof = 'ids' OR $bulk)
"""
# What is neither stored nor absent, as the candles' column complete counts it.
_UNKNOWN: Final = """
SELECT
    CASE
        WHEN before_time IS NULL AND before_id IS NULL THEN 'after'
        WHEN before_id IS NULL OR (after_id IS NULL AND after_time IS NULL) THEN 'before'
        ELSE 'missing'
    END AS kind,
    epoch_us(after_time) AS from_us,
    epoch_us(before_time) AS until_us,
    CASE WHEN before_id IS NOT NULL THEN last_id - first_id + 1 END AS missing
FROM pair_unknown_ids($pair)
WHERE coalesce(before_time >= make_timestamptz($first), true) AND coalesce(after_time < make_timestamptz($last), true)
"""
# The gaps that opened while the pair was recorded, and how many of their ids are stored by now. What is fetched of the
# time before the promise is history. A gap that is open at a start is noted again; one within another is left out.
_REPAIRED: Final = """
WITH
opened AS (
    SELECT
        (e.detail ->> 'first_id')::BIGINT AS first_id,
        (e.detail ->> 'last_id')::BIGINT AS last_id,
        max((e.detail ->> 'missing')::BIGINT) AS missing,
        epoch_us(min((e.detail ->> 'after')::TIMESTAMPTZ)) AS from_us,
        epoch_us(max((e.detail ->> 'before')::TIMESTAMPTZ)) AS until_us
    FROM events AS e
    WHERE e.pair = $pair AND e.kind = 'hole_opened'
        AND (e.detail ->> 'after')::TIMESTAMPTZ
        > (SELECT min(p.time) FROM events AS p WHERE p.pair = $pair AND p.kind = 'promised')
    GROUP BY ALL
),
stored AS (
    SELECT o.first_id, sum(least(c.last_id, o.last_id) - greatest(c.first_id, o.first_id) + 1) AS ids
    FROM opened AS o
    JOIN coverage AS c
        ON c.pair = $pair AND c.proof = 'ids' AND c.first_id <= o.last_id AND c.last_id >= o.first_id
    GROUP BY o.first_id, o.last_id
)
SELECT 'repaired' AS kind, o.from_us, o.until_us, (s.ids - (o.last_id - o.first_id + 1 - o.missing))::BIGINT AS missing
FROM opened AS o
JOIN stored AS s
    USING (first_id)
ANTI JOIN opened AS wider
    ON wider.first_id <= o.first_id AND wider.last_id >= o.last_id
    AND (wider.first_id < o.first_id OR wider.last_id > o.last_id)
WHERE o.until_us >= $first AND o.from_us < $last
"""


@dataclass(frozen=True, slots=True)
class CandleSource:
    """The candles of one pair in an archive, over a range. ``first_us`` and ``last_us`` are the ends of the bars.

    With ``bulk``, history files are counted in, and the time of their bars is shaded.
    """

    archive: Archive
    pair: str
    timeframe: str
    limits: Range
    first_us: int
    last_us: int
    bulk: bool = False

    def chart(self) -> CandleChart:
        """Return the interactive chart: the finest bars, no finer than asked for, that a page has room for.

        Raise UsageError if no trade is stored in the range.
        """
        for name in candidates(self.timeframe, self.last_us - self.first_us):
            rows = self.rows(name, exact=True)
            axis = self.axis(rows, name)
            bars = [_bar(row) for row in rows]
            bands = [*self.bands(axis, rows, name), *_outside(axis, self._ends())]
            chart = CandleChart(
                self.pair, name, bars, bands, axis.first_us, axis.last_us, _notes(name, finer=self.timeframe)
            )
            if len(chart.json().encode()) <= DATA_BYTES:
                break
        return chart

    def still(self, width: int) -> Bars:
        """Return the bars that can be seen on ``width`` pixels. Raise UsageError if no trade is stored in the range."""
        name = fitting(self.timeframe, self.last_us - self.first_us, width)
        rows = self.rows(name, exact=False)
        axis = self.axis(rows, name)
        return Bars(
            rows, name, axis, self.bands(axis, rows, name), finer=self.timeframe if self.timeframe != name else None
        )

    def rows(self, timeframe: str, *, exact: bool) -> list[Row]:
        """Return the candles, in whole bars. Raise UsageError if there are none."""
        rows: list[Row] = []
        if self.first_us < self.last_us:
            begin, end = moment(bar_begin(self.first_us, timeframe)), moment(self.last_us)
            table = self.archive.candles(
                self.pair, timeframe, begin, end, on_gap="ignore", to="arrow", decimals=exact, bulk=self.bulk
            )
            rows = table.to_pylist()
        if not rows:
            first, last = (text(end) for end in self._ends())
            raise UsageError(
                f"no trade of {self.pair} is stored in this range; the archive has it from {first} to {last}"
            )
        return rows

    def axis(self, rows: Sequence[Row], timeframe: str) -> Axis:
        """Return the requested range in whole bars; an open end extends as far as there are bars."""
        start_us, stop_us = self.limits.start_us, self.limits.stop_us
        first_us = micros(rows[0]["time"]) if start_us is None else bar_begin(start_us, timeframe)
        last_us = micros(rows[-1]["time"]) + width_us(timeframe)
        return Axis(first_us, last_us if stop_us is None else max(stop_us, last_us))

    def bands(self, axis: Axis, rows: Sequence[Row], timeframe: str) -> list[Band]:
        """Return what is known of the time on the axis, and the sources of the rows."""
        if self.bulk:
            known = _ask(self.archive, bulk_candles.KNOWN, pair=self.pair, timeframe=timeframe)
            lacking = bulk_candles.uncovered(known, timeframe, Range(axis.first_us, axis.last_us))
            return [*_of_sources(rows, timeframe), *_of_gaps(rows, lacking, timeframe)]
        limits = {"pair": self.pair, "first": axis.first_us, "last": axis.last_us}
        found = [*_ask(self.archive, _UNKNOWN, **limits), *_ask(self.archive, _REPAIRED, **limits)]
        return [Band(**row) for row in found if row["kind"] != "repaired" or row["missing"] > 0]

    def _ends(self) -> tuple[int, int]:
        (held,) = _ask(self.archive, _HELD, pair=self.pair, bulk=self.bulk)
        return held["first_us"], held["last_us"]


def source(archive: Archive, pair: str, timeframe: str, limits: Range, *, bulk: bool = False) -> CandleSource:
    """Return the candles of a pair that has trades, or rows of history files if these are counted in."""
    (held,) = _ask(archive, _HELD, pair=pair, bulk=bulk)
    first_us = held["first_us"] if limits.start_us is None else limits.start_us
    last_us = held["last_us"] + 1 if limits.stop_us is None else limits.stop_us
    return CandleSource(archive, pair, timeframe, limits, first_us, last_us, bulk)


def fitting(timeframe: str, span_us: int, width: int) -> str:
    """Return the finest timeframe, no finer than ``timeframe``, whose bars over ``span_us`` are BAR_PX wide or more.

    >>> fitting("1m", 3_600_000_000, 1000), fitting("1m", 30 * 86_400_000_000, 1000)
    ('1m', '4h')
    """
    longer = [name for name in TIMEFRAMES if TIMEFRAMES[name] >= TIMEFRAMES[timeframe]]
    fit = (name for name in longer if span_us * BAR_PX <= width_us(name) * width)
    return next(fit, longer[-1])


def _bar(row: Row) -> Bar:
    prices = (row["open"], row["high"], row["low"], row["close"])
    return Bar(micros(row["time"]), *prices, row["volume"], row["count"])


def _of_sources(rows: Sequence[Row], timeframe: str) -> list[Band]:
    """Return the time of bars that do not come from trades, by their source."""
    kinds: dict[str, Kind] = {"bulk_trades": "imported", "bulk_ohlc": "published"}
    bands = []
    for origin, group in itertools.groupby(rows, lambda row: row["origin"]):
        if origin in kinds:
            inside = list(group)
            bands.append(Band(kinds[origin], micros(inside[0]["time"]), _end_us(inside[-1], timeframe)))
    return bands


def _of_gaps(rows: Sequence[Row], lacking: Sequence[Uncovered], timeframe: str) -> list[Band]:
    """Return the time of bars that are not complete, and of bars that no source covers."""
    bands = [
        Band("missing", micros(inside[0]["time"]), _end_us(inside[-1], timeframe))
        for complete, group in itertools.groupby(rows, lambda row: row["complete"])
        if not complete and (inside := list(group))
    ]
    ends = ((one.first_us, one.first_us + one.bars * width_us(timeframe) - 1) for one in lacking)
    return [*bands, *(Band("missing", *both) for both in ends)]


def _end_us(row: Row, timeframe: str) -> int:
    return micros(row["time"]) + width_us(timeframe) - 1


def _outside(axis: Axis, held: tuple[int, int]) -> list[Band]:
    """Return the trades that are stored and not on the axis, which longer bars at its ends may lack."""
    bands = []
    if held[0] < axis.first_us:
        bands.append(Band("outside", None, axis.first_us - 1))
    if held[1] >= axis.last_us:
        bands.append(Band("outside", axis.last_us, None))
    return bands


def _notes(drawn: str, *, finer: str) -> list[str]:
    if drawn == finer:
        return []
    return [f"{drawn} bars, because a page of so long a range has no room for {finer}; a shorter range has."]


def _ask(archive: Archive, question: str, **params: Any) -> list[Row]:  # noqa: ANN401 -- whatever SQL accepts
    found: list[Row] = archive.sql(question, to="arrow", **params).to_pylist()
    return found
