"""The book channel: a client that does what the documents say has the book that REST shows, at every depth."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from zlib import crc32

import pytest

from recorder.errors import UsageError
from recorder.sandbox import book
from recorder.sandbox.book_feed import DEPTHS, BookFeed
from recorder.sandbox.channels import SubscriptionRefused, books
from recorder.sandbox.fault_injection.injected_faults import InjectedFaults
from recorder.sandbox.market import Market
from recorder.sandbox.rest import Rest
from tests.clocks import ManualClock

BTC = "BTC/USD"
START_NS = 1_762_776_000 * 10**9


class Client:
    """A book by the documents: applied in order, cut to the depth after each message, and compared."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.bids: dict[Decimal, str] = {}
        self.asks: dict[Decimal, str] = {}
        self.right = self.wrong = 0
        self.stamps: list[str] = []
        self.digits = 0

    def takes(self, text: str) -> None:
        frame = json.loads(text, parse_float=str, parse_int=str)
        (row,) = frame["data"]
        if frame["type"] == "snapshot":
            self.bids, self.asks = {}, {}
        for side, levels, descends in ((self.bids, row["bids"], True), (self.asks, row["asks"], False)):
            for level in levels:
                self.digits = len(level["price"].partition(".")[2])
                side[Decimal(level["price"])] = level["qty"]
                if not Decimal(level["qty"]):
                    del side[Decimal(level["price"])]
            for beyond in sorted(side, reverse=descends)[self.depth :]:
                del side[beyond]
        joined = "".join(
            number.replace(".", "").lstrip("0")
            for side, descends in ((self.asks, False), (self.bids, True))
            for price in sorted(side, reverse=descends)[:10]
            for number in (f"{price:.{self.digits}f}", side[price])
        )
        right = crc32(joined.encode()) == int(row["checksum"])
        self.right, self.wrong = self.right + right, self.wrong + (not right)
        self.stamps.append(row["timestamp"])


class Moving:
    """A market, its book channel, and clients at some depths of one pair."""

    def __init__(self, *depths: int, rate: float = 2.0) -> None:
        self.ns = START_NS
        self.market = Market(start_ns=START_NS, rate=rate, history=100)
        self.injected = InjectedFaults(ManualClock())
        self.feed = BookFeed(lambda: self.ns, lambda: self.injected)
        self.tape = self.market.tapes[BTC]
        self.clients = {depth: Client(depth) for depth in depths}
        for depth, client in self.clients.items():
            client.takes(self.feed.snapshot(self.tape, depth))

    def runs(self, seconds: float) -> list[str]:
        """Let time pass in steps of 50 ms; return all frames."""
        frames = []
        for _ in range(int(seconds * 20)):
            self.ns += 50_000_000
            made = any(one.pair == BTC for one in self.market.advance(self.ns))
            due = [*(self.feed.traded(self.tape) if made else ()), *(two[1:] for two in self.feed.moved([self.tape]))]
            for depth, text in due:
                frames.append(text)
                self.clients[depth].takes(text)
        return frames


def test_every_checksum_is_right_and_the_book_is_that_of_rest_at_each_depth() -> None:
    moving = Moving(*DEPTHS)
    frames = moving.runs(3)
    assert len(frames) > 50
    told = Rest(moving.market).answer("Depth", {"pair": BTC, "count": "500"}, now_ns=moving.ns)
    shown = next(iter(json.loads(told)["result"].values()))
    for depth, client in moving.clients.items():
        assert client.wrong == 0
        assert client.right > 10
        assert client.stamps == sorted(set(client.stamps))
        for side, levels in (("bids", client.bids), ("asks", client.asks)):
            prices = sorted(levels, reverse=side == "bids")
            assert len(prices) == depth
            assert prices[:500] == [Decimal(price) for price, *_ in shown[side]][:depth]


def test_a_removal_is_followed_by_the_level_that_enters_and_what_is_pushed_out_is_not_announced() -> None:
    moving = Moving(10)
    entered = pushed_out = deep = 0
    for _ in range(40):
        before = {side: set(getattr(moving.clients[10], side)) for side in ("bids", "asks")}
        for text in moving.runs(0.05):
            (row,) = json.loads(text, parse_float=str)["data"]
            for side in ("bids", "asks"):
                gone = [level for level in row[side] if not Decimal(level["qty"])]
                for level in gone:
                    follows = row[side][row[side].index(level) + 1]
                    entered += Decimal(follows["price"]) not in before[side]
                now = set(getattr(moving.clients[10], side))
                pushed_out += len(before[side] - now - {Decimal(level["price"]) for level in gone})
    wide = Moving(25)
    for text in wide.runs(5):
        (row,) = json.loads(text, parse_float=str)["data"]
        best = [*list(wide.clients[25].bids)[:10], *list(wide.clients[25].asks)[:10]]
        deep += not any(Decimal(level["price"]) in best for side in ("bids", "asks") for level in row[side])
    assert entered
    assert pushed_out
    assert deep


def test_whoever_comes_later_gets_what_others_have_and_nothing_is_due_to_nobody() -> None:
    moving = Moving(10)
    moving.runs(1)
    late = Client(10)
    late.takes(moving.feed.snapshot(moving.tape, 10))
    assert (late.bids, late.asks, late.wrong) == (moving.clients[10].bids, moving.clients[10].asks, 0)
    assert list(moving.feed.moved([])) == []
    moving.ns += 60 * 10**9
    assert list(moving.feed.moved([moving.tape])) == []


@pytest.mark.parametrize(("fault", "wrong"), [("checksum", 1), ("lose_top", 1), ("lose_deep", 0), ("cross", 0)])
def test_each_fault_is_what_it_says(fault: str, wrong: int) -> None:
    moving = Moving(25, rate=0)
    client = moving.clients[25]
    # The next change may undo what a lost one did: only then no checksum tells of it.
    moving.injected.books.throw(BTC, fault, 5 if fault == "lose_top" else 1)
    crossed = 0
    for _ in range(40):
        moving.runs(0.05)
        crossed += bool(client.bids) and max(client.bids) >= min(client.asks)
    assert (client.wrong > 0) == bool(wrong)
    assert (crossed > 0) == (fault == "cross")
    truth = [Decimal(price) / 10**moving.tape.price_digits for side in moving.feed.window(BTC, 25) for price in side]
    held = [*sorted(client.bids, reverse=True), *sorted(client.asks)]
    assert (held == truth) or fault == "lose_top"
    moving.injected.books.throw(BTC, "snapshot")
    moving.runs(0.5)
    assert [client.bids, client.asks] == [
        {
            Decimal(price) / 10**moving.tape.price_digits: f"{Decimal(qty).scaleb(-moving.tape.qty_digits):f}"
            for price, qty in side.items()
        }
        for side in moving.feed.window(BTC, 25)
    ]


def test_after_a_change_of_precision_checksums_are_of_the_new_digits() -> None:
    moving = Moving(10)
    moving.runs(1)
    pair = moving.market.listing[BTC].changed(pair_decimals=3, tick_size="0.001")
    moving.market.relist(BTC, pair, now_ns=moving.ns)
    texts = moving.runs(1)
    assert all(len(level["price"].partition(".")[2]) == 3 for text in texts for level in levels(text))
    assert moving.clients[10].wrong == 0


def levels(text: str) -> list[dict[str, Any]]:
    (row,) = json.loads(text, parse_float=str)["data"]
    return [*row["bids"], *row["asks"]]


def test_depths_that_there_are_not_are_refused() -> None:
    channel = books(BookFeed(lambda: START_NS))
    assert channel.accepted({"symbol": [BTC]}) == {"depth": 10, "snapshot": True}
    for depth in (0, 11, "10", None, 10.5):
        with pytest.raises(SubscriptionRefused, match="Subscription depth not supported"):
            channel.accepted({"symbol": [BTC], "depth": depth})
    with pytest.raises(UsageError, match="there is no fault"):
        InjectedFaults(ManualClock()).books.throw(BTC, "typhoon")


def test_a_pair_that_never_traded_has_an_empty_book_until_it_does() -> None:
    moving = Moving(10)
    empty = type(moving.tape)(moving.tape.pair)
    client = Client(10)
    feed = BookFeed(lambda: moving.ns)
    client.takes(feed.snapshot(empty, 10))
    assert (client.bids, client.asks, client.wrong) == ({}, {}, 0)
    assert list(feed.moved([empty])) == []
    empty.append(moving.ns, price=moving.tape.prices[-1], qty=1, mark=0)
    for _, text in feed.traded(empty):
        client.takes(text)
    assert (len(client.bids), len(client.asks), client.wrong) == (10, 10, 0)
    assert book.moved(empty, moving.ns) == 0
