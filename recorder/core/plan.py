"""What is fetched next.

Live trades and the tail do not wait for this plan: they come by the stream, and by tasks of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from recorder.core.ids import Gap
from recorder.core.ledger import History

SHORT: Final = 50_000
"""A gap of more ids is a stretch of history: it takes minutes to days, and must not keep others waiting."""

Work = Gap | History


def plan(gaps: Iterable[Gap], histories: Iterable[History] = ()) -> list[Work]:
    """Order what is to be fetched: short gaps, then long ones, then what lies before the first id held.

    The newest first in each, because recent rows are what users look at soonest.
    """
    return sorted([*gaps, *histories], key=_turn)


def is_history(work: Work) -> bool:
    """Tell whether this is a stretch of history, which may wait for weeks, and not what a run of the recorder left."""
    return isinstance(work, History) or len(work.span) > SHORT


def _turn(work: Work) -> tuple[int, int]:
    if isinstance(work, History):
        return 2, -work.before_us
    return int(is_history(work)), -(work.before_us or 0)
