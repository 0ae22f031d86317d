"""Comparison of candles built from trades with the exchange's, and the reasons for the differences.

Contains the explanation of a difference. The comparison itself is ``queries/macros/candle_audit.sql``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal, get_args

from recorder.core.model import TIMEFRAMES
from recorder.query.connect import Archive

Why = Literal["hole", "revised", "edge", "unexplained"]
"""``hole``: ids are missing inside. ``edge``: the candle extends beyond the archived trades. ``revised``: all trades
are archived, and the exchange has published more than one version of this candle. ``unexplained``: none of these.
"""

WHYS: Final[tuple[Why, ...]] = get_args(Why)

_SERIES: Final = "SELECT DISTINCT pair, timeframe FROM stored_ohlc()"
_AUDIT: Final = """
WITH
held AS (
    SELECT min(after) AS first_time, max(last_time) AS last_time
    FROM pair_known_runs($pair)
),
revised AS (
    SELECT time
    FROM (
        SELECT DISTINCT time, open, high, low, close, vwap, volume, count
        FROM stored_ohlc()
        WHERE pair = $pair AND timeframe = $timeframe
    )
    GROUP BY time
    HAVING count(*) > 1
),
judged AS (
    SELECT
        a.time,
        a.differing,
        CASE
            WHEN a.verdict IN ('equal', 'silent') THEN 'equal'
            WHEN a.verdict = 'missing ohlc' THEN 'unpublished'
            WHEN
                h.last_time IS NULL
                OR a.time <= h.first_time
                OR epoch_us(a.time) + timeframe_us($timeframe) > epoch_us(h.last_time) THEN 'edge'
            WHEN NOT a.complete THEN 'hole'
            WHEN a.time IN (SELECT r.time FROM revised AS r) THEN 'revised'
            ELSE 'unexplained'
        END AS why
    FROM candle_audit($pair, $timeframe, $start, $stop) AS a
    CROSS JOIN held AS h
)
SELECT
    why,
    count(*) AS bars,
    min(time) AS first_time,
    any_value(differing ORDER BY time) AS differing
FROM judged
GROUP BY why
"""


@dataclass(frozen=True, slots=True)
class SeriesAudit:
    """One pair and timeframe: how many of the exchange's candles agree with the trades, and why others do not.

    ``unexplained_at`` is when the first unexplained one begins, and ``differing`` the fields in which it differs.
    """

    pair: str
    timeframe: str
    equal: int
    different: dict[Why, int]
    unexplained_at: datetime | None
    differing: tuple[str, ...]

    @property
    def compared(self) -> int:
        """The number of the exchange's candles that were compared."""
        return self.equal + sum(self.different.values())


def reconcile(
    archive: Archive, pairs: Sequence[str], *, first: date | None = None, last: date | None = None
) -> Iterator[SeriesAudit]:
    """Compare every stored timeframe of ``pairs``, for candles that begin on UTC days from ``first`` to ``last``."""
    start = None if first is None else first.isoformat()
    stop = None if last in {None, date.max} else (last + timedelta(days=1)).isoformat()
    held = {(row["pair"], row["timeframe"]) for row in archive.sql(_SERIES, to="arrow").to_pylist()}
    for pair in pairs:
        for timeframe in (name for name in TIMEFRAMES if (pair, name) in held):
            audit = archive.sql(_AUDIT, to="arrow", pair=pair, timeframe=timeframe, start=start, stop=stop)
            found = {row["why"]: row for row in audit.to_pylist()}
            odd = found.get("unexplained", {})
            yield SeriesAudit(
                pair,
                timeframe,
                equal=found.get("equal", {}).get("bars", 0),
                different={why: found[why]["bars"] for why in WHYS if why in found},
                unexplained_at=odd.get("first_time"),
                differing=tuple(odd.get("differing") or ()),
            )
