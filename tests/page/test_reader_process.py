"""The process that answers questions, as its parent sees it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from recorder.page.reader_process import IDLE_S, LIMIT_BYTES, LOOK_S, NoAnswer, ReaderProcess
from tests.archives import trades, writing
from tests.clocks import ManualClock

ANSWERS = (
    sys.executable,
    "-c",
    """
import os, socket, sys, threading
listener = socket.socket(fileno=int(sys.argv[2]))
def serve():
    while True:
        peer, _ = listener.accept()
        path = peer.recv(4096).split()[1]
        if path == b"/die":
            os._exit(7)
        body = str(os.getpid()).encode()
        peer.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
        peer.close()
threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
""",
)
"""A process that answers with its number, and ends when its standard input does: begun in a fraction of the time."""


class Bench:
    def __init__(self) -> None:
        self.clock, self.size = ManualClock(), 0
        self.reader = ReaderProcess(Path("data"), self.clock, command=ANSWERS, memory=lambda _: self.size)

    async def get(self, path: str = "/") -> str:
        async with self.reader.request("GET", URL(path)) as answer:
            return await answer.text()

    async def until_asleep(self) -> None:
        async with asyncio.timeout(30):
            while self.reader.state == "running":
                self.clock.move(LOOK_S)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def supervised() -> AsyncIterator[Bench]:
    bench = Bench()
    async with bench.reader:
        yield bench


async def test_it_begins_with_the_first_question_and_ends_when_it_is_idle() -> None:
    async with supervised() as bench:
        assert (bench.reader.state, bench.reader.pid) == ("sleeping", None)
        first = await bench.get()
        assert first == await bench.get() == str(bench.reader.pid)
        bench.clock.move(IDLE_S)
        await bench.until_asleep()
        assert bench.reader.state == "sleeping"
        assert await bench.get() != first
    with pytest.raises(ProcessLookupError):
        os.kill(int(first), 0)


async def test_its_end_is_one_answer_and_it_begins_again_after_a_pause() -> None:
    async with supervised() as bench:
        with pytest.raises(NoAnswer, match="the reader ended"):
            await bench.get("/die")
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await bench.get()
                    break
                except NoAnswer as error:
                    assert "with code 7" in str(error)  # noqa: PT017 -- an answer may come at once
                    bench.clock.move(1.0)
                    await asyncio.sleep(0.01)


async def test_one_that_takes_too_much_memory_is_killed_with_the_reason() -> None:
    async with supervised() as bench:
        first = await bench.get()
        bench.size = LIMIT_BYTES + 1
        async with asyncio.timeout(30):
            while True:
                bench.clock.move(LOOK_S)
                try:
                    if await bench.get() != first:
                        break
                except NoAnswer as error:
                    assert "MB of memory" in str(error)  # noqa: PT017 -- likewise
                    bench.size = 0
                await asyncio.sleep(0.01)


async def test_a_command_that_is_not_there_is_a_sentence() -> None:
    reader = ReaderProcess(Path("data"), ManualClock(), command=("/no/such/program",))
    async with reader:
        for _ in range(2):
            with pytest.raises(NoAnswer, match="could not be begun"):
                async with reader.request("GET", URL("/")):
                    pass


async def test_the_real_one_answers_from_the_archive(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as written:
        written.append(trades(1, 3))
        reader = ReaderProcess(written.data, ManualClock())
        async with reader, reader.request("GET", URL("/api/v1/pairs")) as answer:
            found: dict[str, Any] = await answer.json()
    assert [one["rows"] for one in found["pairs"]] == [3]
