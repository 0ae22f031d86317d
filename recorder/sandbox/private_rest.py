"""The private REST answers over an invented account (API.md 3, 4.2, 10): keys, signatures, nonces, counters, rights.

Checks what Kraken checks, by code of its own. Does not know HTTP: headers and a body in, the text of the body out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from recorder.sandbox.private_account import DECIMALS, Printed, PrivateAccount, printed
from recorder.sandbox.rest import UNKNOWN_METHOD, failure

PAGE: Final = 50
MOST_NAMED: Final = 20
READING: Final = ("query-funds", "query-open-trades", "query-closed-trades", "query-ledger")
LOCKOUT_AFTER: Final = 5
"""Refused keys or signatures in a row after which everything is refused for a while."""
LOCKOUT_S: Final = 900.0
_NS: Final = 1_000_000_000


class _Refusal(Exception):
    """An answer with one entry in ``error``."""


@dataclass(slots=True)
class SandboxKey:
    """A key of the account. With ``camel``, GetApiKeyInfo spells its fields so. ``extra`` replaces fields of it."""

    key: str
    secret: str
    permissions: tuple[str, ...] = READING
    otp: str | None = None
    camel: bool = False
    nonce_window: int = 0
    created_s: int = 1_700_000_000
    addresses: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    last_nonce: int = 0

    def info(self) -> dict[str, Any]:
        """Return what GetApiKeyInfo answers."""
        content: dict[str, Any] = {
            "api_key_name": "sandbox",
            "api_key": self.key,
            "nonce": str(self.last_nonce),
            "nonce_window": str(self.nonce_window),
            "permissions": list(self.permissions),
            "iban": "AA99 ZZZZ 1111 2222",
            "valid_until": "0",
            "query_from": "0",
            "query_to": "0",
            "created_time": str(self.created_s),
            "modified_time": str(self.created_s),
            "ip_allowlist": list(self.addresses) or [""],
            "last_used": str(self.created_s),
        }
        if self.camel:
            content = {_camel(name): value for name, value in content.items()}
        return content | self.extra


@dataclass(slots=True)
class Counter:
    """The counter of calls: its maximum, and by how much it falls each second; none refuses nobody."""

    most: float = 15.0
    per_s: float = 0.33
    value: float = 0.0
    at_s: float = 0.0
    refused: int = 0


def new_key(now_ns: int) -> SandboxKey:
    """Return a new key that only reads."""
    name = base64.b64encode(secrets.token_bytes(42)).decode()
    return SandboxKey(name, base64.b64encode(secrets.token_bytes(64)).decode(), created_s=now_ns // _NS)


class PrivateRest:
    """The private API of one account, by its keys."""

    def __init__(self, account: PrivateAccount, keys: Sequence[SandboxKey], *, counter: Counter | None = None) -> None:
        self.account = account
        self.keys = {key.key: key for key in keys}
        self.counter = counter
        self.nonces: list[int] = []
        """Every nonce that came with a right signature, in the order of arrival."""
        self.refusals: list[str] = []
        self._wrong = 0
        self._locked_until_s = -math.inf
        self._methods: dict[str, tuple[str, float, Callable[[Mapping[str, str], int], Any]]] = {
            "Balance": ("query-funds", 1, self._balance),
            "BalanceEx": ("query-funds", 1, self._balance_ex),
            "Ledgers": ("query-ledger", 2, self._ledgers),
            "QueryLedgers": ("query-ledger", 2, self._query_ledgers),
            "TradesHistory": ("query-closed-trades", 2, self._trades_history),
            "QueryTrades": ("query-closed-trades", 2, self._query_trades),
            "ClosedOrders": ("query-closed-trades", 2, self._closed_orders),
        }

    def answer(self, method: str, headers: Mapping[str, str], body: str, *, now_ns: int) -> str:
        """Return the body for ``/0/private/<method>``."""
        try:
            key, params = self._authenticated(method, headers, body, now_ns)
            return _answered(self._handled(method, key, params, now_ns))
        except _Refusal as refusal:
            self.refusals.append(str(refusal))
            return failure(str(refusal))

    def _handled(self, method: str, key: SandboxKey, params: Mapping[str, str], now_ns: int) -> Any:  # noqa: ANN401
        if method == "GetApiKeyInfo":
            self._count(1, now_ns)
            return key.info()
        right, cost, handler = self._methods.get(method, ("", 0.0, None))
        if handler is None:
            raise _Refusal(UNKNOWN_METHOD)
        self._count(cost, now_ns)
        if right not in key.permissions:
            raise _Refusal("EGeneral:Permission denied")
        return handler(params, now_ns)

    def _authenticated(
        self, method: str, headers: Mapping[str, str], body: str, now_ns: int
    ) -> tuple[SandboxKey, dict[str, str]]:
        if now_ns / _NS < self._locked_until_s:
            raise _Refusal("EGeneral:Temporary lockout")
        key = self.keys.get(headers.get("API-Key", ""))
        params = dict(parse_qsl(body, keep_blank_values=True))
        if key is None:
            raise self._wrong_key("EAPI:Invalid key", now_ns)
        nonce = params.get("nonce", "")
        digest = hashlib.sha256(nonce.encode() + body.encode()).digest()
        signed = hmac.digest(base64.b64decode(key.secret), f"/0/private/{method}".encode() + digest, "sha512")
        if not hmac.compare_digest(base64.b64encode(signed).decode(), headers.get("API-Sign", "")):
            raise self._wrong_key("EAPI:Invalid signature", now_ns)
        self._wrong = 0
        if not nonce.isdecimal() or not key.last_nonce - key.nonce_window < int(nonce) < 2**64:
            raise _Refusal("EAPI:Invalid nonce")
        self.nonces.append(int(nonce))
        key.last_nonce = max(key.last_nonce, int(nonce))
        if key.otp is not None and params.get("otp") != key.otp:
            raise _Refusal("EGeneral:Permission denied")
        return key, params

    def _wrong_key(self, error: str, now_ns: int) -> _Refusal:
        self._wrong += 1
        if self._wrong >= LOCKOUT_AFTER:
            self._locked_until_s = now_ns / _NS + LOCKOUT_S
        return _Refusal(error)

    def _count(self, cost: float, now_ns: int) -> None:
        counter = self.counter
        if counter is None:
            return
        now_s = now_ns / _NS
        counter.value = max(0.0, counter.value - (now_s - counter.at_s) * counter.per_s) if counter.at_s else 0.0
        counter.at_s = now_s
        # Slightly above the maximum is allowed: rounding must not refuse a client at exactly the limit.
        if counter.value + cost > counter.most + 1e-6:
            counter.refused += 1
            raise _Refusal("EAPI:Rate limit exceeded")
        counter.value += cost

    def _balance(self, _params: Mapping[str, str], _now_ns: int) -> dict[str, str]:
        return {asset: printed(units, DECIMALS[asset]) for asset, units in self.account.balances.items()}

    def _balance_ex(self, _params: Mapping[str, str], _now_ns: int) -> dict[str, dict[str, str]]:
        return {
            asset: {"balance": printed(units, DECIMALS[asset]), "hold_trade": printed(0, DECIMALS[asset])}
            for asset, units in self.account.balances.items()
        }

    def _ledgers(self, params: Mapping[str, str], now_ns: int) -> Any:  # noqa: ANN401 -- of JSON
        rows = self.account.shown(self.account.rows, now_ns)
        return _page("ledger", _between(rows, params), params, lambda row: row.fields())

    def _trades_history(self, params: Mapping[str, str], now_ns: int) -> Any:  # noqa: ANN401
        if params.get("consolidate_taker", "true") != "false":
            raise _Refusal("EGeneral:Invalid arguments:consolidate_taker")  # no client of ours may request joined fills
        rows = self.account.shown(self.account.trades, now_ns)
        return _page("trades", _between(rows, params), params, lambda row: _trade(row, params))

    def _closed_orders(self, params: Mapping[str, str], now_ns: int) -> Any:  # noqa: ANN401
        rows = _between(self.account.shown(self.account.trades, now_ns), params)
        return _page("closed", rows, params, lambda row: row.order_fields(), name=lambda row: row.order)

    def _query_ledgers(self, params: Mapping[str, str], now_ns: int) -> Any:  # noqa: ANN401
        rows = self.account.shown(self.account.rows, now_ns)
        return {row.id: row.fields() for row in rows if row.id in _named(params, "id")}

    def _query_trades(self, params: Mapping[str, str], _now_ns: int) -> Any:  # noqa: ANN401
        # Unlike TradesHistory it does not lag behind a fill (API.md 16.3).
        rows = (row for row in self.account.trades if row.id not in self.account.removed)
        return {row.id: row.fields() for row in rows if row.id in _named(params, "txid")}


def _trade(row: Any, params: Mapping[str, str]) -> dict[str, Any]:  # noqa: ANN401 -- of the account
    content: dict[str, Any] = row.fields()
    if params.get("ledgers") != "true":
        del content["ledgers"]
    return content


def _named(params: Mapping[str, str], name: str) -> set[str]:
    ids = params.get(name, "").split(",")
    if len(ids) > MOST_NAMED:
        raise _Refusal(f"EGeneral:Invalid arguments:{name}")
    return set(ids)


def _between(rows: Sequence[Any], params: Mapping[str, str]) -> list[Any]:
    try:
        start_ns = int(float(params.get("start", "-1")) * _NS)
        end_ns = int(float(params["end"]) * _NS) if "end" in params else 2**63
    except ValueError:
        raise _Refusal("EGeneral:Invalid arguments") from None
    return [row for row in rows if start_ns < row.time_ns <= end_ns]


def _page(
    title: str,
    rows: Sequence[Any],
    params: Mapping[str, str],
    fields: Callable[[Any], dict[str, Any]],
    *,
    name: Callable[[Any], str] = lambda row: row.id,
) -> dict[str, Any]:
    offset = params.get("ofs", "0")
    if not offset.isdecimal():
        raise _Refusal("EGeneral:Invalid arguments:ofs")
    shown = rows[int(offset) : int(offset) + PAGE]
    content: dict[str, Any] = {title: {name(row): fields(row) for row in shown}}
    return content if params.get("without_count") == "true" else content | {"count": len(rows)}


def _answered(result: Any) -> str:  # noqa: ANN401 -- of JSON
    return f'{{"error":[],"result":{_json(result)}}}'


def _json(value: Any) -> str:  # noqa: ANN401 -- of JSON
    """Return JSON with numbers as they are to be printed."""
    if isinstance(value, Printed):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(name)}:{_json(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return json.dumps(value)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
