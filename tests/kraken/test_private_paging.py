"""The walk over pages: whatever comes late, everything older than what was joined has been read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.errors import Malformed
from recorder.kraken.private_paging import PageWalk

SIZE = 5


def walked(
    rows: list[int],
    count: Callable[[list[int]], int | None] = len,
    late: Callable[[int, list[int]], None] = lambda *_: None,
) -> tuple[set[int], int]:
    """Walk over ``rows``, the newest first; return what was read, and the number of requests."""
    walk, read, requests = PageWalk(SIZE), set[int](), 0
    while not walk.done:
        late(requests, rows)
        page = rows[walk.offset : walk.offset + SIZE]
        read.update(page)
        walk.take([str(row) for row in page], count(rows))
        requests += 1
        if walk.joined and page:
            assert {row for row in rows if row <= max(page)} <= read, "everything older has been read"
    return read, requests


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 6, 9, 10, 11, 99, 100])
@pytest.mark.parametrize("count", [len, lambda _: None, lambda rows: len(rows) + 40, lambda rows: len(rows) // 2])
def test_every_entry_is_read_whatever_the_count_says(rows: int, count: Callable[[list[int]], int | None]) -> None:
    read, requests = walked(list(range(rows, 0, -1)), count)
    assert read == set(range(1, rows + 1))
    assert requests <= rows // 2 + 6


def test_one_page_is_one_request() -> None:
    assert walked([3, 2, 1]) == ({1, 2, 3}, 1)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), max_size=12))
def test_entries_that_come_late_hide_none_of_the_others(arrivals: list[tuple[int, int]]) -> None:
    before = set(range(0, 120, 2))

    def late(request: int, rows: list[int]) -> None:
        for at, row in arrivals:
            if at == request and 2 * row + 1 not in rows:
                rows.append(2 * row + 1)
                rows.sort(reverse=True)

    walk, read, requests, rows = PageWalk(SIZE), set[int](), 0, sorted(before, reverse=True)
    while not walk.done:
        late(requests, rows)
        page = rows[walk.offset : walk.offset + SIZE]
        read.update(page)
        walk.take([str(row) for row in page], len(rows))
        requests += 1
    assert before <= read


def test_pages_without_anything_in_common_end_the_walk() -> None:
    walk = PageWalk(SIZE)
    walk.take([str(number) for number in range(5)], 100)
    pages = iter([f"{number}-{row}" for row in range(4)] for number in range(100))
    with pytest.raises(Malformed, match="no entry in common"):
        deque((PageWalk.take(walk, page, 100) for page in pages), maxlen=0)  # type: ignore[func-returns-value]
