"""Log lines at the start of a run: what is recorded, to where, since when, and at what pace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from recorder.config import Config
from recorder.core.ledger import Ledger
from recorder.core.safe_text import without_credentials
from recorder.version import __version__

NAMED_WIDTH: Final = 44
"""Limit of characters for pair names: with the rest of the line they fit a terminal of 80."""


def lines(config: Config, data: Path, ledger: Ledger, pairs: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the lines: events and their fields. ``ledger`` contains the stored ids of ``pairs`` in ``data``."""
    held = sum(ledger.of(pair).spans.count() for pair in pairs)
    return [
        ("kraken-recorder", {"version": __version__, "exchange": without_credentials(config.exchange.ws_url)}),
        ("trades", {"count": len(pairs), "pairs": _named(pairs), **_ways(config)}),
        ("candles", {"timeframes": " ".join(config.ohlc.timeframes) or "none"}),
        ("archive", {"since": _since(ledger, pairs), "trades_held": held, "path": str(data)}),
        (
            "pace",
            {
                "requests_per_second": config.exchange.requests_per_second,
                "drain_every_s": config.drain_every_s(len(pairs)),
            },
        ),
    ]


def _named(pairs: Sequence[str]) -> str:
    """Return the names of the pairs, as far as they fit.

    >>> _named(["BTC/USD", "ETH/EUR"]), _named(["BTC/USD"] * 1000)[-17:]
    ('BTC/USD ETH/EUR', 'BTC/USD BTC/USD …')
    """
    named = " ".join(pairs)
    return named if len(named) <= NAMED_WIDTH else named[: NAMED_WIDTH - 1].rpartition(" ")[0] + " …"


def _ways(config: Config) -> dict[str, str]:
    """Return the settings that change the usual way of recording trades."""
    from_us = config.trades.backfill_from
    ways = {} if config.trades.stream else {"by": "polling"}
    return ways if from_us is None else ways | {"history_from": _day(from_us) if from_us else "listing"}


def _since(ledger: Ledger, pairs: Sequence[str]) -> str:
    """Return the date of the first stored trade; "new" if there is none."""
    accounts = map(ledger.of, pairs)
    firsts_us = [account.time_us(account.spans.first) for account in accounts if account.spans.first is not None]
    return _day(min(firsts_us)) if firsts_us else "new"


def _day(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).date().isoformat()
