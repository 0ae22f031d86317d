from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recorder.core.gap_events import SINGLY, GapEvent, GapEvents
from recorder.core.trade_ids import Gap, Span, Spans

PAIR = "BTC/USD"


def gaps_of(*spans: Span) -> tuple[Gap, ...]:
    return tuple(Gap(PAIR, span, span.first * 10, span.last * 10) for span in spans)


def every_third(first: int, count: int) -> list[Span]:
    return [Span(first + 3 * index, first + 3 * index + 1) for index in range(count)]


def spelt(notes: list[GapEvent]) -> list[tuple[int, int, int, int]]:
    return [(note.span.first, note.span.last, note.missing, note.holes) for note in notes]


def test_each_gap_is_noted_once_when_it_opens_and_once_when_all_of_it_is_held() -> None:
    notes = GapEvents()
    opened, closed = notes.changes(PAIR, gaps_of(Span(5, 9), Span(20, 20)))
    assert (opened, closed) == ([GapEvent(Span(5, 9), 5, 1, 50, 90), GapEvent(Span(20, 20), 1, 1, 200, 200)], [])
    assert notes.changes(PAIR, gaps_of(Span(5, 6), Span(8, 9), Span(20, 20))) == ([], [])
    opened, closed = notes.changes(PAIR, gaps_of(Span(6, 6)))
    assert (opened, spelt(closed)) == ([], [(20, 20, 1, 1)])
    assert notes.changes("ETH/USD", ()) == ([], [])
    assert spelt(notes.changes(PAIR, ())[1]) == [(5, 9, 5, 1)]
    assert spelt(notes.changes(PAIR, gaps_of(Span(5, 9)))[0]) == [(5, 9, 5, 1)]


def test_very_many_that_open_at_once_are_one_note_and_so_is_that_they_have_closed() -> None:
    notes = GapEvents()
    many = every_third(1, 60_000)
    opened, _ = notes.changes(PAIR, gaps_of(*many))
    assert spelt(opened) == [(1, 179_999, 120_000, 60_000)]
    assert (opened[0].after_us, opened[0].before_us) == (10, 1_799_990)
    assert notes.changes(PAIR, gaps_of(*many[:-1])) == ([], [])
    assert spelt(notes.changes(PAIR, gaps_of(many[7], Span(200_000, 200_000)))[0]) == [(200_000, 200_000, 1, 1)]
    assert spelt(notes.changes(PAIR, ())[1]) == [(1, 179_999, 120_000, 60_000), (200_000, 200_000, 1, 1)]


def test_up_to_the_bound_each_has_a_note_of_its_own() -> None:
    opened, _ = GapEvents().changes(PAIR, gaps_of(*every_third(1, SINGLY)))
    assert [note.holes for note in opened] == [1] * SINGLY


def test_what_was_noted_before_parts_those_that_are_noted_together() -> None:
    notes = GapEvents()
    notes.changes(PAIR, gaps_of(Span(301, 301)))
    below, above = every_third(1, 60), every_third(400, 60)
    opened, _ = notes.changes(PAIR, gaps_of(*below, Span(301, 301), *above))
    assert [(note.span.first, note.holes) for note in opened] == [(1, 60), (400, 60)]
    assert spelt(notes.changes(PAIR, gaps_of(*below, *above))[1]) == [(301, 301, 1, 1)]


@given(st.lists(st.sets(st.integers(1, 900)).map(Spans.of_ids), max_size=8))
def test_every_id_that_is_missing_lies_in_an_open_note_and_no_open_note_is_without_one(looks: list[Spans]) -> None:
    notes, noted = GapEvents(), Spans()
    for missing in looks:
        opened, closed = notes.changes(PAIR, gaps_of(*missing))
        noted.update(note.span for note in opened)
        for note in closed:
            noted.remove(note.span)
        assert all(noted.covers(span) for span in missing)
        assert all(missing.within(span) for span in noted)
