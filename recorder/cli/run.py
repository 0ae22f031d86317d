"""``recorder run``: record until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from recorder import app, config
from recorder.clock import SystemClock
from recorder.config import Config
from recorder.errors import ConfigError
from recorder.ops import log, process
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox


def run(
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The archive's folder, instead of archive.path.")] = None,
    for_: Annotated[str | None, typer.Option("--for", help="Stop by itself after so long: 30s, 5m, 1h.")] = None,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox", help="Record a local imitation of Kraken, without --data into a new temporary folder."
        ),
    ] = False,
) -> None:
    """Record the configured pairs until SIGTERM or Ctrl-C, which drains and exits 0; a second one hurries it."""
    settings = config.load(config_file)
    if sandbox and data is None:
        # Invented trades carry ids like real ones: among those they would do harm that nobody could undo.
        data = Path(tempfile.mkdtemp(prefix="recorder-sandbox-"))
    if data is not None:
        settings = settings.model_copy(update={"archive": settings.archive.model_copy(update={"path": data})})
    log.configure(settings.ops.log)
    process.prepare()
    asyncio.run(_run(settings, for_s=_duration_s(for_), sandbox=sandbox))


async def _run(settings: Config, *, for_s: float | None, sandbox: bool) -> None:
    stop = app.Stop()
    stop.on_signals()
    if for_s is not None:
        asyncio.get_running_loop().call_later(for_s, stop.asked.set)
    async with _exchange(settings, sandbox=sandbox) as chosen:
        await app.record(chosen, stop)


@contextlib.asynccontextmanager
async def _exchange(settings: Config, *, sandbox: bool) -> AsyncIterator[Config]:
    """Yield the configuration as it is, or pointed at a sandbox that serves while the context lasts."""
    if not sandbox:
        yield settings
        return
    clock = SystemClock()
    exchange = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock)
    async with exchange.serve():
        here = {"rest_url": exchange.rest_url, "ws_url": exchange.ws_url}
        yield settings.model_copy(update={"exchange": settings.exchange.model_copy(update=here)})


def _duration_s(text: str | None) -> float | None:
    try:
        return None if text is None else config.duration_s(text)
    except ValueError as error:
        raise ConfigError(f"--for is {text!r}: {error}") from None
