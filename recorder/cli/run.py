"""``recorder run``: record until stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from recorder import app, config
from recorder.clock import SystemClock
from recorder.config import Config, OpsConfig
from recorder.daemon.config_reload import ConfigSource
from recorder.errors import CheckFailed, ConfigError
from recorder.ops import log, process_setup
from recorder.runtime.stop import Stop


def run(
    pairs: Annotated[
        list[str] | None, typer.Argument(help="Pairs instead of those configured: BTC/USD ETH/USD, or '*/USD'.")
    ] = None,
    *,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The archive's folder, instead of archive.path.")] = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="Stop after 30s, 5m, 1h; exit code 1 if Kraken served no pair.")
    ] = None,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox", help="Record a local imitation of Kraken, without --data into a new temporary folder."
        ),
    ] = False,
) -> None:
    """Record pairs until SIGTERM or Ctrl-C, which drains and exits 0; a second one hurries it.

    SIGHUP reads the configuration again: pairs, timeframes and more change while it records.
    """
    config_file = config.place(config_file)  # a file that disappears later is a mistake, not a request for the defaults
    settings = config.load(config_file)
    if sandbox and data is None:
        # Invented trades have ids like real ones: mixed with those they would do irreparable harm.
        data = Path(tempfile.mkdtemp(prefix="recorder-sandbox-"))
    process_setup.as_owner(data or settings.archive.path)
    process_setup.prepare()
    given = CommandLine(tuple(dict.fromkeys(pairs or ())), data, for_s=_duration_s(for_), sandbox=sandbox)
    with _logged(settings.ops.log) as show:
        try:
            asyncio.run(_run(settings, config_file, given, show))
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the end of the loop has restored the default
            log.report_suppressed(rest=True)  # before the message that names why it ended


@contextlib.contextmanager
def _logged(style: Literal["console", "json"]) -> Iterator[Callable[[str], None] | None]:
    """Log to standard error; where people watch it in a terminal, yield what shows a line below the log."""
    if style == "json" or not sys.stderr.isatty():
        log.configure(style)
        yield None
        return
    from recorder.cli.terminal_line import TerminalLine  # noqa: PLC0415 -- rich is for terminals alone

    with TerminalLine() as line:
        log.configure(style, to=line.log)
        yield line.show


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The options of the command line, which override the configuration. ``()`` and None mean not given."""

    pairs: tuple[str, ...] = ()
    data: Path | None = None
    for_s: float | None = None
    sandbox: bool = False

    def over(self, settings: Config, exchange: Mapping[str, str], port: int | None = None) -> Config:
        """Return ``settings`` with these options, the addresses of a sandbox if there is one, and a free ``port``."""
        sections: dict[str, object] = {
            "archive": settings.archive.model_copy(update={"path": self.data} if self.data else {}),
            "exchange": settings.exchange.model_copy(update=dict(exchange)),
            "ops": settings.ops.model_copy(update={} if port is None else {"port": port}),
        }
        return settings.model_copy(update=sections | ({"pairs": self.pairs} if self.pairs else {}))


async def _run(
    settings: Config, config_file: Path | None, given: CommandLine, show: Callable[[str], None] | None
) -> None:
    stop = Stop()
    stop.on_signals()
    if given.for_s is not None:
        asyncio.get_running_loop().call_later(given.for_s, stop.requested.set)
    port = _free_port(settings.ops) if given.sandbox else None
    async with _exchange(sandbox=given.sandbox) as exchange:
        source = ConfigSource(lambda: given.over(config.load(config_file), exchange, port))
        source.on_signal(stop.requested.set)
        await app.record(given.over(settings, exchange, port), stop, source=source, show=show)
    if given.for_s is not None and not stop.served:
        raise CheckFailed(
            "no subscription was acknowledged and no poll was answered in this time: see the log above, or try "
            "`recorder doctor`"
        )


def _free_port(ops: OpsConfig) -> int:
    """Return the configured port, or a free one if it is taken: a recorder may run while the sandbox is tried."""
    family = socket.AF_INET6 if ":" in ops.host else socket.AF_INET
    for port in (ops.port, 0) if ops.port else ():
        with contextlib.suppress(OSError), socket.create_server((ops.host, port), family=family) as free:
            return int(free.getsockname()[1])
    return ops.port


@contextlib.asynccontextmanager
async def _exchange(*, sandbox: bool) -> AsyncIterator[Mapping[str, str]]:
    """Yield nothing, or the addresses of a sandbox that serves while the context lasts."""
    if not sandbox:
        yield {}
        return
    from recorder.sandbox.market import Market  # noqa: PLC0415 -- few runs need it
    from recorder.sandbox.server import Sandbox  # noqa: PLC0415 -- likewise

    clock = SystemClock()
    exchange = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock)
    async with exchange.serve():
        yield {"rest_url": exchange.rest_url, "ws_url": exchange.ws_url}


def _duration_s(text: str | None) -> float | None:
    try:
        return None if text is None else config.duration_s(text)
    except ValueError as error:
        raise ConfigError(f"--for is {text!r}: {error}") from None
