"""The overview of an archive, from the disk: for ``recorder serve``, which shows it where no recorder runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from recorder.clock import Clock
from recorder.disk import room
from recorder.errors import RecorderError
from recorder.ops import archive_status
from recorder.ops.archive_status import ArchiveStatus, PairStatus
from recorder.ops.daemon_client import DaemonReply
from recorder.page import overview, templates
from recorder.page.overview import DiskRoom, EventRow, Facts, History, OpenGap, PairRow, SetAside, Word

LOOK_S: Final = 15.0
"""Seconds between two looks at the disk while somebody looks at the page."""


class ArchiveOverview:
    """See :class:`recorder.page.overview.Source`. ``daemon`` asks for the recorder of the archive; it blocks."""

    def __init__(self, data: Path, clock: Clock, daemon: Callable[[], DaemonReply | str]) -> None:
        self._data = data
        self._clock = clock
        self._daemon = daemon
        self._look_s = float("-inf")
        self._found: ArchiveStatus | None = None
        self._pairs: dict[str, PairStatus] = {}
        self._reply: DaemonReply | str = ""
        self._beside: str | None = None
        self._disk: DiskRoom | None = None

    async def refresh(self) -> None:
        """See :class:`recorder.page.overview.Source`."""
        if self._clock.monotonic() - self._look_s < LOOK_S:
            return
        self._look_s = self._clock.monotonic()
        await asyncio.to_thread(self._look)

    def _look(self) -> None:
        try:
            self._found = archive_status.everything(self._data)
            found = room(self._data)
            self._beside = archive_status.recorder_beside(self._data)
        except RecorderError as error:
            self._reply = str(error)
            return
        self._pairs = {one.pair: one for one in self._found.pairs}
        self._disk = DiskRoom(found.free, found.total, 0, None)
        self._reply = self._daemon()

    def pairs(self) -> Sequence[str]:
        """See :class:`recorder.page.overview.Source`."""
        quarantined = self._found.quarantined if self._found else ()
        return sorted({*self._pairs, *quarantined})

    def row(self, pair: str, history: History) -> PairRow:
        """See :class:`recorder.page.overview.Source`."""
        found = self._pairs.get(pair)
        if found is None:
            return PairRow(pair, "quarantined")
        newest = history.prices.get(pair)
        return PairRow(
            pair,
            "renumbered" if self._found is not None and pair in self._found.renumbered else "",
            None if newest is None else newest[1],
            found.last_us,
            None,
            len(found.holes),
            sum(len(gap.span) for gap in found.holes),
            self._today(found, history),
            history.sparks.get(pair, ()),
        )

    def facts(self) -> Facts:
        """See :class:`recorder.page.overview.Source`."""
        word, reasons, since = self._state()
        found = self._found
        gaps = [gap for one in self._pairs.values() for gap in one.holes]
        recent = sorted(gaps, key=lambda gap: gap.before_us or 0, reverse=True)[: overview.GAPS]
        quarantined = found.quarantined if found else {}
        return Facts(
            word,
            reasons,
            str(self._data),
            since,
            [OpenGap(gap.pair, gap.span.first, gap.span.last, gap.after_us, gap.before_us) for gap in recent],
            len(gaps),
            sum(len(gap.span) for gap in gaps),
            None,
            [SetAside(pair, one.file, one.problem, one.remedy) for pair, one in quarantined.items()],
            len(quarantined),
            self._disk,
            None,
            self._reply.quotes if isinstance(self._reply, DaemonReply) else None,
            [
                EventRow(one.time_us, one.kind, one.pair, templates.detail(one.detail))
                for one in reversed(found.events if found else [])
            ],
        )

    def _state(self) -> tuple[Word, list[str], str | None]:
        if isinstance(self._reply, DaemonReply):
            return ("recording" if self._reply.recording else "waiting"), list(self._reply.reasons), self._reply.since
        if self._beside is not None:
            return "recording", [f"{self._beside}; {self._reply}"], None
        return "stopped", [self._reply] if self._reply else [], None

    def _today(self, found: PairStatus, history: History) -> int | None:
        today = datetime.fromtimestamp(self._clock.wall_ns() // 1_000_000_000, UTC).date().isoformat()
        if history.day != today or found.pair not in history.from_ids:
            return None
        return max(0, found.last_id - history.from_ids[found.pair] + 1)
