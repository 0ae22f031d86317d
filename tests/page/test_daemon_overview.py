"""The overview of a running recorder, from the parts that know."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from recorder.core.event_kinds import EventKind
from recorder.core.ledger import Ledger
from recorder.core.throttling import Pace
from recorder.core.trade_ids import Run, Span, runs_of
from recorder.daemon.heartbeat import Heartbeat, Parts
from recorder.ingest.durable_trades import DurableTrades
from recorder.journal import segment
from recorder.ops.metrics import Metrics
from recorder.ops.service_manager import Notifier
from recorder.page.daemon_overview import DaemonOverview
from recorder.page.overview import History
from recorder.runtime.inbox import Inbound, Inbox
from recorder.runtime.notes import Notes
from tests.archives import START_US, at_us, frame, trade
from tests.clocks import ManualClock


class Bench:
    """A recorder's parts, as far as the overview looks at them."""

    def __init__(self) -> None:
        self.clock = ManualClock(START_US * 1000)
        self.ledger, self.durable, inbox = Ledger(), DurableTrades(self.clock), Inbox()
        self.notes = Notes(inbox, self.clock)
        self.heartbeat = Heartbeat(Path("/data"), inbox, clock=self.clock, metrics=Metrics(), notifier=Notifier())
        self.overview = DaemonOverview(
            self.heartbeat, self.ledger, self.durable, self.notes, pace=Pace(0.5), clock=self.clock
        )

    def record(self, *pairs: str, paused: str = "") -> None:
        quarantined = SimpleNamespace(is_paused=lambda pair: pair == paused, faults=list)
        space = SimpleNamespace(room=SimpleNamespace(free=5e9, total=9e9), low_bytes=1e9, runway_s=86_400.0)
        commit = SimpleNamespace(unsynced_s=lambda: 0.0)
        drain = SimpleNamespace(drained_s=lambda: 0.0, every_s=300.0)
        fakes: list[Any] = [commit, drain, space, quarantined]
        self.heartbeat.recording(Parts(dict.fromkeys(pairs), *fakes))

    def receive(self, *ids: int, price: str = "100") -> None:
        rows = [trade(number, price=price) for number in ids]
        line = segment.encode(START_US * 1000, "ws:trade:1", frame(rows), parsed=True)
        self.ledger.observe_trades(rows)
        self.durable.take([Inbound(line, list(runs_of(rows)))])


def test_before_it_records_it_is_starting_and_shows_no_pair() -> None:
    bench = Bench()
    assert (bench.overview.facts().word, bench.overview.pairs()) == ("starting", [])


async def test_pairs_gaps_and_events_are_as_the_recorder_knows_them() -> None:
    bench = Bench()
    bench.record("BTC/USD", "ADA/EUR", paused="ADA/EUR")
    bench.receive(1, 2, 3, price="97000.1")
    assert bench.overview.pairs() == ["ADA/EUR", "BTC/USD"]
    assert bench.overview.row("ADA/EUR", History()).note == "quarantined"
    assert bench.overview.facts().word == "recording"
    bench.receive(2006, 2007, price="97000.2")
    row = bench.overview.row("BTC/USD", History())
    assert (row.price, row.last_us, row.gaps, row.missing, row.today) == ("97000.2", at_us(2007 / 60), 1, 2002, None)
    facts = bench.overview.facts()
    assert (facts.word, facts.gap_count, facts.missing, facts.eta_s) == ("catching up", 1, 2002, 6.0)
    assert (facts.gaps[0].first_id, facts.gaps[0].missing) == (4, 2002)
    await bench.notes.event(EventKind.SUBSCRIBED, pair="BTC/USD")
    await bench.notes.event(EventKind.DISCONNECTED, connection=1)
    assert [(event.kind, event.detail) for event in bench.overview.facts().events] == [("disconnected", "connection 1")]
    bench.heartbeat.stopping()
    assert bench.overview.facts().word == "stopped"


def test_trades_of_today_are_counted_where_it_is_known_with_which_id_the_day_began() -> None:
    bench = Bench()
    bench.record("BTC/USD")
    bench.ledger.observe(Run("BTC/USD", Span(1, 100), at_us(-900), at_us(1)))
    today = datetime.fromtimestamp(START_US // 1_000_000, UTC).date().isoformat()

    def counted(history: History) -> int | None:
        return bench.overview.row("BTC/USD", history).today

    assert counted(History(today, from_ids={"BTC/USD": 41})) == 60
    assert counted(History(today, from_ids={"BTC/USD": 101})) == 0
    assert counted(History(today)) == 100  # promised today, so that all are of today
    assert counted(History("2025-11-09", from_ids={"BTC/USD": 41})) is None
    shown = bench.overview.row("BTC/USD", History(today, prices={"BTC/USD": (100, "99.5", "")}))
    assert shown.price == "99.5"  # until a trade comes in this run
