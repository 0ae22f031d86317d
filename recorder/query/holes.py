"""Runs of ids with their times, put together over files and journal, and what is missing in a range. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from recorder.archive.schema import HeldSpan
from recorder.query.asked import Range

_SHOWN: Final = 3
"""So many holes in a sentence; the view ``gaps`` lists them all."""


def joined(spans: Iterable[HeldSpan]) -> tuple[HeldSpan, ...]:
    """Return the maximal runs of ids, lowest first."""
    runs: list[HeldSpan] = []
    for span in sorted(spans):
        before = runs[-1] if runs else None
        if before is None or span.first_id > before.last_id + 1:
            runs.append(span)
        elif span.last_id > before.last_id:
            runs[-1] = HeldSpan(before.first_id, span.last_id, before.first_us, span.last_us)
    return tuple(runs)


def missing_in(runs: Sequence[HeldSpan], asked: Range) -> list[HeldSpan]:
    """Return the runs of ids not held of which a trade may lie in the range, with the times of their neighbours.

    Before the first id held something is missing unless it is 1, but only a range that begins there asks for it.
    What comes after the last id nobody knows, so it is no hole.
    """
    start_us, stop_us = asked.start_us, asked.stop_us
    holes = [
        HeldSpan(before.last_id + 1, after.first_id - 1, before.last_us, after.first_us)
        for before, after in pairwise(runs)
    ]
    if runs and runs[0].first_id > 1 and start_us is not None:
        holes.insert(0, HeldSpan(1, runs[0].first_id - 1, start_us, runs[0].first_us))
    return [
        hole
        for hole in holes
        if (start_us is None or hole.last_us >= start_us) and (stop_us is None or hole.first_us < stop_us)
    ]


def sentence(pair: str, holes: Sequence[HeldSpan]) -> str:
    """Say which trades are missing, and what can be done."""
    count = sum(hole.last_id - hole.first_id + 1 for hole in holes)
    shown = "; ".join(
        f"{_ids(hole)} between {_text(hole.first_us)} and {_text(hole.last_us)}" for hole in holes[:_SHOWN]
    )
    more = f"; and {len(holes) - _SHOWN} more holes" if len(holes) > _SHOWN else ""
    return (
        f"trades of {pair} in this range are not archived, {count} in all ({shown}{more}): let `recorder run` fetch "
        f"them, ask for a range without them, or pass on_gap='warn' or 'ignore'"
    )


def _ids(hole: HeldSpan) -> str:
    return f"id {hole.first_id}" if hole.first_id == hole.last_id else f"ids {hole.first_id} to {hole.last_id}"


def _text(time_us: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us):%Y-%m-%dT%H:%M:%S.%fZ}"
