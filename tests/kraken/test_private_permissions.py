"""What a key may do: only one that is proven to read alone is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recorder.errors import Malformed
from recorder.kraken.private_permissions import BOXES, KeyInfo, parse, refusal, remarks

READING = ["query-funds", "query-closed-trades", "query-ledger"]
NOW_S = 1_764_460_800
PAYLOAD = Path(__file__).parents[3] / "shared/kraken/payloads/private/krakennet_GetApiKeyInfo.json"


def info(permissions: object = READING, **fields: object) -> KeyInfo:
    return parse(json.dumps({"permissions": permissions, **fields}).encode())


def test_a_key_that_reads_is_accepted_in_both_spellings_of_its_fields() -> None:
    snake = info(api_key_name="a", query_from="5", created_time="1700000000", ip_allowlist=["1.2.3.4"])
    camel = info(apiKeyName="a", queryFrom=5, createdTime=1700000000, ipAllowlist=["1.2.3.4"])
    assert snake == camel
    assert refusal(snake, allow_trading_key=False) is None
    assert refusal(info([*READING, "query-open-trades"]), allow_trading_key=False) is None
    assert snake.is_cut
    assert (snake.created_s, snake.addresses) == (1_700_000_000, ("1.2.3.4",))


@pytest.mark.parametrize(
    "right",
    [
        *(right for right in BOXES if not right.startswith("query")),
        *(
            "trade",
            "WITHDRAW-FUNDS",
            "withdraw_funds",
            "Query-Funds",
            "query-funds ",
            "query_funds",
            "query-everything",
        ),
        *("", "*", "query-funds,withdraw-funds", "\uff57ithdraw-funds", "query\u2010funds", "withdraw-funds\0"),
    ],
)
def test_any_other_right_in_any_spelling_refuses_the_key_and_names_what_to_untick(right: str) -> None:
    found = info([*READING, right])
    message = refusal(found, allow_trading_key=False)
    assert message is not None
    assert "may do more than read" in message
    assert BOXES.get(right, right) in message
    assert refusal(found, allow_trading_key=True) is None
    assert next(remarks(found, NOW_S, allow_trading_key=True)).level == "note", "it is repeated"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"permissions": None},
        {"permissions": "query-funds"},
        {"permissions": {"query-funds": True}},
        {"permissions": [["query-funds"]]},
        {"permissions": [*READING, None]},
        {"permissions": READING, "Permissions": ["withdraw-funds"]},
        {"permissions": READING, "permissions2": ["withdraw-funds"]},
        {"permissions": READING, "extraPermissions": []},
        {"permissions": READING, "apiKeyName": "a", "api_key_name": "b"},
    ],
)
def test_permissions_that_cannot_be_read_refuse_the_key(fields: dict[str, Any]) -> None:
    found = parse(json.dumps(fields).encode())
    assert "cannot be read" in (refusal(found, allow_trading_key=False) or "")


@pytest.mark.parametrize(
    "text",
    [
        '{"permissions":["query-funds"],"permissions":["withdraw-funds"]}',
        '{"a":{"b":1,"b":2},"permissions":["query-funds","query-closed-trades","query-ledger"]}',
        "[]",
        "null",
        "{",
        '{"permissions":["\\ud800"',
        "[" * 100_000,
    ],
)
def test_an_answer_that_may_mean_two_things_or_none_is_malformed(text: str) -> None:
    with pytest.raises(Malformed, match="what this key may do is not known"):
        parse(text.encode())


def test_a_key_that_reads_too_little_names_the_missing_box() -> None:
    message = refusal(info(["query-funds", "query-ledger"]), allow_trading_key=False)
    assert (
        message == "this key lacks a right: tick query-closed-trades (Orders and trades: Query closed orders & trades)"
    )


def test_what_cuts_or_endangers_is_remarked() -> None:
    found = info(query_to="1700000000", valid_until=str(NOW_S + 86_400), created_time="1600000000", ip_allowlist=[""])
    by_topic = {one.topic: (one.level, one.text) for one in remarks(found, NOW_S, allow_trading_key=False)}
    assert [level for level, _ in by_topic.values()] == ["ok", "note", "note", "note", "note"]
    assert "works from any address" in by_topic["addresses"][1]
    assert "in 1 days" in by_topic["expiry"][1]
    expired = info(valid_until=str(NOW_S - 1))
    assert {one.topic for one in remarks(expired, NOW_S, allow_trading_key=False) if one.level == "wrong"} == {"expiry"}


def test_the_recorded_answer_is_refused_for_each_right_that_it_has_too_much() -> None:
    if not PAYLOAD.exists():
        pytest.skip("the recorded payloads (../shared/kraken/payloads beside the repository) are not here")
    found = parse(json.dumps(json.loads(PAYLOAD.read_text())["result"]).encode())
    assert found.excess == ["add-funds", "close-trades", "create-ws-token", "modify-trades", "withdraw-funds"]
    assert found.addresses == ()
    assert "123" not in repr(found), "neither the key nor the IBAN is kept"
