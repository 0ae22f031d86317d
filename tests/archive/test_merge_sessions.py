"""Merging quotes: each message once, whatever was merged before, and sessions that tell of what is stored."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recorder.archive import locks, merge_archive, verify_tables
from recorder.archive.datasets import QUOTE_SESSIONS, QUOTES, Branch
from recorder.archive.layout import Layout
from recorder.archive.merge_sessions import Counted, SessionMerge
from recorder.archive.segment_tables import Segments
from recorder.core.model import TopOfBook
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Disk, Room
from tests.archives import START_US, quote, writing
from tests.powercut import PowerCut, PowerLoss, Tree, Unsynced, lay, same_names

BTC, ETH = "BTC/USD", "ETH/USD"
PLENTY = Room(2**40, 2**41)
Ended = dict[tuple[str, int], int]
Drained = tuple[list[TopOfBook], Ended]


def frames(first: int, last: int, session: int = 1, *, pair: str = BTC, but: Sequence[int] = ()) -> list[TopOfBook]:
    """Return quotes of these messages, one a second; ``but`` those that could not be read."""
    moments = {number: START_US + (session * 100 + number) * 1_000_000 for number in range(first, last + 1)}
    return [quote(session, number, at_us, pair=pair) for number, at_us in moments.items() if number not in but]


def fill(data: Path, *drained: Drained) -> Path:
    with writing(data) as archive:
        for rows, ended in drained:
            archive.quoted(rows, ended=ended)
    return data


def merge(ours: Path, theirs: Path, disk: Disk | None = None, journalled: Counted | None = None) -> tuple[int, int]:
    """Merge as the verb does; return how many quotes and how many rows of sessions came."""
    disk, layout, other = disk or Disk(), Layout(ours), Layout(theirs)
    locks.sweep_staging(layout, disk)
    with locks.staging(layout, disk) as staging:
        segments = Segments(layout, disk, staging=staging)
        sessions = SessionMerge(QUOTES, QUOTE_SESSIONS, layout, other, journalled or {})
        quotes, _ = merge_archive.rows_of(
            QUOTES, layout, segments, other, room=lambda: PLENTY, only=sessions.not_journalled
        )
        parts, _ = merge_archive.rows_of(
            QUOTE_SESSIONS,
            layout,
            segments,
            other,
            room=lambda: PLENTY,
            only=lambda _, rows: sessions.not_counted(rows),
        )
    return quotes, parts


def told(data: Path) -> dict[tuple[str, int], tuple[list[int], int, int, bool]]:
    """Return of each session the stored messages, how many rows it tells of, the last message, and if it ended."""
    messages: dict[tuple[str, int], list[int]] = {}
    for pair in (BTC, ETH):
        for path in Layout(data).files(Branch(QUOTES, pair)):
            for row in pq.ParquetFile(path).read().to_pylist():
                messages.setdefault((pair, row["session"]), []).append(row["message"])
    parts: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for path in Layout(data).files(Branch(QUOTE_SESSIONS)):
        for part in pq.ParquetFile(path).read().to_pylist():
            parts.setdefault((part["pair"], part["session"]), []).append(part)
    assert messages.keys() == parts.keys()
    return {
        key: (
            sorted(messages[key]),
            sum(part["rows"] for part in found),
            max(part["last_message"] for part in found),
            any(part["ended"] is not None for part in found),
        )
        for key, found in parts.items()
    }


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


@pytest.mark.parametrize("case", CASES)
def test_what_came_is_stored_once_and_counted_once_however_often_it_is_merged(case: str, tmp_path: Path) -> None:
    ours, theirs = (fill(tmp_path / name, *drained) for name, drained in zip("ab", CASES[case], strict=True))
    merge(ours, theirs)
    expected = WHOLE if "another" not in case else {**WHOLE, (BTC, 2): ([0, 1, 2, 3, 4], 5, 4, False)}
    assert told(ours) == expected
    assert merge(ours, theirs)[0] == 0
    assert told(ours) == expected
    assert list(verify_tables.findings(Layout(ours))) == []


def test_what_is_in_our_own_journal_is_left_to_the_drain(tmp_path: Path) -> None:
    ours = fill(tmp_path / "a", (frames(0, 2), {}))
    theirs = fill(tmp_path / "b", (frames(0, 2), {}), (frames(3, 7), {}), (frames(0, 3, 1, pair=ETH), {}))
    journalled = {(BTC, 1): Spans([Span(3, 5)]), (ETH, 1): Spans([Span(0, 9)])}
    assert merge(ours, theirs, journalled=journalled) == (2, 1)
    assert told(ours) == {(BTC, 1): ([0, 1, 2, 6, 7], 5, 7, False)}
    with writing(ours) as archive:  # the drain
        archive.quoted([*frames(3, 5), *frames(0, 3, 1, pair=ETH)])
    assert told(ours) == {
        (BTC, 1): (list(range(8)), 8, 7, False),
        (ETH, 1): ([0, 1, 2, 3], 4, 3, False),
    }


def test_cut_at_any_call_it_goes_on_from_there_when_called_again(tmp_path: Path) -> None:
    before = fill(tmp_path / "before", (frames(0, 2), {}))
    theirs = fill(tmp_path / "b", (frames(0, 7, but=[5]), END), (frames(0, 1, 3), {}))
    counting = PowerCut(shutil.copytree(before, tmp_path / "whole"))
    merge(tmp_path / "whole", theirs, counting)
    complete = told(tmp_path / "whole")
    assert complete == {**WHOLE, (BTC, 3): ([0, 1], 2, 1, False)}
    checked: list[Tree] = []
    for cut_at in range(1, len(counting.calls) + 1):
        data = shutil.copytree(before, tmp_path / "now")
        disk = PowerCut(data, cut_at=cut_at)
        with same_names(), pytest.raises(PowerLoss):
            merge(data, theirs, disk)
        for tree in disk.aftermaths(("lost",)):
            if tree in checked:
                continue
            checked.append(tree)
            after = lay(tree, tmp_path / "after")
            merge(after, theirs, Unsynced())
            assert told(after) == complete, f"cut at call {cut_at}, before {disk.calls[-1]}"
            shutil.rmtree(after)
        shutil.rmtree(data)
    assert len(checked) > 5
