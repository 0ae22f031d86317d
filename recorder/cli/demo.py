"""``recorder demo``: the complete workflow in half a minute, without a network.

A sandbox exchange trades; the recorder records it through an outage and fetches the earlier history; the archive is
compared with everything the exchange made, certified, and drawn.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import sys
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.table import Table

from recorder import app
from recorder.archive import read_trades
from recorder.archive.layout import Layout
from recorder.cli.interrupts import on_interrupt
from recorder.cli.screen import Screen
from recorder.cli.status import counted
from recorder.clock import SystemClock
from recorder.config import ArchiveConfig, Config, ExchangeConfig, OpsConfig, TradesConfig
from recorder.core.event_kinds import EventKind
from recorder.core.model import Trade, plain
from recorder.errors import CheckFailed
from recorder.ops import archive_status, log, process_setup
from recorder.query import plots
from recorder.query.connect import Archive, connect
from recorder.runtime.stop import Stop
from recorder.sandbox.ground_truth import Verdict, compare, read_truth
from recorder.sandbox.market import CHARACTERS, Market
from recorder.sandbox.server import Sandbox

RATE: Final = 40.0
HISTORY: Final = 2_000
"""The number of trades of each pair made before the recording began."""
DRAWN: Final = "BTC/USD"
DENSER: Final = 75
"""The history of DRAWN has so many times as many trades: about as many a minute as come while it is recorded, so that
the last bar of the chart does not dwarf the others."""
HISTORY_S: Final = 36 * 3600
"""Their maximum age, so that a whole day can be certified at any hour of the day."""
SEED: Final = 16
"""Of a market whose price went up and down and up again."""
LIVELIER: Final = 8
"""So many times as far as the market's own steps do the prices of the history move: its trades took 36 hours."""
REQUESTS_PER_S: Final = 50.0
"""The exchange is our own, so history need not be fetched slowly."""
SHOWN: Final = 8
"""Candles in the table; the picture has them all."""
BEFORE_S: Final = 7.0
OUTAGE_S: Final = 5.0
"""Long enough that more is missed of DRAWN than the 50 trades that the exchange repeats to a subscriber."""
AFTER_S: Final = 6.0
"""How long it is recorded before and after the outage."""
REPAIR_S: Final = 30.0
"""Longest wait for a subscription, and for the last gap to be filled after the market has stopped."""

console = Screen()


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Where to keep the archive; a new temporary folder if left out.")
    ] = None,
) -> None:
    """Record a local exchange through an outage, fill the gap, prove that nothing is missing, and draw it."""
    folder = data or Path(tempfile.mkdtemp(prefix="recorder-demo-"))
    archive, truth_path = folder / "data", folder / "truth.jsonl"
    process_setup.as_owner(archive)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "recorder.log").open("w", encoding="utf-8") as file:
        log.configure("console", to=file)
        with on_interrupt(lambda: f"what was recorded is in {archive}: {_program()} status --data {archive}"):
            first_ids = asyncio.run(_record(archive, truth_path))
        log.report_suppressed(rest=True)
    log.configure("console")
    verdict = _compare(archive, truth_path, first_ids)
    if not verdict.perfect:
        raise CheckFailed(f"the archive is not what the exchange sent: {verdict}")
    console.print(
        f"[bold green]Complete and exact:[/] {verdict.rows:,} trades, 0 lost, 0 duplicated, 0 altered.", markup=True
    )
    picture = folder / "candles.html"
    with connect(archive) as opened:
        console.print(_story(opened), highlight=False)
        _show_candles(opened)
        _show_certificates(opened)
        plots.save(plots.candles(opened, DRAWN), picture)
    console.print(f"Look at it:   {picture}", soft_wrap=True, highlight=False)
    console.print(f"Its log:      {folder / 'recorder.log'}", soft_wrap=True, highlight=False)
    console.print(f"Ask it more:  {_program()} status --data {archive}", soft_wrap=True, highlight=False)


def _program() -> str:
    """Return what this program is called by: after pip by its name, after make by its path."""
    return "recorder" if shutil.which("recorder") else sys.argv[0]


async def _record(archive: Path, truth_path: Path) -> dict[str, int]:
    """Record through an outage until the market stands still and no gap is left; return each pair's first id."""
    clock = SystemClock()
    start_ns = clock.wall_ns()
    market = Market(start_ns=start_ns, seed=SEED, rate=RATE, history=_histories())
    _age(market, start_ns)
    truth_path.parent.mkdir(parents=True, exist_ok=True)
    exchange = Sandbox(market, clock=clock, truth=truth_path)
    pairs = tuple(pair.symbol for pair in market.listing.pairs)
    async with exchange.serve():
        console.print(
            f"A local exchange trades {len(pairs)} pairs. They are recorded for {BEFORE_S + OUTAGE_S + AFTER_S:.0f} "
            f"seconds, in which the exchange is away for {OUTAGE_S:.0f}; then the market stops, and what is missing is "
            "fetched …",
            highlight=False,
        )
        config = Config(
            pairs=pairs,
            archive=ArchiveConfig(path=archive),
            trades=TradesConfig.model_validate({"backfill_from": "listing"}),
            exchange=ExchangeConfig(
                rest_url=exchange.rest_url, ws_url=exchange.ws_url, requests_per_second=REQUESTS_PER_S
            ),
            ops=OpsConfig(port=0),
        )
        stop = Stop()
        stop.on_signals()
        recording = asyncio.create_task(app.record(config, stop))
        await _through_an_outage(exchange, recording)
        exchange.freeze()
        last_ids = exchange.last_ids()
        await _until(lambda: recording.done() or _caught_up(archive, last_ids), within_s=REPAIR_S)
        interrupted = stop.requested.is_set()
        stop.signal()
        await recording
    if interrupted:
        raise KeyboardInterrupt
    return {pair.pair: pair.first_id for pair in archive_status.read(archive)}


async def _through_an_outage(exchange: Sandbox, recording: asyncio.Task[None]) -> None:
    def followed() -> bool:
        return recording.done() or bool(exchange.clients.following(DRAWN))

    await _until(followed, within_s=REPAIR_S)
    await asyncio.wait([recording], timeout=BEFORE_S)
    exchange.faults.outage(OUTAGE_S)
    await asyncio.wait([recording], timeout=OUTAGE_S)
    await _until(followed, within_s=REPAIR_S)
    await asyncio.wait([recording], timeout=AFTER_S)


def _story(archive: Archive) -> str:
    """Return what the outage did, by the events of the archive; nothing where it did nothing."""
    events = archive.events(to="arrow").to_pylist()
    begun, ended, opened, closed = (
        [event for event in events if event["kind"] == kind]
        for kind in (EventKind.CONNECTED, EventKind.DISCONNECTED, EventKind.HOLE_OPENED, EventKind.HOLE_CLOSED)
    )
    # The other gaps were there before: the history.
    gaps = [event for event in opened if begun and _after(event) > begun[0]["time"]]
    if not gaps or not ended or not closed:
        return ""
    missing = sum(json.loads(event["detail"])["missing"] for event in gaps)
    pairs = len({event["pair"] for event in gaps})
    filled = max(event["time"] for event in closed)
    return (
        f"At {ended[0]['time']:%H:%M:%S} UTC the exchange went away. When it was back, {counted(missing, 'trade')} of "
        f"{counted(pairs, 'pair')} had gone by, as their ids showed. They were fetched, and the last gap was closed at "
        f"{filled:%H:%M:%S}. The chart of {DRAWN} shows that time in green.\n"
    )


def _after(opened: Mapping[str, Any]) -> datetime:
    """Return when the last trade before a gap was made."""
    return datetime.fromisoformat(json.loads(opened["detail"]).get("after", "1970-01-01T00:00Z"))


def _histories() -> dict[str, int]:
    usual = {character.pair.symbol: HISTORY for character in CHARACTERS}
    return {**usual, DRAWN: DENSER * HISTORY}


def _age(market: Market, start_ns: int) -> None:
    """Spread each pair's history, made as dense as live trades, over HISTORY_S before ``start_ns``."""
    sums = list(accumulate(_bustle(minute) for minute in range(HISTORY_S // 60)))
    for tape in market.tapes.values():
        count, last = len(tape.times_ns), tape.prices[-1]
        for index in range(count):
            # The minute in which this share of all the bustle is over, counted back from the end.
            share = (count - index) / count * sums[-1]
            minute = bisect_left(sums, share)
            age_s = 60 * (minute + 1 - (sums[minute] - share) / _bustle(minute))
            tape.times_ns[index] = start_ns - 1 - int(age_s * 1_000_000_000)
            tape.prices[index] = max(1, last + (tape.prices[index] - last) * LIVELIER)


def _bustle(minute: int) -> float:
    """Return how many trades are made so many minutes before the recording: more by day, and more towards its begin."""
    return 1 + 0.6 * math.sin(minute * math.tau / 1440) + 2.5 * math.exp(-minute / 40)


def _caught_up(archive: Path, last_ids: Mapping[str, int]) -> bool:
    held = {pair.pair: pair for pair in archive_status.read(archive)}
    return all(
        pair in held
        and (held[pair].first_id, held[pair].last_id, held[pair].holes, held[pair].anchored) == (1, last, (), True)
        for pair, last in last_ids.items()
    )


async def _until(true: Callable[[], bool], *, within_s: float) -> None:
    clock = SystemClock()
    deadline_s = clock.monotonic() + within_s
    while not true() and clock.monotonic() < deadline_s:
        await clock.sleep(0.2)


def _compare(archive: Path, truth_path: Path, first_ids: dict[str, int]) -> Verdict:
    truth = read_truth(truth_path)
    layout = Layout(archive)
    rows: list[Trade] = [trade for pair in layout.pairs() for trade in read_trades.trades(layout, pair)]
    table = Table(title="What the exchange made, and what the archive holds", box=box.SIMPLE_HEAD)
    for heading in ("pair", "from id", "to id", "made", "archived", "live", "refilled"):
        table.add_column(heading, justify="left" if heading == "pair" else "right")
    for pair, first_id in first_ids.items():
        of_pair = [row for row in rows if row.pair == pair]
        live = sum(row.source == "ws" for row in of_pair)
        last_id = max(truth[pair])
        made = sum(trade_id >= first_id for trade_id in truth[pair])
        table.add_row(pair, *(f"{n:,}" for n in (first_id, last_id, made, len(of_pair), live, len(of_pair) - live)))
    console.print_table(table)
    return compare(rows, truth, first_ids=first_ids, pairs=truth)


def _show_candles(archive: Archive) -> None:
    candles = archive.candles(DRAWN, "1m", to="arrow", decimals=True, on_gap="ignore")
    names: Sequence[str] = ("time", "open", "high", "low", "close", "vwap", "volume", "count")
    table = _table(f"The last {DRAWN} 1-minute candles, exact; ~ marks one that is not over", names)
    for row in candles.slice(max(0, candles.num_rows - SHOWN)).to_pylist():
        moment = f"{row['time']:%H:%M}{'' if row['complete'] else ' ~'}"
        table.add_row(moment, *(plain(row[name]) for name in names[1:7]), str(row["count"]))
    console.print_table(table)


def _show_certificates(archive: Archive) -> None:
    names: Sequence[str] = ("pair", "day", "status", "trades", "missing", "sha256")
    table = _table("A certificate for each day; pending is today, which is not over", names)
    for row in archive.certificates(hashed=True, to="arrow").to_pylist():
        digest = (row["sha256"] or "")[:16]
        table.add_row(row["pair"], f"{row['day']}", row["status"], f"{row['rows']:,}", f"{row['missing']:,}", digest)
    console.print_table(table)


def _table(title: str, names: Sequence[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for name in names:
        left = name in {"time", "pair", "day", "status", "sha256"}
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    return table
