"""A process beside the recorder, as seen from it: begun, watched, told of changes, killed when it hangs.

Its end, whatever the reason, is an event and never the recorder's end. Nothing here waits for the process: what is sent
to it is a line in a pipe's buffer, and what it holds locked while it is stopped, it loses within a minute, because one
that gives no sign of life is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
import structlog

from recorder.config import Config
from recorder.core.event_kinds import EventKind
from recorder.daemon import child_messages
from recorder.daemon.child_messages import State
from recorder.runtime.context import Context

FIRST_S: Final = 1.0
LAST_S: Final = 300.0
"""It is begun again after 1 s, 2 s, 4 s, … 5 min: a start reads footers and the listing."""
WORKED_S: Final = 600.0
"""After running this long its end counts as the first."""
LOOK_S: Final = 5.0
SILENT_S: Final = 60.0
"""It tells its state every five seconds. One that does not for this long hangs or was stopped; it may hold a lock that
others need, so it is killed."""
LIMIT_BYTES: Final = 512 * 1024 * 1024
"""Memory at which it is killed, several times of what it takes with all pairs. Measured, and not a limit of the
system's: address space is no measure of memory here, and an allocation that fails aborts in the middle of a write."""
STOP_S: Final = 60.0
"""Time to drain after a request to stop, before it is killed; the rest is drained at the next start."""
END_S: Final = 5.0
"""Time to end after its standard input was closed, for one group commit."""

log = structlog.get_logger()


class ChildProcess(ABC):
    """Runs a process while the configuration wants it and nothing holds it back; subclasses decide when to begin it."""

    name: ClassVar[str]
    """What the process is called in the log and in events."""
    keeps_key: ClassVar[bool] = False
    """Whether it gets the variables with the key of an account."""

    def __init__(
        self,
        config: Config,
        context: Context,
        *,
        command: Sequence[str],
        memory: Callable[[int], int | None] | None = None,
    ) -> None:
        self._config = config
        self._notes = context.notes
        self._clock = context.clock
        self._command = command
        self._memory = memory or resident_bytes
        self._held = self._stopping = self._requested = False
        self._changed = asyncio.Event()
        self._reason: str | None = None
        self._heard_s = 0.0
        self._pid: int | None = None
        self._ends = 0

    @abstractmethod
    async def run(self) -> None:
        """Run the process whenever it is wanted, until :meth:`stop`. If cancelled, end it without a drain."""

    @property
    @abstractmethod
    def about(self) -> dict[str, object] | None:
        """What the recorder knows of it, for its status; None if there is to be none."""

    @property
    @abstractmethod
    def _configured(self) -> bool:
        """Whether the configuration wants the process."""

    @abstractmethod
    def _log_end(self, **detail: object) -> None: ...

    @abstractmethod
    def _log_kill(self, *, after_s: float) -> None: ...

    def _count_end(self) -> None:  # noqa: B027 -- a hook: not every process is counted
        """Count an end that nobody asked for."""

    def _learn(self, state: State) -> None:  # noqa: B027 -- a hook: not every process has a state to show
        """Take over what the process says of itself."""

    def _forget(self) -> None:  # noqa: B027 -- likewise
        """Forget what the process said of itself, because it has ended."""

    def want(self, config: Config) -> None:
        """Record by this configuration from now on."""
        self._config = config
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
    def ends(self) -> int:
        """How often the process has ended without being asked to."""
        return self._ends

    @property
    def _wanted(self) -> bool:
        return self._configured and not self._held and not self._stopping

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._changed.clear()
            await self._changed.wait()

    async def _report(self, code: int, retry_s: float) -> None:
        detail: dict[str, Any] = {"process": self.name}
        if code < 0:
            detail["signal"] = _signal_name(-code)
        else:
            detail["exit_code"] = code
        if self._reason is not None:
            detail["reason"] = self._reason
        self._ends += 1
        self._count_end()
        self._log_end(**detail, retry_in_s=retry_s)
        await self._notes.event(EventKind.PROCESS_ENDED, **detail, retry_s=retry_s)

    async def _lifetime(self) -> int | None:
        """Run the process once; return its exit code, negative for a signal; None if it was asked to end."""
        self._reason, self._requested, self._heard_s = None, False, self._clock.monotonic()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=child_messages.LINE_BYTES,
                start_new_session=True,  # Ctrl-C is for the recorder, which asks it to stop
                env=child_messages.environment(os.environ, key=self.keeps_key),
            )
        except OSError as error:
            self._reason = f"it could not be begun: {error.strerror}"
            return 1
        self._pid = process.pid
        beside = [asyncio.create_task(self._instruct(process)), asyncio.create_task(self._watch(process))]
        reading = [asyncio.create_task(self._states(process)), asyncio.create_task(relay(process, self.name))]
        try:
            code = await process.wait()
            await asyncio.wait(reading, timeout=1.0)
        finally:
            self._pid = None
            self._forget()
            for one in (*beside, *reading):
                one.cancel()
            await end(process, END_S)
            await asyncio.wait([*beside, *reading])
        return None if self._requested else code

    async def _instruct(self, process: Process) -> None:
        """Tell the process each configuration; ask it to end when it is not wanted any more, and see to it."""
        sent, stdin = None, process.stdin
        assert stdin is not None
        while self._wanted or not (sent or self._configured or self._stopping):
            if sent is not self._config:
                sent = self._config
                stdin.write(child_messages.encode_config(sent))
            self._changed.clear()
            await self._changed.wait()
        self._requested = True
        send_signal(process, signal.SIGTERM)
        await self._clock.sleep(STOP_S)
        self._log_kill(after_s=STOP_S)
        send_signal(process, signal.SIGKILL)

    async def _watch(self, process: Process) -> None:
        """Kill the process when it hangs or takes too much memory."""
        while self._reason is None:
            await self._clock.sleep(LOOK_S)
            silent_s = self._clock.monotonic() - self._heard_s
            self._reason = too_large(self._memory(process.pid), LIMIT_BYTES)
            if self._reason is None and silent_s > SILENT_S:
                self._reason = f"it gave no sign of life for {silent_s:.0f} s"
        send_signal(process, signal.SIGKILL)

    async def _states(self, process: Process) -> None:
        async def take(line: bytes) -> None:
            with contextlib.suppress(msgspec.DecodeError):
                state = child_messages.decode_state(line)
                self._heard_s = self._clock.monotonic()
                self._learn(state)

        await _each_line(process.stdout, take)


async def relay(process: Process, name: str) -> None:
    """Print the log of the process in the recorder's own."""

    async def say(line: bytes) -> None:
        level, event, fields = child_messages.log_line(line)
        getattr(log, level)(event, **{**fields, "process": name})

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


async def end(process: Process, within_s: float) -> None:
    """End the process, if it still runs, by the end of its standard input, or else by a signal."""
    if process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), within_s)
        return
    send_signal(process, signal.SIGKILL)
    await process.wait()


def send_signal(process: Process, number: signal.Signals) -> None:
    """Send a signal, if the process still runs."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def too_large(size: int | None, limit: int) -> str | None:
    """Return why a process of this size, in bytes, is killed; None if it is not."""
    if size is None or size <= limit:
        return None
    return f"it took {size / 1e6:,.0f} MB of memory, of {limit / 1e6:,.0f}"


def resident_bytes(pid: int) -> int | None:
    """Return the memory that a process takes alone; None where the system does not tell, as only Linux does."""
    try:
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_bytes().split())
    except (OSError, ValueError):
        return None
    return (resident - shared) * resource.getpagesize()
