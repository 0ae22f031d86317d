"""The frames of the ticker channel (API.md 8.7): the best bid and ask of each pair, and its last 24 hours.

Contains which state of each book was sent last, and the text of a row. Who follows a pair, and by which trigger, is in
``websocket``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from recorder.sandbox import book, wire_format
from recorder.sandbox.book import Level, Top
from recorder.sandbox.tape import Tape
from recorder.sandbox.ticker import Ticker

_NEVER: Final = (-1, -1)


class TickerFeed:
    """The ticker channel of all pairs. ``now_ns`` returns the time of the market, which may stand still."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._tickers: dict[str, Ticker] = {}
        self._sent: dict[str, tuple[tuple[int, int], Top | None]] = {}

    def snapshot(self, tape: Tape) -> str:
        """Return the frame that begins a subscription."""
        return self._frame(tape, "snapshot", book.top(tape, self._now_ns()))

    def traded(self, tape: Tape) -> tuple[str, bool]:
        """Return the frame after trades that were just made, and whether the best levels have changed."""
        top = book.top(tape, tape.times_ns[-1])
        return self._frame(tape, "update", top), self._is_new(tape, (tape.last_id, 0), top)

    def moved(self, tapes: Iterable[Tape]) -> Iterator[tuple[str, str]]:
        """Yield symbol and frame for each change of the best levels up to now that was not sent yet.

        ``tapes`` are those of all pairs that are followed. Nothing is due for one that was not followed the last time.
        """
        before, self._sent = self._sent, {}
        for tape in tapes:
            symbol = tape.pair.symbol
            if symbol not in before:
                if len(tape):
                    self._sent[symbol] = (tape.last_id, book.moved(tape, self._now_ns())), None
                continue
            self._sent[symbol] = before[symbol]
            for state, top in book.changes(tape, before[symbol][0], self._now_ns()):
                if self._is_new(tape, state, top):
                    yield symbol, self._frame(tape, "update", top)

    def _is_new(self, tape: Tape, state: tuple[int, int], top: Top | None) -> bool:
        _, before = self._sent.get(tape.pair.symbol, (_NEVER, None))
        self._sent[tape.pair.symbol] = state, top
        return before is None or top is None or (before.bid, before.ask) != (top.bid, top.ask)

    def _frame(self, tape: Tape, kind: str, top: Top | None) -> str:
        row = self._row(tape, Top(self._now_ns(), None, None) if top is None else top)
        return f'{{"channel":"ticker","type":"{kind}","data":[{row}]}}'

    def _row(self, tape: Tape, top: Top) -> str:
        known = self._tickers.get(tape.pair.symbol)
        if known is None or known.tape is not tape:
            known = self._tickers[tape.pair.symbol] = Ticker(tape)
        last = tape.prices[-1] if len(tape) else 0
        window = known.last_24h(max(top.time_ns, tape.times_ns[-1]) if len(tape) else top.time_ns)
        opened = tape.prices[window.low] if window.count else last
        vwap = window.notional // window.qty if window.qty else 0
        percent = (last - opened) * 10_000 // opened if opened else 0
        none = Level(0, 0)
        bid, ask = top.bid or none, top.ask or none
        fields = {
            "bid": _price(tape, bid.price),
            "bid_qty": wire_format.fixed(bid.qty, tape.qty_digits),
            "ask": _price(tape, ask.price),
            "ask_qty": wire_format.fixed(ask.qty, tape.qty_digits),
            "last": _price(tape, last),
            "volume": wire_format.fixed(window.qty, tape.qty_digits),
            "vwap": _price(tape, vwap),
            "low": _price(tape, window.least(last)),
            "high": _price(tape, window.greatest(last)),
            "change": _signed(last - opened, lambda size: _price(tape, size)),
            "change_pct": _signed(percent, lambda size: wire_format.fixed(size, 2)),
            "trades": str(window.count),
            "timestamp": f'"{wire_format.stamp_us(top.time_ns)}"',
        }
        content = ",".join(f'"{name}":{text}' for name, text in fields.items())
        return f'{{"symbol":"{tape.pair.symbol}",{content}}}'


def _price(tape: Tape, price: int) -> str:
    return wire_format.price_text(price, tape.price_digits, tape.socket_digits)


def _signed(value: int, printed: Callable[[int], str]) -> str:
    return f"-{printed(-value)}" if value < 0 else printed(value)
