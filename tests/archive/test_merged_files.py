"""Merging again and again: only what is new is read, and whatever was lost here meanwhile comes again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from recorder.archive import archive_id, merge_archive, merged_files
from recorder.archive.compaction import compact, compact_segments
from recorder.archive.datasets import OHLC, Branch
from recorder.archive.disown import disown
from recorder.archive.layout import Layout, digest_in
from recorder.archive.merge_archive import Disagreement, TradeMerge
from recorder.archive.merged_files import MergedFiles
from recorder.archive.parquet import OpenFile
from recorder.archive.segment_tables import Segments, SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.trade_ids import Span, Spans
from tests.archive.candles import NEW_YEAR_US, candles, repeated, rows
from tests.archive.rows import PAIR, archive, held, ids, plenty, trade, trades
from tests.archives import writing
from tests.powercut import Unsynced
from tests.segments import named

SERIES = Branch(OHLC, "1m")


@dataclass
class Merged:
    """What came of a merge: the files of the other archive whose rows it read, and what it counted."""

    read: set[str] = field(default_factory=set)
    added: int = 0
    compared: int = 0
    skipped: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)


@pytest.fixture
def merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Merged]:
    """Merge the trades and candles of the archive b into the archive a, as the verb does."""
    ours, theirs = Layout(tmp_path / "a"), Layout(tmp_path / "b")

    def merged() -> Merged:
        found = Merged()
        read = OpenFile.read

        def noted(self: OpenFile, *given: Any, **options: Any) -> Iterator[Any]:
            if self.path.is_relative_to(theirs.data):
                found.read.add(self.path.name)
            return read(self, *given, **options)

        with monkeypatch.context() as patched, archive(ours.data, Unsynced()) as opened:
            patched.setattr(OpenFile, "read", noted)
            segments = Segments(ours, opened.disk, staging=opened.staging)
            with merged_files.remembered(opened, theirs) as files:
                _merge(opened, segments, theirs, files, found)
                found.skipped = files.skipped
        return found

    return merged


def _merge(opened: TradeArchive, segments: Segments, theirs: Layout, files: MergedFiles, found: Merged) -> None:
    job = TradeMerge(
        opened.layout, opened, disagreed=found.disagreements.append, tidy=lambda _: None, room=plenty, files=files
    )
    for leaf in theirs.years(PAIR):
        assert job.year(PAIR, leaf) == []
    tidy = functools.partial(_tidy, segments)
    candles_added, findings = merge_archive.rows_of(
        OHLC, opened.layout, segments, theirs, room=plenty, files=files, tidy=tidy
    )
    assert findings == []
    found.added = job.tally(PAIR).added + candles_added
    found.compared = job.tally(PAIR).compared


def _tidy(segments: Segments, branch: Branch) -> None:
    while compact_segments(segments, branch, today=date(9999, 1, 1)) is not None:
        pass


@contextmanager
def other(tmp_path: Path) -> Iterator[tuple[TradeArchive, Callable[..., None]]]:
    """Open the other archive for writing: its trades, and what writes candles as one drained segment brings them."""
    with archive(tmp_path / "b", Unsynced()) as opened:
        tables = SegmentTables(opened.layout, Unsynced(), staging=opened.staging)

        def published(first: int, last: int) -> None:
            tables.add(SERIES, [(10, one) for one in candles(first, last, from_us=NEW_YEAR_US)])
            tables.write(named(first))

        yield opened, published


def names(data: Path, table: str = "*") -> set[str]:
    """Return the names of the files of an archive that the recorder named."""
    return {path.name for path in data.glob(f"{table}/**/*.parquet") if digest_in(path.name) is not None}


@pytest.fixture
def both(tmp_path: Path, merge: Callable[[], Merged]) -> Path:
    """Trades 1 to 20 and candles 1 to 8 are in the other archive, in two files each, and were merged."""
    with other(tmp_path) as (theirs, published):
        theirs.append(PAIR, trades(1, 10))
        theirs.append(PAIR, trades(11, 20))
        published(1, 4)
        published(5, 8)
    with archive(tmp_path / "a", Unsynced()) as mine:
        mine.append(PAIR, trades(5, 6))
    assert merge().added == 18 + 8
    return tmp_path / "a"


def test_a_merge_that_is_repeated_reads_only_files_that_are_new_there(
    both: Path, tmp_path: Path, merge: Callable[[], Merged]
) -> None:
    assert merge() == Merged(skipped=4)
    before = names(tmp_path / "b")
    with other(tmp_path) as (theirs, published):
        theirs.append(PAIR, trades(21, 25))
        published(9, 10)
    assert merge() == Merged(read=names(tmp_path / "b") - before, added=5 + 2, skipped=4)
    assert merge() == Merged(skipped=6)
    assert ids(both) == list(range(1, 26))
    assert len(rows(both, "ohlc")) == 10
    assert repeated(both) == []


def test_what_a_compaction_made_there_is_compared_once_and_what_vanished_there_is_no_loss(
    both: Path, tmp_path: Path, merge: Callable[[], Merged]
) -> None:
    with other(tmp_path) as (theirs, _):
        while compact(theirs, PAIR, today=date(9999, 1, 1)) is not None:
            pass
    assert merge() == Merged(read=names(tmp_path / "b", "trades"), compared=20, skipped=2)
    assert merge() == Merged(skipped=3)
    for path in (tmp_path / "b").glob("*/**/*.parquet"):  # as if its disk were new, or its rows had expired
        path.unlink()
    assert merge() == Merged()
    assert (ids(both), len(rows(both, "ohlc"))) == (list(range(1, 21)), 8)


def test_what_was_lost_here_comes_again(both: Path, tmp_path: Path, merge: Callable[[], Merged]) -> None:
    for table in ("trades", "ohlc"):
        (one, *_) = sorted(both.glob(f"{table}/**/[0-9]*.parquet"))
        one.unlink()
    assert len(ids(both)) < 20
    assert merge().added > 0
    held(both)
    assert (ids(both), len(rows(both, "ohlc")), repeated(both)) == (list(range(1, 21)), 8, [])
    assert merge() == Merged(skipped=4)


def test_candles_are_compared_again_after_a_compaction_here_by_others(
    both: Path, tmp_path: Path, merge: Callable[[], Merged]
) -> None:
    with other(tmp_path) as (_, published):
        published(9, 10)
    assert merge().added == 2
    with archive(both, Unsynced()) as mine:
        _tidy(Segments(mine.layout, mine.disk, staging=mine.staging), SERIES)
    assert merge() == Merged(read=names(tmp_path / "b", "ohlc"), skipped=2)
    assert merge() == Merged(skipped=5)


def test_a_disagreement_is_reported_by_every_merge_until_it_is_settled(
    both: Path, tmp_path: Path, merge: Callable[[], Merged]
) -> None:
    with other(tmp_path) as (theirs, _):
        theirs.append(PAIR, [trade(21), msgspec.structs.replace(trade(22), side="sell")])
    with archive(both, Unsynced()) as mine:
        mine.append(PAIR, trades(21, 22))
    for _ in range(2):
        assert [(one.trade_id, one.field) for one in merge().disagreements] == [(22, "side")]
    with archive(both, Unsynced()) as mine:
        disown(mine, PAIR, Spans([Span(22, 22)]), now_us=1, reason="theirs is wrong, too")
    assert merge().disagreements == []
    assert merge() == Merged(skipped=5)


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":2,"leaves":{}}', b'{"version":1,"leaves":[]}'])
def test_without_its_hint_everything_is_compared_again(
    both: Path, tmp_path: Path, merge: Callable[[], Merged], content: bytes
) -> None:
    (hint,) = (both / ".locks").glob("merged-*.json")
    assert hint.name == f"merged-{archive_id.read(tmp_path / 'b')}.json"
    hint.write_bytes(content)
    assert merge() == Merged(read=names(tmp_path / "b"), compared=20)
    assert merge() == Merged(skipped=4)


def test_of_an_archive_without_an_id_nothing_is_remembered(
    both: Path, tmp_path: Path, merge: Callable[[], Merged]
) -> None:
    (tmp_path / "b" / "archive.json").unlink()
    for _ in range(2):
        assert merge() == Merged(read=names(tmp_path / "b"), compared=20)


def test_a_file_without_a_digest_in_its_name_is_read_each_time(tmp_path: Path, merge: Callable[[], Merged]) -> None:
    with writing(tmp_path / "b") as theirs:
        theirs.append(trades(1, 3))
    (path,) = (tmp_path / "b" / "trades").glob("pair=BTC*/*/*.parquet")
    older = path.rename(path.with_name("000000000001-000000000003-0123456789abcdef.parquet"))
    assert merge().added == 3
    assert merge() == Merged(read={older.name}, compared=3)
