"""What there is to record, before anything is: the first listing of a run, from the exchange or from the archive."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterable
from typing import Final

import structlog

from recorder.archive.instruments import InstrumentArchive
from recorder.core.backoff import Growing
from recorder.core.model import Instrument
from recorder.errors import ConfigError, ExchangeError, Malformed, StorageError
from recorder.kraken import parse, rest
from recorder.tasks.context import Context
from recorder.tasks.roster import Roster, disbelief, journalled
from recorder.tasks.waiting import first_of

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 30.0
"""Without any listing nothing is recorded: it is asked for again after 1 s, 2 s, … 30 s."""

log = structlog.get_logger()


async def first_listing(
    roster: Roster, context: Context, instruments: InstrumentArchive, *, stop: asyncio.Event
) -> bool:
    """Give the roster the exchange's listing or, where that is out of reach, the archive's.

    Keeps asking where neither says what the configured pairs are; tells whether that was found before a stop.
    """
    remembered = await asyncio.to_thread(archived, instruments)
    read = functools.partial(believable, remembered=remembered)
    wait = Growing(FIRST_RETRY_S, LAST_RETRY_S)
    while not stop.is_set():
        asking = asyncio.ensure_future(context.exchange.ask(rest.asset_pairs(), read))
        try:
            # Raced, because a throttle may make this wait for minutes.
            await first_of(asyncio.wait([asking]), stop.wait())
        finally:
            asking.cancel()  # also where this is cancelled itself; nothing, if it is done
        if not asking.done():
            await asyncio.wait([asking])
            return False
        try:
            answer, listing = asking.result()
            await context.inbox.put(journalled(answer))
            roster.begin(listing, known=remembered, fresh=True)
        except ExchangeError as error:
            with contextlib.suppress(ConfigError):
                roster.begin(remembered, known=remembered, fresh=False)
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
    except StorageError as error:
        log.error("archived listings not read", reason=str(error))
        return []


def believable(result: bytes, remembered: Iterable[Instrument]) -> list[Instrument]:
    """Read the first listing of this run, which the archived one must allow to be believed. Raises Malformed."""
    listing = parse.instruments(result)
    if reason := disbelief(remembered, listing):
        raise Malformed(reason)
    return listing
