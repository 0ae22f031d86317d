from __future__ import annotations

import json
from pathlib import Path

import pytest

from recorder.errors import UsageError
from recorder.sandbox.rest import failure
from recorder.sandbox.rest_faults import ERRORS, NAMES, PAGES, RestFaults, error_text, page_text
from tests.clocks import NOW_NS, ManualClock

OHLC = "/0/public/OHLC"


def struck(mishaps: RestFaults, path: str = OHLC) -> list[str]:
    return [mishap.name for mishap in mishaps.strike(path)]


def test_a_mishap_for_some_requests_strikes_so_many(clock: ManualClock) -> None:
    mishaps = RestFaults(clock)
    mishaps.throw("busy", n=2)
    assert [struck(mishaps) for _ in range(3)] == [["busy"], ["busy"], []]


def test_a_mishap_for_a_time_ends_by_itself(clock: ManualClock) -> None:
    mishaps = RestFaults(clock)
    mishaps.throw("http_502", 2.0)
    clock.move(1.9)
    assert struck(mishaps) == ["http_502"]
    clock.move(0.2)
    assert struck(mishaps) == []


def test_a_mishap_on_one_path_leaves_others_alone_and_is_not_used_up_by_them(clock: ManualClock) -> None:
    mishaps = RestFaults(clock)
    mishaps.throw("truncated", n=1, path=OHLC)
    assert struck(mishaps, "/0/public/Trades") == []
    assert struck(mishaps) == ["truncated"]
    assert struck(mishaps) == []


def test_without_an_end_a_mishap_lasts_until_released(clock: ManualClock) -> None:
    mishaps = RestFaults(clock)
    mishaps.throw("slow")
    clock.move(1e6)
    assert struck(mishaps) == ["slow"]
    mishaps.release()
    assert struck(mishaps) == []


def test_several_strike_together_in_the_order_thrown(clock: ManualClock) -> None:
    mishaps = RestFaults(clock)
    mishaps.throw("slow", n=1)
    mishaps.throw("http_520", n=2)
    assert [struck(mishaps) for _ in range(2)] == [["slow", "http_520"], ["http_520"]]


def test_the_errors_are_those_of_the_reference(payloads: Path) -> None:
    real = json.loads((payloads / "rest/errors/too_many_requests.json").read_text())
    assert json.loads(failure(error_text("too_many_requests", until_s=0))) == real
    assert error_text("throttled", until_s=1_783_465_205.2) == "EService: Throttled: 1783465206"
    assert {error_text(name, until_s=0) for name in ERRORS} >= {
        "EService:Unavailable",
        "EService:Busy",
        "EGeneral:Internal error",
        "EAPI:Rate limit exceeded",
    }


@pytest.mark.parametrize(("for_s", "ahead_s"), [(None, 10), (4.0, 4)])
def test_the_time_of_a_throttle_is_the_end_of_the_mishap_or_ten_seconds_ahead(
    clock: ManualClock, for_s: float | None, ahead_s: int
) -> None:
    mishaps = RestFaults(clock)
    mishaps.throw("throttled", for_s)
    (mishap,) = mishaps.strike(OHLC)
    assert mishaps.error_of(mishap) == f"EService: Throttled: {NOW_NS // 10**9 + 1 + ahead_s}"


def test_the_pages_of_the_edge_are_html_with_their_status() -> None:
    for name, (status, _) in PAGES.items():
        assert name == f"http_{status}"
        assert page_text(name).startswith(f"<html><head><title>{status} ")


def test_a_mishap_that_cannot_strike_is_refused(clock: ManualClock) -> None:
    mishaps = RestFaults(clock)
    with pytest.raises(UsageError, match="no mishap 'flood'; there are unavailable, busy"):
        mishaps.throw("flood")
    with pytest.raises(UsageError, match="for 0 requests; it must be for 1 or more"):
        mishaps.throw("busy", n=0)
    with pytest.raises(UsageError, match="write one like /0/public/OHLC"):
        mishaps.throw("busy", path="OHLC")
    assert len(set(NAMES)) == len(NAMES)
