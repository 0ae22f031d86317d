from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recorder.core.model import Trade
from recorder.core.trade_ids import runs_of
from recorder.errors import Malformed
from recorder.kraken import trade_frames
from tests.kraken.session_scripts import trade_json, trades

NUMBERS = st.sampled_from(
    ["1", "63501.9", "0", "0.00000001", "1.000000000000", "0.000000000001", "1.0000000000000", "1.0000000000001"]
) | st.tuples(st.integers(0, 10**30), st.integers(0, 14)).map(lambda pair: f"{pair[0]}e-{pair[1]}")
STAMPS = st.sampled_from(["2026-07-07T23:00:04.590753Z", "2026-07-07T23:00:04Z", "", "2026-07-07T23:00:04.590753"])


@given(st.lists(st.tuples(NUMBERS, NUMBERS, STAMPS), min_size=1, max_size=5))
@example([("1.0000000000000", "1", "2026-07-07T23:00:04Z"), ("1.0000000000001", "1", "2026-07-07T23:00:04Z")])
@example([("1", "1", "")])
def test_a_row_is_read_the_same_alone_and_in_company(rows: list[tuple[str, str, str]]) -> None:
    texts = [
        trade_json(number, price=price, qty=qty, timestamp=f'"{stamp}"')
        for number, (price, qty, stamp) in enumerate(rows, start=1)
    ]
    alone: list[Trade] = []
    try:
        for text in texts:
            alone += trade_frames.parse_trades(trades(text).encode(), received_ns=1)
    except Malformed:
        with pytest.raises(Malformed):
            trade_frames.parse_trades(trades(*texts).encode(), received_ns=1)
    else:
        assert trade_frames.parse_trades(trades(*texts).encode(), received_ns=1) == alone


def test_the_receive_time_is_cut_to_microseconds(payloads: Path) -> None:
    frame = (payloads / "ws_v2/trade/live_BTC-USD_2026-09-25.jsonl").read_bytes().splitlines()[1]
    assert [row.received_us for row in trade_frames.parse_trades(frame, received_ns=1_999)] == [1]


@given(st.lists(st.tuples(st.sampled_from(["BTC/USD", "ETH/USD", "X"]), st.integers(1, 6)), max_size=12))
def test_the_runs_of_a_frame_are_those_of_its_trades(rows: list[tuple[str, int]]) -> None:
    entries = ",".join(
        f'{{"symbol":"{pair}","side":"buy","price":1.5,"qty":2.00000000,"ord_type":"limit","trade_id":{trade_id},'
        f'"timestamp":"2026-07-07T23:00:0{trade_id}.562702Z"}}'
        for pair, trade_id in rows
    )
    frame = f'{{"channel":"trade","type":"update","data":[{entries}]}}'.encode()
    assert trade_frames.parse_runs(frame) == runs_of(trade_frames.parse_trades(frame, received_ns=1))
    assert trade_frames.first_pair(frame) == (rows[0][0] if rows else None)


@pytest.mark.parametrize(
    ("fields", "is_usual"),
    [
        ({}, True),
        ({"price": "0"}, False),
        ({"qty": "0.00000000"}, False),
        ({"ord_type": '"post"'}, False),
        ({"timestamp": '"2010-12-31T23:59:59.999999Z"'}, False),
        ({"timestamp": '"2026-07-08T01:00:00.000001Z"'}, False),
        ({"side": '"neither"'}, False),
        ({"symbol": '"\N{GREEK CAPITAL LETTER ALPHA}/USD"'}, False),
    ],
)
@pytest.mark.parametrize("at", [0, 1])
def test_a_frame_is_usual_if_none_of_its_rows_is_odd(fields: dict[str, str], at: int, *, is_usual: bool) -> None:
    rows = [trade_json(1), trade_json(2)]
    rows[at] = trade_json(at + 1, **fields)
    frame, received_ns = trades(*rows).encode(), 1_783_468_800_000_000_000  # 2026-07-08 00:00
    expected = trade_frames.parse_trades(frame, received_ns=received_ns) if is_usual else None
    assert trade_frames.parse_usual_trades(frame, received_ns=received_ns) == expected
