"""Read the listing: one request for each asset class, since others than the usual one are told to nobody else."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import structlog

from recorder.core.model import TOKENIZED
from recorder.core.pair_registry import Listed
from recorder.errors import ExchangeError, Refused
from recorder.journal import segment
from recorder.kraken import parse, records, rest_api
from recorder.net.http import HttpAnswer
from recorder.runtime.exchange_client import Exchange
from recorder.runtime.inbox import Inbound, Inbox

REFUSED: Final = Listed(TOKENIZED, ())
"""What an exchange lists of a class that it refuses to tell of: nothing."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ListingAnswers:
    """What was listed at one time, an answer for each asset class that could be had."""

    listings: Sequence[Listed]
    answers: Sequence[tuple[rest_api.Request, HttpAnswer]] = ()


async def read(exchange: Exchange, *, enough: Callable[[Listed], bool] = lambda _: False) -> ListingAnswers:
    """Ask for all that is listed; for the usual listing alone where that is ``enough`` for the moment.

    Raises ExchangeError where the usual listing cannot be had.
    """
    request = rest_api.asset_pairs()
    answer, listed = await exchange.request(request, parse.listing)
    if enough(listed):
        return ListingAnswers((listed,), [(request, answer)])
    try:
        other, tokenized = await exchange.request(
            rest_api.asset_pairs(TOKENIZED), functools.partial(parse.listing, asked=TOKENIZED)
        )
    except Refused:
        return ListingAnswers((listed, REFUSED), [(request, answer)])
    except ExchangeError as error:
        log.warning("tokenized assets not listed; those known stay", reason=str(error))
        return ListingAnswers((listed,), [(request, answer)])
    return ListingAnswers((listed, tokenized), [(request, answer), (rest_api.asset_pairs(TOKENIZED), other)])


class ListingJournal:
    """Journals answers of AssetPairs, but for those that are byte for byte as the last one: these change nothing.

    The listing is read every few minutes while a name is waited for, and is 0.8 MB long.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._last: dict[str, bytes] = {}

    async def put(self, reading: ListingAnswers) -> None:
        """Put what is new of a reading into the inbox."""
        for request, answer in reading.answers:
            content = sha256(answer.body).digest()
            if self._last.get(request.target) != content:
                self._last[request.target] = content
                line = segment.encode(answer.recv_ns, records.rest_source(request), answer.body)
                await self._inbox.put(Inbound(line, [], source="rest"))
