"""When rows reached a local listener: times that never fall in the order of the rows, as replaying tools require. Pure.

A trade that was fetched later has no receive time. It counts as received when it was made, or with the row before it if
that came later. A receive time below that of an earlier row (the host's clock was set back) is raised to that one. Both
are counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]
"""Times in µs since 1970 UTC."""
UNKNOWN = np.iinfo(np.int64).min
"""What stands for a time that was not recorded."""


class LocalTimes:
    """The local times of one series, batch by batch; ``shift_us`` is added to each receive time."""

    def __init__(self, shift_us: int = 0) -> None:
        self._shift_us = shift_us
        self._latest_us = int(UNKNOWN)
        self.without = 0
        """Rows without a receive time."""
        self.raised = 0
        """Rows whose receive time was raised to that of an earlier row."""

    def of(self, times_us: Times, received_us: Times) -> Times:
        """Return the local times of the next rows, made at ``times_us``; UNKNOWN stands for what is not known."""
        lacking = received_us == UNKNOWN
        local = np.where(lacking, times_us, received_us + self._shift_us)
        found = np.maximum(np.maximum.accumulate(local), self._latest_us) if len(local) else local
        self.without += int(lacking.sum())
        self.raised += int(((found != local) & ~lacking).sum())
        if len(found):
            self._latest_us = int(found[-1])
        return found

    def facts(self) -> dict[str, Any]:
        """Return the counts for a sidecar, those above zero."""
        counts = {"rows_without_receive_time": self.without, "receive_times_raised": self.raised}
        return {name: count for name, count in counts.items() if count}
