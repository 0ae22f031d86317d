"""The composition of what records an account: by hand, or as a process beside the recorder."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from recorder.account import credentials, key_use, store
from recorder.account.client import PrivateClient
from recorder.account.exchange_time import ExchangeTime
from recorder.account.key_use import KeyUseFile
from recorder.account.poll import AccountPoll, Identity
from recorder.archive.layout import Layout
from recorder.clock import Clock, SystemClock
from recorder.config import Config, is_local
from recorder.core.account import AccountEvent
from recorder.core.account_trail import AccountCertificate
from recorder.core.nonces import TIERS
from recorder.core.throttling import Pace
from recorder.disk import Disk
from recorder.errors import ConfigError, ExchangeError, RecorderError
from recorder.kraken import rest_api
from recorder.net.http import Http, client_session, proxy_for
from recorder.net.rate_limit import SharedRateLimit
from recorder.runtime.stop import Stop

PUBLIC_PER_S: Final = 1.0
"""Pace of public requests: one an hour, for the time."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Host:
    """What the machine gives to a run: clock, disk, and environment."""

    clock: Clock
    disk: Disk
    environ: dict[str, str]


def this_host() -> Host:
    """Return the real ones."""
    return Host(SystemClock(), Disk(), dict(os.environ))


@contextlib.asynccontextmanager
async def connected(config: Config, host: Host) -> AsyncIterator[tuple[PrivateClient, Identity]]:
    """Yield a client of the private endpoints with the configured key. Raises KeyRefused."""
    key = credentials.load(config.account.key_file, host.environ)
    url = urlsplit(config.exchange.rest_url)
    # A proxy would see what is sent to this machine in plain text.
    proxy = None if is_local(url.hostname or "") else proxy_for(config.exchange.rest_url, config.exchange.proxy)
    async with client_session(proxy) as session:
        http = Http(
            session,
            config.exchange.rest_url,
            pace=Pace(PUBLIC_PER_S),
            clock=host.clock,
            rate_limit=_public_limit(config.archive.path, host.clock),
        )

        async def public(request: rest_api.Request) -> bytes:
            return (await http.get(request)).result

        client = PrivateClient(
            session,
            config.exchange.rest_url,
            key,
            KeyUseFile(key_use.folder(host.environ), key.fingerprint, host.disk, host.clock),
            allowance=TIERS[config.account.tier],
            time=ExchangeTime(public, host.clock),
            clock=host.clock,
            again=_log_again,
        )
        yield client, Identity(key.fingerprint, url.netloc.rpartition("@")[2])


async def record(
    config: Config,
    stop: Stop,
    *,
    host: Host | None = None,
    certified: Callable[[AccountCertificate], None] = lambda _: None,
    once: bool = False,
) -> None:
    """Record the account until ``stop`` is requested; ``once`` reads it once. ``certified`` gets each certificate.

    Raises KeyRefused, InvalidKey, InvalidNonce, PermissionDenied, ArchiveInUse, DiskError, StorageError. The reason is
    also an event in the folder of the account.
    """
    host = host or this_host()
    _check_place(config)
    with store.opened(config.account_path, host.disk, lambda: host.clock.wall_ns() // 1000) as account:
        try:
            async with connected(config, host) as (client, identity):
                poll = AccountPoll(
                    client,
                    account,
                    host.clock,
                    identity=identity,
                    allow_trading_key=config.account.allow_trading_key,
                    certified=certified,
                )
                work = poll.round() if once else poll.run(config.account.every)
                await _until(stop, work)
        except RecorderError as error:
            with contextlib.suppress(RecorderError):
                account.event(AccountEvent.STOPPED, reason=str(error))
            raise


def _check_place(config: Config) -> None:
    """Raise ConfigError for an account within the archive, where its copies and exports would take it along."""
    folder, archive = config.account_path.resolve(), config.archive.path.resolve()
    if archive in (folder, *folder.parents):
        raise ConfigError(f"account.path is {folder}, within the archive {archive}: name a folder outside of it")


async def _until(stop: Stop, work: Coroutine[Any, Any, object]) -> None:
    """Do the work until it ends or a stop is requested. Raises the error of the work."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.requested.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait([working])
    if not working.cancelled():
        working.result()


def _public_limit(archive: Path, clock: Clock) -> SharedRateLimit | None:
    """Return the turns of the recorder's public requests, where there is one: both count by the same address."""
    layout = Layout(archive.absolute())
    return SharedRateLimit(layout.rate_limit, clock) if layout.locks.is_dir() else None


def _log_again(error: ExchangeError, delay_s: float) -> None:
    log.warning("private request repeated", reason=str(error), retry_in_s=round(delay_s, 3))
