"""The daemon's own little web server: is it alive, and what has it counted."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from recorder.errors import ConfigError
from recorder.ops.metrics import Metrics


@contextlib.asynccontextmanager
async def serve(host: str, port: int, *, metrics: Metrics) -> AsyncIterator[None]:
    """Serve /health and /metrics while the context lasts; port 0 serves nothing. Raises ConfigError."""
    if port == 0:
        yield
        return

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/health", health), web.get("/metrics", exposition)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"ops.port is {port}: cannot listen on {host}:{port} ({reason}); choose another, or 0 for none"
            ) from error
        yield
    finally:
        await runner.cleanup()
