"""An invented account: its ledger, trades, orders and balances, made from a seed, with every kind of entry (API.md 10).

Numbers are integers in units of the last digit of their asset, and printed from these. Imports nothing of ``kraken``:
what reads the account is tested against it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

_NS: Final = 1_000_000_000
DECIMALS: Final[Mapping[str, int]] = {
    "ZUSD": 4,
    "ZEUR": 4,
    "XXBT": 10,
    "XETH": 10,
    "USDT": 8,
    "DOT": 10,
    "DOT.S": 10,
    "RNDR": 8,
    "RENDER": 8,
    "AAPLx": 10,
}
TOKENIZED: Final = frozenset({"AAPLx"})
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@dataclass(frozen=True, slots=True)
class Market:
    """A pair that the account trades: key, base, quote, decimals of its price, and about what it costs (in units)."""

    key: str
    base: str
    quote: str
    price_decimals: int
    price: int


MARKETS: Final = (
    Market("XXBTZUSD", "XXBT", "ZUSD", 1, 600_000),
    Market("XETHZUSD", "XETH", "ZUSD", 2, 250_000),
    Market("DOTUSD", "DOT", "ZUSD", 4, 60_000),
)


@dataclass(slots=True)
class LedgerRow:
    """One entry. ``shown_ns`` is from when it is served, later than its time for a late one."""

    id: str
    refid: str
    time_ns: int
    type: str
    subtype: str
    asset: str
    amount: int
    fee: int
    balance: int | None
    shown_ns: int = 0

    def fields(self) -> dict[str, Any]:
        """Return the entry as it is served."""
        digits = DECIMALS[self.asset]
        return {
            "refid": self.refid,
            "time": Printed(printed_time(self.time_ns)),
            "type": self.type,
            "subtype": self.subtype,
            "aclass": "tokenized_asset" if self.asset in TOKENIZED else "currency",
            "asset": self.asset,
            "amount": printed(self.amount, digits),
            "fee": printed(self.fee, digits),
            "balance": "" if self.balance is None else printed(self.balance, digits),
        }


@dataclass(slots=True)
class TradeRow:
    """One fill, and what its order was. ``price`` is in units of the pair's last digit, ``qty`` of 8 digits."""

    id: str
    order: str
    market: Market
    time_ns: int
    side: str
    price: int
    qty: int
    fee: int
    trade_id: int | None
    ledgers: tuple[str, ...]
    shown_ns: int = 0

    @property
    def cost(self) -> int:
        """Price times quantity, with the decimals of both."""
        return self.price * self.qty

    def fields(self) -> dict[str, Any]:
        """Return the trade as it is served."""
        fields: dict[str, Any] = {
            "ordertxid": self.order,
            "postxid": "TKH2SE-M7IF5-CFI7LT",
            "pair": self.market.key,
            "time": Printed(printed_time(self.time_ns)),
            "type": self.side,
            "ordertype": "limit",
            "price": printed(self.price, self.market.price_decimals),
            "cost": printed(self.cost, self.market.price_decimals + 8),
            "fee": printed(self.fee, 4),
            "vol": printed(self.qty, 8),
            "margin": "0.00000",
            "misc": "",
            "maker": True,
            "ledgers": list(self.ledgers),
        }
        return fields if self.trade_id is None else fields | {"trade_id": self.trade_id}

    def order_fields(self) -> dict[str, Any]:
        """Return its order, which it filled, as it is served."""
        price = printed(self.price, self.market.price_decimals)
        time = Printed(printed_time(self.time_ns))
        return {
            "refid": None,
            "userref": 0,
            "status": "closed",
            "reason": None,
            "opentm": time,
            "closetm": time,
            "starttm": 0,
            "expiretm": 0,
            "descr": {"pair": self.market.key, "type": self.side, "ordertype": "limit", "price": price},
            "vol": printed(self.qty, 8),
            "vol_exec": printed(self.qty, 8),
            "cost": printed(self.cost, self.market.price_decimals + 8),
            "fee": printed(self.fee, 4),
            "price": price,
            "misc": "",
            "oflags": "fciq",
        }


class Printed(str):
    """A number that is printed as it stands, without quotes."""

    __slots__ = ()


def printed(units: int, digits: int) -> str:
    """Return a number of so many units in the last of ``digits`` decimals.

    >>> printed(-24_5000, 4), printed(5, 8)
    ('-24.5000', '0.00000005')
    """
    sign, text = "-" if units < 0 else "", str(abs(units)).rjust(digits + 1, "0")
    return f"{sign}{text[:-digits]}.{text[-digits:]}"


def printed_time(time_ns: int) -> str:
    """Return seconds with up to seven decimals, as a printed double has.

    >>> printed_time(1_623_619_565_874_049_400), printed_time(1_688_464_484_000_000_000)
    ('1623619565.8740494', '1688464484.0')
    """
    second, rest = divmod(time_ns // 100, 10_000_000)
    return f"{second}.{rest:07d}".rstrip("0").replace(".", ".0", 1) if not rest else f"{second}.{rest:07d}".rstrip("0")


@dataclass(slots=True)
class PrivateAccount:
    """The state of an account. Entries are added by its methods, in the order of their effect on balances."""

    seed: int = 1
    rows: list[LedgerRow] = field(default_factory=list)
    trades: list[TradeRow] = field(default_factory=list)
    balances: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    removed: set[str] = field(default_factory=set)
    """Ids that are served no more, as if they had never been."""

    random: Random = field(init=False)
    _ids: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    def new_id(self, first: str) -> str:
        """Return a new id like those of Kraken, which begins with a letter for its kind."""
        self._ids += 1
        text = "".join(self.random.choices(_LETTERS, k=11)) + _base32(self._ids).rjust(5, "A")
        return f"{first}{text[:5]}-{text[5:10]}-{text[10:]}"

    def enter(
        self,
        kind: str,
        asset: str,
        amount: int,
        time_ns: int,
        *,
        fee: int = 0,
        subtype: str = "",
        refid: str = "",
        late_ns: int = 0,
    ) -> LedgerRow:
        """Add an entry; ``late_ns`` is how long after its time it is served."""
        self.balances[asset] += amount - fee
        row = LedgerRow(
            self.new_id("L"),
            refid or self.new_id("R"),
            time_ns,
            kind,
            subtype,
            asset,
            amount,
            fee,
            self.balances[asset],
            time_ns + late_ns,
        )
        self.rows.append(row)
        return row

    def fill(
        self,
        market: Market,
        side: str,
        qty: int,
        time_ns: int,
        *,
        price: int | None = None,
        trade_id: int | None = None,
        late_ns: int = 0,
    ) -> TradeRow:
        """Trade ``qty`` (8 decimals): two entries of one time, and the trade, which is served ``late_ns`` later."""
        price = market.price if price is None else price
        cost = price * qty * 10 ** DECIMALS[market.quote] // 10 ** (market.price_decimals + 8)
        fee, sign, txid = cost // 400, 1 if side == "buy" else -1, self.new_id("T")
        base = qty * 10 ** (DECIMALS[market.base] - 8)
        entries = (
            self.enter("trade", market.quote, -sign * cost, time_ns, fee=fee, refid=txid),
            self.enter("trade", market.base, sign * base, time_ns, refid=txid),
        )
        ids = tuple(entry.id for entry in entries)
        trade = TradeRow(
            txid, self.new_id("O"), market, time_ns, side, price, qty, fee, trade_id, ids, time_ns + late_ns
        )
        self.trades.append(trade)
        return trade

    def invent(self, *, trades: int, others: int, start_ns: int, end_ns: int, late_ns: int = 0) -> None:
        """Add a history with so many trades and ``others`` entries of every kind, ``late_ns`` the longest delay.

        A trade makes two entries. The newest entries are not late: balances are explained once the rest is served.
        """
        self.enter("deposit", "ZUSD", 500_000_000_0000, start_ns)
        self.enter("deposit", "XXBT", 1_000 * 10**10, start_ns)
        self.enter("deposit", "RNDR", 500 * 10**8, start_ns)
        random, kinds = self.random, list(_KINDS)
        steps = [*(["fill"] * trades), *(kinds[number % len(kinds)] for number in range(max(0, others - 3)))]
        random.shuffle(steps)
        time_ns, step_ns = start_ns, max(1, (end_ns - start_ns) // max(1, len(steps) + 1))
        trade_ids: dict[str, int] = defaultdict(lambda: 1_000)
        for number, step in enumerate(steps):
            if random.random() > 0.1:  # one in ten has the very time of the entry before
                time_ns = start_ns + step_ns * (number + 1) + random.randrange(step_ns)
            late = random.randrange(late_ns) if late_ns and random.random() < 0.02 and number < len(steps) - 100 else 0
            if step == "fill":
                market = random.choice(MARKETS)
                trade_ids[market.key] += random.randrange(1, 9)
                known = None if number < trades // 50 else trade_ids[market.key]
                price = market.price + random.randrange(-market.price // 50, market.price // 50)
                side = "buy" if random.random() < 0.5 or self.balances[market.base] < 10**11 else "sell"
                self.fill(market, side, random.randrange(1, 10**8), time_ns, price=price, trade_id=known, late_ns=late)
            else:
                _KINDS[step](self, time_ns, late)

    def rename(self, old: str, new: str, time_ns: int) -> None:
        """Let an asset go on under another code, without an entry for it; the next entry bears the new one."""
        self.balances[new] = self.balances.pop(old)
        self.enter("reward", new, 1, time_ns)

    def shown(self, rows: Iterable[Any], now_ns: int) -> list[Any]:
        """Return the entries or trades that are served now, the newest first."""
        return sorted(
            (row for row in rows if row.shown_ns <= now_ns and row.id not in self.removed),
            key=lambda row: row.time_ns,
            reverse=True,
        )


def _withdrawn_and_back(account: PrivateAccount, time_ns: int, late_ns: int) -> None:
    refid, units = account.new_id("R"), account.random.randrange(1, 10**6)
    account.enter("withdrawal", "ZUSD", -units, time_ns, fee=35_000, refid=refid, late_ns=late_ns)
    account.enter("withdrawal", "ZUSD", units, time_ns, fee=-35_000, refid=refid, late_ns=late_ns)


def _kind(
    kind: str, asset: str, sign: int, *, subtype: str = "", fee: int = 0, none: bool = False
) -> Callable[[PrivateAccount, int, int], None]:
    def make(account: PrivateAccount, time_ns: int, late_ns: int) -> None:
        amount = 0 if none else sign * account.random.randrange(1, 10**6)
        account.enter(kind, asset, amount, time_ns, fee=fee, subtype=subtype, late_ns=late_ns)

    return make


_KINDS: Final[dict[str, Callable[[PrivateAccount, int, int], None]]] = {
    "deposit": _kind("deposit", "ZEUR", 1),
    "withdrawal": _kind("withdrawal", "ZUSD", -1, fee=50_000),
    "reversed": _withdrawn_and_back,
    "margin": _kind("margin", "ZUSD", -1, fee=120),
    "rollover": _kind("rollover", "ZUSD", 1, fee=311, none=True),
    "settled": _kind("settled", "XETH", 1),
    "staking": _kind("staking", "DOT.S", 1),
    "earn": _kind("earn", "USDT", 1, subtype="reward"),
    "reward": _kind("reward", "DOT.S", 1),
    "transfer": _kind("transfer", "USDT", 1, subtype="spotfromfutures"),
    "adjustment": _kind("adjustment", "XXBT", -1),
    "tokenized": _kind("reward", "AAPLx", 1),
}


def _base32(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 32)
        text = _LETTERS[digit] + text
    return text
