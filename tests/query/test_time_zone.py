"""Nothing that the SQL answers depends on the TimeZone of whoever asks, who may have set any."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from recorder.core.model import Event
from recorder.query import catalogue, views_database
from tests.archives import MINUTE_US, START_US, Ask, Written, candle, minute, quote, small_book, trade, writing

NIGHT = 11 * 60 + 50
"""Minutes from START to ten before midnight UTC, which is another day in Tokyo already."""
RELATIONS = [
    *("trades", "coverage", "gaps", "certificates", "ohlc", "ohlc_gaps", "ohlc_filled", "instruments", "events"),
    "candles('BTC/USD', '1d')",
    "candles('BTC/USD', '1m', '2025-11-10', '2025-11-11')",
    "candles('BTC/USD', '1m', '2025-11-10 23:55:00', DATE '2025-11-11')",
    "time_bars('BTC/USD', '1 day', '2025-11-10', TIMESTAMP '2025-11-12', origin := '2025-11-10 06:00:00')",
    "closes_of(['BTC/USD'], '7 minutes', '2025-11-10 23:55', DATE '2025-11-12')",
    "tick_bars('BTC/USD', 5, '2025-11-11')",
    "volume_bars('BTC/USD', 5, '2025-11-11')",
    "dollar_bars('BTC/USD', 500, '2025-11-10 23:50', '2025-11-11')",
    "pair_begins('BTC/USD')",
    "pair_holes('BTC/USD')",
    "pair_coverage('BTC/USD')",
    "unsound_files",
    "candle_audit('BTC/USD', '1m', '2025-11-10')",
    "pair_trades('BTC/USD', '2025-11-11', '2025-11-12')",
    "pair_ohlc_filled('BTC/USD', '1m', '2025-11-11')",
    "missing_between('BTC/USD', '2025-11-11', '2025-11-12')",
    *("quotes", "quote_sessions"),
    "quotes_outside_sessions('BTC/USD', '2025-11-10 23:50', DATE '2025-11-12')",
    *("bulk_trades", "bulk_ohlc", "bulk_days", "bulk_audit('BTC/USD', '1h', '2025-11-10')"),
    *("book", "book_sessions"),
    "quote_audit('BTC/USD', '2025-11-10 23:50', DATE '2025-11-12')",
    "book_snapshots('BTC/USD', '2025-11-10 23:50', DATE '2025-11-12', INTERVAL '1 hour')",
    "depth_bars('BTC/USD', '2025-11-10 23:50', DATE '2025-11-12', INTERVAL '1 hour')",
    "spread_bars('BTC/USD', '7 minutes', '2025-11-10 23:50', DATE '2025-11-12')",
    "quote_flow('BTC/USD', '7 minutes', '2025-11-10 23:50', DATE '2025-11-12')",
    "trade_spreads('BTC/USD', '2025-11-10 23:50', DATE '2025-11-12')",
]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """An archive of what happened about a midnight."""
    with writing(tmp_path_factory.mktemp("night") / "data") as written:
        fill(written)
        yield written


def fill(archive: Written) -> None:
    rows = [trade(number, START_US + (NIGHT + number) * MINUTE_US) for number in range(1, 31) if number != 17]
    archive.append([*rows, trade(31, -1), trade(32, START_US + (NIGHT + 40) * MINUTE_US)])
    archive.listed("BTC/USD", 1)
    archive.published([candle(NIGHT + number) for number in (5, 6, 12, 13, 20)])
    archive.booked(small_book())
    archive.quoted([quote(1, number, START_US + (NIGHT + 5 * number) * MINUTE_US) for number in range(8)])
    archive.noted(Event(START_US, "promised", "BTC/USD", f'{{"time_us": {START_US + NIGHT * MINUTE_US}}}'))


@pytest.mark.parametrize("relation", RELATIONS)
def test_views_and_macros_answer_alike_in_tokyo(ask: Ask, relation: str) -> None:
    text = f"FROM {relation} ORDER BY ALL"
    here = ask(text)
    ask("SET TimeZone = 'Asia/Tokyo'")
    assert ask(text) == here
    empty = (
        "pair_ohlc_filled",
        "ohlc_filled",
        "unsound",
        "pair_begins",
        "quotes_outside_sessions",
        "bulk_",
        "book",
        "depth_bars",
    )
    assert here or relation.startswith(empty)


def test_all_views_are_among_them_and_all_macros_that_are_given_moments() -> None:
    asked = {re.split(r"\W", relation)[0] for relation in RELATIONS}
    inner = {
        "book_grid",
        "bulk_candle_rows",
        "bulk_candles",
        "bulk_ohlc_bars",
        "bulk_trade_bars",
        "candle_rows",
        "candles_of",
        "measured_bars",
        "published",
        "quotes_in_force",
    }  # what is asked by connect() alone, or by those
    for name in catalogue.plain():
        text = catalogue.text(name)
        created = re.findall(r"CREATE OR REPLACE (?:VIEW (\w+)|MACRO (\w+)\([^)]*\bstart\b)", text)
        assert {view or macro for view, macro in created} - inner <= asked, name


@pytest.mark.parametrize("name", sorted(question.name for question in catalogue.questions()))
def test_so_do_the_analyses(ask: Ask, name: str) -> None:
    question = catalogue.question(name)
    wanted = {parameter.name for parameter in question.parameters}
    given = {"pair": "BTC/USD", "size": "5", "start": "2025-11-10T23:55:00Z", "stop": "2025-11-12"}
    params = question.bound({key: value for key, value in given.items() if key in wanted})
    here = ask(question.text, **params)
    ask("SET TimeZone = 'Asia/Tokyo'")
    assert ask(question.text, **params) == here


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("'2025-11-10'", datetime(2025, 11, 10, tzinfo=UTC)),
        ("'2025-11-10 12:00'", minute(0)),
        ("'2025-11-10T12:00:00Z'", minute(0)),
        ("'2025-11-10 21:00:00+09'", minute(0)),
        ("DATE '2025-11-10'", datetime(2025, 11, 10, tzinfo=UTC)),
        ("TIMESTAMP '2025-11-10 12:00:00'", minute(0)),
        ("TIMESTAMPTZ '2025-11-10 12:00:00Z'", minute(0)),
        ("'2025-11-10T12:00:00.0000000Z'", minute(0)),
        ("'2025-11-10T11:59:59.9999991Z'", minute(0)),
        ("TIMESTAMP_NS '2025-11-10 11:59:59.999999001'", minute(0)),
        ("NULL", None),
    ],
)
def test_an_end_without_a_zone_is_utc_and_one_too_fine_is_rounded_up(
    ask: Ask, written: str, meant: datetime | None
) -> None:
    ask("SET TimeZone = 'Asia/Tokyo'")
    assert ask(f"SELECT utc_moment({written})") == [(meant,)]


def test_a_day_is_one_of_utc(ask: Ask) -> None:
    ask("SET TimeZone = 'Asia/Tokyo'")
    before, nothing = "'1969-12-31 23:59:59.999999Z'::TIMESTAMPTZ", "NULL::TIMESTAMPTZ"
    text = f"SELECT utc_day({before}), utc_day({nothing}), day_start('2025-11-10'::DATE)"
    assert ask(text) == [(date(1969, 12, 31), None, datetime(2025, 11, 10, tzinfo=UTC))]
    assert ask("SELECT utc_day('-infinity'::TIMESTAMPTZ) = '-infinity'::DATE") == [(True,)]


def test_a_database_of_views_gives_the_same_days_in_tokyo(archive: Written, tmp_path: Path) -> None:
    made = tmp_path / "views.duckdb"
    views_database.write(made, archive.data)
    answers = []
    for zone in ("UTC", "Asia/Tokyo"):
        with duckdb.connect(str(made), read_only=True) as client:
            client.execute(f"SET TimeZone = '{zone}'")
            days = [one for one in RELATIONS if one.startswith(("certificates", "time_bars", "candles"))][:3]
            answers.append([client.execute(f"FROM {one} ORDER BY ALL").fetchall() for one in days])
    assert answers[0] == answers[1]
    assert all(answers[0])
