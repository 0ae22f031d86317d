"""What other processes add to the archive meanwhile, by ``recorder backfill`` or ``merge``, is learnt here.

Without it their rows would lie there unknown to the daemon: what is missing between them and its own would be no
hole until the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Final

from recorder.archive.append import TradeArchive
from recorder.archive.parquet import FileFacts
from recorder.clock import Clock
from recorder.core.ledger import Ledger
from recorder.errors import CorruptFile

LOOK_S: Final = 60.0
"""From one look to the next: at a thousand pairs one takes some 30 ms of a thread, for the names of the files."""


class Neighbours:
    """Counts in the ledger what the files of ``pairs``, a live collection, hold. Calls ``hole_seen`` if it was new."""

    def __init__(
        self,
        ledger: Ledger,
        archive: TradeArchive,
        *,
        pairs: Collection[str],
        hole_seen: Callable[[], None],
        clock: Clock,
        look_s: float = LOOK_S,
    ) -> None:
        self._ledger = ledger
        self._archive = archive
        self._pairs = pairs
        self._hole_seen = hole_seen
        self._clock = clock
        self._look_s = look_s

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(self._look_s)
            for pair in list(self._pairs):
                # A compaction came between, and the next look will do; or a file is damaged, and whoever writes to
                # this pair next comes upon it and reports it.
                with contextlib.suppress(FileNotFoundError, CorruptFile):
                    self._observe(pair, await asyncio.to_thread(self._archive.coverage.files, pair))

    def _observe(self, pair: str, held: list[FileFacts]) -> None:
        known = self._ledger.of(pair).spans
        new = [run for file in held for run in file.footer.runs if not known.covers(run.span)]
        if new:
            self._ledger.observe_all(new)
            self._hole_seen()
