"""The overview as it is now, as a page and as a stream of what changes: once a second, and only while somebody looks.

The past, which the reader knows, is asked for at the first look and every few minutes; without it the page is shown
all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib import metadata
from typing import Any, Final

import structlog

from recorder.clock import Clock
from recorder.errors import RecorderError
from recorder.page import overview, templates
from recorder.page.overview import History, PairRow, Source
from recorder.version import __version__

EVERY_S: Final = 1.0
HISTORY_S: Final = 120.0
"""Seconds between two looks at the past."""
RETRY_S: Final = 10.0
FIRST_LOOK_S: Final = 2.0
"""A page waits this long for the past, which the first time takes the reader's start; without it, it says so."""
VIEWERS: Final = 32
QUEUED: Final = 8
"""Messages that wait for a browser that does not read; it is dropped then, and comes back by itself."""
AT_ONCE: Final = 25
"""Pairs looked at in one go, half a millisecond; between, the loop does other things."""
SILENT: Final = 15
"""Seconds without a change after which a sign of life is sent."""
PARTS: Final = ("state", "gaps", "quarantine", "machine", "events")
"""The parts of the page besides the table of pairs and the calendar, each a template."""
PIECES: Final = 256
"""Pieces of a page rendered in one go, some ten pairs: so that a page of a thousand holds up nothing."""

log = structlog.get_logger()


class LiveOverview:
    """Shows ``source``. ``past`` asks the reader for the history; it raises RecorderError."""

    def __init__(
        self,
        source: Source,
        past: Callable[[], Awaitable[Mapping[str, Any]]],
        clock: Clock,
        reader: Callable[[], str],
    ) -> None:
        self._source = source
        self._past = past
        self._clock = clock
        self._reader = reader
        self._history = History()
        self._history_due_s = float("-inf")
        self._problem: str | None = None
        self._asking: asyncio.Task[None] | None = None
        self._viewers: set[asyncio.Queue[bytes | None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._cells: dict[str, dict[str, Any]] = {}
        self._parts: dict[str, str] = {}
        self._calendar = ""
        self._calendar_of: tuple[History, str | None] | None = None

    @property
    def viewers(self) -> int:
        """The number of open streams."""
        return len(self._viewers)

    async def page(self, **content: object) -> str:
        """Return the whole page."""
        await self._source.refresh()
        self._ask_past()
        if self._asking is not None and not self._history.day:
            await asyncio.wait({self._asking}, timeout=FIRST_LOOK_S)
        rows = [row async for row in self._rows()]
        parts = await self._rendered_parts()
        return await _rendered("overview.html", rows=rows, parts=parts, **content)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[asyncio.Queue[bytes | None]]:
        """Yield a queue of messages; None in it is its end, because it was not read in time."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUED)
        queue.put_nowait(_message({"rows": self._cells, "parts": self._parts}))
        self._viewers.add(queue)
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
        try:
            yield queue
        finally:
            self._viewers.discard(queue)

    async def close(self) -> None:
        """End all tasks."""
        for task in (self._ticking, self._asking):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    async def _tick(self) -> None:
        """Send what has changed until nobody looks any more."""
        quiet = 0
        while self._viewers:
            await self._source.refresh()
            self._ask_past()
            changed = await self._changes()
            quiet = 0 if changed else quiet + 1
            if changed:
                self._send(_message(changed))
            elif quiet % SILENT == 0:
                self._send(b":\n\n")
            await self._clock.sleep(EVERY_S)
        self._cells, self._parts = {}, {}

    async def _changes(self) -> dict[str, Any]:
        cells = {row.pair: row.cells() async for row in self._rows()}
        parts = await self._rendered_parts()
        rows = {pair: each for pair, each in cells.items() if self._cells.get(pair) != each}
        changed = {name: text for name, text in parts.items() if self._parts.get(name) != text}
        gone = [pair for pair in self._cells if pair not in cells]
        self._cells, self._parts = cells, parts
        found: dict[str, Any] = {"rows": rows} if rows else {}
        return {**found, **({"parts": changed} if changed else {}), **({"gone": gone} if gone else {})}

    def _send(self, message: bytes) -> None:
        for queue in list(self._viewers):
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                self._viewers.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)
                log.warning("a viewer of the page was dropped: it did not read", messages=QUEUED)

    async def _rows(self) -> AsyncIterator[PairRow]:
        for number, pair in enumerate(self._source.pairs()):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            yield self._source.row(pair, self._history)

    async def _rendered_parts(self) -> dict[str, str]:
        content = {"facts": self._source.facts(), "reader": self._reader(), "versions": _versions()}
        found = {name: await _rendered(f"parts/{name}.html", **content) for name in PARTS}
        shown = (self._history, self._problem)
        if self._calendar_of != shown:
            self._calendar, self._calendar_of = await self._rendered_calendar(), shown
        return {**found, "calendar": self._calendar}

    async def _rendered_calendar(self) -> str:
        return await _rendered(
            "parts/calendar.html",
            calendar=overview.worst_first(self._history.calendar),
            calendar_all=len(self._history.calendar),
            first_day=self._history.first_day,
            statuses=overview.STATUSES,
            stretches=overview.stretches,
            tally=overview.tally,
            problem=self._problem,
        )

    def _ask_past(self) -> None:
        """Ask for the past if it is time to; nobody waits for it."""
        if self._clock.monotonic() >= self._history_due_s and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._take_past())

    async def _take_past(self) -> None:
        try:
            self._history, self._problem = overview.history(await self._past()), None
            self._history_due_s = self._clock.monotonic() + HISTORY_S
        except RecorderError as error:
            self._problem = str(error)
            self._history_due_s = self._clock.monotonic() + RETRY_S


async def _rendered(template: str, **content: object) -> str:
    text = []
    for number, piece in enumerate(templates.pieces(template, **content), 1):
        text.append(piece)
        if number % PIECES == 0:
            await asyncio.sleep(0)
    return "".join(text)


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    libraries = (("pyarrow", "pyarrow"), ("DuckDB", "duckdb"), ("aiohttp", "aiohttp"))
    found = ((label, metadata.version(name)) for label, name in libraries)
    return ("recorder", __version__), ("Python", platform.python_version()), *found


def _message(content: Mapping[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
