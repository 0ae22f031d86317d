"""A channel is one entry: what a subscription may ask for, and the frames that follow from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from recorder.sandbox.channels import TRADES, Channel, SubscriptionRefused
from recorder.sandbox.market import Market
from recorder.sandbox.websocket import Connection

NOW_NS = 1_783_465_205_562_702_999
BTC, ETH = "BTC/USD", "ETH/EUR"


def with_depth(params: Mapping[str, Any]) -> dict[str, Any]:
    if params.get("depth", 10) not in {10, 25}:
        raise SubscriptionRefused("Subscription depth not supported")
    return {"snapshot": params.get("snapshot", True), "depth": params.get("depth", 10)}


SEA = Channel(name="sea", accepted=with_depth, snapshot=lambda *_: '{"channel":"sea"}', updates=lambda *_: [])


@pytest.fixture
def connection() -> Connection:
    return Connection(Market(start_ns=NOW_NS, history=1), connection_id=1, channels=(TRADES, SEA))


def ask(connection: Connection, method: str, **params: object) -> list[dict[str, Any]]:
    text = json.dumps({"method": method, "params": params})
    return [json.loads(frame) for frame in connection.receive(text, now_ns=NOW_NS)]


def test_accepted_parameters_are_acknowledged_alphabetically(
    connection: Connection,
) -> None:
    ack, snapshot = ask(connection, "subscribe", channel="sea", symbol=[BTC], depth=25)
    assert list(ack["result"].items()) == [("channel", "sea"), ("depth", 25), ("snapshot", True), ("symbol", BTC)]
    assert snapshot == {"channel": "sea"}
    (end,) = ask(connection, "unsubscribe", channel="sea", symbol=[BTC], depth=25)
    assert list(end["result"].items()) == [("channel", "sea"), ("depth", 25), ("symbol", BTC)]


def test_what_a_channel_refuses_subscribes_to_nothing(connection: Connection) -> None:
    (refusal,) = ask(connection, "subscribe", channel="sea", symbol=[BTC], depth=3)
    assert (refusal["error"], refusal["success"]) == ("Subscription depth not supported", False)
    assert connection.symbols == set()


def test_each_channel_of_a_connection_has_its_own_pairs(connection: Connection) -> None:
    ask(connection, "subscribe", channel="trade", symbol=[BTC])
    ask(connection, "subscribe", channel="sea", symbol=[ETH])
    assert connection.symbols == {BTC, ETH}
    assert connection.follows(TRADES, [BTC, ETH])
    assert not connection.follows(TRADES, [ETH])
    assert not connection.follows(SEA, [BTC])
    ask(connection, "unsubscribe", channel="trade", symbol=[ETH, BTC])
    assert connection.symbols == {ETH}
