from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from recorder.archive import locks, quarantine
from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.event_rows import event
from recorder.archive.layout import Layout
from recorder.archive.segment_tables import SegmentTables
from recorder.clock import SystemClock
from recorder.core.event_kinds import EventKind
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Disk
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.archive.candles import rows
from tests.end_to_end.harness import PATIENCE_S, REPOSITORY, Process, archived, environ_for, until
from tests.segments import named
from tests.servers import Serve

BTC = "BTC/USD"
HISTORY = 5_000
DEEP = 70_000
"""More than a batch."""


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, history: int) -> AsyncIterator[Sandbox]:
    clock = SystemClock()
    market = Market(start_ns=clock.wall_ns(), rate=0, history={BTC: history, "ETH/EUR": 2_500})
    async with Sandbox(market, clock=clock, truth=tmp_path / "truth").serve() as sandbox:
        yield sandbox


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with serving(tmp_path, HISTORY) as sandbox:
        yield sandbox


@pytest.fixture
async def deep(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with serving(tmp_path, DEEP) as sandbox:
        yield sandbox


def begun(tmp_path: Path, sandbox: Sandbox, *arguments: str, pace: float = 1000) -> Process:
    environ = environ_for(sandbox) | {"RECORDER_EXCHANGE__REQUESTS_PER_SECOND": str(pace)}
    return Process("backfill", "--data", "data", *arguments, cwd=tmp_path, **environ)


async def backfill(tmp_path: Path, sandbox: Sandbox, *arguments: str) -> tuple[int, str]:
    """Run the verb; return its exit code and what it said, on one line."""
    process = begun(tmp_path, sandbox, *arguments)
    try:
        return await process.ended(), " ".join(process.said.split())
    finally:
        process.close()


def pages(sandbox: Sandbox) -> int:
    return len(sandbox.requests.to("/0/public/Trades"))


def files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "data" / "trades" / "pair=BTC%2FUSD").glob("year=*/*.parquet"))


def day_of(sandbox: Sandbox, index: int) -> str:
    """Return the UTC day of a trade of BTC/USD."""
    return datetime.fromtimestamp(sandbox.market.tapes[BTC].times_ns[index] / 1e9, UTC).date().isoformat()


async def test_pairs_are_fetched_whole_and_a_second_call_asks_for_nothing_again(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    code, said = await backfill(tmp_path, sandbox, "XBTUSD", "eth/eur", "--from", "listing")
    assert code == 0, said
    assert "BTC/USD" in said
    assert "100.0 %" in said
    assert said.endswith("stored 5,000 trades of BTC/USD, 2,500 trades of ETH/EUR")
    verdict = compare(archived(tmp_path / "data"), read_truth(tmp_path / "truth"), first_ids={BTC: 1, "ETH/EUR": 1})
    assert verdict.perfect, str(verdict)
    assert len(files(tmp_path)) <= 3, "small files are merged, year by year"
    listed = [(row["pair"], row["pair_decimals"]) for row in rows(tmp_path / "data", "instruments")]
    assert sorted(listed) == [(BTC, 1), ("ETH/EUR", 2)]
    asked = pages(sandbox)
    code, said = await backfill(tmp_path, sandbox, BTC, "ETH/EUR", "--from", "listing")
    assert (code, pages(sandbox) - asked <= 6) == (0, True)
    assert said.endswith("stored nothing new")
    assert len(rows(tmp_path / "data", "instruments")) == 2, "what is listed already is not written again"


async def test_a_pair_whose_files_cannot_be_trusted_is_refused_and_others_are_fetched(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    code, said = await backfill(tmp_path, sandbox, "ETH/EUR", "--from", "listing")
    assert code == 0, said
    layout = Layout(tmp_path / "data")
    layout.year_dir(BTC, 2025).mkdir(parents=True)
    stray = layout.year_dir(BTC, 2025) / "junk.parquet"
    stray.write_bytes(b"junk")
    for path in layout.trade_files("ETH/EUR"):
        path.unlink()
    code, said = await backfill(tmp_path, sandbox, BTC, "ETH/EUR", "--from", "listing")
    assert code == 1
    assert "stored 2,500 trades of ETH/EUR" in said
    assert "BTC/USD is refused:" in said
    assert "junk.parquet is not a complete Parquet file" in said
    assert files(tmp_path) == [stray]


async def test_ids_known_not_to_exist_are_neither_asked_for_nor_missed(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.skip_ids(BTC, 4)
    sandbox.burst(BTC, 50)
    code, said = await backfill(tmp_path, sandbox, BTC, "--from", "listing")
    assert code == 1
    assert "does not serve ids 5001..5004" in said
    layout, disk = Layout(tmp_path / "data"), Disk()
    with locks.staging(layout, disk) as staging:
        tables = SegmentTables(layout, disk, staging=staging)
        tables.add(Branch(EVENTS), [event(1, EventKind.VOID, BTC, first_id=5001, last_id=5002)])
        tables.write(named(1))
        journal = Journal(layout.data, disk, staging=staging, now_ns=1)
        journal.append([segment.encode_note(1, "void", pair=BTC, first_id=5003, last_id=5004)])
        journal.close()
    asked = pages(sandbox)
    code, said = await backfill(tmp_path, sandbox, BTC, "--from", "listing")
    assert code == 0, said
    assert "100.0 %" in said
    assert pages(sandbox) - asked <= 3, "what it takes to find the range"


async def test_a_range_is_fetched_from_the_trade_before_it_on(tmp_path: Path, sandbox: Sandbox) -> None:
    times_ns = sandbox.market.tapes[BTC].times_ns
    first, last = day_of(sandbox, 1_000), day_of(sandbox, 3_000)
    code, said = await backfill(tmp_path, sandbox, BTC, "--from", first, "--to", last)
    assert code == 0, said
    begin_ns, end_ns = (int(datetime.fromisoformat(f"{day}T00:00:00Z").timestamp()) * 10**9 for day in (first, last))
    wanted = [index + 1 for index, time_ns in enumerate(times_ns) if begin_ns <= time_ns < end_ns]
    held = Spans.of_ids(row.trade_id for row in archived(tmp_path / "data"))
    assert list(held) == [Span(wanted[0] - 1, wanted[-1])]


async def test_a_dry_run_says_what_it_would_take_and_writes_nothing(tmp_path: Path, sandbox: Sandbox) -> None:
    code, said = await backfill(tmp_path, sandbox, BTC, "--from", "listing", "--dry-run")
    assert code == 0, said
    assert said == ("BTC/USD: ids 1..5000, 5,000 trades, 5,000 missing: 5 requests, 0 s at 1000 a second, some 0.1 MB")
    assert pages(sandbox) <= 4
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").mkdir()
    assert (await backfill(tmp_path, sandbox, BTC, "--from", "listing", "--dry-run"))[0] == 0
    assert not list((tmp_path / "data").iterdir()), "a folder that is there is not an archive yet"
    middle = (day_of(sandbox, 1), day_of(sandbox, 3_000))
    assert (await backfill(tmp_path, sandbox, BTC, "--from", middle[0], "--to", middle[1]))[0] == 0
    held = len(archived(tmp_path / "data"))
    code, said = await backfill(tmp_path, sandbox, BTC, "--from", "listing", "--dry-run")
    assert f"5,000 trades, {HISTORY - held:,} missing" in said
    assert len(archived(tmp_path / "data")) == held


async def test_killed_it_goes_on_from_what_is_archived(tmp_path: Path, deep: Sandbox) -> None:
    process = begun(tmp_path, deep, BTC, "--from", "listing", pace=150)
    try:
        await until(lambda: bool(files(tmp_path)), what="a first batch is archived")
        process.signal(signal.SIGKILL)
        assert await process.ended() == -signal.SIGKILL
    finally:
        process.close()
    asked, held = pages(deep), len(archived(tmp_path / "data"))
    assert 0 < held < DEEP
    code, said = await backfill(tmp_path, deep, BTC, "--from", "listing")
    assert code == 0, said
    assert pages(deep) - asked <= (DEEP - held) / 1000 + 6
    assert compare(archived(tmp_path / "data"), read_truth(tmp_path / "truth"), first_ids={BTC: 1}).perfect


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_it_stores_what_has_come_says_how_much_and_exits_130(
    tmp_path: Path, deep: Sandbox, by: signal.Signals
) -> None:
    process = begun(tmp_path, deep, BTC, "--from", "listing", pace=150)
    try:
        await until(lambda: pages(deep) >= 20, what="it is at work")
        assert not files(tmp_path), "all that has come would be lost"
        process.signal(by)
        assert await process.ended() == 130
        assert "Traceback" not in process.said
        kept = len(archived(tmp_path / "data"))
        assert kept >= 10_000
        assert " ".join(process.said.split()).endswith(f"stored {kept:,} trades of BTC/USD; run it again to continue")
    finally:
        process.close()
    assert not list((tmp_path / "data" / ".staging").glob("*/*"))
    code, said = await backfill(tmp_path, deep, BTC, "--from", "listing")
    assert code == 0, said
    assert compare(archived(tmp_path / "data"), read_truth(tmp_path / "truth"), first_ids={BTC: 1}).perfect


HELD_UP = """
import importlib, os
archive = importlib.import_module("recorder.archive.trades").TradeArchive
write = archive._write
def held_up(*arguments, **options):
    if not os.path.exists("writing"):  # the first file of the batch, which has one for each year
        os.mkfifo("writing")
        open("writing").close()  # until the test, which has sent its signal, opens the other end
    return write(*arguments, **options)
archive._write = held_up
from recorder.cli import main
main()
"""


LOW = """
from recorder import disk
disk.room = lambda path: disk.Room(1_900_000_000, 100_000_000_000)
from recorder.cli import main
main()
"""


@contextlib.asynccontextmanager
async def fetching(tmp_path: Path, sandbox: Sandbox, program: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Let ``program`` fetch all of ETH/EUR."""
    with (tmp_path / "said").open("w") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, "backfill", "ETH/EUR", "--from", "listing", "--data", "data",
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environ_for(sandbox)},
            stdout=file, stderr=file,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def test_interrupted_while_it_writes_a_batch_it_finishes_that(tmp_path: Path, sandbox: Sandbox) -> None:
    async with fetching(tmp_path, sandbox, HELD_UP) as process:
        await until((tmp_path / "writing").exists, what="a batch is written")
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread((tmp_path / "writing").write_bytes, b"")
        code = await asyncio.wait_for(process.wait(), PATIENCE_S)
    assert code == 130, (tmp_path / "said").read_text()
    assert "Traceback" not in (tmp_path / "said").read_text()
    assert len(archived(tmp_path / "data")) == 2_500


async def test_on_a_low_disk_it_exits_4_and_says_how_far_it_came(tmp_path: Path, sandbox: Sandbox) -> None:
    async with fetching(tmp_path, sandbox, LOW) as process:
        code = await asyncio.wait_for(process.wait(), PATIENCE_S)
    said = " ".join((tmp_path / "said").read_text().split())
    assert code == 4, said
    assert "stopped at 0 of 2,500 trades" in said
    assert "1,900.0 MB left, and below 2,000.0 MB history waits. Free some space and run the same" in said


async def test_it_imports_neither_pandas_nor_duckdb(tmp_path: Path, sandbox: Sandbox) -> None:
    environ = environ_for(sandbox) | {"PYTHONPROFILEIMPORTTIME": "1"}
    process = Process("backfill", "ETH/EUR", "--from", "listing", "--data", "data", cwd=tmp_path, **environ)
    try:
        assert await process.ended() == 0
        assert " aiohttp" in process.said
        assert "pandas.core" not in process.said
        assert "duckdb" not in process.said
    finally:
        process.close()


async def test_ids_that_are_not_served_are_named_and_it_exits_1(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.skip_ids("ETH/EUR", 3)
    sandbox.burst("ETH/EUR", 10)
    code, said = await backfill(tmp_path, sandbox, "ETH/EUR", "--from", "listing")
    assert code == 1
    assert "ETH/EUR: the exchange does not serve ids 2501..2503" in said
    assert "3 trades were not served: run it again later" in said
    assert len(archived(tmp_path / "data")) == 2_510


async def test_a_pair_that_never_traded_has_nothing_to_fetch(tmp_path: Path, sandbox: Sandbox) -> None:
    code, said = await backfill(tmp_path, sandbox, "DOGE/USD", "--from", "listing")
    assert (code, said) == (0, "DOGE/USD: nothing was traded in this range")


TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()


MISTAKES: list[tuple[list[str], list[str]]] = [
    (["BTC/UDS", "--from", "listing"], ["Kraken lists no pair 'BTC/UDS'", "did you mean BTC/USD"]),
    ([BTC, "--from", "last week"], ["--from 'last week' is no time", "2025-11-10"]),
    ([BTC, "--from", "2025-11-10", "--to", "soon"], ["--to 'soon' is no time"]),
    ([BTC, "--from", "2025-11-10", "--to", "2025-11-09"], ["--from 2025-11-10 is not before --to 2025-11-09"]),
    ([BTC, "--from", "2025-11-10", "--to", "2025-11-10"], ["--from 2025-11-10 is not before --to 2025-11-10"]),
    ([BTC, "--from", TOMORROW], [f"--from {TOMORROW} is not before now"]),
    ([BTC], ["--from"]),
    (["--from", "listing"], ["pairs"]),
]


ONE_BY_ONE = """
import contextlib, io, json, sys
from recorder.cli import main
found = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["recorder", "backfill", "--data", "data", *arguments]
    said, code = io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as error:
            code = error.code
    found.append((code, said.getvalue()))
print(json.dumps(found))
"""
"""Calls the verb with each of some arguments, in one process, whose start is what takes time."""


async def test_a_mistake_exits_2_before_anything_is_written(tmp_path: Path, sandbox: Sandbox) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ONE_BY_ONE, json.dumps([arguments for arguments, _ in MISTAKES]),
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1", **environ_for(sandbox)},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    found = json.loads((await process.communicate())[0])
    for (code, said), (arguments, names) in zip(found, MISTAKES, strict=True):
        plain = re.sub(r"[^\x20-\x7e]+ ?", "", " ".join(said.split()))
        assert code == 2, (arguments, said)
        assert all(name in plain for name in names), (arguments, said)
        assert "Traceback" not in said
    assert not (tmp_path / "data" / "trades" / "pair=BTC%2FUSD").exists()
    assert pages(sandbox) == 0


async def test_an_answer_that_cannot_be_read_is_kept_in_the_archive_and_named(tmp_path: Path, serve: Serve) -> None:
    odd = b'{"error":[],"result":[5]}'

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=odd)

    async with serve(answer) as address:
        environ = {"RECORDER_EXCHANGE__REST_URL": f"http://{address}"}
        process = Process("backfill", "--data", "data", BTC, "--from", "listing", cwd=tmp_path, **environ)
        try:
            code = await process.ended()
        finally:
            process.close()
    (path,) = (tmp_path / "data" / "quarantine").iterdir()
    (kept,) = quarantine.listed(Layout(tmp_path / "data"))
    entry = segment.decode(kept.line)
    assert (code, entry.source, entry.payload) == (1, "rest-unreadable:/0/public/AssetPairs", odd)
    assert path.name in "".join(process.said.split())
