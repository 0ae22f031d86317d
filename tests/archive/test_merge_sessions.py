"""Merging quotes and books: each message once, whatever came before, and sessions that tell of what is stored."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recorder.archive import locks, merge_archive, verify_tables
from recorder.archive.datasets import Branch
from recorder.archive.layout import Layout
from recorder.archive.merge_sessions import NUMBERED, OF_BOOKS, OF_QUOTES, Counted, Numbered, SessionMerge
from recorder.archive.segment_tables import Segments
from recorder.core.model import BookKind, BookRow
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Disk, Room
from tests.archives import START_US, book_row, quote, writing
from tests.powercut import PowerCut, PowerLoss, Tree, Unsynced, lay, same_names

BTC, ETH = "BTC/USD", "ETH/USD"
PLENTY = Room(2**40, 2**41)
Messages = list[tuple[str, int, int]]
"""Pair, session and number of each."""
Ended = dict[tuple[str, int], int]
Drained = tuple[Messages, Ended]
WHICH = pytest.mark.parametrize("tables", NUMBERED, ids=lambda tables: tables.rows.name)


def frames(first: int, last: int, session: int = 1, *, pair: str = BTC, but: Sequence[int] = ()) -> Messages:
    """Return these messages; ``but`` those that could not be read."""
    return [(pair, session, number) for number in range(first, last + 1) if number not in but]


def received_us(session: int, number: int) -> int:
    return START_US + (session * 100 + number) * 1_000_000


def changes(pair: str, session: int, number: int) -> Iterator[BookRow]:
    """Yield the rows of a message: every third is a checkpoint."""
    kind: BookKind | None = "checkpoint" if number and number % 3 == 0 else None
    at_us = received_us(session, number)
    yield book_row(session, number, at_us, f"{number + 1}.0", pair=pair, kind=kind)
    yield book_row(session, number, at_us, f"{number + 9}.0", pair=pair, kind=kind, side="ask", position=1)


def fill(tables: Numbered, data: Path, *drained: Drained) -> Path:
    with writing(data) as archive:
        for messages, ended in drained:
            if tables is OF_QUOTES:
                rows = [quote(session, one, received_us(session, one), pair=pair) for pair, session, one in messages]
                archive.quoted(rows, ended=ended)
            else:
                archive.booked([row for one in messages for row in changes(*one)], ended=ended)
    return data


def merge(
    tables: Numbered, ours: Path, theirs: Path, disk: Disk | None = None, journalled: Counted | None = None
) -> tuple[int, int]:
    """Merge as the verb does; return how many rows and how many rows of sessions came."""
    disk, layout, other = disk or Disk(), Layout(ours), Layout(theirs)
    locks.sweep_staging(layout, disk)
    with locks.staging(layout, disk) as staging:
        segments = Segments(layout, disk, staging=staging)
        sessions = SessionMerge(tables, layout, other, journalled or {})
        rows, parts = (
            merge_archive.rows_of(table, layout, segments, other, room=lambda: PLENTY, only=only)[0]
            for table, only in ((tables.rows, sessions.not_journalled), (tables.sessions, sessions.not_counted))
        )
    return rows, parts


def told(tables: Numbered, data: Path) -> dict[tuple[str, int], tuple[list[int], int, int, bool]]:
    """Return of each session the stored messages, how many it tells of, the last message, and if it ended."""
    messages: dict[tuple[str, int], list[int]] = {}
    for pair in (BTC, ETH):
        for path in Layout(data).files(Branch(tables.rows, pair)):
            for row in pq.ParquetFile(path).read().to_pylist():
                if row.get("position", 0) == 0:
                    messages.setdefault((pair, row["session"]), []).append(row["message"])
    parts = parts_of(tables, data)
    assert messages.keys() == parts.keys()
    count = "rows" if tables is OF_QUOTES else "messages"
    return {
        key: (
            sorted(messages[key]),
            sum(part[count] for part in found),
            max(part["last_message"] for part in found),
            any(part["ended"] is not None for part in found),
        )
        for key, found in parts.items()
    }


def parts_of(tables: Numbered, data: Path) -> dict[tuple[str, int], list[dict[str, Any]]]:
    parts: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for path in Layout(data).files(Branch(tables.sessions)):
        for part in pq.ParquetFile(path).read().to_pylist():
            parts.setdefault((part["pair"], part["session"]), []).append(part)
    return parts


END: Ended = {(BTC, 1): START_US + 130_000_000}
WHOLE = {(BTC, 1): ([0, 1, 2, 3, 4, 6, 7], 7, 7, True)}
CASES: dict[str, tuple[list[Drained], list[Drained]]] = {
    "of another recorder": ([(frames(0, 4, 2), {})], [(frames(0, 7, but=[5]), END)]),
    "of the same segment, drained here before it was complete": (
        [(frames(0, 4), {})],
        [(frames(0, 7, but=[5]), END)],
    ),
    "of the same segment, drained here after it was complete": (
        [(frames(0, 7, but=[5]), END)],
        [(frames(0, 4), {})],
    ),
    "of which only the end is missing here": (
        [(frames(0, 7, but=[5]), {})],
        [(frames(0, 7, but=[5]), END)],
    ),
    "of which a segment in the middle is missing here": (
        [(frames(0, 1), {}), (frames(6, 7), END)],
        [(frames(0, 1), {}), (frames(2, 4), {}), (frames(6, 7), END)],
    ),
    "that is the same": ([(frames(0, 7, but=[5]), END)], [(frames(0, 7, but=[5]), END)]),
}


@WHICH
@pytest.mark.parametrize("case", CASES)
def test_what_came_is_stored_once_and_counted_once_however_often_it_is_merged(
    tables: Numbered, case: str, tmp_path: Path
) -> None:
    ours, theirs = (fill(tables, tmp_path / name, *drained) for name, drained in zip("ab", CASES[case], strict=True))
    merge(tables, ours, theirs)
    expected = WHOLE if "another" not in case else {**WHOLE, (BTC, 2): ([0, 1, 2, 3, 4], 5, 4, False)}
    assert told(tables, ours) == expected
    assert merge(tables, ours, theirs)[0] == 0
    assert told(tables, ours) == expected
    assert list(verify_tables.findings(Layout(ours))) == []


@WHICH
def test_what_is_in_our_own_journal_is_left_to_the_drain(tables: Numbered, tmp_path: Path) -> None:
    ours = fill(tables, tmp_path / "a", (frames(0, 2), {}))
    theirs = fill(tables, tmp_path / "b", (frames(0, 2), {}), (frames(3, 7), {}), (frames(0, 3, 1, pair=ETH), {}))
    journalled = {(BTC, 1): Spans([Span(3, 5)]), (ETH, 1): Spans([Span(0, 9)])}
    a_row = 1 if tables is OF_QUOTES else 2
    assert merge(tables, ours, theirs, journalled=journalled) == (2 * a_row, 1)
    assert told(tables, ours) == {(BTC, 1): ([0, 1, 2, 6, 7], 5, 7, False)}
    fill(tables, ours, ([*frames(3, 5), *frames(0, 3, 1, pair=ETH)], {}))  # the drain
    assert told(tables, ours) == {
        (BTC, 1): (list(range(8)), 8, 7, False),
        (ETH, 1): ([0, 1, 2, 3], 4, 3, False),
    }


def test_what_is_left_of_a_part_of_a_book_tells_what_is_proven_of_its_own_messages(tmp_path: Path) -> None:
    """Of 0 to 5, of which 3 is a checkpoint and 5 does not match, the first two are here."""
    ours = fill(OF_BOOKS, tmp_path / "a", (frames(0, 1), {}))
    with writing(tmp_path / "b") as archive:
        rows = [row for one in frames(0, 5) for row in changes(*one)]
        archive.booked(rows, ended=END, reason="mismatch")
    merge(OF_BOOKS, ours, tmp_path / "b")
    _, came = sorted(parts_of(OF_BOOKS, ours)[BTC, 1], key=lambda part: part["last_message"])
    assert (came["first_message"], came["last_message"], came["messages"]) == (2, 5, 4)
    assert (came["verified"], came["mismatches"], came["end_reason"]) == (3, 1, "mismatch")
    moments = [round(came[name].timestamp() * 1e6) for name in ("first_received", "last_received")]
    assert moments == [received_us(1, 2), received_us(1, 4)]


@WHICH
def test_cut_at_any_call_it_goes_on_from_there_when_called_again(tables: Numbered, tmp_path: Path) -> None:
    before = fill(tables, tmp_path / "before", (frames(0, 2), {}))
    theirs = fill(tables, tmp_path / "b", (frames(0, 7, but=[5]), END), (frames(0, 1, 3), {}))
    counting = PowerCut(shutil.copytree(before, tmp_path / "whole"))
    merge(tables, tmp_path / "whole", theirs, counting)
    complete = told(tables, tmp_path / "whole")
    assert complete == {**WHOLE, (BTC, 3): ([0, 1], 2, 1, False)}
    checked: list[Tree] = []
    for cut_at in range(1, len(counting.calls) + 1):
        data = shutil.copytree(before, tmp_path / "now")
        disk = PowerCut(data, cut_at=cut_at)
        with same_names(), pytest.raises(PowerLoss):
            merge(tables, data, theirs, disk)
        for tree in disk.aftermaths(("lost",)):
            if tree in checked:
                continue
            checked.append(tree)
            after = lay(tree, tmp_path / "after")
            merge(tables, after, theirs, Unsynced())
            assert told(tables, after) == complete, f"cut at call {cut_at}, before {disk.calls[-1]}"
            shutil.rmtree(after)
        shutil.rmtree(data)
    assert len(checked) > 5
