"""A segment with trades, candles, notes and a listing, and a drain of it as the daemon drains."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from recorder.archive import archive_id, locks
from recorder.archive.compaction import compact_segments
from recorder.archive.datasets import EVENTS, INSTRUMENTS, OHLC, Branch
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.segment_tables import Segments, SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.segment_names import MAIN_JOURNAL
from recorder.disk import Disk
from recorder.ingest.drain import Drainer
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import records, rest_api
from recorder.ops.metrics import Metrics
from tests.archive.candles import NEW_YEAR_US, rows
from tests.archive.rows import ids
from tests.builders import BTC, T0_US, frame
from tests.powercut import Unsynced

TABLES = ("ohlc", "events", "instruments")
MINUTE_S = 60
NEW_YEAR_S = NEW_YEAR_US // 1_000_000


def candles(received_s: float, first: int, last: int, price: str = "100", minutes: int = 1) -> bytes:
    """An answer with committed candles of these numbers, counted from New Year, and the running one."""
    starts = [NEW_YEAR_S + number * minutes * MINUTE_S for number in range(first, last + 2)]
    listed = [[start, price, price, price, price, price, "0.5", 3] for start in starts]
    body = json.dumps({"error": [], "result": {"XXBTZUSD": listed, "last": starts[-2]}}).encode()
    request = rest_api.ohlc(BTC, "1m" if minutes == 1 else "1h")
    return segment.encode(at(received_s), records.rest_source(request, BTC.pair), body)


def listing(received_s: float, *names: str, odd: Sequence[str] = ()) -> bytes:
    """An answer that lists these against USD; the entries of ``odd`` ones cannot be read."""
    entries: dict[str, dict[str, object]] = {
        f"{name}ZUSD": {
            "altname": f"{name}USD",
            "wsname": f"{name}/USD",
            "base": name,
            "quote": "ZUSD",
            "pair_decimals": 1,
            "lot_decimals": 8,
        }
        for name in (*names, *odd)
    }
    for name in odd:
        entries[f"{name}ZUSD"]["tick_size"] = "none"
    body = json.dumps({"error": [], "result": entries}).encode()
    return segment.encode(at(received_s), records.rest_source(rest_api.asset_pairs()), body)


def trades(first: int, last: int) -> bytes:
    """A frame that came when its last trade was made."""
    return segment.encode((T0_US + last * 1000) * 1000, "ws:trade:1", frame(first, last), parsed=True)


def note(received_s: float, kind: str, **detail: object) -> bytes:
    return segment.encode_note(at(received_s), kind, **detail)


def at(seconds: float) -> int:
    return int((NEW_YEAR_S + seconds) * 1_000_000_000)


EARLIER = [trades(1, 2), candles(-600, -30, -12), listing(-600, "ETH", "OLD", "XBT"), note(-600, "connected")]
SEGMENT = [
    trades(2, 5),
    note(-30, "disconnected", connection=1),
    candles(-20, -8, -2),  # what was held ends at -12: three are lost
    listing(-10, "ETH", "XBT", "NEW", odd=["ODD"]),
    note(-9, "delisted", pair="OLD/USD"),
    candles(-5, -8, -2, "101"),  # revised, in the old year
    candles(40, -8, 0, "101"),
    candles(50, -3, 0, "101.0"),  # and to and fro, so that the state after is not the state before
    candles(55, -3, 0, "100"),
    candles(56, -1, 0, "100", minutes=60),
    segment.encode(at(57), "rest:/0/public/OHLC?pair=XBTUSD&interval=1#BTC%2FUSD", b'{"error":[],"result":[]}'),
    note(58, "connected", connection=2),
]

# No event in the old year; but seen from the end of the segment, its first answer would look like a revision then.
TO_AND_FRO = [candles(-20, -12, -2), candles(50, -3, 0, "101")]


def drain(
    data: Path,
    disk: Disk,
    *,
    journalled: Sequence[bytes] = (),
    merging: bool = False,
    journal_name: str = MAIN_JOURNAL,
) -> None:
    """Start as the daemon does and drain what is journalled; ``merging`` compacts before, as upkeep may."""
    layout = Layout(data)
    create(layout, disk)
    locks.sweep_staging(layout, disk)
    with (
        locks.staging(layout, disk) as staging,
        contextlib.closing(_journal(data, disk, staging, journal_name)) as journal,
    ):
        if journalled:
            journal.append(journalled)
            journal.rotate(at(60))
        if merging:
            merge(Segments(layout, disk, staging=staging), segment.number_of(journal.closed()[0]) - 1)
        drainer = Drainer(
            journal,
            TradeArchive(layout, disk, staging=staging),
            SegmentTables(layout, disk, staging=staging, journal=journal_name),
            keep_raw=False,
            latest_s=lambda: 1.0,
            metrics=Metrics(),
        )
        for path in journal.closed():
            drainer.drain(path)


def _journal(data: Path, disk: Disk, staging: Path, name: str) -> Journal:
    return Journal(data, disk, staging=staging, now_ns=at(0), archive=archive_id.read(data), journal=name)


def journal_lines(data: Path, lines: Sequence[bytes], journal_name: str = MAIN_JOURNAL) -> None:
    """Leave lines in a segment of their own, as a run that was killed does."""
    with locks.staging(Layout(data), Unsynced()) as staging:
        journal = _journal(data, Unsynced(), staging, journal_name)
        journal.append(lines)
        journal.close()


def merge(segments: Segments, drained_to: int) -> None:
    for branch in (Branch(EVENTS), Branch(INSTRUMENTS), Branch(OHLC, "1m"), Branch(OHLC, "1h")):
        while compact_segments(segments, branch, today=date(9999, 1, 1), drained_to={MAIN_JOURNAL: drained_to}):
            pass


def state(data: Path) -> dict[str, object]:
    return {"trades": ids(data), **{table: rows(data, table) for table in TABLES}}


def prepared(tmp_path: Path, lines: Sequence[bytes]) -> Path:
    """Return an archive with an earlier segment drained, and the next one in the journal."""
    data = tmp_path / "before"
    data.mkdir()
    drain(data, Unsynced(), journalled=EARLIER)
    journal_lines(data, lines)
    return data
