from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from recorder.core.connection_sharding import assign_connections

listings = st.lists(st.integers(0, 40).map("P{}/USD".format), unique=True)


@given(listings, st.integers(1, 12))
def test_from_nothing_lines_are_as_few_and_as_equal_as_can_be(pairs: list[str], bound: int) -> None:
    shares = assign_connections([], pairs, bound=bound)
    sizes = [len(share) for share in shares]
    assert sorted(pair for share in shares for pair in share) == sorted(pairs)
    assert len(shares) == math.ceil(len(pairs) / bound)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


@given(st.lists(listings, max_size=12), st.integers(1, 12))
def test_as_pairs_come_and_go_each_stays_on_the_one_line_it_is_on(changes: list[list[str]], bound: int) -> None:
    lines: list[list[str]] = []
    for pairs in changes:
        shares = assign_connections(lines, pairs, bound=bound)
        assert sorted(pair for share in shares for pair in share) == sorted(pairs)
        assert all(len(share) <= bound for share in shares)

        staying = [[pair for pair in line if pair in pairs] for line in lines]
        staying += [[] for _ in shares[len(lines) :]]
        coming = [set(share).difference(stays) for share, stays in zip(shares, staying, strict=True)]
        assert all(set(stays) <= set(share) for stays, share in zip(staying, shares, strict=True))

        kept = [stays for stays in staying if stays]
        lacking = sum(map(len, coming)) - sum(bound - len(stays) for stays in kept)
        used = [share for share in shares if share]
        assert len(used) == len(kept) + max(0, math.ceil(lacking / bound)), "as few as can be"
        fewest = min(map(len, used), default=0)
        assert all(len(share) <= fewest + 1 for share, new in zip(shares, coming, strict=True) if new), "balanced"
        assert all(shares[len(lines) :]), "a new line has pairs"
        lines = used


def test_an_emptied_connection_takes_the_next_pairs_before_a_new_one_opens() -> None:
    assert assign_connections([["A"], ["B", "C"]], ["B", "C", "D"], bound=2) == [["D"], ["B", "C"]]
    assert assign_connections([["A"]], ["B"], bound=2) == [["B"]]
    assert assign_connections([["A"], ["B"]], ["B", "C"], bound=2) == [[], ["B", "C"]]
    assert assign_connections([["A"]], [], bound=2) == [[]]
