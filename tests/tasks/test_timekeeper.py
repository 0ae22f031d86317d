from __future__ import annotations

import json

from recorder.ops.metrics import Metrics
from recorder.tasks.inbox import Inbox
from recorder.tasks.notes import Notes
from recorder.tasks.timekeeper import LOOK_S, Timekeeper
from tests.sandbox.conftest import ManualClock
from tests.tasks.support import events, journalled, running, settle


async def test_each_step_of_the_clock_is_an_event_with_its_seconds_and_is_counted() -> None:
    clock, inbox, metrics = ManualClock(), Inbox(), Metrics()
    async with running(Timekeeper(Notes(inbox, clock), clock=clock, metrics=metrics)):
        for step_s in (0, 3600, 0, -86_400, 0.3):
            clock.step(step_s)
            clock.move(LOOK_S)
            await settle()
    assert [(event.kind, event.pair, json.loads(event.detail)) for event in events(journalled(inbox))] == [
        ("clock_stepped", None, {"seconds": 3600.0}),
        ("clock_stepped", None, {"seconds": -86_400.0}),
    ]
    assert metrics.registry.get_sample_value("recorder_clock_steps_total") == 2
