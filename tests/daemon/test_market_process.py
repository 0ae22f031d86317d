"""The supervisor of the process that records quotes, over small programs in its place."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from recorder.config import BooksConfig, Config, ExchangeConfig, QuotesConfig
from recorder.daemon import child_messages, child_process
from recorder.daemon.child_messages import State
from recorder.daemon.child_process import LIMIT_BYTES, LOOK_S, SILENT_S, STOP_S
from recorder.daemon.market_process import LOOK_AFTER_S, MarketProcess
from recorder.errors import UnlistedFolder
from tests.clocks import settle
from tests.end_to_end.harness import until
from tests.fakes import Fakes

ALIVE = """
import json, os, signal, sys
first = sys.stdin.readline()
print(json.dumps({"pairs": 7, "metrics": "recorder_market_frames_total 5\\n"}), flush=True)
"""
WAITS = ALIVE + "for line in sys.stdin: pass\n"
DEAF = ALIVE + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('{}', flush=True)\nsignal.pause()\n"
SECRET = "http://me:secret-secret@proxy:3128"


def config(*pairs: str) -> Config:
    return Config(quotes=QuotesConfig(pairs=pairs), exchange=ExchangeConfig(proxy=SECRET))


class Bench(Fakes):
    """A supervisor of ``program``, and the processes that it began."""

    def __init__(self, program: str, *pairs: str, left: bool = False) -> None:
        super().__init__()
        self.begun: list[asyncio.subprocess.Process] = []
        self.size = 0
        command = (sys.executable, "-S", "-E", "-c", program)
        self.market = MarketProcess(
            config(*pairs), self.context, has_work=lambda: left, command=command, memory=lambda _: self.size
        )

    @property
    def about(self) -> dict[str, Any]:
        assert self.market.about is not None
        return self.market.about

    async def alive(self, number: int = 1) -> None:
        await until(lambda: len(self.begun) >= number and self.about["pairs"] == 7, what="a sign of life")

    async def ended(self, number: int = 1) -> dict[str, Any]:
        """Return the event of an end, once there is one."""
        await until(lambda: self.about["ends"] >= number, what="an end")
        await settle()
        return self.noted("process_ended")[-1]


@pytest.fixture
def bench_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., contextlib.AbstractAsyncContextManager[Bench]]:
    begin = asyncio.create_subprocess_exec

    @contextlib.asynccontextmanager
    async def opened(program: str, *pairs: str, left: bool = False) -> AsyncIterator[Bench]:
        bench = Bench(program, *pairs, left=left)

        async def noted(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
            bench.begun.append(await begin(*arguments, **options))
            return bench.begun[-1]

        monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
        running = asyncio.create_task(bench.market.run())
        try:
            yield bench
        finally:
            running.cancel()
            await asyncio.wait([running])
            assert all(one.returncode is not None for one in bench.begun)

    return opened


Opened = Callable[..., contextlib.AbstractAsyncContextManager[Bench]]


async def test_its_end_is_an_event_and_it_is_begun_again_after_growing_waits(bench_of: Opened) -> None:
    async with bench_of("import sys; sys.exit(4)", "*") as bench:
        first = await bench.ended()
        assert (first["process"], first["exit_code"], first["retry_s"]) == ("market", 4, 1)
        bench.clock.move(1)
        assert (await bench.ended(2))["retry_s"] == 2
        bench.clock.move(2)
        assert (await bench.ended(3))["retry_s"] == 4
        assert bench.value("recorder_market_ends_total") == 3
    async with bench_of("import os; os.kill(os.getpid(), 9)", "*") as bench:
        assert (await bench.ended())["signal"] == "SIGKILL"


async def test_one_that_hangs_or_grows_is_killed_and_the_event_says_why(bench_of: Opened) -> None:
    async with bench_of(WAITS, "*") as bench:
        await bench.alive()
        for _ in range(int(SILENT_S / LOOK_S)):
            assert bench.about["ends"] == 0
            bench.clock.move(LOOK_S)
            await settle()
        bench.clock.move(LOOK_S)
        assert (await bench.ended())["reason"] == "it gave no sign of life for 65 s"
        bench.clock.move(1)
        await bench.alive(2)
        bench.size = LIMIT_BYTES + 1_000_000
        bench.clock.move(LOOK_S)
        end = await bench.ended(2)
        assert (end["signal"], end["reason"]) == ("SIGKILL", "it took 538 MB of memory, of 537")


async def test_it_is_told_its_configuration_by_a_pipe_and_nothing_else_tells_it(
    bench_of: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORDER_OPS__TOKEN", "token-of-sixteen-letters")
    told = tmp_path / "told"
    program = ALIVE + (
        f"said = open({str(told)!r}, 'w', buffering=1)\n"
        "said.write(json.dumps([sys.argv, sorted(os.environ)]) + '\\n' + first)\n"
        "for line in sys.stdin: said.write(line)\n"
    )
    async with bench_of(program, "*/USD") as bench:
        await bench.alive()
        bench.market.want(config("BTC/USD"))
        await until(lambda: told.exists() and told.read_text().count("\n") == 3, what="both configurations")
        surroundings, *configs = told.read_text().splitlines()
        assert "secret" not in surroundings
        assert "RECORDER_" not in surroundings
        read = [child_messages.decode_config(line.encode()) for line in configs]
        assert [one.quotes.pairs for one in read] == [("*/USD",), ("BTC/USD",)]
        assert {one.exchange.proxy for one in read} == {SECRET}
        assert "token" not in "".join(configs)
        assert (bench.about["running"], bench.metrics.beside) == (True, "recorder_market_frames_total 5\n")
        assert bench.metrics.text().endswith(b"recorder_market_frames_total 5\n")


async def test_it_is_asked_to_end_for_as_long_as_something_else_needs_the_room(bench_of: Opened) -> None:
    async with bench_of(WAITS, "*") as bench:
        await bench.alive()
        bench.market.hold(waits=True)
        await until(lambda: bench.begun[0].returncode == -15, what="its end")
        await until(lambda: not bench.about["running"], what="a note of it")
        assert (bench.about["held"], bench.about["ends"], len(bench.begun)) == (True, 0, 1)
        bench.market.hold(waits=False)
        await bench.alive(2)
        bench.market.want(config())
        await until(lambda: bench.begun[1].returncode == -15, what="its end: no pair is left")
        assert bench.market.about is None


async def test_books_are_left_out_of_what_it_is_told_while_the_disk_has_little_room(
    bench_of: Opened, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    program = ALIVE + (
        f"said = open({str(told)!r}, 'w', buffering=1)\nsaid.write(first)\nfor line in sys.stdin: said.write(line)\n"
    )
    async with bench_of(program, "*") as bench:
        both = config("*").model_copy(update={"books": BooksConfig(pairs=("SOL/USD",))})
        bench.market.want(both)
        await until(lambda: told.exists() and "SOL/USD" in told.read_text(), what="books")
        bench.market.hold_books(waits=True)
        assert bench.about["books_held"]
        await until(lambda: "SOL/USD" not in told.read_text().splitlines()[-1], what="no books")
        bench.market.hold_books(waits=False)
        await until(lambda: "SOL/USD" in told.read_text().splitlines()[-1], what="books again")
        read = [child_messages.decode_config(line.encode()) for line in told.read_text().splitlines()]
        assert all(one.quotes.pairs == ("*",) for one in read)
    async with bench_of(ALIVE) as bench:
        bench.market.hold_books(waits=True)
        bench.market.want(config().model_copy(update={"books": BooksConfig(pairs=("SOL/USD",))}))
        await settle()
        assert bench.begun == [], "there is nothing to record"
        assert bench.about["books_held"]


async def test_one_that_does_not_end_when_asked_is_killed(bench_of: Opened) -> None:
    async with bench_of(DEAF, "*") as bench:
        await bench.alive()
        sleepers = bench.clock.sleepers
        bench.market.stop()
        await until(lambda: bench.clock.sleepers > sleepers, what="a wait for its end")
        bench.clock.move(STOP_S)
        await until(lambda: bench.begun[0].returncode == -9, what="its end")
        assert bench.noted("process_ended") == []


async def test_what_an_earlier_run_left_is_looked_after_once_a_day_although_no_quotes_are_recorded(
    bench_of: Opened,
) -> None:
    async with bench_of(ALIVE, left=True) as bench:
        await until(lambda: bool(bench.begun) and bench.begun[0].returncode == 0, what="its end")
        await settle()
        assert (bench.noted("process_ended"), len(bench.begun)) == ([], 1)
        bench.clock.move(LOOK_AFTER_S)
        await until(lambda: len(bench.begun) == 2 and bench.begun[1].returncode == 0, what="the next day's")
    async with bench_of(ALIVE, left=False) as bench:
        await settle()
        assert bench.begun == []


async def test_a_journal_that_cannot_be_looked_into_ends_nothing(fakes: Fakes) -> None:
    def refused() -> bool:
        raise UnlistedFolder("journal_market", "Permission denied")

    market = MarketProcess(config(), fakes.context, has_work=refused)
    running = asyncio.create_task(market.run())
    market.stop()
    await running


async def test_its_log_is_in_the_log_and_so_is_what_it_says_when_it_breaks(bench_of: Opened) -> None:
    line = json.dumps({"event": "recording", "level": "warning", "timestamp": "x", "pair": "BTC/USD"})
    program = f"import sys; print({line!r}, file=sys.stderr); print('Fatal error: odd', file=sys.stderr); sys.exit(1)"
    with structlog.testing.capture_logs() as said:
        async with bench_of(program, "*") as bench:
            await bench.ended()
    assert said[:2] == [
        {"event": "recording", "log_level": "warning", "pair": "BTC/USD", "process": "market"},
        {"event": "Fatal error: odd", "log_level": "error", "process": "market"},
    ]


def test_a_state_is_read_as_it_was_written() -> None:
    state = State(3, "a 1\nb 2\n")
    assert child_messages.decode_state(child_messages.encode_state(state)) == state


def test_memory_is_what_the_process_has_alone() -> None:
    own = child_process.resident_bytes(1) if sys.platform == "linux" else None
    assert own is None or own > 0
    assert child_process.resident_bytes(2**22 + 1) is None
