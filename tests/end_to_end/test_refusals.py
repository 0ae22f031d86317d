"""Throttles, refusals of the edge, and refused subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from recorder.sandbox.fault_injection.subscription_faults import TOO_FAST, SubscriptionFaults
from recorder.sandbox.rest_faults import HANDSHAKE, Beside
from recorder.sandbox.throttle import FORMS, Throttle
from tests.end_to_end.fault_bench import BTC, LATE_S, TURN_S, Bench
from tests.end_to_end.harness import until


@pytest.mark.parametrize("form", FORMS)
async def test_a_throttle_that_calling_keeps_on_is_waited_out(bench: Bench, form: str) -> None:
    async with bench.recording():
        bench.sandbox.throttle(Throttle(bench.clock, size=2, per_s=0.5, sticky=True, form=form))
        for pair in bench.sandbox.last_ids():
            bench.sandbox.faults.throw("drop", n=1)
            bench.sandbox.burst(pair, 20)
        await bench.hears(more=60)
        await until(lambda: any(request.fault == "throttle" for request in bench.sandbox.requests), what="a refusal")
    bench.is_the_truth()
    bench.has_manners()


async def test_a_refusal_of_the_edge_is_left_alone_for_minutes(bench: Bench) -> None:
    async with bench.recording():
        bench.sandbox.faults.throw("http_403", n=1, path="/0/public/Trades")
        bench.sandbox.faults.throw("drop", n=3)
        bench.sandbox.burst(BTC, 30)
        await until(lambda: any(request.status == 403 for request in bench.sandbox.requests), what="a 403")
    refused = next(request for request in bench.sandbox.requests if request.status == 403)
    after = [request for request in bench.sandbox.requests if request.at_s > refused.at_s]
    assert next(one for one in after if one.path == refused.path).at_s - refused.at_s >= 120 - LATE_S
    bench.is_the_truth()


@pytest.mark.parametrize("as_date", [True, False], ids=["date", "seconds"])
async def test_a_refused_handshake_pauses_connections_and_rest_as_long_as_it_says(
    bench: Bench, *, as_date: bool
) -> None:
    async with bench.recording():
        beside = Beside(90.0, as_date=as_date)
        bench.sandbox.faults.rest.throw("http_429" if as_date else "http_403", n=1, path=HANDSHAKE, beside=beside)
        bench.sandbox.faults.disconnect()
        await until(lambda: len(bench.sandbox.requests.to("/v2")) == 2, what="a refusal")
        refused_s = bench.sandbox.requests.to("/v2")[1].at_s
        await bench.clock.passed(90.0)
        await bench.hears()
    later = [one for one in bench.sandbox.requests if one.at_s > refused_s + LATE_S]
    assert later[0].at_s - refused_s >= 89 - LATE_S  # a date says whole seconds
    assert len(bench.sandbox.requests.to("/v2")) == 3
    bench.is_the_truth()
    bench.has_manners()


async def test_a_refused_path_is_paused_as_long_as_it_says_while_others_go_on(bench: Bench) -> None:
    async with bench.recording():
        beside = Beside(100.0)
        bench.sandbox.faults.rest.throw("http_429", n=1, path="/0/public/Trades", beside=beside)
        bench.sandbox.faults.throw("drop", n=3)
        bench.sandbox.burst(BTC, 30)
        await until(lambda: any(request.status == 429 for request in bench.trades), what="a refusal")
        await bench.clock.passed(100.0)
        await bench.hears()
    (refused,) = [request for request in bench.trades if request.status == 429]
    meanwhile = [one for one in bench.sandbox.requests if LATE_S < one.at_s - refused.at_s < 100.0 - LATE_S]
    assert meanwhile
    assert all(one.path != refused.path for one in meanwhile)
    bench.is_the_truth()
    bench.has_manners()


def by_name(entry: SubscriptionFaults) -> None:
    entry.refuse(for_s=20.0)


def whole(entry: SubscriptionFaults) -> None:
    entry.refuse(TOO_FAST, 20.0, named=False)


def too_large(entry: SubscriptionFaults) -> None:
    entry.limit_to(symbols=2)


def no_answer(entry: SubscriptionFaults) -> None:
    entry.refuse("", 30.0, symbols=[BTC])


@pytest.mark.parametrize("refuse", [by_name, whole, too_large, no_answer])
async def test_a_subscription_refused_for_now_is_polled_then_streamed(
    bench: Bench, refuse: Callable[[SubscriptionFaults], None]
) -> None:
    entry = bench.sandbox.faults.entry
    refuse(entry)
    async with bench.recording():
        await until(lambda: bench.streamed() == [set(bench.sandbox.last_ids())], what="every pair is streamed")
        await bench.hears()
    moments = [at_s for at_s, _ in entry.requested]
    assert len(moments) <= 12
    assert all(after - before >= 1 - TURN_S for before, after in pairwise(moments)), "a burst"
    assert len(bench.sandbox.requests.to("/v2")) == 1
    bench.is_the_truth()
    bench.has_manners()
