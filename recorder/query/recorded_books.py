"""Recorded order books: their changes by session and message, what of a range is not known, and books on a grid.

What shows that something is missing are sessions, as for quotes: between two of them nothing was recorded, and a
message number without rows was not stored. Does not know when to retry, or which snapshot is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple, get_args

import numpy as np
import pyarrow as pa

from recorder.archive.layout import period_of
from recorder.core.certificate import utc_day
from recorder.errors import UsageError
from recorder.object_store import located
from recorder.query.arguments import Clock, OrderSide, Range
from recorder.query.engine import Engine
from recorder.query.id_runs import ON_GAP
from recorder.query.id_runs import text as moment_text
from recorder.query.provenance import SHOWN
from recorder.query.recorded_quotes import unknown_stretches

SIDES: Final = ("bid", "ask")
KINDS: Final = ("snapshot", "update", "evicted", "checkpoint")
DEEPEST: Final = 1_000
"""The levels of a side that a book can have."""
_SPAN_US: Final = 3_600_000_000
"""The longest time between moments of one query: what lies between them is read, and is in memory meanwhile."""
IN_RANGE: Final = """
    pair = $pair
        AND ($start IS NULL OR received >= make_timestamptz($start))
        AND ($stop IS NULL OR received < make_timestamptz($stop))
        AND ($start IS NULL OR date >= utc_day(make_timestamptz($start)))
        AND ($stop IS NULL OR date <= utc_day(make_timestamptz($stop)))
"""
"""Rows of `book` of $pair received from $start until before $stop, in µs since 1970 UTC, NULL an open end."""
_ROWS: Final = f"""
    SELECT * EXCLUDE (pair, date)
    FROM book
    WHERE {IN_RANGE}
    ORDER BY session, message, position
"""  # noqa: S608 -- built of constants
_WINDOW: Final = f"""
    SELECT * EXCLUDE (pair, date)
    FROM book
    WHERE {IN_RANGE} AND date = $day AND session = $session AND message BETWEEN $first AND $last
    ORDER BY message, position
"""  # noqa: S608 -- built of constants
_HELD: Final = f"""
    SELECT
        session,
        date AS day,
        min(message) AS first,
        max(message) AS last,
        count(DISTINCT message) AS messages,
        count(*) AS rows,
        count(DISTINCT message) FILTER (NOT verified) AS unverified
    FROM book
    WHERE {IN_RANGE}
    GROUP BY session, date
    ORDER BY session, date
"""  # noqa: S608 -- built of constants
_MESSAGES: Final = f"""
    SELECT message, count(*) AS rows
    FROM book
    WHERE {IN_RANGE} AND date = $day AND session = $session
    GROUP BY message
    ORDER BY message
"""  # noqa: S608 -- built of constants
_SESSIONS: Final = """
    SELECT
        session,
        epoch_us(first_received) AS start_us,
        greatest(epoch_us(last_received), coalesce(epoch_us(ended), 0)) AS stop_us
    FROM book_sessions
    WHERE pair = $pair AND first_received IS NOT NULL
    ORDER BY first_received, session
"""
HELD_PAIRS: Final = "SELECT DISTINCT pair FROM book_sessions"
_AT: Final = "SELECT * EXCLUDE (pair) FROM book_at($pair, make_timestamptz($moment), depth := $depth, by := $by)"
_SLIPPAGE: Final = (
    "SELECT * EXCLUDE (pair) FROM book_slippage($pair, make_timestamptz($moment), $side, $qty, by := $by)"
)
_GRID: Final = "$pair, make_timestamptz($start), make_timestamptz($stop), to_microseconds($every)"
_BARS: Final = f"SELECT * EXCLUDE (pair) FROM depth_bars({_GRID}, basis_points := $basis_points, by := $by)"  # noqa: S608
_WIDE: Final = """
    SELECT moment, {columns}, session, message, verified
    FROM book_snapshots({grid}, depth := $depth, by := $by)
    ORDER BY moment
"""
_LEVELS: Final = """
    SELECT * EXCLUDE (pair)
    FROM book_levels_between(
        $pair,
        book_grid(make_timestamptz($start), make_timestamptz($stop), to_microseconds($every)),
        make_timestamptz($start),
        make_timestamptz($stop),
        $by
    )
    WHERE level <= $depth
    ORDER BY moment, side DESC, level
"""
_SHOWN: Final = 3


class Question(NamedTuple):
    """A question about the book of one pair: the SQL, and its parameters but the pair."""

    text: str
    params: Mapping[str, object]


class Piece(NamedTuple):
    """Neighbouring messages of one session that were received on one UTC day."""

    session: int
    day: object
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class HeldMessages:
    """What is stored of one session and UTC day in a range."""

    session: int
    day: object
    first: int
    last: int
    messages: int
    rows: int
    unverified: int


@dataclass(frozen=True, slots=True)
class KnownBook:
    """What is recorded of the book of one pair in a range.

    ``unknown`` are the stretches of the range between sessions, from and to in µs since 1970 UTC; ``begins_us`` is when
    the first session begins, if that is later than the range.
    """

    held: tuple[HeldMessages, ...]
    unknown: tuple[tuple[int, int], ...]
    begins_us: int | None

    @property
    def missing(self) -> int:
        """How many messages came and are not stored."""
        before: dict[int, int] = {}
        lacking = 0
        for one in self.held:
            lacking += one.last - before.get(one.session, one.first - 1) - one.messages
            before[one.session] = one.last
        return lacking

    @property
    def unverified(self) -> int:
        """How many messages are as received."""
        return sum(one.unverified for one in self.held)

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the range is unknown."""
        return not (self.unknown or self.missing) and self.begins_us is None


def attrs(found: Mapping[str, KnownBook]) -> dict[str, Any]:
    """Return plain values for JSON: sessions, unknown, missing, unverified and begins."""
    sessions: dict[str, list[list[int]]] = {}
    for pair, known in found.items():
        ends: dict[int, list[int]] = {}
        for one in known.held:
            ends.setdefault(one.session, [one.session, one.first, one.last])[2] = one.last
        sessions[pair] = list(ends.values())[:SHOWN]
    return {
        "sessions": sessions,
        "unknown": {
            pair: [[moment_text(start), moment_text(stop)] for start, stop in known.unknown[:SHOWN]]
            for pair, known in found.items()
        },
        "missing": {pair: known.missing for pair, known in found.items()},
        "unverified": {pair: known.unverified for pair, known in found.items()},
        "begins": {pair: moment_text(known.begins_us) for pair, known in found.items() if known.begins_us is not None},
    }


def sentence(found: Mapping[str, KnownBook]) -> str | None:
    """Return a message about what is not known of a range, None if there is nothing to report."""
    odd = {pair: known for pair, known in found.items() if not known.is_whole}
    if not odd:
        return None
    parts = [f"{pair}: {', '.join(_reasons(known))}" for pair, known in islice(odd.items(), _SHOWN)]
    more = f"; and {len(odd) - _SHOWN} more pairs" if len(odd) > _SHOWN else ""
    return (
        f"not all of the book in this range was recorded, and nobody can fetch it: {'; '.join(parts)}{more}. "
        f"book_sessions shows when it was: ask for such a range, or {ON_GAP}"
    )


def _reasons(known: KnownBook) -> Iterator[str]:
    if known.begins_us is not None:
        yield f"it begins at {moment_text(known.begins_us)}"
    if known.unknown:
        shown = "; ".join(f"{moment_text(start)} to {moment_text(stop)}" for start, stop in known.unknown[:_SHOWN])
        more = f"; and {len(known.unknown) - _SHOWN} more" if len(known.unknown) > _SHOWN else ""
        yield f"nothing from {shown}{more}"
    if known.missing:
        yield f"messages that are not stored: {known.missing}"


def known(engine: Engine, pair: str, limits: Range) -> KnownBook:
    """Return what is recorded of the book of a pair in a range."""
    held = tuple(HeldMessages(**row) for row in engine.fetch(_HELD, _params(pair, limits)).to_pylist())
    sessions = engine.fetch(_SESSIONS, {"pair": pair}).to_pylist()
    late = bool(sessions) and limits.start_us is not None and limits.start_us < sessions[0]["start_us"]
    return KnownBook(held, tuple(unknown_stretches(sessions, limits)), sessions[0]["start_us"] if late else None)


def rows(engine: Engine, pair: str, limits: Range, *, exact: bool) -> pa.Table:
    """Return the changes of a book by session, message and position."""
    return engine.fetch(_ROWS, _params(pair, limits), exact=exact)


def piece_rows(engine: Engine, pair: str, limits: Range, piece: Piece, *, exact: bool) -> pa.Table:
    """Return the changes of a piece."""
    return engine.fetch(_WINDOW, _params(pair, limits) | piece._asdict(), exact=exact)


def nothing_known(pair: str, moment: object) -> UsageError:
    """Return the error of a moment at which nothing is known of a book."""
    return UsageError(f"nothing is known of the book of {pair} at {moment}: book_sessions tells when it was recorded")


def may_have(path: str, limits: Range) -> bool:
    """Return whether a file of the table can have rows of a range, by its date.

    >>> day_us = 86_400_000_000
    >>> [may_have("book/pair=X/date=1970-01-02/a.parquet", Range(day_us * n, None)) for n in (1, 2)]
    [True, False]
    """
    date = period_of(located(path).parent) or ""
    is_early = limits.start_us is not None and date < str(utc_day(limits.start_us))
    return not is_early and (limits.stop_us is None or date <= str(utc_day(limits.stop_us)))


def pieces(engine: Engine, pair: str, limits: Range, held: HeldMessages, size: int) -> list[Piece]:
    """Cut the messages of a session and day into pieces of at most ``size`` rows; a message is never cut."""
    if held.rows <= size:
        return [Piece(held.session, held.day, held.first, held.last)]
    params = _params(pair, limits) | {"session": held.session, "day": held.day}
    counted = engine.fetch(_MESSAGES, params)
    messages, sums = counted["message"].to_numpy(), np.cumsum(counted["rows"].to_numpy())
    return [Piece(held.session, held.day, int(messages[low]), int(messages[high])) for low, high in cuts(sums, size)]


def cuts(sums: Any, size: int) -> Iterator[tuple[int, int]]:  # noqa: ANN401 -- an array of numpy
    """Yield the first and last place of each run of messages with at most ``size`` rows, by their cumulated numbers.

    >>> list(cuts(np.array([2, 4, 9, 10]), 4))  # messages of 2, 2, 5 and 1 rows
    [(0, 1), (2, 2), (3, 3)]
    """
    low = 0
    while low < len(sums):
        before = int(sums[low - 1]) if low else 0
        high = max(low, int(np.searchsorted(sums, before + size, side="right")) - 1)
        yield low, high
        low = high + 1


def at(moment_us: int, depth: object, by: str) -> Question:
    """Ask for the book at a moment. Raise UsageError."""
    return Question(_AT, {"moment": moment_us, "depth": _depth(depth), "by": _clock(by)})


def slippage(moment_us: int, side: str, qty: object, by: str) -> Question:
    """Ask for what an order would have been filled at. Raise UsageError."""
    if side not in get_args(OrderSide):
        raise UsageError(f"there is no side {side!r} of an order: use one of {', '.join(get_args(OrderSide))}")
    return Question(_SLIPPAGE, {"moment": moment_us, "side": side, "qty": qty, "by": _clock(by)})


def snapshots(depth: object, by: str, *, wide: bool) -> Question:
    """Ask for the book at the moments of a grid. Raise UsageError."""
    levels = _depth(depth)
    if not wide:
        return Question(_LEVELS, {"depth": levels, "by": _clock(by)})
    columns = ", ".join(
        f"{side}s[{level + 1}].{name} AS {side}_{name}_{level}"
        for level in range(levels)
        for side in SIDES
        for name in ("price", "qty")
    )
    text = _WIDE.format(columns=columns, grid=_GRID)
    return Question(text, {"depth": levels, "by": _clock(by)})


def bars(basis_points: object, by: str) -> Question:
    """Ask for the depth near the middle at the moments of a grid. Raise UsageError."""
    if not isinstance(basis_points, (int, float)) or isinstance(basis_points, bool) or not 0 < basis_points <= 10_000:
        raise UsageError(f"basis_points is a number above 0 and at most 10,000, not {basis_points!r}")
    return Question(_BARS, {"basis_points": basis_points, "by": _clock(by)})


def spans(limits: Range, every_us: int) -> Iterator[Range]:
    """Cut a range into those that are queried at once; raise UsageError if an end is open.

    >>> [(one.start_us, one.stop_us) for one in spans(Range(5, 7_200_000_001), 3_600_000_000)]
    [(3600000000, 7200000000), (7200000000, 7200000001)]
    """
    if limits.start_us is None or limits.stop_us is None:
        raise UsageError("a grid of moments needs both start and stop")
    start_us = -(-limits.start_us // every_us) * every_us
    width_us = max(1, _SPAN_US // every_us) * every_us
    while start_us < limits.stop_us:
        # Where moments are further apart, nothing between them is read: each has its own query.
        yield Range(start_us, min(start_us + min(width_us, _SPAN_US), limits.stop_us))
        start_us += width_us


def _depth(depth: object) -> int:
    if not isinstance(depth, int) or isinstance(depth, bool) or not 1 <= depth <= DEEPEST:
        raise UsageError(f"depth is the number of levels of each side, from 1 to {DEEPEST:,}, not {depth!r}")
    return depth


def _clock(by: str) -> str:
    if by not in get_args(Clock):
        raise UsageError(f"there is no clock {by!r}: by is one of {', '.join(get_args(Clock))}")
    return by


def _params(pair: str, limits: Range) -> dict[str, object]:
    return {"pair": pair, "start": limits.start_us, "stop": limits.stop_us}
