"""Lines of history files that are no rows: quarantined word for word, counted, and reported with their place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.archive.trades import TradeArchive
from recorder.history.columns import OddText
from recorder.history.contents import Entry
from recorder.history.results import Examples
from recorder.kraken.exact_numbers import quoted

KEPT_LINES: Final = 10_000
"""Lines of a member that are set aside; of more all are counted. They stay in the file of the user in any case."""


class OddLines:
    """Sets the odd lines of one member aside: the same ones only once, however often it is imported."""

    def __init__(self, archive: TradeArchive, entry: Entry) -> None:
        self._quarantine = Quarantine(archive.layout, archive.disk, staging=archive.staging)
        self._pair = entry.pair
        self._name = str(entry.member)
        # Of the same lines the same file is made, also at another time.
        self._received_ns = entry.member.file.stat().st_mtime_ns

    def add(self, odd: Sequence[OddText], block: bytes, lines: int, counted: Examples) -> None:
        """Set lines of a ``block`` aside, which begins after so many ``lines`` of the member. Raises DiskError."""
        self.add_placed(((lines + 1 + line_ends(block[:at]), line, why) for at, line, why in odd), counted)

    def add_placed(self, odd: Iterable[tuple[int, bytes, str]], counted: Examples) -> None:
        """Set lines aside that come with their numbers in the member. Raises DiskError."""
        kept: list[QuarantinedRow] = []
        for number, line, why in odd:
            place = f"line {number}"
            if counted.count < KEPT_LINES:
                sentence = f"{place} of {self._name}: {why}"
                kept.append(QuarantinedRow(self._received_ns, Reason.HISTORY, line, self._pair, why=sentence))
            counted.add(f"{place}, {quoted(line.decode(errors='replace'))}: {why}")
        if kept:
            self._quarantine.add(kept)


def line_ends(text: bytes) -> int:
    """Return how many lines end in a text: LF, CRLF, or CR alone."""
    return text.count(b"\n") or text.count(b"\r")
