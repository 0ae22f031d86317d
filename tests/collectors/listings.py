"""A roster and the listings that it follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from recorder.collectors.pair_list import PairList
from recorder.core.model import CURRENCY, TOKENIZED, Instrument
from recorder.core.pair_registry import Listed, OddEntry
from recorder.errors import ExchangeError
from recorder.kraken import rest_api
from recorder.kraken.rest_api import Request
from recorder.net.http import HttpAnswer
from tests.builders import answered, instrument, listed, listing_body
from tests.clocks import ManualClock
from tests.fakes import Fakes

BTC, DOGE, ETH = instrument("XBT/USD", key="XXBTZUSD"), instrument("XDG/USD"), instrument("ETH/EUR")


class ScriptedHttp:
    """Answers with one listing or problem after the other, the last one for good; and ``others``, tokenized assets."""

    def __init__(self, clock: ManualClock, answers: Sequence[list[Instrument] | ExchangeError | bytes]) -> None:
        self.clock, self.answers = clock, list(answers)
        self.asked_s: list[float] = []
        self.others: bytes | ExchangeError = listing_body([])

    async def get(self, request: Request) -> HttpAnswer:
        if request == rest_api.asset_pairs(TOKENIZED):
            if isinstance(self.others, ExchangeError):
                raise self.others
            return answered(self.others, recv_ns=self.clock.wall_ns())
        assert request == rest_api.asset_pairs()
        self.asked_s.append(self.clock.monotonic())
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(said, ExchangeError):
            raise said
        body = said if isinstance(said, bytes) else listing_body(said)
        return answered(body, recv_ns=self.clock.wall_ns())


class Sums:
    """Adds up what it is told."""

    def __init__(self, first: Iterable[str]) -> None:
        self.pairs = set(first)
        self.told = 0

    def follow(self, added: Sequence[Instrument], removed: Sequence[str]) -> None:
        self.told += 1
        assert self.pairs.issuperset(removed)
        assert self.pairs.isdisjoint(one.pair for one in added)
        self.pairs = self.pairs - set(removed) | {one.pair for one in added}


class Bench(Fakes):
    """A roster that follows a scripted exchange, and one that is told of what comes and goes."""

    def __init__(
        self,
        names: Sequence[str],
        first: list[Instrument],
        *answers: list[Instrument] | ExchangeError | bytes,
        fresh: bool = True,
        known: Sequence[Instrument] = (),
        odd: Mapping[str, OddEntry] | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        clock = ManualClock()
        self.http = ScriptedHttp(clock, answers or [first])
        super().__init__(self.http, clock=clock)
        self.roster = PairList(
            names, self.context, last_id=lambda pair: self.ledger.of(pair).spans.last or 0, **options
        )
        self.roster.remember(known if fresh else first)
        self.roster.begin([Listed(CURRENCY, first, odd or {}), listed(asked=TOKENIZED)] if fresh else None)
        self.sums = Sums(self.roster.instruments)
        self.roster.subscribe(self.sums)

    @property
    def pairs(self) -> set[str]:
        return set(self.roster.instruments)
