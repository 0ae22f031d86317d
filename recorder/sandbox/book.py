"""The order book of one tape, as REST Depth serves it (API.md 6.8): invented around the last trade, and reproducible.

The best prices are those of the Ticker, a tick apart. Further levels and all quantities follow from a seed made of the
pair and its last id, so the book does not change until the next trade.
"""

from __future__ import annotations

from random import Random
from typing import Final

from recorder.sandbox import wire_format
from recorder.sandbox.tape import SELL, Tape

DEEPEST: Final = 500
"""The maximum number of levels of a side; the default is 100."""
_QTY_DIGITS: Final = 3
_NS: Final = 1_000_000_000


def depth(tape: Tape, count: int, now_ns: int) -> dict[str, list[tuple[str, str, int]]]:
    """Return ``asks``, ascending, and ``bids``, descending, with ``count`` levels each; none for an empty tape.

    Bids end where the price would be zero.
    """
    if not len(tape):
        return {"asks": [], "bids": []}
    tick = max(1, int(tape.pair.tick_size.scaleb(tape.price_digits)))
    last, mark = tape.prices[-1], tape.marks[-1]
    ask, bid = (last + tick, last) if mark & SELL else (last, last - tick)
    return {
        "asks": _side(tape, ask, tick, count, now_ns),
        "bids": _side(tape, bid, -tick, count, now_ns),
    }


def _side(tape: Tape, best: int, step: int, count: int, now_ns: int) -> list[tuple[str, str, int]]:
    chance = Random(f"{tape.pair.symbol} {tape.last_id} {step > 0}")
    levels: list[tuple[str, str, int]] = []
    price = best
    while len(levels) < count and price > 0:
        qty = chance.randint(1, 4_000)
        at_s = now_ns // _NS if not levels else (now_ns // _NS) - chance.randint(0, 120)
        levels.append((_price(tape, price), wire_format.fixed(qty, _QTY_DIGITS), at_s))
        price += step * chance.randint(1, 12)
    return levels


def _price(tape: Tape, price: int) -> str:
    return wire_format.price_text(price, tape.price_digits, tape.pair.rest_digits)
