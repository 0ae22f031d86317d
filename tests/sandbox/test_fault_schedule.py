from __future__ import annotations

import pytest

from recorder.errors import UsageError
from recorder.sandbox.exchange_status import StatusBoard
from recorder.sandbox.fault_schedule import NAMES, Act, Faults, parse_act
from tests.clocks import ManualClock


class Line:
    """Counts how often everybody was cut off."""

    def __init__(self) -> None:
        self.cuts = 0

    def cut(self) -> None:
        self.cuts += 1


def faults_with(clock: ManualClock, *script: Act) -> tuple[Faults, Line]:
    line = Line()
    return Faults(clock, hang_up=line.cut, script=script), line


def test_a_disconnect_cuts_once_and_leaves_the_door_open(clock: ManualClock) -> None:
    faults, line = faults_with(clock)
    faults.disconnect()
    assert (line.cuts, faults.refusing) == (1, False)


def test_refusing_for_a_time_ends_by_itself_and_cuts_nobody(clock: ManualClock) -> None:
    faults, line = faults_with(clock)
    faults.refuse(2.0)
    assert faults.refusing
    clock.move(1.9)
    assert faults.refusing
    clock.move(0.2)
    assert (faults.refusing, line.cuts) == (False, 0)


def test_refusing_without_a_time_lasts_until_released(clock: ManualClock) -> None:
    faults, _ = faults_with(clock)
    faults.refuse()
    clock.move(1e6)
    assert faults.refusing
    faults.release()
    assert not faults.refusing


def test_an_outage_shuts_the_door_before_it_cuts(clock: ManualClock) -> None:
    refusing_when_cut = list[bool]()
    faults = Faults(clock, hang_up=lambda: refusing_when_cut.append(faults.refusing))
    faults.outage(3)
    assert refusing_when_cut == [True]


def test_a_script_is_followed_in_order_of_time_each_act_once(clock: ManualClock) -> None:
    faults, line = faults_with(clock, Act(5, "outage", 2), Act(1, "disconnect"))
    faults.follow_script()
    assert line.cuts == 0
    clock.move(1)
    faults.follow_script()
    faults.follow_script()
    assert (line.cuts, faults.refusing) == (1, False)
    clock.move(10)
    faults.follow_script()
    assert (line.cuts, faults.refusing) == (2, True)
    clock.move(2)
    assert not faults.refusing


def test_the_script_counts_from_the_start(clock: ManualClock) -> None:
    faults, line = faults_with(clock, Act(1, "disconnect"))
    clock.move(50)
    faults.start()
    faults.follow_script()
    assert line.cuts == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_fault_can_be_thrown_by_its_name(clock: ManualClock, name: str) -> None:
    faults, _ = faults_with(clock)
    faults.throw(name, 1.0)
    assert parse_act(f"3:{name}") == Act(3.0, name)
    assert parse_act(f"3:{name}:0.5") == Act(3.0, name, 0.5)


@pytest.mark.parametrize("text", ["", "outage", "8", "x:outage", "8:outage:long", "8:earthquake", "8:outage:4:2"])
def test_an_act_that_cannot_be_read_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(UsageError, match=r"like 8:outage:4|there are disconnect, refuse"):
        parse_act(text)


def test_an_unknown_fault_is_refused_by_name(clock: ManualClock) -> None:
    with pytest.raises(UsageError, match="no fault 'earthquake'; there are disconnect"):
        faults_with(clock)[0].throw("earthquake")


def test_mishaps_of_rest_can_be_scripted_for_some_requests_to_one_path(clock: ManualClock) -> None:
    faults, _ = faults_with(clock, parse_act("1:busy:3x:/0/public/OHLC"))
    clock.move(1)
    faults.follow_script()
    struck = [[mishap.name for mishap in faults.rest.strike("/0/public/OHLC")] for _ in range(4)]
    assert struck == [["busy"], ["busy"], ["busy"], []]


def test_states_and_the_ladder_can_be_scripted(clock: ManualClock) -> None:
    board = StatusBoard(clock)
    script = [parse_act("1:cancel_only:2"), parse_act("10:ladder:3")]
    faults = Faults(clock, hang_up=lambda: None, script=script, status=board)
    seen = []
    for _ in range(24):
        faults.follow_script()
        seen.append(board.system)
        clock.move(1)
    assert seen == (
        ["online"] + ["cancel_only"] * 2 + ["online"] * 7
        + ["maintenance"] * 3 + ["cancel_only"] * 3 + ["post_only"] * 3 + ["online"] * 5
    )  # fmt: skip


def test_a_pair_is_rejected_until_it_is_accepted_or_all_is_released(clock: ManualClock) -> None:
    faults, _ = faults_with(clock)
    faults.reject("BTC/USD")
    faults.reject("ETH/EUR")
    faults.accept("BTC/USD")
    assert faults.rejected == {"ETH/EUR"}
    faults.release()
    assert faults.rejected == set()


@pytest.mark.parametrize("text", ["1:outage:3x", "1:online::/0/public/OHLC", "1:ladder:2x"])
def test_what_is_for_everything_cannot_be_for_some_requests(text: str) -> None:
    with pytest.raises(UsageError, match="is for a time and for everything; only unavailable"):
        parse_act(text)


def test_acts_of_one_moment_are_thrown_in_the_order_given(clock: ManualClock) -> None:
    faults, line = faults_with(clock, Act(0, "outage", 5), Act(0, "release"), Act(0, "outage", None), Act(0, "release"))
    faults.follow_script()
    assert (line.cuts, faults.refusing) == (2, False)
