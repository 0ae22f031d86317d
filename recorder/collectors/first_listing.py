"""What there is to record, before anything is: the first listing of a run, from the exchange or from the archive."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from recorder.archive.instruments import InstrumentArchive
from recorder.collectors import listing
from recorder.collectors.pair_list import PairList
from recorder.core.backoff import GrowingDelay
from recorder.core.model import Instrument
from recorder.errors import ConfigError, ExchangeError, StorageError, UnreadableFile
from recorder.runtime.context import Context
from recorder.runtime.waiting import first_of

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 30.0
"""Without any listing nothing is recorded: it is asked for again after 1 s, 2 s, … 30 s."""

log = structlog.get_logger()


async def first_listing(
    roster: PairList, context: Context, instruments: InstrumentArchive, *, stop: asyncio.Event
) -> bool:
    """Give the roster the exchange's listing or, where that is out of reach, the archive's.

    Keeps asking where neither says what the configured pairs are; tells whether that was found before a stop.
    """
    roster.remember(await asyncio.to_thread(archived, instruments))
    wait = GrowingDelay(FIRST_RETRY_S, LAST_RETRY_S)
    while not stop.is_set():
        asking = asyncio.ensure_future(listing.read(context.exchange, enough=roster.is_told))
        try:
            # Raced, because a throttle may make this wait for minutes.
            await first_of(asyncio.wait([asking]), stop.wait())
        finally:
            asking.cancel()  # also where this is cancelled itself; nothing, if it is done
        if not asking.done():
            await asyncio.wait([asking])
            return False
        try:
            reading = asking.result()
            await roster.store(reading)
            roster.begin(reading.listings)
        except ExchangeError as error:
            with contextlib.suppress(ConfigError):
                roster.begin(None)
                log.warning("listing out of reach; going on with the archived one", reason=str(error))
                return True
            wait_s = wait.failed()
            log.warning("cannot start yet; trying again", reason=str(error), retry_in_s=wait_s)
            await first_of(context.clock.sleep(wait_s), stop.wait())
        else:
            return True
    return False


def archived(instruments: InstrumentArchive) -> list[Instrument]:
    """Return what the archive knows of every pair: nothing where its listings are damaged, which stops no recording."""
    try:
        return instruments.remembered()
    except (StorageError, UnreadableFile) as error:
        log.error("archived listings not read", reason=str(error))
        return []
