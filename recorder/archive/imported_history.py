"""What the footers of imported tables say: which rows of which members of history files they hold, and what they cover.

It is what makes an import exact: a member is known by the SHA-256 of its content, and what was decided about its rows
stands beside the rows themselves, in the same file. There is no other state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

DIGITS: Final = 16
"""Hexadecimal digits of a member's SHA-256 in the column ``member``: 64 bits, which two members do not share by
chance."""


class Source(msgspec.Struct, frozen=True):
    """A member: the SHA-256 of its content, hexadecimal, and its base name."""

    sha256: str
    name: str

    @property
    def short(self) -> str:
        """What the column ``member`` of its rows contains."""
        return self.sha256[:DIGITS]


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """The rows of a day in another member, by its place in :attr:`History.members`."""

    member: int
    first_row: int
    last_row: int


class Day(msgspec.Struct, frozen=True, array_like=True):
    """A UTC day whose rows all come from one member.

    ``day`` counts from 1970. ``first_row`` and ``last_row`` are rows of the member, which has ``rows`` of this day. It
    has all trades of the time from ``from_us`` until before ``until_us`` (µs since 1970): the whole day, unless the
    member begins or ends in it. ``equal`` are members with the same rows, or a part of them; ``differs`` are those with
    others, which are not stored.
    """

    day: int
    member: int
    first_row: int
    last_row: int
    rows: int
    from_us: int
    until_us: int
    equal: tuple[Seen, ...] = ()
    differs: tuple[Seen, ...] = ()

    @property
    def seen(self) -> tuple[Seen, ...]:
        """The rows of the day in each member that has it."""
        return (self.own, *self.equal, *self.differs)

    @property
    def own(self) -> Seen:
        """The rows of the day in the member that they come from."""
        return Seen(self.member, self.first_row, self.last_row)

    def without(self, member: int) -> Day:
        """Return the day without what is noted of another member."""
        equal, differs = (tuple(one for one in some if one.member != member) for some in (self.equal, self.differs))
        return msgspec.structs.replace(self, equal=equal, differs=differs)

    def noting(self, equal: Iterable[Seen] = (), differs: Iterable[Seen] = ()) -> Day:
        """Return the day with more members noted, except those that are known there already."""
        known = {one.member for one in self.seen}
        more_equal = tuple(one for one in equal if one.member not in known)
        known.update(one.member for one in more_equal)
        more_differs = tuple(one for one in differs if one.member not in known)
        return msgspec.structs.replace(self, equal=(*self.equal, *more_equal), differs=(*self.differs, *more_differs))


class Series(msgspec.Struct, frozen=True, array_like=True):
    """The candles of a year and timeframe in one member.

    The member has ``rows`` of them, of which ``stored`` are in the file; the others equal stored ones, or differ from
    them. ``from_us`` and ``until_us`` are the start of the first and the end of the last (µs since 1970).
    """

    timeframe: str
    member: int
    rows: int
    stored: int
    from_us: int
    until_us: int
    differing: int = 0

    def again(self, other: Series) -> Series:
        """Return what both know of the same candles; those that differ are counted anew with each comparison."""
        from_us, until_us = min(self.from_us, other.from_us), max(self.until_us, other.until_us)
        return msgspec.structs.replace(
            self, rows=max(self.rows, other.rows), from_us=from_us, until_us=until_us, differing=other.differing
        )


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a file of an imported table holds: ``days`` in ascending order of trades, ``series`` of candles."""

    members: tuple[Source, ...] = ()
    days: tuple[Day, ...] = ()
    series: tuple[Series, ...] = ()

    @property
    def rows(self) -> int:
        """The number of rows in the file."""
        return sum(day.rows for day in self.days) + sum(one.stored for one in self.series)

    def known(self, sha256: str) -> int | None:
        """Return the place of a member, None if it has none here."""
        return next((at for at, one in enumerate(self.members) if one.sha256 == sha256), None)

    def with_member(self, source: Source) -> tuple[tuple[Source, ...], int]:
        """Return the members with this one, and its place among them."""
        known = self.known(source.sha256)
        return (self.members, known) if known is not None else ((*self.members, source), len(self.members))

    def days_of(self, sha256: str) -> Iterator[tuple[Day, Seen]]:
        """Yield the days of which a member has rows, and which."""
        place = self.known(sha256)
        for day in self.days:
            yield from ((day, seen) for seen in day.seen if seen.member == place)

    def series_of(self, sha256: str, timeframe: str) -> Series | None:
        """Return the candles of a timeframe in a member, None if it was not taken into account."""
        place = self.known(sha256)
        return next((one for one in self.series if (one.timeframe, one.member) == (timeframe, place)), None)
