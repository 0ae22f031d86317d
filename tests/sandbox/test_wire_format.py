from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from recorder.core.trade_ids import Span
from recorder.sandbox import wire_format
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.tape import MARKET, SELL, NewTrades, Tape

values = st.integers(0, 2**63 - 1)
nanoseconds = st.integers(1_380_000_000 * 10**9, 2_100_000_000 * 10**9)


def tape_with(*rows: tuple[int, int, int, int], symbol: str = "BTC/USD", price: int = 1, qty: int = 8) -> Tape:
    tape = Tape(pair_of(symbol, pair_decimals=price, lot_decimals=qty), first_id=103436769)
    for time_ns, scaled_price, scaled_qty, mark in rows:
        tape.append(time_ns, price=scaled_price, qty=scaled_qty, mark=mark)
    return tape


@given(value=values, digits=st.integers(0, 12))
def test_fixed_text_has_exactly_its_digits_and_its_value(value: int, digits: int) -> None:
    text = wire_format.fixed(value, digits)
    assert Decimal(text) == Decimal(value).scaleb(-digits)
    assert len(text.partition(".")[2]) == digits
    assert text == "0" or text[0] != "0" or text.startswith("0.")


@given(value=values, digits=st.integers(0, 12))
def test_canonical_text_keeps_the_value_without_trailing_zeros(value: int, digits: int) -> None:
    text = wire_format.canonical(value, digits)
    assert Decimal(text) == Decimal(value).scaleb(-digits)
    assert "." not in text or text[-1] not in "0."


@given(time_ns=nanoseconds)
def test_a_socket_stamp_is_cut_to_microseconds(time_ns: int) -> None:
    exact = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_ns // 1000)
    assert wire_format.stamp_us(time_ns) == exact.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@given(time_ns=nanoseconds)
def test_a_rest_time_is_the_shortest_text_of_the_double_that_kraken_makes(time_ns: int) -> None:
    seconds, rest_ns = divmod(time_ns, 10**9)
    text = wire_format.printed_double(time_ns)
    assert float(text) == seconds + rest_ns / 1e9
    assert "e" not in text
    assert len(text.partition(".")[2]) <= 7


def test_a_whole_second_is_printed_without_a_fraction() -> None:
    assert wire_format.printed_double(1_762_820_035_000_000_000) == "1762820035"


def test_the_printed_double_can_lie_after_the_true_time() -> None:
    true_ns = 1_763_600_009_979_157_999
    assert int(Decimal(wire_format.printed_double(true_ns)).scaleb(6)) == true_ns // 1000 + 1


def test_a_rest_row_is_text_for_text_as_kraken_printed_it(payloads: Path) -> None:
    original = (payloads / "rest/Trades/BTC-USD_3rows_same_time_2026-09-25.json").read_text()
    tape = Tape(pair_of("BTC/USD", pair_decimals=1, lot_decimals=8), first_id=109118758)
    tape.append(1790359840939291200, price=839303, qty=5100, mark=SELL)
    tape.append(1790359841138228700, price=839280, qty=44682, mark=MARKET)
    tape.append(1790359841138228746, price=839354, qty=551352, mark=MARKET)
    rows = list(wire_format.rest_rows(tape, Span(109118758, 109118760)))
    assert f'"BTC/USD":[{",".join(rows)}]' in original


def test_prices_of_unit5_pairs_are_printed_wide_on_rest_and_narrow_on_the_socket() -> None:
    tape = tape_with((0, 4771, 38332050000000, 0), symbol="MOG/USD", price=10, qty=5)
    (row,) = wire_format.rest_rows(tape, Span(103436769, 103436769))
    assert row.startswith('["0.000000477100","383320500.00000000",')
    assert '"price":0.0000004771,"qty":383320500.00000,' in wire_format.snapshot_frame(tape, 50)


def test_an_update_is_text_for_text_as_kraken_printed_it(payloads: Path) -> None:
    lines = (payloads / "ws_v2/trade/live_updates_2026-07-07.jsonl").read_text().splitlines()
    for line in lines:
        frame = json.loads(line, parse_float=str)
        trades = [trade for trade in frame["data"] if trade["symbol"] == "BTC/USD"]
        if not trades:
            continue
        tape = Tape(pair_of("BTC/USD", pair_decimals=1, lot_decimals=8), first_id=trades[0]["trade_id"])
        for trade in trades:
            stamp = datetime.fromisoformat(trade["timestamp"]) - datetime(1970, 1, 1, tzinfo=UTC)
            mark = SELL * (trade["side"] == "sell") + MARKET * (trade["ord_type"] == "market")
            price, qty = int(Decimal(trade["price"]).scaleb(1)), int(Decimal(trade["qty"]).scaleb(8))
            tape.append(stamp // timedelta(microseconds=1) * 1000 + 999, price=price, qty=qty, mark=mark)
        span = tape.span
        assert span is not None
        assert list(wire_format.update_frames(tape, NewTrades("BTC/USD", span), limit=100)) == [line]


def test_a_long_sweep_is_split_and_nothing_of_it_is_lost() -> None:
    tape = tape_with(*((index, 10, 10, 0) for index in range(25)))
    span = tape.span
    assert span is not None
    frames = [json.loads(text) for text in wire_format.update_frames(tape, NewTrades("BTC/USD", span), limit=10)]
    assert [len(frame["data"]) for frame in frames] == [10, 10, 5]
    ids = [trade["trade_id"] for frame in frames for trade in frame["data"]]
    assert ids == list(range(span.first, span.last + 1))


def test_a_snapshot_is_oldest_first_and_empty_on_a_new_listing() -> None:
    tape = tape_with(*((index, 10, 10, 0) for index in range(60)))
    snapshot = json.loads(wire_format.snapshot_frame(tape, 50))
    assert [trade["trade_id"] for trade in snapshot["data"]] == list(range(103436779, 103436829))
    assert wire_format.snapshot_frame(tape_with(), 50) == '{"channel":"trade","type":"snapshot","data":[]}'


def test_after_a_coarser_listing_the_socket_prints_more_digits_only_if_needed() -> None:
    tape = Tape(pair_of("A/B", pair_decimals=3, lot_decimals=8))
    tape.append(5, price=12345, qty=1, mark=0)
    tape.relist(pair_of("A/B", pair_decimals=1, lot_decimals=8), at_ns=10)
    tape.append(15, price=12300, qty=1, mark=0)
    prices = [trade["price"] for trade in json.loads(wire_format.snapshot_frame(tape, 50), parse_float=str)["data"]]
    assert prices == ["12.345", "12.3"]


@given(st.integers(0, 10**15), st.integers(0, 12), st.integers(0, 12))
def test_a_price_is_the_same_number_in_whatever_digits_it_is_printed(price: int, scale: int, digits: int) -> None:
    text = wire_format.price_text(price, scale, digits)
    assert Decimal(text) == Decimal(price).scaleb(-scale)
    assert len(text.partition(".")[2]) in {digits, scale}
