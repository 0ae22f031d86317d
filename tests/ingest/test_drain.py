from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder.archive import quarantine
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.layout import Layout
from recorder.core.event_kinds import EventKind
from recorder.core.trade_ids import Span, Spans, runs_of
from recorder.ingest import drain as drain_module
from recorder.ingest.commit import Commit
from recorder.ingest.drain import Drain, Drainer
from recorder.ingest.parked_ids import ParkedIds
from recorder.journal import segment
from recorder.kraken import records, rest_api
from recorder.ops import archive_status
from recorder.ops.metrics import Metrics
from recorder.runtime.inbox import Inbound
from tests.builders import PAIR, Shop, frame, shop, trades
from tests.clocks import NOW_NS, settle, settle_until
from tests.fakes import Fakes

LISTING = (
    b'{"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD",'
    b'"pair_decimals":1,"lot_decimals":8,"cost_decimals":5,"tick_size":"0.1","status":"online"}}}'
)


MADE_S = 1_783_465_210.5


def drainer(opened: Shop, *, keep_raw: bool = True, metrics: Metrics | None = None) -> Drainer:
    return Drainer(
        opened.journal,
        opened.archive,
        opened.tables,
        keep_raw=keep_raw,
        latest_s=lambda: MADE_S,
        metrics=metrics or Metrics(),
    )


def draining(opened: Shop, fakes: Fakes, *, every_s: Callable[[int], float] = lambda _: 300.0) -> tuple[Commit, Drain]:
    commit = Commit(
        opened.journal,
        fakes.ledger,
        fakes.context,
        sync_every_s=0.1,
        hole_seen=lambda: None,
        parking=ParkedIds(fakes.ledger, lambda _: []),
    )
    moving = drainer(opened, metrics=fakes.metrics)
    drain = Drain(
        moving, opened.journal, commit, every_s=every_s, pairs=[PAIR], drained=lambda _: None, clock=fakes.clock
    )
    return commit, drain


def journal(opened: Shop, *lines: bytes) -> Path:
    opened.journal.append(lines)
    opened.journal.rotate(2)
    return opened.journal.closed()[-1]


def line(first: int, last: int, pair: str = "BTC/USD") -> bytes:
    payload = frame(first, last).replace(b"BTC/USD", pair.encode())
    return segment.encode(1_783_465_206_000_000_000, "ws:trade:1", payload, parsed=True)


def test_a_segment_is_archived_and_retired(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        path = journal(opened, line(1, 3), line(4, 4))
        assert drainer(opened).drain(path) == 4
        assert opened.ids() == [1, 2, 3, 4]
        assert not path.exists()
        assert (tmp_path / "raw" / f"{path.stem}.jsonl.zst").stat().st_mtime == MADE_S, "not by the host's clock"


def test_a_segment_drained_twice_adds_nothing(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        path = journal(opened, line(1, 3), segment.encode(3_000, records.rest_source(rest_api.asset_pairs()), LISTING))
        content = path.read_bytes()
        assert drainer(opened).drain(path) == 3
        path.write_bytes(content)  # as after a crash between the archive's rename and the journal's unlink
        assert drainer(opened).drain(path) == 0
        assert opened.ids() == [1, 2, 3]
        assert len(list((tmp_path / "instruments").glob("[0-9]*.parquet"))) == 1
        assert [instrument.pair for instrument in InstrumentArchive(opened.tables).remembered()] == ["BTC/USD"]


def test_a_corrupt_line_is_set_aside_and_the_rest_is_kept(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        bad = line(2, 2).replace(b"63501.6", b"63501.7")
        path = journal(opened, line(1, 1), bad, line(3, 3))
        assert drainer(opened).drain(path) == 2
        assert opened.ids() == [1, 3]
        assert (tmp_path / "raw" / f"{path.stem}.corrupt").read_bytes() == bad


def test_it_tells_of_which_pairs_there_were_trades_and_none_where_lines_were_lost(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        moving = drainer(opened)
        journal(opened, line(1, 3), line(1, 1, "ETH/USD"))
        journal(opened, line(4, 4))
        moving.drain(*opened.journal.closed())
        assert moving.touched() == {PAIR, "ETH/USD"}
        assert moving.touched() == set()
        journal(opened, line(5, 5), line(6, 6).replace(b"63501.6", b"63501.7"))
        moving.drain(*opened.journal.closed())
        assert moving.touched() is None
        assert moving.touched() == set()


def test_memory_is_bounded_by_batches_and_batches_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_module, "BATCH_TRADES", 10)
    with shop(tmp_path) as opened:
        path = journal(opened, *(line(n * 3 + 1, n * 3 + 3) for n in range(20)))
        assert drainer(opened).drain(path) == 60
        assert opened.ids() == list(range(1, 61))


def test_a_pair_gets_one_file_of_a_drain_however_its_trades_are_mixed_with_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "BATCH_TRADES", 10)
    pairs = ["AAA/USD", "BBB/USD", "CCC/USD"]
    with shop(tmp_path) as opened:
        lines = [line(n * 2 + 1, n * 2 + 2, pair) for n in range(4) for pair in pairs]
        # One frame that brings two pairs, one of another form, and a page that was polled.
        both = frame(9, 10).replace(b"BTC/USD", b"AAA/USD", 1).replace(b"BTC/USD", b"DDD/USD")
        spaced = frame(9, 9).replace(b'"symbol":"BTC/USD"', b'"symbol": "BBB/USD"')
        polled = b'{"error":[],"result":{"C":[["1","1","1783465206.5","b","l","",9]],"last":"1783465206500000000"}}'
        lines += [segment.encode(2, "ws:trade:1", payload, parsed=True) for payload in (both, spaced)]
        lines.append(segment.encode(3, "rest:/0/public/Trades?pair=C#CCC%2FUSD", polled))
        journal(opened, *lines[:7])
        journal(opened, *lines[7:])
        assert drainer(opened).drain(*opened.journal.closed()) == 3 * 8 + 4
        assert opened.journal.closed() == []
        held = {pair: (opened.archive.coverage.spans(pair), len(opened.layout.trade_files(pair))) for pair in pairs}
        assert held == {pair: (Spans([Span(1, 9)]), 1) for pair in pairs}
        assert list(opened.archive.coverage.spans("DDD/USD")) == [Span(10, 10)]


def test_segments_are_drained_together_up_to_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_module, "TOGETHER_BYTES", 10)
    paths = [tmp_path / name for name in "abcde"]
    for path, size in zip(paths, (4, 6, 12, 1, 1), strict=True):
        path.write_bytes(bytes(size))
    assert [[path.name for path in part] for part in drain_module.together(paths)] == [["a", "b"], ["c"], ["d", "e"]]


def test_without_keep_no_raw_frames_stay(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drainer(opened, keep_raw=False).drain(journal(opened, line(1, 1)))
        assert list((tmp_path / "raw").iterdir()) == []


async def test_it_drains_on_time_when_many_wait_and_once_more_when_stopped(tmp_path: Path, fakes: Fakes) -> None:
    clock, inbox = fakes.clock, fakes.inbox
    with shop(tmp_path) as opened:
        commit, drain = draining(opened, fakes)
        running = asyncio.create_task(drain.run())

        async def arrives(trade_id: int) -> None:
            await inbox.put(Inbound(line(trade_id, trade_id), runs_of(trades(trade_id, trade_id))))
            await commit.flush()

        await settle_until(lambda: clock.sleepers == 1)
        await arrives(1)
        assert opened.ids() == []
        clock.move(300)
        await settle_until(lambda: opened.ids() == [1])
        await arrives(2)
        commit.drain_due.set()
        await settle_until(lambda: opened.ids() == [1, 2])
        await arrives(3)
        drain.stop()
        await running
        assert opened.ids() == [1, 2, 3]


async def test_the_time_to_the_next_drain_follows_what_it_goes_by_while_it_waits(tmp_path: Path, fakes: Fakes) -> None:
    clock, inbox, every = fakes.clock, fakes.inbox, [900.0]
    with shop(tmp_path) as opened:
        commit, drain = draining(opened, fakes, every_s=lambda _: every[0])
        running = asyncio.create_task(drain.run())
        await settle_until(lambda: clock.sleepers == 1)
        for trade_id, (every_s, wait_s) in enumerate([(300.0, 200), (900.0, 800), (50.0, 0)], 1):
            await inbox.put(Inbound(line(trade_id, trade_id), runs_of(trades(trade_id, trade_id))))
            await commit.flush()
            clock.move(100)
            every[0] = every_s
            drain.follow([], ["GONE/USD"])
            assert drain.every_s == every_s
            if wait_s:
                await settle()
                clock.move(wait_s - 1)
                await settle()
                assert drain.drained_s() == wait_s + 99
                clock.move(1)
            await settle_until(lambda: drain.drained_s() == 0)
            assert opened.ids()[-1] == trade_id
            await settle_until(lambda: bool(clock.waking_ns))
        drain.stop()
        await running


def test_a_damaged_file_of_listings_does_not_keep_trades_from_the_archive(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        (tmp_path / "instruments" / "junk.parquet").write_bytes(b"junk")
        path = journal(opened, segment.encode(3_000, records.rest_source(rest_api.asset_pairs()), LISTING), line(1, 3))
        assert drainer(opened).drain(path) == 3
        assert opened.ids() == [1, 2, 3]


def test_a_line_of_a_source_that_nobody_knows_is_told_and_stays_in_raw(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        path = journal(opened, segment.encode(3_000_000, "ws:later:1", b"{}"), line(1, 3))
        assert drainer(opened).drain(path) == 3
        assert (tmp_path / "raw" / f"{path.stem}.jsonl.zst").exists()
        (told,) = archive_status.everything(tmp_path).events
    assert (told.kind, told.time_us) == (EventKind.MALFORMED, 3_000)
    assert json.loads(told.detail) == {
        "source": "ws:later:1",
        "reason": "a line of ws:later:1, which this release does not know",
    }


async def test_a_drain_is_timed_and_what_waits_for_one_is_weighed(tmp_path: Path, fakes: Fakes) -> None:
    clock, value = fakes.clock, fakes.value
    with shop(tmp_path) as opened:
        _, drain = draining(opened, fakes)
        assert drain.every_s == 300
        journal(opened, line(1, 3))
        opened.journal.append([line(4, 4)])
        lying = [path.stat().st_size for path in (tmp_path / "journal").iterdir()]
        assert len(lying) == 2
        assert value("recorder_journal_bytes") == sum(lying)
        clock.move(100)
        assert drain.drained_s() == 100
        await drain.everything()
        assert drain.drained_s() == 0
        assert value("recorder_journal_bytes") == sum(path.stat().st_size for path in (tmp_path / "journal").iterdir())
        assert len(segment.segments(tmp_path / "journal")) == 1
        assert value("recorder_drain_duration_seconds_count") == 1
        assert value("recorder_last_drain_timestamp_seconds") == clock.wall_ns() / 1e9
        assert value("recorder_rows_archived_total") == 4


@pytest.mark.parametrize(
    ("stamp", "year"), [("2102-05-07T23:00:05Z", 2102), ("1970-01-01T00:00:00Z", 1970), ("0001-01-01T00:00:00Z", 1)]
)
def test_a_trade_with_an_odd_time_is_stored_as_it_came_and_told_once(tmp_path: Path, stamp: str, year: int) -> None:
    odd = frame(3, 3).replace(b"2026-07-07T23:00:05.003000Z", stamp.encode())
    with shop(tmp_path) as opened:
        lines = [segment.encode(NOW_NS, "ws:trade:1", payload, parsed=True) for payload in (frame(1, 2), odd, odd)]
        drainer(opened).drain(journal(opened, *lines, segment.encode(NOW_NS, "ws:trade:1", frame(4, 4), parsed=True)))
        assert opened.ids() == [1, 2, 3, 4]
        assert (tmp_path / "trades" / "pair=BTC%2FUSD" / f"year={year}").is_dir()
    (told,) = [one for one in archive_status.everything(tmp_path).events if one.kind == "malformed"]
    assert told.pair == PAIR
    assert json.loads(told.detail)["reason"].startswith(f"trade 3 is stamped {stamp} and came at 2026-07-07T23:00:05")


def test_where_all_trades_come_before_they_were_made_it_is_the_hosts_clock(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drainer(opened).drain(journal(opened, segment.encode(7, "ws:trade:1", frame(1, 20), parsed=True)))
        assert opened.ids() == list(range(1, 21))
    assert archive_status.everything(tmp_path).events == []


def test_a_trade_under_an_id_that_is_held_with_other_content_is_told_and_set_aside(tmp_path: Path) -> None:
    other = frame(3, 4).replace(b"63501.6", b"7.5")
    with shop(tmp_path) as opened:
        drainer(opened).drain(journal(opened, line(1, 3)))
        again = segment.encode(NOW_NS, "ws:trade:1", other, parsed=True)
        assert drainer(opened).drain(journal(opened, line(2, 3), again)) == 1
        assert opened.ids() == [1, 2, 3, 4]
    (kept,) = quarantine.listed(Layout(tmp_path))
    assert (kept.reason, kept.pair, kept.spans) == ("differs", PAIR, (Span(3, 3),))
    assert segment.decode(kept.line).payload == other
    (told,) = [one for one in archive_status.everything(tmp_path).events if one.kind == "differs"]
    detail = json.loads(told.detail)
    assert (told.pair, detail["trade_id"], detail["count"]) == (PAIR, 3, 1)
    assert (detail["held"]["price"], detail["came"]["price"]) == ("63501.6", "7.5")


def test_a_pair_that_is_numbered_anew_loses_no_row(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drainer(opened).drain(journal(opened, line(1, 50)))
        anew = [frame(n, n).replace(b"63501.6", b"0.5") for n in range(1, 11)]
        lines = [segment.encode(NOW_NS + n, "ws:trade:1", payload, parsed=True) for n, payload in enumerate(anew)]
        drainer(opened).drain(journal(opened, *lines[:6]))
        drainer(opened).drain(journal(opened, *lines[6:]))
        assert opened.ids() == list(range(1, 51))
    assert [segment.decode(kept.line).payload for kept in quarantine.listed(Layout(tmp_path))] == anew
