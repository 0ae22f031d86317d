"""Rows by bar are the same whatever range they are asked in: those of a part are those of the whole."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest

from recorder.query import catalogue
from tests.archives import MINUTE_US, START_US, Ask, Written, minute, trade

QUESTIONS = {name: catalogue.question(name).text for name in ("time_bars", "returns", "vwap")}
WIDTHS = {"$width": "INTERVAL '1 minute'", "$per": "INTERVAL '1 minute'", "$origin": "NULL", "$filled": "true"}


def rows(ask: Ask, name: str, pair: str, start: datetime | None, stop: datetime | None) -> list[tuple[object, ...]]:
    text = QUESTIONS[name].split("\n\n", 1)[1]
    given = {**WIDTHS, "$pair": f"'{pair}'"}
    given |= {f"${end}": "NULL" if at is None else f"'{at}'" for end, at in (("start", start), ("stop", stop))}
    for parameter, value in given.items():
        text = text.replace(parameter, value)
    return ask(text)


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_any_split_of_a_range_gives_the_rows_of_the_whole(archive: Written, ask: Ask, name: str) -> None:
    quarters = {1: 1, 2: 3, 3: 3, 4: 10, 6: 20, 7: 21, 8: 40, 9: 44}  # of a minute, by id; 5 is missing
    archive.append(
        [trade(number, START_US + at * MINUTE_US // 4, str(100 + number * 7 % 5)) for number, at in quarters.items()]
    )
    whole = rows(ask, name, "BTC/USD", None, None)
    assert len(whole) == 12
    for cuts in ((1,), (4, 5), (0, 7, 11)):
        ends = [None, *map(minute, cuts), None]
        assert [row for low, high in pairwise(ends) for row in rows(ask, name, "BTC/USD", low, high)] == whole, cuts


def test_a_quiet_range_between_two_trades_is_filled_to_both_ends(archive: Written, ask: Ask) -> None:
    archive.append([trade(1, START_US, "90"), trade(2, START_US + 9 * MINUTE_US), trade(4, START_US + 11 * MINUTE_US)])
    text = "SELECT time, close, complete FROM time_bars('BTC/USD', '1 minute', ?, ?, filled := true)"
    assert ask(text, minute(3), minute(5)) == [(minute(3), 90, True), (minute(4), 90, True)]
    assert ask(text, minute(10), minute(11)) == [(minute(10), None, False)], "3 is missing"
    assert ask(text, minute(20), minute(21)) == []
