from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from recorder import app, disk
from recorder.archive import merge_evidence, read_trades, stored_evidence
from recorder.archive.coverage import Coverage
from recorder.archive.datasets import BOOKS_JOURNAL, MARKET_JOURNAL
from recorder.archive.day_contents import held_days
from recorder.archive.event_rows import event
from recorder.archive.layout import Layout
from recorder.archive.locks import hold
from recorder.cli import merge as module
from recorder.cli.merge import merge
from recorder.clock import SystemClock
from recorder.core.certificate import DAY_US
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Certified, Joined, Void, detail, kind
from recorder.core.trade_ids import Span, Spans
from recorder.errors import ArchiveInUse, DiskError, NoSuchArchive, UsageError
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import book_lines, records
from recorder.ops import process_setup
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.archive.candles import rows
from tests.archives import START_US, book_row, candle, frame, quote, trade, trades, writing
from tests.builders import instrument, listing_body
from tests.end_to_end.harness import Process, archived, caught_up, config_for, environ_for, recording, until
from tests.history import classic


@pytest.fixture(autouse=True)
def unprepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process as it is; the verb has one of its own."""
    monkeypatch.setattr(process_setup, "prepare", lambda: None)


def run(other: Path, data: Path, **options: Any) -> int:
    """Run the verb; return its exit code."""
    try:
        merge(other, data, **{"dry_run": False, "as_json": False, **options})
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def ids(data: Path, pair: str = "BTC/USD") -> list[int]:
    return sorted(row.trade_id for row in read_trades.trades(Layout(data), pair))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two archives: ids 1 to 10 of BTC/USD here, 6 to 20 there and 21 to 25 in its journal, ETH/USD only there."""
    with writing(tmp_path / "a") as mine:
        mine.append(trades(1, 10))
        mine.listed("BTC/USD", 1)
    with writing(tmp_path / "b") as theirs:
        theirs.append(trades(6, 20))
        theirs.append(trades(1, 5, pair="ETH/USD"))
        theirs.published([candle(1), candle(2)])
        theirs.listed("ETH/USD", 2)
        theirs.quoted([quote(START_US, message, START_US + message) for message in range(3)])
        theirs.booked([book_row(START_US, message, START_US + message) for message in range(3)])
        theirs.journalled(trades(24, 25))
        theirs.journalled(trades(20, 24))
    return tmp_path / "a", tmp_path / "b"


def tree(data: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in data.rglob("*")
    }


def test_what_was_certified_comes_with_days_of_which_the_rows_are_the_same_here_and_of_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [START_US // DAY_US * DAY_US + number * DAY_US for number in range(6)]
    made = [trade(1 + 10 * number + n, day_us + n) for number, day_us in enumerate(days) for n in range(3)]
    with writing(tmp_path / "b") as theirs:
        theirs.append(made)
        held = held_days(Coverage(Layout(tmp_path / "b")).files("BTC/USD"), Span(days[0] // DAY_US, days[-1] // DAY_US))
        of_day = [
            Certified("BTC/USD", day, 1, rows.rows, rows.first_id, rows.last_id, rows.sha256 or "")
            for day, rows in held.items()
        ]
        # Of the third other rows were certified; of the fourth fewer, and then all.
        of_day[2] = msgspec.structs.replace(of_day[2], sha256="0" * 64)
        of_day.append(msgspec.structs.replace(of_day[3], revision=2))
        of_day[3] = msgspec.structs.replace(of_day[3], rows=2, sha256="1" * 64)
        theirs.noted(*(event(START_US, kind(one), one.pair, **detail(one)) for one in of_day))
    with writing(tmp_path / "a") as mine:
        # A row of the second day came before, and one of the sixth by the stream, a microsecond away.
        mine.append([made[4], msgspec.structs.replace(made[15], time_us=made[15].time_us + 1, source="ws")])
        mine.noted(event(START_US, kind(of_day[4]), "BTC/USD", **detail(of_day[4])))
    for count in (4, 0):
        assert run(tmp_path / "b", tmp_path / "a", as_json=True) == 0
        assert json.loads(capsys.readouterr().out)["certified_days_added"] == count
    remembered = stored_evidence.certified(Layout(tmp_path / "a")).of("BTC/USD")
    assert sorted((one.day, one.revision) for one in remembered) == [
        (of_day[0].day, 1), (of_day[1].day, 1), (of_day[3].day, 2), (of_day[4].day, 1), (of_day[5].day, 1)
    ]  # fmt: skip


def test_a_day_of_which_the_rows_come_by_several_merges_is_certified_and_void_ids_come_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def merged() -> dict[str, int]:
        assert run(tmp_path / "b", tmp_path / "a", as_json=True) == 0
        report = json.loads(capsys.readouterr().out)
        return {what: report[what] for what in ("certified_days_added", "void_ids_added")}

    with writing(tmp_path / "b") as theirs:
        theirs.append(trades(1, 4))
    assert merged() == {"certified_days_added": 0, "void_ids_added": 0}
    with writing(tmp_path / "b") as theirs:
        theirs.append(trades(7, 9))
        ((day, rows),) = held_days(
            Coverage(Layout(tmp_path / "b")).files("BTC/USD"), Span(START_US // DAY_US, START_US // DAY_US)
        ).items()
        certificate = Certified("BTC/USD", day, 1, rows.rows, rows.first_id, rows.last_id, rows.sha256 or "")
        void = Void("BTC/USD", Span(5, 6))
        theirs.noted(*(event(START_US, kind(one), one.pair, **detail(one)) for one in (void, certificate)))
    assert merged() == {"certified_days_added": 1, "void_ids_added": 2}
    monkeypatch.setattr(merge_evidence, "held_days", None)  # a second look at the day would need it
    assert merged() == {"certified_days_added": 0, "void_ids_added": 0}
    assert stored_evidence.read(Layout(tmp_path / "a")).void == {"BTC/USD": Spans([Span(5, 6)])}


def test_small_files_that_many_merges_left_become_one(two: tuple[Path, Path]) -> None:
    mine, theirs = two
    with writing(mine) as archive:
        for number in range(20):
            archive.noted(
                event(START_US + number, EventKind.VOID, "BTC/USD", first_id=100 + number, last_id=100 + number)
            )
            archive.published([candle(100 + number)])
    assert run(theirs, mine) == 0
    assert len(list((mine / "events" / "year=2025").glob("*.parquet"))) == 1
    assert len(list((mine / "ohlc" / "timeframe=1m" / "year=2025").glob("*.parquet"))) == 2, "and what came now"
    assert (len(rows(mine, "events")), len(rows(mine, "ohlc"))) == (20, 22)


def test_all_that_the_other_holds_comes_and_the_other_stays_as_it_is(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = two
    before = tree(theirs)
    assert run(theirs, mine, dry_run=True, as_json=True) == 0
    looked = json.loads(capsys.readouterr().out)
    assert ids(mine) == list(range(1, 11))
    assert run(theirs, mine) == 0
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "BTC/USD 15 6 0" in said
    assert "ETH/USD 5 0 0" in said
    history = "0 trades of history files, 0 candles of history files"
    came = "2 candles, 3 quotes, 1 sessions of quotes, 3 rows of books, 1 sessions of books, "
    came += f"{history}, 1 listings"
    came += ", what was certified of 0 days and 0 void ids added"
    assert f"{came}; other events are not merged" in said
    assert tree(theirs) == before
    assert ids(mine) == list(range(1, 26))
    assert ids(mine, "ETH/USD") == list(range(1, 6))
    assert len(rows(mine, "ohlc")) == 2
    assert {pair["pair"]: pair["added"] for pair in looked["pairs"]} == {"BTC/USD": 15, "ETH/USD": 5}
    assert (looked["candles_added"], looked["listings_added"], looked["dry_run"]) == (2, 1, True)
    assert run(theirs, mine, as_json=True) == 0
    again = json.loads(capsys.readouterr().out)
    assert [pair["added"] for pair in again["pairs"]] == [0, 0]
    assert (again["candles_added"], again["listings_added"]) == (0, 0)
    assert (again["quotes_added"], again["sessions_of_quotes_added"], again["quotes_in_journal"]) == (0, 0, 0)
    assert (again["rows_of_books_added"], again["sessions_of_books_added"]) == (0, 0)
    assert again["messages_of_books_in_journal"] == 0


def test_what_came_from_history_files_comes_with_what_was_joined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = classic.tape(60, 3)
    for name, part in (("a", tape[:40]), ("b", tape[10:])):
        classic.imported(tmp_path / name, classic.entry(tmp_path / f"in{name}" / "AB.csv", part))
    with writing(tmp_path / "b") as theirs:
        theirs.append(trades(5, 9))
        joined = Joined("BTC/USD", 4, START_US)
        theirs.noted(event(START_US, kind(joined), "BTC/USD", **detail(joined)))
    keys = ("trades_of_history_files_added", "candles_of_history_files_added", "joined_pairs_added")
    for dry_run, found in ((True, (20, 0, 0)), (False, (20, 0, 1)), (False, (0, 0, 0))):
        assert run(tmp_path / "b", tmp_path / "a", dry_run=dry_run, as_json=True) == 0
        report = json.loads(capsys.readouterr().out)
        assert tuple(report[key] for key in keys) == found
    assert classic.stored(tmp_path / "a") == classic.by_day(tape)


def test_a_dry_run_into_nothing_makes_nothing_and_a_merge_makes_an_archive(two: tuple[Path, Path]) -> None:
    _, theirs = two
    new = theirs.parent / "new"
    assert run(theirs, new, dry_run=True) == 0
    assert not new.exists()
    assert run(theirs, new) == 0
    assert ids(new) == list(range(6, 26))


def test_what_they_disagree_on_is_listed_and_exits_1(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = two
    with writing(mine) as archive:
        archive.append([trade(20, price="7"), trade(22, price="8")])
    assert run(theirs, mine) == 1
    said = capsys.readouterr().out
    assert "BTC/USD 20 price: 7 here, 100 there" in said
    assert "BTC/USD 22 price: 8 here, 100 there" in said
    assert "the stored content stays" in said
    kept = {row.trade_id: row.price for row in read_trades.trades(Layout(mine), "BTC/USD")}
    assert (kept[20], kept[22]) == (Decimal(7), Decimal(8))
    monkeypatch.setattr(module, "LISTED", 1)
    assert run(theirs, mine, as_json=True) == 1
    content = json.loads(capsys.readouterr().out)
    assert len(content["listed"]) == 1
    assert content["disagreements"] == 3, "20 lies in the journal and in the archive there"
    assert content["listed"][0] == {"pair": "BTC/USD", "trade_id": 20, "field": "price", "ours": "7", "theirs": "100"}


def test_what_waits_in_the_other_journal_is_said_and_what_is_in_our_own_does_not_come(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = two
    for data, journalled in ((mine, range(1, 3)), (theirs, range(3, 7))):
        journal = Journal(data, disk.Disk(), staging=data, now_ns=1, journal=MARKET_JOURNAL)
        sources = [records.numbered_source("ticker", 1, {"BTC/USD": (START_US, message)}) for message in journalled]
        top = b'{"symbol":"BTC/USD","bid":1,"bid_qty":1,"ask":2,"ask_qty":1,"last":1}'
        said_so = b'{"channel":"ticker","type":"update","data":[%b]}' % top
        journal.append([segment.encode(START_US * 1000, source, said_so) for source in sources])
        journal.close()
        journal = Journal(data, disk.Disk(), staging=data, now_ns=1, journal=BOOKS_JOURNAL)
        change = b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":1}]}'
        places = [f"{book_lines.named('BTC/USD', START_US)}{message}" for message in journalled]
        journal.append([segment.encode(START_US * 1000, records.book_source(1, one), change) for one in places])
        journal.close()
    with writing(theirs) as archive:
        archive.journal.append([segment.encode(1, "rest:/0/public/OHLC?pair=XBTUSD&interval=1#BTC%2FUSD", b"{}")])
        listing = listing_body([instrument("SOL/USD")])
        archive.journal.append([segment.encode(1, "rest:/0/public/AssetPairs", listing)])
        archive.journal.append([segment.encode(1, "ws:trade:1", b"{}", parsed=True), b"torn"])
    assert run(theirs, mine) == 0
    said = capsys.readouterr().out
    assert "1 answers with candles wait in" in said
    assert "4 quotes wait in" in said
    assert "4 messages of books wait in" in said
    came = "1 quotes, 1 sessions of quotes, 1 rows of books, 1 sessions of books, "
    assert came in said, "our own drain brings the others"
    assert "2 listings, what was certified of" in said, "one waits in the journal too"
    assert {row["pair"] for row in rows(mine, "instruments")} == {"BTC/USD", "ETH/USD", "SOL/USD"}


def test_a_file_that_is_not_sound_is_named_and_exits_1(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = two
    (path,) = Layout(theirs).trade_files("ETH/USD")
    (published,) = (theirs / "ohlc" / "timeframe=1m" / "year=2025").glob("*.parquet")
    for one in (path, published):
        one.write_bytes(b"junk")
    assert run(theirs, mine) == 1
    said = capsys.readouterr().out
    for one in (path, published):
        assert f"{one} is" in said
        assert said.count(str(one)) == 1
    assert ids(mine) == list(range(1, 26))


def test_a_pair_with_untrusted_files_is_refused_and_all_others_are_merged(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = two
    (path,) = Layout(mine).trade_files("BTC/USD")
    path.write_bytes(b"PAR1")
    assert run(theirs, mine) == 1
    said = capsys.readouterr().out
    assert f"{path} is not a complete Parquet file" in said
    assert "`received`" in said
    assert Layout(mine).trade_files("BTC/USD") == [path]
    assert ids(mine, "ETH/USD") == list(range(1, 6))


def test_what_cannot_be_done_is_told_in_a_sentence(two: tuple[Path, Path]) -> None:
    mine, theirs = two
    with pytest.raises(UsageError, match="is the archive itself"):
        run(mine, mine)
    with pytest.raises(NoSuchArchive, match="there is no archive at"):
        run(mine / "nowhere", mine)
    with hold(Layout(mine).locks / "merge.lock"), pytest.raises(ArchiveInUse, match="another merge into"):
        run(theirs, mine)


@pytest.fixture
def read_only(two: tuple[Path, Path]) -> Iterator[Path]:
    """The other archive on a file system that takes no writes."""
    _, theirs = two
    at = theirs.parent / "read-only"
    at.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(at)], capture_output=True, check=False).returncode:
        pytest.skip("a read-only disk must be mounted for this test, which is not allowed here")
    try:
        shutil.copytree(theirs, at / "b")
        subprocess.run(["mount", "-o", "remount,ro", str(at)], check=True)
        yield at / "b"
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def test_an_archive_on_a_read_only_disk_can_be_merged(two: tuple[Path, Path], read_only: Path) -> None:
    mine, _ = two
    assert run(read_only, mine) == 0
    assert ids(mine) == list(range(1, 26))


def test_it_leaves_the_archive_of_another_user_alone(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = two

    def refuse(data: Path) -> None:
        raise UsageError(f"the archive {data} belongs to another user")

    monkeypatch.setattr(process_setup, "as_owner", refuse)
    with pytest.raises(UsageError, match=f"{mine} belongs to another user"):
        run(theirs, mine)
    assert ids(mine) == list(range(1, 11))
    assert run(theirs, mine, dry_run=True) == 0


def test_on_a_low_disk_it_ends_and_goes_on_once_there_is_room(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = two
    with monkeypatch.context() as low:
        low.setattr(disk, "room", lambda _: disk.Room(1_900_000_000, 100_000_000_000))
        with pytest.raises(DiskError, match=r"BTC/USD: stopped with 0 of .* 1,900\.0 MB left") as told:
            run(theirs, mine)
        assert told.value.exit_code == 4
        assert run(theirs, mine, dry_run=True) == 0
    assert ids(mine) == list(range(1, 11))
    assert run(theirs, mine) == 0
    assert ids(mine) == list(range(1, 26))


def test_live_rows_keep_when_and_how_they_came(two: tuple[Path, Path]) -> None:
    mine, theirs = two
    with writing(theirs) as archive:
        archive.journal.append([segment.encode(START_US * 1000, "ws:trade:1", frame([trade(30)]), parsed=True)])
    assert run(theirs, mine) == 0
    (row,) = [row for row in read_trades.trades(Layout(mine), "BTC/USD") if row.trade_id == 30]
    assert row == msgspec.structs.replace(trade(30), source="ws", received_us=START_US)


async def test_what_it_writes_is_its_users_alone(two: tuple[Path, Path]) -> None:
    mine = two[0].parent / "new"
    merging = Process("merge", str(two[1]), "--data", str(mine), cwd=two[0])
    try:
        assert await merging.ended() == 0, merging.said
    finally:
        merging.close()
    assert {path for path in [mine, *mine.rglob("*")] if path.stat().st_mode & 0o077} == set()


async def test_two_archives_with_gaps_are_merged_beside_a_running_daemon(
    tmp_path: Path,
) -> None:
    clock = SystemClock()
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=500), clock=clock, truth=tmp_path / "truth")
    first, second = tmp_path / "a", tmp_path / "b"
    async with sandbox.serve():
        async with recording(config_for(sandbox, second)):
            await until(lambda: caught_up_some(second), what="the second records")
        for pair in sandbox.last_ids():
            sandbox.burst(pair, 100)  # more than a snapshot brings: neither has them
        async with recording(config_for(sandbox, first, drain_every_s=0.2), app.Intervals(maintenance_s=0.2)):
            await until(lambda: caught_up_some(first), what="the first records")
            merging = Process("merge", str(second), "--data", str(first), cwd=tmp_path, **environ_for(sandbox))
            try:
                assert await merging.ended() == 0, merging.said
            finally:
                merging.close()
            sandbox.freeze()
            await until(lambda: caught_up(first, sandbox.last_ids()), what="every hole is closed")
    theirs = {(row.pair, row.trade_id) for row in archived(second)}
    found = archived(first)
    assert theirs <= {(row.pair, row.trade_id) for row in found}
    verdict = compare(found, read_truth(tmp_path / "truth"))
    assert verdict.duplicated == verdict.altered == 0, str(verdict)


def caught_up_some(data: Path) -> bool:
    return (data / "trades").is_dir() and len(segment.segments(data / "journal")) > 0 and bool(_journalled(data))


def _journalled(data: Path) -> list[str]:
    return Layout(data).pairs() or [p.name for p in segment.segments(data / "journal") if p.stat().st_size > 20_000]
