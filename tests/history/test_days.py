"""The days of a member: whatever order its times have within an hour, each row comes once, in its day and in order."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.archive.bulk_trades import NewDay, whole_day
from recorder.history.days import Days, days_of
from recorder.history.numbered_rows import CLASSIC, Odd

DAY_S = 86_400
FIRST = 19_000
BEGINS_S = FIRST * DAY_S


def lines(*seconds: int | None) -> list[bytes]:
    """Return a line for each time after the beginning; one that is none for None."""
    return [b"x\n" if at is None else b"%d,1,2\n" % (BEGINS_S + at) for at in seconds]


def days(*seconds: int | None, block: int = 1) -> tuple[list[NewDay], list[Odd]]:
    rows, odd = lines(*seconds), list[Odd]()
    read, before = [], 0
    for at in range(0, len(rows), block):
        read.append(CLASSIC.read(b"".join(rows[at : at + block]), before))
        before += read[-1].lines
    return list(days_of(read, Days((0, 1 << 62), odd.extend))), odd


def numbers(found: list[NewDay]) -> dict[int, list[int]]:
    return {one.day - FIRST: one.rows["row"].to_pylist() for one in found}


def covered(found: list[NewDay]) -> dict[int, tuple[int, int]]:
    """Return what each day covers, in seconds after its midnight."""
    return {
        one.day - FIRST: (
            (one.from_us - whole_day(one.day)[0]) // 1_000_000,
            (one.until_us - whole_day(one.day)[0]) // 1_000_000,
        )
        for one in found
    }


@pytest.mark.parametrize("block", [1, 2, 9])
def test_the_first_and_the_last_day_are_cut_and_those_between_are_whole(block: int) -> None:
    found, odd = days(10, 20, DAY_S + 1, 3 * DAY_S + 50, 3 * DAY_S + 60, block=block)
    assert numbers(found) == {0: [1, 2], 1: [3], 2: [], 3: [4, 5]}
    assert covered(found) == {0: (11, DAY_S), 1: (0, DAY_S), 2: (0, DAY_S), 3: (0, 60)}
    assert odd == []


def test_one_second_covers_nothing() -> None:
    assert covered(days(10, 10)[0]) == {0: (10, 10)}
    assert days()[0] == []


@pytest.mark.parametrize("block", [1, 3, 9])
def test_a_step_back_over_midnight_leaves_each_row_to_its_day(block: int) -> None:
    found, odd = days(DAY_S - 5, DAY_S + 1, DAY_S - 1, DAY_S + 2, 2 * DAY_S + 1, block=block)
    assert numbers(found) == {0: [1, 3], 1: [2, 4], 2: [5]}
    assert odd == []
    first, _ = days(3, -5, 4, block=block)
    assert numbers(first) == {-1: [2], 0: [1, 3]}
    assert covered(first) == {-1: (DAY_S, DAY_S), 0: (4, 4)}


@pytest.mark.parametrize("block", [1, 2, 9])
@pytest.mark.parametrize(
    ("seconds", "wrong"),
    [
        ((10, 99 * DAY_S, 20, 30), 2),
        ((DAY_S, 2 * DAY_S, 20, 2 * DAY_S + 1), 3),
        ((99 * DAY_S, 20, 30, 40), 1),
        ((DAY_S, DAY_S + 5, 3), 3),
    ],
)
def test_one_wrong_time_costs_only_its_row(seconds: tuple[int, ...], wrong: int, block: int) -> None:
    found, odd = days(*seconds, block=block)
    assert [one.row for one in odd] == [wrong]
    assert sorted(row for rows in numbers(found).values() for row in rows) == [
        row for row in range(1, len(seconds) + 1) if row != wrong
    ]


@pytest.mark.parametrize("block", [1, 2, 9])
def test_days_beside_a_line_that_is_no_row_cover_nothing(block: int) -> None:
    found, odd = days(10, DAY_S + 1, 2 * DAY_S - 1, None, 2 * DAY_S + 1, 3 * DAY_S + 1, 4 * DAY_S, block=block)
    assert [one.row for one in odd] == [4]
    assert covered(found) == {0: (11, DAY_S), 1: (0, 0), 2: (0, 0), 3: (0, DAY_S), 4: (0, 0)}
    begins, _ = days(None, 10, DAY_S + 1, block=block)
    assert covered(begins) == {0: (0, 0), 1: (0, 1)}


def test_impossible_times_are_set_aside() -> None:
    odd: list[Odd] = []
    read = CLASSIC.read(b"".join(lines(5, 10 * DAY_S, 6)))
    possible = BEGINS_S * 1_000_000, (BEGINS_S + DAY_S) * 1_000_000
    assert numbers(list(days_of([read], Days(possible, odd.extend)))) == {0: [1, 3]}
    assert [(one.row, one.line) for one in odd] == [(2, f"{BEGINS_S + 10 * DAY_S},1.000000000000,2.00000000")]


@given(
    st.lists(st.tuples(st.integers(0, 5 * DAY_S), st.integers(0, 3_500)), min_size=1, max_size=30),
    st.integers(1, 12),
)
def test_every_row_comes_once_in_its_day_and_in_order(moments: list[tuple[int, int]], block: int) -> None:
    seconds = [at - back for at, back in sorted(moments)]
    found, odd = days(*seconds, block=block)
    assert odd == []
    assert [one.day for one in found] == list(range(found[0].day, found[-1].day + 1))
    for one in found:
        times = one.rows["time"].cast(pa.int64()).to_pylist()
        assert {time // 1_000_000 // DAY_S for time in times} <= {one.day}
        assert one.rows["row"].to_pylist() == sorted(one.rows["row"].to_pylist())
    assert sorted(row for rows in numbers(found).values() for row in rows) == list(range(1, len(seconds) + 1))
