from __future__ import annotations

import json
from pathlib import Path

import pytest

from recorder.archive import quarantine
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.layout import Layout
from recorder.core.event_kinds import EventKind
from recorder.core.trade_ids import Span, Spans
from recorder.ingest import trade_index
from recorder.journal import segment
from recorder.kraken import records, rest_api
from recorder.ops import archive_status
from tests.builders import PAIR, frame, shop
from tests.clocks import NOW_NS
from tests.ingest.closed_segments import MADE_S, drainer, journalled, line

LISTING = (
    b'{"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD",'
    b'"pair_decimals":1,"lot_decimals":8,"cost_decimals":5,"tick_size":"0.1","status":"online"}}}'
)


def test_a_segment_is_archived_and_retired(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        path = journalled(opened, line(1, 3), line(4, 4))
        assert drainer(opened).drain(path) == 4
        assert opened.ids() == [1, 2, 3, 4]
        assert not path.exists()
        assert (tmp_path / "raw" / f"{path.stem}.jsonl.zst").stat().st_mtime == MADE_S, "not by the host's clock"


def test_a_segment_drained_twice_adds_nothing(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        path = journalled(
            opened, line(1, 3), segment.encode(3_000, records.rest_source(rest_api.asset_pairs()), LISTING)
        )
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
        path = journalled(opened, line(1, 1), bad, line(3, 3))
        assert drainer(opened).drain(path) == 2
        assert opened.ids() == [1, 3]
        assert (tmp_path / "raw" / f"{path.stem}.corrupt").read_bytes() == bad


def test_it_tells_of_which_pairs_there_were_trades_and_none_where_lines_were_lost(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        moving = drainer(opened)
        journalled(opened, line(1, 3), line(1, 1, "ETH/USD"))
        journalled(opened, line(4, 4))
        moving.drain(*opened.journal.closed())
        assert moving.touched() == {PAIR, "ETH/USD"}
        assert moving.touched() == set()
        journalled(opened, line(5, 5), line(6, 6).replace(b"63501.6", b"63501.7"))
        moving.drain(*opened.journal.closed())
        assert moving.touched() is None
        assert moving.touched() == set()


def test_memory_is_bounded_by_batches_and_batches_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trade_index, "BATCH_TRADES", 10)
    with shop(tmp_path) as opened:
        path = journalled(opened, *(line(n * 3 + 1, n * 3 + 3) for n in range(20)))
        assert drainer(opened).drain(path) == 60
        assert opened.ids() == list(range(1, 61))


def test_a_pair_gets_one_file_per_drain_however_its_trades_are_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trade_index, "BATCH_TRADES", 10)
    pairs = ["AAA/USD", "BBB/USD", "CCC/USD"]
    with shop(tmp_path) as opened:
        lines = [line(n * 2 + 1, n * 2 + 2, pair) for n in range(4) for pair in pairs]
        # One frame that brings two pairs, one of another form, and a page that was polled.
        both = frame(9, 10).replace(b"BTC/USD", b"AAA/USD", 1).replace(b"BTC/USD", b"DDD/USD")
        spaced = frame(9, 9).replace(b'"symbol":"BTC/USD"', b'"symbol": "BBB/USD"')
        polled = b'{"error":[],"result":{"C":[["1","1","1783465206.5","b","l","",9]],"last":"1783465206500000000"}}'
        lines += [segment.encode(2, "ws:trade:1", payload, parsed=True) for payload in (both, spaced)]
        lines.append(segment.encode(3, "rest:/0/public/Trades?pair=C#CCC%2FUSD", polled))
        journalled(opened, *lines[:7])
        journalled(opened, *lines[7:])
        assert drainer(opened).drain(*opened.journal.closed()) == 3 * 8 + 4
        assert opened.journal.closed() == []
        held = {pair: (opened.archive.coverage.spans(pair), len(opened.layout.trade_files(pair))) for pair in pairs}
        assert held == {pair: (Spans([Span(1, 9)]), 1) for pair in pairs}
        assert list(opened.archive.coverage.spans("DDD/USD")) == [Span(10, 10)]


def test_without_keep_no_raw_frames_stay(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drainer(opened, keep_raw=False).drain(journalled(opened, line(1, 1)))
        assert list((tmp_path / "raw").iterdir()) == []


def test_a_damaged_file_of_listings_does_not_keep_trades_from_the_archive(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        (tmp_path / "instruments" / "junk.parquet").write_bytes(b"junk")
        path = journalled(
            opened, segment.encode(3_000, records.rest_source(rest_api.asset_pairs()), LISTING), line(1, 3)
        )
        assert drainer(opened).drain(path) == 3
        assert opened.ids() == [1, 2, 3]


def test_a_line_of_a_source_that_nobody_knows_is_told_and_stays_in_raw(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        path = journalled(opened, segment.encode(3_000_000, "ws:later:1", b"{}"), line(1, 3))
        assert drainer(opened).drain(path) == 3
        assert (tmp_path / "raw" / f"{path.stem}.jsonl.zst").exists()
        (told,) = archive_status.everything(tmp_path).events
    assert (told.kind, told.time_us) == (EventKind.MALFORMED, 3_000)
    assert json.loads(told.detail) == {
        "source": "ws:later:1",
        "reason": "a line of ws:later:1, which this release does not know",
    }


@pytest.mark.parametrize(
    ("stamp", "year"), [("2102-05-07T23:00:05Z", 2102), ("1970-01-01T00:00:00Z", 1970), ("0001-01-01T00:00:00Z", 1)]
)
def test_a_trade_with_an_odd_time_is_stored_as_it_came_and_told_once(tmp_path: Path, stamp: str, year: int) -> None:
    odd = frame(3, 3).replace(b"2026-07-07T23:00:05.003000Z", stamp.encode())
    with shop(tmp_path) as opened:
        lines = [segment.encode(NOW_NS, "ws:trade:1", payload, parsed=True) for payload in (frame(1, 2), odd, odd)]
        drainer(opened).drain(
            journalled(opened, *lines, segment.encode(NOW_NS, "ws:trade:1", frame(4, 4), parsed=True))
        )
        assert opened.ids() == [1, 2, 3, 4]
        assert (tmp_path / "trades" / "pair=BTC%2FUSD" / f"year={year}").is_dir()
    (told,) = [one for one in archive_status.everything(tmp_path).events if one.kind == "malformed"]
    assert told.pair == PAIR
    assert json.loads(told.detail)["reason"].startswith(f"trade 3 is stamped {stamp} and came at 2026-07-07T23:00:05")


def test_where_all_trades_come_before_they_were_made_it_is_the_hosts_clock(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drainer(opened).drain(journalled(opened, segment.encode(7, "ws:trade:1", frame(1, 20), parsed=True)))
        assert opened.ids() == list(range(1, 21))
    assert archive_status.everything(tmp_path).events == []


def test_a_trade_under_an_id_that_is_held_with_other_content_is_told_and_set_aside(tmp_path: Path) -> None:
    other = frame(3, 4).replace(b"63501.6", b"7.5")
    with shop(tmp_path) as opened:
        drainer(opened).drain(journalled(opened, line(1, 3)))
        again = segment.encode(NOW_NS, "ws:trade:1", other, parsed=True)
        assert drainer(opened).drain(journalled(opened, line(2, 3), again)) == 1
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
        drainer(opened).drain(journalled(opened, line(1, 50)))
        anew = [frame(n, n).replace(b"63501.6", b"0.5") for n in range(1, 11)]
        lines = [segment.encode(NOW_NS + n, "ws:trade:1", payload, parsed=True) for n, payload in enumerate(anew)]
        drainer(opened).drain(journalled(opened, *lines[:6]))
        drainer(opened).drain(journalled(opened, *lines[6:]))
        assert opened.ids() == list(range(1, 51))
    assert [segment.decode(kept.line).payload for kept in quarantine.listed(Layout(tmp_path))] == anew
