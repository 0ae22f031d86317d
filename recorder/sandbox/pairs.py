"""One market's four names and its digits, as the sandbox lists it (API.md 5, 6.4, 7.1).

Contains the AssetPairs object of a pair and what is derived from it. Does not know trades, prices and time. The sandbox
reads names by its own interpretation of the reference, not through ``recorder.kraken``: if both sides shared the code,
they would agree on a mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

REST_QTY_DIGITS: Final = 8
"""REST prints volumes with 8 digits, even where a lot has 5 (every sample; API.md 7.1)."""
FINEST_REST_DIGITS: Final = 12
"""The digits that REST prints where cost_decimals is less than pair_decimals, as seen on BONKUSD (API.md 7.1)."""
USUAL_CLASS: Final = "currency"
"""The asset class of pairs that are listed and served without naming one."""
NAMED: Final = 20
"""The maximum number of pairs named in a message."""

_V2_LEGS: Final = {"XBT": "BTC", "XDG": "DOGE"}
_V1_LEGS: Final = {v2: v1 for v1, v2 in _V2_LEGS.items()}


@dataclass(frozen=True, slots=True)
class Pair:
    """A listed pair. ``fields`` is its AssetPairs object, printed verbatim."""

    symbol: str
    key: str
    fields: Mapping[str, Any]

    @property
    def altname(self) -> str:
        """The name that REST accepts and file names contain: ``XBTUSD``."""
        return str(self.fields["altname"])

    @property
    def asset_class(self) -> str:
        """The class that REST requests for this pair must name, unless it is the usual one: ``tokenized_asset``."""
        return str(self.fields.get("aclass_base", USUAL_CLASS))

    @property
    def pair_decimals(self) -> int:
        """Digits after the point of a WebSocket price."""
        return int(self.fields["pair_decimals"])

    @property
    def lot_decimals(self) -> int:
        """Digits after the point of a WebSocket quantity: 5 or 8."""
        return int(self.fields["lot_decimals"])

    @property
    def rest_digits(self) -> int:
        """Digits after the point of a REST price: cost_decimals, or 12 where that would truncate the price."""
        cost_decimals = int(self.fields["cost_decimals"])
        return cost_decimals if cost_decimals >= self.pair_decimals else FINEST_REST_DIGITS

    @property
    def tick_size(self) -> Decimal:
        """The step of prices; not always one unit of the last digit (API.md 6.4)."""
        return Decimal(str(self.fields["tick_size"]))

    def changed(self, **fields: Any) -> Pair:  # noqa: ANN401  # AssetPairs fields are of every type
        """Return this pair as listed with other ``fields``; new digits imply a new tick unless one is given."""
        if "pair_decimals" in fields:
            fields.setdefault("tick_size", _unit(int(fields["pair_decimals"])))
        return listed(self.key, {**self.fields, **fields})


class SandboxListing:
    """The exchange's listing, searchable by the names that REST accepts (API.md 5.1): not by the wsname."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._by_symbol = {pair.symbol: pair for pair in pairs}
        self._by_name = {
            name.upper(): pair for pair in self._by_symbol.values() for name in (pair.altname, pair.key, pair.symbol)
        }

    def named(self, name: str) -> Pair | None:
        """Return the pair of an altname, canonical key or v2 symbol in any case, or None."""
        return self._by_name.get(name.strip().upper())

    def __getitem__(self, symbol: str) -> Pair:
        return self._by_symbol[symbol]

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._by_symbol

    @property
    def pairs(self) -> list[Pair]:
        """Every pair, in the order listed."""
        return list(self._by_symbol.values())


def some(listing: SandboxListing) -> str:
    """Return the names of the listed pairs, or the first of very many."""
    symbols = [pair.symbol for pair in listing.pairs]
    return ", ".join(symbols[:NAMED]) + (f" and {len(symbols) - NAMED} more" if len(symbols) > NAMED else "")


def listed(key: str, fields: Mapping[str, Any]) -> Pair:
    """Return the pair of one entry of an AssetPairs answer."""
    symbol = "/".join(_V2_LEGS.get(leg, leg) for leg in str(fields["wsname"]).split("/"))
    return Pair(symbol=symbol, key=key, fields=fields)


def pair_of(symbol: str, *, pair_decimals: int, lot_decimals: int, cost_decimals: int = 5, **others: Any) -> Pair:  # noqa: ANN401  # AssetPairs fields are of every type
    """Return a pair with a plausible AssetPairs object around the given values; ``others`` replaces its fields.

    Without ``key`` the canonical key is the altname, as for 1172 of 1218 real pairs. Since 2026-09 the tables of fees
    are empty and ``execution_venue`` is present (API.md 6.4).
    """
    base, quote = (_V1_LEGS.get(leg, leg) for leg in symbol.split("/"))
    altname = f"{base}{quote}"
    key = str(others.pop("key", altname))
    fields: dict[str, Any] = {
        "altname": altname,
        "wsname": f"{base}/{quote}",
        "aclass_base": USUAL_CLASS,
        "base": base,
        "aclass_quote": "currency",
        "quote": quote,
        "lot": "unit5" if lot_decimals == 5 else "unit",
        "cost_decimals": cost_decimals,
        "pair_decimals": pair_decimals,
        "lot_decimals": lot_decimals,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [],
        "fees_maker": [],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "1",
        "costmin": "0.5",
        "tick_size": _unit(pair_decimals),
        "status": "online",
        "execution_venue": "international",
    }
    return Pair(symbol=symbol, key=key, fields=fields | others)


def _unit(digits: int) -> str:
    """Return one unit of the last digit as text, without an exponent."""
    return f"0.{1:0{digits}d}" if digits else "1"
