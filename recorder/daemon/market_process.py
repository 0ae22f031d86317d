"""The process that records quotes and books, as seen from the recorder: begun, watched, told of changes, begun again.

It is a process of its own because Python runs one thread at a time: beside these, which come far more often, trades
would wait for each step of the work on them. Its end, whatever the reason, is an event and never the recorder's end.

Kept from the loop of trades: nothing here waits for the process. What is sent to it is a line in a pipe's buffer; what
it holds locked while it is stopped, it loses within a minute, because one that gives no sign of life is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from recorder.archive.datasets import BOOKS_JOURNAL, MARKET_JOURNAL, SCHEMA_FILE, written_by
from recorder.archive.layout import Layout
from recorder.config import Config
from recorder.core.backoff import GrowingDelay
from recorder.core.event_kinds import EventKind
from recorder.daemon import child_messages
from recorder.disk import undisturbed
from recorder.errors import RecorderError
from recorder.journal.live_read import has_lines
from recorder.runtime.context import Context
from recorder.runtime.waiting import first_of

COMMAND: Final = (sys.executable, "-m", "recorder.market")
NAME: Final = "market"
"""What the process is called in the log and in events."""
FIRST_S: Final = 1.0
LAST_S: Final = 300.0
"""It is begun again after 1 s, 2 s, 4 s, … 5 min: a start reads footers and the listing."""
LOOK_AFTER_S: Final = 86_400.0
"""How often it is begun to look after files of quotes while none are recorded."""
WORKED_S: Final = 600.0
"""After running this long its end counts as the first."""
LOOK_S: Final = 5.0
SILENT_S: Final = 60.0
"""It tells its state every five seconds. One that does not for this long hangs or was stopped; it may hold the lock of
a table that the recorder writes to as well, so it is killed."""
LIMIT_BYTES: Final = 512 * 1024 * 1024
"""Memory at which it is killed, several times of what it takes with all pairs. Measured, and not a limit of the
system's: address space is no measure of memory here, and an allocation that fails aborts in the middle of a write."""
STOP_S: Final = 60.0
"""Time to drain after a request to stop, before it is killed; the rest is drained at the next start."""
END_S: Final = 5.0
"""Time to end after its standard input was closed, for one group commit."""

log = structlog.get_logger()


class MarketProcess:
    """Runs the process while the configuration names pairs of quotes or books, and nothing holds it back."""

    def __init__(
        self,
        config: Config,
        context: Context,
        *,
        has_work: Callable[[], bool] = lambda: False,
        command: Sequence[str] = COMMAND,
        memory: Callable[[int], int | None] | None = None,
    ) -> None:
        """Begin with ``config``. ``has_work`` returns whether an earlier run left anything to look after; it blocks."""
        self._configured = self._config = config
        self._books_held = False
        self._notes = context.notes
        self._metrics = context.metrics
        self._clock = context.clock
        self._has_work = has_work
        self._command = command
        self._memory = memory or resident_bytes
        self._held = self._stopping = self._asked = False
        self._changed = asyncio.Event()
        self._reason: str | None = None
        self._heard_s = 0.0
        self._pid: int | None = None
        self._pairs = self._books = self._ends = 0
        self._metrics.market_running.set_function(lambda: self._pid is not None)

    def want(self, config: Config) -> None:
        """Record by this configuration from now on."""
        self._configured = config
        self._choose()

    def hold_books(self, *, waits: bool) -> None:
        """Record no books while the disk has little room, though enough for quotes."""
        if waits != self._books_held:
            self._books_held = waits
            self._choose()

    def _choose(self) -> None:
        """Choose by which configuration the process records."""
        books = self._configured.books.model_copy(update={"pairs": ()})
        self._config = self._configured.model_copy(update={"books": books}) if self._books_held else self._configured
        self._changed.set()

    def hold(self, *, waits: bool) -> None:
        """End the process while something is more important, such as room for trades on the disk."""
        self._held = waits
        self._changed.set()

    def stop(self) -> None:
        """Make :meth:`run` return, once the process has drained."""
        self._stopping = True
        self._changed.set()

    @property
    def about(self) -> dict[str, object] | None:
        """What there is to say of it; None if neither quotes nor books are to be recorded."""
        if not _names_pairs(self._configured):
            return None
        return {
            "running": self._pid is not None,
            "held": self._held,
            "pairs": self._pairs,
            "books": self._books,
            "books_held": self._books_held and bool(self._configured.books.pairs),
            "ends": self._ends,
        }

    async def run(self) -> None:
        """Run the process whenever it is wanted, until :meth:`stop`. If cancelled, end it without a drain.

        While neither is recorded, it is begun once a day, to look after what earlier runs left.
        """
        delay = GrowingDelay(FIRST_S, LAST_S)
        due_s, left = self._clock.monotonic(), False
        while not self._stopping:
            if not _names_pairs(self._config) and self._clock.monotonic() >= due_s:
                due_s = self._clock.monotonic() + LOOK_AFTER_S
                left = await asyncio.to_thread(self._leaves_work)
            if not (self._wanted or (left and not self._held)):
                self._changed.clear()
                await first_of(self._changed.wait(), self._clock.sleep(LOOK_AFTER_S))
                continue
            started_s = self._clock.monotonic()
            code = await self._lifetime()
            if code is None or (left and code == 0):
                left = False
                continue
            if self._clock.monotonic() - started_s >= WORKED_S:
                delay.reset()
            retry_s = delay.failed()
            await self._report(code, retry_s)
            await first_of(self._clock.sleep(retry_s), self._until(lambda: self._stopping))

    def _leaves_work(self) -> bool:
        try:
            return self._has_work()
        except RecorderError as error:
            log.error("quotes of earlier runs not looked after", reason=str(error))
            return False

    @property
    def _wanted(self) -> bool:
        return _names_pairs(self._config) and not self._held and not self._stopping

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._changed.clear()
            await self._changed.wait()

    async def _report(self, code: int, retry_s: float) -> None:
        detail: dict[str, Any] = {"process": NAME}
        if code < 0:
            detail["signal"] = _signal_name(-code)
        else:
            detail["exit_code"] = code
        if self._reason is not None:
            detail["reason"] = self._reason
        self._ends += 1
        self._metrics.market_ends.inc()
        log.error("the process that records quotes ended", **detail, retry_in_s=retry_s)
        await self._notes.event(EventKind.PROCESS_ENDED, **detail, retry_s=retry_s)

    async def _lifetime(self) -> int | None:
        """Run the process once; return its exit code, negative for a signal; None if it was asked to end."""
        self._reason, self._asked, self._heard_s = None, False, self._clock.monotonic()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=child_messages.LINE_BYTES,
                start_new_session=True,  # Ctrl-C is for the recorder, which asks it to stop
                env=child_messages.environment(os.environ),
            )
        except OSError as error:
            self._reason = f"it could not be begun: {error.strerror}"
            return 1
        self._pid = process.pid
        beside = [asyncio.create_task(self._instruct(process)), asyncio.create_task(self._watch(process))]
        reading = [asyncio.create_task(self._states(process)), asyncio.create_task(_relay(process))]
        try:
            code = await process.wait()
            await asyncio.wait(reading, timeout=1.0)
        finally:
            self._pid, self._metrics.beside, self._pairs, self._books = None, "", 0, 0
            for one in (*beside, *reading):
                one.cancel()
            await _end(process)
            await asyncio.wait([*beside, *reading])
        return None if self._asked else code

    async def _instruct(self, process: Process) -> None:
        """Tell the process each configuration; ask it to end when it is not wanted any more, and see to it."""
        sent, stdin = None, process.stdin
        assert stdin is not None
        while self._wanted or not (sent or _names_pairs(self._config) or self._stopping):
            if sent is not self._config:
                sent = self._config
                stdin.write(child_messages.encode_config(sent))
            self._changed.clear()
            await self._changed.wait()
        self._asked = True
        _signal(process, signal.SIGTERM)
        await self._clock.sleep(STOP_S)
        log.warning("the process that records quotes is killed: it did not end in time", after_s=STOP_S)
        _signal(process, signal.SIGKILL)

    async def _watch(self, process: Process) -> None:
        """Kill the process when it hangs or takes too much memory."""
        while self._reason is None:
            await self._clock.sleep(LOOK_S)
            size, silent_s = self._memory(process.pid), self._clock.monotonic() - self._heard_s
            if size is not None and size > LIMIT_BYTES:
                self._reason = f"it took {size / 1e6:,.0f} MB of memory, of {LIMIT_BYTES / 1e6:,.0f}"
            elif silent_s > SILENT_S:
                self._reason = f"it gave no sign of life for {silent_s:.0f} s"
        _signal(process, signal.SIGKILL)

    async def _states(self, process: Process) -> None:
        async def take(line: bytes) -> None:
            with contextlib.suppress(msgspec.DecodeError):
                state = child_messages.decode_state(line)
                self._heard_s = self._clock.monotonic()
                self._pairs, self._books, self._metrics.beside = state.pairs, state.books, state.metrics

        await _each_line(process.stdout, take)


def leaves_work(layout: Layout) -> bool:
    """Return whether the process must run although it records nothing: to archive what is journalled, or for files.

    Raises UnlistedFolder, StorageError.
    """

    def has_files() -> bool:
        branches = (branch for name in names for dataset in written_by(name) for branch in layout.branches(dataset))
        return any(path.name != SCHEMA_FILE for branch in branches for path in layout.files(branch))

    names = (MARKET_JOURNAL, BOOKS_JOURNAL)
    has_left = any(has_lines(layout.journal_dir(name)) for name in names)
    return has_left or undisturbed(has_files, "the files of quotes and books")


def _names_pairs(config: Config) -> bool:
    return bool(config.quotes.pairs or config.books.pairs)


async def _relay(process: Process) -> None:
    """Print the log of the process in the recorder's own."""

    async def say(line: bytes) -> None:
        level, event, fields = child_messages.log_line(line)
        getattr(log, level)(event, **{**fields, "process": NAME})

    await _each_line(process.stderr, say)


async def _each_line(stream: asyncio.StreamReader | None, take: Callable[[bytes], Awaitable[None]]) -> None:
    assert stream is not None
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than the limit: nothing that we know
            continue
        if not line:
            return
        await take(line)


async def _end(process: Process) -> None:
    """End the process, if it still runs, without a drain."""
    if process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), END_S)
        return
    _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def resident_bytes(pid: int) -> int | None:
    """Return the memory that a process takes alone; None where the system does not tell, as only Linux does."""
    try:
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_bytes().split())
    except (OSError, ValueError):
        return None
    return (resident - shared) * resource.getpagesize()
