"""Status of the exchange: polled every few minutes, also received from the stream, and noted when it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from recorder.core.event_kinds import EventKind
from recorder.errors import ExchangeError, Malformed
from recorder.kraken import rest_api, wire
from recorder.runtime.context import Context
from recorder.runtime.notes import Notes

EVERY_S: Final = 300.0
"""Polling interval. The stream reports at once; polling serves recorders without one, and times when it is down."""
COUNTS_DOWN: Final = "time_to_start_s"
"""The only field of an announcement that differs each time (API.md 6.2)."""
ONLINE: Final = "online"

log = structlog.get_logger()


class ExchangeStatus:
    """The last status from each source; a changed one is noted."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._reported: dict[str, object] = {}

    async def report(
        self,
        source: str,
        system: str,
        upcoming_maintenance: Sequence[Mapping[str, Any]],
        emergency: Sequence[Mapping[str, Any]],
    ) -> None:
        """Process a status from ``source`` (``rest`` or ``ws``): the trading state and two arrays (API.md 6.2, 8.4)."""
        status = (system, _lasting(upcoming_maintenance), _lasting(emergency))
        if self._reported.get(source) == status:
            return
        self._reported[source] = status
        calm = system == ONLINE and not upcoming_maintenance and not emergency
        (log.info if calm else log.warning)(
            "the exchange says",
            system=system,
            source=source,
            upcoming_maintenance=len(upcoming_maintenance),
            emergencies=len(emergency),
        )
        await self._notes.event(
            EventKind.MAINTENANCE,
            source=source,
            system=system,
            upcoming_maintenance=list(upcoming_maintenance),
            emergency=list(emergency),
        )


class StatusPoller:
    """Polls REST SystemStatus, and reports to ``exchange_status``."""

    def __init__(self, context: Context, exchange_status: ExchangeStatus) -> None:
        self._exchange = context.exchange
        self._clock = context.clock
        self._exchange_status = exchange_status

    async def run(self) -> None:
        """Request the status now and every :data:`EVERY_S` seconds, until cancelled."""
        while True:
            await self._ask()
            await self._clock.sleep(EVERY_S)

    async def _ask(self) -> None:
        try:
            _, status = await self._exchange.request(rest_api.system_status(), _read)
        except ExchangeError as error:
            log.warning("exchange status not available", reason=str(error))
            return
        planned, emergency = wire.entries(status.upcoming_maintenance), wire.entries(status.emergency)
        await self._exchange_status.report("rest", status.status, planned, emergency)


def _read(result: bytes) -> wire.SystemStatus:
    try:
        return wire.system_status(result)
    except wire.UNREADABLE as error:
        raise Malformed(f"an answer of SystemStatus that cannot be read: {error}") from error


def _lasting(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in event.items() if key != COUNTS_DOWN} for event in events]
