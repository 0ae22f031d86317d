from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recorder.config import Config
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Run, Span
from recorder.ops import start_message
from recorder.version import __version__

DATA = Path("/var/lib/kraken-recorder/data")
PAIRS = ["BTC/USD", "ETH/EUR", "DOGE/USD"]


def us(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[arg-type, misc]


def said(config: Config | None = None, ledger: Ledger | None = None, pairs: list[str] = PAIRS) -> dict[str, Any]:
    return dict(start_message.lines(config or Config(), DATA, ledger or Ledger(), pairs))


def test_it_says_what_is_recorded_to_where_and_at_what_pace() -> None:
    assert said() == {
        "kraken-recorder": {"version": __version__, "exchange": "wss://ws.kraken.com/v2"},
        "trades": {"count": 3, "pairs": "BTC/USD ETH/EUR DOGE/USD"},
        "candles": {"timeframes": "1m 1h 1d"},
        "archive": {"since": "new", "trades_held": 0, "path": "/var/lib/kraken-recorder/data"},
        "pace": {"requests_per_second": 1.0, "drain_every_s": 300.0},
    }


def test_it_says_since_when_and_how_many_trades_are_held_of_the_pairs_recorded() -> None:
    ledger = Ledger()
    ledger.observe(Run("ETH/EUR", Span(7, 9), us(2025, 11, 10, 23, 59), us(2025, 11, 11)))
    ledger.observe(Run("BTC/USD", Span(100, 199), us(2026, 1, 1), us(2026, 1, 2)))
    ledger.observe(Run("BTC/USD", Span(201, 201), us(2026, 1, 3), us(2026, 1, 3)))
    ledger.observe(Run("XRP/USD", Span(1, 5), us(2020, 1, 1), us(2020, 1, 2)))  # of an earlier run
    archive = said(ledger=ledger)["archive"]
    assert (archive["since"], archive["trades_held"]) == ("2025-11-10", 104)


def test_it_says_what_is_unusual() -> None:
    config = Config.model_validate(
        {"trades": {"stream": False, "backfill_from": "2024-01-01"}, "ohlc": {"timeframes": []}}
    )
    assert said(config)["trades"] == {
        "count": 3,
        "pairs": " ".join(PAIRS),
        "by": "polling",
        "history_from": "2024-01-01",
    }
    assert said(config)["candles"] == {"timeframes": "none"}
    everything = Config.model_validate({"trades": {"backfill_from": "listing"}})
    assert said(everything)["trades"]["history_from"] == "listing"


def test_of_a_thousand_pairs_it_names_those_that_fit() -> None:
    trades = said(pairs=[f"P{number}/USD" for number in range(1000)])["trades"]
    assert trades["count"] == 1000
    assert trades["pairs"].startswith("P0/USD P1/USD ")
    assert trades["pairs"].endswith("/USD …")
    assert len(trades["pairs"]) <= start_message.NAMED_WIDTH + 1
