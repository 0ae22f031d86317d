"""Objects shared by all tasks of a run."""

from __future__ import annotations

from dataclasses import dataclass

from recorder.clock import Clock
from recorder.ops.metrics import Metrics
from recorder.runtime.exchange_client import Exchange
from recorder.runtime.inbox import Inbox
from recorder.runtime.notes import Notes


@dataclass(frozen=True, slots=True)
class Context:
    """The exchange client, the inbox of the journal, notes, metrics and the clock: one of each per run."""

    exchange: Exchange
    inbox: Inbox
    notes: Notes
    metrics: Metrics
    clock: Clock
