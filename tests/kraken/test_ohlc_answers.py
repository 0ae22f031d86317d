from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.errors import Malformed
from recorder.kraken import ohlc_answers
from tests.kraken.rest_answers import ohlc_json, result_of

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
    candles = ohlc_answers.parse_answer(result, "BTC/USD", "1m").rows
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
    assert [
        candle.time_us // 1_000_000 for candle in ohlc_answers.parse_answer(result, "BTC/USD", "1m").rows
    ] == committed


def test_an_answer_with_only_the_running_candle_has_none_committed() -> None:
    assert ohlc_answers.parse_answer(ohlc_json((120, "1.7"), last=60), "BTC/USD", "1m").rows == []
    assert ohlc_answers.parse_answer(ohlc_json(last=60), "BTC/USD", "1m").rows == []


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
        ohlc_answers.parse_answer(result, "BTC/USD", "1m")


@given(st.binary(max_size=80) | st.sampled_from([b"{}", b'{"a":[[]],"last":null}', b'{"a":[[1,2]],"last":1}']))
def test_no_bytes_make_candles_fail_otherwise(result: bytes) -> None:
    with contextlib.suppress(Malformed):
        ohlc_answers.parse_answer(result, "BTC/USD", "1m")
