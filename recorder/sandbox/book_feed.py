"""The frames of the book channel (API.md 8.8, 9): a snapshot, then what changes in a window of a fixed depth.

Contains which window was sent last of each pair and depth, and the text and checksum of a frame. As on the exchange, a
level that is pushed out of the window is not announced, and one that enters from below is sent in full. Changes of
quantities below the best ten levels come in a frame of their own, before the rest of the same moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final
from zlib import crc32

from recorder.sandbox import book, wire_format
from recorder.sandbox.tape import Tape

if TYPE_CHECKING:  # only tests inject faults: a sandbox that is merely served does not load them
    from recorder.sandbox.fault_injection.injected_faults import InjectedFaults

DEPTHS: Final = (10, 25, 100, 500, 1000)
"""The depths that can be subscribed to; the first is the default."""
CHECKED: Final = 10
"""Levels of each side in a checksum."""

Side = dict[int, int]
"""Price → quantity, in integers of the tape's scales, best first."""
State = tuple[int, int]
"""The last id, and the moves since."""


class _Window:
    """What was sent of one pair at one depth."""

    def __init__(self, tape: Tape, state: State, bids: Side, asks: Side) -> None:
        self.state, self.bids, self.asks = state, bids, asks
        self._digits = tape.price_digits

    def rescale(self, tape: Tape) -> None:
        """Follow a tape whose prices have more digits than they had."""
        if tape.price_digits > self._digits:
            finer = 10 ** (tape.price_digits - self._digits)
            self.bids, self.asks = (
                {price * finer: qty for price, qty in side.items()} for side in (self.bids, self.asks)
            )
            self._digits = tape.price_digits


class BookFeed:
    """The book channel of all pairs. ``now_ns`` returns the time of the market, which may stand still."""

    def __init__(self, now_ns: Callable[[], int], injected: Callable[[], InjectedFaults | None] = lambda: None) -> None:
        self._now_ns = now_ns
        self._injected = injected
        self._windows: dict[tuple[str, int], _Window] = {}
        self._stamps_us: dict[tuple[str, int], int] = {}

    def snapshot(self, tape: Tape, depth: int) -> str:
        """Return the frame that begins a subscription: what others at this depth have been sent up to now."""
        window = self._windows.get((tape.pair.symbol, depth))
        if window is None:
            window = self._windows[tape.pair.symbol, depth] = self._now(tape, depth)
        return self._frame(tape, depth, "snapshot", window, (window.bids, window.asks), time_ns=self._now_ns())

    def window(self, symbol: str, depth: int) -> tuple[Side, Side]:
        """Return the true bids and asks after the last frame, whether it was sent or lost."""
        window = self._windows[symbol, depth]
        return window.bids, window.asks

    def moved(self, tapes: Iterable[Tape]) -> Iterator[tuple[str, int, str]]:
        """Yield symbol, depth and frame for each change up to now that was not sent yet.

        ``tapes`` are those of all pairs that are followed; what was sent of others is forgotten.
        """
        followed = {tape.pair.symbol: tape for tape in tapes}
        for symbol, depth in list(self._windows):
            if symbol not in followed:
                del self._windows[symbol, depth]
                continue
            for frame in self._due(followed[symbol], depth):
                yield symbol, depth, frame

    def traded(self, tape: Tape) -> Iterator[tuple[int, str]]:
        """Yield depth and frame of what follows from trades that were just made."""
        for symbol, depth in list(self._windows):
            if symbol == tape.pair.symbol:
                for frame in self._to(tape, depth, (tape.last_id, 0)):
                    yield depth, frame

    def _now(self, tape: Tape, depth: int) -> _Window:
        if not len(tape):
            return _Window(tape, (tape.last_id, 0), {}, {})
        moves = book.moved(tape, self._now_ns())
        bids, asks = book.sides(tape, moves, depth)
        return _Window(tape, (tape.last_id, moves), dict(bids), dict(asks))

    def _due(self, tape: Tape, depth: int) -> Iterator[str]:
        if not len(tape):
            return
        last_id, before = self._windows[tape.pair.symbol, depth].state
        first = before + 1 if last_id == tape.last_id else 0
        for moves in range(first, book.moved(tape, self._now_ns()) + 1):
            yield from self._to(tape, depth, (tape.last_id, moves))

    def _to(self, tape: Tape, depth: int, state: State) -> Iterator[str]:
        """Yield the frames that lead to a state; the last may be lost, or wrong, if that is injected."""
        symbol = tape.pair.symbol
        old = self._windows[symbol, depth]
        old.rescale(tape)
        bids, asks = (dict(levels) for levels in book.sides(tape, state[1], depth))
        injected = self._injected()
        faults = None if injected is None else injected.books
        if faults is not None:
            bids = faults.crossed(tape, bids, asks, depth)
        deep = _Window(tape, state, _with_deep(old.bids, bids), _with_deep(old.asks, asks))
        new = _Window(tape, state, bids, asks)
        time_ns = tape.times_ns[-1] + state[1] * book.MOVE_NS
        for is_deep, before, after in ((True, old, deep), (False, deep, new)):
            changed = (
                _changes(before.bids, after.bids, depth, sign=-1),
                _changes(before.asks, after.asks, depth, sign=1),
            )
            self._windows[symbol, depth] = after
            if not any(changed):
                continue
            frame = self._frame(tape, depth, "update", after, changed, time_ns=time_ns)
            if faults is None or not faults.loses(symbol, is_deep=is_deep):
                yield frame
        if faults is not None and faults.resends(symbol):
            yield self.snapshot(tape, depth)

    def _frame(
        self, tape: Tape, depth: int, kind: str, window: _Window, sides: tuple[Side, Side], *, time_ns: int
    ) -> str:
        symbol, (bids, asks) = tape.pair.symbol, sides
        # Stamps strictly increase, and none repeats (API.md 8.8).
        stamp_us = max(time_ns // 1000, self._stamps_us.get((symbol, depth), 0) + 1)
        self._stamps_us[symbol, depth] = stamp_us
        checksum = _checksum(tape, window)
        injected = self._injected()
        if injected is not None and injected.books.spoils(symbol):
            checksum ^= 1
        return (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}","bids":[{_levels(tape, bids)}],'
            f'"asks":[{_levels(tape, asks)}],"checksum":{checksum},'
            f'"timestamp":"{wire_format.stamp_us(stamp_us * 1000)}"}}]}}'
        )


def _with_deep(old: Side, new: Side) -> Side:
    """Return the old side with the new quantities of levels that are below the best ten in both."""
    best = {*islice(old, CHECKED), *islice(new, CHECKED)}
    return {price: qty if price in best else new.get(price, qty) for price, qty in old.items()}


def _changes(old: Side, new: Side, depth: int, *, sign: int) -> Side:
    """Return what a client that cuts to the depth after each message has to be sent, in the exchange's order.

    Each removal is followed by a level that enters the window from below. A level beyond a full window is left out: it
    was pushed out. ``sign`` is 1 for asks, -1 for bids.
    """
    worst = next(reversed(new)) if len(new) >= depth else None
    removed = [price for price in old if price not in new and (worst is None or (price - worst) * sign < 0)]
    sent = {price: qty for price, qty in new.items() if old.get(price) != qty}
    entering = iter([price for price in reversed(sent) if price not in old])
    found: Side = {}
    for price in removed:
        found[price] = 0
        enters = next(entering, None)
        if enters is not None:
            found[enters] = sent.pop(enters)
    return found | sent


def _checksum(tape: Tape, window: _Window) -> int:
    joined = "".join(
        text.replace(".", "").lstrip("0")
        for side in (window.asks, window.bids)
        for price, qty in islice(side.items(), CHECKED)
        for text in (_price(tape, price), wire_format.fixed(qty, tape.qty_digits))
    )
    return crc32(joined.encode())


def _levels(tape: Tape, side: Mapping[int, int]) -> str:
    return ",".join(
        f'{{"price":{_price(tape, price)},"qty":{wire_format.fixed(qty, tape.qty_digits)}}}'
        for price, qty in side.items()
    )


def _price(tape: Tape, price: int) -> str:
    return wire_format.price_text(price, tape.price_digits, tape.socket_digits)
