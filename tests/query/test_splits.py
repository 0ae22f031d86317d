"""Rows by bar are the same whatever range they are asked in, and what is filled into bars is what was traded.

Some pairs are traded at random by a fixed seed, and recorded with holes, ids that do not exist, and promises. What was
traded is known here, and not to the archive.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, partial
from random import Random
from typing import Any, Final

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.core import evidence
from recorder.core.evidence import Anchored, Promised
from recorder.core.model import Candle, Event, Trade
from recorder.query import catalogue
from recorder.query.connect import Archive, connect
from tests.archives import MINUTE_US, START_US, Written, trade, writing

WIDTH: Final = 30 * MINUTE_US
DAYS_US: Final = 2 * 24 * 60 * MINUTE_US
SERIES: Final = 5
Rows = list[tuple[Any, ...]]
Ends = tuple[datetime | None, datetime | None]


@dataclass
class Tape:
    """What was traded of a pair, and what is known of it: ``tape`` has all trades, ``held`` those that are archived."""

    pair: str
    tape: list[Trade] = field(default_factory=list)
    held: list[Trade] = field(default_factory=list)
    void: set[int] = field(default_factory=set)
    promise: tuple[int, int] | None = None
    """The moment, and the highest id that was made before it."""


def traded(number: int) -> Tape:
    """Return what was traded of a pair by chance, and what of it is held.

    The first begins with id 1 and nothing is promised of it; of the others there is a promise, half of which were made
    when some trades were held already, but for those right before the promise.
    """
    chance = Random(number)
    made = Tape(f"P{number}/USD")
    trade_id, time_us, missing = 500 * (number > 1), START_US - 60 * MINUTE_US, 0
    while time_us < START_US + DAYS_US:
        trade_id += 1
        time_us += round(chance.expovariate(1 / (40 * MINUTE_US))) if chance.random() < 0.8 else chance.randint(0, 9)
        if chance.random() < 0.1:
            made.void.add(trade_id)
            continue
        price, qty = chance.randint(90, 110), chance.randint(1, 400) / 100
        one = trade(trade_id, time_us, str(price), str(qty), pair=made.pair)
        made.tape.append(msgspec.structs.replace(one, side=chance.choice(["buy", "sell"])))
        missing = missing - 1 if missing else chance.choice([0] * 12 + [1, 2, 5])
        if not missing:
            made.held.append(made.tape[-1])
    if number:
        moment_us = START_US + chance.randint(DAYS_US // 4, DAYS_US // 2)
        made.promise = moment_us, max(one.trade_id for one in made.tape if one.time_us < moment_us)
        until_us = moment_us - 6 * WIDTH if number % 2 else 0
        made.held = [one for one in made.held if not until_us <= one.time_us < moment_us]
    return made


def bars(tape: Sequence[Trade]) -> dict[int, list[Trade]]:
    """Return the trades of each bar by its start."""
    found: dict[int, list[Trade]] = {}
    for one in tape:
        found.setdefault(one.time_us // WIDTH * WIDTH, []).append(one)
    return found


def published(made: Tape, chance: Random) -> list[Candle]:
    """Return a part of the candles that the exchange would publish, with runs of them left out."""
    inside, candles, lost = bars(made.tape), [], 0
    close = Decimal(0)
    for start_us in range(min(inside), max(inside) + WIDTH, WIDTH):
        rows = inside.get(start_us, [])
        prices = [one.price for one in rows] or [close]
        close = prices[-1]
        lost = lost - 1 if lost else chance.choice([0, 0, 0, 1, 4, 20])
        if not lost:
            volume = sum((one.qty for one in rows), Decimal(0))
            amount = sum((one.price * one.qty for one in rows), Decimal(0))
            vwap = (amount / volume).quantize(Decimal("0.1"), "ROUND_DOWN") if rows else Decimal(0)
            ends = prices[0], max(prices), min(prices), close
            candles.append(Candle(made.pair, "30m", start_us, *ends, vwap, volume, len(rows)))
    return candles


TAPES: Final = [traded(number) for number in range(SERIES)]
ODD: Final = "ODD/USD"
"""A pair of which two trades have times at which none can have been made."""
NAMES: Final = [*(one.pair for one in TAPES), ODD]


def told(made: Tape) -> Iterator[Event]:
    for one in sorted(made.void):
        yield Event(START_US, "void", made.pair, json.dumps({"first_id": one, "last_id": one}))
    if made.promise is not None:
        for said in (Promised(made.pair, made.promise[0]), Anchored(made.pair, *made.promise)):
            yield Event(START_US, evidence.kind(said), made.pair, json.dumps(evidence.detail(said)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    with writing(tmp_path_factory.mktemp("splits") / "data") as archive:
        for made in TAPES:
            archive.append(made.held)
        archive.noted(*(one for made in TAPES for one in told(made)))
        archive.published([one for made in TAPES for one in published(made, Random(made.pair))])
        odd_us = [7, *(START_US + number * 7 * MINUTE_US for number in range(40)), START_US + 5000 * DAYS_US]
        archive.append([trade(number, at, pair=ODD) for number, at in enumerate(odd_us, start=1)])
        for pair in NAMES:
            archive.listed(pair, 1)
        yield archive


class Asking:
    """Asks of the archive by a plain DuckDB client, or through connect(); what was asked of the whole is remembered."""

    def __init__(self, client: duckdb.DuckDBPyConnection, archive: Archive) -> None:
        self.client = client
        self.archive = archive
        self.whole = cache(self._whole)

    def ask(self, text: str, start: datetime | None, stop: datetime | None, *, plainly: bool, pair: str) -> Rows:
        params: dict[str, Any] = {"start": start, "stop": stop, "pair": pair}
        params = {name: value for name, value in params.items() if f"${name}" in text}
        if plainly:
            return [tuple(map(_shown, row)) for row in self.client.execute(text, params).fetchall()]
        table = self.archive.sql(text, to="arrow", dtype_backend=None, decimals=True, **params)
        return [tuple(map(_shown, row.values())) for row in table.to_pylist()]

    def _whole(self, text: str, pair: str, plainly: bool) -> Rows:  # noqa: FBT001 -- remembered by position
        return self.ask(text, None, None, plainly=plainly, pair=pair)


def _shown(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return f"{value:.9g}" if isinstance(value, float) else value


@pytest.fixture(scope="module")
def asking(written: Written) -> Iterator[Asking]:
    with duckdb.connect() as client, connect(written.data) as archive:
        client.execute(catalogue.script(written.data))
        yield Asking(client, archive)


def question(name: str, **values: str) -> str:
    """Return the SQL of an analysis, with these texts for parameters and the defaults for others but the range."""
    found = catalogue.question(name)
    text = re.sub(r"^(--.*\n)*", "", found.text).rstrip(";\n")
    for one in found.parameters:
        if one.name not in {"pair", "start", "stop"}:
            default = "NULL" if one.default == "NULL" else f"'{one.default}'"
            text = text.replace(f"${one.name}", values.get(one.name, default))
    return text


BY_TIME: Final = {
    "time_bars": question("time_bars", width="'30 minutes'", filled="true"),
    "unfilled": question("time_bars", width="'20 minutes'", filled="false"),
    "shifted": question("time_bars", width="'70 minutes'", origin="'2025-11-10 01:01'", filled="true"),
    "returns": question("returns", width="'20 minutes'"),
    "vwap": question("vwap", width="'20 minutes'"),
    "order_flow": question("order_flow", width="'20 minutes'"),
    "volatility": question("volatility", width="'10 minutes'", per="'4 hours'"),
    "volume_bars": question("volume_bars", size="3"),
    "dollar_bars": question("dollar_bars", size="500"),
    "candle_audit": question("candle_audit", timeframe="'30m'"),
    "candles": "SELECT * EXCLUDE (pair, timeframe) FROM candles($pair, '30m', $start, $stop)",
    "candles_of": "SELECT * EXCLUDE (pair, timeframe) FROM candles_of([$pair], '30m', $start, $stop)",
    "filled": "SELECT * EXCLUDE (pair, timeframe) FROM pair_ohlc_filled($pair, '30m', $start, $stop) ORDER BY time",
    "trades": "SELECT time, price, trade_id FROM pair_trades($pair, $start, $stop) ORDER BY trade_id",
}
"""Questions whose rows have a time, which must lie in the range."""
moments = st.none() | (st.integers(-2 * WIDTH, DAYS_US) | st.integers(-4, 100).map(lambda number: number * WIDTH)).map(
    lambda offset_us: moment(START_US + offset_us)
)


def moment(time_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)


ranges = st.tuples(moments, moments).map(
    lambda ends: ends if ends[0] is None or ends[1] is None or ends[0] <= ends[1] else ends[::-1]
)


def few(examples: int) -> Callable[..., Any]:
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


def within(rows: Rows, start: datetime | None, stop: datetime | None, at: int) -> Rows:
    return [row for row in rows if (start is None or row[at] >= start) and (stop is None or row[at] < stop)]


@few(16)
@given(st.sampled_from(sorted(BY_TIME)), st.sampled_from(NAMES), ranges, st.booleans())
def test_rows_of_a_part_are_those_of_the_whole(
    asking: Asking,
    name: str,
    pair: str,
    ends: Ends,
    plainly: bool,  # noqa: FBT001 -- drawn
) -> None:
    start, stop = ends
    plainly = plainly and name != "candles_of"
    whole = asking.whole(BY_TIME[name], pair, plainly)
    at = 2 if name == "candle_audit" else 0
    assert asking.ask(BY_TIME[name], start, stop, plainly=plainly, pair=pair) == within(whole, start, stop, at)


@few(3)
@given(pair=st.sampled_from(NAMES), cut=moments)
def test_statistics_over_a_range_count_each_bar_once(asking: Asking, pair: str, cut: datetime | None) -> None:
    for text in (
        f"SELECT sum(hours), sum(count), sum(volume) FROM ({question('seasonality')})",
        f"SELECT sum(bars) FROM ({question('correlation', pairs='[$pair, ' + repr(NAMES[0]) + ']')})",
    ):
        (whole,) = asking.whole(text, pair, plainly=True)
        parts = [asking.ask(text, *ends, plainly=True, pair=pair)[0] for ends in ((None, cut), (cut, None))]
        assert cut is None or tuple(sum(one or 0 for one in column) for column in zip(*parts, strict=True)) == tuple(
            one or 0 for one in whole
        )


@few(4)
@given(pair=st.sampled_from(NAMES[:-1]), ends=ranges)
def test_frames_of_a_part_are_those_of_the_whole(asking: Asking, pair: str, ends: Ends) -> None:
    start, stop = ends
    archive = asking.archive
    calls: tuple[Callable[..., Any], ...] = (
        partial(archive.candles, pair, "30m", on_gap="ignore"),
        partial(archive.ohlc, pair, "30m", filled=True, on_gap="ignore"),
        partial(archive.trades, pair, on_gap="ignore"),
    )
    for frames in calls:
        whole, part = frames(), frames(start=start, stop=stop)
        inside = (whole["time"] >= start if start else True) & (whole["time"] < stop if stop else True)
        expected = whole[inside if start or stop else slice(None)].reset_index(drop=True)
        assert part.equals(expected)


@pytest.mark.parametrize("made", TAPES, ids=lambda made: made.pair)
def test_a_complete_bar_says_what_was_traded_and_any_other_carries_nothing(asking: Asking, made: Tape) -> None:
    rows = asking.whole(BY_TIME["time_bars"], made.pair, plainly=True)
    known = {one.trade_id for one in made.held} | made.void
    inside, held = bars(made.tape), bars(made.held)
    assert [row[0] for row in rows] == [moment(at) for at in range(min(held), max(held) + WIDTH, WIDTH)]
    complete = 0
    for at_us, row in zip(range(min(held), max(held) + WIDTH, WIDTH), rows, strict=True):
        before = [one for one in made.held if one.time_us < at_us]
        after = [one for one in made.held if one.time_us >= at_us + WIDTH]
        begin = before[-1].trade_id if before else 0
        carries = bool(before) and bool(after) and known.issuperset(range(begin, after[0].trade_id))
        proven = carries or (
            at_us in held and bool(after) and _from_the_promise(made, known, at_us, after[0].trade_id, begin)
        )
        assert row[-2] == proven, row
        prices = [one.price for one in (inside if proven else held).get(at_us, [])]
        if not prices and proven:
            prices = [before[-1].price]
        assert row[4:8] == ((prices[0], max(prices), min(prices), prices[-1]) if prices else (None,) * 4)
        complete += proven
    assert complete > 10, "the test is of something"
    built = [row for row in asking.whole(BY_TIME["filled"], made.pair, plainly=True) if row[8] == "trades"]
    assert built, "the test is of something"
    for time, first, high, low, close, *_ in built:
        at_us = int(time.timestamp()) * 1_000_000
        prices = [one.price for one in inside.get(at_us, [])]
        prices = prices or [one.price for one in made.tape if one.time_us < at_us][-1:]
        assert (first, high, low, close) == (prices[0], max(prices), min(prices), prices[-1])


def _from_the_promise(made: Tape, known: set[int], at_us: int, until: int, begin: int) -> bool:
    """Return whether a bar with trades lies between a promise, or id 1, and a trade that is held."""
    if made.promise is not None and made.promise[0] < at_us and begin <= made.promise[1]:
        return known.issuperset(range(made.promise[1] + 1, until))
    return not begin and known.issuperset(range(1, until))
