from __future__ import annotations

import pytest

from recorder.ops.health import HealthState
from recorder.page import overview
from recorder.page.overview import PairRow
from tests.ops.states import with_


@pytest.mark.parametrize(
    ("state", "fetching", "expected"),
    [
        (with_(), False, "recording"),
        (with_(), True, "catching up"),
        (with_(silent_s=[100.0]), True, "waiting"),
        (with_(listed=False), False, "waiting"),
        (with_(stopping=True), False, "stopped"),
        (with_(unsynced_s=400.0), False, "stopped"),
    ],
)
def test_the_state_is_one_word_with_its_reasons(state: HealthState, *, fetching: bool, expected: str) -> None:
    word, reasons = overview.word(state, fetching=fetching)
    assert word == expected
    assert bool(reasons) == (word in {"waiting", "stopped"})


def test_the_time_to_fetch_gaps_counts_pages_of_each() -> None:
    assert overview.eta_s([1, 1000, 1001], 0.5) == 8.0
    assert overview.eta_s([], 1.0) is None
    assert overview.eta_s([5], 0.0) is None


def test_what_is_unknown_is_shown_as_such() -> None:
    cells = PairRow("BTC/USD").cells()
    assert {cells["price"], cells["rate"], cells["today"]} == {"\N{EN DASH}"}
    assert (cells["gaps"], cells["missing"], cells["last"]) == ("none", "", None)


def test_a_calendar_shows_the_worst_pairs() -> None:
    calendar = {f"P{number:03}/USD": "c" * 90 for number in range(200)} | {"ZZZ/USD": "o" * 90}
    shown = overview.worst_first(calendar)
    assert len(shown) == overview.CALENDARS
    assert shown[-1][0] == "ZZZ/USD"


def test_the_change_of_a_day_is_told_where_the_price_of_a_day_ago_is_known() -> None:
    day = [[1, 100.0], [95, 111.0]]
    for price, spark, expected in (
        ("110", day, "+10.00 %"),
        ("99.5", day, "\N{MINUS SIGN}0.50 %"),
        ("100", day, "+0.00 %"),
        ("110", day[1:], "\N{EN DASH}"),  # recorded for less than a day
        ("110", [], "\N{EN DASH}"),
        ("110", [[0, 0.0]], "\N{EN DASH}"),
        (None, day, "\N{EN DASH}"),
    ):
        assert PairRow("BTC/USD", price=price, spark=spark).cells()["change"] == expected
    assert PairRow("BTC/USD", spark=day).cells()["spark"] == "1.3,22.0 120.0,2.0"
    assert PairRow("BTC/USD", spark=day[:1]).cells()["spark"] == ""
