"""Which stored rows of a book a replay needs: a whole book first, the changes after it, a whole book after each gap.

Pure. Checkpoints repeat what the messages before them lead to. One is kept where the state is not known, and as the
first whole book of each UTC date, so that the files of a day can be replayed alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_DAY_US = 86_400_000_000

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(slots=True)
class BookStream:
    """Chooses among the rows of one pair, which come in the order of session, message and position.

    ``refuted`` are the messages, as (session, message), whose checksum did not hold. No batch ends within a message.
    """

    refuted: Collection[tuple[int, int]] = ()
    _last: tuple[int, int] = (-1, -1)
    _is_known: bool = False
    _whole_day: int = -1

    def choose(self, session: Integers, message: Integers, whole: Flags, received_us: Integers) -> tuple[Flags, Flags]:
        """Return for each row whether it is kept, and whether it is of a whole book that replaces what was before."""
        if not len(session):
            return whole, whole
        first = np.ones(len(session), bool)
        first[1:] = (session[1:] != session[:-1]) | (message[1:] != message[:-1])
        starts = np.flatnonzero(first)
        kept, replaces = self._messages(session[starts], message[starts], whole[starts], received_us[starts])
        number = np.cumsum(first) - 1
        return kept[number], replaces[number]

    def _messages(
        self, session: Integers, message: Integers, whole: Flags, received_us: Integers
    ) -> tuple[Flags, Flags]:
        """Do the same for messages."""
        before_session = np.concatenate(([self._last[0]], session[:-1]))
        before_message = np.concatenate(([self._last[1]], message[:-1]))
        follows = (session == before_session) & (message == before_message + 1)
        bad = np.array([place in self.refuted for place in zip(session.tolist(), message.tolist(), strict=True)], bool)
        begins = whole & ~bad
        at = np.arange(1, len(session) + 1)
        # Index 0 is the message before this batch.
        broken = np.maximum.accumulate(np.where(follows & ~bad, 0, at))
        based = np.maximum.accumulate(np.where(begins, at, 0))
        known = np.where(based > 0, based >= broken, self._is_known & (broken == 0)) & ~bad
        known_before = np.concatenate(([self._is_known], known[:-1])) & follows
        day = received_us // _DAY_US
        whole_day = np.maximum.accumulate(np.concatenate(([self._whole_day], np.where(begins, day, -1))))[:-1]
        replaces = begins & (~known_before | (day > whole_day) | (message == 0))
        kept = known & (replaces | ~whole)
        self._last = int(session[-1]), int(message[-1])
        self._is_known = bool(known[-1])
        self._whole_day = max(int(whole_day[-1]), int(day[-1]) if begins[-1] else -1)
        return kept, replaces
