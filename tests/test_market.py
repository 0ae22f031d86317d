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
from recorder.archive.datasets import MARKET_JOURNAL, Branch
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.config import ArchiveConfig, Config, ExchangeConfig, QuotesConfig
from recorder.daemon import child_messages
from recorder.disk import Disk
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.journal.live_read import has_lines
from recorder.market import Report, listen, record
from recorder.runtime.stop import Stop
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.archives import writing
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
    assert locked == {"quotes", "quote_sessions", "market_events"}, "the recorder waits for none of these locks"


async def test_without_pairs_it_archives_what_was_left_and_ends(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as archive:
        journal = Journal(archive.data, Disk(), staging=tmp_path, now_ns=1, journal=MARKET_JOURNAL)
        journal.append([segment.encode_note(1_762_776_000 * 10**9, "connected", connection=1)])
        journal.close()
        assert has_lines(archive.layout.journal_dir(MARKET_JOURNAL))
        config = Config(archive=ArchiveConfig(path=archive.data))
        await record(config, Stop(), asyncio.Queue[Config](), Report())
        assert not has_lines(archive.layout.journal_dir(MARKET_JOURNAL))
        with recorder.connect(archive.data) as opened:
            assert opened.sql("SELECT kind FROM events", to="arrow").to_pylist() == [{"kind": "connected"}]


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
    code = f"import sys, recorder.cli.run; print([n for n in {own} if f'recorder.{{n}}' in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
