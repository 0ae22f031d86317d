"""The book of one pair as a subscription shows it, and its checksum (API.md 8.8, 9).

Prices and quantities are integers of the listing's digits, so that nothing is rounded and the text of a level in the
checksum is its digits. A side is a sorted list with its best level first: a message costs a bisection for each level,
and the checksum a join of twenty texts where the best ten levels have changed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from recorder.core.model import PRECISION, PRICE_SCALE, QTY_SCALE

DEPTHS: Final = (10, 25, 100, 500, 1000)
"""The numbers of levels of a side that can be subscribed to."""
VERIFIED_LEVELS: Final = 10
"""Levels of each side in the checksum, whatever the depth: deeper ones are as received, and a lost message that touches
only those cannot be seen."""

PriceQty = tuple[bytes, bytes]
"""A level as text: its price, and its quantity, where zero removes the level."""


class Digits(NamedTuple):
    """Digits after the decimal point of prices and quantities.

    >>> Digits.seen([(b"0.0286", b"74198.19125726"), (b"1", b"5.5")])
    Digits(price=4, qty=8)
    """

    price: int
    qty: int

    @classmethod
    def seen(cls, levels: Iterable[PriceQty]) -> Digits:
        """Return the most digits in these texts."""
        price = qty = 0
        for price_text, qty_text in levels:
            price = max(price, len(price_text.partition(b".")[2]))
            qty = max(qty, len(qty_text.partition(b".")[2]))
        return cls(price, qty)

    @property
    def fit(self) -> bool:
        """Whether the archive stores such numbers."""
        return self.price <= PRICE_SCALE and self.qty <= QTY_SCALE


class Level(NamedTuple):
    """A level in integers of the book's digits."""

    price: int
    qty: int


class Evicted(NamedTuple):
    """Prices of levels that a message has pushed out of the window, best first, in integers of the book's digits.

    The exchange does not announce them (API.md 8.8).
    """

    bids: Sequence[int]
    asks: Sequence[int]


NOTHING: Final = Evicted((), ())


class _Side:
    """One side. ``sign`` is 1 for asks and -1 for bids: prices times the sign ascend from the best on."""

    __slots__ = ("keys", "sign", "texts", "top")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.texts: list[bytes] = []
        """Of each level what it is in the checksum: the digits of its price, then those of its quantity."""
        self.top = b""
        """The texts of the best ten levels, joined."""

    def levels(self) -> Iterator[Level]:
        for key, text in zip(self.keys, self.texts, strict=True):
            price = key * self.sign
            yield Level(price, int(text[len(str(price)) :]))


class Book:
    """The best ``depth`` levels of each side, empty at first.

    :meth:`apply` raises ValueError for numbers that cannot belong to this book; it is of no use after that.
    """

    __slots__ = ("_asks", "_bids", "_price_limit", "_qty_limit", "checksum", "depth", "digits")

    def __init__(self, depth: int, digits: Digits) -> None:
        if not digits.fit:
            raise ValueError(
                f"{digits.price} digits of a price or {digits.qty} of a quantity; the archive stores {PRICE_SCALE} and "
                f"{QTY_SCALE}"
            )
        self.depth = depth
        self.digits = digits
        self.checksum = 0
        """The checksum of the present state, to be compared with the exchange's."""
        self._bids, self._asks = _Side(-1), _Side(1)
        self._price_limit = 10 ** (PRECISION - PRICE_SCALE + digits.price)
        self._qty_limit = 10 ** (PRECISION - QTY_SCALE + digits.qty)

    def apply(self, bids: Sequence[PriceQty], asks: Sequence[PriceQty]) -> Evicted:
        """Apply the levels of one message, each list in its order, and cut both sides; return what was cut off.

        Raises ValueError for what is no price or quantity, or has more digits than the book's: then these have changed.
        """
        changed = False
        if bids:
            changed = self._change(self._bids, bids)
        if asks:
            changed |= self._change(self._asks, asks)
        if changed:
            self.checksum = crc32(self._bids.top, crc32(self._asks.top))
        if len(self._bids.keys) <= self.depth and len(self._asks.keys) <= self.depth:
            return NOTHING
        return Evicted(self._cut(self._bids), self._cut(self._asks))

    def _change(self, side: _Side, levels: Sequence[PriceQty]) -> bool:
        """Apply levels to one side; return whether its best ten changed."""
        keys, texts, sign = side.keys, side.texts, side.sign
        price_digits, qty_digits = self.digits
        best = VERIFIED_LEVELS
        for price_text, qty_text in levels:
            whole, _, fraction = price_text.partition(b".")
            price = int(whole + fraction if len(fraction) == price_digits else _padded(price_text, price_digits))
            whole, _, fraction = qty_text.partition(b".")
            qty = int(whole + fraction if len(fraction) == qty_digits else _padded(qty_text, qty_digits))
            if not (0 < price < self._price_limit and 0 <= qty < self._qty_limit):
                raise ValueError(f"a level {_shown(price_text)} of {_shown(qty_text)}")
            key = price * sign
            at = bisect_left(keys, key)
            best = min(best, at)
            is_there = at < len(keys) and keys[at] == key
            if qty == 0:
                if is_there:
                    del keys[at], texts[at]
            elif is_there:
                texts[at] = b"%d%d" % (price, qty)
            else:
                keys.insert(at, key)
                texts.insert(at, b"%d%d" % (price, qty))
        if best == VERIFIED_LEVELS:
            return False
        side.top = b"".join(texts[:VERIFIED_LEVELS])
        return True

    def _cut(self, side: _Side) -> list[int]:
        beyond = [key * side.sign for key in side.keys[self.depth :]]
        del side.keys[self.depth :], side.texts[self.depth :]
        return beyond

    @property
    def bids(self) -> list[Level]:
        """The bids, best first."""
        return list(self._bids.levels())

    @property
    def asks(self) -> list[Level]:
        """The asks, best first."""
        return list(self._asks.levels())

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid is not below the best ask."""
        bids, asks = self._bids.keys, self._asks.keys
        return bool(bids and asks) and -bids[0] >= asks[0]

    def printed(self, levels: Iterable[Level]) -> Iterator[tuple[str, str]]:
        """Yield prices and quantities as text with the book's digits, as the exchange prints them."""
        for price, qty in levels:
            yield printed(price, self.digits.price), printed(qty, self.digits.qty)


def printed(value: int, digits: int) -> str:
    """Return a scaled integer as text with exactly that many digits after the point.

    >>> printed(286, 4), printed(5, 0)
    ('0.0286', '5')
    """
    if digits == 0:
        return str(value)
    text = str(value).rjust(digits + 1, "0")
    return f"{text[:-digits]}.{text[-digits:]}"


def _padded(text: bytes, digits: int) -> bytes:
    """Return the digits of a text that lacks some after the point. Raises ValueError if it has too many."""
    whole, _, fraction = text.partition(b".")
    if len(fraction) > digits:
        raise ValueError(f"{_shown(text)} has more than {digits} digits after the point: the precision has changed")
    return whole + fraction.ljust(digits, b"0")


def _shown(text: bytes) -> str:
    return text[:40].decode(errors="replace")
