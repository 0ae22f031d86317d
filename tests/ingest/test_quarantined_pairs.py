"""One bad file of one pair: its lines wait, all others are archived, and it heals by itself."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recorder import app
from recorder.archive import quarantine, read_trades
from recorder.archive.coverage import Coverage
from recorder.archive.datasets import TRADES
from recorder.archive.file_faults import Fault
from recorder.archive.footer import Footer
from recorder.archive.layout import Layout
from recorder.archive.parquet import read_facts
from recorder.archive.quarantine import QuarantinedRow, Reason
from recorder.core.ledger import Ledger
from recorder.errors import DiskAtFault, UnreadableFile
from recorder.ingest.drain import Drainer
from recorder.ingest.quarantined_pairs import RETRIES_S, HealthyPairs, QuarantinedPairs, patiently
from recorder.journal import segment
from recorder.ops.metrics import Metrics
from tests.builders import BTC, PAIR, Shop, frame, shop, trades
from tests.clocks import ManualClock

ETH = "ETH/USD"
Damage = Callable[[Path], object]


def line(first: int, last: int, pair: str = PAIR) -> bytes:
    content = frame(first, last).replace(b'"BTC/USD"', f'"{pair}"'.encode())
    return segment.encode(1_783_465_206_000_000_000 + last, "ws:trade:1", content, parsed=True)


class Bench:
    """An archive of two pairs, each with a file of ten trades, and what drains into it."""

    def __init__(self, opened: Shop) -> None:
        self.opened = opened
        opened.archive.append(PAIR, trades(1, 10))
        opened.archive.append(ETH, trades(1, 10, pair=ETH))
        self.start()

    def start(self) -> None:
        """Begin as a new process does, with nothing in memory."""
        opened = self.opened
        opened.archive.coverage = Coverage(opened.layout, opened.disk)
        self.ledger, self.quarantined = Ledger(), QuarantinedPairs(opened.layout)
        app.rebuild(self.ledger, opened.archive, opened.journal, self.quarantined)
        self.drainer = Drainer(
            opened.journal,
            opened.archive,
            opened.tables,
            keep_raw=False,
            latest_s=lambda: 1.0,
            metrics=Metrics(),
            quarantined=self.quarantined,
        )

    @property
    def file(self) -> Path:
        """The first file of the pair that gets damaged."""
        return min(self.opened.layout.trade_files(PAIR))

    def drain(self, *lines: bytes) -> None:
        self.drainer.heal()
        self.opened.journal.append(lines)
        self.opened.journal.rotate(2)
        self.drainer.drain(*self.opened.journal.closed())
        assert not self.opened.journal.closed()

    def held(self, pair: str) -> list[int]:
        return sorted(row.trade_id for row in read_trades.trades(self.opened.layout, pair))

    def waiting(self) -> list[QuarantinedRow]:
        return [one for one in quarantine.listed(self.opened.layout) if one.reason == Reason.WAITING]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with shop(tmp_path) as opened:
        yield Bench(opened)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def foreign(path: Path) -> None:
    path.unlink()
    pq.write_table(TRADES.columns.empty_table(), path)


def newer(path: Path) -> None:
    metadata = Footer("trades", PAIR).encode()
    (key, said), *_ = metadata.items()
    table = TRADES.columns.empty_table()
    path.unlink()
    schema = table.schema.with_metadata({key: said.replace(b'"schema":1', b'"schema":99')})
    pq.write_table(table.replace_schema_metadata(schema.metadata), path)


def misplaced(path: Path) -> None:
    other = path.parents[2] / "pair=ETH%2FUSD" / path.parent.name
    shutil.copy(min(other.iterdir()), path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def cut_off(path: Path) -> None:
    """Damage the folder and not the file: a link to a disk that is not mounted."""
    home = path.parents[1]
    shutil.rmtree(home)
    home.symlink_to("/nowhere/at/all")


def a_file_for_the_folder(path: Path) -> None:
    shutil.rmtree(path.parents[1])
    path.parents[1].write_bytes(b"what")


DAMAGES: Sequence[Damage] = (
    lambda path: path.write_bytes(b"PAR1"),
    lambda path: path.write_bytes(b""),
    cut,
    foreign,
    newer,
    misplaced,
    dangling,
    folder,
    pipe,
    cut_off,
    a_file_for_the_folder,
)
NAMES = ("short", "empty", "cut", "foreign", "newer", "misplaced", "dangling", "folder", "pipe", "cut off", "file")


@pytest.mark.parametrize("damage", DAMAGES, ids=NAMES)
def test_a_start_over_a_bad_file_of_one_pair_records_all_others(bench: Bench, damage: Damage) -> None:
    damage(bench.file)
    bench.start()
    bench.drain(line(11, 12), line(11, 13, ETH))
    assert bench.held(ETH) == list(range(1, 14))
    (fault,) = bench.quarantined.faults()
    assert fault.pair == PAIR
    assert "pair=BTC%2FUSD" in fault.file
    assert fault.problem
    assert fault.remedy
    (kept,) = bench.waiting()
    assert (kept.pair, kept.line) == (PAIR, line(11, 12).rstrip(b"\n"))
    assert [len(span) for span in kept.spans] == [2]


def test_a_junk_file_affects_its_pair_alone_until_it_is_removed(bench: Bench) -> None:
    stray = bench.file.with_name("junk.parquet")
    stray.write_bytes(b"junk")
    bench.start()
    bench.drain(line(11, 12), line(11, 12, ETH))
    bench.drain(line(13, 13))
    assert bench.held(ETH) == list(range(1, 13))
    stray.unlink()
    bench.drain(line(14, 14))
    assert bench.held(PAIR) == list(range(1, 15))
    assert PAIR not in bench.quarantined
    assert bench.quarantined.is_paused(PAIR)  # until its account is read anew
    touched = bench.drainer.touched()
    assert touched is not None
    assert PAIR in touched


def received(bench: Bench) -> dict[int, int | None]:
    return {row.trade_id: row.received_us for row in read_trades.trades(bench.opened.layout, PAIR)}


def test_what_waited_is_archived_once_with_its_receive_times_however_often(bench: Bench) -> None:
    whole = bench.file.read_bytes()
    bench.file.write_bytes(whole[:100])
    bench.start()
    bench.drain(line(9, 12))
    bench.drain(line(12, 14))
    bench.file.write_bytes(whole)
    assert bench.drainer.heal() == 4
    assert bench.held(PAIR) == list(range(1, 15))
    times = {one: rec for one, rec in received(bench).items() if one > 10}
    assert all(time is not None for time in times.values())
    bench.file.write_bytes(b"again")
    bench.start()
    bench.drain(line(15, 15))
    bench.file.write_bytes(whole)
    assert bench.drainer.heal() == 1
    assert bench.held(PAIR) == list(range(1, 16))


def test_lines_waiting_since_an_earlier_run_are_archived_once_repaired(bench: Bench) -> None:
    whole = bench.file.read_bytes()
    bench.file.write_bytes(b"PAR1")
    bench.start()
    bench.drain(line(11, 12))
    bench.file.write_bytes(whole)
    bench.start()
    assert PAIR not in bench.quarantined
    assert bench.quarantined.is_paused(PAIR)  # else it would be fetched, and its receive times lost
    bench.drain(line(13, 13))
    assert bench.held(PAIR) == list(range(1, 14))
    bench.start()
    assert not bench.quarantined.is_paused(PAIR)


def test_what_a_drain_that_failed_had_to_set_aside_is_set_aside_by_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = frame(11, 12).replace(b'"side":"buy"', b'"side":"hold"', 1)
    bench.opened.journal.append([segment.encode(1, "ws:trade:1", content)])
    bench.opened.journal.rotate(2)
    with monkeypatch.context() as patch:
        patch.setattr(bench.opened.archive, "append", broken)
        with pytest.raises(UnreadableFile):
            bench.drainer.drain(*bench.opened.journal.closed())
    bench.drainer.drain(*bench.opened.journal.closed())
    assert bench.held(PAIR) == [*range(1, 11), 12]
    assert Reason.ODD in [one.reason for one in quarantine.listed(bench.opened.layout)]


def broken(*_: object) -> object:
    raise UnreadableFile("a.parquet", "Input/output error", "check it") from OSError(errno.EIO, "Input/output error")


def test_damage_that_the_drain_meets_first_quarantines_there_and_then(bench: Bench) -> None:
    bench.opened.archive.coverage = Coverage(bench.opened.layout, bench.opened.disk)  # no footer is remembered
    bench.file.write_bytes(b"PAR1")
    bench.drain(line(11, 12), line(11, 12, ETH))
    assert [fault.pair for fault in bench.quarantined.faults()] == [PAIR]
    assert len(bench.waiting()) == 1
    assert bench.held(ETH) == list(range(1, 13))


def test_parked_ids_of_a_quarantined_pair_are_kept_too(bench: Bench) -> None:
    bench.file.write_bytes(b"PAR1")
    bench.start()
    bench.drain(segment.encode(5, "ws:parked:1?BTC%2FUSD=11", frame(11, 12)))
    assert [one.reason for one in quarantine.listed(bench.opened.layout)] == [Reason.PARKED]


def test_what_waits_is_durable_before_its_segment_is_retired(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.file.write_bytes(b"PAR1")
    bench.start()
    there: list[int] = []
    retire = bench.opened.journal.retire

    def look(path: Path, *, keep: bool) -> None:
        there.append(len(bench.waiting()))
        retire(path, keep=keep)

    monkeypatch.setattr(bench.opened.journal, "retire", look)
    bench.drain(line(11, 12))
    assert there == [1]


def test_what_waits_is_counted(bench: Bench) -> None:
    bench.file.write_bytes(b"PAR1")
    bench.start()
    metrics = Metrics()
    bench.quarantined.measured(metrics)
    bench.drain(line(11, 12))
    bench.quarantined.measure()
    text = metrics.text().decode()
    assert "recorder_quarantined_pairs 1.0" in text
    assert bench.quarantined.waiting_bytes > len(line(11, 12))
    assert quarantine.waiting(bench.opened.layout, [PAIR]) == {PAIR: (1, bench.quarantined.waiting_bytes)}


def test_so_many_bad_pairs_at_once_are_the_disks_fault_and_none_is_quarantined(bench: Bench) -> None:
    for name in ("A/USD", "B/USD", "C/USD"):
        bench.opened.archive.append(name, trades(1, 2, pair=name))
        min(bench.opened.layout.trade_files(name)).write_bytes(b"PAR1")
    with pytest.raises(DiskAtFault, match="3 of 5 pairs"):
        bench.start()
    assert not bench.quarantined.faults()
    lines = [line(3, 3, name) for name in ("A/USD", "B/USD", "C/USD")]
    bench.opened.archive.coverage = Coverage(bench.opened.layout, bench.opened.disk)
    bench.opened.journal.append(lines)
    bench.opened.journal.rotate(2)
    with pytest.raises(DiskAtFault):
        bench.drainer.drain(*bench.opened.journal.closed())
    assert len(bench.opened.journal.closed()) == 1
    assert not bench.waiting()


def test_a_file_that_the_disk_does_not_read_quarantines_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "recorder.archive.coverage.read_facts", lambda path: broken() if "BTC" in str(path) else read_facts(path)
    )
    with pytest.raises(UnreadableFile):
        bench.start()
    bench.opened.journal.append([line(11, 12)])
    bench.opened.journal.rotate(2)
    with pytest.raises(UnreadableFile):
        bench.drainer.drain(*bench.opened.journal.closed())
    assert not bench.quarantined.faults()
    assert len(bench.opened.journal.closed()) == 1
    monkeypatch.undo()
    bench.drainer.drain(*bench.opened.journal.closed())
    assert bench.held(PAIR) == list(range(1, 13))


async def test_the_disk_is_given_time_and_then_the_run_ends() -> None:
    clock, tries = ManualClock(eager=True), list[float]()

    def attempt(fails: int) -> Callable[[], Awaitable[int]]:
        async def once() -> int:
            tries.append(clock.monotonic())
            if len(tries) <= fails:
                raise DiskAtFault("no")
            return len(tries)

        return once

    assert await patiently(clock, attempt(2)) == 3
    assert tries == [0.0, *[sum(RETRIES_S[:number]) for number in (1, 2)]]
    tries.clear()
    with pytest.raises(DiskAtFault):
        await patiently(clock, attempt(99))
    assert len(tries) == len(RETRIES_S) + 1


def test_nothing_is_asked_of_a_quarantined_pair_until_its_account_is_that_of_the_disk(tmp_path: Path) -> None:
    quarantined = QuarantinedPairs(Layout(tmp_path))
    sound = HealthyPairs({PAIR: BTC}, quarantined)
    assert list(sound) == [PAIR]
    quarantined.found({PAIR: Fault(PAIR, "file", "is bad", "move it")}, of=9)
    assert (list(sound), len(sound), sound.get(PAIR), PAIR in sound) == ([], 0, None, False)
    quarantined.healed(PAIR)
    assert not list(sound)
    assert quarantined.restated([PAIR])
    assert not quarantined.restated([PAIR])
    assert sound[PAIR] == BTC
