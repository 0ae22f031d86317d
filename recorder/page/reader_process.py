"""The process that answers questions about the archive, as seen from the recorder: begun at the first question.

It is a process of its own so that the recorder needs neither DuckDB nor pandas, and so that a question can take no time
and no memory from recording. The socket is listened at here, before it begins: a question waits until it is ready. It
is ended after some idle minutes, or when it hangs or takes too much memory, and begun again with the next question.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
import structlog
from yarl import URL

from recorder.clock import Clock
from recorder.core.backoff import GrowingDelay
from recorder.daemon import child_messages, child_process
from recorder.errors import RecorderError

COMMAND: Final = (sys.executable, "-m", "recorder.reader")
NAME: Final = "reader"
"""What the process is called in the log."""
IDLE_S: Final = 300.0
"""It ends this long after the last question; it begins again in a third of a second."""
LIMIT_BYTES: Final = 512 * 1024 * 1024
"""Memory at which it is killed. It begins with some 90 MB, and DuckDB may take 160 MB for each of two questions."""
LOOK_S: Final = 1.0
ANSWER_S: Final = 45.0
"""A question takes ten seconds at most, and waits for at most six others, two of which are answered at once. A process
that has not begun to answer by then hangs, and is killed."""
END_S: Final = 3.0
"""Time to end after its standard input was closed."""
FIRST_S: Final = 1.0
LAST_S: Final = 60.0
"""If it ends by itself, it is begun again after 1 s, 2 s, … 1 min at the earliest."""
WORKED_S: Final = 60.0
"""After running this long its end counts as the first."""

log = structlog.get_logger()


class NoAnswer(RecorderError):
    """The process could not answer: its text says why, and what to do."""


@dataclass(slots=True)
class _Running:
    """A process, the client of its socket, and the folder of that socket."""

    process: Process
    client: aiohttp.ClientSession
    folder: Path
    watching: asyncio.Task[None]
    relaying: asyncio.Task[None]


class ReaderProcess:
    """Answers requests about the archive at ``data``; a context, which ends the process."""

    def __init__(
        self,
        data: Path,
        clock: Clock,
        *,
        command: Sequence[str] = COMMAND,
        memory: Callable[[int], int | None] = child_process.resident_bytes,
    ) -> None:
        self._data = data
        self._clock = clock
        self._command = command
        self._memory = memory
        self._running: _Running | None = None
        self._starting = asyncio.Lock()
        self._open = 0
        self._last_s = 0.0
        self._delay = GrowingDelay(FIRST_S, LAST_S)
        self._not_before_s = 0.0
        self._reason: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def pid(self) -> int | None:
        """The process, if it runs."""
        return None if self._running is None else self._running.process.pid

    @property
    def state(self) -> str:
        """What it is doing, in words."""
        if self._running is not None and self._running.process.returncode is None:
            return "running"
        return "sleeping" if self._reason is None else f"ended: {self._reason}"

    @contextlib.asynccontextmanager
    async def request(
        self, method: str, url: URL, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the response to a request, begun but not read. Raises NoAnswer."""
        running = await self._begun()
        self._open += 1
        try:
            request = running.client.request(method, _address(url), headers=headers, data=body, allow_redirects=False)
            try:
                response = await asyncio.wait_for(request, ANSWER_S)
            except TimeoutError:
                self._kill(running.process, f"it has not answered for {ANSWER_S:.0f} s")
                raise NoAnswer("the reader hung, and was ended: ask again") from None
            except aiohttp.ClientError:
                await asyncio.wait({running.watching}, timeout=END_S)  # it says why
                raise NoAnswer(f"the reader ended ({self._reason or 'it was killed'}): ask again") from None
            async with response:
                yield response
        finally:
            self._open -= 1
            self._last_s = self._clock.monotonic()

    async def close(self) -> None:
        """End the process, if it runs."""
        async with self._starting:
            if self._running is not None:
                await self._end(self._running)

    async def _begun(self) -> _Running:
        async with self._starting:
            if self._running is not None and self._running.process.returncode is None:
                return self._running
            if self._running is not None:
                await asyncio.wait({self._running.watching})  # it says why it ended, and when it may begin again
                await self._end(self._running)
            wait_s = self._not_before_s - self._clock.monotonic()
            if wait_s > 0:
                raise NoAnswer(f"the reader ended ({self._reason}), and begins again in {wait_s:.0f} s")
            self._running = await self._begin()
            return self._running

    async def _begin(self) -> _Running:
        folder = Path(tempfile.mkdtemp(prefix="recorder-reader-"))  # for its owner alone
        address = str(folder / "socket")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                listener.bind(address)
                listener.listen(128)
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    str(self._data),
                    str(listener.fileno()),
                    stdin=PIPE,
                    stdout=DEVNULL,
                    stderr=PIPE,
                    limit=child_messages.LINE_BYTES,
                    pass_fds=(listener.fileno(),),
                    start_new_session=True,  # Ctrl-C is for the recorder
                    env=child_messages.environment(os.environ),
                )
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._failed(f"it could not be begun: {error.strerror}")
            raise NoAnswer(f"the reader could not be begun: {error.strerror}") from error
        client = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(address, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._reason, self._last_s = None, self._clock.monotonic()
        watching = asyncio.create_task(self._watch(process))
        return _Running(process, client, folder, watching, asyncio.create_task(child_process.relay(process, NAME)))

    async def _watch(self, process: Process) -> None:
        """Wait for the end of the process; end it when it is idle or too large."""
        since_s = self._clock.monotonic()
        waiting = asyncio.create_task(process.wait())
        try:
            while not waiting.done():
                looking = asyncio.ensure_future(self._clock.sleep(LOOK_S))
                await asyncio.wait({waiting, looking}, return_when=asyncio.FIRST_COMPLETED)
                looking.cancel()
                if waiting.done():
                    break
                if reason := child_process.too_large(self._memory(process.pid), LIMIT_BYTES):
                    self._kill(process, reason)
                elif not self._open and self._clock.monotonic() - self._last_s >= IDLE_S:
                    idle = asyncio.create_task(self._end_if_idle())  # which ends this task
                    await asyncio.wait({idle})
            if self._clock.monotonic() - since_s >= WORKED_S:
                self._delay.reset()
            self._failed(self._reason or f"with code {process.returncode}")
        finally:
            waiting.cancel()

    async def _end_if_idle(self) -> None:
        async with self._starting:
            if self._running is not None and not self._open:
                self._delay.reset()
                await self._end(self._running)

    def _kill(self, process: Process, reason: str) -> None:
        self._reason = reason
        child_process.send_signal(process, signal.SIGKILL)

    def _failed(self, reason: str) -> None:
        self._reason = reason
        retry_s = self._delay.failed()
        self._not_before_s = self._clock.monotonic() + retry_s
        log.error("the reader ended", reason=reason, retry_in_s=retry_s)

    async def _end(self, running: _Running) -> None:
        """End a process, whether it still runs or not, and remove what it left."""
        self._running = None
        for task in (running.watching, running.relaying):
            task.cancel()
        await asyncio.wait({running.watching, running.relaying})
        await child_process.end(running.process, END_S)
        await running.client.close()
        shutil.rmtree(running.folder, ignore_errors=True)


def _address(url: URL) -> URL:
    """Return the address of a request at the reader: the same path and question, written as they came."""
    return URL.build(scheme="http", host="reader", path=url.raw_path, query_string=url.raw_query_string, encoded=True)
