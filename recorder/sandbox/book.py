"""The order book of one tape: invented around the last trade, reproducible, and moving between trades.

REST Depth and Ticker and the channels ticker and book all show this book (API.md 6.5, 6.8, 8.7, 8.8). After a trade the
best prices are a tick apart, with the last price on the side that the taker hit. From then on the book moves at fixed
intervals. The best level of each side follows from a seed made of the pair, its last id and the number of moves since
that trade; deeper ones stand at prices of their own, and each changes its quantity once in a while. So any two looks at
the same moment agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple
from zlib import crc32

from recorder.sandbox import wire_format
from recorder.sandbox.tape import SELL, Tape

DEEPEST: Final = 500
"""The maximum number of levels of a side in REST; the default is 100."""
MOVE_NS: Final = 250_000_000
"""The interval between two moves: a real pair of the first rank changes its best prices or quantities some 5 to 30
times a second, a rarely traded one a few times a minute."""
WIDEST: Final = 3
"""The maximum number of ticks by which a best price moves away from the last trade."""
_CELL: Final = 6
"""Ticks among which there is one level, below the best."""
_STAYS: Final = 40
"""Moves between two changes of a level's quantity: so one in this many changes with each."""
_MASK: Final = 2**64 - 1
_QTY_DIGITS: Final = 3
"""The digits of a quantity that REST prints."""
_NS: Final = 1_000_000_000


class Level(NamedTuple):
    """One level, in integers of the tape's scales."""

    price: int
    qty: int


class Top(NamedTuple):
    """The best levels since ``time_ns``; a side without one is empty."""

    time_ns: int
    bid: Level | None
    ask: Level | None


def moved(tape: Tape, now_ns: int) -> int:
    """Return how many times the book has moved since the last trade, which a tape must have."""
    return max(0, now_ns - tape.times_ns[-1]) // MOVE_NS


def top(tape: Tape, now_ns: int) -> Top | None:
    """Return the best levels; None for an empty tape."""
    return _top(tape, moved(tape, now_ns)) if len(tape) else None


def changes(tape: Tape, after: tuple[int, int], now_ns: int) -> Iterator[tuple[tuple[int, int], Top]]:
    """Yield each state of the best levels later than ``after`` up to now; a state is the last id, and the moves since.

    States between two trades that were made since ``after`` are left out, except those that followed the last one.
    """
    if not len(tape):
        return
    last_id = tape.last_id
    first = after[1] + 1 if after[0] == last_id else 0
    for moves in range(first, moved(tape, now_ns) + 1):
        yield (last_id, moves), _top(tape, moves)


def depth(tape: Tape, count: int, now_ns: int) -> dict[str, list[tuple[str, str, int]]]:
    """Return ``asks``, ascending, and ``bids``, descending, with ``count`` levels each; none for an empty tape.

    Bids end where the price would be zero.
    """
    if not len(tape):
        return {"asks": [], "bids": []}
    moves = moved(tape, now_ns)
    return {
        name: [_printed(tape, level, now_ns, index) for index, level in enumerate(_side(tape, moves, side, count))]
        for name, side in (("asks", 1), ("bids", -1))
    }


def sides(tape: Tape, moves: int, count: int) -> tuple[list[Level], list[Level]]:
    """Return bids and asks, best first, ``moves`` moves after the last trade, which the tape must have."""
    return _side(tape, moves, -1, count), _side(tape, moves, 1, count)


def _top(tape: Tape, moves: int) -> Top:
    best = (next(iter(_side(tape, moves, side, 1)), None) for side in (-1, 1))
    return Top(tape.times_ns[-1] + moves * MOVE_NS, *best)


def _side(tape: Tape, moves: int, side: int, count: int) -> list[Level]:
    """Return levels of the asks (``side`` 1) or the bids (-1), best first."""
    chance = Random(f"{tape.pair.symbol} {tape.last_id} {moves} {side}")
    tick = max(1, int(tape.pair.tick_size.scaleb(tape.price_digits)))
    hit = bool(tape.marks[-1] & SELL) == (side < 0)  # the last trade was made at this side's best price
    price = tape.prices[-1] + side * tick * ((0 if hit else 1) + (chance.randint(0, WIDEST) if moves else 0))
    finer = 10 ** (tape.qty_digits - _QTY_DIGITS)
    levels: list[Level] = []
    if count and price > 0:
        levels.append(Level(price, chance.randint(finer, 4_000 * finer)))
    cell = price // (tick * _CELL) - (0 if side > 0 else -1)
    name, epoch = crc32(tape.pair.symbol.encode()), (tape.times_ns[-1] + moves * MOVE_NS) // MOVE_NS
    while len(levels) < count and cell >= 0 < price:
        own = _mixed(name, cell, side)
        deeper = (cell * _CELL + own % _CELL) * tick
        if (deeper - price) * side > 0 < deeper:
            qty = finer + _mixed(own, (epoch + own % _STAYS) // _STAYS, side) % (3_999 * finer)
            levels.append(Level(deeper, qty))
        cell += side
    return levels


def _mixed(*numbers: int) -> int:
    """Return a number without a pattern that follows from others: splitmix64, since a generator takes much longer."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        mixed ^= mixed >> 31
    return mixed


def _printed(tape: Tape, level: Level, now_ns: int, index: int) -> tuple[str, str, int]:
    price = wire_format.price_text(level.price, tape.price_digits, tape.pair.rest_digits)
    qty = wire_format.fixed(level.qty // 10 ** (tape.qty_digits - _QTY_DIGITS), _QTY_DIGITS)
    return price, qty, now_ns // _NS - min(index, 120)
