"""Synthetic trade frames on the wire's own text, for benchmarks: seeded, many trades a frame, dense ids."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

START = datetime(2026, 7, 7, 23, 0, 0, tzinfo=UTC)


def frames(
    count: int, *, trades_each: int = 10, pair: str = "BTC/USD", first_id: int = 1, seed: int = 1
) -> Iterator[bytes]:
    """Yield ``count`` v2 trade frames; 100 frames make a second of exchange time."""
    random = Random(seed)
    price = 628_070
    for index in range(count):
        moment = START + timedelta(milliseconds=10 * index, microseconds=random.randrange(10_000))
        stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        rows = []
        for offset in range(trades_each):
            price += random.randrange(-3, 4)
            rows.append(
                f'{{"symbol":"{pair}","side":"{random.choice(("buy", "sell"))}","price":{price // 10}.{price % 10},'
                f'"qty":{random.randrange(1, 10**9) / 1e8:.8f},"ord_type":"{random.choice(("limit", "market"))}",'
                f'"trade_id":{first_id + index * trades_each + offset},"timestamp":"{stamp}"}}'
            )
        yield f'{{"channel":"trade","type":"update","data":[{",".join(rows)}]}}'.encode()
