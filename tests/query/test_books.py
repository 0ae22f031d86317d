"""Books in SQL: at random moments of a simulated market with every fault, what is verified is what the exchange had."""

from __future__ import annotations

import bisect
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from recorder.archive.datasets import BOOK, BOOKS_JOURNAL, Branch
from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile
from recorder.collectors import book_feed
from recorder.errors import GapError
from recorder.kraken.book import Digits
from recorder.kraken.book_session import BookSession
from recorder.kraken.channels import BOOKS
from recorder.kraken.quote_session import SessionNumbers
from recorder.kraken.websocket_session import Send
from recorder.ops.verify_books import verified_books
from recorder.query import catalogue
from recorder.query.connect import connect
from recorder.sandbox.book_feed import BookFeed
from recorder.sandbox.fault_injection.book_faults import NAMES
from recorder.sandbox.fault_injection.injected_faults import InjectedFaults
from recorder.sandbox.market import Market
from tests.archives import START, START_US, book_row, writing
from tests.book_journal import encoded
from tests.clocks import ManualClock
from tests.ingest.drained_archive import drain
from tests.kraken.session_scripts import ack
from tests.powercut import Unsynced

START_NS = int(datetime(2025, 11, 10, 23, 57, 30, tzinfo=UTC).timestamp()) * 10**9
STEP_NS = 250_000_000
Top = tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]


@dataclass
class Truth:
    """The books of one pair as the sandbox had them after each frame that it really sent, by when."""

    times_ns: list[int] = field(default_factory=list)
    tops: list[Top] = field(default_factory=list)

    def at(self, ns: int) -> Top | None:
        index = bisect.bisect_right(self.times_ns, ns)
        return self.tops[index - 1] if index else None


class Simulation:
    """A market and a recorder of its books on injected clocks; ``segments`` are the journal."""

    def __init__(self, pairs: list[str], seed: int) -> None:
        self.random = Random(seed)
        self.ns, self.pairs, self.depth = START_NS, pairs, 10
        self.market = Market(start_ns=START_NS, rate=1.0, history=50, seed=seed)
        self.injected = InjectedFaults(ManualClock())
        self.feed = BookFeed(lambda: self.ns, lambda: self.injected)
        self.numbers = SessionNumbers()
        self.truth = {pair: Truth() for pair in pairs}
        self.segments: list[list[bytes]] = [[]]
        self.faults = 0
        self.connect()

    def connect(self) -> None:
        def digits(pair: str) -> Digits:
            listed = self.market.listing[pair]
            return Digits(listed.pair_decimals, listed.lot_decimals)

        channel = replace(BOOKS, params={"depth": self.depth})
        self.session = BookSession(self.pairs, self.numbers, channel=channel, depth=self.depth, digits=digits)
        self.serve(self.session.opened(self.now_s))

    @property
    def now_s(self) -> float:
        return (self.ns - START_NS) / 1e9

    def serve(self, effects: object) -> None:
        """Journal what is to be journalled, and do as the exchange does with what is sent."""
        assert isinstance(effects, list | tuple)
        self.segments[-1] += encoded(list(effects))
        for effect in effects:
            if isinstance(effect, Send):
                message = json.loads(effect.text)
                for pair in message.get("params", {}).get("symbol", []):
                    if message["method"] == "subscribe":
                        self.comes(pair, ack(pair, channel="book"))
                        self.comes(pair, self.feed.snapshot(self.market.tapes[pair], self.depth))

    def comes(self, pair: str, frame: str) -> None:
        self.ns += 1_000
        if frame.startswith('{"channel":"book"'):
            self.note(pair)
        self.serve(self.session.receive(frame.encode(), self.now_s, received_ns=self.ns))

    def note(self, pair: str) -> None:
        tape, top = self.market.tapes[pair], []
        for side in self.feed.window(pair, self.depth):
            levels = list(side.items())[:10]
            top.append(
                [(Decimal(p).scaleb(-tape.price_digits), Decimal(q).scaleb(-tape.qty_digits)) for p, q in levels]
            )
        truth = self.truth[pair]
        truth.times_ns.append(self.ns)
        truth.tops.append((top[0], top[1]))

    def step(self) -> None:
        self.ns += STEP_NS
        for made in self.market.advance(self.ns):
            if made.pair in self.pairs:
                for depth, frame in self.feed.traded(self.market.tapes[made.pair]):
                    if depth == self.depth:
                        self.comes(made.pair, frame)
        # One by one, so that the window is that of the frame just sent.
        for pair, depth, frame in self.feed.moved([self.market.tapes[pair] for pair in self.pairs]):
            if depth == self.depth:
                self.comes(pair, frame)
        self.serve(self.session.receive(b'{"channel":"heartbeat"}', self.now_s, received_ns=self.ns))
        self.serve(self.session.tick(self.now_s))

    def rotate(self) -> None:
        self.segments.append(list(encoded(list(self.session.checkpoints(self.ns)))))

    def kill(self, folder: Path) -> None:
        """End without a word; the next run ends what was left."""
        path = folder / "left.jsonl"
        path.write_bytes(b"".join(self.segments[-1]))
        ends = book_feed.left_unended([path])
        self.segments.append([book_feed.ended(ends, 0, self.ns)])
        self.connect()

    def disturb(self) -> None:
        self.faults += 1
        self.injected.books.throw(self.random.choice(self.pairs), self.random.choice(NAMES), self.random.randint(1, 3))

    def end(self) -> None:
        self.serve(self.session.closed())


def simulated(folder: Path, pairs: list[str], *, steps: int, seed: int) -> Simulation:
    """Simulate, with kills, rotations, a change of depth and one of precision on the way, and drain it all."""
    made = Simulation(pairs, seed)
    for step in range(1, steps + 1):
        made.step()
        if made.random.random() < 0.03:
            made.disturb()
        if step % (steps // 4) == 0:
            made.rotate()
        if step in {steps // 3, steps // 2}:
            made.kill(folder)
        if step == steps * 5 // 8:
            made.end()
            made.depth = 25
            made.connect()
        if step == steps * 7 // 8:
            listed = made.market.listing[pairs[0]]
            finer = listed.changed(pair_decimals=listed.pair_decimals + 1)
            made.market.relist(pairs[0], finer, now_ns=made.ns)
    made.end()
    for lines in made.segments:
        drain(folder, Unsynced(), journalled=lines, journal_name=BOOKS_JOURNAL)
    return made


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Simulation]:
    folder = tmp_path_factory.mktemp("books")
    return folder, simulated(folder, ["BTC/USD", "ETH/EUR"], steps=1_040, seed=7)


@pytest.fixture(scope="module")
def plain(market: tuple[Path, Simulation]) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(catalogue.script(market[0]))
        yield connection


def moments_of(made: Simulation, count: int) -> list[datetime]:
    random = Random(3)
    chosen = sorted(random.randrange(START_NS // 1000, made.ns // 1000) for _ in range(count))
    return [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us) for us in chosen]


def ns_of(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def compared(plain: duckdb.DuckDBPyConnection, made: Simulation, pair: str, count: int) -> tuple[int, int]:
    """Compare the books at random moments; return how many are verified, and how many of those are wrong."""
    moments = moments_of(made, count)
    query = "SELECT moment, side, price, qty, verified FROM book_levels($pair, $moments, 'received') WHERE level <= 10"
    found: dict[datetime, tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]] = {}
    proven: dict[datetime, bool] = {}
    for moment, side, price, qty, verified in plain.execute(query, {"pair": pair, "moments": moments}).fetchall():
        found.setdefault(moment, ([], []))[side == "ask"].append((price, qty))
        proven[moment] = proven.get(moment, True) and verified
    verified = [moment for moment, is_proven in proven.items() if is_proven]
    wrong = [moment for moment in verified if found[moment] != made.truth[pair].at(ns_of(moment) + 999)]
    return len(verified), len(wrong)


def test_no_verified_book_differs_from_the_sandbox_whatever_went_wrong(
    market: tuple[Path, Simulation], plain: duckdb.DuckDBPyConnection
) -> None:
    _, made = market
    assert made.faults > 20
    for pair in made.pairs:
        verified, wrong = compared(plain, made, pair, 500)
        assert wrong == 0
        assert verified > 300
    reasons = {reason for (reason,) in plain.execute("SELECT DISTINCT end_reason FROM book_sessions").fetchall()}
    assert reasons >= {"mismatch", "killed", "disconnected", "replaced", "unreadable"}
    assert plain.execute("SELECT max(missing) FROM book_sessions").fetchall() == [(0,)]


def test_a_replay_of_the_stored_rows_finds_no_fault_and_verifies_what_was_verified(
    market: tuple[Path, Simulation], plain: duckdb.DuckDBPyConnection
) -> None:
    folder, _ = market
    for books in verified_books(Layout(folder)):
        assert books.findings == []
        query = "SELECT sum(messages), sum(verified) FROM book_sessions WHERE pair = $pair"
        ((messages, verified),) = plain.execute(query, {"pair": books.pair}).fetchall()
        assert sum(day.messages for day in books.days.values()) == messages
        assert sum(day.verified for day in books.days.values()) == verified
        assert sorted(books.days) == ["2025-11-10", "2025-11-11"]


def test_what_is_gone_with_a_file_is_found_and_the_rest_of_its_date_is_replayed(
    market: tuple[Path, Simulation], tmp_path: Path
) -> None:
    """One file is damaged, in the middle of a date; another, with the end of the last session, was moved out."""
    layout = Layout(shutil.copytree(market[0], tmp_path / "data"))
    *_, damaged, _, gone = layout.files(Branch(BOOK, "BTC/USD"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with OpenFile(gone) as file:
        lost = {row["session"] for row in file.table(columns=["session"]).to_pylist()}
    gone.unlink()
    before, after = (
        next(books for books in verified_books(Layout(data)) if books.pair == "BTC/USD")
        for data in (market[0], layout.data)
    )
    assert 0 < after.days["2025-11-11"].messages < before.days["2025-11-11"].messages
    assert before.findings == []
    assert any(f"session {max(lost)} of BTC/USD" in finding.problem for finding in after.findings)
    assert all("missing" in finding.problem for finding in after.findings)


def test_what_is_asked_for_by_the_time_of_the_exchange_is_the_last_that_it_had_stamped_by_then(
    market: tuple[Path, Simulation], plain: duckdb.DuckDBPyConnection
) -> None:
    _, made = market
    (moment,) = moments_of(made, 1)
    query = "SELECT any_value(time), any_value(received), count(*) FROM book_at('BTC/USD', $at, by := 'time')"
    ((time, received, levels),) = plain.execute(query, {"at": moment}).fetchall()
    later = "SELECT count(*) FROM book WHERE pair = 'BTC/USD' AND time > $time AND time <= $at AND received > $received"
    assert plain.execute(later, {"time": time, "at": moment, "received": received}).fetchall() == [(0,)]
    assert levels == 20
    with pytest.raises(duckdb.Error, match="by is 'received' or 'time'"):
        plain.execute("FROM book_at('BTC/USD', '2025-11-11', by := 'dice')")


def test_before_after_and_between_sessions_nothing_is_verified(plain: duckdb.DuckDBPyConnection) -> None:
    late = plain.execute("SELECT bool_or(verified) FROM book_at('BTC/USD', '2025-11-11 06:00')").fetchall()
    assert late in ([(False,)], [(None,)])
    assert plain.execute("FROM book_at('BTC/USD', '2025-11-10 12:00')").fetchall() == []
    ends = plain.execute(
        "SELECT ended FROM book_sessions WHERE pair = 'BTC/USD' AND end_reason = 'mismatch'"
    ).fetchall()
    for (ended,) in ends[:3]:
        query = "SELECT bool_or(verified) FROM book_at('BTC/USD', $at)"
        assert plain.execute(query, {"at": ended + timedelta(microseconds=1)}).fetchall() == [(False,)]


def test_snapshots_sums_and_slippage_follow_from_the_levels(
    market: tuple[Path, Simulation], plain: duckdb.DuckDBPyConnection
) -> None:
    _, made = market
    limits = "'ETH/EUR', '2025-11-10 23:59', '2025-11-11 00:00:30', '10 seconds'"
    rows = plain.execute(f"SELECT moment, bids, asks, verified FROM book_snapshots({limits}, depth := 3)").fetchall()
    assert len(rows) == 9
    for moment, bids, asks, verified in rows:
        truth = made.truth["ETH/EUR"].at(ns_of(moment) + 999)
        assert truth is not None
        if verified:
            held = tuple([(level["price"], level["qty"]) for level in side] for side in (bids, asks))
            assert held == (truth[0][:3], truth[1][:3])
    assert sum(verified for *_, verified in rows) > 5
    bars = plain.execute(f"FROM depth_bars({limits}, basis_points := 1000)").fetchall()
    assert len(bars) == len([1 for _, bids, asks, _ in rows if bids and asks])
    for _, moment, mid, bid_qty, ask_qty, bid_amount, ask_amount, covered, verified in bars:
        if verified:
            truth = made.truth["ETH/EUR"].at(ns_of(moment) + 999)
            assert truth is not None
            assert mid == (truth[0][0][0] + truth[1][0][0]) / 2
            assert (bid_qty, ask_qty) == tuple(sum(qty for _, qty in side) for side in truth)
            assert (bid_amount, ask_amount) == tuple(sum(price * qty for price, qty in side) for side in truth)
            assert not covered
    moment, bids, asks, _ = rows[0]
    part = (asks[1]["qty"] / 2).quantize(Decimal("1e-8"))
    qty = asks[0]["qty"] + part
    shown = "filled, levels, best_price, worst_price, amount, slippage"
    order = f"SELECT {shown} FROM book_slippage('ETH/EUR', $at, 'buy', $qty)"
    ((filled, levels, best, worst, amount, slippage),) = plain.execute(order, {"at": moment, "qty": qty}).fetchall()
    assert (filled, levels, best, worst) == (qty, 2, asks[0]["price"], asks[1]["price"])
    expected = asks[0]["price"] * asks[0]["qty"] + asks[1]["price"] * part
    assert amount == pytest.approx(expected, rel=Decimal("1e-9"))
    assert slippage == pytest.approx(float(amount / filled / best - 1), abs=1e-12)


def test_a_live_connection_answers_the_same(market: tuple[Path, Simulation]) -> None:
    folder, made = market
    (moment,) = moments_of(made, 1)
    with connect(folder) as opened:
        found = opened.sql("SELECT side, level FROM book_at('BTC/USD', $at, depth := 2)", at=moment, to="arrow")
        assert found.to_pylist() == [{"side": side, "level": level} for side in ("bid", "ask") for level in (1, 2)]


def test_of_two_recorders_that_were_merged_the_one_is_shown_whose_book_is_verified(tmp_path: Path) -> None:
    """One records all the time, with a checkpoint in its second segment; the other began later, and ends soon."""
    one, other, second_us = START_US, START_US + 20_000_000, 1_000_000
    with writing(tmp_path) as archive:
        archive.booked([book_row(one, 0, one), book_row(one, 1, one + second_us, "101.0")])
        archive.booked(
            [
                book_row(one, 2, one + 5 * second_us, "99.0", kind="checkpoint"),
                *(book_row(one, number, one + number * 10 * second_us, "98.0", str(number)) for number in range(3, 7)),
            ]
        )
        messages = [book_row(other, number, other + number * second_us, "97.0", str(number + 1)) for number in range(3)]
        archive.booked(messages, ended={("BTC/USD", other): other + 4 * second_us})
    expected = {12: (one, True), 21.5: (other, True), 23: (one, True), 45: (one, True), 61: (other, False)}
    query = "SELECT any_value(session), bool_and(verified) FROM book_at($pair, $at)"
    with duckdb.connect() as sql:
        sql.execute(catalogue.script(tmp_path))
        for second, found in expected.items():
            at = START + timedelta(seconds=second)
            assert sql.execute(query, {"pair": "BTC/USD", "at": at}).fetchall() == [found], second


def test_python_has_the_same_rows_in_frames_batches_and_wide(market: tuple[Path, Simulation]) -> None:
    folder, _ = market
    pair, start, stop = "ETH/EUR", "2025-11-10T23:59:30Z", "2025-11-11T00:00:30Z"
    limits: dict[str, Any] = {"start": datetime.fromisoformat(start), "stop": datetime.fromisoformat(stop)}
    with connect(folder) as opened:
        stored = opened.sql(
            "SELECT * EXCLUDE (date) FROM book WHERE pair = 'ETH/EUR' AND received >= $start AND received < $stop "
            "ORDER BY session, message, position",
            to="arrow",
            decimals=True,
            **limits,
        ).to_pylist()
        with pytest.raises(GapError, match="not all of the book in this range was recorded, and nobody can fetch it"):
            opened.book(pair, start, stop)
        with pytest.warns(UserWarning, match="nothing from .* to "):
            found = opened.book(pair, start, stop, to="arrow", decimals=True, on_gap="warn")
        columns = ["session", "message", "position", "kind", "side", "price", "qty", "checksum", "verified"]
        assert found.select(columns).to_pylist() == [{name: row[name] for name in columns} for row in stored]
        told = json.loads(found.schema.metadata[b"recorder"])
        refuted = {(row["session"], row["message"]) for row in stored if not row["verified"]}
        assert told["unverified"][pair] == len(refuted) > 0
        assert told["missing"][pair] == 0
        pieces = list(opened.book_batches(pair, start, stop, rows=1_000, to="arrow", decimals=True, on_gap="ignore"))
        joined = pa.concat_tables(pieces).select(columns)
        assert joined.to_pylist() == found.select(columns).to_pylist()
        assert max(piece.num_rows for piece in pieces) <= 1_000
        assert len(pieces) > 3
        assert all(messages(one).isdisjoint(messages(following)) for one, following in pairwise(pieces))

        rows = opened.sql(
            "FROM book_snapshots('ETH/EUR', $start, $stop, '10 seconds', depth := 3)",
            to="arrow",
            decimals=True,
            **limits,
        ).to_pylist()
        every = timedelta(seconds=10)
        wide = opened.book_snapshots(
            pair, start, stop, every, depth=3, wide=True, to="arrow", decimals=True
        ).to_pylist()
        assert [row["moment"] for row in wide] == [row["moment"] for row in rows]
        for row, listed in zip(wide, rows, strict=True):
            for side in ("bid", "ask"):
                levels = listed[f"{side}s"] or []
                told_levels = [(row[f"{side}_price_{level}"], row[f"{side}_qty_{level}"]) for level in range(3)]
                assert told_levels == [
                    (levels[n]["price"], levels[n]["qty"]) if n < len(levels) else (None, None) for n in range(3)
                ]
            assert row["verified"] is listed["verified"]
        long = opened.book_snapshots(pair, start, stop, every, depth=3, to="arrow").num_rows
        assert long == sum(len(row[side] or ()) for row in rows for side in ("bids", "asks"))
        bars = opened.depth_bars(pair, start, stop, every, basis_points=50)
        assert len(bars) == sum(1 for row in rows if row["bids"] and row["asks"])


def messages(piece: pa.Table) -> set[tuple[int, int]]:
    return set(zip(piece["session"].to_pylist(), piece["message"].to_pylist(), strict=True))
