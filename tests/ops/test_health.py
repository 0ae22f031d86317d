from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.ops.health import (
    DRAIN_SLACK_S,
    SILENT_S,
    STUCK_S,
    UNANSWERED_S,
    UNSYNCED_S,
    dead,
    not_ready,
)
from tests.ops.states import GOOD, with_


def test_a_daemon_that_records_is_alive_and_ready() -> None:
    assert dead(GOOD) == []
    assert not_ready(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stopping": True}, "it is stopping"),
        ({"listed": False}, "its REST is out of reach"),
        ({"pairs": 0}, "none of the configured pairs is listed"),
        ({"silent_s": [SILENT_S + 1]}, "no data or heartbeat came for 61 s: the stream is down"),
        ({"silent_s": [SILENT_S + 9, SILENT_S + 1]}, "no data or heartbeat came for 61 s: the stream is down"),
        (
            {"silent_s": [1.0, SILENT_S + 2, 60.0, SILENT_S + 1]},
            "no data or heartbeat came for 62 s on 2 of 4 connections: the pairs",
        ),
        ({"streaming": False, "silent_s": [UNANSWERED_S + 1]}, "no good answer came for 181 s"),
        ({"inbox_bytes": 14_400_000}, "14 MB wait for the journal"),
        ({"unsynced_s": UNSYNCED_S + 1}, "received 16 s ago is not durable yet"),
        ({"drained_s": 300 + DRAIN_SLACK_S + 1}, "was not drained for 1201 s"),
        ({"free_bytes": 1.5e9}, "1.50 GB are free of the 2.00 GB it should have"),
    ],
)
def test_each_trouble_is_told_by_its_own_sentence_and_by_no_other(changes: dict[str, Any], reason: str) -> None:
    (said,) = not_ready(with_(**changes))
    assert reason in said


@pytest.mark.parametrize(
    "changes",
    [
        {"silent_s": [SILENT_S]},
        {"silent_s": [SILENT_S, 0.0, SILENT_S]},
        {"silent_s": []},
        {"streaming": False, "silent_s": [UNANSWERED_S]},
        {"streaming": False, "silent_s": [SILENT_S + 1]},
        {"inbox_bytes": 14_399_999},
        {"unsynced_s": UNSYNCED_S},
        {"drained_s": 300 + DRAIN_SLACK_S},
        {"free_bytes": 2e9},
        {"free_bytes": math.inf, "low_bytes": 0},
    ],
)
def test_up_to_its_limit_nothing_is_a_trouble(changes: dict[str, Any]) -> None:
    assert not_ready(with_(**changes)) == []


def test_all_troubles_are_told_at_once() -> None:
    assert len(not_ready(with_(silent_s=[1e6], unsynced_s=1e6, drained_s=1e6, free_bytes=0))) == 4


def test_only_a_write_that_does_not_return_is_death() -> None:
    assert dead(with_(unsynced_s=STUCK_S)) == []
    (said,) = dead(with_(unsynced_s=STUCK_S + 1))
    assert "has not returned for 301 s" in said
    assert dead(with_(silent_s=[1e9], drained_s=1e9, free_bytes=0, listed=False, stopping=True)) == []


ages = st.floats(0, 1e6)


@given(silent_s=st.lists(ages), unsynced_s=ages, drained_s=ages, more_s=ages)
def test_what_gets_older_gets_no_better(
    silent_s: list[float], unsynced_s: float, drained_s: float, more_s: float
) -> None:
    now = with_(silent_s=silent_s, unsynced_s=unsynced_s, drained_s=drained_s)
    later = with_(
        silent_s=[each_s + more_s for each_s in silent_s], unsynced_s=unsynced_s + more_s, drained_s=drained_s + more_s
    )
    assert len(not_ready(later)) >= len(not_ready(now))
    assert len(dead(later)) >= len(dead(now))


@pytest.mark.parametrize("streaming", [True, False])
def test_where_a_refusal_puts_it_off_it_says_when_it_is_tried_again(*, streaming: bool) -> None:
    (said,) = not_ready(with_(streaming=streaming, silent_s=[500.0], connects_in_s=540.0, asks_in_s=540.0))
    assert said.endswith("; the next attempt comes in 540 s")
    (said,) = not_ready(with_(listed=False, asks_in_s=60.0))
    assert said.endswith("out of reach; the next attempt comes in 60 s")
