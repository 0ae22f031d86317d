from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import Instrument
from recorder.errors import (
    ExchangeError,
    Forbidden,
    Malformed,
    RateLimited,
    Refused,
    Retry,
    Unavailable,
    UnknownPair,
)
from recorder.kraken import rest_api

NEVER, BACKOFF, PAUSE = Retry.NEVER, Retry.WITH_BACKOFF, Retry.AFTER_PAUSE

CATALOGUE = [
    ("EGeneral:Invalid arguments", Refused, NEVER),
    ("EGeneral:Invalid arguments:since", Refused, NEVER),
    ("EGeneral:Unknown method", Refused, NEVER),
    ("EGeneral:Too many requests", RateLimited, PAUSE),
    ("EGeneral:Temporary lockout", RateLimited, PAUSE),
    ("EGeneral:Permission denied", Refused, NEVER),
    ("EGeneral:Internal error", Unavailable, BACKOFF),
    ("EGeneral:Internal error:5", Unavailable, BACKOFF),
    ("EQuery:Unknown asset pair", UnknownPair, NEVER),
    ("EQuery:Unknown asset", Refused, NEVER),
    ("EAPI:Rate limit exceeded", RateLimited, PAUSE),
    ("EAPI:Invalid key", Refused, NEVER),
    ("EAPI:Invalid signature", Refused, NEVER),
    ("EAPI:Bad request", Refused, NEVER),
    ("EAPI:Feature disabled", Refused, NEVER),
    ("EService:Unavailable", Unavailable, BACKOFF),
    ("EService:Busy", Unavailable, BACKOFF),
    ("EService:Timeout", Unavailable, BACKOFF),
    ("EService:Market in cancel_only mode", Unavailable, BACKOFF),
    ("EService:Market in post_only mode", Unavailable, BACKOFF),
    ("EService:Deadline elapsed", Unavailable, BACKOFF),
    ("EService: Throttled: 1790359841", RateLimited, PAUSE),
    ("EService:Throttled: 1790359841", RateLimited, PAUSE),
    ("EAuth:Rate limit exceeded", RateLimited, PAUSE),
    ("EAuth:Too many requests", RateLimited, PAUSE),
    ("EAuth:Account unconfirmed", Refused, NEVER),
    ("ESession:Invalid session", Refused, NEVER),
    ("EOrder:Unknown order", Refused, NEVER),
    ("", Refused, NEVER),
    ("a sentence without a colon", Refused, NEVER),
]


@pytest.mark.parametrize(("text", "kind", "retry"), CATALOGUE)
def test_every_error_of_the_catalogue_has_its_type_and_its_next_action(
    text: str, kind: type[ExchangeError], retry: Retry
) -> None:
    error = rest_api.error_of([text])
    assert type(error) is kind
    assert error.retry is retry
    assert repr(text) in str(error)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("too_many_requests", RateLimited),
        ("unknown_asset_pair", UnknownPair),
        ("invalid_key", Refused),
        ("permission_denied", Refused),
    ],
)
def test_every_recorded_failure_is_raised_though_it_came_with_200(
    payloads: Path, name: str, kind: type[ExchangeError]
) -> None:
    with pytest.raises(kind):
        rest_api.result(200, (payloads / f"rest/errors/{name}.json").read_bytes())


def test_a_throttle_that_names_its_end_is_waited_out_until_then() -> None:
    body = b'{"error":["EService: Throttled: 1790359841"]}'
    with pytest.raises(RateLimited) as caught:
        rest_api.result(200, body, now_s=1790359800.5)
    assert caught.value.retry_after_s == 40.5
    with pytest.raises(RateLimited) as caught:
        rest_api.result(200, body, now_s=1790359999.0)
    assert caught.value.retry_after_s == 0.0
    with pytest.raises(RateLimited) as caught:
        rest_api.result(200, body)
    assert caught.value.retry_after_s is None


def test_a_lockout_is_waited_out_a_quarter_of_an_hour() -> None:
    error = rest_api.error_of(["EGeneral:Temporary lockout"])
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 900.0


def test_of_several_errors_the_one_that_wants_most_patience_wins() -> None:
    texts = ["EQuery:Unknown asset pair", "EService:Busy", "EGeneral:Too many requests", "EGeneral:Temporary lockout"]
    assert "lockout" in str(rest_api.error_of(texts))
    assert "lockout" in str(rest_api.error_of(texts[::-1]))
    assert "Too many" in str(rest_api.error_of(texts[:3]))
    assert "Busy" in str(rest_api.error_of(texts[:2]))


def test_a_warning_is_no_failure() -> None:
    assert rest_api.result(200, b'{"error":["WGeneral:Danger"],"result":{"a":1}}') == b'{"a":1}'
    with pytest.raises(Unavailable):
        rest_api.result(200, b'{"error":["WGeneral:Danger","EService:Busy"],"result":{}}')


def test_an_error_with_a_result_is_an_error() -> None:
    with pytest.raises(UnknownPair):
        rest_api.result(200, b'{"error":["EQuery:Unknown asset pair"],"result":{}}')


def test_a_result_is_handed_on_byte_for_byte() -> None:
    assert rest_api.result(200, b'{"error":[],"result": {"X":[ "1.50000" ]} }') == b'{"X":[ "1.50000" ]}'


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, RateLimited),
        (403, Forbidden),
        *((status, Unavailable) for status in (400, 404, 500, 502, 503, 504, 520, 526, 530)),
    ],
)
def test_what_the_edge_answers_is_told_by_its_status_whatever_the_body(status: int, kind: type[ExchangeError]) -> None:
    for body in (b"", b"<html>Cloudflare</html>", b'{"error":[],"result":{}}'):
        with pytest.raises(kind, match=str(status)) as caught:
            rest_api.result(status, body)
        assert type(caught.value) is kind


def test_the_edge_may_say_how_long_to_wait() -> None:
    with pytest.raises(RateLimited) as caught:
        rest_api.result(429, b"", retry_after_s=17.0)
    assert caught.value.retry_after_s == 17.0


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error":[', b"\xff", b'{"x":' + b"[" * 100_000])
def test_what_is_no_json_is_an_exchange_out_of_reach(body: bytes) -> None:
    with pytest.raises(Unavailable, match="the answer is not JSON"):
        rest_api.result(200, body)


@pytest.mark.parametrize(
    "body", [b"[]", b"5", b"null", b'{"error":"x"}', b'{"error":[5]}', b'{"error":{},"result":{}}']
)
def test_json_that_is_no_envelope_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="the answer is no envelope of Kraken's"):
        rest_api.result(200, body)


@pytest.mark.parametrize("body", [b'{"error":[]}', b"{}", b'{"error":null}', b'{"error":[null]}', b'{"Error":"x"}'])
def test_neither_error_nor_result_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="neither an error nor a result"):
        rest_api.result(200, body)


@pytest.mark.parametrize(
    "error", ['"error":null,', "", '"error":[null],"warnings":{"new":[]},', '"error":[],"time":5,']
)
def test_what_stands_beside_a_result_is_passed_over_and_null_is_no_error(error: str) -> None:
    assert rest_api.result(200, f'{{{error}"result":{{"a":1}}}}'.encode()) == b'{"a":1}'


@pytest.mark.parametrize("error", ['"EGeneral:Too many requests"', '["EGeneral:Too many requests",null]'])
def test_a_refusal_is_heard_without_its_list_and_beside_nulls(error: str) -> None:
    with pytest.raises(RateLimited):
        rest_api.result(200, f'{{"error":{error},"result":{{}}}}'.encode())


def test_a_long_error_text_is_quoted_in_part() -> None:
    assert len(str(rest_api.error_of(["E" * 10_000]))) < 400


@given(st.integers(100, 599), st.binary(max_size=100))
def test_nothing_but_errors_of_the_exchange_is_raised(status: int, body: bytes) -> None:
    with contextlib.suppress(ExchangeError):
        rest_api.result(status, body)


def test_requests_say_what_goes_over_the_wire(listed: list[Instrument]) -> None:
    bitcoin = next(instrument for instrument in listed if instrument.pair == "BTC/USD")
    assert rest_api.asset_pairs().target == "/0/public/AssetPairs"
    assert rest_api.trades(bitcoin).target == "/0/public/Trades?pair=XBTUSD&count=1000"
    request = rest_api.trades(bitcoin, since_ns="1790359841138228746", count=5)
    assert request.target == "/0/public/Trades?pair=XBTUSD&since=1790359841138228746&count=5"
    assert rest_api.ohlc(bitcoin, "1d").target == "/0/public/OHLC?pair=XBTUSD&interval=1440"
    assert rest_api.ohlc(bitcoin, "1m", since_s=60).target == "/0/public/OHLC?pair=XBTUSD&interval=1&since=60"
    assert rest_api.system_status().target == "/0/public/SystemStatus"


def test_pairs_of_the_ticker_are_listed_by_altname_while_the_url_stays_short(listed: list[Instrument]) -> None:
    few = [instrument for instrument in listed if instrument.pair in {"BTC/USD", "DOGE/USD"}]
    assert sorted(rest_api.ticker(few).params[0][1].split(",")) == ["XBTUSD", "XDGUSD"]
    assert rest_api.ticker(few[:1]).target in {"/0/public/Ticker?pair=XBTUSD", "/0/public/Ticker?pair=XDGUSD"}
    assert rest_api.ticker().target == rest_api.ticker(listed).target == "/0/public/Ticker"
    counts = [n for n in range(1, len(listed)) if rest_api.ticker(listed[:n]).params]
    assert counts == list(range(1, len(counts) + 1))
    assert 100 < len(counts) < 300
    assert all(len(rest_api.ticker(listed[:n]).target) <= rest_api.LIST_LIMIT for n in counts)


def test_what_is_odd_in_a_parameter_is_encoded() -> None:
    assert rest_api.Request("/0/public/Trades", (("pair", "BTC/USD &x=1"),)).target.endswith("?pair=BTC%2FUSD+%26x%3D1")


NOW_S = 1_790_359_800.0


@pytest.mark.parametrize(
    ("header", "wanted_s"),
    [
        ("33", 33.0),
        (" 33 ", 33.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("Fri, 25 Sep 2026 18:10:30 GMT", 30.0),
        ("Fri, 25 Sep 2026 18:10:30 -0000", 30.0),
        ("Friday, 25-Sep-26 18:10:30 GMT", 30.0),
        ("Fri, 25 Sep 2026 18:09:00 GMT", 0.0),
        *(
            (nothing, None)
            for nothing in (None, "", "soon", "-5", "1e3", "٣", "9" * 400, "Fri, 99 Sep 2026 18:10:30 GMT")
        ),
    ],
)
def test_when_to_come_again_is_told_in_seconds_or_by_a_date(header: str | None, wanted_s: float | None) -> None:
    assert rest_api.retry_after_s(header, NOW_S) == wanted_s


@given(st.text(max_size=40))
def test_no_text_makes_the_header_raise(header: str) -> None:
    wanted_s = rest_api.retry_after_s(header, NOW_S)
    assert wanted_s is None or wanted_s >= 0


@pytest.mark.parametrize("status", [302, 403, 404, 429, 500, 503])
def test_every_refusal_of_the_edge_carries_how_long_we_are_to_stay_away(status: int) -> None:
    with pytest.raises(ExchangeError) as refused:
        rest_api.result(status, b"", retry_after_s=40.0)
    assert refused.value.retry_after_s == 40.0


def test_so_does_an_error_in_a_body_and_the_longer_wait_counts() -> None:
    for body, wanted_s in (
        (b'{"error":["EService:Busy"]}', 40.0),
        (b'{"error":["EGeneral:Temporary lockout"]}', 900.0),
    ):
        with pytest.raises(ExchangeError) as refused:
            rest_api.result(200, body, retry_after_s=40.0)
        assert refused.value.retry_after_s == wanted_s
