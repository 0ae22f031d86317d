from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.event_kinds import NOTE
from recorder.core.segment_names import SegmentName
from recorder.disk import Disk
from recorder.errors import DiskError
from recorder.journal import segment
from recorder.journal.journal import Journal
from tests.powercut import PowerCut, Unsynced
from tests.segments import ARCHIVE

MARKET = "journal_market"


@contextmanager
def opened(data: Path, disk: Disk | None = None) -> Iterator[Journal]:
    staging = data / ".staging"
    staging.mkdir(parents=True, exist_ok=True)
    journal = Journal(data, disk or Unsynced(), staging=staging, now_ns=1)
    try:
        yield journal
    finally:
        journal.close()


def line(number: int) -> bytes:
    return segment.encode(number, "test", b'{"n":%d}' % number)


def numbers(path: Path) -> list[int]:
    found = [entry for entry in segment.entries(path) if isinstance(entry, segment.Entry)]
    return [entry.recv_ns for entry in found if entry.source == "test"]


def test_appended_lines_stand_behind_the_header_of_their_segment(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.append([line(1), line(2)])
        path = segment.path_of(tmp_path / "journal", journal.number)
        assert journal.size == path.stat().st_size
    header, *_ = segment.entries(path)
    assert isinstance(header, segment.Entry)
    assert header.source == NOTE
    assert b'"format":1' in header.payload
    assert numbers(path) == [1, 2]


def test_an_empty_segment_is_not_rotated(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        before = journal.number
        journal.rotate(2)
        assert journal.number == before
        journal.append([line(1)])
        journal.rotate(3)
        assert journal.number == before + 1
        assert [segment.number_of(path) for path in journal.closed()] == [before]


def test_a_number_is_never_given_twice_whatever_became_of_its_segment(tmp_path: Path) -> None:
    seen = []
    for keep in (True, False, True):
        with opened(tmp_path) as journal:
            for path in journal.closed():
                journal.retire(path, keep=keep)
            seen.append(journal.number)
    assert seen == [1, 2, 3]


def test_what_was_set_aside_is_not_overwritten_after_the_journal_was_lost(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        lost = segment.path_of(tmp_path / "journal", journal.number)
        journal.set_aside(lost, [b"corrupt"])
    lost.unlink()
    with opened(tmp_path) as journal:
        assert journal.number == 2


@given(torn=st.integers(0, 60), count=st.integers(0, 3))
def test_of_a_torn_end_the_last_line_is_cut_and_only_it(
    tmp_path_factory: pytest.TempPathFactory, torn: int, count: int
) -> None:
    data = tmp_path_factory.mktemp("data")
    with opened(data) as journal:
        journal.append([line(number) for number in range(count)])
        path = segment.path_of(data / "journal", journal.number)
    whole = path.read_bytes()
    path.write_bytes(whole + line(99)[:torn])
    torn = min(torn, len(line(99)))
    with opened(data) as journal:
        if torn in {0, len(line(99))}:
            assert journal.recovered is None
        else:
            assert journal.recovered is not None
            assert (journal.recovered.valid_bytes, journal.recovered.torn_bytes) == (len(whole), torn)
            assert path.read_bytes() == whole


def test_a_segment_of_which_not_even_the_header_is_whole_becomes_empty(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    segment.path_of(tmp_path / "journal", 4).write_bytes(b'{"recv_ns":1')
    with opened(tmp_path) as journal:
        assert journal.number == 5
        (empty,) = journal.closed()
        assert empty.read_bytes() == b""
        journal.retire(empty, keep=True)


def test_a_torn_end_longer_than_any_buffer_is_cut(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.append([line(1)])
        path = segment.path_of(tmp_path / "journal", journal.number)
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 3_000_000)
    with opened(tmp_path) as journal:
        assert journal.recovered is not None
    assert path.read_bytes() == whole


def test_a_retired_segment_is_kept_compressed_with_a_checksum(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.append([line(number) for number in range(1000)])
        journal.rotate(2)
        (path,) = journal.closed()
        content = path.read_bytes()
        journal.retire(path, keep=True)
        assert not journal.closed()
    raw = (tmp_path / "raw" / "000000000001.jsonl.zst").read_bytes()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(raw) == content
    assert zstandard.get_frame_parameters(raw).has_checksum
    assert not list((tmp_path / ".staging").iterdir())


def test_lines_that_cannot_be_read_are_kept_for_a_person(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.set_aside(segment.path_of(tmp_path / "journal", 3), [b"one", b"\xff two"])
    assert (tmp_path / "raw" / "000000000003.corrupt").read_bytes() == b"one\n\xff two\n"


@pytest.mark.parametrize("failing", ["write", "sync"])
def test_after_a_failure_the_journal_takes_nothing_more(tmp_path: Path, failing: str) -> None:
    """A failed sync may have dropped the pages for good, and a line behind half a line is lost."""
    (tmp_path / "data").mkdir()
    counting = PowerCut(tmp_path / "data")
    with opened(tmp_path / "data", counting) as journal:
        journal.append([line(1)])
    calls = len(counting.calls) + {"write": 3, "sync": 4}[failing]

    (tmp_path / "again").mkdir()
    disk = PowerCut(tmp_path / "again", cut_at=calls, fails=errno.ENOSPC)
    with opened(tmp_path / "again", disk) as journal:
        journal.append([line(1)])
        journal.append([line(2)])
        assert len(disk.calls) == calls - {"write": 1, "sync": 2}[failing]
        with pytest.raises(DiskError, match="No space left on device"):
            journal.append([line(3)])
        for call in (partial(journal.append, [line(4)]), partial(journal.rotate, 2)):
            with pytest.raises(DiskError, match=r"takes no more lines since an earlier failure: cannot .*: No space"):
                call()
        path = segment.path_of(tmp_path / "again" / "journal", journal.number)
    with opened(tmp_path / "again") as journal:
        assert numbers(path)[:2] == [1, 2]
        assert 4 not in numbers(path)


def test_two_journals_of_an_archive_share_neither_numbers_nor_the_folder_of_what_is_retired(tmp_path: Path) -> None:
    with opened(tmp_path) as main:
        market = Journal(tmp_path, Unsynced(), staging=tmp_path / ".staging", now_ns=1, archive=ARCHIVE, journal=MARKET)
        with closing(market):
            market.append([line(1)])
            market.rotate(2)
            (path,) = market.closed()
            assert market.name_of(path) == SegmentName(ARCHIVE, MARKET, 1)
            market.retire(path, keep=True)
        assert (main.number, market.number) == (1, 2)
    assert [path.name for path in (tmp_path / "raw_market").iterdir()] == ["000000000001.jsonl.zst"]
    assert list((tmp_path / "raw").iterdir()) == []
