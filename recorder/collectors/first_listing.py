"""The first listing of a run, from the exchange or from the archive: the pairs to record."""

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
"""Nothing can be recorded without a listing: it is requested again after 1 s, 2 s, … 30 s."""

log = structlog.get_logger()


async def first_listing(
    pair_list: PairList, context: Context, instruments: InstrumentArchive, *, stop: asyncio.Event
) -> bool:
    """Begin the pair list with the exchange's listing or, if that is out of reach, with the archived one.

    Retries while neither resolves the configured pairs; returns False if a stop is requested before that.
    """
    pair_list.remember(await asyncio.to_thread(archived, instruments))
    wait = GrowingDelay(FIRST_RETRY_S, LAST_RETRY_S)
    while not stop.is_set():
        asking = asyncio.ensure_future(listing.read(context.exchange, enough=pair_list.is_satisfied))
        try:
            # Raced, because throttling may make this wait for minutes.
            await first_of(asyncio.wait([asking]), stop.wait())
        finally:
            asking.cancel()  # also if this task is cancelled itself; no effect if it is done
        if not asking.done():
            await asyncio.wait([asking])
            return False
        try:
            reading = asking.result()
            await pair_list.store(reading)
            pair_list.begin(reading.listings)
        except ExchangeError as error:
            with contextlib.suppress(ConfigError):
                pair_list.begin(None)
                log.warning("listing not available; starting with the archived one", reason=str(error))
                return True
            wait_s = wait.failed()
            log.warning("cannot start yet; trying again", reason=str(error), retry_in_s=wait_s)
            await first_of(context.clock.sleep(wait_s), stop.wait())
        else:
            return True
    return False


def archived(instruments: InstrumentArchive) -> list[Instrument]:
    """Return the archived state of every pair: empty if the listings are damaged, which must not stop recording."""
    try:
        return instruments.remembered()
    except (StorageError, UnreadableFile) as error:
        log.error("archived listings not read", reason=str(error))
        return []
