"""Pairs on their way to a subscription: in which message each was asked for, and when it is asked for again.

Owns waits and sizes of messages. Refuses frames: ``session`` reads them and tells what they say. At first all pairs are
asked for at once, in messages as large as may be. What is refused for a reason that passes, or not answered, is asked
for again: ever later, one message a tick, and in smaller messages, since a large one may be what is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from recorder.core.backoff import next_delay_s

ACK_S: Final = 10.0
"""Acknowledgements come within half a second; after this long they do not come."""
FIRST_WAIT_S: Final = 5.0
"""Before a pair is asked for again: as long as REST wants after a throttle answer (API.md 3.2)."""
LAST_WAIT_S: Final = 300.0
"""The wait doubles up to this. The pair is polled meanwhile, so a later subscription loses nothing."""

_UNLISTED: Final = ("Currency pair not supported", "Currency pair not in ISO 4217-A3 format")
"""What is said of a pair that is not there, before its symbol (API.md 8.2). No other refusal is for good."""


def is_for_good(error: str, symbol: str) -> bool:
    """Return whether a refusal of ``symbol`` says that the exchange has no such pair, at least not under this name."""
    return any(error in {said, f"{said} {symbol}"} for said in _UNLISTED)


@dataclass(slots=True)
class _Message:
    """One subscribe message of ``size`` symbols, of which so many were granted, or refused; shared by those in it."""

    req_id: int
    since_s: float
    size: int
    granted: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Pair:
    """One symbol: in a message that waits for its answer, or due for another one at ``due_s``.

    It was refused so often in a row, and by so many of its ``own`` refusals, which do not count those of large messages
    as a whole. ``unanswered`` tells that its last message was not answered, ``unsure`` that it may be subscribed all
    the same: nothing that was said named it.
    """

    due_s: float
    message: _Message | None = None
    refusals: int = 0
    own: int = 0
    unanswered: bool = False
    unsure: bool = False


class Subscriptions:
    """The symbols of one connection that are not subscribed; ``most`` are in one message at most.

    All times are monotonic seconds of one clock.
    """

    def __init__(self, most: int) -> None:
        self._most = self._limit = most
        self._pairs: dict[str, _Pair] = {}
        self._halved_s = float("-inf")
        self._refused = 0  # messages of a single symbol in a row

    def begin(self, symbols: Sequence[str], now_s: float) -> list[Sequence[str]]:
        """Return the messages to send now, to ask for new ``symbols``; those not in them are :meth:`due` soon.

        All are, unless large messages were refused of late: else the smaller ones would come in a burst.
        """
        if self._limit == self._most:
            return self.batches(symbols)
        self._pairs.update((symbol, _Pair(now_s)) for symbol in symbols)
        return []

    def batches(self, symbols: Sequence[str]) -> list[Sequence[str]]:
        """Return ``symbols`` in messages as large as may be."""
        return [symbols[start : start + self._most] for start in range(0, len(symbols), self._most)]

    def sent(self, req_id: int, symbols: Sequence[str], now_s: float) -> None:
        """Take note of a message."""
        message = _Message(req_id, now_s, len(symbols))
        for symbol in symbols:
            self._pairs.setdefault(symbol, _Pair(now_s)).message = message

    def due(self, now_s: float) -> Sequence[str]:
        """Return which symbols to ask for in one more message now; none where it is not time for any."""
        due = [symbol for symbol, pair in self._pairs.items() if pair.message is None and pair.due_s <= now_s]
        return due[: self._limit]

    def pending(self) -> Iterator[tuple[str, int]]:
        """Yield the symbols whose answer is awaited, each with the number of the message that it is in."""
        for symbol, pair in self._pairs.items():
            if pair.message is not None:
                yield symbol, pair.message.req_id

    def granted(self, symbol: str, now_s: float) -> bool:
        """Take note that ``symbol`` is subscribed; tell whether it was asked for at all.

        That holds for a late answer to an earlier message, too. Where no message was halved for a while, one that was
        granted whole may be followed by a larger one.
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
        """Put ``symbols`` off for a while; return for how many seconds, and how often in a row they were refused.

        ``named`` tells that the refusal named them. If nothing else in their message was granted, all that wait for
        their turn wait as long: whoever refuses whole messages is asked less, and not for each pair in turn.
        """
        refused = [(symbol, self._pairs.pop(symbol, _Pair(now_s))) for symbol in symbols]
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
            self._pairs[symbol] = pair  # behind all others: who is always refused must not keep them from their turn
        if whole:
            for pair in self._pairs.values():
                pair.due_s = max(pair.due_s, now_s + wait_s)
        longest_s = max((pair.due_s - now_s for _, pair in refused), default=wait_s)
        return longest_s, min((pair.refusals for _, pair in refused), default=1)

    def unanswered(self, now_s: float) -> list[str]:
        """Return the symbols that were asked for twice without an answer; those asked for once are due again."""
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
        """Leave ``symbol``; tell whether it may be subscribed all the same, or soon."""
        pair = self._pairs.pop(symbol, None)
        return pair is not None and (pair.message is not None or pair.unsure)

    def _count(self, message: _Message, now_s: float) -> None:
        """Count one symbol that was not granted; halve the messages after one that mostly was not, once for each."""
        before, message.refused = message.refused, message.refused + 1
        if 2 * before <= message.size < 2 * message.refused and message.size > 1:
            self._limit = min(self._limit, message.size // 2)
            self._halved_s = now_s


def _wait_s(refusals: int) -> float:
    return next_delay_s(refusals, first_s=FIRST_WAIT_S, last_s=LAST_WAIT_S)
