"""How much room a disk must have left, and how fast it goes: arithmetic on bytes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from recorder.errors import DiskError

LOW_BYTES: Final = 2_000_000_000
"""Below so much free, history waits and raw segments go: hours of the busiest market, so that a person can act."""
LOW_SHARE: Final = 10
"""Never more than a tenth of the disk, or a small one would be low from the start."""
STOP_BYTES: Final = 256_000_000
"""Below so much free, recording ends while it can still end well. What the last drain needs: some 16 MB of journal as
Parquet and as a raw copy; and a merge that is under way, 64 MB of rows beside the files that it replaces."""
STOP_SHARE: Final = 4
"""Never more than a quarter of the low mark, so that history has been waiting for long by then."""
RELIEF: Final = 1.25
"""What was low is not any more once there is so many times the low mark, so that it does not go to and fro."""
_DAY_S: Final = 86_400.0
_SAMPLE_S: Final = 600.0
_SETTLED_S: Final = 3600.0
"""Shorter stretches tell of a merge or of a drain, not of a day."""


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """Bytes free: below ``low`` history waits and raw segments go, below ``stop`` recording ends."""

    low: int
    stop: int

    @property
    def relief(self) -> int:
        """Free bytes from which on what was low is not any more."""
        return int(self.low * RELIEF)


def disk_limits(total: int, per_day: int = 0) -> DiskLimits:
    """Return the marks of a disk of ``total`` bytes of which ``per_day`` go in a day.

    >>> marks(1_000_000_000_000), marks(1_000_000_000_000, 50_000_000_000).low, marks(16_000_000)
    (Marks(low=2000000000, stop=256000000), 50000000000, Marks(low=1600000, stop=400000))
    """
    low = min(max(LOW_BYTES, per_day), total // LOW_SHARE)
    return DiskLimits(low, min(STOP_BYTES, low // STOP_SHARE))


def require(free: int, total: int, *, stopped: str) -> None:
    """Raise DiskError where so few bytes of a disk are free that history waits in a recorder.

    For whatever brings history beside one: it would take what the recorder frees at the same mark, and who has called
    it should know that a larger disk is needed. ``stopped`` says who ends, and how far it came.
    """
    low = disk_limits(total).low
    if free < low:
        raise DiskError(
            f"{stopped}, which are safe: the disk has {free / 1e6:,.1f} MB left, and below {low / 1e6:,.1f} MB history "
            "waits. Make room and call it again as you did: it goes on from there"
        )


class DiskGrowth:
    """How fast room goes, by what was free at different times of the last day, whoever took it."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self.per_day = 0
        """Bytes; 0 until an hour has been seen, and while room grows."""

    def observe(self, now_s: float, free: int) -> None:
        """Take in that so many bytes are free at the monotonic time ``now_s``."""
        samples = self._samples
        if not samples or now_s >= samples[-1][0] + _SAMPLE_S:
            samples.append((now_s, free))
            while samples[0][0] < now_s - _DAY_S:
                samples.popleft()
        since_s, was_free = samples[0]
        if now_s >= since_s + _SETTLED_S:
            self.per_day = max(0, int((was_free - free) * _DAY_S / (now_s - since_s)))
