"""The views gaps and certificates against the arithmetic in core/, which they say again in SQL."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from recorder.archive import verify_trades
from recorder.core import evidence
from recorder.core.absent_ids import AbsentIds
from recorder.core.certificate import DAY_US, Certificate, DayRows, certificates, utc_day
from recorder.core.evidence import (
    Anchored,
    Certified,
    Confirmed,
    Disowned,
    NumberingSettled,
    Promised,
    Reclaimed,
    Renumbered,
    Unreadable,
)
from recorder.core.model import Event, Trade
from recorder.core.trade_ids import Run, Span, Spans
from recorder.ops import missing_ids
from recorder.query import catalogue
from recorder.query.connect import connect
from tests.archives import START_US, Ask, Written, minute, rows_read, trade

HOUR_US = DAY_US // 24


Promises = list[Promised | Anchored]
Claim = Disowned | Reclaimed
Number = Renumbered | NumberingSettled


def told(
    pair: str,
    *,
    void: Sequence[tuple[int, int]],
    confirmed: Sequence[tuple[int, int]],
    promises: Sequence[Promised | Anchored | Claim | Certified | Number] = (),
) -> list[Event]:
    return [
        *(Event(START_US, evidence.kind(one), pair, json.dumps(evidence.detail(one))) for one in promises),
        *(Event(START_US, "void", pair, json.dumps({"first_id": one, "last_id": last})) for one, last in void),
        *(Event(START_US, "confirmed", pair, json.dumps({"last_id": one, "until_us": us})) for one, us in confirmed),
    ]


def made(first_id: int, hours: Sequence[int], *, pair: str) -> list[Trade]:
    """Return trades whose ids begin with ``first_id``, each so many hours after the one before it, or before it."""
    rows, time_us = [], START_US
    for trade_id, later in enumerate(hours, first_id):
        time_us += later * HOUR_US
        rows.append(trade(trade_id, time_us, pair=pair))
    return rows


@st.composite
def noted(draw: st.DrawFn, pair: str) -> Promises:
    """What was ever noted of the promise of a pair: nothing, or several things that need not agree."""
    moments = st.integers(-30, 200).map(lambda hours: START_US + hours * HOUR_US)
    promised = st.builds(Promised, st.just(pair), moments)
    found: Promises = draw(st.lists(promised, max_size=2))
    for one in list(found):
        times = st.sampled_from([one.time_us, one.time_us - HOUR_US, one.time_us + HOUR_US])
        found += draw(
            st.lists(st.builds(Anchored, st.just(pair), times, st.integers(0, 12), st.booleans()), max_size=2)
        )
    return found


@st.composite
def a_claim(draw: st.DrawFn, pair: str) -> Claim:
    """A claim that ids are disowned, or no more, at one of a few moments."""
    first, more, time_us = draw(st.integers(1, 12)), draw(st.integers(0, 5)), draw(st.integers(0, 2))
    span = Span(first, first + more)
    claims: list[Claim] = [Disowned(pair, span, time_us, "disowned"), Reclaimed(pair, span, time_us)]
    return draw(st.sampled_from(claims))


def a_certified_day(pair: str) -> st.SearchStrategy[Certified]:
    """What was certified of one of a few days: what it holds, or other rows, or fewer ids than it was told to have."""
    days = st.integers(-2, 3).map(lambda days: utc_day(START_US) + timedelta(days=days))
    revisions, ids = st.integers(1, 3), st.tuples(st.integers(1, 12), st.integers(1, 12)).map(sorted)
    return st.builds(
        lambda day, revision, rows, ids: Certified(pair, day, revision, rows, ids[0], ids[1], "0"),
        days,
        revisions,
        st.integers(1, 4),
        ids,
    )


@st.composite
def a_number(draw: st.DrawFn, pair: str) -> Number:
    """That a pair is numbered anew, or no more, before or after it was claimed of ids that they are disowned."""
    time_us, day = draw(st.integers(0, 3)), draw(st.integers(0, 9))
    settled_us = draw(st.sampled_from([time_us, START_US + 5]))
    anew = settled_us > START_US
    found: list[Number] = [
        Renumbered(pair, Span(1, 2), time_us, START_US + day * DAY_US),
        NumberingSettled(pair, settled_us, anew),
    ]
    return draw(st.sampled_from(found))


def runs(rows: Sequence[Trade]) -> list[Run]:
    times_us = {row.trade_id: row.time_us for row in rows}
    return [Run(rows[0].pair, span, times_us[span.first], times_us[span.last]) for span in Spans.of_ids(times_us)]


def by_day(rows: Sequence[Trade]) -> dict[object, DayRows]:
    found: dict[object, DayRows] = {}
    for day in {utc_day(row.time_us) for row in rows}:
        inside = [row for row in rows if utc_day(row.time_us) == day]
        times_us = [row.time_us for row in inside]
        found[day] = DayRows(len(inside), inside[0].trade_id, inside[-1].trade_id, min(times_us), max(times_us))
    return found


@dataclass(frozen=True)
class World:
    """What an archive has of a pair, and what the arithmetic makes of it."""

    pair: str
    certified: list[Certificate]
    missing: Sequence[tuple[object, ...]]


def a_world(archive: Written, data: st.DataObject) -> World | None:
    """Archive a pair of which some trades are held, and all that can be noted; None if there is nothing to compare."""
    pair = f"{uuid.uuid4()}/USD"
    hours = data.draw(st.lists(st.integers(0, 40) | st.just(-1), min_size=1, max_size=8))
    rows = made(data.draw(st.integers(1, 3)), hours, pair=pair)
    promises = data.draw(noted(pair))
    promise = evidence.promise(promises)
    kept = data.draw(st.lists(st.sampled_from(rows), min_size=0 if promise else 1, unique=True))
    kept.sort(key=lambda row: row.trade_id)
    starts = data.draw(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), max_size=3))
    void = [(first, first + more) for first, more in starts]
    asked = data.draw(st.lists(st.tuples(st.integers(0, 12), st.integers(-20, 200)), max_size=4))
    confirmed = [(last_id, START_US + later * HOUR_US) for last_id, later in asked]
    claims = data.draw(st.lists(a_claim(pair), max_size=5))
    certified = data.draw(st.lists(a_certified_day(pair), max_size=4))
    numbered = data.draw(st.lists(a_number(pair), max_size=3))
    anew = evidence.begun_us(numbered) is not None  # at the same moment, or later than all that was noted
    if anew and not kept:
        return None
    events = [*promises, *claims, *certified, *numbered]
    odd = [Unreadable(pair, Span(one, one)) for one in data.draw(st.sets(st.integers(1, 14), max_size=2))]
    if kept:
        archive.append(kept)
    archive.noted(*told(pair, void=void, confirmed=confirmed, promises=events))
    archive.noted(*(Event(START_US, evidence.kind(one), pair, json.dumps(evidence.detail(one))) for one in odd))
    if anew:
        promise, void, confirmed, odd, certified = None, [], [], [], []
    disowned = evidence.disowned([*claims, *numbered])
    absent = AbsentIds(Spans(Span(*ends) for ends in void), disowned, Spans(one.span for one in odd))
    renumbered = evidence.renumbered(numbered)
    expected = certificates(
        pair,
        runs(kept),
        by_day(kept),  # type: ignore[arg-type]
        now_us=int(datetime.now(UTC).timestamp()) * 1_000_000,
        absent=absent,
        confirmed=[Confirmed(pair, *known) for known in confirmed],
        promise=promise,
        certified=certified,
        unknown_from_us=None if renumbered is None else renumbered.from_us,
    )
    proven = Spans(Span(one.first_id, one.last_id) for one in certified)
    missing = [
        (one.span.first, one.span.last, len(one.span), one.after_us, one.before_us, one.state)
        for one in missing_ids.missing(pair, runs(kept), absent, promise, proven)
    ]
    return World(pair, expected, missing)


AT_ONCE = 10
"""Pairs of one question, which takes far longer to plan than to answer."""


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_gaps_and_certificates_are_those_of_the_arithmetic(archive: Written, ask: Ask, data: st.DataObject) -> None:
    worlds = [world for _ in range(AT_ONCE) if (world := a_world(archive, data))]
    assume(worlds)
    archive.merge("events")  # or each example reads the files of all before it
    pairs = [world.pair for world in worlds]
    among = ", ".join("?" * len(pairs))
    end = utc_day(START_US) + timedelta(days=20)
    days = ask(
        "SELECT pair, day, status, first_id, last_id, rows, missing, void, disowned, unreadable, epoch_us(first_time), "
        f"epoch_us(last_time) FROM certificates WHERE pair IN ({among}) AND day < ? ORDER BY day",
        *pairs,
        end,
    )
    lacking = ask(
        "SELECT pair, first_id, last_id, missing, epoch_us(after_time), epoch_us(before_time), state "
        f"FROM gaps WHERE pair IN ({among}) ORDER BY first_id",
        *pairs,
    )
    for world in worlds:
        found = [rest for pair, *rest in days if pair == world.pair]
        assert found == [list(row(one)) for one in world.certified[: len(found)]]
        assert len(found) == (end - world.certified[0].day).days
        assert [tuple(rest) for pair, *rest in lacking if pair == world.pair] == world.missing


@pytest.mark.parametrize("lost", [(), (2,), (4,), (6,), (8,), (2, 4, 6, 8)])
def test_trades_with_odd_times_have_days_of_their_own_as_in_the_arithmetic(
    archive: Written, ask: Ask, lost: tuple[int, ...]
) -> None:
    now_us = int(datetime.now(UTC).timestamp()) * 1_000_000
    odd_us = (-719_162 * DAY_US, 7, now_us + 90 * 365 * DAY_US)
    times_us = (
        START_US,
        START_US + 1,
        odd_us[0],
        START_US + DAY_US,
        odd_us[1],
        START_US + 2 * DAY_US,
        odd_us[2],
        now_us,
    )
    rows = [trade(trade_id, time_us) for trade_id, time_us in enumerate(times_us, 1) if trade_id not in lost]
    archive.append(rows)
    found = ask("SELECT day, status, rows, missing FROM certificates ORDER BY day")
    expected = certificates("BTC/USD", runs(rows), by_day(rows), now_us=now_us)  # type: ignore[arg-type]
    assert found == [(one.day, one.status, one.held.rows if one.held else 0, one.missing) for one in expected]
    assert len(found) < 1_000


def row(one: Certificate) -> tuple[object, ...]:
    held = one.held
    ids = (held.first_id, held.last_id, held.rows) if held else (None, None, 0)
    times = (held.first_us, held.last_us) if held else (None, None)
    return (one.day, one.status, *ids, one.missing, one.void, one.disowned, one.unreadable, *times)


def test_times_that_step_back_over_midnight_leave_both_days_open(archive: Written, ask: Ask) -> None:
    midnight_us = START_US - START_US % DAY_US + DAY_US
    archive.append([trade(one, midnight_us + us) for one, us in ((1, -5), (2, 0), (4, -1), (5, 1), (6, DAY_US))])
    found = ask("SELECT status, missing, rows FROM certificates ORDER BY day LIMIT 2")
    assert found == [("open", 1, 2), ("open", 1, 2)]


@pytest.mark.parametrize("odd", [False, True])
def test_a_day_that_only_a_step_back_reaches_is_told_of_alike(archive: Written, ask: Ask, *, odd: bool) -> None:
    ahead_us = int(datetime.now(UTC).timestamp()) * 1_000_000 + 2 * DAY_US
    inner_us = (START_US, START_US - 3 * DAY_US, ahead_us, *((7,) if odd else ()))
    rows = [trade(one, us) for one, us in enumerate((START_US + 1, *inner_us, START_US + 2), 2)]
    archive.append(rows)
    archive.append([trade(1, START_US + DAY_US, pair="ETH/USD"), trade(2, START_US + 2 * DAY_US, pair="ETH/USD")])
    expected = certificates(
        "BTC/USD",
        runs(rows),
        by_day(rows),  # type: ignore[arg-type]
        now_us=ahead_us - 2 * DAY_US,
    )
    question = "SELECT day, status, first_id, missing FROM certificates WHERE pair = 'BTC/USD' ORDER BY day"
    told_of = [(one.day, one.status, one.held and one.held.first_id, one.missing) for one in expected]
    assert ask(question) == told_of
    with connect(archive.data) as opened:
        for text in (question, question.replace("pair =", "pair ||'' =")):  # of one pair, and of all
            assert [tuple(row.values()) for row in opened.sql(text, to="arrow").to_pylist()] == told_of


def test_the_hash_is_the_one_that_verify_finds(archive: Written, ask: Ask) -> None:
    numbers = [("1e-10", "100"), ("0.1", "0.00000001"), ("105000.50", "12.5"), ("9999999999999999", "3")]
    archive.append([trade(one, price=price, qty=qty) for one, (price, qty) in enumerate(numbers, 9)])
    with ThreadPoolExecutor(1) as pool:
        (held,) = verify_trades.read(archive.layout, "BTC/USD", pool).days.values()
    assert ask("SELECT sha256, rows FROM certificates WHERE rows > 0") == [(held.sha256, 4)]


def test_no_row_is_hashed_unless_the_hash_is_asked_for(archive: Written, ask: Ask) -> None:
    archive.append([trade(1)])
    assert "string_agg" in str(ask("EXPLAIN SELECT sha256 FROM certificates"))
    assert "string_agg" not in str(ask("EXPLAIN SELECT day, status, missing FROM certificates"))


def test_what_makes_no_sense_of_an_event_is_passed_over(archive: Written, ask: Ask) -> None:
    archive.append([trade(1), trade(4)])
    archive.noted(
        Event(START_US, "void", "BTC/USD", '{"first_id":"two"}'),
        Event(START_US, "void", "BTC/USD", '{"first_id":3,"last_id":2}'),
        Event(START_US, "void", None, '{"first_id":2,"last_id":2}'),
        Event(START_US, "void", "ETH/USD", '{"first_id":2,"last_id":3}'),
        Event(START_US, "confirmed", "BTC/USD", "{}"),
        *told("BTC/USD", void=[(2, 2), (2, 2)], confirmed=[]),
    )
    assert ask("SELECT first_id, last_id, state FROM gaps ORDER BY first_id") == [(2, 2, "void"), (3, 3, "open")]


def test_a_connection_gives_certificates_as_a_frame(archive: Written) -> None:
    archive.append([trade(1), trade(2, START_US + DAY_US)])
    with connect(archive.data) as opened:
        found = opened.certificates()
        columns = "pair day status first_id last_id rows missing void disowned unreadable first_time last_time"
        assert list(found.columns) == [*columns.split(), "certified_rows", "certified_sha256", "proof"]
        assert list(found["status"][:2]) == ["complete", "open"]
        assert set(opened.certificates(hashed=True).columns) == {*found.columns, "sha256"}


def test_of_one_day_only_the_trades_of_that_day_are_read(archive: Written, ask: Ask) -> None:
    for day in range(5):
        first = 100 * day + 1
        archive.append([trade(first + number, START_US + day * DAY_US + number) for number in range(100)])
        archive.append([trade(first + number, START_US + day * DAY_US, pair="ETH/USD") for number in range(100)])
    one = "pair = 'BTC/USD' AND day = '2025-11-12'"
    assert ask(f"SELECT rows FROM certificates WHERE {one}") == [(100,)]
    assert rows_read(ask, f"SELECT sha256 FROM certificates WHERE {one}", archive.data / "trades") == 100
    two = "day BETWEEN '2025-11-11' AND '2025-11-12'"
    assert rows_read(ask, f"SELECT sum(rows) FROM certificates WHERE {two}", archive.data / "trades") == 400


def test_the_analysis_reads_no_other_days_either(archive: Written, ask: Ask) -> None:
    for day in range(5):
        archive.append([trade(100 * day + number, START_US + day * DAY_US + number) for number in range(1, 101)])
    text = catalogue.question("certificates").text
    params = {"pair": "BTC/USD", "start": minute(0), "stop": minute(60 * 24), "hashed": True}
    for name, value in params.items():
        text = text.replace(f"${name}", "true" if value is True else f"'{value}'")
    assert rows_read(ask, text, archive.data / "trades") == 200


@pytest.mark.parametrize("frozen", [False, True])
def test_a_pinned_connection_says_unknown_as_the_plain_view_does(archive: Written, ask: Ask, *, frozen: bool) -> None:
    archive.append([trade(1), trade(2, START_US + DAY_US)])
    numbered = [Renumbered("BTC/USD", Span(1, 2), START_US, START_US + DAY_US)]
    archive.noted(*told("BTC/USD", void=[], confirmed=[], promises=numbered))
    question = "SELECT DISTINCT day >= '2025-11-11', status = 'unknown' FROM certificates WHERE pair = 'BTC/USD'"
    expected = {(False, False), (True, True)}
    assert set(ask(question)) == expected
    with connect(archive.data, frozen=frozen) as opened:
        assert {tuple(row.values()) for row in opened.sql(question, to="arrow").to_pylist()} == expected
