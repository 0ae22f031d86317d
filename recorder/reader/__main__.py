"""The process that answers questions about an archive, as ``python -m recorder.reader FOLDER DESCRIPTOR``.

It serves the API and the pages on a socket that its parent listens at, and hands on by its descriptor. It ends when its
standard input does, or its parent. It only reads, and trusts whoever reaches the socket: who may ask is judged before.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import warnings
from pathlib import Path
from typing import Final

from aiohttp import web

from recorder.clock import SystemClock
from recorder.ops import log as logs
from recorder.ops import process_setup
from recorder.reader.api import Api
from recorder.reader.pages import Pages
from recorder.reader.workers import Workers

LINE_BYTES: Final = 8_192
"""Longest request line or header: the cursor of a stream of a hundred pairs has two thousand."""


def application(data: Path, workers: Workers) -> web.Application:
    """Return what answers questions about the archive at ``data``."""
    app = web.Application()
    app.add_routes(Api(data, workers, SystemClock()).routes())
    app.add_routes(Pages(workers).routes())
    return app


async def serve(data: Path, listener: socket.socket) -> None:
    """Answer until standard input ends."""
    workers = Workers(data)
    runner = web.AppRunner(
        application(data, workers),
        access_log=None,
        handler_cancellation=True,  # a question ends when whoever asked has left
        max_line_size=LINE_BYTES,
        max_field_size=LINE_BYTES,
        shutdown_timeout=0.1,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        ended = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin)
        await ended.read()
    finally:
        await runner.cleanup()
        workers.close()


def main() -> None:
    """Run the process."""
    process_setup.end_with_parent()
    process_setup.give_way()
    logs.configure("json")
    warnings.simplefilter("ignore")  # what is missing is part of each answer
    data, descriptor = sys.argv[1:]
    asyncio.run(serve(Path(data), socket.socket(fileno=int(descriptor))))


if __name__ == "__main__":
    main()
