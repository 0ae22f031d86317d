"""Answers of private endpoints as rows: exact, and one bad entry costs only itself."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from recorder.errors import Malformed
from recorder.kraken.private_rows import balances, ledger_page, named_page, orders_page, trades_page

PAYLOADS = Path(__file__).parents[3] / "shared/kraken/payloads/private"
ENTRY = {
    "refid": "R", "time": 1623619565.8740494, "type": "trade", "subtype": "", "aclass": "currency", "asset": "ZUSD",
    "amount": "-19.6768", "fee": "0.0315", "balance": "67.9684",
}  # fmt: skip


def ledger(*members: str, count: object = None) -> bytes:
    return f'{{"ledger":{{{",".join(members)}}},"count":{json.dumps(count)}}}'.encode()


def member(name: str = "L1", **fields: Any) -> str:
    return f"{json.dumps(name)}: {json.dumps(ENTRY | fields)}"


def test_an_entry_is_read_to_the_last_digit_of_its_text() -> None:
    page = ledger_page(ledger(member(), count="324"))
    (row,) = page.rows
    assert (row.seconds, row.time_us) == (Decimal("1623619565.8740494"), 1_623_619_565_874_049)
    assert (row.amount, row.fee, row.balance) == (Decimal("-19.6768"), Decimal("0.0315"), Decimal("67.9684"))
    assert row.before == Decimal("87.6767")
    assert json.loads(row.raw) == ENTRY
    assert page.count == 324


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (member(""), "no id"),
        (member(balance=""), "no balance"),
        (member(balance=None), "no balance"),
        (member(amount="12,5"), "no number"),
        (member(amount="NaN"), "no number"),
        (member(amount="1e-30"), "does not fit"),
        (member(amount="9" * 40), "does not fit"),
        (member(amount=None), "no amount"),
        (member(time="never"), "no number"),
        (member(time=1e300), "does not fit|no number|can be held"),
        (member("L" * 65), "longer"),
        (member(refid="R" * 2000), "length"),
        (member(type=5), "str"),
        ('"L9": "text"', "object"),
        ('"L9": null', "object"),
    ],
)
def test_an_entry_that_is_no_row_is_kept_apart_and_costs_no_other(text: str, reason: str) -> None:
    page = ledger_page(ledger(member("L1"), text, member("L2")))
    assert [row.id for row in page.rows] == ["L1", "L2"]
    (apart,) = page.apart
    assert pytest.approx(len(apart.digest)) == 32
    assert any(word in apart.reason for word in reason.split("|"))
    assert page.size == 3


def test_entries_without_an_id_are_all_kept_though_they_share_a_name() -> None:
    page = ledger_page(ledger(member("", refid="A"), member("", refid="B"), member("", refid="A")))
    assert len(page.apart) == 3
    assert len({one.digest for one in page.apart}) == 2, "the same entry is the same"


@pytest.mark.parametrize(
    "result", [b"", b"[]", b"null", b'{"ledger":[]}', b'{"ledger":{"a":1,}}', b'{"ledger":{"a" 1}}']
)
def test_an_answer_without_entries_is_malformed(result: bytes) -> None:
    with pytest.raises(Malformed):
        ledger_page(result)


def test_balances_are_all_read_or_none() -> None:
    rows = balances(b'{"ZUSD":{"balance":25435.21,"hold_trade":"8249.76"},"XXBT":{"balance":"1.0000000001"}}', 7)
    assert [(row.asset, row.balance, row.held) for row in rows] == [
        ("ZUSD", Decimal("25435.21"), Decimal("8249.76")),
        ("XXBT", Decimal("1.0000000001"), Decimal(0)),
    ]
    for wrong in (b'{"ZUSD":{}}', b'{"ZUSD":{"balance":""}}', b'{"":{"balance":"1"}}', b'{"A":{"balance":"x"}}'):
        with pytest.raises(Malformed):
            balances(wrong, 7)
    with pytest.raises(Malformed, match="twice"):
        balances(b'{"A":{"balance":"1"},"A":{"balance":"2"}}', 7)


def test_recorded_answers_are_read_whole() -> None:
    if not PAYLOADS.is_dir():
        pytest.skip("the recorded payloads (../shared/kraken/payloads beside the repository) are not here")

    def result(name: str) -> bytes:
        return json.dumps(json.loads((PAYLOADS / f"{name}.json").read_text())["result"]).encode()

    for name in ("krakennet_GetLedgerInfo", "async_rs_ledgers_info_json", "xchange_ledgerinfo-data"):
        entries = ledger_page(result(name))
        assert entries.rows
        assert not entries.apart, name
    trades = [
        trades_page(result(name))
        for name in ("krakennet_GetUserTrades", "TradesHistory_fixture", "xchange_tradehistory-data")
    ]
    assert not any(page.apart for page in trades)
    assert [row.trade_id for page in trades for row in page.rows] == [40274859, 39482674, 1001, 1002, None, None, None]
    assert trades[1].rows[0].ledgers == ("L4UESK-KG3EQ-BJM7HJ",)
    for name in ("async_rs_closed_orders_json", "krakennet_GetClosedOrders", "ClosedOrders_fixture"):
        orders = orders_page(result(name))
        assert orders.rows
        assert not orders.apart, name
    assert len(balances(result("async_rs_extended_balance_json"), 0)) == 28
    assert not named_page(result("async_rs_query_trades_info_json"), "account_trades").apart
