"""``recorder run``: record until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
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
from recorder.tasks.reload import Source


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
    """Record the configured pairs until SIGTERM or Ctrl-C, which drains and exits 0; a second one hurries it.

    SIGHUP reads the configuration again: pairs, timeframes and more change while it records.
    """
    config_file = config.place(config_file)  # a file that is gone later is a mistake, and no wish for the defaults
    settings = config.load(config_file)
    if sandbox and data is None:
        # Invented trades carry ids like real ones: among those they would do harm that nobody could undo.
        data = Path(tempfile.mkdtemp(prefix="recorder-sandbox-"))
    log.configure(settings.ops.log)
    process.as_owner(data or settings.archive.path)
    process.prepare()
    try:
        asyncio.run(_run(settings, config_file, data, for_s=_duration_s(for_), sandbox=sandbox))
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the loop's end has brought the default back
        log.tell_held_back(rest=True)  # before the sentence that says why it ended


async def _run(
    settings: Config, config_file: Path | None, data: Path | None, *, for_s: float | None, sandbox: bool
) -> None:
    stop = app.Stop()
    stop.on_signals()
    if for_s is not None:
        asyncio.get_running_loop().call_later(for_s, stop.asked.set)
    async with _exchange(sandbox=sandbox) as exchange:
        source = Source(lambda: overridden(config.load(config_file), data, exchange))
        source.on_signal(stop.asked.set)
        await app.record(overridden(settings, data, exchange), stop, source=source)


def overridden(settings: Config, data: Path | None, exchange: Mapping[str, str]) -> Config:
    """Return ``settings`` with what the command line says, which wins: the archive's folder, and where Kraken is."""
    archive = settings.archive.model_copy(update={} if data is None else {"path": data})
    return settings.model_copy(
        update={"archive": archive, "exchange": settings.exchange.model_copy(update=dict(exchange))}
    )


@contextlib.asynccontextmanager
async def _exchange(*, sandbox: bool) -> AsyncIterator[Mapping[str, str]]:
    """Yield nothing, or the addresses of a sandbox that serves while the context lasts."""
    if not sandbox:
        yield {}
        return
    clock = SystemClock()
    exchange = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock)
    async with exchange.serve():
        yield {"rest_url": exchange.rest_url, "ws_url": exchange.ws_url}


def _duration_s(text: str | None) -> float | None:
    try:
        return None if text is None else config.duration_s(text)
    except ValueError as error:
        raise ConfigError(f"--for is {text!r}: {error}") from None
