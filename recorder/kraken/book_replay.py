"""Replay of stored rows of a book, which finds what is missing or was changed.

Message numbers are dense, checkpoints are what the messages before them lead to, and checksums those of the levels.
Independent of :mod:`recorder.kraken.book`, with which the rows were made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple
from zlib import crc32

_CHECKED: Final = 10
_WHOLE: Final = ("snapshot", "checkpoint")


class StoredRow(NamedTuple):
    """A row of the table ``book``."""

    day: str
    session: int
    message: int
    kind: str
    side: str | None
    price: Decimal | None
    qty: Decimal | None
    checksum: int | None


class SessionFacts(NamedTuple):
    """What the table ``book_sessions`` has of a session: digits in the checksum, and the message that did not match."""

    price_digits: int
    qty_digits: int
    mismatch: int | None


class BookFault(NamedTuple):
    """Something that does not fit, at a message of a session: the session is split there."""

    day: str
    session: int
    message: int
    problem: str


@dataclass(slots=True)
class DayShare:
    """How many messages of a day are stored, and how many of them are verified by the replay."""

    messages: int = 0
    verified: int = 0


@dataclass(slots=True)
class Replay:
    """The result of the replay of one pair's rows, by UTC date."""

    days: dict[str, DayShare] = field(default_factory=dict)
    faults: list[BookFault] = field(default_factory=list)
    lasts: dict[int, int] = field(default_factory=dict)
    """The last stored message of each session."""


_Levels = dict[tuple[str, Decimal], Decimal]


class _Session:
    """The state of one session; unknown before a whole book, and after a fault until the next one."""

    def __init__(self, number: int, facts: SessionFacts | None, result: Replay) -> None:
        self.number, self._facts, self._result = number, facts, result
        self._levels: _Levels | None = None
        self._last: int | None = None
        self._waiting: list[str] = []
        """The days of messages since the last whole book: verified once the next one equals what they lead to."""

    def take(self, rows: list[StoredRow]) -> None:
        """Apply the rows of one message."""
        first = rows[0]
        self._result.days.setdefault(first.day, DayShare()).messages += 1
        if self._last is not None and first.message != self._last + 1:
            self._fault(first, f"messages {self._last + 1} to {first.message - 1} are missing")
        self._last = first.message
        if self._facts is not None and first.message == self._facts.mismatch:
            self.end()  # the recorder itself knew that its checksum does not hold
            self._levels = None
        elif first.kind in _WHOLE:
            self._begin(rows)
        elif self._levels is not None:
            _apply(self._levels, rows)
            self._waiting.append(first.day)

    def _begin(self, rows: list[StoredRow]) -> None:
        """Compare a whole book with the state, and go on from it."""
        first, whole = rows[0], _Levels()
        _apply(whole, rows)
        if first.kind == "checkpoint" and self._levels is not None and whole != self._levels:
            self._fault(first, "a checkpoint differs from what the messages before it lead to")
        if self._facts is None:
            if first.message == 0:
                self._fault(first, "no row of book_sessions tells of its session")
            return
        if rows[-1].checksum != _checksum(whole, self._facts):
            self._fault(first, f"its levels do not have the exchange's checksum {rows[-1].checksum}")
            self._levels = None
            return
        self.end()
        self._levels = whole
        self._result.days[first.day].verified += 1

    def _fault(self, at: StoredRow, problem: str) -> None:
        self._result.faults.append(BookFault(at.day, at.session, at.message, problem))
        self._levels, self._waiting = None, []

    def end(self) -> None:
        """Count the messages since the last whole book: nothing contradicts them."""
        for day in self._waiting:
            self._result.days[day].verified += 1
        self._waiting = []


def replayed(rows: Iterable[StoredRow], sessions: dict[int, SessionFacts]) -> Replay:
    """Replay the rows of one pair, which are in the order of session, message and position within each day."""
    result = Replay()
    session: _Session | None = None
    for message in _messages(rows):
        if session is None or session.number != message[0].session:
            if session is not None:
                session.end()
            session = _Session(message[0].session, sessions.get(message[0].session), result)
        session.take(message)
        result.lasts[session.number] = message[0].message
    if session is not None:
        session.end()
    return result


def _messages(rows: Iterable[StoredRow]) -> Iterator[list[StoredRow]]:
    waiting: list[StoredRow] = []
    for row in rows:
        if waiting and (row.session, row.message) != (waiting[0].session, waiting[0].message):
            yield waiting
            waiting = []
        waiting.append(row)
    if waiting:
        yield waiting


def _apply(levels: _Levels, rows: list[StoredRow]) -> None:
    for row in rows:
        if row.side is not None and row.price is not None and row.qty is not None:
            if row.qty:
                levels[row.side, row.price] = row.qty
            else:
                levels.pop((row.side, row.price), None)


def _checksum(levels: _Levels, facts: SessionFacts) -> int:
    joined = ""
    for side, descends in (("ask", False), ("bid", True)):
        prices = sorted((price for of_side, price in levels if of_side == side), reverse=descends)
        for price in prices[:_CHECKED]:
            for number, digits in ((price, facts.price_digits), (levels[side, price], facts.qty_digits)):
                joined += f"{number:.{digits}f}".replace(".", "").lstrip("0")
    return crc32(joined.encode())
