from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from recorder.daemon.heartbeat import BEAT_S, Heartbeat, Parts
from recorder.disk import Room
from recorder.errors import RateLimited
from recorder.kraken import rest_api
from recorder.net.http import HttpAnswer
from recorder.ops import health, log
from recorder.ops.log_dedup import WINDOW_S
from recorder.ops.service_manager import Notifier
from recorder.runtime.inbox import Inbound
from tests.clocks import ManualClock, running, settle
from tests.fakes import Fakes


class Manager(Notifier):
    """Remembers what it is told."""

    def __init__(self, watchdog_s: float | None = None) -> None:
        super().__init__({})
        self.watchdog_s = watchdog_s
        self.told: list[tuple[str, ...]] = []

    def send(self, *messages: str) -> None:
        self.told.append(messages)


class Bench(Fakes):
    def __init__(self, manager: Manager | None = None) -> None:
        super().__init__()
        self.manager = manager or Manager()
        self.pulse = Heartbeat(Path("/data"), self.inbox, clock=self.clock, metrics=self.metrics, notifier=self.manager)
        self.unsynced_s, self.drained_s, self.silent_s, self.connects_in_s = 0.0, 0.0, 0.0, 0.0
        self.space = SimpleNamespace(room=None, low_bytes=0)

    def begin(self, *, streaming: bool = True) -> None:
        if streaming:
            self.pulse.watch_stream(lambda: [self.silent_s], lambda: self.connects_in_s)
        commit = SimpleNamespace(unsynced_s=lambda: self.unsynced_s)
        drain = SimpleNamespace(drained_s=lambda: self.drained_s, every_s=300.0)
        quarantined = SimpleNamespace(faults=list)
        parts = cast("Any", [commit, drain, self.space, quarantined])
        self.pulse.recording(Parts({"BTC/USD": 1, "ETH/USD": 2}, *parts))

    def unready(self) -> list[str]:
        return health.not_ready(self.pulse.state())


def answer(clock: ManualClock, *, date_s: int | None = None) -> HttpAnswer:
    now_ns = clock.wall_ns()
    return HttpAnswer(now_ns, b"", b"", date_s, now_ns - 20_000_000)


def test_before_it_is_known_what_to_record_it_says_so() -> None:
    bench = Bench()
    assert "it is not known yet what Kraken lists" in bench.unready()[0]
    assert health.dead(bench.pulse.state()) == []
    assert bench.pulse.about()["pairs"] == 0
    assert bench.value("recorder_ready") == 0
    assert bench.manager.told == []


def test_once_recording_begins_it_is_ready_until_it_stops() -> None:
    bench = Bench()
    bench.begin()
    assert bench.unready() == []
    assert bench.value("recorder_ready") == 1
    assert bench.manager.told == [("READY=1", "STATUS=recording 2 pairs")]
    assert bench.pulse.about()["archive"] == "/data"
    assert str(bench.pulse.about()["since"]).endswith("Z")
    assert bench.pulse.about()["pairs"] == 2
    bench.pulse.stopping()
    assert bench.manager.told[-1] == ("STOPPING=1", "STATUS=draining the journal")
    assert bench.unready() == ["it is stopping"]


async def test_each_part_is_asked() -> None:
    bench = Bench()
    bench.begin()
    bench.silent_s, bench.unsynced_s, bench.drained_s = 99.0, 98.0, 9997.0
    bench.space.room, bench.space.low_bytes = Room(10**9, 10**12), 2 * 10**9
    await bench.inbox.put(Inbound(b"x" * 16 * 1024 * 1024, []))
    said = " ".join(bench.unready())
    for part in (
        "no data or heartbeat came for 99 s",
        "98 s ago is not durable",
        "drained for 9997 s",
        "1.00 GB",
        "17 MB wait",
    ):
        assert part in said
    bench.unsynced_s = 301.0
    assert health.dead(bench.pulse.state()) != []


def test_without_a_stream_it_is_answers_of_rest_that_count() -> None:
    bench = Bench()
    bench.begin(streaming=False)
    bench.clock.move(200)
    assert "no good answer came for 200 s" in bench.unready()[0]
    bench.pulse.ended(rest_api.system_status(), RateLimited("EGeneral:Too many requests"))
    assert "no good answer came for 200 s" in bench.unready()[0]
    bench.pulse.ended(rest_api.system_status(), answer(bench.clock))
    assert bench.unready() == []


def test_requests_are_counted_and_their_dates_tell_the_clock_s_offset() -> None:
    bench = Bench()
    bench.pulse.ended(rest_api.system_status(), RateLimited("EGeneral:Too many requests"))
    bench.pulse.ended(rest_api.system_status(), answer(bench.clock))
    assert bench.value("recorder_rest_requests_total", endpoint="SystemStatus", outcome="RateLimited") == 1
    assert bench.value("recorder_rest_requests_total", endpoint="SystemStatus", outcome="ok") == 1
    bench.pulse.ended(rest_api.system_status(), answer(bench.clock, date_s=bench.clock.wall_ns() // 10**9 - 100))
    offset_s = bench.value("recorder_clock_offset_seconds")
    assert offset_s is not None
    assert 98.9 < offset_s < 101.1


def test_the_time_is_vouched_for_by_host_and_exchange_and_stands_still_for_nobody() -> None:
    bench = Bench()
    true_s = bench.clock.wall_ns() / 1e9
    assert bench.pulse.now_s() is None
    bench.pulse.ended(rest_api.system_status(), answer(bench.clock, date_s=round(true_s)))
    bench.clock.step(31_536_000)
    bench.clock.move(100)
    assert bench.pulse.now_s() == pytest.approx(true_s + 100, abs=1)
    bench.clock.step(-31_536_000 - 3600)
    assert bench.pulse.now_s() == pytest.approx(true_s + 100 - 3600, abs=1)


async def test_signs_of_life_are_shown_on_time_and_none_while_only_a_restart_can_help() -> None:
    bench = Bench(Manager(watchdog_s=9.0))
    bench.begin()
    async with running(bench.pulse):
        assert bench.manager.told[-1] == ("WATCHDOG=1", "STATUS=recording 2 pairs")
        beats = len(bench.manager.told)
        bench.clock.move(2.9)
        await settle()
        assert len(bench.manager.told) == beats
        bench.silent_s = 77.0
        bench.clock.move(0.2)
        await settle()
        assert bench.manager.told[-1] == ("WATCHDOG=1", "STATUS=no data or heartbeat came for 77 s: the stream is down")
        bench.unsynced_s = 301.0
        bench.clock.move(3)
        await settle()
        assert len(bench.manager.told) == beats + 2
        assert "WATCHDOG=1" not in bench.manager.told[-1]


async def test_what_the_log_has_held_back_comes_out_though_nothing_else_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench, before = Bench(), structlog.get_config()
    log.configure("console", clock=bench.clock)
    try:
        for number in range(1000):
            structlog.get_logger().info("recording", pair=f"P{number}/USD")
        assert "held_back" not in capsys.readouterr().err
        async with running(bench.pulse):
            bench.clock.move(WINDOW_S)
            await settle()
            assert "recording P999/USD held_back=990" in capsys.readouterr().err
    finally:
        structlog.configure(**before)


async def test_without_a_watchdog_the_status_is_told_all_the_same() -> None:
    bench = Bench()
    bench.begin()
    async with running(bench.pulse):
        beats = len(bench.manager.told)
        bench.clock.move(BEAT_S)
        await settle()
        assert len(bench.manager.told) == beats + 1
