from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import pytest

from recorder.archive.datasets import INSTRUMENTS, Branch
from recorder.archive.instruments import InstrumentArchive
from recorder.collectors.candles import CandleCollector, Wanted
from recorder.collectors.exchange_status import ExchangeStatus, StatusPoller
from recorder.collectors.first_listing import first_listing
from recorder.collectors.pair_list import PairList
from recorder.collectors.silent_pairs import EVERY_S, SilentPairWatch
from recorder.collectors.trade_poll import PollCollector
from recorder.core.model import Trade
from recorder.core.repair_planning import Fill
from recorder.core.trade_ids import Gap, Span
from recorder.errors import ExchangeError, Malformed, RateLimited, Refused, Retry, Unavailable, UnknownPair
from recorder.kraken import rest_api
from recorder.kraken.rest_api import Request
from recorder.kraken.silence_rules import GRACE_S, LAG_S
from recorder.kraken.trade_pages import TradesPage
from recorder.net.http import HttpAnswer
from recorder.repair.catch_up import CatchUp
from recorder.repair.fetch_trades import Fetcher
from recorder.runtime.exchange_client import note_refusals
from tests.builders import BTC, PAIR, T0_US, Shop, trades
from tests.clocks import running, settle
from tests.fakes import Fakes, Promised
from tests.segments import named

Ask: TypeAlias = Callable[[Fakes, Shop], Awaitable[None]]
ODD = b'{"error":[],"result":[5]}'
ASKED = rest_api.trades(BTC, since_ns="5")


class Door:
    """Gives the answers and errors that it has, one after the other, the last one for good."""

    def __init__(self, *answers: bytes | ExchangeError) -> None:
        self.answers: Sequence[bytes | ExchangeError] = answers
        self.asked: list[Request] = []

    async def get(self, request: Request) -> HttpAnswer:
        said = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(request)
        if isinstance(said, ExchangeError):
            raise said
        return HttpAnswer(1, said, rest_api.result(200, said))


async def test_an_answer_comes_with_what_is_read_of_it_and_nothing_is_kept() -> None:
    body = b'{"error":[],"result":{"XXBTZUSD":[],"last":"7"}}'
    fakes = Fakes(Door(body))
    answer, page = await fakes.exchange.trades(ASKED, PAIR)
    assert (answer.body, page) == (body, TradesPage((), "7"))
    assert fakes.journalled() == []


async def test_what_cannot_be_read_is_counted_kept_as_it_came_and_raised() -> None:
    fakes = Fakes(Door(ODD))
    with pytest.raises(Malformed) as raised:
        await fakes.exchange.trades(ASKED, PAIR)
    assert (raised.value.body, raised.value.retry) == (ODD, Retry.WITH_BACKOFF)
    kept, note = fakes.journalled()
    source = "rest-unreadable:/0/public/Trades?pair=XBTUSD&since=5&count=1000#BTC%2FUSD"
    assert (kept.source, kept.payload) == (source, ODD)
    said = json.loads(note.payload)
    assert (said["note"], said["pair"], said["source"]) == ("malformed", PAIR, source)
    assert fakes.value("recorder_rest_failures_total", kind="Malformed") == 1


@pytest.mark.parametrize(
    "error", [RateLimited("slow down", 3.0), Unavailable("HTTP 502"), Refused("no"), UnknownPair("who?", PAIR)]
)
async def test_any_other_failure_is_counted_and_raised_as_it_is(error: ExchangeError) -> None:
    fakes = Fakes(Door(error))
    with pytest.raises(type(error)) as raised:
        await fakes.exchange.trades(ASKED, PAIR)
    assert raised.value is error
    assert fakes.journalled() == []
    assert fakes.value("recorder_rest_failures_total", kind=type(error).__name__) == 1


async def test_a_refusal_is_noted_and_its_pause_is_metered(fakes: Fakes) -> None:
    told = note_refusals(fakes.notes, fakes.metrics)
    await told(reason="too many", path="/0/public/Trades", scope="path", pause_s=5.0, per_s=0.5)
    said = {"reason": "too many", "path": "/0/public/Trades", "scope": "path", "pause_s": 5.0, "per_s": 0.5}
    assert fakes.noted() == [{"kind": "throttled", "pair": None, **said}]
    assert fakes.value("recorder_rest_throttled_seconds_total") == 5.0


# -- whoever asks ---------------------------------------------------------------------------------------------------


@pytest.fixture
def asking(opened: Shop) -> Fakes:
    """Of a pair of which some trades are held; the exchange never says what can be read."""
    asking = Fakes(Door(ODD))
    asking.ledger.observe_trades(trades(1, 10))
    return asking


async def poll(asking: Fakes, _: Shop) -> None:
    polling = PollCollector(
        asking.ledger,
        asking.context,
        instruments={PAIR: BTC},
        promises=Promised(),
        refresh_soon=lambda: None,
        everything=True,
    )
    async with running(polling):
        await settle()


async def behind(asking: Fakes, _: Shop) -> None:
    await CatchUp(asking.ledger, asking.context, instruments={PAIR: BTC}).fetch_newest(PAIR)


async def confirm(asking: Fakes, _: Shop) -> None:
    await CatchUp(asking.ledger, asking.context, instruments={PAIR: BTC}).confirm(PAIR)


async def fetch(asking: Fakes, opened: Shop) -> None:
    fetcher = Fetcher(
        asking.ledger,
        opened.archive,
        asking.exchange,
        instruments={PAIR: BTC},
        clock=asking.clock,
        metrics=asking.metrics,
    )
    await fetcher.fetch(Fill(PAIR, (Gap(PAIR, Span(11, 20), T0_US + 10_000, T0_US + 21_000),)))


async def candles(asking: Fakes, _: Shop) -> None:
    wanted = Wanted(["1m"], 60.0, 1.0)
    async with running(CandleCollector(asking.context, instruments={PAIR: BTC}, wanted=wanted, unknown=lambda _: None)):
        await settle()


async def listing(asking: Fakes, _: Shop) -> None:
    await PairList([PAIR], asking.context).refresh()


async def first(asking: Fakes, opened: Shop) -> None:
    opened.tables.add(Branch(INSTRUMENTS), [(1, BTC)])
    opened.tables.write(named(1))
    stop, listings = asyncio.Event(), InstrumentArchive(opened.tables)
    assert await first_listing(PairList([PAIR], asking.context), asking.context, listings, stop=stop)


async def system(asking: Fakes, _: Shop) -> None:
    async with running(StatusPoller(asking.context, ExchangeStatus(asking.notes))):
        await settle()


async def silence(asking: Fakes, _: Shop) -> None:
    class Streams:
        def streaming(self, pair: str) -> bool:
            return True

        def heard(self, pair: str) -> int:
            return 0

        def last_heard(self, pair: str) -> Trade | None:
            return None

        async def resubscribe(self, pairs: Sequence[str]) -> None: ...

    tail = CatchUp(asking.ledger, asking.context, instruments={PAIR: BTC})
    stream, instruments = Streams(), {PAIR: BTC}
    async with running(
        SilentPairWatch(
            asking.ledger, asking.context, instruments=instruments, catch_up=tail, stream=stream, feed=stream
        )
    ):
        await asking.pass_time(EVERY_S + LAG_S + GRACE_S)


@pytest.mark.parametrize("ask", [poll, behind, confirm, fetch, candles, listing, first, system, silence])
async def test_whoever_asks_what_cannot_be_read_is_kept(ask: Ask, asking: Fakes, opened: Shop) -> None:
    await ask(asking, opened)
    kept, note = asking.journalled()
    assert kept.source.startswith("rest-unreadable:/0/public/")
    assert kept.payload == ODD
    assert json.loads(note.payload)["source"] == kept.source
    assert asking.value("recorder_rest_failures_total", kind="Malformed") == 1
