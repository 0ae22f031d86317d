from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.archive.footer import FOOTER_KEY, Footer, held_runs
from recorder.archive.schema import trades_table
from recorder.core.evidence import LAST_US, Promise
from recorder.core.segment_names import SegmentName
from recorder.core.trade_ids import Run, Span, Spans
from recorder.errors import CorruptFile, UnknownVersion
from tests.archive.rows import trade

PAIR = "BTC/USD"

ends = st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)))


@st.composite
def a_footer(draw: st.DrawFn) -> Footer:
    pair = draw(st.none() | st.text())
    runs = () if pair is None else tuple(Run(pair, Span(low, low + more), 1, 2) for low, more in draw(ends))
    promise = draw(
        st.none() | st.builds(Promise, st.integers(0, LAST_US), st.none() | st.integers(0, 10**12), st.booleans())
    )
    segments = sorted(draw(st.sets(st.builds(SegmentName, st.text(), st.text(), st.integers(0, 10**12)))))
    return Footer(draw(st.text()), pair, runs, tuple(segments), promise=promise, archive=draw(st.text()))


@given(footer=a_footer())
def test_a_footer_is_read_back_as_it_was_written(footer: Footer) -> None:
    assert Footer.decode(footer.encode(), Path("a.parquet")) == footer


@given(ids=st.sets(st.integers(1, 100)))
def test_spans_are_those_of_the_ids_that_a_table_holds(ids: set[int]) -> None:
    found = held_runs(trades_table([trade(trade_id) for trade_id in sorted(ids)]), PAIR)
    assert [run.span for run in found] == list(Spans.of_ids(ids))
    for run in found:
        assert (run.pair, run.first_us, run.last_us) == (
            PAIR,
            trade(run.span.first).time_us,
            trade(run.span.last).time_us,
        )


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        {FOOTER_KEY: b"{"},
        {FOOTER_KEY: b"[]"},
        {FOOTER_KEY: b'{"schema":1,"table":"trades","spans":[[3,1,0,0]]}'},
    ],
)
def test_a_footer_that_is_not_ours_is_told_so(content: dict[bytes, bytes] | None) -> None:
    with pytest.raises(CorruptFile, match=r"^a.parquet is none of ours: it carries no footer.*: move it out"):
        Footer.decode(content, Path("a.parquet"))


def test_a_footer_of_a_later_release_names_the_release_that_reads_it() -> None:
    content = {FOOTER_KEY: json.dumps({"schema": 3, "table": "trades", "writer": "kraken-recorder 9"}).encode()}
    with pytest.raises(
        UnknownVersion, match=r"^a.parquet has schema version 3, .* version 1 to 2: upgrade .*recorder 9"
    ):
        Footer.decode(content, Path("a.parquet"))
