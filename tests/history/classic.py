"""Members of trades without ids, imported, and what is stored then."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from recorder.archive import verify_tables
from recorder.archive.bulk_trades import BulkTrades
from recorder.archive.datasets import BULK_TRADES, Branch
from recorder.archive.imported_files import Prefer
from recorder.archive.imported_history import Day, History
from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile
from recorder.archive.trades import TradeArchive
from recorder.disk import Disk, Room
from recorder.history.bulk_import import BulkImport
from recorder.history.classic_import import ClassicImport, ClassicResult
from recorder.history.contents import Entry
from recorder.history.members import Member
from recorder.kraken import history_files as lines
from recorder.kraken.history_files import Detected, member_name
from tests.archive.rows import archive
from tests.powercut import Unsynced

PAIR = "A/B"
DAY_S = 86_400
NEW_YEAR_S = 1_577_836_800
"""2020-01-01 UTC."""
POSSIBLE = (0, 1 << 60)
Row = tuple[int, str, str]


def tape(rows: int, days: int, seed: int = 1, begins_s: int = NEW_YEAR_S - 2 * DAY_S) -> list[Row]:
    """Return trades of some days around New Year: many share a second, and many are equal."""
    chance = random.Random(seed)
    seconds = sorted(begins_s + chance.randrange(days * DAY_S) // 900 * 900 for _ in range(rows))
    return [(second, f"{chance.randrange(1, 4)}.50000", f"{chance.randrange(1, 3)}.00000000") for second in seconds]


def entry(path: Path, rows: Sequence[Row]) -> Entry:
    """Return a member with these rows, as it is found in a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{second},{price},{qty}\n" for second, price, qty in rows))
    name = member_name(path.name)
    assert name is not None
    return Entry(Member(path, name, path.stat().st_size), PAIR, False, Detected(lines.Layout.CLASSIC), len(rows), None)


def imported(
    data: Path, *entries: Entry, disk: Disk | None = None, prefer: Prefer | None = None
) -> list[ClassicResult]:
    if not data.exists():
        with archive(data, Unsynced()):
            pass
    room = Room(1 << 40, 1 << 40)
    opened = TradeArchive(Layout(data), disk or Unsynced(), staging=data / ".staging")
    job = ClassicImport(BulkImport(opened, lambda: room, POSSIBLE, prefer))
    return [job.member(one, one.member.digest(), lambda _: None) for one in entries]


def stored(data: Path, *, verified: bool = True) -> dict[date, list[tuple[int, Decimal, Decimal]]]:
    """Return the rows of each day, in their order; the files are sound, and their footers say what is in them."""
    found: dict[date, list[tuple[int, Decimal, Decimal]]] = {}
    layout = Layout(data)
    for leaf in layout.leaves(Branch(BULK_TRADES, PAIR)):
        for path in sorted(leaf.iterdir()):
            with OpenFile(path) as file:
                rows, history = file.table(columns=BULK_TRADES.columns.names), file.footer.history
            assert history is not None
            at = 0
            for day in history.days:
                part = rows.slice(at, day.rows)
                at += day.rows
                assert set(part["member"].to_pylist()) <= {history.members[day.member].short}
                assert part["row"].to_pylist() == list(range(day.first_row, day.last_row + 1))
                seconds = [time // 1_000_000 for time in part["time"].cast(pa.int64()).to_pylist()]
                assert {second // DAY_S for second in seconds} <= {day.day}
                when = date.fromordinal(date(1970, 1, 1).toordinal() + day.day)
                assert when not in found
                found[when] = list(zip(seconds, part["price"].to_pylist(), part["qty"].to_pylist(), strict=True))
            assert at == rows.num_rows
    assert not verified or list(verify_tables.findings(layout)) == []
    return dict(sorted(found.items()))


def by_day(rows: Sequence[Row]) -> dict[date, list[tuple[int, Decimal, Decimal]]]:
    """Return the days from the first to the last of a member, each with its rows."""
    found: dict[date, list[tuple[int, Decimal, Decimal]]] = {}
    for day in range(rows[0][0] // DAY_S, rows[-1][0] // DAY_S + 1):
        found[datetime.fromtimestamp(day * DAY_S, UTC).date()] = []
    for second, price, qty in rows:
        found[datetime.fromtimestamp(second, UTC).date()].append((second, Decimal(price), Decimal(qty)))
    return found


def histories(data: Path) -> dict[int, History]:
    return dict(BulkTrades(Layout(data), Unsynced()).years(PAIR))


def days(data: Path) -> list[Day]:
    return [day for history in histories(data).values() for day in history.days]
