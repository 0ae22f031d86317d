"""What is promised of a pair lies in the footers of its files, whoever writes them, and comes back by the minimum."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.archive import load_ledger, merge_archive
from recorder.archive.compaction import compact
from recorder.archive.layout import Layout
from recorder.archive.merge_archive import TradeMerge
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.evidence import Promise
from recorder.core.ledger import Ledger
from recorder.core.model import Event
from recorder.disk import Disk
from tests.archive.rows import PAIR, archive, plenty, trades
from tests.archives import START_US, Written, writing

EARLY, LATE = Promise(1_000, 5), Promise(2_000, 9)

promises = st.builds(Promise, st.integers(0, 5), st.none() | st.integers(0, 3), st.booleans())


@given(made=st.lists(st.none() | promises), dice=st.randoms(use_true_random=False))
def test_promises_of_several_places_are_put_together_in_any_order(made: list[Promise | None], dice: Random) -> None:
    whole = evidence.earliest(*made)
    dice.shuffle(made)
    cut = dice.randint(0, len(made))
    assert evidence.earliest(*made) == whole
    assert evidence.earliest(whole, *made) == whole
    assert evidence.earliest(evidence.earliest(*made[:cut]), evidence.earliest(*made[cut:])) == whole
    if whole is not None:
        assert whole.time_us == min(one.time_us for one in made if one is not None)


def told(layout: Layout) -> Promise | None:
    ledger = Ledger()
    load_ledger.load(ledger, layout, [])
    return ledger.of(PAIR).promise


def in_files(layout: Layout) -> list[Promise | None]:
    return [facts.footer.promise for facts in TradeArchive(layout, Disk(), staging=layout.data).coverage.files(PAIR)]


def test_each_file_says_the_earliest_that_its_writer_or_another_file_knows(tmp_path: Path) -> None:
    with archive(tmp_path) as opened:
        opened.append(PAIR, trades(1, 2))
        assert in_files(opened.layout) == [None]
        for promise in (LATE, EARLY, LATE):
            opened.promised = {PAIR: promise}.get
            opened.append(PAIR, trades(3, 20)[: 3 + len(in_files(opened.layout))])
        opened.promised = lambda _: None
        opened.append(PAIR, trades(30, 31))
        assert sorted(in_files(opened.layout), key=str) == sorted([None, LATE, EARLY, EARLY, EARLY], key=str)
        assert told(opened.layout) == EARLY
        while compact(opened, PAIR, today=date(9999, 1, 1)) is not None:
            pass
        assert in_files(opened.layout) == [EARLY]


@pytest.mark.parametrize(("ours", "theirs"), [(None, EARLY), (LATE, EARLY), (EARLY, LATE), (EARLY, None)])
@pytest.mark.parametrize("by_events", [True, False])
def test_what_a_merge_writes_says_the_earliest_promise_of_both(
    tmp_path: Path, ours: Promise | None, theirs: Promise | None, *, by_events: bool
) -> None:
    with writing(tmp_path / "one") as one, writing(tmp_path / "other") as other:
        for archived, promise, rows in ((one, ours, trades(1, 2)), (other, theirs, trades(2, 4))):
            promise_by(archived, promise, by_events=by_events)
            archived.append(rows)
        with archive(tmp_path / "one") as writer:
            writer.promised = merge_archive.promises(one.layout, other.layout)
            job = TradeMerge(one.layout, writer, disagreed=lambda _: None, tidy=lambda _: None, room=plenty)
            assert job.year(PAIR, other.layout.years(PAIR)[0]) == []
        assert EARLY in in_files(one.layout)
        assert told(one.layout) == EARLY


def promise_by(archived: Written, promise: Promise | None, *, by_events: bool) -> None:
    if by_events and promise is not None:
        for note in evidence.notes(PAIR, promise):
            archived.noted(Event(START_US, evidence.kind(note), PAIR, json.dumps(evidence.detail(note))))
    else:
        archived.promises[PAIR] = promise
