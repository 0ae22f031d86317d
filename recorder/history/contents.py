"""What history files have inside, as far as their names and their beginnings tell, before they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from recorder.errors import UsageError
from recorder.history.members import Found, Member
from recorder.kraken.history_files import (
    TIMEFRAMES,
    Detected,
    NameBook,
    detect,
    is_header,
    text_lines,
    time_begun_us,
    unknown_layout,
)
from recorder.kraken.pair_names import v2_symbol


@dataclass(frozen=True, slots=True)
class Entry:
    """A member, and what its name and its beginning tell.

    ``split``: the pair was found only by splitting the name. ``rows`` is an estimate, ``begins_us`` the time of the
    first row in µs since 1970 UTC.
    """

    member: Member
    pair: str
    split: bool
    detected: Detected
    rows: int
    begins_us: int | None

    @property
    def layout(self) -> str:
        """The layout, and of candles the timeframe."""
        minutes = self.member.name.minutes
        return self.detected.layout.value + ("" if minutes is None else f" {TIMEFRAMES.get(minutes, f'{minutes}m')}")


@dataclass(slots=True)
class Contents:
    """The members that can be read, by pair and time; files ``left`` out, and files ``refused``, each with why."""

    members: list[Entry] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def keep(self, names: Sequence[str]) -> None:
        """Keep only the pairs of these names. Raises UsageError for a name that no member has."""
        if not names:
            return
        for name in names:
            if not any(_is_of(one, name) for one in self.members):
                raise UsageError(f"--pair {name}: no file is of this pair; --dry-run shows what is inside")
        self.members = [one for one in self.members if any(_is_of(one, name) for name in names)]


def _is_of(one: Entry, name: str) -> bool:
    return name in {one.pair, one.member.name.altname} or v2_symbol(name) == one.pair


def look_inside(found: Found, book: NameBook) -> Contents:
    """Look at the beginning of each member."""
    contents = Contents(left=list(found.left), refused=list(found.refused))
    for member in found.members:
        try:
            if (entry := _entry(member, book)) is None:
                contents.left.append((str(member), "it has no rows"))
            else:
                contents.members.append(entry)
        except UsageError as error:
            contents.refused.append((str(member), str(error)))
    contents.members.sort(key=lambda one: (one.pair, one.begins_us or 0, one.member.name.minutes or 0))
    return contents


def _entry(member: Member, book: NameBook) -> Entry | None:
    """Look at one member; None if it has no rows, as of a pair without trades. Raises UsageError for an unknown one."""
    head = member.head()
    lines = text_lines(head)
    if len(head) == member.size and all(map(is_header, lines)):
        return None
    detected = detect(lines)
    if detected is None:
        raise UsageError(unknown_layout(str(member), lines))
    pair, split = book.pair_of(member.name.altname)
    rows = max(len(lines) - detected.header, member.size * len(lines) // len(head))
    return Entry(member, pair, split, detected, rows, time_begun_us(lines, detected))
