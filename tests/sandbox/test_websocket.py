from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from recorder.sandbox.exchange_status import StatusMessage
from recorder.sandbox.market import Market
from recorder.sandbox.websocket import Connection

NOW_NS = 1_783_465_205_562_702_999
STAMPS = '"time_in":"2026-07-07T23:00:05.562702Z","time_out":"2026-07-07T23:00:05.562742Z"'


@pytest.fixture
def connection() -> Connection:
    return Connection(
        Market(start_ns=NOW_NS, history={"BTC/USD": 80, "DOGE/USD": 3}), connection_id=18125794168470749634
    )


def ask(connection: Connection, method: str, *symbols: str, **others: Any) -> list[str]:
    params = {"channel": "trade", "symbol": list(symbols)} | others.pop("params", {})
    return connection.receive(json.dumps({"method": method, "params": params, **others}), now_ns=NOW_NS)


def without_stamps(text: str) -> str:
    return re.sub(r'("time_(?:in|out)":)"[^"]*"', r'\1""', text)


def test_the_greeting_is_text_for_text_a_recorded_one(connection: Connection, payloads: Path) -> None:
    recorded = (payloads / "ws_v2/status/connect_banners_live.jsonl").read_text().splitlines()
    assert connection.opened() == [recorded[3]]


def test_each_symbol_is_acknowledged_by_itself_as_recorded(connection: Connection, payloads: Path) -> None:
    recorded = (payloads / "ws_v2/ack/acks_2026-07-07_two_symbols.jsonl").read_text().splitlines()[3:5]
    acks = ask(connection, "subscribe", "BTC/USD", "ETH/EUR", params={"snapshot": False})
    assert [without_stamps(ack) for ack in acks] == [
        without_stamps(line).replace("ETH/USD", "ETH/EUR") for line in recorded
    ]
    assert connection.symbols == {"BTC/USD", "ETH/EUR"}


def test_req_id_is_echoed_right_after_method_also_if_it_is_zero(connection: Connection) -> None:
    (ack,) = ask(connection, "subscribe", "BTC/USD", req_id=0)
    assert ack == (
        '{"method":"subscribe","req_id":0,"result":{"channel":"trade","snapshot":false,"symbol":"BTC/USD"},'
        f'"success":true,{STAMPS}}}'
    )


def test_snapshots_follow_all_acknowledgements_and_hold_50_trades_or_all_there_are(connection: Connection) -> None:
    frames = ask(connection, "subscribe", "BTC/USD", "DOGE/USD", "MINA/GBP", params={"snapshot": True})
    read = [json.loads(frame) for frame in frames]
    assert [frame.get("method", frame.get("type")) for frame in read] == ["subscribe"] * 3 + ["snapshot"] * 3
    assert [ack["result"]["snapshot"] for ack in read[:3]] == [True] * 3
    assert [[trade["trade_id"] for trade in frame["data"]] for frame in read[3:]] == [
        list(range(31, 81)),
        [1, 2, 3],
        [],
    ]


def test_a_bad_symbol_is_refused_and_its_good_neighbours_are_not(connection: Connection, payloads: Path) -> None:
    recorded = (payloads / "ws_v2/errors/subscribe_errors_live.jsonl").read_text().splitlines()[1]
    good, unlisted, shapeless, small = ask(connection, "subscribe", "BTC/USD", "XBT/USD", "XBTUSD", "btc/usd")
    assert json.loads(good)["success"] is True
    assert without_stamps(unlisted) == without_stamps(recorded)
    assert json.loads(shapeless)["error"] == "Currency pair not in ISO 4217-A3 format XBTUSD"
    assert json.loads(small)["error"] == "Currency pair not in ISO 4217-A3 format btc/usd"
    assert connection.symbols == {"BTC/USD"}


def test_the_wildcard_is_no_symbol_of_trades(connection: Connection) -> None:
    (refusal,) = ask(connection, "subscribe", "*")
    assert json.loads(refusal)["error"] == "Currency pair not in ISO 4217-A3 format *"


def test_subscribing_twice_is_refused_and_changes_nothing(connection: Connection) -> None:
    ask(connection, "subscribe", "BTC/USD")
    (refusal,) = ask(connection, "subscribe", "BTC/USD", req_id=9, params={"snapshot": True})
    assert refusal == (
        f'{{"error":"Already subscribed","method":"subscribe","req_id":9,"success":false,"symbol":"BTC/USD",{STAMPS}}}'
    )
    assert connection.symbols == {"BTC/USD"}


def test_unsubscribing_is_acknowledged_without_a_snapshot_and_ends_the_subscription(connection: Connection) -> None:
    ask(connection, "subscribe", "BTC/USD")
    (ack,) = ask(connection, "unsubscribe", "BTC/USD", req_id=987654321)
    assert ack == (
        '{"method":"unsubscribe","req_id":987654321,"result":{"channel":"trade","symbol":"BTC/USD"},'
        f'"success":true,{STAMPS}}}'
    )
    assert connection.symbols == set()


def test_unsubscribing_from_nothing_is_refused_under_the_name_of_subscribe(connection: Connection) -> None:
    (refusal,) = ask(connection, "unsubscribe", "BTC/USD")
    assert refusal == (
        f'{{"error":"Subscription Not Found","method":"subscribe","success":false,"symbol":"BTC/USD",{STAMPS}}}'
    )


def test_the_keys_of_a_refusal_are_alphabetical(connection: Connection) -> None:
    (refusal,) = ask(connection, "subscribe", "NOPE", req_id=1)
    assert list(json.loads(refusal)) == sorted(json.loads(refusal))


def test_a_ping_is_answered_without_success_and_without_a_subscription(connection: Connection) -> None:
    assert connection.receive('{"method":"ping","req_id":101}', now_ns=NOW_NS) == [
        f'{{"method":"pong","req_id":101,{STAMPS}}}'
    ]
    assert connection.receive('{"method":"ping"}', now_ns=NOW_NS) == [f'{{"method":"pong",{STAMPS}}}']


def test_a_private_channel_is_referred_to_the_other_host(connection: Connection, payloads: Path) -> None:
    recorded = (payloads / "ws_v2/errors/subscribe_errors_live.jsonl").read_text().splitlines()[3]
    refusals = connection.receive('{"method":"subscribe","params":{"channel":"executions"}}', now_ns=NOW_NS)
    assert [without_stamps(refusal) for refusal in refusals] == [without_stamps(recorded)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        "null",
        "[" * 100_000,
        '{"method":"dance"}',
        '{"method":"subscribe"}',
        '{"method":"subscribe","params":[]}',
        '{"method":"subscribe","params":{"channel":["trade"],"symbol":["BTC/USD"]}}',
        '{"method":"subscribe","params":{"channel":"trade"}}',
        '{"method":"subscribe","params":{"channel":"trade","symbol":"BTC/USD"}}',
        '{"method":"unsubscribe","params":{"channel":"trade","symbol":[7]}}',
        '{"method":{},"params":{},"req_id":"x"}',
    ],
)
def test_nonsense_is_answered_with_one_refusal_and_subscribes_to_nothing(connection: Connection, text: str) -> None:
    (refusal,) = connection.receive(text, now_ns=NOW_NS)
    assert json.loads(refusal)["success"] is False
    assert connection.symbols == set()


def test_only_a_rejected_pair_is_refused_as_if_it_were_not_listed() -> None:
    market = Market(start_ns=NOW_NS, history=1)
    connection = Connection(market, connection_id=1, rejected={"BTC/USD"})
    refused, granted = ask(connection, "subscribe", "BTC/USD", "DOGE/USD")
    assert json.loads(refused)["error"] == "Currency pair not supported BTC/USD"
    assert json.loads(granted)["success"] is True


def test_a_pair_is_refused_once_it_is_delisted(connection: Connection) -> None:
    connection._venue.delist("BTC/USD")
    (refused,) = ask(connection, "subscribe", "BTC/USD")
    assert json.loads(refused)["error"] == "Currency pair not supported BTC/USD"


def test_the_greeting_tells_the_state_of_the_moment() -> None:
    told = [StatusMessage("maintenance"), StatusMessage("online")]
    connection = Connection(Market(start_ns=NOW_NS), connection_id=7, status=lambda: told[-1])
    assert '"system":"online"' in connection.opened()[0]
    told.pop()
    assert '"system":"maintenance"' in connection.status()
