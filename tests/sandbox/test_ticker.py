from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recorder.sandbox.pairs import pair_of
from recorder.sandbox.tape import SELL
from recorder.sandbox.ticker import Ticker
from tests.sandbox.conftest import tape_of

NS = 10**9
DAY = 86_400 * NS
MIDNIGHT = 20_000 * DAY


def test_an_entry_has_the_keys_and_kinds_of_a_real_one(payloads: Path) -> None:
    real = json.loads((payloads / "rest/Ticker/XBTUSDT_2025-11-11.json").read_text())["result"]["XBTUSDT"]
    ours = Ticker(tape_of((MIDNIGHT, 1059443, 123))).entry(MIDNIGHT)

    def kinds(entry: dict[str, Any]) -> dict[str, Any]:
        return {
            name: type(value) if isinstance(value, str) else [type(one) for one in value]
            for name, value in entry.items()
        }

    assert kinds(ours) == kinds(real)
    assert list(ours) == list(real)


def test_today_begins_at_midnight_and_the_other_window_24_hours_ago() -> None:
    tape = tape_of(
        (MIDNIGHT - DAY, 900, 10**5),
        (MIDNIGHT - 1, 500, 10**5),
        (MIDNIGHT, 100, 2 * 10**5),
        (MIDNIGHT + 3600 * NS, 103, 10**5),
    )
    entry = Ticker(tape).entry(MIDNIGHT + 7200 * NS)
    assert entry["t"] == [2, 3]
    assert entry["v"] == ["3.00000000", "4.00000000"]
    assert entry["p"] == ["10.10000", "20.07500"]
    assert (entry["l"], entry["h"]) == (["10.00000", "10.00000"], ["10.30000", "50.00000"])
    assert (entry["o"], entry["c"]) == ("10.00000", ["10.30000", "1.00000000"])


def test_the_last_price_is_the_best_ask_after_a_buyer_and_the_best_bid_after_a_seller() -> None:
    tape = tape_of((MIDNIGHT, 1000, 466 * 10**5))
    bought = Ticker(tape).entry(MIDNIGHT)
    assert (bought["a"], bought["b"]) == (["100.00000", "466", "466.000"], ["99.90000", "466", "466.000"])
    tape.append(MIDNIGHT, price=1000, qty=1, mark=SELL)
    sold = Ticker(tape).entry(MIDNIGHT)
    assert (sold["a"], sold["b"]) == (["100.10000", "1", "1.000"], ["100.00000", "1", "1.000"])


def test_a_day_without_trades_shows_the_last_price_and_an_untraded_pair_zero() -> None:
    entry = Ticker(tape_of((MIDNIGHT - 3 * DAY, 1000, 5))).entry(MIDNIGHT)
    assert (entry["t"], entry["v"], entry["p"]) == ([0, 0], ["0.00000000"] * 2, ["0.00000"] * 2)
    assert (entry["l"], entry["h"], entry["o"]) == (["100.00000"] * 2, ["100.00000"] * 2, "100.00000")
    assert Ticker(tape_of()).entry(MIDNIGHT)["c"] == ["0.00000", "0.00000000"]


def test_a_tape_in_a_finer_scale_is_read_again() -> None:
    tape = tape_of((MIDNIGHT, 1000, 5))
    ticker = Ticker(tape)
    before = ticker.entry(MIDNIGHT)
    tape.relist(pair_of("A/B", pair_decimals=3, lot_decimals=5, tick_size="0.1"), at_ns=MIDNIGHT)
    assert ticker.entry(MIDNIGHT) == before


@given(
    st.lists(st.tuples(st.integers(0, 4 * 86_400), st.integers(1, 50), st.integers(1, 10**6)), min_size=1, max_size=40),
    st.lists(st.integers(0, 40), max_size=6),
    st.integers(0, 2 * 86_400),
)
def test_sliding_windows_are_those_of_a_fresh_look(
    trades: list[tuple[int, int, int]], asked_after: list[int], idle_s: int
) -> None:
    tape = tape_of()
    ticker = Ticker(tape)
    for index, (offset_s, price, qty) in enumerate(sorted(trades)):
        tape.append(MIDNIGHT + offset_s * NS, price=price, qty=qty, mark=0)
        if index in asked_after:
            ticker.entry(tape.times_ns[-1])
    now_ns = tape.times_ns[-1] + idle_s * NS
    entry = ticker.entry(now_ns)
    for column, from_ns in enumerate((now_ns // DAY * DAY, now_ns - DAY)):
        rows = [row for row in zip(tape.times_ns, tape.prices, tape.qtys, strict=True) if row[0] >= from_ns]
        prices = [price for _, price, _ in rows] or [tape.prices[-1]]
        assert entry["t"][column] == len(rows)
        assert entry["l"][column] == f"{min(prices) / 10:.5f}"
        assert entry["h"][column] == f"{max(prices) / 10:.5f}"
        assert entry["v"][column] == f"{sum(qty for _, _, qty in rows) / 10**5:.8f}"
