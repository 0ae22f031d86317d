"""Members of candles, imported, and what is stored then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recorder.archive import verify_tables
from recorder.archive.bulk_ohlc import BulkOhlc
from recorder.archive.datasets import BULK_OHLC, Branch
from recorder.archive.imported_files import Prefer
from recorder.archive.imported_history import Series
from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile
from recorder.archive.trades import TradeArchive
from recorder.disk import Disk, Room
from recorder.history.bulk_import import BulkImport
from recorder.history.candle_import import CandleImport, CandlesResult
from recorder.history.contents import Entry
from recorder.history.members import Member
from recorder.kraken import history_files as lines
from recorder.kraken.history_files import Detected, MemberName, candle_of, member_name
from tests.archive.rows import archive
from tests.powercut import Unsynced

PAIR = "A/B"
HOUR_S = 3_600
NEW_YEAR_S = 1_577_836_800
"""2020-01-01 UTC."""


def entry(path: Path) -> Entry:
    name = member_name(path.name) or MemberName("AB", 60)
    return Entry(Member(path, name, path.stat().st_size), PAIR, False, Detected(lines.Layout.OHLCVT), 0, None)


def written(path: Path, printed: Sequence[str]) -> Entry:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in printed))
    return entry(path)


def candles(first: int, last: int, volume: str = "1.6207067044300001") -> list[str]:
    """Return the candles of hours after New Year."""
    return [
        f"{NEW_YEAR_S + hour * HOUR_S},1.5,2.25,0.5,{hour % 7 + 1}.0,{volume},{hour % 5 + 1}"
        for hour in range(first, last)
    ]


def imported(
    data: Path, *entries: Entry, disk: Disk | None = None, prefer: Prefer | None = None
) -> list[CandlesResult]:
    if not data.exists():
        with archive(data, Unsynced()):
            pass
    opened = TradeArchive(Layout(data), disk or Unsynced(), staging=data / ".staging")
    room = Room(1 << 40, 1 << 40)
    job = CandleImport(BulkImport(opened, lambda: room, (0, 1 << 60), prefer))
    return [job.member(one, one.member.digest(), lambda _: None) for one in entries]


def stored(data: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the candles of each timeframe, as lines say them; the files are sound."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for path in Layout(data).files(Branch(BULK_OHLC, PAIR)):
        with OpenFile(path) as file:
            rows = file.table(columns=BULK_OHLC.columns.names).to_pylist()
        for row in rows:
            numbers = [row[name] for name in ("open", "high", "low", "close", "volume", "count")]
            found.setdefault(row["timeframe"], []).append((int(row["time"].timestamp()), *numbers))
    assert list(verify_tables.findings(Layout(data))) == []
    return found


def said(printed: Sequence[str]) -> list[tuple[object, ...]]:
    return [tuple(candle_of(line)) for line in printed]


def series(data: Path) -> list[Series]:
    return [one for year in BulkOhlc(Layout(data), Unsynced()).years(PAIR).values() for one in year.series]
