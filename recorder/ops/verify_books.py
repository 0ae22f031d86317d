"""Verification of stored books: the share of each day that a replay of their messages verifies, and what it refutes.

Files that cannot be read are left out here; :func:`recorder.ops.certificates.other_findings` reports them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recorder.archive.compaction import file_rows
from recorder.archive.datasets import BOOK, BOOK_SESSIONS, SCHEMA_FILE, Branch
from recorder.archive.integrity import ALL_DAYS, Days, Finding
from recorder.archive.layout import Layout, listed, period_of
from recorder.archive.parquet import SET_APART, FileFacts, OpenFile, check_digest, read_facts
from recorder.kraken.book_replay import BookFault, DayShare, Replay, SessionFacts, StoredRow, replayed

_COLUMNS: Final = ("session", "message", "kind", "side", "price", "qty", "checksum")
_REMEDY: Final = (
    "nobody can fetch the book again: put its file from a back-up in its place if one is sound; the rest of the "
    "session, from the next checkpoint on, stays verified"
)
_SESSION_COLUMNS: Final = (
    "pair",
    "session",
    "last_message",
    "messages",
    "mismatches",
    "first_received",
    "price_digits",
    "qty_digits",
)


@dataclass(slots=True)
class _Known:
    """What the table ``book_sessions`` has of a session: beside its facts, of which messages it tells."""

    digits: tuple[int, int] | None = None
    mismatch: int | None = None
    last: int = -1
    day: str = ""
    """The UTC date of its first message; empty if no row tells of a message."""

    @property
    def facts(self) -> SessionFacts | None:
        return None if self.digits is None else SessionFacts(*self.digits, self.mismatch)


@dataclass(frozen=True, slots=True)
class VerifiedBooks:
    """The books of one pair: the share of each UTC date, oldest first, and the findings."""

    pair: str
    days: dict[str, DayShare]
    findings: Sequence[Finding]


def verified_books(layout: Layout, *, days: Days = ALL_DAYS) -> Iterator[VerifiedBooks]:
    """Replay the books of each pair, of these UTC dates of receipt, and yield what that shows.

    Of all dates, it also shows which messages ``book_sessions`` tells of at the end of a session, and of whole ones,
    that are not stored.
    """
    sessions = _sessions(layout)  # before the rows, of which a drain may bring more meanwhile
    with contextlib.suppress(*SET_APART):
        for branch in layout.branches(BOOK):
            leaves = [leaf for leaf in layout.leaves(branch) if days.touch_period(period_of(leaf) or "")]
            known = sessions.get(str(branch.value), {})
            facts = {number: one.facts for number, one in known.items() if one.facts is not None}
            result = replayed(_rows(leaves), facts)
            faults = [*result.faults, *(_not_stored(result, known) if days == ALL_DAYS else ())]
            found = [
                Finding(
                    layout.leaf(branch, fault.day),
                    f"at message {fault.message} of session {fault.session} of {branch.value}: {fault.problem}",
                    _REMEDY,
                )
                for fault in faults
            ]
            if result.days:
                yield VerifiedBooks(str(branch.value), result.days, found)


def _not_stored(result: Replay, known: Mapping[int, _Known]) -> Iterator[BookFault]:
    """Yield the ends of sessions, and whole ones, that are not stored; rows of the oldest date may have expired."""
    oldest = min(result.days, default="")
    for number, one in sorted(known.items()):
        last = result.lasts.get(number, -1)
        if one.last > last and (last >= 0 or one.day > oldest):
            yield BookFault(one.day, number, last + 1, f"messages {last + 1} to {one.last} are missing")


def _rows(leaves: Sequence[Path]) -> Iterator[StoredRow]:
    for leaf in leaves:
        day = period_of(leaf) or ""
        with contextlib.suppress(*SET_APART, FileNotFoundError):
            files = _readable(leaf)
            for table in file_rows(BOOK, files) if files else ():
                columns = (table[name].to_pylist() for name in _COLUMNS)
                for values in zip(*columns, strict=True):
                    yield StoredRow(day, *values)


def _readable(leaf: Path) -> list[FileFacts]:
    found: list[FileFacts] = []
    for name in listed(leaf):
        if name != SCHEMA_FILE:
            with contextlib.suppress(*SET_APART, FileNotFoundError):
                facts = read_facts(leaf / name)
                check_digest(leaf / name)  # a damaged one would end the replay of its date
                found.append(facts)
    return found


def _sessions(layout: Layout) -> dict[str, dict[int, _Known]]:
    """Return what is known of each session, by pair."""
    found: dict[str, dict[int, _Known]] = {}
    with contextlib.suppress(*SET_APART, FileNotFoundError):
        for path in layout.files(Branch(BOOK_SESSIONS)):
            with contextlib.suppress(*SET_APART, FileNotFoundError), OpenFile(path) as file:
                for row in file.table(columns=_SESSION_COLUMNS).to_pylist() if file.rows else ():
                    one = found.setdefault(row["pair"], {}).setdefault(row["session"], _Known())
                    if row["price_digits"] is not None:
                        one.digits = row["price_digits"], row["qty_digits"]
                    if row["mismatches"]:
                        one.mismatch = row["last_message"]
                    if row["messages"]:
                        day = row["first_received"].date().isoformat()
                        one.last, one.day = max(one.last, row["last_message"]), min(one.day or day, day)
    return found
