from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from aiohttp import web

from recorder import app
from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.event_rows import event
from recorder.archive.layout import Layout
from recorder.archive.locks import hold
from recorder.archive.segment_tables import SegmentTables
from recorder.config import ArchiveConfig, Config, ExchangeConfig, OpsConfig
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Confirmed
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Span
from recorder.errors import ArchiveInUse
from recorder.ingest.quarantined_pairs import QuarantinedPairs
from recorder.journal import segment
from recorder.runtime.stop import Stop
from tests.builders import PAIR, T0_US, frame, shop, trades
from tests.clocks import settle_until
from tests.segments import named
from tests.servers import Serve


def test_the_ledger_is_rebuilt_from_footers_and_closed_segments_alone(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        opened.journal.append(
            [
                segment.encode(1, "ws:trade:1", frame(8, 12), parsed=True),
                segment.encode(1, "ws:unreadable:1", b"\xff"),
                segment.encode(1, "ws:trade:1", frame(20, 21), parsed=True),
            ]
        )
    with shop(tmp_path) as opened:  # the next start: what was open is closed now
        ledger = Ledger()
        app.rebuild(ledger, opened.archive, opened.journal, QuarantinedPairs(opened.archive.layout))
    account = ledger.of(PAIR)
    assert list(account.spans) == [Span(1, 12), Span(20, 21)]
    assert [(hole.span, hole.after_us, hole.before_us) for hole in ledger.of(PAIR).gaps()] == [
        (Span(13, 19), T0_US + 12_000, T0_US + 20_000)
    ]


def test_what_is_known_of_ids_is_rebuilt_from_events_and_closed_segments(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, [*trades(1, 3), *trades(9, 10)])
        tables = SegmentTables(opened.layout, opened.disk, staging=opened.layout.staging)
        tables.add(Branch(EVENTS), [event(1, EventKind.VOID, PAIR, first_id=4, last_id=5)])
        tables.write(named(1))
        opened.journal.append([segment.encode_note(2, "confirmed", pair=PAIR, last_id=10, until_us=77)])
        opened.journal.append([segment.encode_note(3, "void", pair=PAIR, first_id=7, last_id=7)])
    with shop(tmp_path) as opened:
        ledger = Ledger()
        app.rebuild(ledger, opened.archive, opened.journal, QuarantinedPairs(opened.archive.layout))
    assert [hole.span for hole in ledger.of(PAIR).gaps()] == [Span(6, 6), Span(8, 8)]
    assert ledger.of(PAIR).confirmed == Confirmed(PAIR, 10, 77)


def test_a_damaged_file_of_events_is_named_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 3))
        tables = SegmentTables(opened.layout, opened.disk, staging=opened.layout.staging)
        for number in (1, 2):
            tables.add(Branch(EVENTS), [event(number, EventKind.VOID, PAIR, first_id=3 + number, last_id=3 + number)])
            tables.write(named(number))
        damaged = min((tmp_path / "events" / "year=1970").glob("0*.parquet"))
        damaged.write_bytes(b"not Parquet")
        ledger = Ledger()
        app.rebuild(ledger, opened.archive, opened.journal, QuarantinedPairs(opened.archive.layout))
    assert list(ledger.of(PAIR).void) == [Span(5, 5)]
    said = capsys.readouterr().out
    assert str(damaged) in said
    assert "move it out of the archive" in said


async def test_a_journal_that_was_lost_gives_no_number_again_that_the_archive_names(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        tables = SegmentTables(opened.layout, opened.disk, staging=opened.layout.staging)
        tables.add(Branch(EVENTS), [event(1, EventKind.CONNECTED)])
        tables.write(named(41))
    shutil.rmtree(tmp_path / "journal")
    stop = Stop()
    stop.signal()
    config = Config(archive=ArchiveConfig(path=tmp_path), ops=OpsConfig(port=0))
    await app.record(config, stop)
    assert [segment.number_of(path) for path in segment.segments(tmp_path / "journal")] == [42]


async def test_unreadable_input_before_the_first_listing_is_journalled_at_once(tmp_path: Path, serve: Serve) -> None:
    async def odd(_: web.Request) -> web.Response:
        return web.Response(body=b'{"error":[],"result":[5]}')

    def journalled() -> list[str]:
        found = [entry for path in (tmp_path / "journal").glob("*.jsonl") for entry in segment.entries(path)]
        return [entry.source for entry in found if isinstance(entry, segment.Entry)]

    stop = Stop()
    async with serve(odd) as address:
        exchange = ExchangeConfig(rest_url=f"http://{address}", requests_per_second=100)
        config = Config(archive=ArchiveConfig(path=tmp_path), exchange=exchange, ops=OpsConfig(port=0))
        recording = asyncio.create_task(app.record(config, stop))
        await settle_until(lambda: "rest-unreadable:/0/public/AssetPairs" in journalled())
        stop.signal()
        await recording


async def test_an_archive_that_is_held_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    config = Config(archive=ArchiveConfig(path=tmp_path), ops=OpsConfig(port=0))
    with hold(layout.lock), pytest.raises(ArchiveInUse, match="stop it first, or record elsewhere"):
        await app.record(config, Stop())
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


async def test_the_first_signal_asks_and_the_second_hurries() -> None:
    stop = Stop()
    stop.signal()
    assert stop.requested.is_set()
    assert not stop.hurried.is_set()
    stop.signal()
    await asyncio.wait_for(stop.hurried.wait(), 1)
