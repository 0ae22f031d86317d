from __future__ import annotations

from datetime import date, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.certificate import DAY_US
from recorder.core.certified_days import CertifiedHistory, change, latest, number_of
from recorder.core.evidence import Anchored, Certified, Disowned, Promised
from recorder.core.ledger import Ledger, PairLedger
from recorder.core.trade_ids import Run, Span, Spans

PAIR = "BTC/USD"
FIRST = date(2024, 12, 28)
"""Four days before the end of a year; each day of these stories has ten ids."""


def day(number: int, *, revision: int = 1, **fields: int | str) -> Certified:
    """What was certified of day ``number``: its ids are ten in a row, from 10 * number + 1 on."""
    told = Certified(PAIR, FIRST + timedelta(days=number), revision, 10, 10 * number + 1, 10 * number + 10, "a")
    return msgspec.structs.replace(told, **fields)


def run(first: int, last: int) -> Run:
    begins = number_of(FIRST)
    first_us, last_us = ((begins + (one - 1) // 10) * DAY_US + one for one in (first, last))
    return Run(PAIR, Span(first, last), first_us, last_us)


def account(*runs: Run, days: int = 9) -> PairLedger:
    found = PairLedger(PAIR)
    for one in runs:
        found.observe(one)
    for number in range(days):
        found.know(day(number))
    return found


def spans(found: Spans) -> list[str]:
    return [str(span) for span in found]


@pytest.mark.parametrize(
    ("runs", "missing", "fetched"),
    [
        ([run(1, 90)], [], []),
        ([run(11, 90)], ["1..10"], []),
        ([run(1, 20), run(31, 90)], ["21..30"], ["21..30"]),
        ([run(1, 15), run(26, 90)], ["16..25"], ["16..25"]),
        ([run(41, 90)], ["1..40"], []),
        ([run(1, 40)], ["41..90"], []),
        ([run(1, 40), run(91, 99)], ["41..90"], ["41..90"]),
        ([run(21, 50), run(71, 90)], ["1..20", "51..70"], ["51..70"]),
        ([], ["1..90"], []),
    ],
    ids=["all", "the oldest", "between", "across days", "a year below", "a year above", "not all", "both", "the pair"],
)
def test_what_vanished_is_missing_and_fetched_only_between_held_ids_of_its_year(
    runs: list[Run], missing: list[str], fetched: list[str]
) -> None:
    found = account(*runs)
    assert [str(gap.span) for gap in found.gaps()] == missing
    assert [str(gap.span) for gap in found.fetchable_gaps()] == fetched
    assert found.far_gaps() == []


def test_history_does_not_bring_back_what_vanished_and_goes_on_once_it_was_released() -> None:
    ledger = Ledger()
    ledger.observe(run(21, 90))
    assert ledger.history(PAIR, 0) is not None
    ledger.know(day(1))
    assert ledger.history(PAIR, 0) is None
    ledger.know(Disowned(PAIR, Span(11, 20), 1, "released"))
    assert ledger.history(PAIR, 0) is not None
    assert ledger.of(PAIR).gaps() == ()


def test_what_vanished_above_all_and_comes_back_live_is_not_missing_any_more() -> None:
    found = account(run(1, 40))
    assert [str(gap.span) for gap in found.gaps()] == ["41..90"]
    found.observe(run(41, 85))
    assert [str(gap.span) for gap in found.gaps()] == ["86..90"]
    found.observe(run(86, 95))
    assert found.gaps() == ()


def test_below_the_first_held_what_was_promised_and_never_certified_is_fetched() -> None:
    found = account(run(95, 99), days=4)
    found.know(Promised(PAIR, number_of(FIRST) * DAY_US))
    found.know(Anchored(PAIR, number_of(FIRST) * DAY_US, 0))
    assert [str(gap.span) for gap in found.gaps()] == ["1..94"]
    assert [str(gap.span) for gap in found.fetchable_gaps()] == ["41..94"]


ids = st.integers(1, 100)
some = st.lists(st.tuples(ids, st.integers(0, 12)).map(lambda ends: Span(ends[0], ends[0] + ends[1])), max_size=6)


@given(held=some, absent=some, days=st.lists(st.integers(0, 9), max_size=9))
def test_an_id_has_vanished_if_it_was_certified_and_is_neither_held_nor_absent(
    held: list[Span], absent: list[Span], days: list[int]
) -> None:
    one, other = CertifiedHistory(), CertifiedHistory()
    for at, number in enumerate(days):
        (one if at % 2 else other).add_day(day(number))
    one.update(other)
    holds, lacks = Spans(held), Spans(absent)
    certified = {trade_id for number in days for trade_id in range(10 * number + 1, 10 * number + 11)}
    vanished = {trade_id for trade_id in certified if trade_id not in holds and trade_id not in lacks}
    assert {i for span in one.vanished(holds, lacks) for i in range(span.first, span.last + 1)} == vanished
    runs = [run(span.first, span.last) for span in holds]
    given_up = {i for span in one.given_up(runs, lacks) for i in range(span.first, span.last + 1)}
    assert given_up <= vanished
    assert {i for i in vanished if not holds or i < (holds.first or 0)} <= given_up
    assert spans(one.days) == spans(
        Spans(Span(number_of(FIRST) + number, number_of(FIRST) + number) for number in days)
    )


@given(told=st.lists(st.builds(day, st.integers(0, 2), revision=st.integers(1, 4), rows=ids)), dice=st.randoms())
def test_of_each_day_the_highest_revision_counts_in_any_order(told: list[Certified], dice: object) -> None:
    found = latest(told)
    assert latest(reversed(told)) == found
    for one in told:
        assert found[one.day].revision == max(other.revision for other in told if other.day == one.day)


CHANGES = [
    ("same", {}, None, 0),
    ("unlike", {"sha256": "b"}, None, 0),
    ("unlike", {"first_id": 2}, None, 0),
    ("unlike", {"rows": 9}, None, 0),
    ("lawful", {"rows": 9, "last_id": 9, "sha256": "b"}, None, 1),
    ("unlike", {"rows": 8}, None, 1),
    ("lawful", {"rows": 12, "sha256": "c"}, {}, 0),
    ("unlike", {"rows": 12, "sha256": "c"}, {"sha256": "b"}, 0),
    ("lawful", {"rows": 12, "sha256": "c"}, {"rows": 11, "sha256": "b"}, 0),
    ("unlike", {"rows": 12, "sha256": "c"}, {"rows": 9}, 0),
    ("lawful", {"rows": 12, "sha256": "c"}, {"rows": 9}, 1),
]


@pytest.mark.parametrize(("became", "now", "within", "let_go"), CHANGES)
def test_a_day_has_changed_lawfully_only_if_its_old_rows_are_still_there(
    became: str, now: dict[str, int | str], within: dict[str, int | str] | None, let_go: int
) -> None:
    kept = None if within is None else day(0, **within)  # type: ignore[arg-type]
    assert change(day(0), day(0, **now), let_go=let_go, within=lambda: kept) == became  # type: ignore[arg-type]


def test_a_day_of_which_nothing_is_left_was_let_go_or_is_unlike() -> None:
    assert change(day(0), None, let_go=0, within=lambda: None) == "unlike"
    assert change(day(0), None, let_go=10, within=lambda: None) == "lawful"
