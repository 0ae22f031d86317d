"""Which layouts of history files are imported, and by what: the place where a new one is added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from recorder.archive.imported_files import Prefer
from recorder.archive.trades import TradeArchive
from recorder.core.plausibility import AHEAD_US, EARLIEST_US
from recorder.disk import Room
from recorder.history.candle_import import CandleImport
from recorder.history.classic_import import ClassicImport
from recorder.history.contents import Entry
from recorder.history.results import MemberResult
from recorder.history.trade_import import TradeImport
from recorder.kraken.history_files import Layout


class Importer(Protocol):
    """Imports the members of one layout into the table that takes their rows."""

    def member(self, entry: Entry, done: Callable[[int], None]) -> MemberResult:
        """Import one member and return what it had; ``done`` is called with the bytes read as they are.

        Nothing is doubled if it is called again, also after a crash. Raises UsageError if the member cannot be read,
        UnsoundFile if the stored files of its pair cannot be trusted, DiskError. What was imported until then stays.
        """
        ...

    def tidy(self, pair: str) -> None:
        """Merge the files of ``pair`` that were written, as far as that is worthwhile; called after its last member."""
        ...


IMPORTED: Final = frozenset(Layout)
"""The layouts that are imported; members of others are listed and left out."""


def importers(
    archive: TradeArchive, *, room: Callable[[], Room], now_us: int, prefer: Prefer | None = None
) -> Mapping[Layout, Importer]:
    """Return the importer of each of these layouts.

    ``room`` measures the archive's disk before a file is written. ``now_us`` is the time (µs since 1970 UTC), which no
    row can be far beyond. ``prefer`` decides where members without ids differ.
    """
    possible = EARLIEST_US, now_us + AHEAD_US
    return {
        Layout.TRADES: TradeImport(archive, room=room),
        Layout.CLASSIC: ClassicImport(archive.layout, archive.disk, room=room, possible=possible, prefer=prefer),
        Layout.OHLCVT: CandleImport(archive.layout, archive.disk, room=room, possible=possible, prefer=prefer),
    }
