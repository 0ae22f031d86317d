from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from recorder.cli.run import CommandLine, _free_port
from recorder.clock import SystemClock
from recorder.config import Config, OpsConfig
from recorder.ops import archive_status
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import (
    Process,
    WatchedProcess,
    archived,
    caught_up,
    environ_for,
    first_held,
    streamed,
    until,
)


async def ends(tmp_path: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    process = Process(*arguments, cwd=tmp_path, **environ)
    try:
        return await process.ended(), process.said
    finally:
        process.close()


async def test_a_second_recorder_of_one_archive_exits_3_and_sigterm_drains_and_exits_0(tmp_path: Path) -> None:
    clock = SystemClock()
    data = tmp_path / "data"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock)
    async with sandbox.serve():
        environ = environ_for(sandbox, drain_every="1h")
        first = Process("run", "--data", str(data), cwd=tmp_path, **environ)
        try:
            await first.says("recording")
            code, said = await ends(tmp_path, "run", "--data", str(data), **environ)
            assert code == 3
            assert "another recorder holds the archive" in said
            sandbox.freeze()
            await until(
                lambda: (
                    caught_up(data, sandbox.last_ids())  # which the last trade alone is, before the subscription's 50
                    and all(pair.rows >= 50 for pair in archive_status.read(data))
                    and not archive_status.everything(data).unanchored  # until then a gap at its start is not seen
                ),
                what="all is journalled",
            )
            first.signal(signal.SIGTERM)
            assert await first.ended() == 0
        finally:
            first.close()
    code, said = await ends(tmp_path, "status", "--data", str(data), "--json")
    assert code == 0
    pairs = json.loads(said)["pairs"]
    assert all(pair["journalled"] == 0 and pair["holes"] == [] and pair["rows"] >= 50 for pair in pairs), pairs


async def test_run_for_a_while_from_the_sandbox_ends_by_itself(tmp_path: Path) -> None:
    code, said = await ends(tmp_path, "run", "--sandbox", "--data", "mine", "--for", "1s", RECORDER_OPS__PORT="0")
    assert code == ("no subscription was acknowledged" in said), "a slow machine may not have come so far"
    assert "Traceback" not in said


async def test_run_for_a_while_without_an_exchange_exits_1(tmp_path: Path) -> None:
    """The listing of an earlier run is archived, so that it begins, but nobody answers any more."""
    clock = SystemClock()
    sandbox = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock)
    async with sandbox.serve():
        environ = environ_for(sandbox)
        code, said = await ends(tmp_path, "run", "BTC/USD", "--data", "mine", "--for", "2s", **environ)
        assert code == 0, said
    code, said = await ends(tmp_path, "run", "BTC/USD", "--data", "mine", "--for", "1s", **environ)
    assert code == 1, said
    assert "no subscription was acknowledged" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("environ", "arguments", "names"),
    [
        ({"RECORDER_PAIRS": "BTC/USDD"}, ["--sandbox"], ["pairs", "BTC/USDD", "did you mean BTC/USD"]),
        ({}, ["--config", "no.yaml"], ["no.yaml", "No such file"]),
        ({}, ["--for", "ages"], ["--for", "'ages'", "30s"]),
    ],
)
async def test_a_mistake_exits_2_and_names_the_key_the_value_and_the_remedy(
    tmp_path: Path, environ: dict[str, str], arguments: list[str], names: list[str]
) -> None:
    code, said = await ends(tmp_path, "run", *arguments, **{"RECORDER_OPS__PORT": "0"} | environ)
    assert code == 2
    assert all(name in said for name in names), said
    assert "Traceback" not in said


@pytest.mark.parametrize("verb", [["run"], ["backfill", "BTC/USD", "--from", "listing"]])
async def test_who_cannot_write_an_archive_is_told_and_changes_nothing(tmp_path: Path, verb: list[str]) -> None:
    (tmp_path / "data").write_text("mine")
    code, said = await ends(tmp_path, *verb, "--data", "data", RECORDER_OPS__PORT="0")
    assert code == 2
    assert "data is a file, and an archive is a folder" in said
    assert (tmp_path / "data").read_text() == "mine"
    code, said = await ends(tmp_path, *verb, "--data", "data/archive", RECORDER_OPS__PORT="0")
    assert code == 2
    assert "data is a file, and an archive is a folder" in said


async def test_an_archive_that_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    for verb in (["status"], ["sql", "SELECT 1"], ["views"]):
        code, said = await ends(tmp_path, *verb, "--data", "nowhere")
        assert code == 2
        assert "nowhere" in said
        assert "Traceback" not in said


async def test_the_daemon_imports_neither_pandas_nor_duckdb_nor_without_a_terminal_rich(tmp_path: Path) -> None:
    code, said = await ends(
        tmp_path, "run", "--sandbox", "--for", "100ms", RECORDER_OPS__PORT="0", PYTHONPROFILEIMPORTTIME="1"
    )
    assert code == ("no subscription was acknowledged" in said)
    assert " aiohttp" in said
    assert "pandas.core" not in said
    assert "duckdb" not in said
    assert " structlog.dev" in said
    assert " rich." not in said
    assert " jinja2" not in said  # before somebody looks at the page


async def test_a_terminal_shows_below_the_log_what_is_recorded(tmp_path: Path) -> None:
    process = WatchedProcess("run", "BTC/USD", "--sandbox", "--data", "mine", cwd=tmp_path, RECORDER_OPS__PORT="0")
    try:
        said = await process.shows(" trades, 1 pair, 0 gaps, last ")
        assert re.search(r"\d\d:\d\d:\d\d.* info .*recording", said)
        process.signal(signal.SIGINT)
        said = await process.shows(None)
        assert await process.ended() == 0
        assert said.index("draining the journal") < said.index("stopped")
        assert said.endswith("\x1b[2K"), "the line is removed"
    finally:
        process.close()


async def test_without_a_network_it_keeps_trying_and_stops_when_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # nobody listens there any more once this block is left
    url = f"http://127.0.0.1:{port}"
    process = Process("run", cwd=tmp_path, RECORDER_EXCHANGE__REST_URL=url, RECORDER_OPS__PORT="0")
    try:
        await process.says(f"cannot reach {url}")
        await until(lambda: process.said.count("cannot reach") >= 2, what="it tries again")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert "Traceback" not in process.said
    finally:
        process.close()


async def test_a_signal_ends_a_recorder_that_waits_for_the_listing(tmp_path: Path) -> None:
    """A 403 stops every request for two minutes, which no supervisor waits for."""
    clock = SystemClock()
    sandbox = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock)
    async with sandbox.serve():
        sandbox.faults.rest.throw("http_403", n=1)
        process = Process("run", cwd=tmp_path, **environ_for(sandbox))
        try:
            await process.says("403")
            process.signal(signal.SIGHUP)
            process.signal(signal.SIGTERM)
            assert await process.ended() == 0
        finally:
            process.close()


async def test_sighup_applies_live_settings_and_loses_no_frame_of_kept_pairs(tmp_path: Path) -> None:
    clock, data, file = SystemClock(), tmp_path / "data", tmp_path / "config.yaml"
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=50), clock=clock, truth=tmp_path / "truth")
    before = "pairs: [BTC/USD, DOGE/USD]\nohlc: {timeframes: [1h]}\n"
    after = (
        "pairs: [BTC/USD, ETH/EUR]\nohlc: {timeframes: [1h, 5m]}\narchive: {path: x}\njournal: {keep: 0s}\n"
        "trades: {stream: false, backfill_from: listing}\n"
    )
    file.write_text(before)

    def journalled(words: str) -> list[str]:
        return re.findall(words, "".join(path.read_text() for path in data.glob("journal/*")))

    def subscribed() -> list[str]:
        return sorted(journalled('"note":"subscribed","pair":"([^"]+)"'))

    async with sandbox.serve():
        environ = environ_for(sandbox, drain_every="1h")
        del environ["RECORDER_PAIRS"]
        process = Process("run", "--data", "data", cwd=tmp_path, **environ)
        try:
            await until(lambda: len(subscribed()) == 2, what="both pairs are recorded")
            clients = list(sandbox.clients._clients)
            file.write_text(after + "ohlc")
            process.signal(signal.SIGHUP)
            await process.says("configuration not applied; recording continues unchanged")
            file.unlink()
            process.signal(signal.SIGHUP)
            await process.says("No such file")
            file.write_text(after)
            process.signal(signal.SIGHUP)
            await process.says("configuration read again")
            assert "trades.stream changes with a restart only" in process.said, "and --data wins over archive.path"
            await until(lambda: bool(journalled("OHLC.*interval=5#ETH")), what="candles of the new pair came")
            await until(lambda: streamed(sandbox) == {"BTC/USD", "ETH/EUR"}, what="one pair has come, and one has left")
            sandbox.burst("BTC/USD", 300)
            sandbox.freeze()
            last_ids = {pair: sandbox.last_ids()[pair] for pair in ("BTC/USD", "ETH/EUR")}
            await until(lambda: caught_up(data, last_ids), what="all is journalled")
            await until(lambda: all(first_held(data, pair) == 1 for pair in last_ids), what="history is wanted now")
            assert subscribed() == ["BTC/USD", "DOGE/USD", "ETH/EUR"], "each once: the one that stays too"
            assert list(sandbox.clients._clients) == clients
            process.signal(signal.SIGTERM)
            await process.says("stopping")
            process.signal(signal.SIGHUP)
            assert await process.ended() == 0, process.said
        finally:
            process.close()
    rows = archived(data)
    assert {row.pair for row in rows} == {"BTC/USD", "DOGE/USD", "ETH/EUR"}, "also what was recorded before"
    left = max(row.trade_id for row in rows if row.pair == "DOGE/USD")
    verdict = compare(
        rows, read_truth(tmp_path / "truth"), first_ids={"BTC/USD": 1, "ETH/EUR": 1}, last_ids={"DOGE/USD": left}
    )
    assert verdict.perfect, str(verdict)
    assert {path.name for path in (data / "raw").iterdir()} <= {"000000000001.jsonl.zst"}, "the drain at the start"


async def test_invented_trades_never_get_into_the_archive_of_real_ones_by_default(tmp_path: Path) -> None:
    environ = {"RECORDER_OPS__PORT": "0", "RECORDER_ARCHIVE__PATH": "data", "TMPDIR": str(tmp_path)}
    code, said = await ends(tmp_path, "run", "--sandbox", "--for", "1s", **environ)
    assert code == 0
    assert not (tmp_path / "data").exists()
    (folder,) = tmp_path.glob("recorder-sandbox-*")
    assert str(folder) in said
    assert (folder / "trades").is_dir()


async def until_shown(stream: str) -> None:
    """Return once the page shows the price of a trade that came from the exchange."""
    async with aiohttp.ClientSession() as client, asyncio.timeout(60), client.get(stream) as answer:
        async for line in answer.content:
            rows = json.loads(line.removeprefix(b"data: ")).get("rows", {}) if line.startswith(b"data: ") else {}
            if any(row["price"][:1].isdigit() and row["last"] is not None for row in rows.values()):
                return


async def test_the_service_manager_hears_of_its_life_and_who_asks_learns_how_it_is(tmp_path: Path) -> None:
    clock = SystemClock()
    sandbox = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    async with sandbox.serve():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.setblocking(False)
            environ = environ_for(sandbox) | {
                "RECORDER_OPS__PORT": port,
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": "900000",
            }
            said: list[bytes] = []

            def hears(word: bytes) -> bool:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        said.append(manager.recv(4096))
                return any(word in one.splitlines() for one in said)

            process = Process("run", "--data", "data", cwd=tmp_path, **environ)
            try:
                await until(lambda: hears(b"READY=1"), what="it is ready")
                assert b"STATUS=recording" in said[0]
                said.clear()
                await until(lambda: hears(b"WATCHDOG=1") and len(said) >= 3, what="it lives")
                code, told = await ends(tmp_path, "status", "--data", "data", "--json", **environ)
                assert code == 0
                daemon = json.loads(told)["daemon"]
                assert (daemon["answers"], daemon["recording"], daemon["reasons"]) == (True, True, [])
                await until_shown(f"http://127.0.0.1:{port}/live")
                assert hears(b"WATCHDOG=1")  # and takes from the socket what is in it: a full one loses the next
                process.signal(signal.SIGTERM)
                await until(lambda: hears(b"STOPPING=1"), what="it says that it stops")
                assert await process.ended() == 0
            finally:
                process.close()
    code, told = await ends(tmp_path, "status", "--data", "data", RECORDER_OPS__PORT=port)
    assert code == 0
    assert f"no daemon answers at 127.0.0.1:{port}" in told
    made = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert [path for path in made if path.stat().st_mode & 0o077] == []


async def test_a_public_status_server_without_a_token_is_a_configuration_error(tmp_path: Path) -> None:
    code, said = await ends(tmp_path, "run", "--sandbox", "--data", "x", RECORDER_OPS__HOST="0.0.0.0")
    assert code == 2
    assert "ops.expose" in said
    assert "ops.token" in said
    assert "Traceback" not in said


def test_what_the_command_line_says_wins_over_the_configuration() -> None:
    said = CommandLine(("ETH/USD",), Path("mine"))
    config = said.over(Config(), {"rest_url": "http://127.0.0.1:1"}, 1234)
    assert (config.pairs, config.archive.path, config.ops.port) == (("ETH/USD",), Path("mine"), 1234)
    assert config.exchange.rest_url == "http://127.0.0.1:1"
    assert CommandLine().over(Config(), {}) == Config()


def test_a_sandbox_is_served_beside_a_recorder_at_another_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert _free_port(OpsConfig(port=port)) not in {0, port}
    assert _free_port(OpsConfig(port=0)) == 0
