"""Answers of private endpoints as rows (API.md 10.2): exact, and one bad entry costs only itself.

The entries of an answer are members of a JSON object, and their names are the ids. They are read one by one from the
text, because a decoder keeps only one of several members with the same name, as entries without an id have.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

from recorder.core.account import ApartEntry, Balance, LedgerEntry, OwnOrder, OwnTrade, check_amount
from recorder.errors import Malformed
from recorder.kraken import wire
from recorder.kraken.exact_numbers import exact_number
from recorder.kraken.timestamps import rest_micros

LEDGER: Final = "account_ledger"
TRADES: Final = "account_trades"
ORDERS: Final = "account_orders"
ID_LIMIT: Final = 64
"""Maximum characters of an id; Kraken's have 19."""
RAW_LIMIT: Final = 16_384
"""Maximum characters of an entry; the longest known, an order with its trades, has some hundred."""
REASON_LIMIT: Final = 200
_NOTHING: Final = Decimal(0)
_SKIPPED: Final = " \t\r\n"
_ONE: Final = json.JSONDecoder()

_Row = TypeVar("_Row")
Text = Annotated[str, msgspec.Meta(max_length=1_024)]


@dataclass(frozen=True, slots=True)
class Page(Generic[_Row]):
    """The rows of one answer, those that cannot be stored, and how many entries the whole window has.

    ``count`` is None where the answer has none.
    """

    rows: list[_Row]
    apart: list[ApartEntry] = field(default_factory=list)
    count: int | None = None

    @property
    def size(self) -> int:
        """The number of entries of the answer."""
        return len(self.rows) + len(self.apart)


class _Envelope(msgspec.Struct):
    count: msgspec.Raw = msgspec.Raw(b"null")
    ledger: msgspec.Raw = msgspec.Raw(b"null")
    trades: msgspec.Raw = msgspec.Raw(b"null")
    closed: msgspec.Raw = msgspec.Raw(b"null")


class _Entry(msgspec.Struct):
    time: msgspec.Raw
    type: Text
    asset: Text
    amount: msgspec.Raw
    balance: msgspec.Raw = msgspec.Raw(b"null")
    fee: msgspec.Raw = msgspec.Raw(b"null")
    refid: Text | None = None
    subtype: Text | None = None
    aclass: Text | None = None


class _Fill(msgspec.Struct):
    pair: Text
    time: msgspec.Raw
    type: Text
    price: msgspec.Raw
    cost: msgspec.Raw
    fee: msgspec.Raw
    vol: msgspec.Raw
    ordertxid: Text | None = None
    postxid: Text | None = None
    ordertype: Text | None = None
    margin: msgspec.Raw = msgspec.Raw(b"null")
    misc: Text | None = None
    trade_id: Any = None
    maker: Any = None
    ledgers: Any = None


class _Description(msgspec.Struct):
    pair: Text = ""
    type: Text = ""
    ordertype: Text = ""
    price: msgspec.Raw = msgspec.Raw(b"null")


class _Order(msgspec.Struct):
    status: Text
    opentm: msgspec.Raw
    closetm: msgspec.Raw
    vol: msgspec.Raw
    vol_exec: msgspec.Raw
    cost: msgspec.Raw
    fee: msgspec.Raw
    price: msgspec.Raw
    descr: _Description
    reason: Text | None = None


class _BalanceEntry(msgspec.Struct):
    balance: msgspec.Raw
    hold_trade: msgspec.Raw = msgspec.Raw(b"null")
    credit: msgspec.Raw = msgspec.Raw(b"null")
    credit_used: msgspec.Raw = msgspec.Raw(b"null")


_envelope = msgspec.json.Decoder(_Envelope).decode
_entry = msgspec.json.Decoder(_Entry).decode
_fill = msgspec.json.Decoder(_Fill).decode
_order = msgspec.json.Decoder(_Order).decode
_balance = msgspec.json.Decoder(_BalanceEntry).decode


def ledger_page(result: bytes) -> Page[LedgerEntry]:
    """Read Ledgers. Raises Malformed if the whole is none of Kraken's answers."""
    return _page(result, LEDGER, lambda envelope: envelope.ledger, _ledger_entry)


def trades_page(result: bytes) -> Page[OwnTrade]:
    """Read TradesHistory. Raises Malformed."""
    return _page(result, TRADES, lambda envelope: envelope.trades, _own_trade)


def orders_page(result: bytes) -> Page[OwnOrder]:
    """Read ClosedOrders. Raises Malformed."""
    return _page(result, ORDERS, lambda envelope: envelope.closed, _own_order)


def named_page(result: bytes, table: str) -> Page[Any]:
    """Read QueryTrades or QueryLedgers, whose entries have no envelope. Raises Malformed."""
    readers: dict[str, Callable[[str, str], Any]] = {LEDGER: _ledger_entry, TRADES: _own_trade}
    return _sorted_out(result, table, readers[table], None)


def balances(result: bytes, time_us: int) -> list[Balance]:
    """Read BalanceEx, received at ``time_us``. Raises Malformed: a missing asset would look like an empty one."""
    found = []
    for asset, raw in _members(result, "BalanceEx"):
        try:
            one = _balance(raw)
            numbers = [_number(value) for value in (one.balance, one.hold_trade, one.credit, one.credit_used)]
        except wire.UNREADABLE as error:
            raise Malformed(f"BalanceEx has an entry that cannot be read, of {asset[:ID_LIMIT]!r}: {error}") from None
        if not 0 < len(asset) <= ID_LIMIT or numbers[0] is None:
            raise Malformed(f"BalanceEx has an entry without an asset or a balance ({asset[:ID_LIMIT]!r})")
        balance, held, credit, used = (_NOTHING if number is None else number for number in numbers)
        found.append(Balance(time_us, asset, balance, held, credit, used, settled=False))
    if len({one.asset for one in found}) < len(found):
        raise Malformed("BalanceEx names an asset twice")
    return found


def _page(
    result: bytes, table: str, inside: Callable[[_Envelope], msgspec.Raw], read: Callable[[str, str], _Row]
) -> Page[_Row]:
    try:
        envelope = _envelope(result)
    except wire.UNREADABLE as error:
        raise Malformed(f"the answer has no entries of {table} ({error})") from None
    return _sorted_out(bytes(inside(envelope)), table, read, _count(bytes(envelope.count)))


def _sorted_out(text: bytes, table: str, read: Callable[[str, str], _Row], count: int | None) -> Page[_Row]:
    page: Page[_Row] = Page([], [], count)
    for name, raw in _members(text, table):
        try:
            if not name:
                raise ValueError("it has no id")
            if len(name) > ID_LIMIT or len(raw) > RAW_LIMIT:
                raise ValueError("it is longer than any known one")
            page.rows.append(read(name, raw))
        except wire.UNREADABLE as error:
            page.apart.append(set_apart(table, name, raw, str(error)))
    return page


def set_apart(table: str, name: str, raw: str, reason: str) -> ApartEntry:
    """Return an entry that cannot be stored as a row, with what identifies it."""
    digest = hashlib.sha256(f"{name}\n{raw}".encode(errors="replace")).hexdigest()[:32]
    return ApartEntry(table, name[:ID_LIMIT], digest, reason[:REASON_LIMIT], raw[:RAW_LIMIT])


def _members(text: bytes, what: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of each member of a JSON object, also of several with one name. Raises Malformed."""
    try:
        yield from _members_of(text.decode())
    except wire.UNREADABLE as error:
        raise Malformed(f"the entries of {what} are no object of JSON ({str(error)[:80]})") from None


def _members_of(text: str) -> Iterator[tuple[str, str]]:
    at = _after(text, 0, "{")
    if text[at : at + 1] == "}":
        return
    while True:
        name, at = _ONE.raw_decode(text, at)
        if not isinstance(name, str):
            raise ValueError("a name that is no text")  # noqa: TRY004 -- a fault of the text
        begin = _after(text, _space(text, at), ":")
        _, end = _ONE.raw_decode(text, begin)
        yield name, text[begin:end]
        at = _space(text, end)
        if text[at : at + 1] == "}":
            return
        at = _after(text, at, ",")


def _after(text: str, at: int, sign: str) -> int:
    at = _space(text, at)
    if text[at : at + 1] != sign:
        raise ValueError(f"no {sign} where one belongs")
    return _space(text, at + 1)


def _space(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _SKIPPED:
        at += 1
    return at


def _ledger_entry(name: str, raw: str) -> LedgerEntry:
    one = _entry(raw)
    balance, seconds = _number(one.balance), _needed(one.time, "time")
    if balance is None:
        raise ValueError("it has no balance")
    return LedgerEntry(
        id=name,
        refid=one.refid or "",
        seconds=check_amount(seconds),
        time_us=rest_micros(seconds),
        type=one.type,
        subtype=one.subtype or "",
        asset_class=one.aclass or "",
        asset=one.asset,
        amount=_needed(one.amount, "amount"),
        fee=_number(one.fee) or _NOTHING,
        balance=balance,
        raw=raw,
    )


def _own_trade(name: str, raw: str) -> OwnTrade:
    one = _fill(raw)
    seconds = _needed(one.time, "time")
    return OwnTrade(
        id=name,
        order_id=one.ordertxid or "",
        position_id=one.postxid or "",
        pair=one.pair,
        seconds=check_amount(seconds),
        time_us=rest_micros(seconds),
        side=one.type,
        ord_type=one.ordertype or "",
        price=_needed(one.price, "price"),
        cost=_needed(one.cost, "cost"),
        fee=_needed(one.fee, "fee"),
        qty=_needed(one.vol, "vol"),
        margin=_number(one.margin) or _NOTHING,
        misc=one.misc or "",
        trade_id=_trade_id(one.trade_id),
        maker=one.maker if isinstance(one.maker, bool) else None,
        ledgers=tuple(id_ for id_ in one.ledgers if isinstance(id_, str)) if isinstance(one.ledgers, list) else (),
        raw=raw,
    )


def _own_order(name: str, raw: str) -> OwnOrder:
    one = _order(raw)
    return OwnOrder(
        id=name,
        pair=one.descr.pair,
        status=one.status,
        reason=one.reason or "",
        side=one.descr.type,
        ord_type=one.descr.ordertype,
        opened_us=rest_micros(_needed(one.opentm, "opentm")),
        closed_us=rest_micros(_needed(one.closetm, "closetm")),
        limit=_number(one.descr.price) or _NOTHING,
        qty=_needed(one.vol, "vol"),
        filled=_needed(one.vol_exec, "vol_exec"),
        cost=_needed(one.cost, "cost"),
        fee=_needed(one.fee, "fee"),
        price=_needed(one.price, "price"),
        raw=raw,
    )


def _number(raw: msgspec.Raw) -> Decimal | None:
    """Return a number, printed bare or as text; None for null and for an empty text. Raises ValueError."""
    text = bytes(raw).decode().strip()
    if text in {"null", '""'}:
        return None
    return check_amount(exact_number(text[1:-1] if text[:1] == '"' else text))


def _needed(raw: msgspec.Raw, name: str) -> Decimal:
    found = _number(raw)
    if found is None:
        raise ValueError(f"it has no {name}")
    return found


def _trade_id(value: object) -> int | None:
    """Return the id of a public trade; None where there is none, as before Kraken numbered own trades."""
    return value if type(value) is int and 1 <= value <= wire.COUNT_LIMIT else None


def _count(raw: bytes) -> int | None:
    text = raw.decode(errors="replace").strip('"')
    return int(text) if text.isascii() and text.isdigit() and len(text) < ID_LIMIT else None
