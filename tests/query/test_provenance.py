from __future__ import annotations

import hashlib
import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from recorder.core.trade_ids import Run, Span, Spans
from recorder.query.provenance import SHOWN, Provenance, between, digest, windows

PAIR = "BTC/USD"

RUNS = st.sets(st.integers(1, 60)).map(Spans.of_ids)


def test_the_digest_is_of_the_ids_alone_in_whatever_order_pairs_were_asked_for() -> None:
    runs = {"ETH/USD": [Span(5, 5)], "BTC/USD": [Span(1, 3), Span(7, 9)]}
    expected = hashlib.sha256(b"BTC/USD,1,3\nBTC/USD,7,9\nETH/USD,5,5\n").hexdigest()
    assert digest(runs) == digest(dict(reversed(runs.items()))) == expected
    assert digest(runs) != digest({"BTC/USD": [Span(1, 3), Span(7, 9)]})


def test_attrs_are_plain_values_of_bounded_size() -> None:
    runs = [Span(2 * n, 2 * n) for n in range(1, SHOWN + 10)]
    told = Provenance({"BTC/USD": runs}, {"BTC/USD": 9}).attrs()
    assert json.loads(json.dumps(told)) == told
    assert len(told["coverage"]["BTC/USD"]) == SHOWN
    assert told["digest"] == digest({"BTC/USD": runs})
    assert "sha256" not in told
    assert Provenance({}, {}, {"A/B": "2025-11-10T00:00:00.000000Z"}).attrs()["begins"] == {
        "A/B": "2025-11-10T00:00:00.000000Z"
    }
    assert Provenance({}, {}, hashes={"A/B": "ff"}).attrs()["sha256"] == {"A/B": "ff"}


@given(RUNS, st.integers(1, 60), st.integers(0, 60))
def test_between_is_what_is_held_there(ids: Spans, first: int, more: int) -> None:
    runs = [Run(PAIR, Span(run.first, run.last), 0, 0) for run in ids]
    assert between(runs, first, first + more) == ids.within(Span(first, first + more))


@given(RUNS, st.integers(1, 20))
def test_windows_hold_every_id_once_in_order_and_so_many_each(ids: Spans, rows: int) -> None:
    cut = list(windows(list(ids), rows))
    held = [sum(len(part) for part in ids.within(window)) for window in cut]
    assert all(count == rows for count in held[:-1])
    assert all(0 < count <= rows for count in held)
    assert sum(held) == ids.count()
    assert all(before.last < after.first for before, after in pairwise(cut))
