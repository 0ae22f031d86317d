"""The private endpoints of the sandbox refuse what Kraken refuses, by signatures made here by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from recorder.sandbox.private_account import MARKETS, PrivateAccount, printed, printed_time
from recorder.sandbox.private_rest import LOCKOUT_AFTER, Counter, PrivateRest, SandboxKey, new_key

SECRET = base64.b64encode(bytes(64)).decode()
NOW_NS = 1_764_460_800 * 10**9


class Client:
    def __init__(self, rest: PrivateRest) -> None:
        self.rest = rest
        self.nonce = 100
        self.now_ns = NOW_NS

    def ask(self, method: str, *, secret: str = SECRET, key: str = "k", nonce: object = None, **params: object) -> Any:
        self.nonce += 1
        body = urlencode({"nonce": self.nonce if nonce is None else nonce, **params})
        signed_nonce = str(self.nonce if nonce is None else nonce)
        message = f"/0/private/{method}".encode() + hashlib.sha256((signed_nonce + body).encode()).digest()
        sign = base64.b64encode(hmac.new(base64.b64decode(secret), message, hashlib.sha512).digest()).decode()
        content = json.loads(self.rest.answer(method, {"API-Key": key, "API-Sign": sign}, body, now_ns=self.now_ns))
        return content["error"][0] if content["error"] else content["result"]


@pytest.fixture
def client() -> Client:
    account = PrivateAccount(2)
    account.invent(trades=60, others=80, start_ns=NOW_NS - 10**15, end_ns=NOW_NS - 10**12, late_ns=10**13)
    return Client(PrivateRest(account, [SandboxKey("k", SECRET)]))


def test_keys_signatures_nonces_and_factors_are_checked_and_repeated_mistakes_lock_out(client: Client) -> None:
    assert client.ask("Balance", key="x") == "EAPI:Invalid key"
    assert client.ask("Balance", secret=base64.b64encode(b"x" * 64).decode()) == "EAPI:Invalid signature"
    assert "ZUSD" in client.ask("Balance")
    for nonce in (client.nonce, 5, "", "-1", "1e9", 2**64):
        assert client.ask("Balance", nonce=nonce) == "EAPI:Invalid nonce"
    client.rest.keys["k"].nonce_window = 50
    assert "ZUSD" in client.ask("Balance", nonce=client.nonce - 20)
    client.rest.keys["k"].otp = "7"
    assert client.ask("Balance") == client.ask("Balance", otp="8") == "EGeneral:Permission denied"
    assert "ZUSD" in client.ask("Balance", otp="7")
    for _ in range(LOCKOUT_AFTER):
        client.ask("Balance", key="x")
    assert client.ask("Balance", otp="7") == "EGeneral:Temporary lockout"
    client.now_ns += 901 * 10**9
    assert "ZUSD" in client.ask("Balance", otp="7")


def test_rights_and_the_counter_are_checked(client: Client) -> None:
    client.rest.keys["k"].permissions = ("query-funds",)
    assert client.ask("Ledgers") == client.ask("QueryTrades", txid="T") == "EGeneral:Permission denied"
    assert client.ask("Nothing") == "EGeneral:Unknown method"
    client.rest.counter = Counter()
    answers = [client.ask("GetApiKeyInfo") for _ in range(16)]
    assert [isinstance(one, str) for one in answers] == [False] * 15 + [True]
    assert answers[-1] == "EAPI:Rate limit exceeded"
    client.now_ns += 4 * 10**9
    assert not isinstance(client.ask("GetApiKeyInfo"), str)
    client.rest.keys["k"].camel = True
    client.now_ns += 40 * 10**9
    assert client.ask("GetApiKeyInfo")["apiKeyName"] == "sandbox"


def test_pages_are_of_fifty_from_the_newest_within_start_and_end(client: Client) -> None:
    whole = client.ask("Ledgers")
    assert len(whole["ledger"]) == 50
    times = [row["time"] for row in whole["ledger"].values()]
    assert times == sorted(times, reverse=True)
    assert "count" not in client.ask("Ledgers", without_count="true")
    part = client.ask("Ledgers", start=times[9], end=times[0])
    assert 8 <= len(part["ledger"]) <= 9, "the start is exclusive, the end inclusive"
    rest = client.ask("Ledgers", ofs=whole["count"] - 3)
    assert len(rest["ledger"]) == 3
    assert client.ask("TradesHistory").startswith("EGeneral:Invalid arguments"), "fills are never joined here"
    trades = client.ask("TradesHistory", consolidate_taker="false", ledgers="true")["trades"]
    assert client.ask("QueryTrades", txid=",".join(list(trades)[:2])).keys() == set(list(trades)[:2])
    assert client.ask("QueryLedgers", id=",".join("L" * n for n in range(21))).startswith("EGeneral:Invalid arguments")
    assert client.ask("ClosedOrders")["count"] == client.ask("TradesHistory", consolidate_taker="false")["count"]


def test_what_is_late_is_served_later_and_what_is_removed_never(client: Client) -> None:
    account = client.rest.account
    row = account.enter("deposit", "ZUSD", 1, NOW_NS - 5, late_ns=10**10)
    assert row.id not in client.ask("QueryLedgers", id=row.id)
    client.now_ns += 11 * 10**9
    assert client.ask("QueryLedgers", id=row.id)[row.id]["amount"] == "0.0001"
    account.removed.add(row.id)
    assert client.ask("QueryLedgers", id=row.id) == {}


def test_an_invented_account_has_every_kind_and_its_balances_are_those_of_its_entries() -> None:
    account = PrivateAccount(3)
    account.invent(trades=10, others=40, start_ns=0, end_ns=10**15)
    kinds = {row.type for row in account.rows}
    assert kinds == {
        *("trade", "margin", "rollover", "settled", "staking", "earn", "reward", "transfer", "adjustment"),
        *("deposit", "withdrawal"),
    }
    sums: dict[str, int] = {}
    for row in account.rows:
        sums[row.asset] = sums.get(row.asset, 0) + row.amount - row.fee
    assert sums == account.balances
    assert len({row.id for row in account.rows}) == len(account.rows)
    assert len({row.time_ns for row in account.rows}) < len(account.rows), "some have the same time"
    trade = account.fill(MARKETS[0], "buy", 1, 5, trade_id=7)
    assert trade.fields()["cost"] == printed(trade.cost, 9)
    assert printed_time(1_500_000_000_500_000_000) == "1500000000.5"
    assert printed_time(1_500_000_000_000_000_000) == "1500000000.0"
    assert new_key(NOW_NS).secret != new_key(NOW_NS).secret
