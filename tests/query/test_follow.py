from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import recorder
from recorder.archive.compaction import compact
from recorder.archive.layout import Layout
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.model import Event
from recorder.core.trade_ids import Span
from recorder.core.trade_sequence import Skipped
from recorder.disk import Disk
from recorder.errors import StorageError, UnsoundFile, UsageError
from recorder.ingest.drain import Drainer
from recorder.journal import live_read, segment
from recorder.journal.journal import Journal
from recorder.ops.metrics import Metrics
from recorder.query import follow
from recorder.query.follow import Follower
from tests import builders
from tests.archives import START_US, Written, trade, trades
from tests.builders import PAIR, shop
from tests.clocks import ManualClock, asleep
from tests.powercut import Unsynced

ETH = "ETH/USD"


class Idle(Exception):
    """Nothing to deliver now."""


def idle(_: float) -> None:
    raise Idle


class Watching:
    """A follower that never waits, and what it delivered."""

    def __init__(self, data: Path, *pairs: str, after: Any = None) -> None:
        self.clock = ManualClock()
        self.follower = Follower(data, pairs or (PAIR,), after, clock=self.clock, pause=idle)
        self.ids: list[int] = []
        self.skipped: list[Skipped] = []

    def look(self, seconds: float = 20) -> list[int]:
        """Take what can be delivered so many seconds later, by default after all intervals; return the ids of it."""
        self.clock.move(seconds)
        before = len(self.ids)
        try:
            for one in self.follower:
                self.ids.append(one.trade_id)
                self.skipped += one.skipped
        except Idle:
            pass
        return self.ids[before:]


def test_it_begins_behind_the_newest_trade_wherever_that_is(archive: Written) -> None:
    archive.append(trades(1, 3))
    archive.journalled(trades(4, 5))
    watching = Watching(archive.data)
    assert watching.look() == []
    archive.journalled([trade(6, price="101.5", qty="0.25")])
    (one,) = [next(watching.follower)]
    assert (one.pair, one.trade_id, one.price, one.qty, one.side) == (PAIR, 6, Decimal("101.5"), Decimal("0.25"), "buy")
    assert one.time == datetime.fromtimestamp(START_US // 1_000_000 + 6, UTC)
    assert (one.source, one.received, one.skipped) == ("ws", datetime.fromtimestamp(START_US // 1_000_000, UTC), ())
    assert watching.follower.after == {PAIR: 6}


@pytest.mark.parametrize("after", [2, np.int64(2), {PAIR: 2}])
def test_it_resumes_behind_an_id_from_archive_and_journal(archive: Written, after: object) -> None:
    archive.append(trades(1, 3))
    archive.journalled(trades(3, 5))
    assert Watching(archive.data, after=after).look() == [3, 4, 5]


def test_what_was_drained_unread_and_what_was_repaired_comes_from_the_archive(archive: Written) -> None:
    archive.append(trades(1, 3))
    watching = Watching(archive.data)
    assert watching.look() == []
    archive.journalled(trades(4, 5))
    archive.drain()
    assert watching.look(0) == [4, 5], "that a segment is gone is the sign"
    archive.journalled([trade(9)])
    assert (watching.look(0.5), watching.follower.waiting) == ([], {PAIR: Span(6, 8)})
    archive.append(trades(6, 8))
    assert (watching.look(1), watching.follower.waiting) == ([6, 7, 8, 9], {})
    archive.append(trades(10, 11))
    assert watching.look() == [10, 11], "caught up over REST, with nothing live behind it yet"


def test_pairs_do_not_wait_for_each_other(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(1, 1, pair=ETH)])
    watching = Watching(archive.data, PAIR, ETH, after={PAIR: 1})
    archive.journalled([trade(3, pair=ETH)])
    archive.journalled([trade(4)])
    assert watching.look() == [2, 3, 4]
    archive.append([trade(2, pair=ETH)])
    assert watching.look() == [2, 3]
    assert watching.follower.after == {PAIR: 4, ETH: 3}


def test_ids_that_need_not_be_waited_for_are_named(archive: Written) -> None:
    archive.append(trades(1, 3))
    archive.noted(Event(START_US, "void", PAIR, '{"first_id":4,"last_id":5}'))
    note = segment.encode_note(START_US * 1000, "unreadable", pair=PAIR, first_id=6, last_id=6)
    watching = Watching(archive.data)
    archive.journalled([trade(7)])
    assert watching.look() == []
    archive.journal.append([note])
    assert watching.look() == [7]
    assert watching.skipped == [Skipped(4, 5, "void"), Skipped(6, 6, "unreadable")]


def test_what_is_journalled_is_read_before_ids_are_passed_over(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_read, "_CHUNK", 1)
    archive.append(trades(1, 3))
    archive.noted(Event(START_US, "void", PAIR, '{"first_id":4,"last_id":4}'))
    watching = Watching(archive.data)
    archive.journalled([trade(5)])
    archive.journalled([trade(4)])
    assert (watching.look(), watching.skipped) == ([4, 5], [])


def test_behind_ids_that_were_passed_over_the_archive_is_looked_into_at_once(archive: Written) -> None:
    archive.append(trades(1, 3))
    watching = Watching(archive.data)
    assert watching.look() == []
    archive.append([trade(6)])
    archive.journal.append([segment.encode_note(START_US * 1000, "void", pair=PAIR, first_id=4, last_id=4)])
    archive.journalled([trade(5)])
    assert watching.look(0) == [5, 6]


def test_history_that_was_never_promised_is_passed_and_promised_history_waited_for(archive: Written) -> None:
    archive.append(trades(10, 12))
    watching = Watching(archive.data, after=0)
    assert (watching.look(), watching.skipped) == ([10, 11, 12], [Skipped(1, 9, "before")])
    archive.noted(Event(START_US, "promised", PAIR, f'{{"time_us":{START_US}}}'))
    watching = Watching(archive.data, after=0)
    assert (watching.look(), watching.follower.waiting) == ([], {PAIR: Span(1, 9)})
    archive.noted(Event(START_US, "anchored", PAIR, f'{{"time_us":{START_US},"after_id":7,"assumed":false}}'))
    assert (watching.look(), watching.follower.waiting) == ([], {PAIR: Span(8, 9)})
    archive.append(trades(8, 9))
    assert (watching.look(), watching.skipped) == ([8, 9, 10, 11, 12], [Skipped(1, 7, "before")])


def test_history_is_read_a_few_rows_at_a_time_from_files_that_overlap(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_BATCH_ROWS", 7)
    monkeypatch.setattr(follow, "_TURN_IDS", 20)
    every = {pair: trades(1, 60, pair=pair) for pair in (PAIR, ETH)}
    for rows in every.values():
        archive.append(rows[::2])
        archive.append(rows[1::2])
    archive.journalled(trades(55, 64))
    watching = Watching(archive.data, PAIR, ETH, after={PAIR: 10, ETH: 0})
    found = watching.look()
    assert sorted(found) == sorted([*range(11, 65), *range(1, 61)])
    turns = [found.index(one) for one in (11, 1)]
    assert max(turns) < 60, "neither pair has to wait for all of the other"


def test_rows_that_wait_are_bounded_and_found_again(archive: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_WAITING_ROWS", 5)
    monkeypatch.setattr(follow, "_LEAST_ROWS", 5)
    archive.append(trades(1, 3))
    watching = Watching(archive.data)
    for number in range(6, 40):
        archive.journalled([trade(number)])
    assert watching.look() == []
    assert len(watching.follower._followed[PAIR].sequence._rows) == 5
    archive.append(trades(4, 5))
    assert watching.look() == [*range(4, 40)]


def test_a_compaction_between_listing_and_reading_changes_nothing(archive: Written) -> None:
    for number in range(1, 8):
        archive.append([trade(number)])
    watching = Watching(archive.data, after=0)
    read = watching.follower._read_on
    compactions = iter([True])

    def compacted_before(one: Any) -> None:
        if next(compactions, False):
            archive.compact()
        read(one)

    watching.follower._read_on = compacted_before  # type: ignore[method-assign]
    assert watching.look() == [*range(1, 8)]


def test_a_damaged_file_is_an_error_where_its_rows_are_needed_and_no_loss(archive: Written) -> None:
    archive.append(trades(1, 3))
    watching = Watching(archive.data)
    archive.append(trades(4, 5))
    (path,) = [path for path in archive.files() if "000000000004" in path.name]
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + b"?")
    archive.journalled([trade(6)])
    with pytest.raises(UnsoundFile):
        watching.look()
    path.write_bytes(sound)
    assert watching.look() == [4, 5, 6]


def test_a_renumbered_pair_is_an_error_that_says_what_ends_it(archive: Written) -> None:
    archive.append(trades(1, 3))
    watching = Watching(archive.data)
    detail = f'{{"first_id":2,"last_id":3,"time_us":{START_US},"from_us":{START_US}}}'
    archive.noted(Event(START_US, "renumbered", PAIR, detail))
    with pytest.raises(StorageError, match=r"renumbered.*move"):
        watching.look()


@pytest.mark.parametrize(
    ("pairs", "after", "said"),
    [
        (("BTC/US",), None, "BTC/USD"),
        (("BTC/US",), 4, "BTC/USD"),
        ((PAIR, ETH), 4, "dict"),
        ((PAIR,), {ETH: 4}, "not followed"),
        ((PAIR,), -1, "id of a trade"),
        ((PAIR,), "4", "id of a trade"),
    ],
)
def test_what_cannot_be_followed_says_so(archive: Written, pairs: tuple[str, ...], after: object, said: str) -> None:
    archive.append(trades(1, 3))
    archive.journalled([trade(1, pair=ETH)])
    with pytest.raises(UsageError, match=said):
        Watching(archive.data, *pairs, after=after)


def test_closing_ends_it_also_from_another_thread_while_it_waits(archive: Written) -> None:
    archive.append(trades(1, 3))
    with recorder.connect(archive.data) as opened, opened.follow(PAIR, after=1) as follower:
        assert [next(follower).trade_id, next(follower).trade_id] == [2, 3]
        closing = threading.Timer(0.01, follower.close)
        closing.start()
        assert list(follower) == []
        closing.join()


async def test_as_an_asynchronous_iterator_it_waits_and_survives_cancellation(archive: Written) -> None:
    archive.append(trades(1, 3))
    clock = ManualClock()
    async with Follower(archive.data, (PAIR,), clock=clock) as follower:
        waiting = asyncio.ensure_future(anext(follower))
        await asleep(clock)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        archive.journalled(trades(4, 5))
        assert [(await anext(follower)).trade_id, (await anext(follower)).trade_id] == [4, 5]
    assert [one async for one in follower] == []


# What a daemon does, with a look between any two operations on the disk.


class Observed(Unsynced):
    """A disk that is looked at before each operation."""

    look: Callable[[], None] | None = None

    def __getattribute__(self, name: str) -> Any:
        if name in OPERATIONS and (look := object.__getattribute__(self, "look")) is not None:
            look()
        return object.__getattribute__(self, name)


OPERATIONS = frozenset(name for name in vars(Disk) if not name.startswith("_"))


class Daemon:
    """The writers of a daemon over an archive, which act at random, and restart now and then."""

    def __init__(self, data: Path, disk: Disk, staging: Path, random: Random) -> None:
        self.data, self.disk, self.staging, self.random = data, disk, staging, random
        self.archive = TradeArchive(Layout(data), disk, staging=staging)
        self.next_id, self.missing, self.void = 11, set[int](), set[int]()
        self.start()

    def start(self) -> None:
        self.journal = Journal(self.data, self.disk, staging=self.staging, now_ns=1)
        tables = SegmentTables(Layout(self.data), self.disk, staging=self.staging)
        quiet: dict[str, Any] = {"keep_raw": False, "latest_s": lambda: 1.0, "metrics": Metrics()}
        self.drainer = Drainer(self.journal, self.archive, tables, **quiet)

    def receive(self) -> None:
        """Journal frames: some repeat trades, and some come after others that were lost."""
        lost = self.random.choice([0, 0, 0, 2])
        first, last = self.next_id + lost, self.next_id + lost + self.random.randint(0, 3)
        self.missing |= set(range(self.next_id, first))
        self.next_id = last + 1
        frames = [builders.frame(first, last), builders.frame(max(first - 1, 1), last)]
        self.missing.discard(first - 1)
        self.journal.append([segment.encode(1, "ws:trade:1", one, parsed=True) for one in frames])

    def drain(self) -> None:
        self.journal.rotate(2)
        for path in self.journal.closed():
            self.drainer.drain(path)

    def repair(self) -> None:
        for number in sorted(self.missing)[: self.random.randint(1, 3)]:
            self.archive.append(PAIR, [builders.trade(number, source="rest")])
            self.missing.discard(number)

    def give_up(self) -> None:
        """Note that the exchange does not have a missing trade."""
        if self.missing:
            self.void.add(number := self.missing.pop())
            self.journal.append([segment.encode_note(1, "void", pair=PAIR, first_id=number, last_id=number)])

    def compact(self) -> None:
        while compact(self.archive, PAIR, today=date(9999, 1, 1)):
            pass

    def restart(self) -> None:
        """Die with a torn line at the end of the journal, and come back."""
        with segment.path_of(self.data / "journal", self.journal.number).open("ab") as file:
            file.write(b'{"recv_ns":1,"sou')
        self.journal.close()
        self.start()


@pytest.mark.parametrize("seed", range(3))
def test_looked_at_between_any_two_operations_of_the_daemon_every_trade_comes_once_in_order(
    tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, builders.trades(1, 10))
        opened.journal.close()
        disk = Observed()
        daemon = Daemon(tmp_path, disk, opened.archive.staging, random)
        watching, after = Watching(tmp_path, after=5), {PAIR: 5}
        resumed: list[int] = []
        looks = 0

        def look() -> None:
            """Look with the follower that goes on, or with one that was killed and resumes."""
            nonlocal looks, after
            looks += 1
            if looks % 3:
                watching.look(random.choice([0, 0, 0.5, 1]))
            elif looks % 2:
                another = Watching(tmp_path, after=after)
                resumed.extend(another.look())
                after = another.follower.after

        disk.look = look
        acts = [daemon.receive] * 5 + [daemon.drain, daemon.repair, daemon.give_up, daemon.compact, daemon.restart]
        for _ in range(16):
            random.choice(acts)()
        while daemon.missing:
            daemon.repair()
        disk.look = None
        watching.look()
        another = Watching(tmp_path, after=after)
        resumed += another.look()
        daemon.journal.close()
    assert watching.ids == resumed == [number for number in range(6, daemon.next_id) if number not in daemon.void]
    assert {number for one in watching.skipped for number in range(one.first_id, one.last_id + 1)} == daemon.void
    assert looks > 50
