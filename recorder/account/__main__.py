"""The process beside the recorder that records an account, as ``python -m recorder.account``.

It gets its configuration by standard input, and the key from the source that it names: neither by arguments.
SIGTERM or the end of standard input stops it; if the recorder dies, so does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Final

import structlog

from recorder.account import service
from recorder.daemon import child_messages
from recorder.daemon.child_messages import State
from recorder.errors import RecorderError
from recorder.ops import log as logs
from recorder.ops import process_setup
from recorder.runtime.stop import Stop

STATE_S: Final = 5.0
"""Interval of signs of life. Nothing of the account is in them."""

log = structlog.get_logger()


async def _serve() -> None:
    loop, stop = asyncio.get_running_loop(), Stop()
    stop.on_signals()
    commands = asyncio.StreamReader(limit=child_messages.LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    states, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    first = await commands.readline()
    if not first:
        return
    beside = [asyncio.create_task(_listen(commands, stop)), asyncio.create_task(_report(states))]
    try:
        await service.record(child_messages.decode_config(first), stop)
    finally:
        for one in beside:
            one.cancel()
        await asyncio.wait(beside)


async def _listen(commands: asyncio.StreamReader, stop: Stop) -> None:
    """Stop once the parent is gone; a changed configuration waits for a restart."""
    while await commands.readline():
        pass
    stop.requested.set()


async def _report(states: asyncio.WriteTransport) -> None:
    while True:
        if not states.get_write_buffer_size():  # otherwise the parent does not read, and must not hold us up
            states.write(child_messages.encode_state(State(0, "")))
        await asyncio.sleep(STATE_S)


def main() -> None:
    """Run the process: an error becomes a line of the log, and its exit code."""
    process_setup.end_with_parent()
    process_setup.prepare()
    process_setup.give_way()
    process_setup.keep_secrets()  # last: a process that cannot be dumped may not change its priority for memory
    logs.configure("json")
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(_serve())
        except RecorderError as error:
            log.error("the account is not recorded", reason=str(error))
            sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
