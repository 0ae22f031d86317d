"""A seeded, invented market: six pairs that between them have every property that has ever broken a recorder.

Contains the generation of trades. Does not know clocks, wire text or I/O. The same seed makes the same trades,
regardless of the steps in which time passes: each pair draws from its own random source, event after event.

Imitates these facts (API.md 6.7, 7): ids are dense; a taker sweeps several resting orders some 10 to 100 ns apart, so
that many trades share one printed microsecond and one printed double; rows that are equal in all printed fields except
the id are common. Values are integers from the first draw on. About 2 µs and 25 bytes a trade: a history of 20 M takes
40 s and 500 MB.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from recorder.core.trade_ids import Span
from recorder.errors import UsageError
from recorder.sandbox.listing_changes import MarketRegister
from recorder.sandbox.market_protocol import PlayedFrame
from recorder.sandbox.pairs import Pair, SandboxListing, pair_of
from recorder.sandbox.tape import MARKET, SELL, NewTrades, Tape

_NS: Final = 1_000_000_000
SWEEP_STEP_NS: Final = (10, 100)
"""Time between two fills of one sweep, shortest and longest: 13 ns in the densest known run (API.md 6.7)."""
SWEEP_SIZES: Final = ((0.55, 1, 1), (0.30, 2, 6), (0.14, 7, 20), (0.01, 21, 120))
"""(share, smallest, largest) number of fills of one taker order."""
_MEAN_SWEEP: Final = sum(share * (low + high) / 2 for share, low, high in SWEEP_SIZES)
LONGEST_HISTORY_NS: Final = 2 * 365 * 86_400 * _NS
"""The approximate maximum age of history: that of a rarely traded pair is made denser, not older than Kraken."""
_NEVER_NS: Final = 1 << 62
REPEATED: Final = 0.2
"""Share of fills with the same quantity as the fill before, often at the same price: bots cut orders into equal parts.
"""


@dataclass(frozen=True, slots=True)
class Character:
    """How one pair trades: its share of all trades, first price, and the range that quantities are drawn from.

    ``price`` and ``lot`` are scaled integers; the largest quantity is below 2**``qty_bits`` of the smallest unit.
    """

    pair: Pair
    weight: float
    price: int
    lot: int
    qty_bits: int
    spread_bits: int


CHARACTERS: Final[tuple[Character, ...]] = (
    # The best-known pair: four different names and one decimal.
    Character(
        pair_of(
            "BTC/USD", key="XXBTZUSD", base="XXBT", quote="ZUSD", pair_decimals=1, lot_decimals=8, ordermin="0.00005"
        ),
        weight=0.4495, price=628_070, lot=5_100, qty_bits=29, spread_bits=22,
    ),
    Character(
        pair_of(
            "ETH/EUR", key="XETHZEUR", base="XETH", quote="ZEUR", pair_decimals=2, lot_decimals=8, ordermin="0.002"
        ),
        weight=0.2, price=176_914, lot=280_000, qty_bits=33, spread_bits=22,
    ),
    # Called XDG everywhere except on WebSocket v2.
    Character(
        pair_of(
            "DOGE/USD", base="XXDG", quote="ZUSD", pair_decimals=7, lot_decimals=8, cost_decimals=9, ordermin="13"
        ),
        weight=0.2, price=1_734_512, lot=1_300_000_000, qty_bits=45, spread_bits=20,
    ),
    # Quantities of hundreds of millions, with five digits.
    Character(
        pair_of("SHIB/USD", quote="ZUSD", pair_decimals=8, lot_decimals=5, ordermin="160000"),
        weight=0.1, price=1_234, lot=38_332_050_000_000, qty_bits=46, spread_bits=8,
    ),
    # Ten digits on WebSocket, twelve on REST.
    Character(
        pair_of("MOG/USD", quote="ZUSD", pair_decimals=10, lot_decimals=5, ordermin="1700000"),
        weight=0.05, price=4_771, lot=170_000_000_000, qty_bits=45, spread_bits=12,
    ),
    # Silent for most of a test.
    Character(
        pair_of("MINA/GBP", quote="ZGBP", pair_decimals=4, lot_decimals=8, ordermin="30"),
        weight=0.0005, price=1_352, lot=3_000_000_000, qty_bits=38, spread_bits=14,
    ),
)  # fmt: skip


def character_of(pair: Pair, *, weight: float = 1.0) -> Character:
    """Return a default character for a pair without one: a price of five figures, quantities about one lot."""
    lot_bits = 31 if pair.lot_decimals == 8 else 21
    return Character(pair, weight=weight, price=12_345, lot=10**pair.lot_decimals, qty_bits=lot_bits, spread_bits=16)


def others_trading(listed: Sequence[Pair], wanted: Collection[str]) -> list[Character]:
    """Return characters for the ``wanted`` v2 symbols of a listing (``*``: all) that have none of their own.

    Together they trade as much as the usual six. Raise UsageError for a symbol that is not listed.
    """
    by_symbol = {pair.symbol: pair for pair in listed}
    for symbol in wanted:
        if symbol != "*" and symbol not in by_symbol:
            raise UsageError(f"{symbol!r} cannot trade: the listing given has no such v2 symbol")
    usual = {character.pair.symbol for character in CHARACTERS}
    chosen = [pair for pair in listed if pair.symbol not in usual and ("*" in wanted or pair.symbol in wanted)]
    return [character_of(pair, weight=1 / len(chosen)) for pair in chosen]


def _as_listed(character: Character, listed: Mapping[str, Pair]) -> Character:
    """Return the character with its pair's entry in the listing, if there is one. Raise UsageError if digits differ."""
    pair = listed.get(character.pair.symbol, character.pair)
    invented = character.pair
    if (pair.pair_decimals, pair.lot_decimals) != (invented.pair_decimals, invented.lot_decimals):
        raise UsageError(
            f"{pair.symbol} trades here with {invented.pair_decimals} and {invented.lot_decimals} digits, the listing "
            f"says {pair.pair_decimals} and {pair.lot_decimals}; leave it out of the listing or of those that trade"
        )
    return replace(character, pair=pair)


class Market:
    """An exchange's worth of invented trades, ``rate`` a second in all; the module describes their properties.

    With a rate of 0 it trades in bursts only. ``history`` is the number of trades before ``start_ns``, for each pair or
    by v2 symbol. ``listed`` are pairs of a real listing: those without a character are listed, and never trade.
    """

    def __init__(
        self,
        *,
        start_ns: int,
        seed: int = 1,
        rate: float = 50.0,
        history: int | Mapping[str, int] = 1000,
        first_id: int = 1,
        characters: Sequence[Character] = CHARACTERS,
        listed: Sequence[Pair] = (),
    ) -> None:
        self._register = MarketRegister()
        self._flows: dict[str, _Flow] = {}
        self._seed, self._first_id = seed, first_id
        tapes = {pair.symbol: Tape(pair, first_id=first_id) for pair in listed}
        by_symbol = {pair.symbol: pair for pair in listed}
        characters = [_as_listed(character, by_symbol) for character in characters]
        whole = sum(character.weight for character in characters)
        for character in characters:
            symbol = character.pair.symbol
            flow = _Flow(character, seed=seed, first_id=first_id, trades_per_s=rate * character.weight / whole)
            flow.recall(history if isinstance(history, int) else history.get(symbol, 0), before_ns=start_ns)
            self._flows[symbol] = flow
            tapes[symbol] = flow.tape
        self._register.fill(tapes)

    @property
    def listing(self) -> SandboxListing:
        """The listed pairs."""
        return self._register.listing

    @property
    def tapes(self) -> Mapping[str, Tape]:
        """v2 symbol → everything traded so far."""
        return self._register.tapes

    def advance(self, now_ns: int) -> list[NewTrades]:
        """Make the trades due up to ``now_ns``: one run for each pair that traded."""
        return [made for flow in self._flows.values() for made in flow.advance(now_ns)]

    def burst(self, symbol: str, n: int, now_ns: int) -> list[NewTrades]:
        """Make one sweep of ``n`` trades, at ``now_ns`` or after the last trade made."""
        if symbol not in self._flows:
            self._flow(self._register.tapes[symbol], now_ns=now_ns, trades_per_s=0.0)
        return self._flows[symbol].burst(n, now_ns)

    def enlist(self, pair: Pair, *, now_ns: int, trades_per_s: float) -> None:
        """List a pair, which trades at this rate from now on."""
        self._flow(self._register.enlist(pair, now_ns=now_ns), now_ns=now_ns, trades_per_s=trades_per_s)

    def delist(self, symbol: str) -> None:
        """Remove a pair from the listing; it stops trading."""
        self._register.delist(symbol)
        self._flows.pop(symbol, None)

    def relist(self, symbol: str, pair: Pair, *, now_ns: int) -> None:
        """Change the entry of a pair; it continues trading, in steps of the new tick."""
        tape = self._register.tapes.get(symbol)
        scale = 0 if tape is None else tape.price_digits
        tape = self._register.relist(symbol, pair, now_ns=now_ns)
        if symbol in self._flows:
            flow = self._flows[pair.symbol] = self._flows.pop(symbol)
            flow.relisted(finer=10 ** (tape.price_digits - scale))

    def renumber(self, symbol: str) -> None:
        """Restart the ids of a pair at 1, as after a relisting: the exchange forgets the earlier trades."""
        tape = self._register.renumber(symbol)
        if symbol in self._flows:
            self._flows[symbol].tape = tape

    def _flow(self, tape: Tape, *, now_ns: int, trades_per_s: float) -> None:
        flow = _Flow(
            character_of(tape.pair), seed=self._seed, first_id=self._first_id, trades_per_s=trades_per_s, tape=tape
        )
        flow.recall(0, before_ns=now_ns)
        self._flows[tape.pair.symbol] = flow

    def skip(self, paused_ns: int) -> None:
        """Postpone everything due by the time during which the market stood still."""
        for flow in self._flows.values():
            flow.due_ns += paused_ns

    def play(self, now_ns: int) -> list[PlayedFrame]:  # noqa: ARG002  # the interface of a market
        """Return nothing: no frame of this market was recorded."""
        return []

    def wanted(self, symbol: str, now_ns: int) -> None:
        """Ignore a subscription: this market trades whether or not it has subscribers."""


class _Flow:
    """The trades of one pair: takers arrive at random (Poisson), each sweeps some orders, the price wanders."""

    def __init__(
        self, character: Character, *, seed: int, first_id: int, trades_per_s: float, tape: Tape | None = None
    ) -> None:
        self.tape = Tape(character.pair, first_id=first_id) if tape is None else tape
        self.due_ns = 0
        self._character = character
        self._random = Random(f"{seed} {character.pair.symbol}")
        self._sweeps_per_ns = trades_per_s / _MEAN_SWEEP / _NS
        self._price = self._first_price = character.price
        self._qty = character.lot
        self._tick = 1
        self.relisted(finer=10 ** (self.tape.price_digits - character.pair.pair_decimals))

    def relisted(self, *, finer: int) -> None:
        """Continue in a scale ``finer`` times as fine, and in steps of the tick that is listed now."""
        tape = self.tape
        self._tick = max(1, int(tape.pair.tick_size.scaleb(tape.price_digits)))
        self._first_price *= finer
        # Down to a price that the new tick allows.
        self._price = max(self._tick, self._price * finer // self._tick * self._tick)

    def recall(self, count: int, *, before_ns: int) -> None:
        """Put ``count`` trades that end just before ``before_ns`` on an empty tape, and schedule the next one."""
        tape = self.tape
        sweeps_per_ns = max(self._sweeps_per_ns, count / _MEAN_SWEEP / LONGEST_HISTORY_NS)
        due_ns = 0
        while len(tape) < count:
            due_ns = max(due_ns + self._gap_ns(sweeps_per_ns), self._end_ns())
            self._sweep(due_ns, min(self._sizes(), count - len(tape)))
        shift_ns = before_ns - 1 - self._end_ns()
        for index in range(count):
            tape.times_ns[index] += shift_ns
        self.due_ns = before_ns + self._gap_ns(self._sweeps_per_ns)

    def advance(self, now_ns: int) -> list[NewTrades]:
        first = self.tape.next_id
        while self.due_ns <= now_ns:
            self._sweep(self.due_ns, self._sizes())
            self.due_ns = max(self.due_ns + self._gap_ns(self._sweeps_per_ns), self._end_ns())
        return self._made(first)

    def burst(self, n: int, now_ns: int) -> list[NewTrades]:
        first = self.tape.next_id
        self._sweep(max(now_ns, self._end_ns()), n)
        self.due_ns = max(self.due_ns, self._end_ns())
        return self._made(first)

    def _made(self, first: int) -> list[NewTrades]:
        last = self.tape.last_id
        return [NewTrades(self.tape.pair.symbol, Span(first, last))] if first <= last else []

    def _gap_ns(self, sweeps_per_ns: float) -> int:
        return 1 + int(self._random.expovariate(sweeps_per_ns)) if sweeps_per_ns else _NEVER_NS

    def _end_ns(self) -> int:
        """Return the first free time after the newest trade."""
        return self.tape.times_ns[-1] + 1 if self.tape.times_ns else 0

    def _sizes(self) -> int:
        """Draw the number of fills of one taker order."""
        draw = self._random.random()
        for share, low, high in SWEEP_SIZES:
            if draw < share:
                return low + int(self._random.random() * (high - low + 1))
            draw -= share
        return 1

    def _sweep(self, at_ns: int, size: int) -> None:
        """Fill one taker order against ``size`` resting ones: one side, one kind, the price moving one way."""
        random, bits = self._random.random, self._random.getrandbits
        character, tape = self._character, self.tape
        shortest, steps = SWEEP_STEP_NS[0], SWEEP_STEP_NS[1] - SWEEP_STEP_NS[0] + 1
        price, qty = self._price, self._qty
        mark = bits(1) * SELL + (MARKET if random() < 0.6 else 0)
        tick, first_price = self._tick, self._first_price
        step = -tick if mark & SELL else tick
        # Back towards the first price once it has halved or doubled, so that no seed walks to zero.
        if not first_price // 2 < price < first_price * 2:
            step, price = 0, price + (tick if price < first_price else -tick)
        for _ in range(size):
            draw = random()
            if draw > REPEATED:
                qty = (bits(character.qty_bits) >> int(random() * character.spread_bits)) + 1
                if draw > 0.6:
                    # A burst of thousands can walk further down than there are steps.
                    price = price + step if price + step > 0 else tick
            elif draw < REPEATED / 4:
                qty = character.lot
            tape.append(at_ns, price=price, qty=qty, mark=mark)
            at_ns += shortest + int(random() * steps)
        self._price, self._qty = price, qty
