"""States of a daemon, and the token of its server."""

from __future__ import annotations

import dataclasses
from typing import Any

from recorder.ops.health import HealthState

TOKEN = "0123456789-abcdefghij"
GOOD = HealthState(
    listed=True,
    stopping=False,
    pairs=3,
    streaming=True,
    silent_s=[1.0],
    inbox_bytes=1000,
    inbox_limit_bytes=16_000_000,
    unsynced_s=0.1,
    drained_s=200.0,
    drain_every_s=300.0,
    free_bytes=5e9,
    low_bytes=2e9,
)


def with_(**changes: Any) -> HealthState:
    return dataclasses.replace(GOOD, **changes)
