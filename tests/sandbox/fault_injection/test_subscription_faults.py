from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from recorder.errors import UsageError
from recorder.sandbox.fault_injection.injected_faults import InjectedFaults
from recorder.sandbox.fault_injection.subscription_faults import TOO_FAST, TOO_MANY, SubscriptionFaults
from recorder.sandbox.market import Market
from recorder.sandbox.websocket import Connection
from tests.clocks import ManualClock

BTC, ETH = "BTC/USD", "ETH/EUR"


@pytest.fixture
def entry(clock: ManualClock) -> SubscriptionFaults:
    return SubscriptionFaults(clock)


def asked(clock: ManualClock, entry: SubscriptionFaults, *symbols: str) -> Sequence[dict[str, Any]]:
    """Subscribe on a new connection; return the answers, without snapshots."""
    injected = InjectedFaults(clock)
    injected.entry = entry
    connection = Connection(Market(start_ns=clock.wall_ns()), connection_id=1, injected=lambda: injected)
    params = {"channel": "trade", "symbol": list(symbols), "snapshot": False}
    text = json.dumps({"method": "subscribe", "req_id": 7, "params": params})
    return [json.loads(frame) for frame in connection.receive(text, now_ns=clock.wall_ns())]


def test_a_pair_is_refused_by_name_with_any_text_for_a_time_and_others_are_not(
    clock: ManualClock, entry: SubscriptionFaults
) -> None:
    entry.refuse("Try later", 5.0, symbols=[BTC])
    refused, granted = asked(clock, entry, BTC, ETH)
    assert (refused["error"], refused["symbol"], refused["req_id"]) == ("Try later", BTC, 7)
    assert granted["result"]["symbol"] == ETH
    clock.move(5.0)
    assert all(answer["success"] for answer in asked(clock, entry, BTC, ETH))


def test_a_message_can_be_refused_whole_by_its_number_alone(clock: ManualClock, entry: SubscriptionFaults) -> None:
    entry.refuse(symbols=[BTC], named=False)
    (refused,) = asked(clock, entry, BTC, ETH)
    assert (refused["error"], refused["req_id"], "symbol" in refused) == (TOO_MANY, 7, False)
    assert asked(clock, entry, ETH)[0]["success"]


def test_no_answer_is_a_refusal_too(clock: ManualClock, entry: SubscriptionFaults) -> None:
    entry.refuse("", symbols=[BTC])
    assert [answer["result"]["symbol"] for answer in asked(clock, entry, BTC, ETH)] == [ETH]
    entry.refuse("", named=False)
    assert asked(clock, entry, ETH) == []
    entry.release()
    assert len(asked(clock, entry, BTC, ETH)) == 2


def test_messages_can_be_limited_in_size_and_number(clock: ManualClock, entry: SubscriptionFaults) -> None:
    entry.limit_to(symbols=1, per_s=3)
    said = [asked(clock, entry, *symbols)[0].get("error") for symbols in ([BTC, ETH], [BTC], [ETH], [BTC])]
    assert said == [TOO_FAST, None, None, TOO_FAST]
    clock.move(1.0)
    assert asked(clock, entry, BTC)[0]["success"]
    assert [symbols for _, symbols in entry.requested] == [(BTC, ETH), (BTC,), (ETH,), (BTC,), (BTC,)]
    with pytest.raises(UsageError, match="refuse instead"):
        entry.limit_to(per_s=0.5)
