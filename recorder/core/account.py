"""Rows of an own account: ledger entries, trades, closed orders and balances. Numbers are exact, texts as received."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import StrEnum
from typing import Final

import msgspec

AMOUNT_SCALE: Final = 18
"""Digits after the decimal point of an amount; Kraken prints up to ten for most assets."""
AMOUNT_PRECISION: Final = 38
_quantize = Context(prec=AMOUNT_PRECISION, traps=[Inexact, InvalidOperation]).quantize
_UNIT = Decimal(1).scaleb(-AMOUNT_SCALE)
EXACT: Final = Context(prec=2 * AMOUNT_PRECISION, traps=[Inexact, InvalidOperation])
"""For sums and differences of amounts: Python rounds them to 28 digits by default."""


class AccountEvent(StrEnum):
    """The kinds of events in the folder of an account."""

    READ = "account_read"
    """Everything of a table up to a time has been read."""
    KEY = "account_key"
    """What Kraken reports about the key."""
    DIFFERS = "account_differs"
    """An entry came again with other numbers than are stored."""
    APART = "account_apart"
    """Entries could not be stored as rows."""
    RECONCILED = "account_reconciled"
    """The arithmetic of the account closes."""
    BROKEN = "account_broken"
    """The arithmetic of the account does not close."""
    STOPPED = "account_stopped"
    """Recording the account ended with an error."""


class LedgerEntry(msgspec.Struct, frozen=True, gc=False):
    """One change of the balance of one asset, identified by its id.

    The balance after it is that before it, plus ``amount``, minus ``fee``. ``seconds`` is the time as printed, exactly;
    ``time_us`` is the same in µs since 1970-01-01 UTC. ``raw`` is the JSON of the entry as received.
    """

    id: str
    refid: str
    seconds: Decimal
    time_us: int
    type: str
    subtype: str
    asset_class: str
    asset: str
    amount: Decimal
    fee: Decimal
    balance: Decimal
    raw: str

    @property
    def before(self) -> Decimal:
        """The balance before it."""
        return EXACT.add(EXACT.subtract(self.balance, self.amount), self.fee)


class OwnTrade(msgspec.Struct, frozen=True, gc=False):
    """One fill of an own order, identified by its id (txid); times as of :class:`LedgerEntry`.

    ``pair`` is the key of the listing. ``trade_id`` is that of the public trade of the pair; None for trades from
    before Kraken numbered them. ``ledgers`` are the ids of its ledger entries, as far as Kraken names them.
    """

    id: str
    order_id: str
    position_id: str
    pair: str
    seconds: Decimal
    time_us: int
    side: str
    ord_type: str
    price: Decimal
    cost: Decimal
    fee: Decimal
    qty: Decimal
    margin: Decimal
    misc: str
    trade_id: int | None
    maker: bool | None
    ledgers: tuple[str, ...]
    raw: str


class OwnOrder(msgspec.Struct, frozen=True, gc=False):
    """One order that was closed, identified by its id (txid). Times are µs since 1970-01-01 UTC."""

    id: str
    pair: str
    status: str
    reason: str
    side: str
    ord_type: str
    opened_us: int
    closed_us: int
    limit: Decimal
    qty: Decimal
    filled: Decimal
    cost: Decimal
    fee: Decimal
    price: Decimal
    raw: str


class Balance(msgspec.Struct, frozen=True, gc=False):
    """The balance of one asset at a time (µs since 1970-01-01 UTC), and what of it is held for orders.

    ``settled`` is whether no ledger entry came while it was requested: only then it must equal the last entry.
    """

    time_us: int
    asset: str
    balance: Decimal
    held: Decimal
    credit: Decimal
    credit_used: Decimal
    settled: bool


class ApartEntry(msgspec.Struct, frozen=True, gc=False):
    """An entry that cannot be stored as a row, kept as received.

    ``digest`` identifies it, because its id may be empty or come again with the missing value.
    """

    table: str
    id: str
    digest: str
    reason: str
    raw: str


def check_amount(number: Decimal) -> Decimal:
    """Return the number if a column of amounts stores it to the last digit. Raises ValueError; nothing is rounded."""
    try:
        _quantize(number, _UNIT)
    except (Inexact, InvalidOperation):
        raise ValueError(
            f"{str(number)[:64]} does not fit decimal128({AMOUNT_PRECISION}, {AMOUNT_SCALE}) exactly"
        ) from None
    return number
