"""Odd rows of frames, pages and candles: each costs itself, is kept as it came, and is told with its id."""

from __future__ import annotations

import pytest

from recorder.core.trade_ids import Gap, Span, Spans
from recorder.errors import Malformed
from recorder.kraken import odd_rows, ohlc_answers, rest_api, trade_pages
from recorder.kraken.gap_fill import GapFill
from recorder.kraken.trade_pages import TradesPage
from tests.builders import BTC

PAIR = BTC.pair
T0_S = 1_783_465_205

ODD_FIELDS = {
    "null price": (0, "null"),
    "no number": (0, '"dear"'),
    "negative price": (0, '"-1.5"'),
    "too many decimals": (0, '"1.0000000000001"'),
    "too many digits": (0, '"12345678901234567"'),
    "not finite": (0, '"NaN"'),
    "an exponent out of all reason": (0, '"1E+900000000"'),
    "a number of a megabyte": (0, '"' + "9" * 1_000_000 + '"'),
    "a number where there was text": (0, "1.5"),
    "negative quantity": (1, '"-1"'),
    "null time": (2, "null"),
    "a time that is none": (2, "1e30"),
    "unknown side": (3, '"x"'),
    "null type": (4, "null"),
    "no type": (4, '""'),
    "a type of 300 letters": (4, '"' + "l" * 300 + '"'),
    "null misc": (5, "null"),
    "misc of a megabyte": (5, '"' + "x" * 1_000_000 + '"'),
    "a list": (5, "[]"),
}
ODD_IDS = {
    "id 0": "0",
    "null id": "null",
    "id as text": '"7"',
    "a broken id": "7.5",
    "negative id": "-7",
    "huge id": "9" * 40,
}
ODD_ROWS = {"null": "null", "a number": "5", "a text": '"x"', "an object": "{}", "empty": "[]", "short": '["1","1"]'}


def row(trade_id: int, at: int | None = None, text: str = "") -> str:
    fields = ['"1.5"', '"1"', f"{T0_S}.{trade_id:06d}", '"b"', '"l"', '""', str(trade_id)]
    if at is not None:
        fields[at] = text
    return f"[{','.join(fields)}]"


def page_of(*rows: str, last: str = "null") -> TradesPage:
    return trade_pages.parse_page(f'{{"XXBTZUSD":[{",".join(rows)}],"last":{last}}}'.encode(), PAIR)


def ids(page: TradesPage) -> list[int]:
    return [trade.trade_id for trade in page.trades]


@pytest.mark.parametrize(("at", "text"), ODD_FIELDS.values(), ids=ODD_FIELDS)
def test_of_a_page_an_odd_row_with_an_id_is_told_by_it(at: int, text: str) -> None:
    page = page_of(row(5), row(6), row(7, at, text), row(8))
    assert ids(page) == [5, 6, 8]
    (odd,) = page.odd
    assert (odd.pair, odd.span, odd.at, odd.raw.decode()) == (PAIR, Span(7, 7), 2, row(7, at, text))
    assert odd.reason.startswith("trade 7")
    assert len(odd.reason) <= odd_rows.REASON_LIMIT
    assert (page.rows, page.begins_oddly, page.ends_oddly, page.odd_end_us) == (4, False, False, None)


@pytest.mark.parametrize("text", [*(row(7, 6, text) for text in ODD_IDS.values()), *ODD_ROWS.values()])
def test_of_a_page_an_odd_row_without_an_id_has_those_that_its_neighbours_leave(text: str) -> None:
    (odd,) = page_of(row(6), text, row(8)).odd
    assert odd.span == Span(7, 7)
    assert "between trades 6 and 8" in odd.reason
    (odd,) = page_of(row(6), text, row(10)).odd
    assert odd.span == Span(7, 9)  # nobody can tell which
    for rows in ([text, row(8)], [row(6), text], [row(6), text, row(7)], [row(6), text, row(5_000_000)]):
        (odd,) = page_of(*rows).odd
        assert odd.span is None


def test_a_page_tells_whether_it_begins_or_ends_oddly_and_when() -> None:
    page = page_of(row(1, 5, "null"), row(2), row(3, 5, "null"))
    assert (page.begins_oddly, page.ends_oddly, page.odd_end_us) == (True, True, T0_S * 1_000_000 + 3)
    assert page_of(row(2), row(3, 2, "null")).odd_end_us is None


def test_a_page_without_a_readable_row_is_refused_with_its_first_id() -> None:
    with pytest.raises(Malformed, match="trade 1: "):
        page_of(row(1, 5, "null"), row(2, 5, "null"))


def test_many_odd_rows_cost_themselves_alone() -> None:
    page = page_of(*(row(trade_id, 5, "null" if trade_id % 2 else '""') for trade_id in range(1, 1001)))
    assert ids(page) == list(range(2, 1001, 2))
    assert [odd.span for odd in page.odd] == [Span(one, one) for one in range(1, 1001, 2)]


# -- what it means for a gap ----------------------------------------------------------------------------------------


def filling(*rows: str) -> GapFill:
    span = Span(100, 110)
    gap = Gap(PAIR, span, (T0_S - 10) * 1_000_000, (T0_S + 60) * 1_000_000)
    attempt = GapFill([gap], BTC, attempts={100: 1}, missing=Spans([span]))
    assert attempt.request() is not None
    attempt.add_page(page_of(*rows))
    return attempt


def good(*trade_ids: int) -> list[str]:
    return [row(trade_id) for trade_id in trade_ids]


@pytest.mark.parametrize("text", [row(105, 5, "null"), row(105, 6, "0"), "null"])
def test_an_id_that_an_answer_has_an_odd_row_for_is_not_one_that_it_stepped_over(text: str) -> None:
    attempt = filling(*good(*range(99, 105)), text, *good(*range(106, 112)))
    assert [odd.span for odd in attempt.odd] == [Span(105, 105)]
    assert attempt.skipped == []
    assert attempt.given_up == [Span(105, 105)]


def test_an_odd_row_with_an_id_says_nothing_of_others_that_are_stepped_over() -> None:
    attempt = filling(*good(*range(99, 104)), row(105, 5, "null"), *good(*range(106, 112)))
    assert [odd.span for odd in attempt.odd] == [Span(105, 105)]
    assert attempt.skipped == [Span(104, 104)]


def test_an_id_that_comes_as_it_should_is_no_odd_one() -> None:
    attempt = filling(row(105, 5, "null"), *good(*range(99, 112)))
    assert attempt.odd == []
    assert attempt.given_up == []


def test_a_full_page_that_ends_with_odd_rows_is_followed_from_its_end() -> None:
    span = Span(100, 3_000)
    attempt = GapFill([Gap(PAIR, span, (T0_S - 10) * 1_000_000, (T0_S + 60) * 1_000_000)], BTC)
    attempt.request()
    rows = [*good(99, 100), *(row(trade_id, 5, "null") for trade_id in range(101, 101 + rest_api.PAGE_LIMIT - 2))]
    end_ns = (T0_S * 1_000_000 + 100 + rest_api.PAGE_LIMIT - 2) * 1000
    attempt.add_page(page_of(*rows, last=f'"{end_ns}"'))
    asked = attempt.request()
    assert asked is not None
    assert dict(asked.params)["since"] == str(end_ns - 1)


# -- candles --------------------------------------------------------------------------------------------------------

NAMES = ("time", "open", "high", "low", "close", "vwap", "volume")
ODD_CANDLES = {
    **{
        f"null {name}": (at, "null")
        for at, name in enumerate(("time", "open", "high", "low", "close", "vwap", "volume"))
    },
    "null count": (7, "null"),
    "negative count": (7, "-1"),
    "count of 100 bits": (7, str(2**100)),
    "negative low": (3, '"-1"'),
    "NaN": (5, '"NaN"'),
    "Infinity": (5, '"Infinity"'),
    "a number, not text": (5, "1.5"),
    "too many decimals": (1, '"1.0000000000001"'),
    "an exponent": (6, '"1E+900000000"'),
    "before 1970": (0, "-60"),
    "year 10000": (0, "253402300800"),
    "a time as text": (0, '"60"'),
}


def candle(minute: int, at: int | None = None, text: str = "") -> str:
    fields = [str(60 * minute), *['"1.5"'] * 6, "3"]
    if at is not None:
        fields[at] = text
    return f"[{','.join(fields)}]"


def answer_of(*rows: str, last: int) -> ohlc_answers.CandleAnswer:
    return ohlc_answers.parse_answer(f'{{"X":[{",".join(rows)}],"last":{60 * last}}}'.encode(), PAIR, "1m")


def minutes(answer: ohlc_answers.CandleAnswer) -> list[int]:
    return [one.time_us // 60_000_000 for one in answer.rows]


@pytest.mark.parametrize(("at", "text"), ODD_CANDLES.values(), ids=ODD_CANDLES)
@pytest.mark.parametrize("place", [0, 1, 3])
def test_one_odd_candle_costs_itself_alone(at: int, text: str, place: int) -> None:
    rows = [candle(minute, at, text) if minute == place else candle(minute) for minute in range(5)]
    answer = answer_of(*rows, last=3)
    assert minutes(answer) == [minute for minute in range(4) if minute != place]
    (odd,) = answer.odd
    assert (odd.at, odd.raw.decode(), odd.pair) == (place, rows[place], PAIR)


def test_the_running_candle_may_be_odd_and_others_may_be_all_odd_but_it() -> None:
    answer = answer_of(candle(0), candle(1), candle(2, 5, "null"), last=1)
    assert (minutes(answer), answer.odd) == ([0, 1], ())
    answer = answer_of(candle(0, 5, "null"), candle(1), last=0)
    assert (answer.rows, len(answer.odd), answer.first_us) == ([], 1, 0)
    with pytest.raises(Malformed, match="cannot be read"):
        answer_of(candle(0, 5, "null"), candle(1, 5, "null"), last=0)


@pytest.mark.parametrize("strange", [0, 3, 9, 10**9])
def test_of_candles_out_of_order_as_few_are_odd_as_can_be(strange: int) -> None:
    rows = [candle(minute) for minute in range(5, 9)]
    for place in (1, 2):
        answer = answer_of(*rows[:place], candle(strange), *rows[place:], last=7)
        assert minutes(answer) == [5, 6, 7]
        assert [odd.at for odd in answer.odd] == [place]


def test_an_odd_candle_counts_as_come_where_its_place_says_so() -> None:
    answer = answer_of(candle(0, 5, "null"), candle(1), candle(2, 5, "null"), candle(3), last=2)
    assert (answer.first_us, answer.last_us) == (0, 120_000_000)
    far = answer_of(candle(0), candle(1, 5, "null").replace("60", "600"), candle(2), last=1)
    assert (far.first_us, far.last_us) == (0, 0)
