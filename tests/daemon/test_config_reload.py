from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from recorder import config
from recorder.collectors.candles import CandleCollector, Wanted
from recorder.collectors.pair_list import SOON_S
from recorder.config import LIVE, Config, keys, load
from recorder.core.throttling import Pace
from recorder.daemon.config_reload import ConfigSource, LiveSettings, Reload
from recorder.daemon.maintenance import Maintenance
from recorder.daemon.market_process import MarketProcess
from recorder.ingest.commit import Commit
from recorder.ingest.drain import Drainer
from recorder.ingest.drain_schedule import DrainSchedule
from recorder.repair.gap_repair import Repair
from tests.builders import instrument
from tests.clocks import running, settle_until
from tests.collectors.listings import BTC, DOGE, ETH, Bench

GOOD = "pairs: [BTC/USD, ETH/EUR]\nohlc: {timeframes: [1m, 1h]}\narchive: {path: there}\n"
OTHER = "pairs: [BTC/USD, DOGE/USD]\nohlc: {timeframes: [1h, 5m]}\narchive: {path: there}\njournal: {keep: 1h}\n"
FINE = instrument("FINE/USD", pair_decimals=13)


class Recorder:
    """What a reload finds: a configuration in a file, and a roster that records by it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "config.yaml"
        self.file.write_text(GOOD)
        self.bench = Bench(["BTC/USD", "ETH/EUR"], [BTC, DOGE, ETH, FINE])
        self.source = ConfigSource(lambda: load(self.file))
        self.taken: list[Config] = []
        self.reload = Reload(load(self.file), self.source, self.bench.roster, self.taken.append)
        self.said: list[Any] = []

    async def reads(self, content: str | bytes) -> list[Any]:
        """Write the file, ask for a reload, and return the lines of the log that come of it."""
        self.file.write_bytes(content.encode() if isinstance(content, str) else content)
        self.said.clear()
        self.source.requested.set()
        endings = {"configuration read again", "configuration not applied; recording continues unchanged"}
        await settle_until(lambda: any(line["event"] in endings for line in self.said))
        return list(self.said)


@contextlib.asynccontextmanager
async def recording(folder: Path) -> AsyncIterator[Recorder]:
    recorder = Recorder(folder)
    with structlog.testing.capture_logs() as recorder.said:
        async with running(recorder.reload):
            yield recorder


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(config.PREFIX):
            monkeypatch.delenv(name)


async def test_a_reload_reports_in_one_line_what_changed_or_that_nothing_did(tmp_path: Path) -> None:
    async with recording(tmp_path) as recorder:
        said = {"log_level": "info", "event": "configuration read again"}
        assert await recorder.reads(OTHER) == [
            said
            | {
                "changed": "pairs ohlc.timeframes journal.keep",
                "added": "DOGE/USD",
                "added_count": 1,
                "removed": "ETH/EUR",
                "removed_count": 1,
                "timeframes": "1h 5m",
                "pairs": 2,
            }
        ]
        assert recorder.bench.pairs == recorder.bench.sums.pairs == {"BTC/USD", "DOGE/USD"}
        assert recorder.taken == [load(recorder.file)]
        assert await recorder.reads(OTHER) == [said | {"changed": "nothing", "pairs": 2}]


async def test_one_that_waits_for_a_listing_gives_way_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with recording(tmp_path) as recorder:
        recorder.bench.clock.move(SOON_S + 1)
        waits = asyncio.Event()

        async def throttled() -> None:
            waits.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(recorder.bench.roster, "refresh", throttled)
        recorder.file.write_text(OTHER.replace("DOGE/USD", "DOGE/USB"))
        recorder.source.requested.set()
        await asyncio.wait_for(waits.wait(), 30)
        assert [line["event"] for line in recorder.said] == [
            "not in the newest listing; reading a newer one when requests allow it"
        ]
        said = await recorder.reads(OTHER)
        assert [line["event"] for line in said] == ["configuration read again"]
    assert recorder.bench.pairs == {"BTC/USD", "DOGE/USD"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (OTHER + "pairs: [", "is no YAML"),
        (OTHER + "\0", "is no YAML"),
        (OTHER.encode() + b"\xff", "is no YAML"),
        ("pairs: " + "[" * 1_000, "is no YAML"),
        (OTHER + "ohcl: {refresh: 1m}", "ohcl is no configuration key; did you mean ohlc"),
        (OTHER + "ops: {port: many}", "ops.port is 'many'"),
        (OTHER.replace("DOGE/USD", "DOGE/USB"), "Kraken lists no pair 'DOGE/USB'; did you mean DOGE/USD"),
        (OTHER.replace("DOGE/USD", '"*/USB"'), "the pattern '*/USB' matches none"),
        (OTHER.replace("DOGE/USD", "DOGE/USD, FINE/USD"), "FINE/USD is traded with 13 price"),
        (OTHER.replace("DOGE/USD", "FINE/USD, A/B"), "A/B"),
    ],
)
async def test_a_mistake_changes_nothing_at_all_and_is_said_in_one_line(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    async with recording(tmp_path) as recorder:
        before = dict(recorder.bench.roster.instruments)
        (line,) = await recorder.reads(content)
        assert (line["log_level"], set(line)) == ("error", {"log_level", "event", "reason"})
        assert reason in line["reason"]
        assert "\n" not in line["reason"]
        assert dict(recorder.bench.roster.instruments) == before
        assert recorder.taken == []
        assert recorder.bench.sums.told == 0
        assert recorder.bench.http.asked_s == []
        await recorder.reads(OTHER)
        assert recorder.bench.pairs == {"BTC/USD", "DOGE/USD"}


async def test_a_file_that_is_gone_is_a_mistake_and_no_wish_for_the_defaults(tmp_path: Path) -> None:
    async with recording(tmp_path) as recorder:
        recorder.file.unlink()
        recorder.source.requested.set()
        await settle_until(lambda: bool(recorder.said))
        assert "No such file" in recorder.said[0]["reason"]
        assert recorder.taken == []


async def test_settings_that_need_a_restart_are_named_and_the_rest_applied(
    tmp_path: Path,
) -> None:
    async with recording(tmp_path) as recorder:
        one = GOOD.replace("there", "elsewhere") + "journal: {keep: 1h}\n"
        for changed_keys in ("journal.keep", "nothing"):
            warning, info = await recorder.reads(one)
            assert (warning["log_level"], warning["reason"]) == ("warning", "archive.path changes with a restart only")
            assert info["changed"] == changed_keys
            assert (recorder.taken[-1].archive.path, recorder.taken[-1].journal.keep) == (Path("there"), 3600)
        three = one + "trades: {stream: false}\nops: {port: 1, token: secret-secret-secret}\n"
        warning, _ = await recorder.reads(three)
        named = "trades.stream, archive.path, ops.port and ops.token"
        assert warning["reason"] == f"{named} change with a restart only"
        assert "secret-secret" not in str(recorder.said)


async def test_a_pair_that_was_listed_after_the_listing_was_read_is_looked_up(tmp_path: Path) -> None:
    new = instrument("NEW/USD")
    async with recording(tmp_path) as recorder:
        recorder.bench.http.answers = [[BTC, DOGE, ETH, FINE, new]]
        content = OTHER.replace("DOGE/USD", "NEW/USD")
        assert "'NEW/USD'" in (await recorder.reads(content))[0]["reason"], "one so new is not read again"
        recorder.bench.clock.move(SOON_S)
        assert (await recorder.reads(content))[-1]["added"] == "NEW/USD"
        assert recorder.bench.pairs == {"BTC/USD", "NEW/USD"}


def test_each_part_is_told_what_is_its_own(tmp_path: Path) -> None:
    told: dict[str, object] = {}
    commit, upkeep, drainer = SimpleNamespace(), SimpleNamespace(), SimpleNamespace()
    live = LiveSettings(
        pace=cast("Pace", SimpleNamespace(set_rate=lambda per_s: told.update(pace=per_s))),
        ohlc=cast("CandleCollector", SimpleNamespace(want=lambda wanted: told.update(ohlc=wanted))),
        commit=cast("Commit", commit),
        maintenance=cast("Maintenance", upkeep),
        drainer=cast("Drainer", drainer),
        drain=cast("DrainSchedule", SimpleNamespace(want=lambda every_s: told.update(drain=every_s(1)))),
        repair=cast("Repair", SimpleNamespace(want_history=lambda from_us: told.update(repair=from_us))),
        market=cast("MarketProcess", SimpleNamespace(want=lambda config: told.update(market=config.quotes.pairs))),
    )
    file = tmp_path / "config.yaml"
    file.write_text(
        "ohlc: {timeframes: [15d], refresh: 5s}\njournal: {sync_every: 2s, keep: 1h}\n"
        "exchange: {requests_per_second: 7}\narchive: {drain_every: 2m}\ntrades: {backfill_from: 2025-11-10}\n"
    )
    live.apply(load(file))
    assert told == {
        "pace": 7,
        "ohlc": Wanted(("15d",), 5, 7),
        "drain": 120,
        "repair": 1_762_732_800_000_000,
        "market": (),
    }
    assert (commit.sync_every_s, upkeep.keep_s, drainer.keep_raw) == (2, 3600, True)
    file.write_text("journal: {keep: 0s}")
    live.apply(load(file))
    assert (upkeep.keep_s, drainer.keep_raw) == (0, False)


def test_every_key_that_is_taken_over_is_one() -> None:
    assert set(LIVE) < set(keys())


# -- the signal -----------------------------------------------------------------------------------------------------


async def test_a_signal_asks_for_a_reload_and_from_a_terminal_that_is_gone_for_the_end() -> None:
    stopped = asyncio.Event()
    host, terminal = os.openpty()
    with contextlib.ExitStack() as opened:
        opened.callback(os.close, terminal)
        opened.callback(asyncio.get_running_loop().remove_signal_handler, signal.SIGHUP)
        source = ConfigSource(Config)
        source.on_signal(stopped.set, terminal=terminal)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(source.requested.wait(), 30)
        assert not stopped.is_set()
        source.requested.clear()
        os.close(host)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(stopped.wait(), 30)
        assert not source.requested.is_set()
        assert os.write(terminal, b"a line of the log") > 0
