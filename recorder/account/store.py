"""The folder of an account: each entry once, by its id, in tables of the same kind as an archive's.

What has been read is an event, written after the rows: a start goes on from there. If rows are missing that such an
event counted, it is not believed, and everything is read again.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from recorder.archive import account_rows, locks, open_archive
from recorder.archive.account_tables import APART, BALANCES, IDENTIFIED, LEDGER, ORDERS, TABLES, TRADES, id_column
from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import EVENTS, Branch, Dataset
from recorder.archive.layout import Layout
from recorder.archive.segment_tables import Segments
from recorder.core.account import AccountEvent, Balance, LedgerEntry
from recorder.core.model import Event, plain
from recorder.disk import Disk
from recorder.errors import ArchiveInUse, UsageError

_COMPARED: Final[Mapping[str, tuple[str, ...]]] = {
    LEDGER.name: ("asset", "amount", "fee", "balance"),
    TRADES.name: ("pair", "price", "qty", "cost", "fee"),
    ORDERS.name: ("pair", "status", "filled", "cost", "fee"),
    APART.name: (),
}
"""The columns in which an entry that comes again must equal the stored one."""


@contextlib.contextmanager
def opened(folder: Path, disk: Disk, now_us: Callable[[], int]) -> Iterator[AccountStore]:
    """Open the folder of an account for writing, alone; make it if it is not there.

    Raises UsageError if others could read it, ArchiveInUse if another process writes there.
    """
    layout = Layout(folder)
    if not folder.exists():
        disk.make_dir(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            folder.chmod(0o700)  # whatever the umask
            disk.sync_dir(folder.parent)
    account_rows.check_private(folder)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locks.alone(layout.lock))
        except ArchiveInUse:
            raise ArchiveInUse(f"another process records the account in {folder}") from None
        if (folder / "trades").is_dir():
            raise UsageError(f"{folder} is an archive, and an account lies in a folder of its own: name another")
        open_archive.create(layout, disk, TABLES)
        locks.sweep_staging(layout, disk)
        staging = held.enter_context(locks.staging(layout, disk))
        yield AccountStore(layout, disk, staging=staging, now_us=now_us)


@dataclass(frozen=True, slots=True)
class Added:
    """The result of storing entries: how many are new, and the ids of those that differ from what is stored."""

    new: int
    differing: tuple[str, ...] = ()


class AccountStore:
    """The tables of an account, for the one process that writes them. Calls block. ``now_us`` is the time of rows."""

    def __init__(self, layout: Layout, disk: Disk, *, staging: Path, now_us: Callable[[], int]) -> None:
        self.layout = layout
        self._segments = Segments(layout, disk, staging=staging)
        self._now_us = now_us
        self._held = {dataset.name: self._load(dataset) for dataset in IDENTIFIED}
        # Of several the last counts: after rows have vanished, everything is read again from the beginning.
        self._read = {row["table"]: (int(row["until_us"]), int(row["rows"])) for row in self.events(AccountEvent.READ)}

    def ids(self, dataset: Dataset) -> Mapping[str, int]:
        """Return the ids stored in a table, each with a checksum of its numbers."""
        return self._held[dataset.name]

    def add(self, dataset: Dataset, rows: Sequence[Any]) -> Added:
        """Store those rows whose ids are new, durably."""
        held, now_us, id_of = self._held[dataset.name], self._now_us(), id_column(dataset)
        new: dict[str, Any] = {}
        differing: list[str] = []
        for row in rows:
            number, content = getattr(row, id_of), _content(dataset, functools.partial(getattr, row))
            known = held.get(number)
            if known is None and number in new:
                known = _content(dataset, functools.partial(getattr, new[number]))
            if known is None:
                new[number] = row
            elif known != content:
                differing.append(number)
        if new:
            self._write(dataset, [(now_us, row) for row in new.values()])
            held.update((number, _content(dataset, functools.partial(getattr, row))) for number, row in new.items())
        return Added(len(new), tuple(differing))

    def add_balances(self, rows: Sequence[Balance]) -> None:
        """Store what all balances were at one time."""
        self._write(BALANCES, rows)

    def event(self, kind: AccountEvent, **detail: object) -> None:
        """Store an event, durably."""
        text = json.dumps(detail, separators=(",", ":"), default=str)
        self._write(EVENTS, [Event(self._now_us(), kind, None, text)])

    def have_read(self, dataset: Dataset, until_us: int) -> None:
        """Record that everything in a table up to ``until_us`` has been read, and is stored."""
        rows = len(self._held[dataset.name])
        self.event(AccountEvent.READ, table=dataset.name, until_us=until_us, rows=rows)
        self._read[dataset.name] = until_us, rows

    def read_until_us(self, dataset: Dataset) -> int | None:
        """Return up to when a table has been read; None for not at all, or if rows of it have vanished since."""
        until_us, rows = self._read.get(dataset.name, (0, 0))
        return until_us if until_us and rows <= len(self._held[dataset.name]) else None

    def events(self, kind: AccountEvent) -> list[dict[str, Any]]:
        """Return the details of events of a kind, the oldest first, each with its time (``time_us``)."""
        return account_rows.events(self.layout, kind)

    def entries(self) -> list[LedgerEntry]:
        """Return all ledger entries, without their JSON."""
        return account_rows.entries(self.layout)

    def compact(self) -> int:
        """Merge small files, as an archive does; return how many merges were done."""
        done = 0
        today = datetime.fromtimestamp(self._now_us() / 1e6, UTC).date()
        for dataset in TABLES:
            while compact_segments(self._segments, Branch(dataset), today=today, now_s=self._now_us() / 1e6):
                done += 1
        return done

    def _write(self, dataset: Dataset, rows: Sequence[Any]) -> None:
        self._segments.add(Branch(dataset), dataset.build(rows), segment=None)

    def _load(self, dataset: Dataset) -> dict[str, int]:
        compared, id_of = _COMPARED[dataset.name], id_column(dataset)
        rows = account_rows.rows(self.layout, dataset, (id_of, *compared))
        return {row[id_of]: _content(dataset, row.__getitem__) for row in rows}


def _content(dataset: Dataset, value: Callable[[str], Any]) -> int:
    """Return a number that differs if one of the compared values does."""
    values = (value(name) for name in _COMPARED[dataset.name])
    return hash(tuple(plain(one) if isinstance(one, Decimal) else one for one in values))
