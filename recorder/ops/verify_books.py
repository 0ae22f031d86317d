"""Verification of stored books: the share of each day that a replay of their messages verifies, and what it refutes.

Files that cannot be read are left out here; :func:`recorder.ops.certificates.other_findings` reports them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recorder.archive.compaction import file_rows
from recorder.archive.datasets import BOOK, BOOK_SESSIONS, SCHEMA_FILE, Branch
from recorder.archive.integrity import ALL_DAYS, Days, Finding
from recorder.archive.layout import Layout, listed, period_of
from recorder.archive.parquet import SET_APART, FileFacts, OpenFile, read_facts
from recorder.kraken.book_replay import DayShare, SessionFacts, StoredRow, replayed

_COLUMNS: Final = ("session", "message", "kind", "side", "price", "qty", "checksum")
_REMEDY: Final = (
    "nobody can fetch the book again: put its file from a back-up in its place if one is sound; the rest of the "
    "session, from the next checkpoint on, stays verified"
)
_UNKNOWN: Final = SessionFacts(-1, -1, None)
_SESSION_COLUMNS: Final = ("pair", "session", "last_message", "mismatches", "price_digits", "qty_digits")


@dataclass(frozen=True, slots=True)
class VerifiedBooks:
    """The books of one pair: the share of each UTC date, oldest first, and the findings."""

    pair: str
    days: dict[str, DayShare]
    findings: Sequence[Finding]


def verified_books(layout: Layout, *, days: Days = ALL_DAYS) -> Iterator[VerifiedBooks]:
    """Replay the books of each pair, of these UTC dates of receipt, and yield what that shows."""
    sessions = _sessions(layout)
    with contextlib.suppress(*SET_APART):
        for branch in layout.branches(BOOK):
            leaves = [leaf for leaf in layout.leaves(branch) if days.touch_period(period_of(leaf) or "")]
            result = replayed(_rows(leaves), sessions.get(str(branch.value), {}))
            found = [
                Finding(
                    layout.leaf(branch, fault.day),
                    f"at message {fault.message} of session {fault.session} of {branch.value}: {fault.problem}",
                    _REMEDY,
                )
                for fault in result.faults
            ]
            if result.days:
                yield VerifiedBooks(str(branch.value), result.days, found)


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
                found.append(read_facts(leaf / name))
    return found


def _sessions(layout: Layout) -> dict[str, dict[int, SessionFacts]]:
    """Return the facts of each session, by pair."""
    found: dict[str, dict[int, SessionFacts]] = {}
    with contextlib.suppress(*SET_APART, FileNotFoundError):
        for path in layout.files(Branch(BOOK_SESSIONS)):
            with contextlib.suppress(*SET_APART, FileNotFoundError), OpenFile(path) as file:
                for row in file.table(columns=_SESSION_COLUMNS).to_pylist() if file.rows else ():
                    of_pair = found.setdefault(row["pair"], {})
                    before = of_pair.get(row["session"], _UNKNOWN)
                    known = row["price_digits"] is not None
                    of_pair[row["session"]] = SessionFacts(
                        row["price_digits"] if known else before.price_digits,
                        row["qty_digits"] if known else before.qty_digits,
                        row["last_message"] if row["mismatches"] else before.mismatch,
                    )
    return {
        pair: {session: facts for session, facts in of_pair.items() if facts.price_digits >= 0}
        for pair, of_pair in found.items()
    }
