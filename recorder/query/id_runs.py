"""Runs of ids with their times, merged over files and journal, and the gaps in a range. Pure.

Also gaps in the exchange's candles, which have no ids, but one candle for each interval.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from recorder.core.evidence import Promise
from recorder.core.gaps import open_gaps
from recorder.core.plausibility import EARLIEST_US
from recorder.core.trade_ids import Gap, Run, Span, Spans
from recorder.object_store import is_address
from recorder.query import arguments
from recorder.query.arguments import Range

_SHOWN: Final = 3
"""The maximum number of gaps, or pairs, in a message; the view ``gaps`` lists them all."""
ON_GAP: Final = "pass on_gap='warn' or 'ignore'"
"""What messages advise a caller in Python."""
SHOWN_GAP: Final = f"{ON_GAP}, or 'split' or 'null' to see where"
"""The same where a gap has two sides."""
YEAR_US: Final = 366 * 86_400_000_000
"""A trade stamped this far ahead of now cannot have been made then; the view ``certificates`` has the same limit."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def missing_in(
    runs: Sequence[Run],
    requested: Range,
    absent: Iterable[Span] = (),
    promise: Promise | None = None,
    *,
    now_us: int | None = None,
) -> list[Gap]:
    """Return the gaps in which a trade of the range may be; ``runs`` are those of one pair.

    Ids between the anchor of the ``promise`` and the first stored id are missing too. Ids below both, or after the last
    id, are no gap: the former are not promised, and the latter are unknown. Nor are ``absent`` ids, which need not be
    stored. A time after ``now_us`` at which no trade can have been made is no bound.
    """
    gaps = open_gaps(runs[0].pair, runs, Spans(absent), promise) if runs else []
    return [gap for gap in gaps if _touches(gap, requested.start_us, requested.stop_us, now_us)]


def _touches(gap: Gap, start_us: int | None, stop_us: int | None, now_us: int | None) -> bool:
    """Return whether a trade of a gap may be in the range."""
    after_us, before_us = gap.after_us or 0, gap.before_us or 0
    if now_us is not None:
        after_us, before_us = (
            after_us if EARLIEST_US <= after_us <= now_us + YEAR_US else -sys.maxsize,
            before_us if EARLIEST_US <= before_us <= now_us + YEAR_US else sys.maxsize,
        )
    return (start_us is None or before_us >= start_us) and (stop_us is None or after_us < stop_us)


def count(gaps: Iterable[Gap]) -> int:
    """Return the total number of ids."""
    return sum(len(gap.span) for gap in gaps)


def sentence(missing: Mapping[str, Sequence[Gap]], data: Path) -> str:
    """Return a message that names the missing trades and pairs, and the command that fetches them."""
    lacking = [f"{pair} lacks {count(holes)} ({_shown(holes)})" for pair, holes in islice(missing.items(), _SHOWN)]
    more = f"; and {len(missing) - _SHOWN} more pairs lack some" if len(missing) > _SHOWN else ""
    ends_us = [(gap.after_us or 0, gap.before_us or 0) for gaps in missing.values() for gap in gaps]
    command = _command(list(missing), min(after for after, _ in ends_us), max(before for _, before in ends_us), data)
    return (
        f"trades in this range are not archived: {'; '.join(lacking)}{more}. Fetch them with `{command}` (or let "
        f"`recorder run` do it), ask for a range without them, or {SHOWN_GAP}"
    )


def late(begins: Mapping[str, int]) -> str:
    """Return a message that names the pairs that begin later than the range, and when.

    >>> late({"BTC/USD": 1_762_732_800_000_000})
    'the range begins before what is archived: BTC/USD begins at 2025-11-10T00:00:00.000000Z'
    """
    sentences = [f"{pair} begins at {text(moment_us)}" for pair, moment_us in islice(begins.items(), _SHOWN)]
    more = f"; and {len(begins) - _SHOWN} more pairs begin later" if len(begins) > _SHOWN else ""
    return f"the range begins before what is archived: {'; '.join(sentences)}{more}"


def late_sentence(begins: Mapping[str, int], start_us: int, data: Path) -> str:
    """Return the same message, with the command that fetches the earlier trades."""
    command = _command(list(begins), start_us, max(begins.values()), data)
    return f"{late(begins)}. Ask from there on, fetch what was traded before with `{command}`, or {ON_GAP}"


@dataclass(frozen=True, slots=True)
class LostCandles:
    """Candles of one pair that are missing between two existing ones: the starts of the first and the last, in µs."""

    first_us: int
    last_us: int
    count: int


def lost_in(
    pairs: Sequence[str], starts_us: Sequence[int] | npt.NDArray[np.int64], width_us: int
) -> dict[str, list[LostCandles]]:
    """Return the gaps in each pair's candles, which begin at ``starts_us``, ascending.

    ``pairs`` names the pair of each candle, or is one for all.

    >>> lost_in(["A/B"], [0, 60, 240], 60)
    {'A/B': [LostCandles(first_us=120, last_us=180, count=2)]}
    """
    lost: dict[str, list[LostCandles]] = {}
    starts = np.asarray(starts_us, np.int64)
    for at in np.flatnonzero(np.diff(starts) > width_us).tolist():
        pair = pairs[0] if len(pairs) == 1 else pairs[at]
        if len(pairs) == 1 or pairs[at + 1] == pair:
            before, after = int(starts[at]), int(starts[at + 1])
            lost.setdefault(pair, []).append(
                LostCandles(before + width_us, after - width_us, (after - before) // width_us - 1)
            )
    return lost


def candle_sentence(lost: Mapping[str, Sequence[LostCandles]], timeframe: str, data: Path, *, filled: bool) -> str:
    """Return a message that names the lost candles and their pairs, and what can substitute for them."""
    lacking = []
    for pair, stretches in islice(lost.items(), _SHOWN):
        shown = "; ".join(
            f"{_second(one.first_us)}" + (f" to {_second(one.last_us)}" if one.count > 1 else "")
            for one in stretches[:_SHOWN]
        )
        more = f"; and {len(stretches) - _SHOWN} more stretches" if len(stretches) > _SHOWN else ""
        lacking.append(f"{pair} lacks {sum(one.count for one in stretches)} (those of {shown}{more})")
    more = f"; and {len(lost) - _SHOWN} more pairs lack some" if len(lost) > _SHOWN else ""
    ends = [one for stretches in lost.values() for one in stretches]
    width_us = arguments.timeframe_us(timeframe)
    first_us, last_us = min(one.first_us for one in ends), max(one.last_us for one in ends) + width_us
    command = _command(list(lost), first_us, last_us, data)
    build = "fetch their trades" if filled else "pass filled=True to have them built from trades, fetched if need be"
    return (
        f"{timeframe} candles in this range were never recorded, and the exchange no longer gives them: "
        f"{'; '.join(lacking)}{more}. To stand in for them {build} with `{command}`; ask for a range without them; or "
        f"{SHOWN_GAP}"
    )


def _shown(holes: Sequence[Gap]) -> str:
    shown = "; ".join(
        f"{_ids(hole)} between {text(hole.after_us or 0)} and {text(hole.before_us or 0)}" for hole in holes[:_SHOWN]
    )
    return shown + (f"; and {len(holes) - _SHOWN} more holes" if len(holes) > _SHOWN else "")


def _command(pairs: Sequence[str], first_us: int, last_us: int, data: Path) -> str:
    """Return the command that fetches all trades of these pairs between two times, widened to whole seconds."""
    names = " ".join(pairs[:_SHOWN]) + (" …" if len(pairs) > _SHOWN else "")
    ends = f"--from {_second(first_us)} --to {_second(last_us + 1_000_000)}"
    folder = "FOLDER_IT_WAS_COPIED_FROM" if is_address(data) else shlex.quote(str(data))
    return f"recorder backfill {names} {ends} --data {folder}"


def _ids(hole: Gap) -> str:
    return f"id {hole.span.first}" if len(hole.span) == 1 else f"ids {hole.span.first} to {hole.span.last}"


def text(time_us: int) -> str:
    """Return a time, in µs since 1970 UTC, as ISO 8601."""
    return f"{_EPOCH + timedelta(microseconds=time_us):%Y-%m-%dT%H:%M:%S.%fZ}"


def _second(time_us: int) -> str:
    return f"{_EPOCH + timedelta(seconds=time_us // 1_000_000):%Y-%m-%dT%H:%M:%SZ}"
