"""What a key may do, by GetApiKeyInfo (API.md 10.2, 16.3): pure, from the answer to a judgement.

Fields are accepted in camelCase and in snake_case. Rights are not: a key is accepted only if each of its rights is,
letter for letter, one that reads. Whatever else the answer contains about permissions makes it unreadable, which
refuses the key like a right to trade.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from recorder.errors import Malformed
from recorder.kraken import wire

FUNDS: Final = "query-funds"
OPEN: Final = "query-open-trades"
CLOSED: Final = "query-closed-trades"
LEDGER: Final = "query-ledger"
ALLOWED: Final = frozenset({FUNDS, OPEN, CLOSED, LEDGER})
NEEDED: Final = (FUNDS, CLOSED, LEDGER)
BOXES: Final = {
    FUNDS: "Funds permissions: Query",
    OPEN: "Orders and trades: Query open orders & trades",
    CLOSED: "Orders and trades: Query closed orders & trades",
    LEDGER: "Data: Query ledger entries",
    "add-funds": "Funds permissions: Deposit",
    "withdraw-funds": "Funds permissions: Withdraw",
    "earn-funds": "Funds permissions: Earn",
    "modify-trades": "Orders and trades: Create & modify orders",
    "close-trades": "Orders and trades: Cancel & close orders",
    "export-data": "Data: Export data",
    "create-ws-token": "WebSocket interface: On",
    "add-withdraw-address": "Funds permissions: Add withdrawal addresses",
    "update-withdraw-address": "Funds permissions: Update withdrawal addresses",
}
"""The box of each right on Kraken's page of API keys."""
OLD_DAYS: Final = 365
"""Days after which a key that was not replaced is reported."""
SOON_DAYS: Final = 14
_DAY_S: Final = 86_400
_SHOWN: Final = 60
_LISTED: Final = 12
_UNREADABLE: Final = "permissions that cannot be read"
_TIME: Final = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What Kraken reports about a key. Times are seconds since 1970, 0 for none.

    ``permissions`` is None if they cannot be read. Contains neither half of the key, and no IBAN.
    """

    name: str
    permissions: tuple[str, ...] | None
    valid_until_s: int
    query_from_s: int
    query_to_s: int
    created_s: int
    modified_s: int
    addresses: tuple[str, ...]

    @property
    def excess(self) -> list[str]:
        """The rights beyond reading, or a description where they cannot be read; none for a key that only reads."""
        if self.permissions is None:
            return [_UNREADABLE]
        return sorted({right for right in self.permissions if right not in ALLOWED})

    @property
    def missing(self) -> list[str]:
        """The rights that reading an account needs, and that the key lacks."""
        return [right for right in NEEDED if right not in (self.permissions or ())]

    @property
    def is_cut(self) -> bool:
        """Whether the key shows only a part of the history."""
        return bool(self.query_from_s or self.query_to_s)


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to report about a key: ``level`` is ok, note or wrong."""

    level: str
    topic: str
    text: str


class _Repeated(ValueError):
    """A JSON object with two members of one name: which of them counts is unknown."""


def parse(result: bytes) -> KeyInfo:
    """Read the ``result`` of GetApiKeyInfo. Raises Malformed if it is no object of JSON, or names a field twice."""
    try:
        content = json.loads(result, object_pairs_hook=_once)
    except _Repeated as error:
        raise Malformed(f"GetApiKeyInfo names {error} twice, so what this key may do is not known") from None
    except wire.UNREADABLE:
        raise Malformed("GetApiKeyInfo is no JSON, so what this key may do is not known") from None
    if not isinstance(content, dict):
        raise Malformed("GetApiKeyInfo is no object, so what this key may do is not known")
    fields = {_plain_name(name): value for name, value in content.items()}
    readable = len(fields) == len(content) and not any("permission" in name for name in fields.keys() - {"permissions"})
    return KeyInfo(
        name=_short(fields.get("apikeyname")),
        permissions=_texts(fields.get("permissions")) if readable else None,
        valid_until_s=_seconds(fields.get("validuntil")),
        query_from_s=_seconds(fields.get("queryfrom")),
        query_to_s=_seconds(fields.get("queryto")),
        created_s=_seconds(fields.get("createdtime")),
        modified_s=_seconds(fields.get("modifiedtime")),
        addresses=tuple(one for one in _texts(fields.get("ipallowlist")) or () if one.strip()),
    )


def refusal(info: KeyInfo, *, allow_trading_key: bool) -> str | None:
    """Return why this key must not be used, with what to change; None if it may be used."""
    if info.excess and not allow_trading_key:
        if info.permissions is None:
            return (
                "Kraken's list of this key's rights cannot be read, so it is not proven that the key cannot trade: it "
                "is not used. `recorder account guide` shows how to make one that only reads"
            )
        rights = ", ".join(_named(right) for right in info.excess[:_LISTED])
        return (
            f"this key may do more than read: {rights}. Untick that on Kraken's page of API keys, or make another key "
            "as `recorder account guide` shows; account.allow_trading_key: true would use it all the same"
        )
    if info.missing and info.permissions is not None:
        return f"this key lacks a right: tick {', '.join(_named(right) for right in info.missing)}"
    return None


def remarks(info: KeyInfo, now_s: float, *, allow_trading_key: bool) -> Iterator[Remark]:
    """Yield everything to report about a key, the rights first."""
    yield from _rights(info, allow_trading_key=allow_trading_key)
    if info.is_cut:
        yield Remark(
            "note", "history", f"this key shows only entries {_range(info)}: what lies outside is not recorded"
        )
    else:
        yield Remark("ok", "history", "all of it")
    yield _expiry(info, now_s)
    if info.addresses:
        yield Remark("ok", "addresses", f"works only from {', '.join(map(_short, info.addresses[:_LISTED]))}")
    else:
        yield Remark("note", "addresses", "works from any address: add the one of this machine to its IP allowlist")
    yield _age(info, now_s)


def _rights(info: KeyInfo, *, allow_trading_key: bool) -> Iterator[Remark]:
    reason = refusal(info, allow_trading_key=allow_trading_key)
    if reason is not None:
        yield Remark("wrong", "rights", reason)
    elif info.excess:
        rights = ", ".join(map(_short, info.excess[:_LISTED]))
        yield Remark("note", "rights", f"may do more than read ({rights}), which account.allow_trading_key permits")
    else:
        yield Remark("ok", "rights", f"only reads: {', '.join(info.permissions or ())}")


def _expiry(info: KeyInfo, now_s: float) -> Remark:
    if not info.valid_until_s:
        return Remark("ok", "expiry", "never")
    left = int((info.valid_until_s - now_s) // _DAY_S)
    if left < 0:
        return Remark("wrong", "expiry", "this key has expired: make another one, its history stays")
    return Remark("note" if left < SOON_DAYS else "ok", "expiry", f"in {left} days")


def _age(info: KeyInfo, now_s: float) -> Remark:
    if not info.created_s:
        return Remark("note", "age", "not reported by Kraken")
    days = max(0, int((now_s - info.created_s) // _DAY_S))
    if days > OLD_DAYS:
        return Remark("note", "age", f"{days} days: make another one and delete this, its history stays")
    return Remark("ok", "age", f"{days} days")


def _range(info: KeyInfo) -> str:
    ends = (("from", info.query_from_s), ("to", info.query_to_s))
    return " ".join(f"{word} {at_s} (seconds since 1970)" for word, at_s in ends if at_s)


def _named(right: str) -> str:
    box = BOXES.get(right)
    return _short(right) if box is None else f"{right} ({box})"


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Repeated(repr(_short(name)))
        found[name] = value
    return found


def _plain_name(name: str) -> str:
    """Return a field's name without what distinguishes the two spellings.

    >>> _plain_name("apiKeyName"), _plain_name("api_key_name")
    ('apikeyname', 'apikeyname')
    """
    return re.sub(r"[\W_]", "", name).lower()


def _texts(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return None
    return tuple(value)


def _seconds(value: object) -> int:
    """Return a time, printed as a number or as text; 0 for none, and for what is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0
    text = str(value)
    return int(text.partition(".")[0]) if _TIME.fullmatch(text) else 0


def _short(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
