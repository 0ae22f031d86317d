"""The threads in which questions are answered: two at once, each with an archive of its own, and ten seconds for each.

A question that takes longer is interrupted, and the thread goes on with the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from recorder.errors import RecorderError
from recorder.query.connect import Archive, connect_confined

AT_ONCE: Final = 2
"""Questions answered at once: two cores, of which the recorder needs one."""
WAITING: Final = 6
"""Questions that wait for their turn; more are refused, because whoever asked will have left."""
LIMIT_S: Final = 10.0
"""Time of one question."""
MEMORY: Final = "160MB"
"""Memory of DuckDB for each of the two; beyond it DuckDB spills to the system's temporary folder."""

_Answer = TypeVar("_Answer")


class TooLong(RecorderError):
    """A question was interrupted, because it took longer than its limit."""


class Busy(RecorderError):
    """A question was refused, because too many wait."""


class _Worker:
    """One thread with its archive, opened with the first question."""

    def __init__(self, data: Path, number: int) -> None:
        self._data = data
        self._archive: Archive | None = None
        self._thread = ThreadPoolExecutor(1, f"question-{number}")

    async def answer(self, question: Callable[[Archive], _Answer], limit_s: float) -> _Answer:
        """Return the answer. Raises TooLong, and what the question raises."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._run, question)
        try:
            done, _ = await asyncio.wait({running}, timeout=limit_s)
        except asyncio.CancelledError:  # whoever asked has left
            await self._end(running)
            raise
        if not done:
            await self._end(running)
            raise TooLong(f"it took longer than {limit_s:g} s: ask for a shorter range, or for fewer pairs")
        return running.result()

    async def _end(self, running: asyncio.Future[_Answer]) -> None:
        while not running.done():
            if self._archive is not None:
                self._archive.interrupt()
            # Interrupting between two statements does nothing, so it is repeated.
            await asyncio.wait({running}, timeout=0.2)
        running.exception()  # it is of no interest any more

    def _run(self, question: Callable[[Archive], _Answer]) -> _Answer:
        try:
            if self._archive is None:
                self._archive = connect_confined(self._data, threads=1, memory=MEMORY)
            return question(self._archive)
        except KeyboardInterrupt:  # what an interrupted query raises; in a task it would end the loop
            raise TooLong("it was interrupted") from None

    def close(self) -> None:
        if self._archive is not None:
            self._thread.submit(self._archive.close)
        self._thread.shutdown()


class Workers:
    """Answers questions about the archive at ``data``."""

    def __init__(self, data: Path, *, at_once: int = AT_ONCE, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._waiting = 0
        self._all = [_Worker(data, number) for number in range(at_once)]
        self._free: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        for worker in self._all:
            self._free.put_nowait(worker)

    async def answer(self, question: Callable[[Archive], _Answer]) -> _Answer:
        """Return the answer to a question, asked in another thread. Raises Busy, TooLong, and what it raises."""
        async with self._worker() as worker:
            return await worker.answer(question, self._limit_s)

    @contextlib.asynccontextmanager
    async def _worker(self) -> AsyncIterator[_Worker]:
        if self._waiting >= WAITING:
            raise Busy(f"{WAITING} questions wait already: try again in some seconds")
        self._waiting += 1
        try:
            worker = await self._free.get()
        finally:
            self._waiting -= 1
        try:
            yield worker
        finally:
            self._free.put_nowait(worker)

    def close(self) -> None:
        """End the threads, once they have answered."""
        for worker in self._all:
            worker.close()
