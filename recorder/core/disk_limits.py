"""Limits on free disk space, and the rate at which it is used: arithmetic on bytes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from recorder.errors import DiskError

LOW_BYTES: Final = 2_000_000_000
"""Below this many free bytes, history waits and raw segments are deleted: enough for hours of the busiest market, so
that an operator can act."""
LOW_SHARE: Final = 10
"""The low mark is at most a tenth of the disk, or a small disk would be low from the start."""
STOP_BYTES: Final = 256_000_000
"""Below this many free bytes, recording ends while it can still end cleanly. The last drain needs some 16 MB of journal
as Parquet and as a raw copy, and a running merge has 64 MB of rows beside the files that it replaces."""
STOP_SHARE: Final = 4
"""The stop mark is at most a quarter of the low mark, so that history has been waiting for a long time by then."""
BOOKS_SHARE: Final = 1.5
"""Books stop at this multiple of the low mark: they take the most room, and stop before anything else does."""
RELIEF: Final = 1.25
"""A low disk has recovered once this multiple of the low mark is free; the distance prevents flapping."""
_DAY_S: Final = 86_400.0
_SAMPLE_S: Final = 600.0
_SETTLED_S: Final = 3600.0
"""Shorter periods measure a merge or a drain, not a day."""


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """Free bytes: below ``low`` history waits and raw segments are deleted, below ``stop`` recording ends."""

    low: int
    stop: int

    @property
    def relief(self) -> int:
        """Free bytes from which on a low disk counts as recovered."""
        return int(self.low * RELIEF)

    @property
    def books(self) -> int:
        """Free bytes below which no books are recorded, until :data:`RELIEF` times as many are free."""
        return int(self.low * BOOKS_SHARE)


def disk_limits(total: int, per_day: int = 0) -> DiskLimits:
    """Return the limits of a disk of ``total`` bytes that fills by ``per_day`` bytes a day.

    >>> disk_limits(1_000_000_000_000), disk_limits(1_000_000_000_000, 50_000_000_000).low, disk_limits(16_000_000)
    (DiskLimits(low=2000000000, stop=256000000), 50000000000, DiskLimits(low=1600000, stop=400000))
    """
    low = min(max(LOW_BYTES, per_day), total // LOW_SHARE)
    return DiskLimits(low, min(STOP_BYTES, low // STOP_SHARE))


def require(free: int, total: int, *, stopped: str) -> None:
    """Raise DiskError if so few bytes of a disk are free that history waits in a recorder.

    For commands that add history beside a recorder: they would use what the recorder frees at the same mark, and their
    user should know that a larger disk is needed. ``stopped`` names the command that stops, and its progress.
    """
    low = disk_limits(total).low
    if free < low:
        raise DiskError(
            f"{stopped}, which are safe: the disk has {free / 1e6:,.1f} MB left, and below {low / 1e6:,.1f} MB history "
            "waits. Free some space and run the same command again: it continues from there"
        )


class DiskGrowth:
    """How fast free space shrinks, from samples of the last day, whatever process uses it."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self.per_day = 0
        """Bytes; 0 until an hour has been observed, and while free space grows."""

    def observe(self, now_s: float, free: int) -> None:
        """Add a sample: ``free`` bytes at the monotonic time ``now_s``."""
        samples = self._samples
        if not samples or now_s >= samples[-1][0] + _SAMPLE_S:
            samples.append((now_s, free))
            while samples[0][0] < now_s - _DAY_S:
                samples.popleft()
        since_s, was_free = samples[0]
        if now_s >= since_s + _SETTLED_S:
            self.per_day = max(0, int((was_free - free) * _DAY_S / (now_s - since_s)))
