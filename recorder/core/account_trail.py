"""Certificates of an account by arithmetic: each ledger entry leads from one balance to the next. Pure.

The entries of one asset are the edges of a graph whose nodes are balances. Nothing is missing, doubled or altered if
they form one trail: in the order of time, each begins with the balance at which the one before ended, the first with
zero, and the last ends with the balance that the exchange reports. Entries with the same time are put in the order in
which they form a trail, if there is one.

Numbers are compared exactly: a difference of one unit in the last digit is a break like any other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby
from typing import Final

from recorder.core.account import EXACT, LedgerEntry
from recorder.core.model import plain

RENAMES: Final[Mapping[str, str]] = {
    "RNDR": "RENDER",
    "MATIC": "POL",
    "FTM": "S",
    "EOS": "A",
    "KLAY": "KAIA",
}
"""Codes of assets that go on under another code. A trail is joined to another by it only if it ends with a balance that
the other begins with, and each use is reported."""
_ZERO: Final = Decimal(0)

Asset = tuple[str, str]
"""Code as printed, and class."""


@dataclass(frozen=True, slots=True)
class Break:
    """Where a trail breaks: ``entry`` should begin with ``expected`` and begins with ``found``.

    ``entry`` is empty where the trail ends, and should end with what is expected. ``after`` is the entry before it.
    """

    asset: str
    entry: str
    after: str
    expected: Decimal
    found: Decimal

    @property
    def sentence(self) -> str:
        """What is wrong, for people."""
        difference = plain(EXACT.subtract(self.found, self.expected))
        if not self.entry:
            last = f"ends with {plain(self.expected)} at entry {self.after}" if self.after else "has no entry"
            return f"{self.asset} {last}, and the balance is {plain(self.found)}: {difference} are not explained"
        where = f"after {self.after}" if self.after else "as the first one"
        return (
            f"{self.asset} breaks at entry {self.entry}: {where} it should begin with {plain(self.expected)}, and "
            f"begins with {plain(self.found)}: entries of {difference} are missing before it"
        )


@dataclass(frozen=True, slots=True)
class Trail:
    """The trail of one asset: its first and last balance, number of entries, breaks, and the codes it was joined of."""

    asset: str
    asset_class: str
    entries: int
    first: Decimal
    last: Decimal
    last_entry: str
    breaks: tuple[Break, ...] = ()
    joined: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountCertificate:
    """The result of the arithmetic of a whole account.

    ``ends`` are breaks between the end of a trail and the balance; None if no balances are known that were settled.
    ``absent`` are ids of ledger entries that own trades name and that are not there.
    """

    trails: tuple[Trail, ...]
    ends: tuple[Break, ...] | None
    absent: tuple[tuple[str, str], ...] = ()
    apart: int = 0

    @property
    def is_reconciled(self) -> bool:
        """Whether everything is explained, to the last digit."""
        return self.ends is not None and not self.breaks and not self.absent

    @property
    def breaks(self) -> tuple[Break, ...]:
        """All breaks, within trails and at their ends."""
        return (*(one for trail in self.trails for one in trail.breaks), *(self.ends or ()))


def certify(
    entries: Iterable[LedgerEntry],
    balances: Mapping[str, Decimal] | None,
    *,
    named: Iterable[tuple[str, str]] = (),
    is_cut: bool = False,
    apart: int = 0,
) -> AccountCertificate:
    """Return the certificate of an account.

    ``balances`` are those of all assets at a moment that no entry came after; None if there are none. ``named`` are
    (trade, ledger entry) as own trades name them. With ``is_cut`` the beginning of the history is not shown, and
    a trail may begin with any balance. ``apart`` entries could not be stored.
    """
    rows = sorted(entries, key=lambda one: (one.asset, one.asset_class, one.seconds, one.id))
    trails = [
        _trail(asset, list(group), is_cut=is_cut)
        for asset, group in groupby(rows, lambda one: (one.asset, one.asset_class))
    ]
    trails = _joined(trails, balances or {})
    ids = {one.id for one in rows}
    absent = tuple(sorted({(trade, entry) for trade, entry in named if entry not in ids}))
    return AccountCertificate(tuple(trails), None if balances is None else _ends(trails, balances), absent, apart)


def ordered(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Return entries asset by asset in the order of time, those of the same time as they form a trail."""
    found: list[LedgerEntry] = []
    rows = sorted(entries, key=lambda one: (one.asset, one.asset_class, one.seconds, one.id))
    for _, group in groupby(rows, lambda one: (one.asset, one.asset_class)):
        at = _ZERO
        for _, same in groupby(group, lambda one: one.seconds):
            found += in_trail(list(same), at)
            at = found[-1].balance
    return found


def _trail(asset: Asset, rows: Sequence[LedgerEntry], *, is_cut: bool) -> Trail:
    """Follow the entries of one asset, which are in the order of time."""
    breaks: list[Break] = []
    first: Decimal | None = None
    at, after = _ZERO, ""
    for _, same in groupby(rows, lambda one: one.seconds):
        ordered = in_trail(list(same), None if first is None and is_cut else at)
        for entry in ordered:
            if first is None:
                first = entry.before
                at = first if is_cut else at
            if entry.before != at:
                breaks.append(Break(asset[0], entry.id, after, at, entry.before))
            at, after = entry.balance, entry.id
    return Trail(*asset, len(rows), _ZERO if first is None else first, at, after, tuple(breaks))


def in_trail(entries: Sequence[LedgerEntry], start: Decimal | None) -> list[LedgerEntry]:
    """Return entries of the same time in an order in which they form a trail from ``start``, or any balance for None.

    If there is no such order, those that are reached from the start come first, and the rest as it can be followed.
    """
    if len(entries) == 1:
        return list(entries)
    leaving: dict[Decimal, list[LedgerEntry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda one: one.id, reverse=True):
        leaving[entry.before].append(entry)
    if start is None or not leaving.get(start):
        start = _start(entries)
    found: list[LedgerEntry] = []
    while True:
        found += _walk(leaving, start)
        rest = [entry for several in leaving.values() for entry in several]
        if not rest:
            return found
        start = _start(rest)


def _start(entries: Sequence[LedgerEntry]) -> Decimal:
    """Return the balance from which a trail through these entries begins: more entries leave it than reach it."""
    degree: Counter[Decimal] = Counter()
    for entry in entries:
        degree[entry.before] += 1
        degree[entry.balance] -= 1
    return max((entry.before for entry in entries), key=lambda balance: degree[balance])


def _walk(leaving: dict[Decimal, list[LedgerEntry]], start: Decimal) -> list[LedgerEntry]:
    """Take a trail from ``start`` out of ``leaving`` that is as long as possible (Hierholzer)."""
    way: list[tuple[Decimal, LedgerEntry | None]] = [(start, None)]
    found: list[LedgerEntry] = []
    while way:
        balance, by = way[-1]
        if leaving.get(balance):
            entry = leaving[balance].pop()
            way.append((entry.balance, entry))
        else:
            way.pop()
            if by is not None:
                found.append(by)
    found.reverse()
    return found


def _joined(trails: Sequence[Trail], balances: Mapping[str, Decimal]) -> list[Trail]:
    """Join the trails of renamed assets, where the one begins with what the other ends with."""
    found = {(trail.asset, trail.asset_class): trail for trail in trails}
    for old, new in RENAMES.items():
        for key in [key for key in found if key[0] == old]:
            before, after = found[key], found.get((new, key[1]))
            if not before.last or balances.get(old, _ZERO):
                continue
            if after is None:
                if balances.get(new) == before.last:
                    found[key] = replace(before, asset=new, joined=(*before.joined, old))
            elif after.first == before.last:
                breaks = tuple(one for one in after.breaks if one.after)
                found[new, key[1]] = replace(
                    after,
                    entries=before.entries + after.entries,
                    first=before.first,
                    breaks=(*before.breaks, *breaks),
                    joined=(*before.joined, old, *after.joined),
                )
                del found[key]
    return list(found.values())


def _ends(trails: Sequence[Trail], balances: Mapping[str, Decimal]) -> tuple[Break, ...]:
    """Compare the ends of the trails with the balances, which have no classes: of one code they are added."""
    ends: dict[str, Decimal] = defaultdict(Decimal)
    last: dict[str, str] = {}
    for trail in trails:
        ends[trail.asset] = EXACT.add(ends[trail.asset], trail.last)
        last[trail.asset] = trail.last_entry
    return tuple(
        Break(asset, "", last.get(asset, ""), ends.get(asset, _ZERO), balances.get(asset, _ZERO))
        for asset in sorted({*ends, *balances})
        if ends.get(asset, _ZERO) != balances.get(asset, _ZERO)
    )
