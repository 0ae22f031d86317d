"""Pending subscriptions: the message in which each pair was requested, and when it is requested again.

Contains waits and message sizes. Does not read frames: ``websocket_session`` does. At first all pairs are requested at
once, in the largest messages. Pairs refused for a temporary reason, or not answered, are requested again: with growing
waits, one message a tick, and in smaller messages, because a large one may be what is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.core.backoff import next_delay_s

ACK_S: Final = 10.0
"""Acknowledgements come within half a second; after this many seconds they do not come."""
FIRST_WAIT_S: Final = 5.0
"""Seconds before a pair is requested again: as long as REST wants after a throttle answer (API.md 3.2)."""
LAST_WAIT_S: Final = 300.0
"""The wait doubles up to this. The pair is polled meanwhile, so a later subscription loses nothing."""

_UNLISTED: Final = ("Currency pair not supported", "Currency pair not in ISO 4217-A3 format")
"""The errors for a pair that does not exist, before its symbol (API.md 8.2). No other refusal is permanent."""


def is_for_good(error: str, symbol: str) -> bool:
    """Return whether a refusal of ``symbol`` means that the exchange has no such pair, at least not under this name."""
    return any(error in {text, f"{text} {symbol}"} for text in _UNLISTED)


@dataclass(slots=True)
class _Message:
    """One subscribe message of ``size`` symbols, with the number granted and refused; shared by its pairs."""

    req_id: int
    since_s: float
    size: int
    granted: int = 0
    refused: int = 0


@dataclass(slots=True)
class _PendingPair:
    """One symbol: in a message that waits for its answer, or due for another one at ``due_s``.

    ``refusals`` are consecutive; ``own`` leaves out those of large messages as a whole. ``unanswered`` is whether its
    last message was not answered, ``unsure`` whether it may be subscribed nevertheless: no answer named it.
    """

    due_s: float
    message: _Message | None = None
    refusals: int = 0
    own: int = 0
    unanswered: bool = False
    unsure: bool = False


class Subscriptions:
    """The symbols of one connection that are not subscribed; one message contains at most ``most`` of them.

    All times are monotonic seconds of one clock.
    """

    def __init__(self, most: int) -> None:
        self._most = self._limit = most
        self._pairs: dict[str, _PendingPair] = {}
        self._halved_s = float("-inf")
        self._refused = 0  # consecutive messages of a single symbol

    def begin(self, symbols: Sequence[str], now_s: float) -> list[Sequence[str]]:
        """Return the messages to send now for new ``symbols``; symbols in none of them are :meth:`due` soon.

        All are sent now, unless large messages were refused recently: then the smaller ones would come in a burst.
        """
        if self._limit == self._most:
            return self.batches(symbols)
        self._pairs.update((symbol, _PendingPair(now_s)) for symbol in symbols)
        return []

    def batches(self, symbols: Sequence[str]) -> list[Sequence[str]]:
        """Return ``symbols`` in the largest messages allowed."""
        return [symbols[start : start + self._most] for start in range(0, len(symbols), self._most)]

    def sent(self, req_id: int, symbols: Sequence[str], now_s: float) -> None:
        """Record a sent message."""
        message = _Message(req_id, now_s, len(symbols))
        for symbol in symbols:
            self._pairs.setdefault(symbol, _PendingPair(now_s)).message = message

    def due(self, now_s: float) -> Sequence[str]:
        """Return the symbols to request in one more message now; none if none is due."""
        due = [symbol for symbol, pair in self._pairs.items() if pair.message is None and pair.due_s <= now_s]
        return due[: self._limit]

    def pending(self) -> Iterator[tuple[str, int]]:
        """Yield the symbols whose answer is pending, each with the number of its message."""
        for symbol, pair in self._pairs.items():
            if pair.message is not None:
                yield symbol, pair.message.req_id

    def granted(self, symbol: str, now_s: float) -> bool:
        """Record that ``symbol`` is subscribed; return whether it was pending.

        That includes a late answer to an earlier message. If no message was halved for a while, one that was granted
        whole may be followed by a larger one.
        """
        pair = self._pairs.pop(symbol, None)
        if pair is None:
            return False
        self._refused = 0
        if pair.message is not None:
            pair.message.granted += 1
            if pair.message.granted == pair.message.size and now_s - self._halved_s >= LAST_WAIT_S:
                self._limit = min(self._most, 2 * self._limit)
        return True

    def refused(self, symbols: Iterable[str], now_s: float, *, named: bool) -> tuple[float, int]:
        """Put ``symbols`` off for a while; return the seconds, and the number of consecutive refusals.

        ``named`` is whether the refusal named them. If nothing else in their message was granted, all pairs that wait
        for their turn wait as long: an exchange that refuses whole messages gets fewer, not one for each pair in turn.
        """
        refused = [(symbol, self._pairs.pop(symbol, _PendingPair(now_s))) for symbol in symbols]
        messages = [pair.message for _, pair in refused if pair.message is not None]
        whole = bool(messages) and not any(message.granted for message in messages)
        large = whole and any(message.size > 1 for message in messages)
        for message in messages:
            self._count(message, now_s)
        self._refused += whole and not large
        wait_s = _wait_s(self._refused) if whole and not large else FIRST_WAIT_S
        for symbol, pair in refused:
            pair.message, pair.unanswered, pair.unsure = None, False, not named
            pair.refusals += 1
            pair.own += not large
            pair.due_s = now_s + max(wait_s, _wait_s(pair.own))
            self._pairs[symbol] = pair  # last in order: a pair that is always refused must not delay the others
        if whole:
            for pair in self._pairs.values():
                pair.due_s = max(pair.due_s, now_s + wait_s)
        longest_s = max((pair.due_s - now_s for _, pair in refused), default=wait_s)
        return longest_s, min((pair.refusals for _, pair in refused), default=1)

    def unanswered(self, now_s: float) -> list[str]:
        """Return the symbols that were requested twice without an answer; those requested once are due again."""
        twice: list[str] = []
        for symbol, pair in self._pairs.items():
            if pair.message is None or now_s - pair.message.since_s < ACK_S:
                continue
            if pair.unanswered:
                twice.append(symbol)
            else:
                self._count(pair.message, now_s)
                pair.message, pair.due_s, pair.unanswered, pair.unsure = None, now_s, True, True
        return twice

    def forget(self, symbol: str) -> bool:
        """Remove ``symbol``; return whether it may be subscribed nevertheless, or soon."""
        pair = self._pairs.pop(symbol, None)
        return pair is not None and (pair.message is not None or pair.unsure)

    def _count(self, message: _Message, now_s: float) -> None:
        """Count one symbol that was not granted; halve the message size once for each message that mostly was not."""
        before, message.refused = message.refused, message.refused + 1
        if 2 * before <= message.size < 2 * message.refused and message.size > 1:
            self._limit = min(self._limit, message.size // 2)
            self._halved_s = now_s


def _wait_s(refusals: int) -> float:
    return next_delay_s(refusals, first_s=FIRST_WAIT_S, last_s=LAST_WAIT_S)
