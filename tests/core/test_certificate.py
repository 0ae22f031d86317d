from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.certificate import DAY_US, utc_day
from recorder.core.evidence import Promise
from tests.core.certified import certified

NOON_US = DAY_US // 2
HOUR_US = DAY_US // 24


def day(number: int) -> date:
    """Return day ``number`` of these stories."""
    return date(1970, 1, 1) + timedelta(days=number)


def statuses(*args: object, **kwargs: object) -> list[str]:
    return [one.status for one in certified(*args, **kwargs)]  # type: ignore[arg-type]


def noons(first_id: int, last_id: int) -> dict[int, int]:
    """Return one trade a day at noon, id ``n`` on day ``n``."""
    return {trade_id: trade_id * DAY_US + NOON_US for trade_id in range(first_id, last_id + 1)}


def test_days_between_held_neighbours_are_complete_and_today_is_pending() -> None:
    assert statuses(noons(1, 4), now_us=4 * DAY_US + 1) == ["complete", "complete", "complete", "pending"]


def test_a_day_after_the_last_trade_is_open_until_confirmed_beyond_its_end() -> None:
    trades = {1: NOON_US, 2: DAY_US + NOON_US}
    now_us = 3 * DAY_US + NOON_US
    assert statuses(trades, now_us=now_us) == ["complete", "open", "open", "pending"]
    early, end = (2, 2 * DAY_US - 1), (2, 2 * DAY_US)
    assert statuses(trades, now_us=now_us, confirmed=[early]) == ["complete", "open", "open", "pending"]
    assert statuses(trades, now_us=now_us, confirmed=[early, end]) == ["complete", "complete", "open", "pending"]
    assert statuses(trades, now_us=now_us, confirmed=[(2, now_us), early]) == [
        "complete",
        "complete",
        "empty",
        "pending",
    ]


def test_a_confirmation_after_an_older_trade_says_nothing_of_what_came_later() -> None:
    trades = {1: NOON_US, 2: DAY_US + NOON_US}
    assert statuses(trades, now_us=2 * DAY_US, confirmed=[(1, DAY_US)]) == ["complete", "open", "pending"]


def test_a_confirmation_that_a_held_trade_refutes_is_not_believed() -> None:
    trades = {1: NOON_US, 5: DAY_US + NOON_US}
    assert statuses(trades, now_us=2 * DAY_US, confirmed=[(1, DAY_US)]) == ["complete", "open", "pending"]
    assert statuses(trades, now_us=2 * DAY_US, confirmed=[(1, DAY_US + NOON_US + 1)])[0] == "open"


def test_a_hole_is_missing_on_every_day_on_which_it_can_lie() -> None:
    trades = {1: 1, 2: NOON_US, 6: 2 * DAY_US + NOON_US, 7: 3 * DAY_US}
    found = certified(trades, now_us=4 * DAY_US, confirmed=[(7, 4 * DAY_US)])
    assert [(one.status, one.missing) for one in found] == [
        ("open", 3),
        ("open", 3),
        ("open", 3),
        ("complete", 0),
        ("pending", 0),
    ]
    assert found[1].held is None


def test_void_ids_close_a_hole_and_are_counted_where_they_would_lie() -> None:
    trades = {1: 1, 2: NOON_US, 6: NOON_US + 1, 7: DAY_US}
    found = certified(trades, now_us=DAY_US, void=[(3, 5)])
    assert [(one.status, one.missing, one.void) for one in found] == [("complete", 0, 3), ("pending", 0, 0)]
    found = certified(trades, now_us=DAY_US, void=[(3, 4)])
    assert [(one.status, one.missing, one.void) for one in found] == [("open", 1, 2), ("pending", 0, 0)]


def test_disowned_ids_close_a_gap_and_are_counted_once_if_void_too() -> None:
    trades = {1: 1, 2: NOON_US, 6: NOON_US + 1, 7: DAY_US}
    found = certified(trades, now_us=DAY_US, void=[(3, 4)], disowned=[(4, 5)])
    assert [(one.status, one.missing, one.void, one.disowned) for one in found] == [
        ("complete", 0, 1, 2),
        ("pending", 0, 0, 0),
    ]
    assert [one.status for one in certified(trades, now_us=DAY_US, disowned=[(4, 5)])] == ["open", "pending"]


def test_a_day_with_an_unreadable_id_is_open_unless_the_owner_disowns_it() -> None:
    trades = {1: 5, 2: 6, 4: 7, 5: DAY_US + 1}
    for void in ([], [(3, 3)]):
        (first, _) = certified(trades, now_us=DAY_US, unreadable=[(3, 3)], void=void)
        assert (first.status, first.missing, first.void, first.unreadable, first.lacks()) == ("open", 0, 0, 1, True)
    (first, _) = certified(trades, now_us=DAY_US, unreadable=[(3, 3)], disowned=[(3, 3)])
    assert (first.status, first.unreadable, first.disowned, first.lacks()) == ("complete", 0, 1, False)
    (first, _) = certified({**trades, 3: 6}, now_us=DAY_US, unreadable=[(3, 3)])
    assert (first.status, first.unreadable) == ("complete", 0), "held beats unreadable"


def test_held_beats_void_and_disowned() -> None:
    trades = {1: 1, 2: 2, 3: DAY_US}
    assert certified(trades, now_us=DAY_US, void=[(2, 2)], disowned=[(1, 3)]) == certified(trades, now_us=DAY_US)


def test_the_first_day_is_partial_unless_the_trade_before_it_is_stored() -> None:
    now_us = 5 * DAY_US
    assert statuses({10: 2 * DAY_US + 1, 11: 3 * DAY_US, 12: now_us}, now_us=now_us)[:2] == ["partial", "complete"]
    # Even a first trade at the first instant of the day may follow others of that very instant.
    assert statuses({10: 2 * DAY_US, 11: 3 * DAY_US, 12: now_us}, now_us=now_us)[0] == "partial"
    held = {9: 2 * DAY_US - 1, 10: 2 * DAY_US + 1, 11: 3 * DAY_US, 12: now_us}
    assert statuses(held, now_us=now_us)[:2] == ["partial", "complete"]


def test_a_pair_whose_lower_ids_are_all_void_has_nothing_before_them() -> None:
    trades = {3: NOON_US, 4: DAY_US}
    assert statuses(trades, now_us=DAY_US) == ["partial", "pending"]
    assert statuses(trades, now_us=DAY_US, void=[(2, 2)]) == ["partial", "pending"]
    found = certified(trades, now_us=DAY_US, void=[(1, 2)])
    assert [(one.status, one.void) for one in found] == [("complete", 2), ("pending", 0)]


def test_that_nothing_was_there_before_a_pair_began_can_be_confirmed() -> None:
    # Asked for everything at noon of day 1, the exchange had nothing yet: ids below 3 were made after that.
    trades = {3: 2 * DAY_US + NOON_US, 4: 3 * DAY_US}
    promise = Promise(DAY_US, 0)
    found = certified(trades, now_us=3 * DAY_US, confirmed=[(0, DAY_US + NOON_US)], promise=promise)
    assert [(one.day, one.status) for one in found] == [(day(1), "open"), (day(2), "open"), (day(3), "pending")]
    found = certified(trades, now_us=3 * DAY_US, confirmed=[(0, 2 * DAY_US)], promise=promise)
    assert [(one.day, one.status) for one in found] == [(day(1), "partial"), (day(2), "open"), (day(3), "pending")]


# -- from when on trades are promised ---------------------------------------------------------------------------------


def test_the_day_of_the_promise_is_partial_and_those_after_it_are_certified_as_ever() -> None:
    promise = Promise(DAY_US + NOON_US, after_id=10)
    trades = {11: DAY_US + NOON_US + 1, 12: 2 * DAY_US + 1, 13: 3 * DAY_US + 1}
    found = certified(trades, now_us=3 * DAY_US + 2, promise=promise)
    assert [one.status for one in found] == ["partial", "complete", "pending"]
    assert [one.promised_us for one in found] == [DAY_US + NOON_US, None, None]
    assert [one.lacks() for one in found] == [False, False, False]
    assert [one.lacks(date.min) for one in found] == [True, False, False]


def test_what_was_made_between_the_promise_and_the_first_trade_held_is_missing() -> None:
    promise = Promise(DAY_US + NOON_US, after_id=10)
    found = certified({14: 3 * DAY_US + 1, 15: 4 * DAY_US}, now_us=4 * DAY_US, promise=promise)
    assert [(one.status, one.missing) for one in found] == [("open", 3), ("open", 3), ("open", 3), ("pending", 0)]
    assert [one.lacks() for one in found] == [True, True, True, False]


def test_a_pair_that_never_traded_since_the_promise_has_certificates_too() -> None:
    for promise, confirmed in (
        (Promise(NOON_US, after_id=10), (10, 2 * DAY_US)),
        (Promise(NOON_US, 0), (0, 2 * DAY_US)),
    ):
        assert statuses({}, now_us=2 * DAY_US, promise=promise) == ["open", "open", "pending"]
        said = [confirmed]
        assert statuses({}, now_us=2 * DAY_US, promise=promise, confirmed=said) == ["partial", "empty", "pending"]
    assert statuses({}, now_us=2 * DAY_US, promise=Promise(NOON_US)) == ["open", "open", "pending"]


def test_without_an_anchor_all_is_open_up_to_the_first_trade_held() -> None:
    trades = {14: 2 * DAY_US + 1, 15: 3 * DAY_US + 1, 16: 4 * DAY_US + 1}
    found = certified(trades, now_us=4 * DAY_US + 1, promise=Promise(DAY_US))
    assert [one.status for one in found] == ["open", "open", "complete", "pending"]


def test_a_day_before_the_promise_is_complete_only_once_its_ids_join_the_promise() -> None:
    promise = Promise(4 * DAY_US + NOON_US + 1, after_id=4)
    joined = {**noons(1, 4), 5: 5 * DAY_US}
    now_us = 5 * DAY_US
    assert statuses(joined, now_us=now_us, promise=promise)[:4] == ["complete", "complete", "complete", "partial"]
    apart = {one: time_us for one, time_us in joined.items() if one != 3}
    found = certified(apart, now_us=now_us, promise=promise)
    assert [(one.status, one.missing, one.unjoined) for one in found[:4]] == [
        ("open", 0, True),
        ("open", 1, True),
        ("open", 1, True),
        ("open", 1, False),
    ]
    found = certified(apart, now_us=now_us, promise=promise, void=[(3, 3)])
    assert [one.status for one in found[:4]] == ["complete", "complete", "empty", "partial"]


def test_all_from_the_first_trade_on_that_was_only_assumed_to_be_promised_is_complete() -> None:
    trades = {1: NOON_US, 2: DAY_US}
    assert statuses(trades, now_us=DAY_US, promise=Promise(NOON_US, 0, assumed=True)) == ["complete", "pending"]
    assert statuses(trades, now_us=DAY_US, promise=Promise(NOON_US, 0)) == ["partial", "pending"]


def test_times_that_step_back_over_midnight_leave_both_days_open() -> None:
    trades = {1: 1, 2: DAY_US, 4: DAY_US - 1, 5: DAY_US + 1}
    assert [(one.status, one.missing) for one in certified(trades, now_us=2 * DAY_US)] == [
        ("open", 1),
        ("open", 1),
        ("pending", 0),
    ]


def test_a_clock_behind_the_exchange_leaves_the_days_to_come_pending() -> None:
    assert statuses({1: 0, 2: 3 * DAY_US}, now_us=DAY_US) == ["complete", "pending", "pending", "pending"]


def test_nothing_held_is_nothing_certified() -> None:
    assert certified({}, now_us=DAY_US, void=[(1, 2)], confirmed=[(2, 5)]) == []


@pytest.mark.parametrize(
    ("trades", "history_from", "lacking"),
    [
        (noons(1, 3), date.min, [False, False, False]),
        (noons(2, 4), None, [False, False, False]),
        (noons(2, 4), date.min, [True, False, False]),
        (noons(2, 4), day(2), [True, False, False]),
        (noons(2, 4), day(3), [False, False, False]),
        ({1: NOON_US, 4: DAY_US + NOON_US, 5: 2 * DAY_US}, None, [True, True, False]),
        ({4: 3 * DAY_US}, None, [False]),
        ({4: 3 * DAY_US}, day(3), [False]),
        ({4: 3 * DAY_US}, day(2), [True]),
    ],
)
def test_only_what_is_wanted_can_lack(trades: dict[int, int], history_from: date | None, lacking: list[bool]) -> None:
    now_us = max(trades.values())
    assert [one.lacks(history_from) for one in certified(trades, now_us=now_us)] == lacking


@dataclass(frozen=True)
class World:
    """All that happened, and what an archive has of it."""

    truth: dict[int, int]
    held: dict[int, int]
    void: list[tuple[int, int]]
    confirmed: list[tuple[int, int]]
    now_us: int


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A pair whose trades, of ids with gaps that never existed, come in the order of their ids; some are held."""
    steps = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 30)), min_size=1, max_size=14))
    truth: dict[int, int] = {}
    trade_id = time = 0
    for skipped, hours in steps:
        trade_id, time = trade_id + skipped, time + hours * HOUR_US
        truth[trade_id] = time
    never = [one for one in range(1, trade_id) if one not in truth]
    kept = draw(st.sets(st.sampled_from(sorted(truth))))
    void = draw(st.sets(st.sampled_from(never))) if never else set()
    now_us = time + draw(st.integers(0, 3 * 24)) * HOUR_US
    confirmed = []
    for hours in draw(st.lists(st.integers(0, now_us // HOUR_US), max_size=3)):
        until_us = hours * HOUR_US
        made = [one for one, made_us in truth.items() if made_us < until_us]
        confirmed.append((max(made, default=0), until_us))
    held = {one: truth[one] for one in kept}
    return World(truth, held, [(one, one) for one in sorted(void)], confirmed, now_us)


@st.composite
def promised(draw: st.DrawFn, world: World) -> Promise | None:
    """A promise from some moment on, anchored by the truth or not; or none."""
    kind = draw(st.sampled_from(["none", "unanchored", "anchored", "anchored", "assumed"]))
    time_us = draw(st.integers(0, world.now_us // HOUR_US)) * HOUR_US
    after_id = max((one for one, made_us in world.truth.items() if made_us < time_us), default=0)
    if kind == "none":
        return None
    return Promise(time_us, None if kind == "unanchored" else after_id, kind == "assumed")


@given(worlds(), st.data())
def test_what_is_certified_is_true(world: World, data: st.DataObject) -> None:
    promise = data.draw(promised(world))
    for one in certified(world.held, now_us=world.now_us, void=world.void, confirmed=world.confirmed, promise=promise):
        made = {trade_id for trade_id, time_us in world.truth.items() if utc_day(time_us) == one.day}
        kept = made & world.held.keys()
        assert (one.held.rows if one.held else 0) == len(kept)
        if one.status == "complete":
            assert made
            assert made == kept
        if one.status == "empty":
            assert not made
        if one.status == "pending":
            assert one.day >= utc_day(world.now_us)
        if one.status == "partial" and promise is not None:
            assert kept >= {trade_id for trade_id in made if world.truth[trade_id] >= promise.time_us}


@given(worlds(), st.data())
def test_a_day_is_open_just_if_some_id_could_have_been_made_on_it(world: World, data: st.DataObject) -> None:
    """By force: each id of which nothing is known, and one beyond all, against all that bounds its time."""
    promise = data.draw(promised(world))
    known = {*world.held, *(first for first, _ in world.void)}
    unknown = [one for one in range(1, max([*known, (promise and promise.after_id) or 0]) + 2) if one not in known]
    void, let_go = world.void[::2], world.void[1::2]
    now_us, confirmed = world.now_us, world.confirmed
    found = certified(world.held, now_us=now_us, void=void, disowned=let_go, confirmed=confirmed, promise=promise)
    first = min(world.held, default=None)
    if promise is None and first is not None and any(one < first for one in unknown):
        promise = Promise(world.held[first], first - 1, assumed=True)
    begins = {utc_day(moment) for moment in [*world.held.values(), *([promise.time_us] if promise else [])]}
    assert not begins or found[0].day == min(begins)
    for one in found:
        start_us = (one.day - date(1970, 1, 1)).days * DAY_US
        possible = {trade_id for trade_id in unknown if could_be_made(trade_id, start_us, world, promise)}
        wanted = {trade_id for trade_id in possible if is_wanted(trade_id, world, promise)}
        apart = False
        if promise is not None and one.day < utc_day(promise.time_us):
            later = [trade_id for trade_id in unknown if not made_before(trade_id, start_us, world, promise)]
            apart = promise.after_id is None or any(trade_id <= promise.after_id for trade_id in later)
        assert one.unjoined == apart
        if one.status != "pending":
            assert (one.status == "open") == (len(wanted) > 0 or apart)
        assert (one.missing > 0 or one.before or one.after) == (len(possible) > 0)


def is_wanted(trade_id: int, world: World, promise: Promise | None) -> bool:
    """Tell whether an id is promised, or lies between held ones; without an anchor any may be promised."""
    if promise is None or promise.after_id is None or trade_id > promise.after_id:
        return True
    return any(held < trade_id for held in world.held) and any(held > trade_id for held in world.held)


def made_before(trade_id: int, start_us: int, world: World, promise: Promise | None) -> bool:
    """Tell whether an id must have been made before a moment."""
    not_after = [time_us for held, time_us in world.held.items() if held > trade_id]
    if promise is not None and promise.after_id is not None and trade_id <= promise.after_id:
        not_after.append(promise.time_us)
    return min(not_after, default=start_us) < start_us


def could_be_made(trade_id: int, start_us: int, world: World, promise: Promise | None) -> bool:
    """Tell whether an id can have been made on the day that begins at a moment."""
    not_before = [time_us for held, time_us in world.held.items() if held < trade_id]
    not_before += [until_us for last_id, until_us in world.confirmed if last_id < trade_id]
    if promise is not None and promise.after_id is not None and trade_id > promise.after_id:
        not_before.append(promise.time_us)
    in_time = max(not_before, default=0) < start_us + DAY_US
    return in_time and not made_before(trade_id, start_us, world, promise)


@given(worlds(), st.data())
def test_what_is_found_later_never_undoes_a_proof(world: World, data: st.DataObject) -> None:
    # Without a promise that was noted, the beginning is assumed to be the lowest trade held, whatever that is by now.
    promise = data.draw(promised(world).filter(bool))
    told = {"now_us": world.now_us, "void": world.void, "confirmed": world.confirmed, "promise": promise}
    before, after = certified(world.held, **told), certified(world.truth, **told)  # type: ignore[arg-type]
    proven = {one.day for one in after if one.status in {"complete", "empty", "partial"}}
    assert {one.day for one in before if one.status in {"complete", "empty", "partial"}} <= proven


def test_a_trade_with_an_odd_time_has_a_day_of_its_own_and_none_between() -> None:
    began_us, now_us = 20_000 * DAY_US, 20_003 * DAY_US + 1
    for odd_us in (-719_162 * DAY_US, 0, now_us + 400 * DAY_US):
        for ids in ((1, 2, 3), (1, 3, 2), (2, 3, 1)):  # the odd one last, in the middle, and first
            times_us = dict(zip(ids, (began_us, began_us + DAY_US, odd_us), strict=True))
            found = [one.day for one in certified(times_us, now_us=now_us)]
            assert found == sorted({utc_day(odd_us), *(utc_day(n * DAY_US) for n in range(20_000, 20_004))})


@pytest.mark.parametrize("odd_us", [-719_162 * DAY_US, 0, 20_400 * DAY_US, 47_000 * DAY_US])
def test_no_day_is_proven_by_an_odd_time_beside_ids_that_are_not_held(odd_us: int) -> None:
    """Each trade in turn has it, and any others are missing: no day on which one of these was made is proven."""
    now_us = 20_008 * DAY_US
    truth = {trade_id: (20_000 + (trade_id - 1) // 2) * DAY_US + trade_id for trade_id in range(1, 13)}
    for stamped in truth:
        for first in range(2, 13):
            for last in range(first, 13):
                lost = set(range(first, last + 1))
                held = {trade_id: time_us for trade_id, time_us in truth.items() if trade_id not in lost}
                if stamped in lost or not held:
                    continue
                days = {one.day: one for one in certified(held | {stamped: odd_us}, now_us=now_us)}
                for trade_id in lost:
                    day = days.get(utc_day(truth[trade_id]))  # before the first day there is, nothing is claimed
                    assert day is None or day.status == "open"


@pytest.mark.parametrize("odd_us", [0, 47_000 * DAY_US])
def test_between_ordinary_trades_an_odd_time_takes_no_proof_away(odd_us: int) -> None:
    held = {1: 20_000 * DAY_US, 2: odd_us, 3: 20_001 * DAY_US, 4: 20_002 * DAY_US}
    found = certified(held, now_us=20_003 * DAY_US)
    status = {one.day: one.status for one in found}
    assert [status[utc_day(number * DAY_US)] for number in (20_000, 20_001)] == ["complete", "complete"]
