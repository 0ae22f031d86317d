"""queries/views, as any DuckDB client sees them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.archive.footer import Footer, held_runs
from recorder.core.model import Event
from recorder.core.trade_ids import Span, Spans
from tests.archives import START, START_US, Ask, Written, trade, trades

PAIR = "BTC/USD"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_trades_has_its_columns_in_order_with_exact_types(ask: Ask) -> None:
    columns = [(name, kind) for name, kind, *_ in ask("DESCRIBE trades")]
    assert columns == [
        ("pair", "VARCHAR"),
        ("trade_id", "BIGINT"),
        ("time", "TIMESTAMP WITH TIME ZONE"),
        ("price", "DECIMAL(28,12)"),
        ("qty", "DECIMAL(28,8)"),
        ("side", "VARCHAR"),
        ("ord_type", "VARCHAR"),
        ("misc", "VARCHAR"),
        ("source", "VARCHAR"),
        ("received", "TIMESTAMP WITH TIME ZONE"),
    ]


def test_coverage_gaps_and_instruments_have_their_columns_in_order(ask: Ask) -> None:
    def names(view: str) -> str:
        return " ".join(str(name) for name, *_ in ask(f"DESCRIBE {view}"))

    assert names("coverage") == "pair first_id last_id first_time last_time rows proof"
    assert names("events") == "time kind pair detail"
    assert names("ohlc_gaps") == "pair timeframe first_time last_time missing"
    assert names("gaps") == "pair first_id last_id missing after_time before_time state"
    assert names("instruments") == (
        "pair valid_from valid_to key altname wsname base quote pair_decimals lot_decimals cost_decimals tick_size "
        "ordermin costmin status"
    )


RELATIONS = [
    "trades",
    "coverage",
    "gaps",
    "certificates",
    "instruments",
    "events",
    "ohlc",
    "ohlc_gaps",
    "ohlc_filled",
    "quotes",
    "quote_sessions",
    "stored_ohlc()",
    "stored_events()",
    "stored_instruments()",
    "stored_quotes()",
    "stored_quote_sessions()",
    "stored_market_events()",
    "book",
    "book_sessions",
    "stored_book()",
    "stored_book_sessions()",
    "stored_book_events()",
]


def test_a_macro_may_have_parameters_named_like_the_columns_that_it_reads(ask: Ask) -> None:
    """DuckDB takes a bare column of a macro or view within another macro for a parameter of that name."""
    for relation in RELATIONS:
        names = [f'"{name}"' for name, *_ in ask(f"DESCRIBE FROM {relation}")]
        equal = " AND ".join(f"r.{name} = {name}" for name in names)
        ask(f"CREATE OR REPLACE MACRO mine({', '.join(names)}) AS TABLE SELECT r.* FROM {relation} AS r WHERE {equal}")


def test_a_new_archive_answers_with_no_rows(ask: Ask) -> None:
    for view in ("trades", "coverage", "gaps", "instruments", "events", "ohlc", "ohlc_gaps", "ohlc_filled"):
        assert ask(f"FROM {view}") == []


def test_trades_come_back_to_the_last_digit(archive: Written, ask: Ask) -> None:
    archive.append([trade(7, price="0.000002926001", qty="383320500.12345678", pair="1INCH/USD")])
    assert ask("FROM trades") == [
        (
            "1INCH/USD",
            7,
            at(7),
            Decimal("0.000002926001"),
            Decimal("383320500.12345678"),
            "buy",
            "limit",
            "",
            "rest",
            None,
        )
    ]


def test_a_year_that_looks_like_a_number_does_not_change_the_type_of_pair(archive: Written, ask: Ask) -> None:
    archive.append([trade(1, pair="2024/2025")])
    assert ask("SELECT pair, typeof(pair) FROM trades") == [("2024/2025", "VARCHAR")]


def test_coverage_joins_runs_that_go_on_in_another_file_or_year(archive: Written, ask: Ask) -> None:
    new_year_us = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    archive.append(trades(1, 3))
    archive.append([trade(4, new_year_us - 1), trade(5, new_year_us)])
    archive.append([trade(9, new_year_us + 9)])
    assert len(archive.files()) == 4
    assert ask("FROM coverage ORDER BY first_id") == [
        ("BTC/USD", 1, 5, at(1), datetime(2026, 1, 1, tzinfo=UTC), 5, "ids"),
        (
            "BTC/USD",
            9,
            9,
            datetime(2026, 1, 1, 0, 0, 0, 9, tzinfo=UTC),
            datetime(2026, 1, 1, 0, 0, 0, 9, tzinfo=UTC),
            1,
            "ids",
        ),
    ]


def test_gaps_names_the_hole_between_two_runs_and_when_it_was(archive: Written, ask: Ask) -> None:
    archive.append([*trades(3, 5), *trades(9, 9), *trades(1, 1, pair="ETH/USD"), *trades(8, 8, pair="ETH/USD")])
    assert ask("FROM gaps ORDER BY pair") == [
        ("BTC/USD", 6, 8, 3, at(5), at(9), "open"),
        ("ETH/USD", 2, 7, 6, at(1), at(8), "open"),
    ]


def test_a_compaction_changes_no_view(archive: Written, ask: Ask) -> None:
    for first in (1, 11, 31):
        archive.append(trades(first, first + 9))
    before = [sorted(ask(f"FROM {view}")) for view in ("trades", "coverage", "gaps")]
    archive.compact()
    assert len(archive.files()) == 1
    assert [sorted(ask(f"FROM {view}")) for view in ("trades", "coverage", "gaps")] == before


def test_instruments_ends_one_row_where_the_next_of_its_pair_begins(archive: Written, ask: Ask) -> None:
    archive.listed("BTC/USD", 3, at(0))
    archive.listed("ETH/USD", 2, at(5))
    archive.listed("BTC/USD", 1, at(60))
    assert ask("SELECT pair, pair_decimals, valid_from, valid_to FROM instruments ORDER BY pair, valid_from") == [
        ("BTC/USD", 3, at(0), at(60)),
        ("BTC/USD", 1, at(60), None),
        ("ETH/USD", 2, at(5), None),
    ]


def test_a_delisting_ends_a_listing_and_a_new_one_ends_the_delisting(archive: Written, ask: Ask) -> None:
    archive.listed("BTC/USD", 1, at(0))
    archive.listed("BTC/USD", 1, at(60), status="delisted")
    archive.listed("BTC/USD", 2, at(120))
    assert ask("SELECT status, pair_decimals, valid_from, valid_to FROM instruments ORDER BY valid_from") == [
        ("online", 1, at(0), at(60)),
        ("delisted", 1, at(60), at(120)),
        ("online", 2, at(120), None),
    ]


def test_events_give_their_detail_as_json(archive: Written, ask: Ask) -> None:
    archive.noted(
        Event(START_US, "connected", None, '{"connection":1}'),
        Event(START_US + 1, "ohlc_revised", "BTC/USD", '{"was":{"close":"1.50"},"now":{"close":"1.6"}}'),
    )
    assert ask("SELECT time, kind, pair, typeof(detail), detail ->> '$.was.close' FROM events ORDER BY time") == [
        (at(0), "connected", None, "JSON", None),
        (at(0.000001), "ohlc_revised", "BTC/USD", "JSON", "1.50"),
    ]


FILES = st.lists(st.sets(st.integers(1, 40), min_size=1, max_size=12), min_size=1, max_size=5)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FILES, min_size=8, max_size=8))
def test_coverage_and_gaps_are_the_arithmetic_of_the_ids_held(
    archive: Written, ask: Ask, series: list[list[set[int]]]
) -> None:
    # Many pairs in one question, which takes far longer to plan than to answer.
    pairs = sorted(f"{uuid.uuid4()}/USD" for _ in series)
    stored, missing = [], []
    for pair, held in zip(pairs, series, strict=True):
        for ids in held:
            archive.append([trade(trade_id, pair=pair) for trade_id in ids])
        spans = Spans.of_ids(set().union(*held))
        runs = [(span.first, span.last, len(span)) for span in spans]
        assert ask("SELECT first_id, last_id, rows FROM pair_coverage(?) ORDER BY 1", pair) == runs
        stored += [(pair, *run) for run in runs]
        holes = spans.missing(Span(spans.first, spans.last)) if spans.first and spans.last else []
        missing += [(pair, hole.first, hole.last, len(hole)) for hole in holes]
    among = "WHERE list_contains(?, pair) ORDER BY pair, first_id"
    assert ask(f"SELECT pair, first_id, last_id, rows FROM coverage {among}", pairs) == stored
    assert ask(f"SELECT pair, first_id, last_id, missing FROM gaps {among}", pairs) == missing


def test_what_other_programs_write_into_a_footer_is_no_coverage(archive: Written, ask: Ask) -> None:
    archive.append(trades(1, 2))
    (file,) = archive.files()
    table = pq.read_table(file, partitioning=None)
    footer = {
        **Footer("trades", "BTC/USD", held_runs(table, PAIR)).encode(),
        b"pandas": b"not {JSON",
        b"x": b"\xff\xfe",
    }
    pq.write_table(table.replace_schema_metadata(footer), file)
    assert ask("SELECT rows FROM coverage") == [(2,)]
