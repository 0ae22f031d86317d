from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, cast

import pytest

from recorder.core.evidence import Anchored, Promise, Promised, Void
from recorder.core.trade_ids import Run, Span, runs_of
from recorder.errors import DiskError
from recorder.ingest import commit as commit_module
from recorder.ingest.commit import Commit
from recorder.ingest.parked_ids import ParkedIds
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.runtime.inbox import CROWDED, Inbound
from tests.builders import PAIR, trades
from tests.clocks import asleep, settle, settle_until
from tests.fakes import Fakes


class SlowJournal:
    """A journal whose sync takes as long as the test wants, and may fail."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.error: Exception | None = None
        self.appended: list[list[bytes]] = []
        self.rotations = 0

    def append(self, lines: Iterable[bytes]) -> None:
        assert self.release.wait(30)
        if self.error:
            raise self.error
        self.appended.append(list(lines))

    def rotate(self, now_ns: int) -> None:
        self.rotations += 1


class Bench(Fakes):
    def __init__(self) -> None:
        super().__init__()
        self.journal, self.holes = SlowJournal(), 0
        self.commit = Commit(
            cast("Journal", self.journal),
            self.ledger,
            self.context,
            sync_every_s=0.1,
            hole_seen=self.saw_hole,
            parking=ParkedIds(self.ledger, lambda _: []),
        )

    def saw_hole(self) -> None:
        self.holes += 1

    def held(self) -> list[Span]:
        return list(self.ledger.of(PAIR).spans)


async def test_nothing_counts_as_held_before_its_sync_has_returned() -> None:
    bench = Bench()
    await bench.inbox.put(Inbound(b"a\n", runs_of(trades(1, 3))))
    flushing = asyncio.create_task(bench.commit.flush())
    await settle_until(lambda: bench.inbox.size == 0)
    assert bench.held() == []
    assert bench.value("recorder_trades_total", source="ws") == 0
    bench.journal.release.set()
    await flushing
    assert bench.held() == [Span(1, 3)]
    assert bench.value("recorder_trades_total", source="ws") == 3


async def test_what_waits_is_committed_in_one_sync() -> None:
    bench = Bench()
    bench.journal.release.set()
    for number in range(100):
        await bench.inbox.put(Inbound(b"%d\n" % number, runs_of(trades(number + 1, number + 1))))
    await bench.commit.flush()
    assert [len(lines) for lines in bench.journal.appended] == [100]


async def test_a_sync_that_fails_claims_nothing_and_is_not_swallowed() -> None:
    bench = Bench()
    bench.journal.error = DiskError("cannot sync journal: No space left on device")
    bench.journal.release.set()
    await bench.inbox.put(Inbound(b"a\n", runs_of(trades(1, 3))))
    with pytest.raises(DiskError):
        await bench.commit.run()
    assert bench.held() == []


async def test_a_jump_of_ids_and_a_first_trade_are_told_and_an_unbroken_run_is_not() -> None:
    bench = Bench()
    bench.journal.release.set()
    await bench.inbox.put(Inbound(b"a\n", runs_of(trades(1, 3))))
    await bench.commit.flush()
    assert bench.holes == 1, "history may be wanted before the first"
    await bench.inbox.put(Inbound(b"b\n", runs_of(trades(4, 6))))
    await bench.commit.flush()
    assert bench.holes == 1
    await bench.inbox.put(Inbound(b"c\n", runs_of(trades(10, 10))))
    await bench.commit.flush()
    assert bench.holes == 2


async def test_many_journalled_trades_ask_for_a_drain_and_rotating_answers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_module, "DRAIN_TRADES", 5)
    monkeypatch.setattr(commit_module, "DRAIN_ROWS_EACH", 5)
    bench = Bench()
    bench.journal.release.set()
    await bench.inbox.put(Inbound(b"a\n", runs_of(trades(1, 4))))
    await bench.commit.flush()
    assert not bench.commit.drain_due.is_set()
    await bench.inbox.put(Inbound(b"b\n", runs_of(trades(5, 5))))
    await bench.commit.flush()
    assert bench.commit.drain_due.is_set()
    await bench.commit.rotate()
    assert not bench.commit.drain_due.is_set()
    assert bench.journal.rotations == 1


def test_the_trades_that_are_enough_go_by_the_pairs_between_two_bounds() -> None:
    assert [commit_module.enough(pairs) for pairs in (0, 40, 50, 200, 1_000)] == [
        200_000, 200_000, 250_000, 1_000_000, 1_000_000,
    ]  # fmt: skip


async def test_many_pairs_wait_until_a_drain_brings_enough_rows_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_module, "DRAIN_TRADES", 5)
    monkeypatch.setattr(commit_module, "DRAIN_ROWS_EACH", 4)
    bench = Bench()
    bench.journal.release.set()
    for pair, last_id, due in [("BTC/USD", 5, True), ("ETH/EUR", 2, False), ("BTC/USD", 6, True)]:
        await bench.inbox.put(Inbound(b"a\n", runs_of(trades(1, last_id, pair=pair))))
        await bench.commit.flush()
        assert bench.commit.drain_due.is_set() is due, "of all pairs that have traded since the last one"
        if pair == "BTC/USD":
            await bench.commit.rotate()


async def test_enough_bytes_close_a_segment_without_requesting_a_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commit_module, "ROTATE_BYTES", 20)
    monkeypatch.setattr(commit_module, "ROTATE_HELD_BYTES", 10)
    bench = Bench()
    bench.journal.release.set()
    came: list[tuple[Literal["ws", "rest", "note"], int]]
    came = [("rest", 0), ("ws", 0), ("note", 1), ("rest", 1), ("rest", 2)]
    came += [("ws", 2), ("rest", 2), ("ws", 2), ("ws", 3), ("ws", 3)]
    for source, rotations in came:
        await bench.inbox.put(Inbound(b"1234\n", [], source=source))
        await bench.commit.flush()
        assert bench.journal.rotations == rotations, "counted anew since the rotation"
        assert not bench.commit.drain_due.is_set()


async def test_syncs_are_at_least_sync_every_apart_while_little_waits() -> None:
    bench = Bench()
    bench.journal.release.set()
    running = asyncio.create_task(bench.commit.run())
    await bench.inbox.put(Inbound(b"a\n", []))
    await asleep(bench.clock)  # only then has what the thread appended been counted as well
    assert len(bench.journal.appended) == 1
    await bench.inbox.put(Inbound(b"b\n", []))
    await settle()
    assert len(bench.journal.appended) == 1
    bench.clock.move(0.1)
    await settle_until(lambda: len(bench.journal.appended) == 2)
    running.cancel()
    await asyncio.wait([running])


async def test_an_inbox_that_is_crowded_waits_for_no_clock() -> None:
    bench = Bench()
    running = asyncio.create_task(bench.commit.run())
    await bench.inbox.put(Inbound(b"a\n", []))
    await settle_until(lambda: bench.inbox.size == 0)
    for line in (b"b", b"c"):  # they come while the first is being synced, and after
        await bench.inbox.put(Inbound(line * (bench.inbox.limit // CROWDED), []))
        bench.journal.release.set()
        await settle_until(lambda: bench.inbox.size == 0)
    await settle_until(lambda: len(bench.journal.appended) == 3)
    await bench.inbox.put(Inbound(b"d\n", []))
    await settle()
    assert bench.inbox.size == 2, "what comes after that waits for the clock again"
    running.cancel()
    await asyncio.wait([running])


async def test_what_a_note_tells_of_ids_counts_once_it_is_durable_and_wakes_the_repair() -> None:
    bench = Bench()
    await bench.inbox.put(Inbound(b"a\n", [], Void(PAIR, Span(5, 6))))
    flushing = asyncio.create_task(bench.commit.flush())
    await settle_until(lambda: bench.inbox.size == 0)
    assert not bench.ledger.of(PAIR).void
    bench.journal.release.set()
    await flushing
    assert list(bench.ledger.of(PAIR).void) == [Span(5, 6)]
    assert bench.holes == 1


async def test_lines_trades_and_bytes_are_counted_by_where_they_came_from() -> None:
    bench = Bench()
    bench.journal.release.set()
    for inbound in (
        Inbound(b"ab\n", runs_of(trades(1, 3))),
        Inbound(b"note\n", [], source="note"),
        Inbound(b"page\n", runs_of([*trades(3, 4), *trades(8, 8)]), source="rest"),
        Inbound(b"cd\n", runs_of(trades(5, 5))),
    ):
        await bench.inbox.put(inbound)
    await bench.commit.flush()
    counted = [
        [bench.value(f"recorder_{name}_total", source=source) for name in ("frames", "trades", "journal_written_bytes")]
        for source in ("ws", "rest", "note")
    ]
    assert counted == [[2, 4, 6], [1, 3, 5], [1, 0, 5]]


async def test_latencies_are_of_the_oldest_line_and_the_newest_live_trade() -> None:
    bench = Bench()
    bench.journal.release.set()
    now_ns = bench.clock.wall_ns()

    def lived(age_s: float, trade_age_s: float, kind: str = "update") -> Inbound:
        received_ns = now_ns - int(age_s * 1e9)
        made_us = (received_ns - int(trade_age_s * 1e9)) // 1000
        line = segment.encode(received_ns, "ws:trade:1", b'{"channel":"trade","type":"%b"}' % kind.encode())
        return Inbound(line, [Run(PAIR, Span(1, 1), made_us, made_us)])

    for inbound in (lived(4, 50), lived(2, 0.25), Inbound(b"", [], source="note")):
        await bench.inbox.put(inbound)
    await bench.commit.flush()
    assert bench.value("recorder_receive_to_durable_seconds_sum") == pytest.approx(4)
    assert bench.value("recorder_exchange_to_receive_seconds_sum") == pytest.approx(0.25, abs=1e-5)
    await bench.inbox.put(lived(1, 3600, "snapshot"))
    await bench.commit.flush()
    assert bench.value("recorder_exchange_to_receive_seconds_count") == 1
    await bench.inbox.put(lived(-5, -9))  # the host's clock stepped back: a latency is never negative
    await bench.commit.flush()
    assert bench.value("recorder_receive_to_durable_seconds_sum") == pytest.approx(5)
    assert bench.value("recorder_exchange_to_receive_seconds_sum") == pytest.approx(0.25, abs=1e-5)


async def test_unsynced_data_ages_while_the_sync_hangs_or_the_journal_is_busy() -> None:
    bench = Bench()
    running = asyncio.create_task(bench.commit.run())
    await settle()
    bench.clock.move(1000)
    assert bench.commit.unsynced_s() == 0  # nothing waits
    await bench.inbox.put(Inbound(b"a\n", []))
    assert bench.commit.unsynced_s() == 0  # it has just come
    await settle_until(lambda: bench.inbox.size == 0)
    bench.clock.move(7)
    assert bench.commit.unsynced_s() == 7
    assert bench.value("recorder_journal_unsynced_seconds") == 7
    bench.journal.release.set()
    await asleep(bench.clock)  # or the time that passes now is none of its pause
    assert bench.commit.unsynced_s() == 0
    bench.clock.move(1)
    await settle()
    async with bench.commit.writing:
        await bench.inbox.put(Inbound(b"b\n", []))
        await settle()
        bench.clock.move(30)
        assert bench.commit.unsynced_s() == 30
    running.cancel()
    await asyncio.wait([running])


async def test_who_waits_for_a_note_waits_until_it_is_durable_and_counts() -> None:
    bench = Bench()
    waiting = asyncio.create_task(bench.notes.durable_evidence([Promised(PAIR, 5), Anchored(PAIR, 5, 7)]))
    gone = asyncio.create_task(bench.notes.durable_evidence([Promised("ETH/USD", 5)]))
    await settle()
    gone.cancel()
    flushing = asyncio.create_task(bench.commit.flush())
    await settle_until(lambda: bench.inbox.size == 0)
    assert not waiting.done()
    bench.journal.release.set()
    await flushing
    await waiting
    assert bench.ledger.of(PAIR).promise == Promise(5, 7)
    assert bench.ledger.of("ETH/USD").promise == Promise(5)


@pytest.mark.parametrize("begun", [False, True], ids=["before the write begins", "while it runs"])
async def test_what_a_cancelled_commit_has_taken_is_journalled_before_anything_else_is(*, begun: bool) -> None:
    bench = Bench()
    with ThreadPoolExecutor(1) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        if not begun:  # the only thread is busy
            threads.submit(bench.journal.release.wait)
        await bench.inbox.put(Inbound(b"a\n", []))
        committing = asyncio.create_task(bench.commit.run())
        await settle_until(lambda: bench.inbox.size == 0)
        committing.cancel()
        await bench.inbox.put(Inbound(b"b\n", []))
        flushing = asyncio.create_task(bench.commit.flush())
        await settle()
        bench.journal.release.set()
        await asyncio.wait([committing, flushing])
        assert bench.journal.appended == [[b"a\n"], [b"b\n"]]
        assert committing.cancelled()
