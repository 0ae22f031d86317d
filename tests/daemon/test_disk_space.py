from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
import zstandard

from recorder.daemon.disk_space import AGAIN_S, LOOK_S, ArchivedCheck, DiskSpaceWatch
from recorder.disk import Room
from recorder.errors import DiskError, UnreadableFile
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.journal.segment import Entry
from tests.builders import PAIR, Shop, frame, shop, trades
from tests.clocks import asleep, running, settle_until
from tests.end_to_end.harness import denied
from tests.example_dataset import register
from tests.fakes import Fakes

MB = 1_000_000
TOTAL = 10_000 * MB
"""Low at 1,000 MB, the end at 250."""


class Bench(Fakes):
    """A disk that has ``free`` bytes, and 100 MB more for each raw segment that is gone."""

    def __init__(self, opened: Shop) -> None:
        super().__init__()
        self.opened, self.free, self.full = opened, 5_000 * MB, 0
        self.history: list[bool] = []
        self.books: list[bool] = []
        self.there = len(self.raw())
        self.space = DiskSpaceWatch(
            opened.layout,
            opened.disk,
            self.context,
            spare=self.history.append,
            spare_books=self.books.append,
            full=self.end,
            raw=threading.Lock(),
            room=self.room,
        )

    def raw(self) -> list[str]:
        return sorted(path.name.split(".")[0].lstrip("0") for path in self.opened.layout.raw.glob("*.zst"))

    def room(self, path: Path) -> Room:
        assert path == self.opened.layout.data
        return Room(self.free + (self.there - len(self.raw())) * 100 * MB, TOTAL)

    def end(self) -> None:
        self.full += 1

    async def look(self) -> None:
        """Let it look once more."""
        self.clock.move(LOOK_S + 1)
        await settle_until(lambda: self.clock.sleepers > 0 or bool(self.full))


@contextlib.asynccontextmanager
async def watching(opened: Shop) -> AsyncIterator[Bench]:
    bench = Bench(opened)
    async with running(bench.space):
        await asleep(bench.clock)
        yield bench


def retired(opened: Shop, *lines: bytes) -> Path:
    """Journal lines and retire their segment into raw/, as a drain does; archiving them is left to the test."""
    opened.journal.append(lines)
    opened.journal.rotate(1)
    (path,) = opened.journal.closed()
    opened.journal.retire(path, keep=True)
    return opened.layout.raw / f"{path.name}.zst"


def live(first: int, last: int) -> bytes:
    return segment.encode(1, "ws:trade:1", frame(first, last), parsed=True)


async def test_where_there_is_room_nothing_happens(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        retired(opened, live(1, 5))
        opened.archive.append(PAIR, trades(1, 5))
        async with watching(opened) as bench:
            bench.free = 1_000 * MB
            await bench.look()
            assert (bench.history, bench.noted(), bench.raw(), bench.space.low) == ([], [], ["1"], False)


async def test_low_disk_space_pauses_backfill_and_removes_the_oldest_raw_segments(
    tmp_path: Path,
) -> None:
    with shop(tmp_path) as opened:
        for first in (1, 11, 21, 31):
            retired(opened, live(first, first + 9))
        opened.archive.append(PAIR, trades(1, 40))
        (opened.layout.raw / "000000000001.corrupt").write_bytes(b"a line\n")
        before = opened.ids()
        async with watching(opened) as bench:
            bench.free = 850 * MB
            await bench.look()
            assert bench.raw() == ["3", "4"], "1,050 MB are free then"
            assert bench.history == [True]
            assert bench.noted() == [
                {"kind": "disk_low", "pair": None, "free": 850 * MB, "low": 1_000 * MB, "stop": 250 * MB}
            ]
            await bench.look()
            assert (bench.raw(), bench.history, bench.noted()) == (["3", "4"], [True], []), "said once"
            bench.free = 1_049 * MB
            await bench.look()
            assert bench.history == [True], "just above the mark it would go to and fro"
            bench.free = 1_050 * MB
            await bench.look()
            assert bench.history == [True, False]
            assert not bench.space.low
        assert (opened.layout.raw / "000000000001.corrupt").exists()
        assert opened.ids() == before


async def test_books_wait_before_anything_else_does(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        async with watching(opened) as bench:
            for free, waits in ((1_600, False), (1_499, True), (1_700, True), (1_875, False)):
                bench.free = free * MB
                await bench.look()
                assert bench.books[-1] == waits, free
            assert (bench.history, bench.noted()) == ([], [])


async def test_raw_segments_of_every_journal_make_room_but_none_that_is_not_drained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, journal="journal_market")
    with shop(tmp_path) as opened:
        retired(opened, live(1, 10))
        opened.archive.append(PAIR, trades(1, 10))
        market = Journal(tmp_path, opened.disk, staging=tmp_path, now_ns=1, journal="journal_market")
        for number in (1, 2):
            market.append([segment.encode_note(number, "connected")])
            market.rotate(1)
        drained, waiting = market.closed()
        market.preserve(waiting)
        market.retire(drained, keep=True)
        market.close()
        async with watching(opened) as bench:
            bench.free = 900 * MB
            await bench.look()
            assert [path.name for path in opened.layout.raw_dir("journal_market").iterdir()] == [
                f"{waiting.stem}.jsonl.zst"
            ]
            assert bench.raw() == [], "and then those, but none that is not drained"


async def test_raw_segments_that_nobody_may_list_are_told_of_and_all_else_goes_on(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        retired(opened, live(1, 5))
        opened.archive.append(PAIR, trades(1, 5))
        async with watching(opened) as bench:
            bench.free = 500 * MB
            with denied(opened.layout.raw), structlog.testing.capture_logs() as said:
                found = bench.space._make_room(1_000 * MB)
            assert found.free == 500 * MB + 100 * MB * bench.there
            assert [line["event"] for line in said] == ["raw segments cannot be removed to make room"]
            assert str(opened.layout.raw) in said[0]["reason"]
            await bench.look()
            assert (bench.raw(), bench.history) == ([], [True])


async def test_what_is_not_proven_to_be_archived_stays_and_is_looked_at_again_later(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        retired(opened, live(1, 10))
        retired(opened, live(11, 20))
        opened.archive.append(PAIR, [*trades(1, 9), *trades(11, 20)])
        async with watching(opened) as bench:
            bench.free = 500 * MB
            await bench.look()
            assert bench.raw() == ["1"]
            opened.archive.append(PAIR, trades(10, 10))
            await bench.look()
            assert bench.raw() == ["1"]
            bench.clock.move(AGAIN_S)
            await asleep(bench.clock)
            assert bench.raw() == []
            assert bench.history == [True]
            assert len(bench.noted()) == 1, "as long as it is low, that is said once"


async def test_below_the_last_mark_recording_is_asked_to_end_and_a_sentence_says_why(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        async with watching(opened) as bench:
            bench.space.check()
            bench.free = 249 * MB
            await bench.look()
            assert bench.full == 1
            with pytest.raises(DiskError, match=r"has 249\.0 MB left, and recording ends at 250\.0 MB: make room"):
                bench.space.check()


async def test_raw_segments_that_go_in_time_save_the_recording(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        retired(opened, live(1, 5))
        opened.archive.append(PAIR, trades(1, 5))
        async with watching(opened) as bench:
            bench.free = 200 * MB
            await bench.look()
            assert (bench.raw(), bench.full) == ([], 0)


def answer(source: str, body: bytes) -> bytes:
    return segment.encode(1, source, body)


OHLC = "rest:/0/public/OHLC?pair=XBTUSD&interval=1#BTC%2FUSD"
LACKING = {
    "an id that is not held": (live(9, 11), r"lacks some of the ids 9\.\.11 of BTC/USD"),
    "a pair that is not held": (
        segment.encode(1, "ws:trade:1", frame(1, 2).replace(b"BTC/USD", b"BTC/EUR")),
        r"lacks some of the ids 1\.\.2 of BTC/EUR",
    ),
    "a line that is damaged": (live(1, 2).replace(b"63501.6", b"63501.7"), "does not match its checksum"),
    "an unreadable frame": (answer("ws:unreadable:1", b"{}"), "stands nowhere else"),
    "an unreadable answer": (answer("rest-unreadable:/0/public/Time", b"{}"), "stands nowhere else"),
    "candles that cannot be read": (answer(OHLC, b'{"error":[],"result":[]}'), ""),
    "trades that cannot be read": (answer("ws:trade:1", b"{}"), ""),
    "a note that cannot be read": (answer("note", b"{}"), "a note without a kind"),
}
KNOWN = [
    live(1, 10),
    answer("ws:status:1", b"{}"),
    answer("ws:answer:1", b"{}"),
    answer("note", b'{"note":"connected"}'),
    answer(OHLC, b'{"error":[],"result":{"XXBTZUSD":[],"last":0}}'),
    answer("rest:/0/public/AssetPairs", b'{"error":[],"result":{}}'),
]


@pytest.mark.parametrize("name", LACKING)
def test_a_line_that_may_stand_nowhere_else_keeps_its_segment(name: str, tmp_path: Path) -> None:
    line, reason = LACKING[name]
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        found = ArchivedCheck(opened.layout, opened.disk).lacks(retired(opened, line))
        assert found is not None
        assert re.search(reason, found)


def test_a_segment_of_a_pair_whose_file_may_not_be_read_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise UnreadableFile("a.parquet", "Permission denied", "") from PermissionError(13, "Permission denied")

    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        monkeypatch.setattr("recorder.archive.coverage.read_facts", refused)
        found = ArchivedCheck(opened.layout, opened.disk).lacks(retired(opened, live(1, 3)))
    assert found == "cannot read a.parquet: Permission denied; check the disk, and that this user may read it"


def test_a_segment_all_of_which_is_archived_lacks_nothing(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        assert ArchivedCheck(opened.layout, opened.disk).lacks(retired(opened, *KNOWN)) is None


def test_an_undrained_segment_never_counts_as_archived(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        opened.journal.append([live(1, 10)])
        opened.journal.rotate(1)
        (path,) = opened.journal.closed()
        opened.journal.preserve(path)
        raw = opened.layout.raw / f"{path.name}.zst"
        assert ArchivedCheck(opened.layout, opened.disk).lacks(raw) == "it is not drained yet"


def test_a_copy_that_is_not_whole_proves_nothing(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        path = retired(opened, *KNOWN)
        content = path.read_bytes()
        archived = ArchivedCheck(opened.layout, opened.disk)
        for damaged in (content[:-1], content[:-8] + b"12345678", content[:40], b"", b"junk"):
            path.write_bytes(damaged)
            assert archived.lacks(path) is not None
        path.write_bytes(zstandard.compress(b"".join(KNOWN)[:-1]))
        assert archived.lacks(path) is not None
        path.unlink()
        with pytest.raises(FileNotFoundError):
            archived.lacks(path)


def test_a_corrupt_line_that_was_set_aside_is_kept_there(tmp_path: Path) -> None:
    spoilt = KNOWN[3].replace(b"connected", b"connectex")
    assert isinstance(segment.decode(KNOWN[3].rstrip(b"\n")), Entry)
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        path = retired(opened, *KNOWN, spoilt)
        archived = ArchivedCheck(opened.layout, opened.disk)
        assert archived.lacks(path) is not None
        path.with_name("000000000001.corrupt").write_bytes(spoilt)
        assert archived.lacks(path) is None


async def test_a_disk_that_does_not_answer_ends_the_run(tmp_path: Path, opened: Shop, fakes: Fakes) -> None:
    space = DiskSpaceWatch(
        opened.layout,
        opened.disk,
        fakes.context,
        spare=lambda _: None,
        full=lambda: None,
        raw=threading.Lock(),
    )
    opened.layout.data = tmp_path / "gone"
    with pytest.raises(DiskError, match=r"cannot see how much room is left at .*gone: No such file"):
        await space.run()
