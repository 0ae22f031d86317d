from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.sandbox.market import Market
from recorder.sandbox.rest import FRACTION_SLACK_NS, Rest

START_NS = 1_783_465_205_562_702_999
MARKET = Market(start_ns=START_NS, history={"BTC/USD": 3500, "DOGE/USD": 60})
TIMES = MARKET.tapes["BTC/USD"].times_ns


def ask(method: str, *, inclusive: bool = True, **query: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        Rest(MARKET, inclusive=inclusive).answer(method, query, now_ns=START_NS), parse_float=str
    )
    return answer


def trades(*, inclusive: bool = True, **query: str) -> tuple[list[list[Any]], str]:
    result = ask("Trades", inclusive=inclusive, **query)["result"]
    (key,) = (name for name in result if name != "last")
    return result[key], result["last"]


def ids(rows: list[list[Any]]) -> list[int]:
    return [row[6] for row in rows]


@pytest.mark.parametrize(
    ("name", "key"),
    [("XBTUSD", "XXBTZUSD"), ("XXBTZUSD", "XXBTZUSD"), ("xbtusd", "XXBTZUSD"), ("BTC/USD", "BTC/USD")],
)
def test_an_answer_is_keyed_by_the_canonical_key_or_by_the_v2_symbol_if_that_was_asked(name: str, key: str) -> None:
    assert list(ask("Trades", pair=name, count="1")["result"]) == [key, "last"]
    assert list(ask("AssetPairs", pair=name)["result"]) == [key]


@pytest.mark.parametrize("name", ["XBT/USD", "NOPE", "", "BTC/USD,ETH/EUR"])
def test_an_unlisted_name_is_refused_without_a_result(name: str) -> None:
    assert ask("Trades", pair=name) == {"error": ["EQuery:Unknown asset pair"]}


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({}, "EGeneral:Invalid arguments"),
        ({"pair": "XBTUSD", "count": "0"}, "EGeneral:Invalid arguments:count"),
        ({"pair": "XBTUSD", "count": "ten"}, "EGeneral:Invalid arguments:count"),
        ({"pair": "XBTUSD", "count": "²"}, "EGeneral:Invalid arguments:count"),
        ({"pair": "XBTUSD", "since": "yesterday"}, "EGeneral:Invalid arguments:since"),
        ({"pair": "XBTUSD", "since": "NaN"}, "EGeneral:Invalid arguments:since"),
        ({"pair": "XBTUSD", "since": "-5"}, "EGeneral:Invalid arguments:since"),
        ({"pair": "XBTUSD", "since": "1e30"}, "EGeneral:Invalid arguments:since"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(query: dict[str, str], error: str) -> None:
    assert ask("Trades", inclusive=True, **query) == {"error": [error]}


def test_an_unknown_method_is_refused_and_an_unknown_parameter_ignored() -> None:
    assert ask("Nope") == {"error": ["EGeneral:Unknown method"]}
    assert ask("Trades", pair="XBTUSD", colour="blue", count="1")["error"] == []


def test_the_envelope_begins_with_the_empty_error_list() -> None:
    assert Rest(MARKET).answer("Time", {}, now_ns=START_NS).startswith('{"error":[],"result":{')


def test_the_time_is_whole_seconds_and_a_two_digit_year() -> None:
    assert Rest(MARKET).answer("Time", {}, now_ns=1_762_820_224_999_999_999) == (
        '{"error":[],"result":{"unixtime":1762820224,"rfc1123":"Tue, 11 Nov 25 00:17:04 +0000"}}'
    )


def test_all_pairs_are_listed_by_canonical_key_and_by_display_name_on_demand() -> None:
    listed = ask("AssetPairs")["result"]
    assert list(listed) == ["XXBTZUSD", "XETHZEUR", "XDGUSD", "SHIBUSD", "MOGUSD", "MINAGBP"]
    shown = ask("AssetPairs", assetVersion="1")["result"]
    assert list(shown)[:3] == ["BTC/USD", "ETH/EUR", "DOGE/USD"]
    assert (shown["BTC/USD"]["base"], shown["BTC/USD"]["quote"]) == ("BTC", "USD")
    assert list(ask("AssetPairs", pair="XDGUSD,xethzeur")["result"]) == ["XDGUSD", "XETHZEUR"]
    assert ask("AssetPairs", pair="XDGUSD,NOPE") == {"error": ["EQuery:Unknown asset pair"]}


def test_without_since_the_newest_trades_come_oldest_first() -> None:
    assert ids(trades(pair="XBTUSD", count="3")[0]) == [3498, 3499, 3500]
    assert ids(trades(pair="XBTUSD")[0]) == list(range(2501, 3501))
    assert ids(trades(pair="XDGUSD")[0]) == list(range(1, 61))


def test_since_zero_begins_with_the_first_trade_and_a_page_ends_at_1000() -> None:
    for count in ("1000", "1001", "999999"):
        assert ids(trades(pair="XBTUSD", since="0", count=count)[0]) == list(range(1, 1001))


def test_last_is_the_exact_time_of_the_last_row() -> None:
    rows, last = trades(pair="XBTUSD", since="0", count="500")
    assert last == str(TIMES[499])
    assert rows[-1][2] == repr(TIMES[499] / 10**9)


@given(st.integers(0, 3499))
def test_since_keeps_the_trade_of_that_very_nanosecond_unless_switched_to_exclusive(index: int) -> None:
    since = str(TIMES[index])
    assert ids(trades(pair="XBTUSD", since=since, count="2")[0]) == [
        trade_id for trade_id in (index + 1, index + 2) if trade_id <= 3500
    ]
    assert ids(trades(inclusive=False, pair="XBTUSD", since=since, count="1")[0]) == (
        [index + 2] if index < 3499 else []
    )


@pytest.mark.parametrize("inclusive", [True, False])
def test_paging_by_last_brings_every_id_and_repeats_one_a_page_only_if_inclusive(*, inclusive: bool) -> None:
    since, seen = "0", list[int]()
    for _ in range(10):
        rows, last = trades(inclusive=inclusive, pair="XBTUSD", since=since)
        if not rows or last == since:
            break
        seen += ids(rows)
        since = last
    assert sorted(set(seen)) == list(range(1, 3501))
    assert len(seen) - len(set(seen)) == (3 if inclusive else 0)


def test_an_empty_page_echoes_its_since_and_an_empty_pair_has_no_position() -> None:
    assert trades(pair="XBTUSD", since=str(START_NS)) == ([], str(START_NS))
    assert trades(pair="ETHEUR") == ([], "0")


def test_the_unit_of_since_is_guessed_and_fractions_of_seconds_begin_too_early() -> None:
    second = TIMES[2000] // 10**9 + 1
    exact = ids(trades(pair="XBTUSD", since=str(second * 10**9), count="1")[0])
    assert ids(trades(pair="XBTUSD", since=str(second), count="1")[0]) == exact
    fraction = f"{TIMES[2000] // 10**9}.{TIMES[2000] % 10**9:09d}"
    early = TIMES[2000] - FRACTION_SLACK_NS
    assert trades(pair="XBTUSD", since=fraction) == trades(pair="XBTUSD", since=str(early))


def ohlc(name: str = "XBTUSD", **query: str) -> tuple[list[list[Any]], Any]:
    result = ask("OHLC", inclusive=True, pair=name, **query)["result"]
    (key,) = (one for one in result if one != "last")
    return result[key], result["last"]


@pytest.mark.parametrize("interval", ["1", "5", "15", "30", "60", "240", "1440", "10080", "21600"])
def test_candles_are_served_at_every_interval_contiguous_and_the_running_one_last(interval: str) -> None:
    rows, last = ohlc(interval=interval)
    step_s = int(interval) * 60
    assert len(rows) <= 721
    assert {following[0] - one[0] for one, following in pairwise(rows)} <= {step_s}
    assert rows[-1][0] == START_NS // 10**9 // step_s * step_s
    assert last == rows[-1][0] - step_s
    assert type(last) is int
    if len(rows) < 721:
        assert sum(row[7] for row in rows) == 3500


def test_a_row_has_the_kinds_and_digits_of_a_real_one() -> None:
    rows, _ = ohlc("XDGUSD", interval="60")
    (start, *texts, volume, trades_made) = rows[-1]
    assert (type(start), type(trades_made)) == (int, int)
    assert [len(text.partition(".")[2]) for text in texts] == [7] * 5
    assert len(volume.partition(".")[2]) == 8


@pytest.mark.parametrize("query", [{"interval": "10"}, {"interval": "360"}, {"interval": "1m"}, {"interval": "01"}])
def test_any_other_interval_is_an_invalid_argument(query: dict[str, str]) -> None:
    assert ask("OHLC", inclusive=True, pair="XBTUSD", **query) == {"error": ["EGeneral:Invalid arguments"]}


def test_candles_want_a_pair_that_is_listed_and_a_since_that_is_a_number() -> None:
    assert ask("OHLC") == {"error": ["EGeneral:Invalid arguments"]}
    assert ask("OHLC", pair="NOPE") == {"error": ["EQuery:Unknown asset pair"]}
    assert ask("OHLC", pair="XBTUSD", since="soon") == {"error": ["EGeneral:Invalid arguments:since"]}


def test_the_default_interval_is_a_minute_and_a_pair_that_never_traded_has_no_row() -> None:
    assert ohlc(interval="1") == ohlc()
    assert ohlc("ETHEUR") == ([], 0)


def test_last_as_since_repeats_the_last_committed_row_unless_exclusive() -> None:
    _, last = ohlc()
    assert [row[0] for row in ohlc(since=str(last))[0]] == [last, last + 60]
    exclusive = Rest(MARKET, inclusive_ohlc=False).answer(
        "OHLC", {"pair": "XBTUSD", "since": str(last)}, now_ns=START_NS
    )
    assert [row[0] for row in json.loads(exclusive)["result"]["XXBTZUSD"]] == [last + 60]


def test_the_ticker_is_of_one_of_several_or_of_all_pairs() -> None:
    assert list(ask("Ticker", pair="XBTUSD")["result"]) == ["XXBTZUSD"]
    assert list(ask("Ticker", pair="DOGE/USD,xethzeur")["result"]) == ["DOGE/USD", "XETHZEUR"]
    assert list(ask("Ticker")["result"]) == ["XXBTZUSD", "XETHZEUR", "XDGUSD", "SHIBUSD", "MOGUSD", "MINAGBP"]
    assert ask("Ticker", pair="XBTUSD,NOPE") == {"error": ["EQuery:Unknown asset pair"]}
    last_trade = trades(pair="XBTUSD", count="1")[0][0]
    assert ask("Ticker", pair="XBTUSD")["result"]["XXBTZUSD"]["c"] == last_trade[:2]


def test_the_status_is_online_with_the_two_newer_arrays() -> None:
    assert ask("SystemStatus")["result"] == {
        "status": "online",
        "timestamp": "2026-07-07T23:00:05Z",
        "upcoming_maintenance": [],
        "emergency": [],
    }
