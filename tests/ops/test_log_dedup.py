from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.ops.log_dedup import EQUAL, KINDS, LINES, WINDOW_S, LogDedup, LogLine

REASONS = ("is gone", "is 17 late", "{pair} is gone")
LINES_IN_TIME = st.lists(
    st.tuples(
        st.floats(0, 40),
        st.sampled_from(["info", "error"]),
        st.sampled_from(["not fetched", "poll failed"]),
        st.integers(1, 15),
        st.sampled_from(REASONS),
    ),
    max_size=300,
)


def failed(pair: str, reason: str = "HTTP 502", **more: Any) -> dict[str, Any]:
    return {"event": "not fetched", "pair": pair, "reason": reason, **more}


@given(lines=LINES_IN_TIME)
def test_each_line_is_printed_or_counted_once_and_never_the_first_of_a_kind_held_back(
    lines: list[tuple[float, str, str, int, str]],
) -> None:
    repeats, now_s, told, kinds = LogDedup(), 0.0, 0, set()
    for number, (after_s, level, event, pair, reason) in enumerate(lines):
        now_s += after_s
        # Its number is in seconds, so it makes a line no other.
        line = {"event": event, "pair": f"P{pair:02}/USD", "reason": reason.format(pair=f"P{pair:02}/USD")}
        said = repeats.add(level, line | {"number_s": number}, now_s)
        printed = bool(said) and said[-1][1].get("number_s") == number
        assert printed or (level, event, reason) in kinds
        kinds.add((level, event, reason))
        told += printed + counted(said)
    assert told + counted(repeats.rest()) == len(lines)
    assert repeats.rest() == []


def test_the_lines_of_another_process_are_of_other_kinds() -> None:
    repeats = LogDedup()
    for number in range(LINES + 5):
        repeats.add("error", failed(f"P{number}", process="market"), 0.0)
    assert len(repeats.add("error", failed("BTC/USD"), 0.0)) == 1


def counted(said: list[LogLine]) -> int:
    """How many lines that were not printed are told of."""
    return sum(line.get("repeated", 0) + line.get("held_back", 0) for _, line in said)


def test_an_equal_line_is_printed_a_few_times_and_then_with_its_count() -> None:
    repeats = LogDedup()
    said = [repeats.add("warning", failed("BTC/USD", retry_in_s=number), number / 10) for number in range(44)]
    assert [len(now) for now in said] == [1] * EQUAL + [0] * 41
    assert repeats.add("warning", failed("BTC/USD", retry_in_s=9), WINDOW_S) == [
        ("warning", failed("BTC/USD", retry_in_s=9, repeated=41))
    ]


def test_a_thousand_equal_failures_are_a_few_lines_and_a_count() -> None:
    repeats = LogDedup()
    said = [now for number in range(1000) for now in repeats.add("error", failed(f"P{number}/USD"), 0.001 * number)]
    assert [line["pair"] for _, line in said] == [f"P{number}/USD" for number in range(LINES)]
    assert repeats.due(WINDOW_S - 0.1) == []
    assert repeats.due(WINDOW_S) == [("error", failed("P999/USD", held_back=1000 - LINES))]
    assert repeats.due(2 * WINDOW_S) == []


def test_what_was_said_last_is_told_with_its_own_figures() -> None:
    repeats = LogDedup()
    for number in range(EQUAL + 3):
        repeats.add("warning", failed("BTC/USD", retry_in_s=2.0**number), 0.0)
    for number in range(LINES + 3):
        repeats.add("info", {"event": "configuration read again", "changed": "pairs", "pairs": number}, 0.0)
    assert repeats.rest() == [
        ("warning", failed("BTC/USD", retry_in_s=2.0 ** (EQUAL + 2), repeated=3)),
        ("info", {"event": "configuration read again", "changed": "pairs", "pairs": LINES + 2, "held_back": 3}),
    ]


@pytest.mark.parametrize(
    ("level", "line"),
    [
        ("warning", failed("P1/USD")),
        ("error", failed("P1/USD", "EQuery:Unknown asset pair")),
        ("error", failed("P1/USD") | {"event": "poll failed"}),
    ],
)
def test_one_of_another_kind_among_them_is_printed(level: str, line: dict[str, Any]) -> None:
    repeats = LogDedup()
    for number in range(100):
        repeats.add("error", failed(f"P{number}/USD"), 0.0)
    assert repeats.add(level, line, 0.0) == [(level, line)]


def test_names_and_numbers_in_a_reason_make_no_other_kind() -> None:
    repeats = LogDedup()
    for number in range(20):
        pair = f"P{number}/USD"
        repeats.add("error", failed(pair, f"the files of {pair} keep changing, {number} times of 0x{number:x}f"), 0.0)
    assert counted(repeats.rest()) == 20 - LINES


def test_what_is_held_back_comes_out_with_a_line_of_any_kind() -> None:
    repeats = LogDedup()
    for _ in range(5):
        repeats.add("warning", failed("BTC/USD"), 0.0)
    said = repeats.add("info", {"event": "stopped"}, WINDOW_S)
    assert said == [("warning", failed("BTC/USD", repeated=5 - EQUAL)), ("info", {"event": "stopped"})]


def test_kinds_without_end_take_no_memory_without_end_and_what_is_forgotten_is_told() -> None:
    repeats, letters = LogDedup(), "abcdefghij"
    names = ["".join(letters[int(digit)] for digit in f"{number:03}") for number in range(KINDS + 10)]
    for _ in range(5):
        repeats.add("error", failed("BTC/USD", names[0]), 0.0)
    told = [now for name in names[1:] for now in repeats.add("error", failed("BTC/USD", name), 0.0)]
    assert told[KINDS - 1] == ("error", failed("BTC/USD", names[0], repeated=5 - EQUAL))
    assert len(repeats._kinds) == KINDS


def test_a_traceback_is_printed_and_not_remembered() -> None:
    repeats, error = LogDedup(), ValueError("no")
    for _ in range(5):
        said = repeats.add("error", failed("BTC/USD", exc_info=error), 0.0)
    assert said == []
    assert repeats.rest() == [("error", failed("BTC/USD", repeated=5 - EQUAL))]
