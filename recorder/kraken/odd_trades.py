"""Unusual trades that are stored as received: their descriptions, each reported once per pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, get_args

from recorder.core.model import Trade, plain
from recorder.core.report_once import ReportOnce
from recorder.kraken import wire

KNOWN_TYPES: Final = frozenset(get_args(wire.OrderType))
"""The known order types (API.md 6.7, 8.5); any other is stored as received."""


def is_odd(trade: Trade) -> bool:
    """Return whether a trade can be stored although it is unusual."""
    return not trade.price or not trade.qty or trade.ord_type not in KNOWN_TYPES


def stored(trades: Iterable[Trade], report_once: ReportOnce) -> Iterator[tuple[str, str]]:
    """Yield pair and sentence for each kind of unusual trade that was not reported of its pair yet."""
    for trade in filter(is_odd, trades):
        for kind, what in _describe(trade):
            if report_once.is_first("stored", trade.pair, kind):
                yield trade.pair, f"trade {trade.trade_id} {what}: stored as it came"


def _describe(trade: Trade) -> Iterator[tuple[str, str]]:
    if not trade.price:
        yield "price", f"has the price {plain(trade.price)}"
    if not trade.qty:
        yield "quantity", f"has the quantity {plain(trade.qty)}"
    if trade.ord_type not in KNOWN_TYPES:
        yield trade.ord_type, f"has the order type {trade.ord_type!r}, neither 'limit' nor 'market'"
