"""How the exchange is: asked every few minutes, told by the stream too, and noted where it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from recorder.clock import Clock
from recorder.core.events import EventKind
from recorder.errors import ExchangeError, Malformed
from recorder.kraken import rest, wire
from recorder.net.http import Http
from recorder.ops.metrics import Metrics
from recorder.tasks.notes import Notes

EVERY_S: Final = 300.0
"""The stream tells at once; this is for recorders without one, and for what a stream that is down cannot tell."""
COUNTS_DOWN: Final = "time_to_start_s"
"""The one field of an announcement that differs each time it is told (API.md 6.2)."""
ONLINE: Final = "online"

log = structlog.get_logger()


class Standing:
    """What each source says of the exchange, and a note of it where that is not what it said before."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._said: dict[str, object] = {}

    async def told(
        self,
        source: str,
        system: str,
        upcoming_maintenance: Sequence[Mapping[str, Any]],
        emergency: Sequence[Mapping[str, Any]],
    ) -> None:
        """Take what ``source`` (``rest`` or ``ws``) says: the trading state and the two arrays (API.md 6.2, 8.4)."""
        said = (system, _lasting(upcoming_maintenance), _lasting(emergency))
        if self._said.get(source) == said:
            return
        self._said[source] = said
        calm = system == ONLINE and not upcoming_maintenance and not emergency
        (log.info if calm else log.warning)(
            "the exchange says",
            system=system,
            source=source,
            upcoming_maintenance=len(upcoming_maintenance),
            emergencies=len(emergency),
        )
        await self._notes.take(
            EventKind.MAINTENANCE,
            source=source,
            system=system,
            upcoming_maintenance=list(upcoming_maintenance),
            emergency=list(emergency),
        )


class System:
    """Asks REST SystemStatus, and tells ``standing``."""

    def __init__(self, http: Http, standing: Standing, notes: Notes, *, clock: Clock, metrics: Metrics) -> None:
        self._http = http
        self._standing = standing
        self._notes = notes
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Ask now and every :data:`EVERY_S` seconds, until cancelled."""
        while True:
            await self._ask()
            await self._clock.sleep(EVERY_S)

    async def _ask(self) -> None:
        request = rest.system_status()
        try:
            answer = await self._http.get(request)
            status = _read(answer.body, answer.result)
        except ExchangeError as error:
            self._metrics.rest_failed(error)
            log.warning("the exchange does not say how it is", reason=str(error))
            if isinstance(error, Malformed):
                await self._notes.unreadable(request, error)
            return
        await self._standing.told("rest", status.status, status.upcoming_maintenance, status.emergency)


def _read(body: bytes, result: bytes) -> wire.SystemStatus:
    try:
        return wire.system_status(result)
    except wire.UNREADABLE as error:
        unread = Malformed(f"an answer of SystemStatus that cannot be read: {error}")
        unread.body = body
        raise unread from error


def _lasting(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in event.items() if key != COUNTS_DOWN} for event in events]
