"""What there is to record, before anything is: the first listing of a run, from the exchange or from the archive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final

import structlog

from recorder.archive.instruments import InstrumentArchive
from recorder.clock import Clock
from recorder.core.model import Instrument
from recorder.errors import ConfigError, ExchangeError, Malformed, StorageError, UnreadableFile
from recorder.kraken import parse, rest
from recorder.net.http import Answer, Http
from recorder.tasks.inbox import Inbox
from recorder.tasks.roster import Roster, disbelief, journalled
from recorder.tasks.waiting import first_of

RETRY_S: Final = 30.0
"""Longest wait between two attempts."""

log = structlog.get_logger()


async def first_listing(
    roster: Roster, http: Http, inbox: Inbox, instruments: InstrumentArchive, *, clock: Clock, stop: asyncio.Event
) -> bool:
    """Give the roster the exchange's listing or, where that is out of reach, the archive's.

    Keeps asking where neither says what the configured pairs are; tells whether that was found before a stop.
    """
    remembered = await asyncio.to_thread(archived, instruments)
    wait_s = 1.0
    while not stop.is_set():
        asking = asyncio.ensure_future(http.get(rest.asset_pairs()))
        # Raced, because a throttle may make this wait for minutes.
        await first_of(asyncio.wait([asking]), stop.wait())
        if not asking.done():
            asking.cancel()
            await asyncio.wait([asking])
            return False
        try:
            answer = asking.result()
            listing = believable(answer, remembered)
            await inbox.put(journalled(answer))
            roster.begin(listing, known=remembered, fresh=True)
        except ExchangeError as error:
            with contextlib.suppress(ConfigError):
                roster.begin(remembered, known=remembered, fresh=False)
                log.warning("listing out of reach; going on with the archived one", reason=str(error))
                return True
            log.warning("cannot start yet; trying again", reason=str(error), retry_in_s=wait_s)
            await first_of(clock.sleep(wait_s), stop.wait())
            wait_s = min(RETRY_S, wait_s * 2)
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


def believable(answer: Answer, remembered: Iterable[Instrument]) -> list[Instrument]:
    """Read the first listing of this run, which the archived one must allow to be believed. Raises Malformed."""
    listing = parse.instruments(answer.result)
    if reason := disbelief(remembered, listing):
        raise Malformed(reason)
    return listing
