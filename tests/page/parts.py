"""Parts of the page for its tests: a source of the overview, and readers that need no process."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from recorder.page.overview import EventRow, Facts, History, OpenGap, PairRow, SetAside
from recorder.page.reader_process import NoAnswer, ReaderProcess
from recorder.reader.__main__ import application
from recorder.reader.workers import Workers

HOSTILE = "<script>alert(1)</script>"


class Source:
    """Two pairs, and names that would do harm as markup."""

    def __init__(self) -> None:
        self.price = "97000.10"

    async def refresh(self) -> None:
        pass

    def pairs(self) -> Sequence[str]:
        return ["BTC/USD", HOSTILE]

    def row(self, pair: str, _: History) -> PairRow:
        return PairRow(pair, price=self.price, last_us=1_762_776_000_000_000, rate=12.34, gaps=1, missing=1234)

    def facts(self) -> Facts:
        gap = OpenGap(HOSTILE, 1, 1234, None, 1_762_776_000_000_000)
        fault = SetAside(HOSTILE, HOSTILE, HOSTILE, f"run `recorder verify {HOSTILE}`")
        event = EventRow(1_762_776_000_000_000, "hole_opened", HOSTILE, HOSTILE)
        return Facts(
            "waiting", [HOSTILE], "/data", "2025-11-10T12:00:00Z", [gap], 1, 1234, 2.0, [fault], 1, events=[event]
        )


class Asleep(ReaderProcess):
    """A reader that cannot be begun."""

    def __init__(self) -> None:
        """Need nothing."""

    @property
    def state(self) -> str:
        return "sleeping"

    @asynccontextmanager
    async def request(self, *_: Any, **__: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        raise NoAnswer("the reader could not be begun: no memory")
        yield


class Beside(ReaderProcess):
    """A reader in this process: no test of the page needs another one."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self._client = client

    @property
    def state(self) -> str:
        return "running"

    @asynccontextmanager
    async def request(
        self, method: str, url: Any, *, headers: Any = None, body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        address = f"http://reader{url.raw_path_qs}"
        async with self._client.request(method, address, headers=headers, data=body) as response:
            yield response


@asynccontextmanager
async def beside(data: Path) -> AsyncIterator[Beside]:
    """Answer questions about the archive at ``data`` in this process."""
    workers = Workers(data)
    runner = web.AppRunner(application(data, workers), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        with tempfile.TemporaryDirectory() as folder:
            address = f"{folder}/socket"
            await web.UnixSite(runner, address).start()
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(address)) as client:
                yield Beside(client)
    finally:
        await runner.cleanup()
        workers.close()
