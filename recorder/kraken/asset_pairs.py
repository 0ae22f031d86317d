"""Answers of REST AssetPairs: the pairs that are listed, and entries that cannot be read."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import Final

import msgspec

from recorder.core.model import CURRENCY, Instrument, check_exact, plain
from recorder.core.pair_registry import Listed, OddEntry
from recorder.errors import Malformed
from recorder.kraken import wire
from recorder.kraken.exact_numbers import exact_number
from recorder.kraken.odd_rows import REASON_LIMIT
from recorder.kraken.pair_names import v2_symbol
from recorder.kraken.rest_rows import EMPTY, NULL

_OWN_VENUE: Final = (None, "international")
"""The ``execution_venue`` of entries of the exchange itself; before 2026 there was no such field."""
_DEFAULT_STATUS: Final = "online"
"""The status of a pair whose status cannot be read: that of nearly all."""
_ZERO: Final = Decimal(0)
_SHOWN_CHARS: Final = 40
KEY_LIMIT: Final = 64
"""Maximum characters of the key of an entry of the listing."""


def parse_listing(result: bytes, asset_class: str = CURRENCY) -> Listed:
    """Read the ``result`` of AssetPairs for an asset class. Raises Malformed.

    Pairs without a wsname (the dark pools of 2021) are not on the WebSocket and are left out. An entry that cannot be
    read does not affect the others.
    """
    if asset_class != CURRENCY and EMPTY.match(result):  # some encoders print an empty table this way
        return Listed(asset_class, ())
    table = raw_entries(result)
    own, others, odd = list[Instrument](), list[Instrument](), dict[str, OddEntry]()
    for key, raw in table.items():
        try:
            entry = wire.asset_pair(raw)
            if entry.wsname:
                venue = others if entry.execution_venue not in _OWN_VENUE else own
                venue.append(_instrument(key, entry, asset_class))
        except wire.UNREADABLE as error:
            odd[key[:KEY_LIMIT]] = _odd_entry(key, raw, str(error), asset_class)
    if table and len(odd) == len(table) and all(entry.bare is None for entry in odd.values()):
        reason = next(iter(odd.values())).reason
        raise Malformed(f"an answer of AssetPairs without a readable entry: {reason[:REASON_LIMIT]}")
    return Listed(asset_class, [*own, *others], odd)


def raw_entries(result: bytes) -> dict[str, msgspec.Raw]:
    """Return the entries in the ``result`` of AssetPairs as received, by key. Raises Malformed."""
    try:
        return wire.table_result(result)
    except wire.UNREADABLE as error:
        raise Malformed(f"an answer of AssetPairs that cannot be read: {error}") from error


def _instrument(key: str, entry: wire.AssetPair, asset_class: str) -> Instrument:
    return Instrument(
        pair=_symbol(entry),
        key=_key(key),
        altname=entry.altname,
        wsname=entry.wsname or "",
        base=entry.base,
        quote=entry.quote,
        pair_decimals=entry.pair_decimals,
        lot_decimals=entry.lot_decimals,
        cost_decimals=entry.cost_decimals,
        tick_size=_plain_number("tick_size", entry.tick_size),
        ordermin=_plain_number("ordermin", entry.ordermin),
        costmin=_plain_number("costmin", entry.costmin),
        status=entry.status,
        asset_class=entry.aclass_base or asset_class,
    )


def _bare(key: str, entry: wire.BarePair, asset_class: str) -> Instrument:
    """Return a pair from the required fields of its entry; the rest is left at a minimum."""
    pair = _symbol(entry)
    base, _, quote = (entry.wsname or "").partition("/")
    return Instrument(
        pair=pair,
        key=_key(key),
        altname=entry.altname,
        wsname=entry.wsname or "",
        base=base,
        quote=quote,
        pair_decimals=entry.pair_decimals,
        lot_decimals=entry.lot_decimals,
        cost_decimals=None,
        tick_size=None,
        ordermin=None,
        costmin=None,
        status=_DEFAULT_STATUS,
        asset_class=entry.aclass_base or asset_class,
    )


def _odd_entry(key: str, raw: msgspec.Raw, reason: str, asset_class: str) -> OddEntry:
    names, bare = {key}, None
    with contextlib.suppress(*wire.UNREADABLE):
        names_read = wire.pair_names(raw)
        names |= {name for name in (names_read.altname, names_read.wsname) if isinstance(name, str)}
        names |= {v2_symbol(name) for name in names if "/" in name}
        bare = _bare(key, wire.bare_pair(raw), asset_class)
    shown = {name[:KEY_LIMIT] for name in names}
    return OddEntry(
        f"the entry of {key[:KEY_LIMIT]} cannot be read: {reason}"[:REASON_LIMIT], bytes(raw), frozenset(shown), bare
    )


def _symbol(entry: wire.BarePair) -> str:
    pair = v2_symbol(entry.wsname or "")
    base, _, quote = pair.partition("/")
    if not (base and quote and pair.isascii() and pair.isprintable()):
        raise ValueError(f"{pair!r} is no symbol of a pair, like BTC/USD")
    return pair


def _key(key: str) -> str:
    if not 0 < len(key) <= KEY_LIMIT:
        raise ValueError(f"a key of {len(key)} characters")
    return key


def _plain_number(field: str, raw: msgspec.Raw) -> str | None:
    """Return the canonical text of a number, so that a listing that differs only in spelling is no change."""
    if raw == NULL:
        return None
    printed = bytes(raw)
    text = wire.text_of(raw) if printed.startswith(b'"') else printed.decode()
    number = exact_number(text)
    try:
        check_exact(number, _ZERO)
    except ValueError:
        raise ValueError(f"{field} {text[:_SHOWN_CHARS]!r} does not fit the archive's decimals") from None
    return plain(number)
