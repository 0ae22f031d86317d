"""Recorded quotes: their rows by session and message, and the parts of a range of which nothing is known.

Quotes have no ids that show what is missing. What shows it are sessions: between two of them nothing was recorded, and
a message number without a row was a frame that could not be read. Does not know when to retry, or which snapshot is
used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, Final

import pyarrow as pa

from recorder.query.arguments import Range
from recorder.query.engine import Engine
from recorder.query.id_runs import ON_GAP
from recorder.query.id_runs import text as moment_text
from recorder.query.provenance import SHOWN

_ROWS: Final = """
    SELECT * EXCLUDE (pair)
    FROM quotes
    WHERE pair = $pair
        AND ($start IS NULL OR received >= make_timestamptz($start))
        AND ($stop IS NULL OR received < make_timestamptz($stop))
        AND ($first_session IS NULL OR session >= $first_session)
        AND ($last_session IS NULL OR session <= $last_session)
        AND ($first_session IS NULL OR session > $first_session OR message >= $first_message)
        AND ($last_session IS NULL OR session < $last_session OR message <= $last_message)
    ORDER BY session, message
"""
_HELD: Final = """
    SELECT session, min(message) AS first, max(message) AS last, count(*) AS rows
    FROM quotes
    WHERE pair = $pair
        AND ($start IS NULL OR received >= make_timestamptz($start))
        AND ($stop IS NULL OR received < make_timestamptz($stop))
    GROUP BY session
    ORDER BY session
"""
_SESSIONS: Final = """
    SELECT
        session,
        epoch_us(first_received) AS start_us,
        greatest(epoch_us(last_received), coalesce(epoch_us(ended), 0)) AS stop_us
    FROM quote_sessions
    WHERE pair = $pair AND first_received IS NOT NULL
    ORDER BY first_received, session
"""
HELD_PAIRS: Final = "SELECT DISTINCT pair FROM quote_sessions"
_OUTSIDE: Final = """
    SELECT coalesce(sum(rows), 0)::BIGINT AS rows
    FROM quotes_outside_sessions($pair, make_timestamptz($start), make_timestamptz($stop))
"""
_SHOWN: Final = 3
"""The maximum number of stretches, or pairs, in a message."""


@dataclass(frozen=True, slots=True)
class SessionRows:
    """The rows of one session in a range: lowest and highest message, and how many there are."""

    session: int
    first: int
    last: int
    rows: int


@dataclass(frozen=True, slots=True)
class Window:
    """Neighbouring rows of one pair, from one (session, message) to another."""

    first: tuple[int, int]
    last: tuple[int, int]


@dataclass(frozen=True, slots=True)
class KnownQuotes:
    """What is recorded of one pair in a range.

    ``unknown`` are the stretches of the range between sessions, from and to in µs since 1970 UTC. ``missing`` is the
    number of frames that came and are not stored, ``outside`` that of rows of which `quote_sessions` does not tell.
    ``begins_us`` is when the first session begins, if that is later than the range.
    """

    sessions: tuple[SessionRows, ...]
    unknown: tuple[tuple[int, int], ...] = ()
    missing: int = 0
    outside: int = 0
    begins_us: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether there is nothing to report."""
        return not (self.unknown or self.missing or self.outside) and self.begins_us is None


@dataclass(frozen=True, slots=True)
class QuoteProvenance:
    """The quotes used for a result: for each pair its sessions, with the first and the last message used."""

    known: Mapping[str, KnownQuotes] = field(default_factory=dict)

    def attrs(self) -> dict[str, Any]:
        """Return plain values for JSON: sessions, unknown, missing, outside, begins and digest."""
        return {
            "sessions": {
                pair: [[one.session, one.first, one.last] for one in known.sessions[:SHOWN]]
                for pair, known in self.known.items()
            },
            "unknown": {
                pair: [[moment_text(start), moment_text(stop)] for start, stop in known.unknown[:SHOWN]]
                for pair, known in self.known.items()
            },
            "missing": {pair: known.missing for pair, known in self.known.items()},
            "outside": {pair: known.outside for pair, known in self.known.items()},
            "begins": {
                pair: moment_text(known.begins_us) for pair, known in self.known.items() if known.begins_us is not None
            },
            "digest": self._digest(),
        }

    def _digest(self) -> str:
        lines = (
            f"{pair},{one.session},{one.first},{one.last},{one.rows}\n"
            for pair in sorted(self.known)
            for one in self.known[pair].sessions
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def known(engine: Engine, pair: str, limits: Range) -> KnownQuotes:
    """Return what is recorded of a pair in a range."""
    params = _params(pair, limits)
    held = tuple(SessionRows(**row) for row in engine.fetch(_HELD, params).to_pylist())
    sessions = engine.fetch(_SESSIONS, {"pair": pair}).to_pylist()
    begins_us = None
    if sessions and limits.start_us is not None and limits.start_us < sessions[0]["start_us"]:
        begins_us = sessions[0]["start_us"]
    return KnownQuotes(
        held,
        tuple(unknown_stretches(sessions, limits)),
        sum(one.last - one.first + 1 - one.rows for one in held),
        engine.fetch(_OUTSIDE, params)["rows"][0].as_py(),
        begins_us,
    )


def unknown_stretches(sessions: Sequence[Mapping[str, int]], limits: Range) -> Iterator[tuple[int, int]]:
    """Yield the stretches between sessions that the range touches."""
    reached_us = None
    for before, after in pairwise(sessions):
        reached_us = before["stop_us"] if reached_us is None else max(reached_us, before["stop_us"])
        start_us = reached_us if limits.start_us is None else max(reached_us, limits.start_us)
        stop_us = after["start_us"] if limits.stop_us is None else min(after["start_us"], limits.stop_us)
        if start_us < stop_us:
            yield start_us, stop_us


def rows(engine: Engine, pair: str, limits: Range, window: Window | None, *, exact: bool) -> pa.Table:
    """Return the quotes of one pair by session and message, all of the range or those of a window."""
    (first_session, first_message), (last_session, last_message) = (
        ((None, None), (None, None)) if window is None else (window.first, window.last)
    )
    params = _params(pair, limits) | {
        "first_session": first_session,
        "first_message": first_message,
        "last_session": last_session,
        "last_message": last_message,
    }
    return engine.fetch(_ROWS, params, exact=exact)


def windows(sessions: Sequence[SessionRows], size: int) -> Iterator[Window]:
    """Cut sessions into windows with at most ``size`` messages each; a window may span sessions.

    >>> list(windows([SessionRows(7, 0, 2, 3), SessionRows(9, 0, 1, 2)], 4))
    [Window(first=(7, 0), last=(9, 0)), Window(first=(9, 1), last=(9, 1))]
    """
    first: tuple[int, int] | None = None
    room = size
    last = (0, 0)
    for one in sessions:
        at = one.first
        while at <= one.last:
            first = first or (one.session, at)
            taken = min(room, one.last - at + 1)
            last, at, room = (one.session, at + taken - 1), at + taken, room - taken
            if room == 0:
                yield Window(first, last)
                first, room = None, size
    if first is not None:
        yield Window(first, last)


def used(table: pa.Table) -> tuple[SessionRows, ...]:
    """Return the sessions of rows that are sorted by session and message."""
    found: dict[int, SessionRows] = {}
    sessions, messages = table["session"], table["message"]
    grouped = pa.table({"session": sessions, "message": messages}).group_by("session", use_threads=False)
    for row in grouped.aggregate([("message", "min"), ("message", "max"), ("message", "count")]).to_pylist():
        found[row["session"]] = SessionRows(
            row["session"], row["message_min"], row["message_max"], row["message_count"]
        )
    return tuple(found.values())


def sentence(found: Mapping[str, KnownQuotes]) -> str | None:
    """Return a message about what is not known of a range, None if there is nothing to report."""
    odd = {pair: known for pair, known in found.items() if not known.is_whole}
    if not odd:
        return None
    parts = [f"{pair}: {', '.join(_reasons(known))}" for pair, known in islice(odd.items(), _SHOWN)]
    more = f"; and {len(odd) - _SHOWN} more pairs" if len(odd) > _SHOWN else ""
    return (
        f"not all quotes of this range were recorded, and nobody can fetch them: {'; '.join(parts)}{more}. "
        f"quote_sessions shows when there are some: ask for such a range, or {ON_GAP}"
    )


def _reasons(known: KnownQuotes) -> Iterator[str]:
    if known.begins_us is not None:
        yield f"they begin at {moment_text(known.begins_us)}"
    if known.unknown:
        shown = "; ".join(f"{moment_text(start)} to {moment_text(stop)}" for start, stop in known.unknown[:_SHOWN])
        more = f"; and {len(known.unknown) - _SHOWN} more" if len(known.unknown) > _SHOWN else ""
        yield f"none from {shown}{more}"
    if known.missing:
        yield f"frames that could not be read: {known.missing}"
    if known.outside:
        yield f"quote_sessions lacks {known.outside} rows that are stored"


def _params(pair: str, limits: Range) -> dict[str, object]:
    return {"pair": pair, "start": limits.start_us, "stop": limits.stop_us}
