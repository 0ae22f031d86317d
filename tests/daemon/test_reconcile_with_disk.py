from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec import structs

from recorder.archive import load_ledger, locks, stored_evidence
from recorder.archive.compaction import compact, compact_segments
from recorder.archive.coverage import Coverage
from recorder.archive.datasets import EVENTS, TRADES, Branch
from recorder.archive.disown import disown, reclaim
from recorder.archive.trades import TradeArchive
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Anchored, Confirmed, Promised, Void
from recorder.core.ledger import Ledger, PairLedger
from recorder.core.ledger_difference import LedgerClaims
from recorder.core.trade_ids import Span, Spans, runs_of
from recorder.daemon.reconcile_with_disk import ALL_S, LOOK_S, Reconcile
from recorder.history.join import join
from recorder.history.join import read as between
from recorder.ingest.commit import Commit
from recorder.ingest.drain import Drainer
from recorder.ingest.drain_schedule import DrainSchedule
from recorder.ingest.parked_ids import ParkedIds
from recorder.journal import live_read, segment
from recorder.kraken import records
from recorder.runtime.inbox import Inbound
from tests.builders import PAIR, Shop, frame, shop, trades
from tests.clocks import ManualClock, running, settle, settle_until
from tests.fakes import Fakes


def line(first: int, last: int) -> bytes:
    return segment.encode(1, "ws:trade:1", frame(first, last), parsed=True)


class Bench(Fakes):
    """What records, without an exchange; what is planned anew is written down."""

    def __init__(self, opened: Shop) -> None:
        super().__init__(clock=ManualClock())
        self.opened = opened
        self.planned: list[str] = []
        self.looked = 0
        self.commit = Commit(
            opened.journal,
            self.ledger,
            self.context,
            sync_every_s=0.1,
            hole_seen=lambda: None,
            parking=ParkedIds(self.ledger, lambda _: []),
        )
        self.reconcile = Reconcile(
            self.ledger,
            opened.archive,
            opened.journal,
            self.context,
            planner=self,
            drain_soon=self.commit.drain_due,
        )
        self.drainer = Drainer(
            opened.journal, opened.archive, opened.tables, keep_raw=False, latest_s=lambda: 1.0, metrics=self.metrics
        )
        self.drain = DrainSchedule(
            self.drainer,
            opened.journal,
            self.commit,
            every_s=lambda _: 300.0,
            pairs=[PAIR],
            drained=self.reconcile.drained,
            clock=self.clock,
        )

    def hole_seen(self) -> None:
        self.looked += 1

    def plan_anew(self, pair: str) -> None:
        self.planned.append(pair)

    async def receive(self, *spans: tuple[int, int]) -> None:
        for first, last in spans:
            self.inbox.add(Inbound(line(first, last), runs_of(trades(first, last))))
        await self.commit.flush()

    def found(self) -> PairLedger:
        """What a start would find."""
        disk = Ledger()
        load_ledger.load(disk, self.opened.layout, records.claims(live_read.entries(self.opened.layout.journal)))
        return disk.of(PAIR)

    @property
    def account(self) -> PairLedger:
        return self.ledger.of(PAIR)

    @property
    def holes(self) -> list[Span]:
        return [gap.span for gap in self.account.gaps()]

    def same(self) -> bool:
        disk, memory = self.found(), self.account
        return (disk.runs(), disk.void, disk.confirmed) == (memory.runs(), memory.void, memory.confirmed)

    def differences(self) -> float:
        return self.value("recorder_memory_differences_total") or 0.0

    async def pass_look(self, seconds: float = LOOK_S) -> None:
        """Let that much time pass, and the comparisons that are due then be done."""
        await self.idle()
        self.clock.move(seconds + 1)
        await self.idle()

    async def idle(self) -> None:
        """Let what is due be done."""
        await settle()
        await settle_until(lambda: len(self.clock.waking_ns) == 1)

    async def told(self) -> dict[str, Any]:
        """Return the one event that tells of a difference."""
        (event,) = self.noted(EventKind.MEMORY_DIFFERED)
        return event


@contextlib.asynccontextmanager
async def comparing(tmp_path: Path) -> AsyncIterator[Bench]:
    with shop(tmp_path) as opened:
        bench = Bench(opened)
        async with running(bench.reconcile):
            await bench.idle()
            yield bench


async def test_a_corrupt_line_in_a_closed_segment_is_missing_once_it_is_drained(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        await bench.receive((1, 10), (11, 20), (21, 30))
        await bench.commit.rotate()
        (path,) = bench.opened.journal.closed()
        content = path.read_bytes()
        path.write_bytes(content.replace(frame(11, 20), frame(11, 20).replace(b"63501.6", b"63501.7", 1)))
        await bench.drain.everything()
        await settle_until(lambda: bool(bench.planned))
        assert bench.holes == [Span(11, 20)]
        assert bench.same()
        assert (bench.planned, bench.differences()) == ([PAIR], 1)
        assert await bench.told() == {
            "kind": "memory_differed", "pair": PAIR,
            "first_id": 11, "last_id": 20, "held": 10, "void": 0, "not_fetched": 0,
        }  # fmt: skip


async def test_a_journal_segment_that_vanished_is_missing_at_the_next_drain(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        await bench.receive((1, 10))
        await bench.drain.everything()
        await bench.receive((11, 20))
        await bench.commit.rotate()
        await bench.receive((21, 30))
        (path,) = bench.opened.journal.closed()
        path.unlink()
        await bench.drain.everything()
        await settle_until(lambda: bool(bench.planned))
        assert bench.holes == [Span(11, 20)]
        assert bench.same()


async def test_the_open_segment_that_vanished_is_left_at_the_next_look(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        await bench.receive((1, 10))
        await bench.drain.everything()
        await bench.receive((11, 20))
        segment.path_of(bench.opened.layout.journal, bench.opened.journal.number).unlink()
        await bench.pass_look()
        assert bench.commit.drain_due.is_set()
        await bench.drain.everything()
        await bench.receive((21, 30))
        await settle_until(lambda: bool(bench.planned))
        assert bench.holes == [Span(11, 20)]
        assert bench.same()


async def test_a_trade_file_that_vanished_is_missing_at_the_next_look(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        for first in (1, 11, 21):
            await bench.receive((first, first + 9))
            await bench.drain.everything()
        await bench.receive((31, 40))  # in the journal
        await bench.pass_look()
        assert bench.holes == []
        bench.opened.layout.trade_files(PAIR)[1].unlink()
        await bench.pass_look()
        assert bench.holes == [Span(11, 20)]
        assert bench.same()
        assert (bench.planned, bench.differences()) == ([PAIR], 1)


async def test_a_file_that_gave_way_to_another_of_its_name_counts_for_what_it_holds(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        for first in (1, 11, 21):
            await bench.receive((first, first + 9))
            await bench.drain.everything()
        await bench.pass_look()
        lowest, second, _ = bench.opened.layout.trade_files(PAIR)
        second.write_bytes(lowest.read_bytes())
        await bench.pass_look()
        assert bench.holes == [Span(11, 20)]


async def test_a_vanished_pair_folder_is_reported_and_its_journal_still_counts(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        await bench.receive((1, 30))
        await bench.drain.everything()
        await bench.receive((31, 40))
        await bench.pass_look()
        shutil.rmtree(bench.opened.layout.pair_dir(PAIR))
        await bench.pass_look()
        assert list(bench.account.spans) == [Span(31, 40)]
        assert bench.same()
        told = await bench.told()
        assert (told["first_id"], told["last_id"], told["held"], told["not_fetched"]) == (1, 30, 30, 30)


async def test_what_another_process_adds_is_learnt_and_is_no_difference(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        await bench.receive((101, 110))
        await bench.drain.everything()
        await bench.pass_look()
        looked = bench.looked
        await bench.pass_look()
        assert bench.looked == looked, "nothing is new"
        other = TradeArchive(bench.opened.layout, bench.opened.disk, staging=bench.opened.archive.staging)
        other.append(PAIR, trades(1, 50))
        await bench.pass_look()
        assert bench.holes == [Span(51, 100)]
        assert (bench.looked, bench.planned, bench.differences()) == (looked + 1, [], 0)


async def test_rows_of_a_damaged_file_are_missing_until_it_is_restored(tmp_path: Path) -> None:
    pair, kept = "AAA/USD", tmp_path / "kept"
    async with comparing(tmp_path / "archive") as bench:
        account = functools.partial(bench.ledger.of, pair)
        for first in (1, 11, 31):
            bench.opened.archive.append(pair, trades(first, first + 9, pair=pair))
        await bench.pass_look()
        assert account().spans.count() == 30
        (path,) = [one for one in bench.opened.layout.trade_files(pair) if one.name.startswith("000000000011-")]
        shutil.copy(path, kept)
        path.write_bytes(b"no Parquet")
        await bench.pass_look()
        assert [gap.span for gap in account().gaps()] == [Span(11, 30)]
        assert [gap.span for gap in account().fetchable_gaps()] == [Span(21, 30)], "the file may come back"
        told = await bench.told()
        assert (told["pair"], told["first_id"], told["held"], told["not_fetched"]) == (pair, 11, 10, 10)
        assert (bench.planned, bench.differences()) == ([pair], 1)
        await bench.pass_look(ALL_S)
        assert bench.differences() == 1, "it is told once"
        assert bench.opened.archive.append(pair, trades(11, 22, pair=pair)).count() == 2, "nothing is held twice"
        shutil.copy(kept, path)
        await bench.pass_look()
        assert [gap.span for gap in account().gaps()] == [Span(23, 30)]
        assert not account().damaged
        path.write_bytes(b"no Parquet")
        await bench.pass_look()
        assert account().damaged.count() == 10
        path.unlink()
        await bench.pass_look()
        assert [gap.span for gap in account().fetchable_gaps()] == [Span(11, 20), Span(23, 30)], "it was moved away"


async def test_a_damaged_file_costs_its_own_rows_and_no_others(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        for pair in ("AAA/USD", "ZZZ/USD"):
            bench.opened.archive.append(pair, trades(1, 10, pair=pair))
        await bench.pass_look()
        bench.opened.layout.trade_files("AAA/USD")[0].write_bytes(b"no Parquet")
        bench.opened.layout.trade_files("ZZZ/USD")[0].unlink()
        bench.reconcile.drained(None)
        await settle_until(lambda: len(bench.planned) == 2)
        assert set(bench.planned) == {"AAA/USD", "ZZZ/USD"}
        assert not bench.ledger.of("AAA/USD").spans


async def test_what_was_known_of_ids_and_got_lost_is_taken_back_within_the_hour(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        await bench.receive((1, 10), (21, 30))
        await bench.notes.evidence(Void(PAIR, Span(11, 20)))
        await bench.notes.evidence(Confirmed(PAIR, 30, 1_783_465_300_000_000))
        await bench.commit.flush()
        await bench.drain.everything()
        await bench.pass_look()
        assert bench.holes == []
        assert bench.account.confirmed is not None
        for path in bench.opened.layout.files(Branch(EVENTS)):
            if path.name != "0.parquet" and "schema" not in path.name:
                path.unlink()
        await bench.pass_look(ALL_S)
        assert bench.holes == [Span(11, 20)]
        assert bench.account.confirmed is None
        assert bench.same()
        told = await bench.told()
        assert (told["held"], told["void"], told["confirmed_until"]) == (0, 10, "2026-07-07T23:01:40Z")


async def test_a_promise_that_got_lost_is_noted_again(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        await bench.notes.evidence(Promised(PAIR, 1_783_465_200_000_000))
        await bench.notes.evidence(Anchored(PAIR, 1_783_465_200_000_000, 10))
        await bench.receive((11, 20), (31, 40))
        await bench.drain.everything()
        await bench.pass_look()
        promised = bench.account.promise
        assert promised is not None
        for path in bench.opened.layout.files(Branch(EVENTS)):
            path.unlink()
        shutil.rmtree(bench.opened.layout.pair_dir(PAIR))
        await bench.pass_look(ALL_S)
        assert bench.account.promise is None
        await bench.commit.flush()
        assert bench.account.promise == promised
        assert bench.same()


async def test_what_comes_while_it_reads_is_kept_beside_what_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with comparing(tmp_path) as bench:
        for first in (1, 11, 21):
            await bench.receive((first, first + 9))
            await bench.drain.everything()
        await bench.pass_look()
        bench.opened.layout.trade_files(PAIR)[1].unlink()
        read, go_on = Coverage.files, asyncio.Event()
        loop = asyncio.get_running_loop()

        def held_up(coverage: Coverage, pair: str, **options: Any) -> Any:
            files = read(coverage, pair, **options)
            if not go_on.is_set():
                asyncio.run_coroutine_threadsafe(bench.receive((31, 40), (45, 50)), loop).result()
                loop.call_soon_threadsafe(go_on.set)
            return files

        monkeypatch.setattr(Coverage, "files", held_up)
        bench.reconcile.drained([PAIR])
        await settle_until(lambda: bool(bench.planned))
        assert bench.holes == [Span(11, 20), Span(41, 44)]
        assert bench.same()


class Busy:
    """A recorder at work: one step at each call, chosen by chance. All that it claims is on the disk."""

    def __init__(self, bench: Bench, random: Random) -> None:
        self._bench, self._random = bench, random
        self._next = self._lower = 500
        self.paused = False

    def step(self) -> None:
        if not self.paused:
            steps = (self._commit, self._commit, self._void, self._drain, self._fetch, self._compact, self._other)
            self.paused = True  # what it does may itself look
            self._random.choice(steps)()
            self.paused = False

    def _commit(self) -> None:
        first = self._next + self._random.choice((0, 0, 3))
        last = first + self._random.randrange(8)
        self._bench.opened.journal.append([line(first, last)])
        for run in runs_of(trades(first, last)):
            self._bench.ledger.observe(run)
        self._next = last + 1

    def _void(self) -> None:
        gaps = self._bench.account.gaps()
        if gaps:
            void = Void(PAIR, self._random.choice(gaps).span)
            note = segment.encode_note(1, "void", pair=PAIR, first_id=void.span.first, last_id=void.span.last)
            self._bench.opened.journal.append([note])
            self._bench.ledger.know(void)

    def _drain(self) -> None:
        self._bench.opened.journal.rotate(1)
        self._bench.drainer.drain(*self._bench.opened.journal.closed())

    def _fetch(self) -> None:
        gaps = self._bench.account.gaps()
        if gaps:
            span = self._random.choice(gaps).span
            rows = trades(span.first, span.last)
            self._bench.opened.archive.append(PAIR, rows)
            self._bench.ledger.observe_trades(rows)

    def _compact(self) -> None:
        opened = self._bench.opened
        compact(opened.archive, PAIR, today=date(2028, 1, 1))
        compact_segments(opened.tables.segments, Branch(EVENTS), today=date(2028, 1, 1))

    def _other(self) -> None:
        self._lower -= self._random.randrange(1, 6)
        opened = self._bench.opened
        other = TradeArchive(opened.layout, opened.disk, staging=opened.archive.staging)
        other.append(PAIR, trades(self._lower, self._lower + 1))


@contextlib.contextmanager
def busy_between_all_steps(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the recorder work before and after each step of a look."""

    def busy_around(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            busy.step()
            result = function(*arguments, **options)
            busy.step()
            return result

        return called

    with monkeypatch.context() as patched:
        patched.setattr("recorder.daemon.reconcile_with_disk.segment.segments", busy_around(segment.segments))
        patched.setattr("recorder.daemon.reconcile_with_disk.segment.entries", busy_around(segment.entries))
        patched.setattr(Coverage, "files", busy_around(Coverage.files))
        patched.setattr(stored_evidence.EvidenceReader, "read", busy_around(stored_evidence.EvidenceReader.read))
        yield


@pytest.mark.parametrize("seed", range(25))
def test_a_sound_archive_is_never_accused_whatever_is_done_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random = Random(seed)
    with shop(tmp_path) as opened:
        bench = Bench(opened)
        busy = Busy(bench, random)
        for _ in range(8):
            for _ in range(random.randrange(4)):
                busy.step()
            before = LedgerClaims.of(bench.account)
            with busy_between_all_steps(busy, monkeypatch):
                found = bench.reconcile._read([PAIR])
            assert not before.difference(LedgerClaims.of(found[PAIR])), "accused"
        busy.paused = True
        assert not LedgerClaims.of(bench.account).difference(LedgerClaims.of(bench.found()))


async def test_what_is_not_there_for_a_moment_is_sought_again_under_the_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where directories cannot be swapped in one step, a year is nowhere between two renames."""
    async with comparing(tmp_path) as bench:
        await bench.receive((1, 10))
        await bench.drain.everything()
        await bench.pass_look()
        (year,) = bench.opened.layout.years(PAIR)
        aside = year.with_name("aside")
        year.rename(aside)
        writing = locks.writing

        @contextlib.contextmanager
        def renamed_by_now(*arguments: Any) -> Iterator[None]:
            with writing(*arguments):
                if aside.exists() and arguments[2] == Branch(TRADES, PAIR):
                    aside.rename(year)
                yield

        monkeypatch.setattr(locks, "writing", renamed_by_now)
        await bench.pass_look()
        assert year.exists()
        assert bench.account.spans == Spans([Span(1, 10)])
        assert bench.differences() == 0


async def test_ids_that_are_disowned_beside_the_recorder_are_learnt_without_an_alarm(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        bench.opened.archive.append(PAIR, trades(1, 20))
        bench.ledger.observe_all(bench.found().runs())
        await bench.pass_look()
        ids = Spans([Span(7, 9), Span(20, 20)])
        disown(bench.opened.archive, PAIR, ids, now_us=5, reason="odd")
        await bench.pass_look()
        await settle_until(lambda: bench.account.disowned == ids)
        assert bench.same()
        assert (bench.holes, bench.planned, bench.differences()) == ([], [], 0)
        reclaim(bench.opened.archive, PAIR, ids, now_us=5)
        await bench.pass_look()
        await settle_until(lambda: not bench.account.disowned)
        assert list(bench.account.spans) == [Span(1, 20)]
        assert (bench.holes, bench.planned, bench.differences()) == ([], [], 0)


async def test_ids_that_are_joined_beside_the_recorder_become_gaps(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        archive = bench.opened.archive
        archive.append(PAIR, trades(50, 60))
        bench.ledger.observe_all(bench.found().runs())
        archive.append(PAIR, [structs.replace(one, source="bulk") for one in trades(1, 20)])
        await bench.pass_look()
        await settle_until(lambda: bench.account.imported == Spans([Span(1, 20)]))
        assert bench.account.gaps() == ()
        assert join(archive, between(archive, [PAIR]), {PAIR: 1}, 5) == {PAIR: 29}
        await bench.pass_look()
        await settle_until(lambda: [gap.span for gap in bench.account.gaps()] == [Span(21, 49)])
        assert bench.same()
        assert bench.differences() == 0


async def test_disowned_ids_that_come_again_are_held_until_the_drain_and_no_longer(tmp_path: Path) -> None:
    async with comparing(tmp_path) as bench:
        bench.opened.archive.append(PAIR, trades(1, 20))
        disown(bench.opened.archive, PAIR, Spans([Span(20, 20)]), now_us=5, reason="odd")
        bench.ledger.restate([bench.found()])
        await bench.receive((19, 21))
        await bench.commit.rotate()
        await bench.drain.everything()
        await settle_until(lambda: 20 not in bench.account.spans)
        assert bench.same()
        assert list(bench.account.disowned) == [Span(20, 20)]
        assert (bench.holes, bench.planned, bench.differences()) == ([], [], 0)
