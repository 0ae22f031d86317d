"""Reading the folder of an account: its rows and events, as they are on disk."""

from __future__ import annotations

import json
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from recorder.archive.account_tables import APART, BALANCES, LEDGER, ORDERS, TRADES
from recorder.archive.datasets import EVENTS, SCHEMA_FILE, Branch, Dataset
from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile
from recorder.core.account import AccountEvent, ApartEntry, LedgerEntry
from recorder.errors import UsageError

_LEDGER_COLUMNS: Final = (
    "id", "refid", "time", "type", "subtype", "asset_class", "asset", "amount", "fee", "balance", "seconds",
)  # fmt: skip


def check_private(folder: Path) -> None:
    """Raise UsageError if others could read the folder of an account, or if it is no folder of this user."""
    try:
        found = folder.stat()
    except OSError as error:
        raise UsageError(f"there is no account in {folder}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{folder} is no folder, and an account needs one of its own")
    if found.st_uid != os.geteuid():
        raise UsageError(f"the account in {folder} belongs to another user")
    if found.st_mode & 0o077:
        raise UsageError(f"{folder} can be read by others (mode {found.st_mode & 0o777:04o}): call chmod 700 on it")


def rows(layout: Layout, dataset: Dataset, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table, file by file. Raises UnsoundFile, UnreadableFile for a damaged one."""
    for path in layout.files(Branch(dataset)):
        if path.name != SCHEMA_FILE:
            with OpenFile(path) as file:
                yield from file.table(columns=columns).to_pylist()


def events(layout: Layout, kind: AccountEvent) -> list[dict[str, Any]]:
    """Return the details of an account's events of a kind, the oldest first, each with its time (``time_us``)."""
    found = [row for row in rows(layout, EVENTS, ("time", "kind", "detail")) if row["kind"] == kind]
    found.sort(key=lambda row: row["time"])
    return [json.loads(row["detail"]) | {"time_us": _micros(row["time"])} for row in found]


def entries(layout: Layout) -> list[LedgerEntry]:
    """Return all ledger entries of an account, without their JSON."""
    return [
        LedgerEntry(time_us=_micros(row.pop("time")), raw="", **row) for row in rows(layout, LEDGER, _LEDGER_COLUMNS)
    ]


def named_entries(layout: Layout) -> list[tuple[str, str]]:
    """Return (trade, ledger entry) as the own trades name them."""
    found = []
    for row in rows(layout, TRADES, ("id", "ledgers")):
        found += [(row["id"], entry) for entry in row["ledgers"].split(",") if entry]
    return found


def apart(layout: Layout) -> list[ApartEntry]:
    """Return the entries that could not be stored, without those that came complete later."""
    ids: dict[str, set[str]] = defaultdict(set)
    for dataset in (LEDGER, TRADES, ORDERS):
        ids[dataset.name] = {row["id"] for row in rows(layout, dataset, ("id",))}
    return [
        ApartEntry(**row)
        for row in rows(layout, APART, ("table", "id", "digest", "reason", "raw"))
        if row["id"] not in ids[row["table"]]
    ]


def settled_balances(layout: Layout) -> dict[str, Decimal] | None:
    """Return the newest balances that no ledger entry came after, neither then nor since; None if there are none."""
    settled = [row for row in rows(layout, BALANCES, ("time", "asset", "balance", "settled")) if row["settled"]]
    if not settled:
        return None
    newest = max(row["time"] for row in settled)
    if any(row["seen"] > newest for row in rows(layout, LEDGER, ("seen",))):
        return None  # stored before a process ended that would have requested the balances again
    return {row["asset"]: row["balance"] for row in settled if row["time"] == newest}


def existing(folder: Path) -> Layout:
    """Return the layout of the account in ``folder``, for reading. Raises UsageError if there is none."""
    check_private(folder)
    layout = Layout(folder)
    if not layout.folder(LEDGER).is_dir():
        raise UsageError(f"there is no account in {folder}: `recorder account run` begins one")
    return layout


def _micros(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
