from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recorder.core.model import Instrument, Trade
from recorder.core.trade_ids import runs_of
from recorder.errors import Malformed
from recorder.kraken import parse, rest_api
from recorder.kraken.parse import TradesPage
from tests.kraken.playbook import trade_json, trades

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS = st.integers(0, 253_402_300_799)


def result_of(path: Path) -> bytes:
    return rest_api.result(200, path.read_bytes())


# -- times of the WebSocket -----------------------------------------------------------------------------------------


@given(SECONDS, st.text("0123456789", max_size=9))
def test_a_stamp_of_any_digits_is_cut_to_microseconds_as_integers_say(second: int, digits: str) -> None:
    moment = EPOCH + timedelta(seconds=second)
    stamp = f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + (f".{digits}Z" if digits else "Z")
    nanos = int(digits.ljust(9, "0"))
    assert parse.micros(stamp) == second * 1_000_000 + nanos // 1000


def test_the_stamps_of_the_payloads_read_as_they_should() -> None:
    assert parse.micros("2026-07-07T23:00:05.562702Z") == 1_783_465_205_562_702
    assert parse.micros("2026-09-25T17:48:26.844359566Z") == parse.micros("2026-09-25T17:48:26.844359Z")
    assert parse.micros("2024-02-29T23:59:59Z") == 1_709_251_199_000_000


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        "Z",
        "2026-07-07T23:00:05",
        "2026-07-07T23:00:05.562702",
        "2026-07-07T23:00:05.562702+00:00",
        "2026-07-07T23:00:05.562702z",
        "2026-07-07T23:00:05.Z",
        "2026-07-07T23:00:05,562702Z",
        "2026-07-07 23:00:05.562702Z",
        "2026-07-07T23:00:05Z123456Z",
        "2026-07-07T23:00:05.562702xyzZ",
        "2026-07-07T23:00:05.5627021234Z",
        "2026-07-07T23:00:05.+12345Z",
        "2026-07-07T23:00:05.٣٣٣٣٣٣Z",
        "٢026-07-07T23:00:05.562702Z",
        "2026-W28-2T23:00:05.562702Z",
        "20260707T230005.123.562702Z",
        "2026-07-07T23:00:05.562702Z ",
        "2026-02-30T23:00:05.562702Z",
        "2026-07-07T24:00:05.562702Z",
        "2026-07-07T23:00:60.562702Z",
        "0000-07-07T23:00:00.562702Z",
        "x" * 10_000,
    ],
)
def test_what_is_no_such_stamp_is_refused(stamp: str) -> None:
    with pytest.raises(ValueError, match=r"UTC time like 2026|must be in|out of range"):
        parse.micros(stamp)


@given(st.text(max_size=30) | st.text("0123456789-T:.Z", min_size=18, max_size=31))
def test_no_text_is_misread_as_a_time(text: str) -> None:
    try:
        read = parse.micros(text)
    except ValueError:
        return
    stamp = (EPOCH + timedelta(microseconds=read)).isoformat(timespec="microseconds").removesuffix("+00:00")
    assert stamp.startswith(text[:-1][:26])


# -- trade frames ---------------------------------------------------------------------------------------------------

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
            alone += parse.trade_frame(trades(text).encode(), received_ns=1)
    except Malformed:
        with pytest.raises(Malformed):
            parse.trade_frame(trades(*texts).encode(), received_ns=1)
    else:
        assert parse.trade_frame(trades(*texts).encode(), received_ns=1) == alone


# -- times of REST --------------------------------------------------------------------------------------------------


@given(SECONDS, st.text("0123456789", min_size=1, max_size=40))
def test_printed_seconds_are_cut_to_microseconds_as_integers_say(second: int, digits: str) -> None:
    assert parse.rest_micros(Decimal(f"{second}.{digits}")) == second * 1_000_000 + int(digits.ljust(6, "0")[:6])


@given(st.integers(1_300_000_000, 2_500_000_000), st.integers(0, 999_999_999))
@example(1_762_820_035, 982_277_754)
@example(1_790_359_841, 138_228_746)
def test_a_printed_double_is_cut_within_the_distance_that_refills_allow_for(second: int, nanos: int) -> None:
    printed = repr(second + nanos / 1e9)
    assert abs(parse.rest_micros(Decimal(printed)) * 1000 - (second * 1_000_000_000 + nanos)) <= 1_300


@pytest.mark.parametrize(
    "text", ["NaN", "sNaN", "Infinity", "-Infinity", "-62135596801", "1e20", "1e999999", "253402300800"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time in seconds since 1970"):
        parse.rest_micros(Decimal(text))


def test_whole_and_exponent_seconds_are_read() -> None:
    assert parse.rest_micros(Decimal(1756443816)) == 1_756_443_816_000_000
    assert parse.rest_micros(Decimal("1.756443816201052e9")) == 1_756_443_816_201_052
    assert parse.rest_micros(Decimal("1e-7")) == 0


@pytest.mark.parametrize("seconds", [-62_135_596_800, -1, 0, 4_176_528_432])
def test_odd_moments_are_read_alike_from_rest_and_from_the_stream(seconds: int) -> None:
    stamp = f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0")
    assert parse.micros(stamp) == parse.rest_micros(Decimal(seconds)) == seconds * 1_000_000
    assert parse.rest_micros(Decimal(seconds) + Decimal("0.0000015")) == seconds * 1_000_000 + 1


# -- pages of REST Trades -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pair", "ids", "last"),
    [
        ("XBTUSDT_1000_2025-11-11", "BTC/USDT", range(10218208, 10219208), "1762820035982277754"),
        ("XXBTZUSD_trimmed_2023-11-26", "BTC/USD", range(64754585, 64754616), None),
        ("BTC-USD_3rows_same_time_2026-09-25", "BTC/USD", range(109118758, 109118761), "1790359841138228746"),
    ],
)
def test_every_real_page_is_read_text_for_text(
    payloads: Path, name: str, pair: str, ids: range, last: str | None
) -> None:
    path = payloads / f"rest/Trades/{name}.json"
    page = parse.trades_page(result_of(path), pair)
    said = json.loads(path.read_bytes(), parse_float=str, parse_int=str)["result"]
    assert page.last == said.pop("last")
    assert last in (None, page.last)
    (rows,) = said.values()
    assert [row.trade_id for row in page.trades] == list(ids)
    for row, (price, volume, time, side, ord_type, misc, trade_id) in zip(page.trades, rows, strict=True):
        whole, _, fraction = time.partition(".")
        assert row == Trade(
            pair,
            int(trade_id),
            int(whole + fraction.ljust(6, "0")[:6]),
            Decimal(price),
            Decimal(volume),
            "buy" if side == "b" else "sell",
            {"m": "market", "l": "limit"}[ord_type],
            misc,
            "rest",
            None,
        )
        assert (f"{row.price:f}", f"{row.qty:f}") == (price, volume)


def test_the_six_column_rows_of_2013_are_refused_by_a_sentence(payloads: Path) -> None:
    result = result_of(payloads / "rest/Trades/xchange_old.json")
    with pytest.raises(Malformed, match=r"an answer of Trades for BTC/USD that cannot be read: .*length 7, got 6"):
        parse.trades_page(result, "BTC/USD")


ROW = b'["37247.00000","0.00026451",1701019771.0383663,"b","l","",%d]'


@pytest.mark.parametrize(
    ("rest_of_it", "last"),
    [
        (b"", None),
        (b',"last":null', None),
        (b',"last":"1701019771038366345"', "1701019771038366345"),
        (b',"last":1701019771038366345', "1701019771038366345"),
    ],
)
def test_the_cursor_stays_its_text_and_may_be_missing(rest_of_it: bytes, last: str | None) -> None:
    page = parse.trades_page(b'{"XXBTZUSD":[' + ROW % 5 + b"]" + rest_of_it + b"}", "BTC/USD")
    assert page.last == last
    assert len(page.trades) == 1


def test_a_page_may_be_empty_and_its_order_is_by_id() -> None:
    assert parse.trades_page(b'{"X":[],"last":"5"}', "BTC/USD") == parse.TradesPage((), "5")
    page = parse.trades_page(b'{"X":[%s,%s]}' % (ROW % 9, ROW % 8), "BTC/USD")
    assert [row.trade_id for row in page.trades] == [8, 9]


def test_new_columns_and_kinds_are_krakens_to_add() -> None:
    row = ROW.replace(b'"l"', b'"x"') % 5
    page = parse.trades_page(b'{"X":[%s]}' % row.replace(b"5]", b'5,"new",[1]]'), "BTC/USD")
    assert (page.trades[0].trade_id, page.trades[0].ord_type) == (5, "x")


@pytest.mark.parametrize(
    ("result", "because"),
    [
        (b"[]", "cannot be read"),
        (b"null", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b'{"X":' + b"[" * 100_000, "cannot be read"),
        (b'{"last":"5"}', "it should hold one list of trades beside `last`, not 0"),
        (b'{"X":[%s],"Y":[%s]}' % (ROW % 5, ROW % 6), "it should hold one list of trades beside `last`, not 2"),
        (b'{"X":5,"last":"5"}', "it should hold one list of trades beside `last`, not 0"),
        (b'{"X":{}}', "cannot be read"),
        (b'{"X":["a"],"Y":["b"]}', "not 2"),
        (b'{"X":[%s]}' % (ROW % 0), ">= 1"),
        (b'{"X":[%s]}' % (ROW % 2**63), "<= 9223372036854775807"),
        (b'{"X":[%s]}' % (ROW.replace(b'"b"', b'"x"') % 5), "trade 5 has side 'x', neither 'b' nor 's'"),
        (b'{"X":[%s]}' % (ROW.replace(b"37247.00000", b"dear") % 5), "'dear' is no number"),
        (b'{"X":[%s]}' % (ROW.replace(b"37247.00000", b"NaN") % 5), "'NaN' is no number"),
        (b'{"X":[%s]}' % (ROW.replace(b"37247.00000", b" 1_0 ") % 5), "' 1_0 ' is no number"),
        (b'{"X":[%s]}' % (ROW.replace(b"37247.00000", b"1e99999999999999999999") % 5), "is no number that can be held"),
        (b'{"X":[%s]}' % (ROW.replace(b"0.00026451", b"0.000264511") % 5), "does not fit the archive's"),
        (b'{"X":[%s]}' % (ROW.replace(b"1701019771.0383663", b"1e30") % 5), "is not a time in seconds"),
        (b'{"X":[%s]}' % (ROW.replace(b"1701019771.0383663", b'"Infinity"') % 5), "is not a time in seconds"),
    ],
)
def test_a_page_that_cannot_be_read_is_refused_whole_by_a_sentence(result: bytes, because: str) -> None:
    with pytest.raises(Malformed, match=r"^an answer of Trades for BTC/USD that cannot be read") as caught:
        parse.trades_page(result, "BTC/USD")
    assert because in str(caught.value)


BESIDE = [
    '"count":5',
    '"count":null',
    '"note":"x"',
    '"more":{"a":[[1]]}',
    '"warnings":[]',
    '"warnings":["x"]',
    '"a":1,"b":[]',
]


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("first", [True, False])
def test_whatever_stands_beside_the_rows_of_an_answer_is_passed_over(beside: str, *, first: bool) -> None:
    for rows, ids in (((ROW % 5).decode(), [5]), ("", [])):
        parts = [beside, f'"X":[{rows}]'] if first else [f'"X":[{rows}]', beside]
        page = parse.trades_page(f'{{{",".join(parts)},"last":"7"}}'.encode(), "BTC/USD")
        assert ([trade.trade_id for trade in page.trades], page.last) == (ids, "7")
    told = ohlc_json((0, "1"), (60, "1")).decode()[1:]
    assert [one.time_us for one in parse.candles(f"{{{beside},{told}".encode(), "BTC/USD", "1m")] == [0]


@pytest.mark.parametrize(
    "result", [b'{"X":null,"last":"7"}', b'{"X":null,"count":5,"last":"7"}', b'{"X": [ ],"last":"7"}']
)
def test_null_in_the_place_of_rows_is_no_row(result: bytes) -> None:
    assert parse.trades_page(result, "BTC/USD") == TradesPage((), "7")
    assert parse.candles(result, "BTC/USD", "1m") == []


@pytest.mark.parametrize("last", ["[]", "{}", "true", "1.5e18", "null"])
def test_a_cursor_that_is_none_is_left_out(last: str) -> None:
    assert parse.trades_page(f'{{"X":[],"last":{last}}}'.encode(), "BTC/USD") == TradesPage((), None)


@given(st.binary(max_size=300))
def test_no_bytes_make_a_page_fail_otherwise(result: bytes) -> None:
    for read in (lambda: parse.trades_page(result, "BTC/USD"), lambda: parse.listing(result).entries):
        with contextlib.suppress(Malformed):
            read()


# -- the receive time ----------------------------------------------------------------------------------------------


def test_the_receive_time_is_cut_to_microseconds(payloads: Path) -> None:
    frame = (payloads / "ws_v2/trade/live_BTC-USD_2026-09-25.jsonl").read_bytes().splitlines()[1]
    assert [row.received_us for row in parse.trade_frame(frame, received_ns=1_999)] == [1]


# -- listings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pairs", "without_wsname"),
    [
        ("full_2015-03", 14, 14),
        ("xchange_old", 86, 11),
        ("full_2021-04-17", 304, 11),
        ("three_pairs_2023-11", 3, 0),
        ("full_1114pairs_2025-07-23", 1114, 0),
        ("full_1218pairs_2025-09-11", 1218, 0),
        ("XBTUSDT_2025-11", 1, 0),
        ("tokenized_AAPLxUSD_fixture", 1, 0),
        ("five_pairs_2026-07-07", 5, 0),
        ("five_pairs_2026-09-25", 5, 0),
    ],
)
def test_the_listing_of_every_year_is_read(payloads: Path, name: str, pairs: int, without_wsname: int) -> None:
    path = payloads / f"rest/AssetPairs/{name}.json"
    said = json.loads(path.read_bytes())["result"]
    assert len(said) == pairs
    read = parse.listing(result_of(path)).entries
    assert len(read) == pairs - without_wsname
    for instrument in read:
        entry = said[instrument.key]
        assert (instrument.altname, instrument.wsname) == (entry["altname"], entry["wsname"])
        assert (instrument.base, instrument.quote) == (entry["base"], entry["quote"])
        assert (instrument.pair_decimals, instrument.lot_decimals) == (entry["pair_decimals"], entry["lot_decimals"])
        assert instrument.status == entry.get("status", "online")
        for kept, printed in (("tick_size", "tick_size"), ("ordermin", "ordermin"), ("costmin", "costmin")):
            text = getattr(instrument, kept)
            assert (None if text is None else Decimal(text)) == (
                None if printed not in entry else Decimal(entry[printed])
            )


def test_a_listing_that_only_prints_differently_is_no_change() -> None:
    entry = '{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD","pair_decimals":1,'
    entry += '"lot_decimals":8,"tick_size":"%s","ordermin":"%s"}}'
    one = parse.listing((entry % ("0.1", "0.00005")).encode()).entries
    other = parse.listing((entry % ("0.10", "5e-05")).encode()).entries
    assert one == other
    assert (one[0].pair, one[0].ordermin, one[0].costmin, one[0].status) == ("BTC/USD", "0.00005", None, "online")


@pytest.mark.parametrize("result", [b"[]", b'{"X":{}}', b'{"X":5}', b'{"X":' + b"[" * 100_000, b"\xff"])
def test_a_listing_that_cannot_be_read_is_refused_by_a_sentence(result: bytes) -> None:
    with pytest.raises(Malformed, match=r"^an answer of AssetPairs .*cannot be read"):
        parse.listing(result)


ENTRY = '"%s":{"altname":"%s","wsname":"%s/USD","base":"X","quote":"ZUSD","pair_decimals":1,"lot_decimals":8%s}'


@pytest.mark.parametrize(
    ("field", "because"),
    [
        ('"tick_size":"none"', "'none' is no number"),
        ('"tick_size":"NaN"', "'NaN' is no number"),
        ('"tick_size":{}', "is no number"),
        ('"tick_size":1E+900000000', "'1E+900000000' is no number that can be held"),
        ('"ordermin":"1e-13"', "ordermin '1e-13' does not fit"),
        ('"costmin":true', "'true' is no number"),
        ('"cost_decimals":2147483648', "<= 100"),
        ('"status":null', "status"),
        ('"status":5', "status"),
        ('"base":""', "base"),
    ],
)
def test_one_odd_entry_costs_that_entry_and_its_pair_can_be_recorded_all_the_same(field: str, because: str) -> None:
    odd, good = ENTRY % ("ODD", "ODDUSD", "ODD", f",{field}"), ENTRY % ("Y", "YUSD", "Y", "")
    for text in (f"{{{odd},{good}}}", f"{{{good},{odd}}}"):
        read = parse.listing(text.encode())
        assert [one.pair for one in read.entries] == ["Y/USD"]
        (found,) = read.odd.values()
        assert because in found.reason
        assert found.reason.startswith("the entry of ODD cannot be read: ")
        assert found.raw == odd.partition(":")[2].encode()
        assert found.names == {"ODD", "ODDUSD", "ODD/USD"}
        assert found.bare is not None
        assert (found.bare.pair, found.bare.altname, found.bare.pair_decimals) == ("ODD/USD", "ODDUSD", 1)
        assert (found.bare.tick_size, found.bare.status) == (None, "online")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"pair_decimals":1', '"pair_decimals":null'),
        ('"pair_decimals":1', '"pair_decimals":-1'),
        ('"pair_decimals":1', '"pair_decimals":2147483648'),
        ('"altname":"ODDUSD"', '"altname":5'),
        ('"altname":"ODDUSD"', f'"altname":"{"x" * 300}"'),
        ('"wsname":"ODD/USD"', '"wsname":"ODDUSD"'),
        ('"wsname":"ODD/USD"', '"wsname":"/"'),
        ('"wsname":"ODD/USD"', '"wsname":[]'),
        ('"wsname":"ODD/USD"', f'"wsname":"{"x" * 300}/USD"'),
        ('"wsname":"ODD/USD"', '"wsname":"O\\u0000D/USD"'),
        ('"ODD":', f'"{"K" * 300}":'),
        (ENTRY[5:] % ("ODDUSD", "ODD", ""), "null"),
        (ENTRY[5:] % ("ODDUSD", "ODD", ""), "5"),
    ],
)
def test_an_entry_of_which_too_little_can_be_read_is_no_pair(old: str, new: str) -> None:
    odd = (ENTRY % ("ODD", "ODDUSD", "ODD", "")).replace(old, new)
    assert new in odd
    read = parse.listing(f"{{{ENTRY % ('Y', 'YUSD', 'Y', '')},{odd}}}".encode())
    assert [one.pair for one in read.entries] == ["Y/USD"]
    (found,) = read.odd.values()
    assert found.bare is None
    assert len(found.reason) <= 300
    assert all(len(name) <= 64 for name in [*found.names, *read.odd])


def test_numbers_may_be_text_or_numbers_and_new_fields_and_nulls_are_passed_over() -> None:
    more = ',"tick_size":0.10,"ordermin":"5e-05","costmin":null,"cost_decimals":null,"wsname2":[{}],"aclass_base":null'
    (one,) = parse.listing(f"{{{ENTRY % ('X', 'XUSD', 'X', more)}}}".encode()).entries
    assert (one.tick_size, one.ordermin, one.costmin, one.asset_class) == ("0.1", "0.00005", None, "currency")


def test_entries_of_the_exchanges_own_venue_come_first() -> None:
    venues = ("bitnomial-exchange", "international", None, "new")
    text = ",".join(
        ENTRY % (f"K{at}", "XUSD", "X", "" if venue is None else f',"execution_venue":"{venue}"')
        for at, venue in enumerate(venues)
    )
    assert [one.key for one in parse.listing(f"{{{text}}}".encode()).entries] == ["K1", "K2", "K0", "K3"]


def test_a_tokenized_asset_is_listed_with_its_class(payloads: Path) -> None:
    result = result_of(payloads / "rest/AssetPairs/tokenized_AAPLxUSD_fixture.json")
    (one,) = parse.listing(result, "tokenized_asset").entries
    assert (one.pair, one.altname, one.asset_class) == ("AAPLx/USD", "AAPLxUSD", "tokenized_asset")
    assert parse.listing(b"[]", "tokenized_asset").entries == ()


@given(st.lists(st.tuples(st.sampled_from(["BTC/USD", "ETH/USD", "X"]), st.integers(1, 6)), max_size=12))
def test_the_runs_of_a_frame_are_those_of_its_trades(rows: list[tuple[str, int]]) -> None:
    entries = ",".join(
        f'{{"symbol":"{pair}","side":"buy","price":1.5,"qty":2.00000000,"ord_type":"limit","trade_id":{trade_id},'
        f'"timestamp":"2026-07-07T23:00:0{trade_id}.562702Z"}}'
        for pair, trade_id in rows
    )
    frame = f'{{"channel":"trade","type":"update","data":[{entries}]}}'.encode()
    assert parse.trade_runs(frame) == runs_of(parse.trade_frame(frame, received_ns=1))
    assert parse.first_pair(frame) == (rows[0][0] if rows else None)


# -- candles --------------------------------------------------------------------------------------------------------

OHLC_PAGES = (
    ("XBTUSDT_1m_721rows_2025-11-11.json", 720),
    ("XXBTZUSD_1m_trimmed_2023-11-26.json", 17),
    ("BTC-USD_1m_12rows_trimmed_2026-10-06.json", 11),
    ("BTC-USD_60m_4rows_2026-09-25.json", 3),
    ("xchange_old.json", 719),
)


@pytest.mark.parametrize(("name", "committed"), OHLC_PAGES)
def test_every_real_page_of_candles_is_read_text_for_text_without_the_running_one(
    payloads: Path, name: str, committed: int
) -> None:
    result = result_of(payloads / "rest/OHLC" / name)
    candles = parse.candles(result, "BTC/USD", "1m")
    content = json.loads(result, parse_int=str)
    last = content.pop("last", None)
    (rows,) = content.values()
    assert len(candles) == committed == len(rows) - 1
    if "trimmed" not in name:
        assert candles[-1].time_us == int(last) * 1_000_000
    for candle, row in zip(candles, rows, strict=False):
        values = (candle.open, candle.high, candle.low, candle.close, candle.vwap, candle.volume)
        assert [str(candle.time_us // 1_000_000), str(candle.count)] == [row[0], row[7]]
        assert values == tuple(Decimal(text) for text in row[1:7])


def ohlc_json(*rows: tuple[int, str], last: object = None) -> bytes:
    listed = [[time, price, price, price, price, price, "0.50000000", 1] for time, price in rows]
    return json.dumps({"XXBTZUSD": listed, "last": last}).encode()


@pytest.mark.parametrize(
    ("last", "committed"),
    [
        (60, [0, 60]),  # as it always was: the start of the last but one
        (None, [0, 60]),
        ("60", [0, 60]),
        (0, [0]),  # less is committed than we thought: the next answer brings it
        (120, [0, 60]),  # the last row is running, whatever `last` says
        (10**12, [0, 60]),
    ],
)
def test_a_candle_is_committed_where_its_place_and_last_agree(last: object, committed: list[int]) -> None:
    result = ohlc_json((0, "1.5"), (60, "1.6"), (120, "1.7"), last=last)
    assert [candle.time_us // 1_000_000 for candle in parse.candles(result, "BTC/USD", "1m")] == committed


def test_an_answer_with_only_the_running_candle_has_none_committed() -> None:
    assert parse.candles(ohlc_json((120, "1.7"), last=60), "BTC/USD", "1m") == []
    assert parse.candles(ohlc_json(last=60), "BTC/USD", "1m") == []


@pytest.mark.parametrize(
    ("result", "because"),
    [
        (b'{"last":60}', "one list of candles"),
        (b'{"XXBTZUSD":[[]],"XETHZUSD":[[]],"last":60}', "one list of candles"),
        (b"[]", "cannot be read"),
        (b'{"XXBTZUSD":{},"last":60}', "cannot be read"),
        (ohlc_json((0, "NaN"), (60, "NaN")), "'NaN' is no number"),
        (ohlc_json((0, "0.1234567890123"), (60, "0.1234567890123")), "does not fit"),
        (ohlc_json((-60, "1")), "cannot be read: Expected `int` >= 0"),
        (ohlc_json((253_402_300_800, "1"), (253_402_300_860, "1")), "cannot be read: Expected `int` <= 253402300799"),
        (ohlc_json((0, "1"), (60, "1"), last="soon"), "cannot be read"),
    ],
)
def test_an_answer_of_candles_that_cannot_be_read_is_refused_whole_by_a_sentence(result: bytes, because: str) -> None:
    with pytest.raises(Malformed, match=because):
        parse.candles(result, "BTC/USD", "1m")


@given(st.binary(max_size=80) | st.sampled_from([b"{}", b'{"a":[[]],"last":null}', b'{"a":[[1,2]],"last":1}']))
def test_no_bytes_make_candles_fail_otherwise(result: bytes) -> None:
    with contextlib.suppress(Malformed):
        parse.candles(result, "BTC/USD", "1m")


# -- the ticker -----------------------------------------------------------------------------------------------------


def ticker_part(price: object = "63501.60000", qty: object = "0.00100000", today: object = 35) -> dict[str, object]:
    return {"a": ["1", "1", "1.000"], "c": [price, qty], "t": [today, 3276], "o": "1"}


def ticker_of(**parts: object) -> bytes:
    return json.dumps(parts).encode()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("XBTUSDT_2025-11-11.json", {"BTC/USDT": ("105899.40000", "0.00009443", 35)}),
        (
            "XETHZUSD_USDCUSD_XXBTZUSD_2024-01.json",
            {
                "BTC/USD": ("40228.50000", "0.00027343", 10238),
                "ETH/USD": ("2243.89000", "0.01000000", 4629),
                "USDC/USD": ("1.00020000", "5000.00000000", 1977),
            },
        ),
        ("xchange_old.json", {"BTC/EUR": ("560.87711", "0.01447739", 305)}),
    ],
)
def test_every_real_ticker_is_read_for_the_pairs_asked(
    payloads: Path, listed: list[Instrument], name: str, expected: dict[str, tuple[str, str, int]]
) -> None:
    quotes = parse.quotes(result_of(payloads / "rest/Ticker" / name), listed)
    assert quotes.unreadable == {}
    assert {p: (str(q.price), str(q.qty), q.today) for p, q in quotes.by_pair.items()} == expected


def test_the_count_of_the_real_ticker_is_the_number_of_ids_since_midnight(
    payloads: Path, listed: list[Instrument]
) -> None:
    """A page and a ticker of one moment: the count counts ids, and price and volume are those of the newest one."""
    (quote,) = parse.quotes(result_of(payloads / "rest/Ticker/XBTUSDT_2025-11-11.json"), listed).by_pair.values()
    page = parse.trades_page(result_of(payloads / "rest/Trades/XBTUSDT_1000_2025-11-11.json"), "BTC/USDT")
    midnight_us = parse.micros("2025-11-11T00:00:00Z")
    yesterday = max(trade.trade_id for trade in page.trades if trade.time_us < midnight_us)
    assert quote.today == page.trades[-1].trade_id - yesterday
    assert (quote.price, quote.qty) == (page.trades[-1].price, page.trades[-1].qty)


@pytest.mark.parametrize("name", ["XXBTZUSD", "XBTUSD", "XBT/USD", "BTC/USD"])
def test_a_pair_is_found_in_the_ticker_under_each_of_its_names(listed: list[Instrument], name: str) -> None:
    bitcoin = [instrument for instrument in listed if instrument.pair == "BTC/USD"]
    assert parse.quotes(ticker_of(**{name: ticker_part()}), bitcoin).by_pair["BTC/USD"].today == 35


def test_no_pair_of_the_real_listing_is_taken_for_another(listed: list[Instrument]) -> None:
    for names in ("key", "altname", "wsname", "pair"):
        answer = {getattr(each, names): ticker_part(today=n) for n, each in enumerate(listed)}
        found = parse.quotes(ticker_of(**answer), listed).by_pair
        assert {pair: quote.today for pair, quote in found.items()} == {e.pair: n for n, e in enumerate(listed)}


@pytest.mark.parametrize(
    "part",
    [
        None,
        [],
        {},
        {"c": ["1", "1"]},
        {"t": [1, 1]},
        ticker_part(price="NaN"),
        ticker_part(price="x"),
        ticker_part(qty=None),
        ticker_part(price=63501.6),
        ticker_part(today="35"),
        ticker_part(today=-1),
        ticker_part(today=1.5),
        {"c": ["1"], "t": [1, 1]},
        {"c": ["1", "1"], "t": []},
    ],
)
def test_a_part_of_the_ticker_that_cannot_be_read_is_told_and_spoils_no_other(
    listed: list[Instrument], part: object
) -> None:
    quotes = parse.quotes(ticker_of(XXBTZUSD=part, XETHZUSD=ticker_part(), unheard_of=None), listed)
    assert list(quotes.by_pair) == ["ETH/USD"]
    assert list(quotes.unreadable) == ["BTC/USD"]
    assert "a part of Ticker for BTC/USD that cannot be read" in quotes.unreadable["BTC/USD"]


@given(st.binary(max_size=60) | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode()))
def test_no_bytes_make_a_ticker_fail_otherwise(result: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert parse.quotes(result, []).by_pair == {}


@pytest.mark.parametrize("result", [b"", b"[]", b"null", b"<html>"])
def test_an_answer_of_ticker_that_is_no_table_is_malformed(result: bytes) -> None:
    with pytest.raises(Malformed, match="an answer of Ticker that cannot be read"):
        parse.quotes(result, [])


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
    expected = parse.trade_frame(frame, received_ns=received_ns) if is_usual else None
    assert parse.usual_trades(frame, received_ns=received_ns) == expected
