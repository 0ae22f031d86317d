from __future__ import annotations

import json

import pytest

from recorder.errors import UsageError
from recorder.sandbox.fault_injection.injected_faults import InjectedFaults
from recorder.sandbox.fault_injection.row_faults import RowFaults
from recorder.sandbox.market import Market
from recorder.sandbox.rest import Rest
from recorder.sandbox.websocket_faults import WebSocketFaults
from recorder.sandbox.wire_format import snapshot_frame
from tests.clocks import ManualClock

START_NS = 1_783_465_205_562_702_999
BTC = "BTC/USD"
MARKET = Market(start_ns=START_NS, history={BTC: 5})


def rest(odd: RowFaults) -> Rest:
    injected = InjectedFaults(ManualClock())
    injected.rows = odd
    return Rest(MARKET, injected=lambda: injected)


def page(odd: RowFaults) -> list[list[object]]:
    answer = json.loads(rest(odd).answer("Trades", {"pair": "XBTUSD"}, now_ns=START_NS), parse_float=str)
    rows: list[list[object]] = answer["result"]["XXBTZUSD"]
    return rows


def frame(odd: RowFaults) -> list[dict[str, object]]:
    text = odd.in_frame(snapshot_frame(MARKET.tapes[BTC], 50).encode())
    rows: list[dict[str, object]] = json.loads(text, parse_float=str)["data"]
    return rows


@pytest.mark.parametrize(
    ("field", "at", "text", "value"),
    [("misc", 5, "null", None), ("price", 0, '"1E+900000000"', "1E+900000000"), ("trade_id", 6, "0", 0)],
)
def test_a_field_of_a_row_is_whatever_it_is_to_be_wherever_it_is_sent(
    field: str, at: int, text: str, value: object
) -> None:
    good, odd = page(RowFaults()), RowFaults()
    odd.trade(BTC, 3, field, text)
    assert page(odd) == [*good[:2], [*good[2][:at], value, *good[2][at + 1 :]], *good[3:]]
    sent = frame(odd)
    assert len(sent) == 5
    assert sent[2].get(field) == (None if field == "misc" else value)
    assert [row for row in sent if row["trade_id"] in {1, 2, 4, 5}] == [
        row for row in frame(RowFaults()) if row["trade_id"] != 3
    ]
    odd.release()
    assert (page(odd), frame(odd)) == (good, frame(RowFaults()))


def test_a_field_is_left_out_or_a_whole_row_is_something_else() -> None:
    odd = RowFaults()
    odd.trade(BTC, 3, "trade_id", "")
    assert [len(row) for row in page(odd)] == [7, 7, 6, 7, 7]
    assert "trade_id" not in frame(odd)[2]
    odd.trade(BTC, 4, "row", "null", "rest")
    assert page(odd)[3] is None
    assert frame(odd)[3]["trade_id"] == 4
    odd.trade(BTC, 5, "row", "null", "stream")
    assert page(odd)[4] is not None
    assert frame(odd)[4] is None


def test_a_candle_is_odd_in_every_interval() -> None:
    odd = RowFaults()
    answering = rest(odd)

    def rows() -> list[list[object]]:
        answer = json.loads(answering.answer("OHLC", {"pair": "XBTUSD", "interval": "1"}, now_ns=START_NS))
        found: list[list[object]] = answer["result"]["XXBTZUSD"]
        return found

    start_s = rows()[0][0]
    assert isinstance(start_s, int)
    odd.candle(BTC, start_s, "vwap", "null")
    assert rows()[0][5] is None
    odd.candle(BTC, start_s, "row", "null")
    assert rows()[0] is None


def test_a_field_that_there_is_not_is_refused_by_a_sentence() -> None:
    odd = RowFaults()
    with pytest.raises(UsageError, match="a trade has no field 'colour'"):
        odd.trade(BTC, 1, "colour", "null")
    with pytest.raises(UsageError, match="a candle has no field 'misc'"):
        odd.candle(BTC, 1, "misc", "null")


def test_frames_without_odd_rows_are_sent_byte_for_byte() -> None:
    injected = InjectedFaults(ManualClock())
    injected.rows.trade(BTC, 10**9, "price", "null")
    text = snapshot_frame(MARKET.tapes[BTC], 50).encode()
    for lines in (WebSocketFaults(ManualClock()), WebSocketFaults(ManualClock(), lambda: injected)):
        assert lines.sent(text) == text
        assert lines.sent(b'{"channel":"heartbeat"}') == b'{"channel":"heartbeat"}'
