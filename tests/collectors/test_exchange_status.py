from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from recorder.collectors.exchange_status import EVERY_S, ExchangeStatus, StatusPoller
from recorder.errors import ExchangeError, Unavailable
from recorder.kraken.rest_api import Request
from recorder.net.http import HttpAnswer
from recorder.sandbox.exchange_status import StatusBoard
from tests.builders import events
from tests.clocks import running, settle
from tests.fakes import Fakes

SOON: dict[str, Any] = {"event_id": 21, "title": "Spot", "phase": "scheduled", "time_to_start_s": 1800}
BAD: dict[str, Any] = {"event_id": 22, "title": "Spot trading degraded", "incident_status": "identified"}


class Bench(Fakes):
    """Asks a status board of the sandbox, without a socket."""

    def __init__(self) -> None:
        super().__init__(self)
        self.board = StatusBoard(self.clock)
        self.problems: list[ExchangeError | str] = []
        self.asked: list[Request] = []
        self.standing = ExchangeStatus(self.notes)
        self.system = StatusPoller(self.context, self.standing)

    async def get(self, request: Request) -> HttpAnswer:
        self.asked.append(request)
        problem = self.problems.pop(0) if self.problems else None
        if isinstance(problem, ExchangeError):
            raise problem
        result = (problem or self.board.message().answer(self.clock.wall_ns())).encode()
        return HttpAnswer(self.clock.wall_ns(), b'{"error":[],"result":' + result + b"}", result)

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.kind, json.loads(event.detail)) for event in events(self.journalled())]


@contextlib.asynccontextmanager
async def asking() -> AsyncIterator[Bench]:
    bench = Bench()
    async with running(bench.system):
        yield bench


async def after(bench: Bench, seconds: float) -> list[tuple[str, dict[str, Any]]]:
    bench.clock.move(seconds)
    await settle()
    return bench.events()


async def test_status_is_polled_every_five_minutes_and_only_changes_are_noted() -> None:
    async with asking() as bench:
        calm = {"source": "rest", "system": "online", "upcoming_maintenance": [], "emergency": []}
        assert bench.events() == [("maintenance", calm)]
        for _ in range(3):
            assert await after(bench, EVERY_S) == []
        assert [request.target for request in bench.asked] == ["/0/public/SystemStatus"] * 4
        bench.board.show("cancel_only")
        assert await after(bench, EVERY_S) == [("maintenance", calm | {"system": "cancel_only"})]


async def test_an_announcement_is_noted_once_per_phase_though_its_seconds_change() -> None:
    async with asking() as bench:
        bench.events()
        bench.board.plan_maintenance(in_s=3000, for_s=600)
        ((kind, detail),) = await after(bench, EVERY_S)
        assert (kind, detail["upcoming_maintenance"][0]["time_to_start_s"]) == ("maintenance", 2700)
        phases = []
        for _ in range(12):
            phases += [detail["upcoming_maintenance"] for _, detail in await after(bench, EVERY_S)]
        assert [[event["phase"] for event in phase] for phase in phases] == [["approaching_30m"], ["in_progress"], []]


async def test_an_answer_that_cannot_be_had_or_read_is_asked_for_again() -> None:
    async with asking() as bench:
        bench.events()
        bench.problems = [Unavailable("HTTP 502"), '{"status":5}']
        assert await after(bench, EVERY_S) == []
        ((kind, detail),) = await after(bench, EVERY_S)
        assert (kind, detail["source"]) == ("malformed", "rest-unreadable:/0/public/SystemStatus")
        bench.board.show("post_only")
        assert [detail["system"] for _, detail in await after(bench, EVERY_S)] == ["post_only"]


async def test_each_source_has_its_own_say() -> None:
    bench = Bench()
    for source in ("ws", "rest", "ws", "rest"):
        await bench.standing.report(source, "online", [], [])
    assert [detail["source"] for _, detail in bench.events()] == ["ws", "rest"]
    await bench.standing.report("ws", "maintenance", [], [])
    await bench.standing.report("rest", "online", [], [])
    assert [(detail["source"], detail["system"]) for _, detail in bench.events()] == [("ws", "maintenance")]


@pytest.mark.parametrize(
    ("system", "upcoming", "emergency", "noted"),
    [
        ("online", [SOON], [BAD], False),
        ("online", [SOON | {"time_to_start_s": 5}], [BAD], False),
        ("maintenance", [SOON], [BAD], True),
        ("online", [SOON | {"phase": "approaching_30m"}], [BAD], True),
        ("online", [], [BAD], True),
        ("online", [SOON, SOON | {"event_id": 23}], [BAD], True),
        ("online", [SOON], [BAD | {"incident_status": "resolved"}], True),
        ("online", [SOON], [], True),
    ],
)
async def test_what_is_said_anew_is_noted_as_it_came(
    *, system: str, upcoming: list[dict[str, Any]], emergency: list[dict[str, Any]], noted: bool
) -> None:
    bench = Bench()
    await bench.standing.report("ws", "online", [SOON], [BAD])
    bench.events()
    await bench.standing.report("ws", system, upcoming, emergency)
    said = {"source": "ws", "system": system, "upcoming_maintenance": upcoming, "emergency": emergency}
    assert bench.events() == ([("maintenance", said)] if noted else [])
