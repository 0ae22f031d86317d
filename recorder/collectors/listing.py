"""The exchange's listing: one request per asset class, since only the usual class is listed without asking."""

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
from recorder.kraken import asset_pairs, records, rest_api
from recorder.net.http import HttpAnswer
from recorder.runtime.exchange_client import Exchange
from recorder.runtime.inbox import Inbound, Inbox

REFUSED: Final = Listed(TOKENIZED, ())
"""The listing of a class that the exchange refuses to list: empty."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ListingAnswers:
    """The listings read at one time, with one answer per asset class that was available."""

    listings: Sequence[Listed]
    answers: Sequence[tuple[rest_api.Request, HttpAnswer]] = ()


async def read(exchange: Exchange, *, enough: Callable[[Listed], bool] = lambda _: False) -> ListingAnswers:
    """Request all that is listed; only the usual listing if that is ``enough`` for now.

    Raises ExchangeError if the usual listing is not available.
    """
    request = rest_api.asset_pairs()
    answer, listed = await exchange.request(request, asset_pairs.parse_listing)
    if enough(listed):
        return ListingAnswers((listed,), [(request, answer)])
    try:
        other, tokenized = await exchange.request(
            rest_api.asset_pairs(TOKENIZED), functools.partial(asset_pairs.parse_listing, asset_class=TOKENIZED)
        )
    except Refused:
        return ListingAnswers((listed, REFUSED), [(request, answer)])
    except ExchangeError as error:
        log.warning("tokenized assets not listed; those known stay", reason=str(error))
        return ListingAnswers((listed,), [(request, answer)])
    return ListingAnswers((listed, tokenized), [(request, answer), (rest_api.asset_pairs(TOKENIZED), other)])


class ListingJournal:
    """Journals answers of AssetPairs, except those identical byte for byte to the last one: they change nothing.

    The listing is read every few minutes while a name is waited for, and is 0.8 MB long.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._last: dict[str, bytes] = {}

    async def put(self, reading: ListingAnswers) -> None:
        """Put the new answers of a reading into the inbox."""
        for request, answer in reading.answers:
            content = sha256(answer.body).digest()
            if self._last.get(request.target) != content:
                self._last[request.target] = content
                line = segment.encode(answer.recv_ns, records.rest_source(request), answer.body)
                await self._inbox.put(Inbound(line, [], source="rest"))
