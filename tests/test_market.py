"""The process that records quotes: when it ends, and what the recorder need not load for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from recorder.config import ArchiveConfig, Config, ExchangeConfig, QuotesConfig
from recorder.daemon import child_messages
from recorder.market import listen
from recorder.runtime.stop import Stop
from tests.end_to_end.harness import REPOSITORY, until

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
