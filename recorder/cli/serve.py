"""``recorder serve``: the page over an archive, where no recorder runs."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Annotated

import typer

from recorder import config
from recorder.archive.layout import existing
from recorder.cli.screen import echo
from recorder.clock import SystemClock
from recorder.config import Config, OpsConfig
from recorder.ops.daemon_client import DaemonReply, query_daemon
from recorder.ops.server import serve as served
from recorder.page.archive_overview import ArchiveOverview
from recorder.page.opened import address_of, limits_for, page_over
from recorder.runtime.stop import Stop


def serve(
    *,
    data: Annotated[Path | None, typer.Option(help="The archive's folder, instead of archive.path.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="The port, instead of ops.port.")] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
) -> None:
    """Show the page of an archive at http://127.0.0.1:9184/, until Ctrl-C; `recorder run` shows it by itself.

    It only reads. Other machines reach it as they reach the status of a recorder: by ops.host, ops.expose and a token.
    """
    settings = config.load(config_file)
    ops = settings.ops.model_copy(update={"port": port or settings.ops.port or OpsConfig().port})
    page = settings.page.model_copy(update={"enabled": True})
    folder = existing(data or settings.archive.path).data.resolve()
    asyncio.run(_serve(settings.model_copy(update={"ops": ops, "page": page}), settings.ops, folder))


async def _serve(settings: Config, recorder_at: OpsConfig, data: Path) -> None:
    clock, stop = SystemClock(), Stop()
    stop.on_signals()
    source = ArchiveOverview(data, clock, functools.partial(_daemon, settings.ops, recorder_at, data))
    async with (
        page_over(source, data, settings, clock) as page,
        served(settings.ops, None, limits_for(page), more=page),
    ):
        echo(f"{address_of(settings.ops)} shows {data}; Ctrl-C ends it")
        await stop.requested.wait()


def _daemon(own: OpsConfig, recorder_at: OpsConfig, data: Path) -> DaemonReply | str:
    """Return the status of the recorder of this archive; a sentence if none answers."""
    if (own.host, own.port) == (recorder_at.host, recorder_at.port):
        return "this page shows what is on the disk: a recorder would answer at its own address"
    return query_daemon(recorder_at, data)
