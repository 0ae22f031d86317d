"""A small archive with all that an export can meet: several pairs, a hole, two dates, quotes, a book with a gap.

Times lie around a midnight. The recording host's clock is 3 ms behind the exchange's at one trade.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from recorder.core.model import BookRow, TopOfBook, Trade
from tests.archives import START, START_US, Written, quote, trade, writing

MIDNIGHT: Final = START + timedelta(hours=12)
MIDNIGHT_US: Final = START_US + 12 * 3_600_000_000
HOLE: Final = range(150, 154)
TOO_EARLY: Final = 101
"""The trade that was received before it was made, by BEHIND_US."""
BEHIND_US: Final = 3_000
LATENCY_US: Final = 20_000
LEVELS: Final = 10
PAIRS: Final = ("BTC/USD", "ETH/EUR")


def build(data: Path, count: int = 400) -> None:
    """Write the archive: ``count`` trades of BTC/USD, half a second apart, and a fifth of ETH/EUR."""
    with writing(data) as archive:
        archive.listed("BTC/USD", 1)
        archive.listed("ETH/EUR", 2)
        rows = list(traded("BTC/USD", count))
        for start in range(0, count, 5_000):
            archive.append([row for row in rows[start : start + 5_000] if row.trade_id not in HOLE])
        archive.append(list(traded("ETH/EUR", count // 5)))
        archive.quoted(list(quoted("BTC/USD")))
        book(archive)


def traded(pair: str, count: int) -> Iterator[Trade]:
    """Yield trades: of every seventh no receive time is known, and of one it is before its time."""
    first_us = MIDNIGHT_US - count * 250_000
    for number in range(1, count + 1):
        made_us = first_us + number * 500_000
        made = trade(number, made_us, f"{100_000 + number * 7 % 50}.{number % 10}", f"0.{number:08d}", pair=pair)
        late_us = -BEHIND_US if number == TOO_EARLY else LATENCY_US + number % 3 * 1_000
        received_us = None if number % 7 == 0 else made_us + late_us
        yield msgspec.structs.replace(
            made, received_us=received_us, side="sell" if number % 2 else "buy", source="ws" if received_us else "rest"
        )


def quoted(pair: str) -> Iterator[TopOfBook]:
    """Yield the quotes of two sessions, one on each date."""
    for session, first_us in ((1, MIDNIGHT_US - 50_000_000), (2, MIDNIGHT_US + 10_000_000)):
        for message in range(20):
            at_us = first_us + message * 1_000_000
            bid, ask = f"100000.{message % 10}", f"100001.{message % 10}"
            yield quote(session, message, at_us, bid, ask, pair=pair, bid_qty="1.25", time_us=at_us - LATENCY_US)


def book(archive: Written) -> None:
    """Archive two sessions of the book of BTC/USD: the first over midnight, with checkpoints, the second later."""
    first = list(session(1, MIDNIGHT_US - 60_000_000, messages=100, checkpoints={40, 62}))
    second = list(session(2, MIDNIGHT_US + 70_000_000, messages=30, checkpoints=set()))
    for rows in (first, second):
        archive.booked(rows, ended={("BTC/USD", rows[-1].session): rows[-1].received_us})


def session(number: int, first_us: int, *, messages: int, checkpoints: set[int]) -> Iterator[BookRow]:
    """Yield a session: a snapshot, then one message a second that removes the best level and adds one behind.

    Every tenth message adds one in front instead, which pushes the last out of the window: evicted.
    """
    levels = {("bid", f"{100_000 - n}.0"): "1.5" for n in range(LEVELS)}
    levels |= {("ask", f"{100_001 + n}.0"): "2.5" for n in range(LEVELS)}
    session_ns = first_us * 1_000
    for message in range(messages):
        received_us = first_us + message * 1_000_000
        made_us = None if message == 0 else received_us - LATENCY_US
        kind = "snapshot" if message == 0 else "checkpoint" if message in checkpoints else "update"
        if kind == "update":
            changed = dict(_changed(levels, message))
            levels.update(changed)
            rows = list(changed.items())
        else:
            rows = list(levels.items())
        for position, ((side, price), qty) in enumerate(rows):
            named = "evicted" if kind == "update" and message % 10 == 0 and qty == "0" else kind
            yield BookRow(
                "BTC/USD", made_us, received_us, session_ns, message, position, named, side, price, qty,  # type: ignore[arg-type]
                1 if kind != "update" and position == len(rows) - 1 else None,
            )  # fmt: skip
        levels = {place: qty for place, qty in levels.items() if qty != "0"}


def _changed(levels: dict[tuple[str, str], str], message: int) -> Iterator[tuple[tuple[str, str], str]]:
    side = "bid" if message % 2 else "ask"
    prices = sorted((Decimal(price) for of, price in levels if of == side), reverse=side == "bid")
    beyond = prices[-1] + (-1 if side == "bid" else 1)
    if message % 10:
        yield (side, str(prices[0])), "0"
        yield (side, str(beyond)), f"{message}.25"
    else:
        yield (side, str(prices[0] - (Decimal("0.5") if side == "bid" else Decimal("-0.5")))), f"{message}.5"
        yield (side, str(prices[-1])), "0"
