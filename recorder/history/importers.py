"""Which layouts of history files are imported, and by what: the place where a new one is added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from recorder.archive.imported_files import Prefer
from recorder.archive.trades import TradeArchive
from recorder.core.plausibility import AHEAD_US, EARLIEST_US
from recorder.disk import Room
from recorder.history.bulk_import import BulkImport
from recorder.history.candle_import import CandleImport
from recorder.history.classic_import import ClassicImport
from recorder.history.contents import Entry
from recorder.history.members import Digest
from recorder.history.results import MemberResult
from recorder.history.trade_import import TradeImport
from recorder.kraken.history_files import Layout


class Importer(Protocol):
    """Imports the members of one layout into the table that takes their rows."""

    def member(self, entry: Entry, digest: Digest, done: Callable[[int], None]) -> MemberResult:
        """Import one member and return what it had; ``done`` is called with the bytes read as they are.

        Nothing is doubled if it is called again, also after a crash. The content was read once, and has this
        ``digest``. Raises UsageError if it cannot be read again, UnsoundFile, UnreadableFile or UnknownVersion if
        stored files of its pair cannot be trusted, DiskError. What was stored until then stays.
        """
        ...

    def holds(self, pair: str, detail: Mapping[str, Any]) -> bool:
        """Return whether all that a member had, according to the ``detail`` of its event, is still stored.

        Then it is not imported again. Raises as :meth:`member` does.
        """
        ...

    def tidy(self, pair: str) -> None:
        """Merge the files of ``pair`` that were written, as far as that is worthwhile; called after its last member."""
        ...


def importers(
    archive: TradeArchive, *, room: Callable[[], Room], now_us: int, prefer: Prefer | None = None
) -> Mapping[Layout, Importer]:
    """Return the importer of each of these layouts.

    ``room`` measures the archive's disk before a file is written. ``now_us`` is the time (µs since 1970 UTC), which no
    row can be far beyond. ``prefer`` decides where members without ids differ.
    """
    bulk = BulkImport(archive, room, (EARLIEST_US, now_us + AHEAD_US), prefer)
    return {
        Layout.TRADES: TradeImport(archive, room=room),
        Layout.CLASSIC: ClassicImport(bulk),
        Layout.OHLCVT: CandleImport(bulk),
    }
