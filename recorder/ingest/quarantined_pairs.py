"""Quarantined pairs: their files cannot be trusted, so their lines wait while all other pairs are recorded.

The state is in memory only, and is found again by checks: at the start, and at every drain, fetch and reading of
footers. Once the files of a pair can be trusted again, the next drain archives the waiting lines, and the pair's
account is read again from disk; until then nothing is requested for it.
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
"""Waits before an operation that failed because of the disk or the process is retried; after the last the run ends."""

_Result = TypeVar("_Result")

log = structlog.get_logger()


class QuarantinedPairs:
    """The quarantined pairs of one run. Thread-safe: each change is a single dictionary operation."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._faults: dict[str, Fault] = {}
        self._owed: dict[str, None] = {}
        self._healing: dict[str, None] = {}
        self._bytes = 0

    def measured(self, metrics: Metrics) -> None:
        """Report the number of quarantined pairs and the size of their waiting lines in ``metrics``."""
        metrics.quarantined.set_function(lambda: len(self._faults))
        metrics.quarantined_bytes.set_function(lambda: self.waiting_bytes)

    def __contains__(self, pair: object) -> bool:
        """Return whether the lines of ``pair`` wait in the quarantine."""
        return pair in self._faults

    def is_paused(self, pair: str) -> bool:
        """Return whether requests for ``pair`` are paused: it is quarantined, or its account is not read again yet."""
        return pair in self._faults or pair in self._owed or pair in self._healing

    def pairs(self) -> list[str]:
        """Return the pairs that may have waiting lines."""
        return [*self._faults, *(pair for pair in list(self._owed) if pair not in self._faults)]

    def expect_rows(self, pairs: Iterable[str]) -> None:
        """Record that an earlier run left waiting lines of ``pairs``, whose files can be trusted."""
        self._owed.update(dict.fromkeys(pairs))

    def faults(self) -> list[Fault]:
        """Return the faults, sorted by pair."""
        return [fault for _, fault in sorted(self._faults.copy().items())]

    @property
    def waiting_bytes(self) -> int:
        """Size in bytes of the waiting lines, as of the last drain; 0 if no pair is quarantined."""
        return self._bytes if self._faults else 0

    def found(self, faults: Mapping[str, Fault], *, of: int) -> None:
        """Quarantine the pairs found at fault by a check of ``of`` pairs.

        Raises DiskAtFault if they are too many for separate faults: then no pair is quarantined.
        """
        check_pass({**self._faults, **faults} if faults else {}, of)
        for pair, fault in faults.items():
            before = self._faults.get(pair)
            self._faults[pair] = fault
            if before is None or before.problem != fault.problem or before.file != fault.file:
                log.error("pair quarantined", pair=pair, file=fault.file, problem=fault.problem, remedy=fault.remedy)

    def healed(self, pair: str) -> None:
        """Record that the files of ``pair`` can be trusted, and that its waiting lines are archived."""
        self._healing[pair] = None
        self._owed.pop(pair, None)
        fault = self._faults.pop(pair, None)
        if fault is not None:
            log.warning("pair released from quarantine", pair=pair, file=fault.file)

    def restated(self, pairs: Iterable[str]) -> bool:
        """Record that the accounts of ``pairs`` match the disk; return whether any had been waiting for that."""
        waited = [pair for pair in pairs if pair in self._healing and pair not in self._faults]
        for pair in waited:
            self._healing.pop(pair, None)
        return bool(waited)

    def measure(self) -> None:
        """Measure the waiting lines. Blocks."""
        of = quarantine.waiting(self.layout, self._faults.keys()) if self._faults else {}
        self._bytes = sum(size for _, size in of.values())


class HealthyPairs(Mapping[str, Instrument]):
    """The pairs of ``instruments`` (live) that are not quarantined: the pairs for which requests are made."""

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
    """Return the result of ``attempt``; retry it a few times while the disk or this process is at fault.

    Raises the error of the last attempt.
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
    """Return whether an error has no single pair as its cause: it may pass, and otherwise ends the run."""
    return isinstance(error, DiskAtFault) or (isinstance(error, UnreadableFile) and not error.of_itself)
