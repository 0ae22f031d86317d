"""The page, put together from the configuration; its end ends the reader too."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from recorder.clock import Clock
from recorder.config import Config, OpsConfig
from recorder.ops.server import Limits
from recorder.page import access
from recorder.page.access import Access
from recorder.page.overview import Source
from recorder.page.reader_process import ReaderProcess
from recorder.page.site import CONNECTIONS, Page


@contextlib.asynccontextmanager
async def page_over(source: Source, data: Path, config: Config, clock: Clock) -> AsyncIterator[Page | None]:
    """Yield the page over the archive at ``data``, None if there is to be none. Raises ConfigError.

    Its token is that of ``page.token_file``, or else that of ``ops``, which a server that others can reach has.
    """
    if not config.page.enabled or config.ops.port == 0:
        yield None
        return
    token = None if config.ops.token is None else config.ops.token.get_secret_value()
    if config.page.token_file is not None:
        token = access.read_token(config.page.token_file)
    async with ReaderProcess(data, clock) as reader:
        page = Page(source, reader, Access(token), clock)
        try:
            yield page
        finally:
            await page.close()


def address_of(ops: OpsConfig) -> str:
    """Return where a browser finds the page."""
    host = f"[{ops.host}]" if ":" in ops.host else ops.host
    return f"http://{host}:{ops.port}/"


def limits_for(page: Page | None) -> Limits:
    """Return the limits of the server: browsers need more connections than scrapers."""
    return Limits() if page is None else Limits(connections=CONNECTIONS)
