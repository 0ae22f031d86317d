from __future__ import annotations

from decimal import Decimal

from recorder.core.trade_ids import runs_of
from recorder.ingest.durable_trades import KEPT_BYTES, DurableTrades
from recorder.journal import segment
from recorder.runtime.inbox import Inbound
from tests.archives import START_US, frame, trade
from tests.clocks import ManualClock


def inbound(*ids: int, price: str = "100", pair: str = "BTC/USD") -> Inbound:
    rows = [trade(number, price=price, pair=pair) for number in ids]
    return Inbound(segment.encode(START_US * 1000, "ws:trade:1", frame(rows), parsed=True), list(runs_of(rows)))


def test_the_newest_trade_is_that_of_the_latest_time_in_any_order() -> None:
    durable = DurableTrades(ManualClock())
    assert durable.newest("BTC/USD") is None
    durable.take([inbound(5, 6, price="97000.10"), inbound(3, 4, price="1"), inbound(9, pair="ETH/USD")])
    newest = durable.newest("BTC/USD")
    assert newest is not None
    assert (newest.trade_id, newest.price) == (6, Decimal("97000.10"))
    assert durable.newest("BTC/USD") is newest
    other = durable.newest("ETH/USD")
    assert other is not None
    assert other.trade_id == 9


def test_a_long_line_is_read_at_once_so_that_it_is_not_kept() -> None:
    durable = DurableTrades(ManualClock())
    long = inbound(*range(1, 200))
    assert len(long.line) > KEPT_BYTES
    durable.take([long])
    assert durable._pairs["BTC/USD"].line == b""
    newest = durable.newest("BTC/USD")
    assert newest is not None
    assert newest.trade_id == 199


def test_the_rate_counts_each_new_trade_once_and_fades() -> None:
    clock = ManualClock()
    durable = DurableTrades(clock)
    durable.take([inbound(*range(1, 51))])  # what the exchange shows of before
    assert durable.per_minute("BTC/USD") == 0
    for second in range(300):  # two a second, each shown twice
        clock.move(1)
        ids = (51 + 2 * second, 52 + 2 * second)
        durable.take([inbound(*ids), inbound(*ids)])
    assert 115 < durable.per_minute("BTC/USD") < 125
    clock.move(300)
    assert durable.per_minute("BTC/USD") < 1
    assert durable.per_minute("ETH/USD") == 0


def test_a_line_that_cannot_be_read_leaves_what_was_known() -> None:
    durable = DurableTrades(ManualClock())
    durable.take([inbound(1)])
    known = durable.newest("BTC/USD")
    durable.take([Inbound(b"torn", inbound(2).claims)])
    assert durable.newest("BTC/USD") is known
