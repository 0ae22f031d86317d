"""Which pairs are quarantined: their files cannot be trusted, so that their lines wait while all others are recorded.

That is kept in memory alone, and found by looking: at the start, by each drain, each fetch, and each look at the
footers. Once the files of a pair can be trusted again the next drain archives what waited, and its account is read
anew from the disk; until then nothing is asked for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

import structlog

from recorder.archive import quarantine
from recorder.archive.file_faults import Fault, check_pass
from recorder.archive.layout import Layout
from recorder.clock import Clock
from recorder.core.model import Instrument
from recorder.errors import DiskAtFault, UnreadableFile
from recorder.ops.metrics import Metrics

RETRIES_S: Final = (1.0, 5.0, 20.0)
"""What fails by the disk's or the process's fault is tried again after so long; if it never goes well the run ends."""

_Result = TypeVar("_Result")

log = structlog.get_logger()


class QuarantinedPairs:
    """The quarantined pairs of one run. For any thread: each change is one step of a dictionary."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._faults: dict[str, Fault] = {}
        self._owed: dict[str, None] = {}
        self._healing: dict[str, None] = {}
        self._bytes = 0

    def measured(self, metrics: Metrics) -> None:
        """Let ``metrics`` tell how many there are, and how much waits."""
        metrics.quarantined.set_function(lambda: len(self._faults))
        metrics.quarantined_bytes.set_function(lambda: self.waiting_bytes)

    def __contains__(self, pair: object) -> bool:
        """Tell whether what comes of ``pair`` waits in the quarantine."""
        return pair in self._faults

    def is_paused(self, pair: str) -> bool:
        """Tell whether nothing is to be asked of ``pair``: it is quarantined, or its account is not read anew yet."""
        return pair in self._faults or pair in self._owed or pair in self._healing

    def pairs(self) -> list[str]:
        """Return the pairs of which something may wait."""
        return [*self._faults, *(pair for pair in list(self._owed) if pair not in self._faults)]

    def expect_rows(self, pairs: Iterable[str]) -> None:
        """Take note that what waits of ``pairs``, whose files can be trusted, was left by an earlier run."""
        self._owed.update(dict.fromkeys(pairs))

    def faults(self) -> list[Fault]:
        """Return what is wrong, by pair."""
        return [fault for _, fault in sorted(self._faults.copy().items())]

    @property
    def waiting_bytes(self) -> int:
        """Bytes of lines that wait, as of the last drain; 0 where no pair is quarantined."""
        return self._bytes if self._faults else 0

    def found(self, faults: Mapping[str, Fault], *, of: int) -> None:
        """Quarantine the pairs that a pass over so many found at fault.

        Raises DiskAtFault where they are too many for that: then none is.
        """
        check_pass({**self._faults, **faults} if faults else {}, of)
        for pair, fault in faults.items():
            before = self._faults.get(pair)
            self._faults[pair] = fault
            if before is None or before.problem != fault.problem or before.file != fault.file:
                log.error("pair quarantined", pair=pair, file=fault.file, problem=fault.problem, remedy=fault.remedy)

    def healed(self, pair: str) -> None:
        """Take note that the files of ``pair`` can be trusted, and that what waited is archived."""
        self._healing[pair] = None
        self._owed.pop(pair, None)
        fault = self._faults.pop(pair, None)
        if fault is not None:
            log.warning("pair healed", pair=pair, file=fault.file)

    def restated(self, pairs: Iterable[str]) -> bool:
        """Take note that the accounts of ``pairs`` are what the disk tells; tell whether any had waited for it."""
        waited = [pair for pair in pairs if pair in self._healing and pair not in self._faults]
        for pair in waited:
            self._healing.pop(pair, None)
        return bool(waited)

    def measure(self) -> None:
        """Look how much waits. Blocks."""
        of = quarantine.waiting(self.layout, self._faults.keys()) if self._faults else {}
        self._bytes = sum(size for _, size in of.values())


class HealthyPairs(Mapping[str, Instrument]):
    """The pairs of ``instruments`` (live) that are not quarantined: what asks the exchange goes by it."""

    def __init__(self, instruments: Mapping[str, Instrument], quarantined: QuarantinedPairs) -> None:
        self._instruments = instruments
        self._quarantined = quarantined

    def __getitem__(self, pair: str) -> Instrument:
        if self._quarantined.is_paused(pair):
            raise KeyError(pair)
        return self._instruments[pair]

    def __iter__(self) -> Iterator[str]:
        return iter([pair for pair in self._instruments if not self._quarantined.is_paused(pair)])

    def __len__(self) -> int:
        return sum(1 for _ in self)


async def patiently(clock: Clock, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
    """Return what ``attempt`` results in; while the disk is at fault, or this process, it is made again a few times.

    Raises what the last one raises.
    """
    for retry_s in RETRIES_S:
        try:
            return await attempt()
        except (DiskAtFault, UnreadableFile) as error:
            if not is_disks_fault(error):
                raise
            log.error("the disk is at fault: trying again", reason=str(error), retry_in_s=retry_s)
        await clock.sleep(retry_s)
    return await attempt()


def is_disks_fault(error: Exception) -> bool:
    """Tell whether an error is none of a single pair's: it may go away, and else the run ends."""
    return isinstance(error, DiskAtFault) or (isinstance(error, UnreadableFile) and not error.of_itself)
