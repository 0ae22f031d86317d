from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder.errors import UsageError
from recorder.sandbox.exchange_status import LADDER, SYSTEMS, StatusBoard, StatusMessage
from tests.clocks import NOW_NS, ManualClock


def answer(board: StatusBoard, clock: ManualClock) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(board.message().answer(clock.wall_ns()))
    return result


def test_the_answer_is_text_for_text_like_the_real_ones(payloads: Path) -> None:
    folder = payloads / "rest/SystemStatus"
    newer = (folder / "online_with_new_arrays.json").read_text().strip()
    older = (folder / "online_2025-11-11.json").read_text().strip()
    assert f'{{"error":[],"result":{StatusMessage().answer(1_688_669_520_999_999_999)}}}' == newer
    assert f'{{"error":[],"result":{StatusMessage(arrays=None).answer(1_762_820_230_000_000_000)}}}' == older


def test_the_frame_is_text_for_text_like_the_real_ones(payloads: Path) -> None:
    recorded = (payloads / "ws_v2/status/connect_banners_live.jsonl").read_text().splitlines()
    assert StatusMessage(arrays=None).frame(4421894013101914413) == recorded[0]
    assert StatusMessage().frame(16174536464690282295) == recorded[2]


def test_a_planned_maintenance_has_the_keys_and_kinds_of_the_documented_one(clock: ManualClock, payloads: Path) -> None:
    text = (payloads / "rest/SystemStatus/documented_upcoming_maintenance_2026-05-11.json").read_text()
    (documented,) = json.loads(text)["result"]["upcoming_maintenance"]
    board = StatusBoard(clock)
    board.plan_maintenance(in_s=1740, for_s=3600)
    (ours,) = answer(board, clock)["upcoming_maintenance"]
    assert [(name, type(value)) for name, value in ours.items()] == [
        (name, type(value)) for name, value in documented.items()
    ]
    for name in ("event_id", "time_to_start_s", "phase", "affected_services", "order_submission"):
        assert ours[name] == documented[name]


def test_a_maintenance_draws_near_begins_and_is_gone_at_its_end(clock: ManualClock) -> None:
    board = StatusBoard(clock)
    board.plan_maintenance(in_s=3600, for_s=600)
    seen = []
    for _ in range(8):
        seen += [(event["phase"], event["time_to_start_s"]) for event in answer(board, clock)["upcoming_maintenance"]]
        clock.move(600)
    assert seen == [
        ("scheduled", 3600),
        ("scheduled", 3000),
        ("scheduled", 2400),
        ("approaching_30m", 1800),
        ("approaching_30m", 1200),
        ("approaching_30m", 600),
        ("in_progress", 0),
    ]


def test_an_emergency_stays_until_all_is_clear(clock: ManualClock) -> None:
    board = StatusBoard(clock)
    board.declare_emergency("Matching engine is down")
    clock.move(1e6)
    (emergency,) = answer(board, clock)["emergency"]
    assert (emergency["title"], emergency["started_at_utc"]) == ("Matching engine is down", "2026-07-07T23:00:05Z")
    assert list(emergency["next_steps"][0]) == ["applies_to", "type", "expected_at_utc"]
    board.all_clear()
    assert answer(board, clock)["emergency"] == []


def test_the_ladder_stands_on_each_rung_and_ends_online(clock: ManualClock) -> None:
    board = StatusBoard(clock)
    board.climb(2.0)
    seen = []
    for _ in LADDER:
        seen.append(board.system)
        clock.move(1.0)
        assert board.system == seen[-1]
        clock.move(1.0)
    assert tuple(seen) == LADDER
    clock.move(1e6)
    assert board.system == "online"


def test_a_state_can_be_for_a_time_or_for_good(clock: ManualClock) -> None:
    board = StatusBoard(clock)
    board.show("post_only", 3.0)
    assert board.system == "post_only"
    clock.move(3.0)
    assert board.system == "online"
    board.show("cancel_only")
    clock.move(1e6)
    assert board.system == "cancel_only"


def test_the_essence_changes_with_state_events_and_phases_but_not_with_the_seconds(clock: ManualClock) -> None:
    board = StatusBoard(clock)
    seen = [board.essence()]
    acts: list[Callable[[], None]] = [
        lambda: board.show("maintenance"),
        lambda: board.plan_maintenance(in_s=1801, for_s=60),
        lambda: clock.move(2.0),
        board.declare_emergency,
        board.all_clear,
    ]
    for act in acts:
        act()
        assert board.essence() != seen[-1]
        seen.append(board.essence())
        clock.move(0.01)
        assert board.essence() == seen[-1]


def test_an_exchange_of_old_has_no_arrays(clock: ManualClock) -> None:
    board = StatusBoard(clock, arrays=False)
    board.declare_emergency()
    assert answer(board, clock) == {"status": "online", "timestamp": "2026-07-07T23:00:05Z"}
    assert board.essence() == "online"
    assert clock.wall_ns() == NOW_NS


def test_an_unknown_state_is_refused_by_name(clock: ManualClock) -> None:
    with pytest.raises(UsageError, match="no status 'asleep'; there are online, maintenance"):
        StatusBoard(clock).show("asleep")
    assert set(LADDER) < set(SYSTEMS)
