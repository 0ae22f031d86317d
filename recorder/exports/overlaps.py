"""Sessions one at a time: archives of two recorders that were merged have several of a pair at once.

Pure. As in ``spread_bars()``, the one that began first counts until it ends, and then what the others have after that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(slots=True)
class OneSession:
    """Chooses among the rows of one pair, which come in the order of session and message.

    A session is numbered by the receive time of its beginning. ``left_out`` counts rows so far.
    """

    left_out: int = 0
    _session: int = -1
    _ended_us: int = -1
    _latest_us: int = -1

    def choose(self, session: Integers, received_us: Integers) -> Flags:
        """Return for each row whether no earlier session was under way when it was received (µs since 1970 UTC)."""
        kept = np.ones(len(session), bool)
        begins = np.flatnonzero(np.diff(session, prepend=self._session))
        for start, stop in zip([0, *begins], [*begins, len(session)], strict=True):
            if start == stop:
                continue
            if session[start] != self._session:
                self._session, self._ended_us = int(session[start]), self._latest_us
            times_us = received_us[start:stop]
            kept[start:stop] = times_us > self._ended_us
            self._latest_us = max(self._latest_us, int(times_us.max()))
        self.left_out += int((~kept).sum())
        return kept
