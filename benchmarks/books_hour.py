"""One simulated hour of books with a midnight: at random moments, what is verified is what the exchange had.

A sandbox, the recorder and the process that records the books of ten pairs live by one clock, faster than time. By the
seed, checksums are wrong, messages are lost in the best ten levels and below, books are crossed, snapshots come
unasked, acknowledgements come late, trades come in bursts, frames are torn, doubled and swapped, connections end or
fall silent, the exchange goes down, the host's clock is set back, a price gets another digit, and the process is killed
with SIGKILL. The recorder is restarted with another depth twice. At the end the books at random moments, by either
clock, are compared with the sandbox's own. Lost messages that nobody can see, because later ones overwrite all that
they changed, are counted apart.

Run by hand: python -m benchmarks.books_hour [--minutes 60] [--seed 1] [--moments 10000] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple
from unittest import mock

import duckdb
import structlog

from benchmarks.disturbances import Kinds, disturbed, of_connections
from benchmarks.lockstep import Leader
from recorder import app
from recorder.archive import verify_tables
from recorder.archive.layout import Layout
from recorder.config import BooksConfig
from recorder.daemon import market_process
from recorder.kraken import timestamps
from recorder.ops.verify_books import verified_books
from recorder.query import catalogue
from recorder.sandbox.book_feed import BookFeed
from recorder.sandbox.fault_injection.book_faults import NAMES
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.tape import Tape
from tests.end_to_end.fault_bench import Bench, bench_of

START_NS: Final = int(datetime(2026, 7, 7, 23, 40, tzinfo=UTC).timestamp()) * 10**9
MORE: Final = ("SOL/USD", "ADA/USD", "XRP/EUR", "LTC/USD")
"""Pairs beside the six of every sandbox."""
DEPTHS: Final = (10, 25, 10)
"""One for each part of the hour."""
KILLS: Final = 10
TRADES_PER_S: Final = 5.0
CHECKED: Final = 10
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Side = list[tuple[Decimal, Decimal]]
Top = tuple[Side, Side]
"""Prices and quantities of the best ten bids and asks."""


@dataclass
class States:
    """Books of one pair, each from a moment on, in µs since 1970."""

    since_us: list[int] = field(default_factory=list)
    tops: list[Top] = field(default_factory=list)

    def add(self, us: int, top: Top) -> None:
        """Add the next one."""
        self.since_us.append(us)
        self.tops.append(top)

    def at(self, us: int) -> Top | None:
        """Return the book at a moment; None before the first one."""
        index = bisect_right(self.since_us, us)
        return self.tops[index - 1] if index else None


class Truth:
    """What the exchange had, after each frame, whether it was sent or lost: by pair and depth, and by its stamp."""

    def __init__(self, books: BookFeed) -> None:
        self.states: defaultdict[tuple[str, int], States] = defaultdict(States)
        self._frame = books._frame  # noqa: SLF001 -- where each window passes, sent or lost
        books._frame = self._noted  # type: ignore[method-assign]  # noqa: SLF001

    def _noted(self, tape: Tape, depth: int, kind: str, window: Any, *rest: Any, **named: Any) -> str:  # noqa: ANN401
        text = self._frame(tape, depth, kind, window, *rest, **named)
        scales = tape.price_digits, tape.qty_digits
        self.states[tape.pair.symbol, depth].add(
            _stamp_us(text), (_top(window.bids, *scales), _top(window.asks, *scales))
        )
        return text


def _top(side: Mapping[int, int], price_digits: int, qty_digits: int) -> Side:
    best = islice(side.items(), CHECKED)
    return [(Decimal(price).scaleb(-price_digits), Decimal(qty).scaleb(-qty_digits)) for price, qty in best]


def _stamp_us(text: str) -> int:
    stamp = timestamps.micros(text.rpartition('"timestamp":"')[2].partition('"')[0])
    assert stamp is not None
    return stamp


class Part(NamedTuple):
    """A part of the hour: until when, in µs, and the depth that was recorded."""

    until_us: int
    depth: int


class Received:
    """What the exchange had after each frame of a pair that was really received, by when it was received.

    Within a session no frame counts as received before the one before it, whatever the clock of the host does.
    ``twice`` are the times that this clock showed twice, of which nobody can tell what was received.
    """

    def __init__(self) -> None:
        self.states = States()
        self.stamped: dict[int, Top] = {}
        """The same by the exchange's stamps."""
        self.twice: list[tuple[int, int]] = []

    def add(self, us: int, stamp_us: int, top: Top) -> None:
        """Add what was received at a time of the clock."""
        self.stamped[stamp_us] = top
        latest_us = self.states.since_us[-1] if self.states.since_us else us
        if us < latest_us:
            self.twice.append((us, latest_us))
        self.states.add(max(us, latest_us), top)

    def by_stamp(self) -> States:
        """Return the books by the exchange's stamps."""
        stamps = sorted(self.stamped)
        return States(stamps, [self.stamped[stamp_us] for stamp_us in stamps])

    def is_clear(self, us: int) -> bool:
        """Return whether the clock showed this time once."""
        return not any(first <= us <= last for first, last in self.twice)


def received(notes: Path, truth: Truth, parts: Sequence[Part]) -> dict[str, Received]:
    """Return what was received of each pair."""
    found: defaultdict[str, Received] = defaultdict(Received)
    by_stamp = {key: dict(zip(one.since_us, one.tops, strict=True)) for key, one in truth.states.items()}
    for line in notes.read_bytes().splitlines():
        at_ns, _, frame = line.partition(b" ")
        with contextlib.suppress(ValueError):  # a torn frame
            (row,) = json.loads(frame)["data"]
            stamp_us = _stamp_us(frame.decode())
            depth = next(part.depth for part in parts if stamp_us < part.until_us)
            found[row["symbol"]].add(int(at_ns) // 1000, stamp_us, by_stamp[row["symbol"], depth][stamp_us])
    return found


def kinds_of(bench: Bench, clock: Leader, random: Random, pairs: Sequence[str]) -> Kinds:
    """Return what may go wrong; the clock that is set back is that of the host which records books."""
    faults = bench.sandbox.faults

    def any_of(kind: str) -> None:
        faults.books.throw(random.choice(pairs), kind, random.randint(1, 3))

    def burst() -> None:
        bench.sandbox.burst(random.choice(pairs), random.randrange(100, 3_000))

    return {
        **of_connections(bench, random),
        **{name: partial(any_of, name) for name in NAMES},
        "burst": burst,
        "clock set back": lambda: clock.step_follower(-random.uniform(0.0, 3.0)),
    }


async def killing(bench: Bench, moments_s: Sequence[float], begun: Sequence[Process], done: Counter[str]) -> None:
    """Kill the process that runs at each of these moments."""
    for moment_s in moments_s:
        await bench.clock.sleep(max(0.0, moment_s - bench.clock.monotonic()))
        while begun[-1].returncode is not None:
            await bench.clock.sleep(1.0)
        os.kill(begun[-1].pid, signal.SIGKILL)
        done["SIGKILL"] += 1


@contextlib.contextmanager
def processes(clock_file: Path, notes: Path) -> Iterator[list[Process]]:
    """Yield the processes that the recorder begins, in order: those of this benchmark, and begun again soon."""
    begun: list[Process] = []
    begin = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **options: Any) -> Process:  # noqa: ANN401 -- as the original
        begun.append(await begin(*arguments, **options))
        return begun[-1]

    command = (sys.executable, "-m", "benchmarks.books_process", str(clock_file), str(START_NS), str(notes))
    supervisor = partial(market_process.MarketProcess, command=command)
    with (
        mock.patch.object(asyncio, "create_subprocess_exec", noted),
        mock.patch.object(app, "MarketProcess", supervisor),
        mock.patch.object(market_process, "LAST_S", 4.0),
    ):
        yield begun


async def record(folder: Path, minutes: float, random: Random) -> tuple[Truth, list[Part], Counter[str]]:
    """Record the hour with all that goes wrong."""
    clock = Leader(folder / "clock", START_NS)
    done, parts = Counter[str](), list[Part]()
    with processes(clock_file=folder / "clock", notes=folder / "received") as begun:
        clock.followed = lambda: bool(begun) and begun[-1].returncode is None
        async with bench_of(folder, clock=clock, rate=TRADES_PER_S) as bench:
            for symbol in MORE:
                bench.sandbox.enlist(pair_of(symbol, pair_decimals=2, lot_decimals=8), trades_per_s=0.3)
            pairs = sorted({*bench.sandbox.last_ids(), *MORE})
            truth, kinds = Truth(bench.sandbox.books), kinds_of(bench, clock, random, pairs)
            for number, depth in enumerate(DEPTHS, 1):
                end_s = minutes * 60 * number / len(DEPTHS)
                config = bench.config(pace=20.0, books=BooksConfig(pairs=("*",), depth=depth))
                async with bench.recording(config):
                    begin_s = clock.monotonic()
                    moments_s = sorted(random.uniform(begin_s + 20, end_s - 20) for _ in range(_share(number)))
                    killer = asyncio.create_task(killing(bench, moments_s, begun, done))
                    done += await disturbed(bench, kinds, random, (begin_s + end_s) / 2)
                    if number == 2:
                        refine(bench, pairs[0])
                        done["precision"] += 1
                    done += await disturbed(bench, kinds, random, end_s)
                    await killer
                    bench.sandbox.faults.release()
                parts.append(Part(clock.wall_ns() // 1000, depth))
                bench.sandbox.thaw()
            bench.is_the_truth()
            print(f"{bench.rows():,} trades are the truth; {len(begun)} processes")
    return truth, parts, done


def _share(number: int) -> int:
    """Return how many of the kills are in a part."""
    return KILLS * number // len(DEPTHS) - KILLS * (number - 1) // len(DEPTHS)


def refine(bench: Bench, pair: str) -> None:
    """List a pair with another digit of its price."""
    listed = bench.sandbox.market.listing[pair]
    bench.sandbox.relist(pair, pair_decimals=listed.pair_decimals + 1)


def moments_of(states: States, count: int, random: Random) -> list[int]:
    """Return random moments, in µs: half of them next to a frame."""
    first, last = states.since_us[0] - 1_000_000, states.since_us[-1] + 1_000_000
    anywhere = [random.randint(first, last) for _ in range(count // 2)]
    return anywhere + [random.choice(states.since_us) + random.randint(-1, 1) for _ in range(count - count // 2)]


class Answer(NamedTuple):
    """What the archive tells of a book: the depth of its session, its best ten levels, and whether it is verified."""

    depth: int
    top: Top
    verified: bool


def answers(sql: duckdb.DuckDBPyConnection, pair: str, moments_us: Sequence[int], by: str) -> dict[int, Answer]:
    """Return what the archive tells of the book of a pair at these moments."""
    query = (
        "SELECT b.moment, s.depth, b.side, b.price, b.qty, b.verified "
        "FROM book_levels($pair, $moments, $by) AS b INNER JOIN book_sessions AS s USING (pair, session) "
        "WHERE b.level <= 10 ORDER BY b.level"
    )
    moments = [EPOCH + timedelta(microseconds=us) for us in moments_us]
    found: dict[int, Answer] = {}
    for moment, depth, side, price, qty, verified in sql.execute(
        query, {"pair": pair, "moments": moments, "by": by}
    ).fetchall():
        us = (moment - EPOCH) // timedelta(microseconds=1)
        before = found.get(us, Answer(depth, ([], []), True))
        before.top[side == "ask"].append((price, qty))
        found[us] = before._replace(verified=before.verified and verified)
    return found


class Judge:
    """Compares the stored books with the exchange's at random moments, and counts what the answers are."""

    def __init__(self, folder: Path, truth: Truth, parts: Sequence[Part], random: Random) -> None:
        self._data, self._truth, self._random = folder / "data", truth, random
        self._received = received(folder / "received", truth, parts)
        self._stamped = {pair: got.by_stamp() for pair, got in self._received.items()}
        self.tallies: dict[str, Counter[str]] = {"received": Counter(), "time": Counter()}
        """By whose clock was asked for, how many answers there are of each kind."""

    def compare(self, moments: int) -> None:
        """Compare so many books: as many of each pair, and by either clock."""
        with duckdb.connect() as sql:
            sql.execute(catalogue.script(self._data))
            for by, tally in self.tallies.items():
                for pair, got in self._received.items():
                    chosen = self._moments(got, moments // len(self.tallies) // len(self._received))
                    told = answers(sql, pair, chosen, by)
                    tally.update(self._judged(pair, us, told.get(us), by) for us in chosen)

    def _moments(self, got: Received, count: int) -> list[int]:
        """Return random moments, in µs: half of them next to a frame."""
        since_us, random = got.states.since_us, self._random
        found: list[int] = []
        while len(found) < count:
            near, anywhere = random.choice(since_us) + random.randint(-1, 1), random.randint(since_us[0], since_us[-1])
            found += [us for us in (near, anywhere) if got.is_clear(us)]
        return found[:count]

    def _judged(self, pair: str, us: int, answer: Answer | None, by: str) -> str:
        """Return what kind of answer this is; print it if it is wrong."""
        if answer is None:
            return "nothing stored"
        if not answer.verified:
            return "not verified"
        had = self._received[pair].states if by == "received" else self._truth.states[pair, answer.depth]
        if answer.top == had.at(us):
            return "verified"
        if by == "time" and answer.top == self._stamped[pair].at(us):
            return "verified, but for lost messages that later ones overwrite"
        print("wrong:", pair, us, by, answer, had.at(us))
        return "wrong"


def main() -> None:
    """Read the arguments, record, compare, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--moments", type=int, default=10_000)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        random, began_s = Random(given.seed), time.monotonic()
        truth, parts, done = asyncio.run(record(folder, given.minutes, random))
        print(f"{given.minutes:g} simulated minutes in {time.monotonic() - began_s:.0f} s")
        print("faults:", json.dumps(dict(done.most_common())))
        layout = Layout(folder / "data")
        assert list(verify_tables.findings(layout)) == []
        replays = list(verified_books(layout))
        assert not any(one.findings for one in replays), [one.findings for one in replays]
        judge = Judge(folder, truth, parts, random)
        judge.compare(given.moments)
        for by, tally in judge.tallies.items():
            print(f"by {by}: {json.dumps(tally)}")


if __name__ == "__main__":
    main()
