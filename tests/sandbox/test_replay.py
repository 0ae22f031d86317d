from __future__ import annotations

import json
from pathlib import Path

import pytest

from recorder.core.trade_ids import Span
from recorder.errors import UsageError
from recorder.sandbox.pairs import SandboxListing, pair_of
from recorder.sandbox.recordings import RecordedPage, RecordedSession, read_page, read_session
from recorder.sandbox.replay import Replay, replay_files
from recorder.sandbox.rest import Rest
from recorder.sandbox.tape import NewTrades

NOW_NS = 1_900_000_000_000_000_000
S = 10**9


def page(*ids: int, key: str = "ETH/USD") -> RecordedPage:
    rows = ",".join(f'["100.10000","0.50000000",17000000{trade_id}.5,"b","l","",{trade_id}]' for trade_id in ids)
    return read_page(
        f'{{"error":[],"result":{{"{key}":[{rows}],"last":"17000000{ids[-1]}500000000"}}}}', SandboxListing(())
    )


def session(*seconds: int, symbol: str = "BTC/USD") -> RecordedSession:
    lines = [
        f'{{"channel":"trade","type":"update","data":[{{"symbol":"{symbol}","side":"buy","price":100.1,'
        f'"qty":0.50000000,"ord_type":"limit","trade_id":{1000 + index},'
        f'"timestamp":"2026-07-07T23:00:{second:02}Z"}}]}}'
        for index, second in enumerate(seconds)
    ]
    return read_session([*lines, '{"channel":"heartbeat"}'], SandboxListing(()))


def test_a_page_is_history_from_the_start_and_nothing_happens_to_it() -> None:
    market = Replay(pages=[page(10, 11, 12)])
    assert market.tapes["ETH/USD"].span == Span(10, 12)
    assert (market.advance(NOW_NS), market.play(NOW_NS), market.burst("ETH/USD", 5, NOW_NS)) == ([], [], [])


def test_withheld_rows_come_to_be_one_burst_after_another() -> None:
    market = Replay(pages=[page(10, 11, 12, 13)], withheld=3)
    assert market.tapes["ETH/USD"].span == Span(10, 10)
    assert market.burst("ETH/USD", 2, NOW_NS) == [NewTrades("ETH/USD", Span(11, 12))]
    assert market.burst("ETH/USD", 9, NOW_NS) == [NewTrades("ETH/USD", Span(13, 13))]
    assert market.tapes["ETH/USD"].times_ns[-1] == 1_700_000_013_500_000_000


def test_a_wholly_withheld_page_begins_with_its_own_first_id() -> None:
    market = Replay(pages=[page(10, 11)], withheld=99)
    assert market.tapes["ETH/USD"].span is None
    assert market.burst("ETH/USD", 1, NOW_NS) == [NewTrades("ETH/USD", Span(10, 10))]


def test_a_session_waits_for_a_subscriber_and_runs_once_at_its_own_pace() -> None:
    market = Replay(sessions=[session(10, 11, 15)])
    assert market.play(NOW_NS) == []
    market.wanted("BTC/USD", NOW_NS)
    market.wanted("BTC/USD", NOW_NS + 3 * S)
    assert [played.made for played in market.play(NOW_NS + 2 * S)] == [
        (NewTrades("BTC/USD", Span(1000, 1000)),),
        (NewTrades("BTC/USD", Span(1001, 1001)),),
    ]
    assert market.play(NOW_NS + 4 * S) == []
    assert [json.loads(played.text)["channel"] for played in market.play(NOW_NS + 5 * S)] == ["trade", "heartbeat"]
    assert market.play(NOW_NS + 999 * S) == []
    assert market.tapes["BTC/USD"].span == Span(1000, 1002)


def test_somebody_who_wants_another_pair_does_not_start_it() -> None:
    market = Replay(sessions=[session(10)], pages=[page(10)])
    market.wanted("ETH/USD", NOW_NS)
    assert market.play(NOW_NS + 99 * S) == []


def test_frames_without_a_symbol_go_to_all_who_follow_the_session() -> None:
    market = Replay(sessions=[session(10)])
    market.wanted("BTC/USD", NOW_NS)
    assert [played.symbols for played in market.play(NOW_NS)] == [{"BTC/USD"}, {"BTC/USD"}]


@pytest.mark.parametrize(("speed", "due"), [(2.0, 2), (10.0, 4), (0.0, 4)])
def test_a_session_can_run_faster_than_it_was_or_all_at_once(speed: float, due: int) -> None:
    market = Replay(sessions=[session(10, 12, 18)], speed=speed)
    market.wanted("BTC/USD", NOW_NS)
    assert len(market.play(NOW_NS + S)) == due


def test_a_session_stands_still_with_its_market() -> None:
    market = Replay(sessions=[session(10, 12)])
    market.wanted("BTC/USD", NOW_NS)
    assert len(market.play(NOW_NS)) == 1
    market.skip(60 * S)
    assert market.play(NOW_NS + 61 * S) == []
    assert len(market.play(NOW_NS + 62 * S)) == 2


def test_trades_that_a_recorded_snapshot_knew_are_history() -> None:
    early = '{"channel":"trade","type":"snapshot","data":[{"symbol":"BTC/USD","side":"buy","price":1.0,"qty":1.0,'
    early += '"ord_type":"limit","trade_id":4,"timestamp":"2026-07-07T23:00:01.000000Z"}]}'
    market = Replay(sessions=[read_session([early], SandboxListing(()))])
    assert market.tapes["BTC/USD"].span == Span(4, 4)


def test_one_pair_in_two_recordings_is_refused() -> None:
    with pytest.raises(UsageError, match=r"BTC/USD is in two recordings"):
        Replay(sessions=[session(10), session(11)])
    with pytest.raises(UsageError, match=r"BTC/USD is in two recordings"):
        Replay(sessions=[session(10)], pages=[page(10, key="BTC/USD")])


def test_listed_pairs_without_a_recording_are_there_and_have_not_traded(payloads: Path) -> None:
    market = replay_files(listings=[payloads / "rest/AssetPairs/five_pairs_2026-09-25.json"])
    assert len(market.listing.pairs) == 5
    assert all(tape.span is None for tape in market.tapes.values())


def test_the_real_page_is_answered_as_it_was_recorded_to_the_last_character(payloads: Path) -> None:
    path = payloads / "rest/Trades/XBTUSDT_1000_2025-11-11.json"
    market = replay_files(listings=[payloads / "rest/AssetPairs/XBTUSDT_2025-11.json"], pages=[path])
    rest = Rest(market)
    for query in ({"pair": "XBTUSDT", "since": "0"}, {"pair": "XBTUSDT"}):
        assert rest.answer("Trades", query, now_ns=NOW_NS) == path.read_text().strip()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file or directory; give a recorded file that can be read"),
        ("not json", "is not a recording of this kind"),
        ('{"error":[],"result":{}}', "holds the trades of one pair, not of"),
        ('{"error":[],"result":[]}', "must be a whole answer"),
        ('{"error":[],"result":{"A/B":[[1,2,3,4,5,6,7]]}}', "is not a recording of this kind"),
        ('{"error":[]}', "must be a whole answer"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_by_its_path(tmp_path: Path, content: str | None, sentence: str) -> None:
    path = tmp_path / "page.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=sentence) as refused:
        replay_files(pages=[path])
    assert str(path) in str(refused.value)


def test_a_replayed_pair_can_be_relisted_but_keeps_its_symbol() -> None:
    market = Replay(listed=[pair_of("A/USD", pair_decimals=2, lot_decimals=8)])
    pair = market.listing["A/USD"]
    market.relist("A/USD", pair.changed(status="post_only"), now_ns=5)
    assert market.listing["A/USD"].fields["status"] == "post_only"
    with pytest.raises(UsageError, match="recorded frames go on calling it A/USD"):
        market.relist("A/USD", pair.changed(wsname="B/USD"), now_ns=5)
    market.delist("A/USD")
    assert "A/USD" not in market.listing
    market.enlist(pair, now_ns=9, trades_per_s=1)
    assert "A/USD" in market.listing
