"""The process that records quotes: when it ends, and what the recorder need not load for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import structlog

import recorder
from recorder.archive import locks, open_archive
from recorder.archive.datasets import BOOKS_JOURNAL, MARKET_JOURNAL, Branch
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.config import ArchiveConfig, BooksConfig, Config, ExchangeConfig, QuotesConfig
from recorder.daemon import child_messages
from recorder.disk import Disk
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.journal.live_read import has_lines
from recorder.market import Report, listen, record
from recorder.runtime.stop import Stop
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.archives import START_US, quote, writing
from tests.end_to_end.harness import REPOSITORY, config_for, until

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "recorder.market"], stdin=-1, stdout=-1)
child.stdin.write(sys.argv[1].encode())
child.stdin.flush()
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""
"""A parent that waits for the first sign of life, tells of it, and never ends by itself."""


async def test_without_its_parent_it_commits_and_ends_without_a_drain() -> None:
    commands, changes, stop = asyncio.StreamReader(), asyncio.Queue[Config](), Stop()
    listening = asyncio.create_task(listen(commands, changes, stop))
    commands.feed_data(child_messages.encode_config(Config(pairs=("BTC/USD",))))
    assert (await changes.get()).pairs == ("BTC/USD",)
    assert not stop.requested.is_set()
    commands.feed_eof()
    await listening
    assert (stop.requested.is_set(), stop.hurried.is_set()) == (True, True)


async def test_a_new_configuration_is_applied_while_it_records_and_a_mistaken_one_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, data = SystemClock(), tmp_path / "data"
    open_archive.create(Layout(data), Disk())  # as the recorder does before it begins this process
    locked, lock = set[str](), locks.branch_lock

    def noted(layout: Layout, branch: Branch, **options: bool) -> AbstractContextManager[None]:
        locked.add(branch.dataset.name)
        return lock(layout, branch, **options)

    monkeypatch.setattr(locks, "branch_lock", noted)
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=100, history=20), clock=clock)
    async with sandbox.serve():
        config = config_for(sandbox, data)
        stop, changes, report = Stop(), asyncio.Queue[Config](), Report()

        def of(*pairs: str) -> Config:
            return config.model_copy(update={"quotes": QuotesConfig(pairs=pairs)})

        def quoted(pair: str) -> int:
            return sum(pair in text for texts in sandbox.clients.sent.by_connection.values() for text in texts)

        sandbox.clients.sent.record("ticker")
        recording = asyncio.create_task(record(of("BTC/USD", "DOGE/*"), stop, changes, report))
        await until(lambda: quoted("BTC/USD") > 0 and quoted("DOGE/USD") > 0, what="quotes of both")
        assert report.state().pairs == 2
        with structlog.testing.capture_logs() as said:
            changes.put_nowait(of("DOGE/USX"))
            await until(lambda: any(line["log_level"] == "error" for line in said), what="a mistake")
        assert "quotes.pairs: " in next(line["reason"] for line in said if line["log_level"] == "error")
        changes.put_nowait(of("DOGE/USD", "SHIB/USD"))
        await until(lambda: quoted("SHIB/USD") > 0, what="quotes of a pair that was added")
        assert set(report.pairs) == {"DOGE/USD", "SHIB/USD"}
        exposed = dict(line.rsplit(" ", 1) for line in report.state().metrics.splitlines() if line[0] != "#")
        assert float(exposed["recorder_market_connections_open"]) == 1
        assert not any("trades" in name or "holes" in name for name in exposed)
        stop.signal()
        await recording
    with recorder.connect(data) as archive:
        sessions = archive.sql("FROM quote_sessions", to="arrow").to_pylist()
        assert {session["pair"] for session in sessions} == {"BTC/USD", "DOGE/USD", "SHIB/USD"}
        assert all(session["ended"] is not None for session in sessions)
        assert archive.sql("SELECT DISTINCT pair FROM quotes", to="arrow").num_rows == 3
        assert archive.sql("FROM instruments", to="arrow").num_rows == 0, "listings are the recorder's"
    assert not has_lines(data / MARKET_JOURNAL)
    of_it = {"quotes", "quote_sessions", "market_events", "book", "book_sessions", "book_events"}
    assert locked <= of_it, "the recorder waits for none of these locks"


async def test_without_pairs_it_archives_what_was_left_and_removes_what_is_old_and_ends(tmp_path: Path) -> None:
    clock = SystemClock()
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=100, history=20), clock=clock)
    async with sandbox.serve():
        with writing(tmp_path / "data") as archive:
            archive.quoted([quote(1, 0, START_US), quote(2, 0, clock.wall_ns() // 1000)])
            journal = Journal(archive.data, Disk(), staging=tmp_path, now_ns=1, above=9, journal=MARKET_JOURNAL)
            journal.append([segment.encode_note(1_762_776_000 * 10**9, "connected", connection=1)])
            journal.close()
            assert has_lines(archive.layout.journal_dir(MARKET_JOURNAL))
            keep = QuotesConfig.model_validate({"keep": "90d"})
            config = config_for(sandbox, archive.data).model_copy(update={"quotes": keep})
            await record(config, Stop(), asyncio.Queue[Config](), Report())
            assert not has_lines(archive.layout.journal_dir(MARKET_JOURNAL))
            with recorder.connect(archive.data) as opened:
                assert opened.sql("SELECT kind FROM events", to="arrow").to_pylist() == [{"kind": "connected"}]
                for table in ("quotes", "quote_sessions"):
                    assert opened.sql(f"SELECT session FROM {table}", to="arrow").to_pylist() == [{"session": 2}]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems leave it to the end of standard input")
async def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    config = Config(
        quotes=QuotesConfig(pairs=("BTC/USD",)),
        archive=ArchiveConfig(path=tmp_path / "data"),
        exchange=ExchangeConfig(rest_url="http://127.0.0.1:9", ws_url="ws://127.0.0.1:9"),
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        child_messages.encode_config(config).decode(),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    stat = Path(f"/proc/{int(await parent.stdout.readline())}/stat")
    parent.kill()
    await parent.wait()
    await until(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z", what="its end")


def test_the_recorder_loads_nothing_that_only_this_process_needs() -> None:
    own = ["market", "collectors.quote_feed", "collectors.quote_forecast"]
    of_account = "[n for n in sys.modules if n.startswith('recorder.') and ('account' in n or 'private' in n)]"
    loaded = f"[n for n in {own} if f'recorder.{{n}}' in sys.modules] + {of_account}"
    code = f"import sys, recorder.cli.run; print({loaded})"
    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


async def test_books_are_recorded_beside_quotes_and_a_mistake_in_one_does_not_concern_the_other(tmp_path: Path) -> None:
    """Then again with another depth, as after a restart: sessions of the old one have ended."""
    clock, data = SystemClock(), tmp_path / "data"
    open_archive.create(Layout(data), Disk())
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=20, history=20), clock=clock)
    async with sandbox.serve():
        config = config_for(sandbox, data)
        stop, changes, report = Stop(), asyncio.Queue[Config](), Report()

        def of(*books: str) -> Config:
            update = {"quotes": QuotesConfig(pairs=("BTC/USD",)), "books": BooksConfig(pairs=books, depth=25)}
            return config.model_copy(update=update)

        def sent(channel: str, pair: str) -> bool:
            start = f'{{"channel":"{channel}","type":"update"'
            texts = [text for texts in sandbox.clients.sent.by_connection.values() for text in texts]
            return any(text.startswith(start) and pair in text for text in texts)

        sandbox.clients.sent.record("ticker")
        with structlog.testing.capture_logs() as said:
            recording = asyncio.create_task(record(of("BTC/USX"), stop, changes, report))
            await until(lambda: any(line["event"] == "not recorded" for line in said), what="a mistake")
            await until(lambda: sent("ticker", "BTC/USD"), what="quotes nevertheless")
            sandbox.clients.sent.record("book")
            changes.put_nowait(of("BTC/USD"))
            await until(lambda: sent("book", "BTC/USD"), what="books, once they are named rightly")
            assert (report.state().pairs, report.state().books) == (1, 1)
            assert "recorder_books_connections_open 1.0" in report.state().metrics
            sandbox.faults.books.throw("BTC/USD", "checksum")
            await until(lambda: any(line["event"].startswith("book lost") for line in said), what="a mismatch")
            await until(
                lambda: sum(line["event"] == "recording" for line in said) >= 3, what="another subscription of the book"
            )
            stop.signal()
            await recording
        sandbox.clients.sent.by_connection.clear()
        stop = Stop()
        deeper = config.model_copy(update={"books": BooksConfig(pairs=("BTC/USD",), depth=100)})
        recording = asyncio.create_task(record(deeper, stop, changes, report))
        await until(lambda: sent("book", "BTC/USD"), what="books of another depth")
        stop.signal()
        await recording
    with recorder.connect(data) as archive:
        sessions = archive.sql("FROM book_sessions ORDER BY session", to="arrow").to_pylist()
        assert {one["missing"] for one in sessions} == {0}
        ends = [(one["depth"], one["end_reason"]) for one in sessions]
        assert (ends[0], ends[-2:]) == ((25, "mismatch"), [(25, "disconnected"), (100, "disconnected")])
        (lost,) = archive.sql("SELECT pair FROM events WHERE kind = 'book_lost'", to="arrow").to_pylist()
        assert lost == {"pair": "BTC/USD"}


async def test_sessions_of_books_that_a_killed_run_left_are_ended_by_the_next_one(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with writing(data) as archive:
        journal = Journal(archive.data, Disk(), staging=tmp_path, now_ns=1, journal=BOOKS_JOURNAL)
        for at_ns, place in ((10**9, "BTC%2FUSD=7.0&depth=10&digits=1.8"), (2 * 10**9, "BTC%2FUSD=7.1")):
            kind = "snapshot" if "depth" in place else "update"
            frame = b'{"channel":"book","type":"%b","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":0}]}'
            journal.append([segment.encode(at_ns, f"ws:book:1?{place}", frame % kind.encode())])
        journal.close()
    config = Config(archive=ArchiveConfig(path=data), exchange=ExchangeConfig(rest_url="http://127.0.0.1:9"))
    stop = Stop()
    await asyncio.wait_for(record(config, stop, asyncio.Queue[Config](), Report()), 60)
    with recorder.connect(data) as opened:
        (ended,) = opened.sql("FROM book_sessions", to="arrow").to_pylist()
        assert (ended["end_reason"], ended["messages"], ended["missing"]) == ("killed", 2, 0)
        assert ended["ended"] == ended["last_received"]
