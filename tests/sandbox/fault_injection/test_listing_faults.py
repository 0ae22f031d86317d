from __future__ import annotations

import json
from typing import Any

import pytest

from recorder.errors import UsageError
from recorder.sandbox.exchange_status import StatusBoard
from recorder.sandbox.fault_injection.injected_faults import InjectedFaults
from recorder.sandbox.market import CHARACTERS, Market, character_of
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.rest import UNKNOWN_PAIR, Rest
from tests.clocks import ManualClock

START_NS = 1_783_465_205_562_702_999
STOCK = pair_of("AAPLx/USD", pair_decimals=2, lot_decimals=8, aclass_base="tokenized_asset")
MARKET = Market(
    start_ns=START_NS,
    history={"BTC/USD": 3, "AAPLx/USD": 4},
    characters=[CHARACTERS[0], CHARACTERS[1], character_of(STOCK)],
)


class Bench:
    def __init__(self) -> None:
        injected = InjectedFaults(ManualClock())
        self.quirks = injected.quirks
        self.rest = Rest(MARKET, injected=lambda: injected)

    def ask(self, method: str, **query: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.rest.answer(method, query, now_ns=START_NS), parse_float=str)
        return answer

    def listed(self, **query: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("AssetPairs", **query)["result"]
        return found


def test_a_field_of_an_entry_is_whatever_it_is_to_be() -> None:
    bench = Bench()
    bench.quirks.spoil("BTC/USD", "status", "null")
    bench.quirks.spoil("BTC/USD", "tick_size", "1E+900000000")
    entry = bench.listed()["XXBTZUSD"]
    assert (entry["status"], entry["tick_size"], entry["altname"]) == (None, "1E+900000000", "XBTUSD")
    bench.quirks.release()
    assert bench.listed()["XXBTZUSD"]["status"] == "online"


def test_a_second_entry_has_the_same_wsname_under_another_key() -> None:
    bench = Bench()
    bench.quirks.double("BTC/USD", "XBTUSD.B", execution_venue="bitnomial-exchange", status="cancel_only")
    first, second = (bench.listed()[key] for key in ("XXBTZUSD", "XBTUSD.B"))
    assert first["wsname"] == second["wsname"] == "XBT/USD"
    assert (second["altname"], second["execution_venue"], second["status"]) == (
        *("XBTUSD.B", "bitnomial-exchange", "cancel_only"),
    )


def test_so_many_listings_lack_a_pair_that_is_served_all_the_same() -> None:
    bench = Bench()
    bench.quirks.lack("BTC/USD", 2)
    assert ["XXBTZUSD" in bench.listed() for _ in range(3)] == [False, False, True]
    bench.quirks.lack("BTC/USD")
    assert "XXBTZUSD" not in bench.listed()
    assert "XXBTZUSD" in bench.ask("Trades", pair="XBTUSD")["result"]
    with pytest.raises(UsageError, match="1 or more"):
        bench.quirks.lack("BTC/USD", 0)


@pytest.mark.parametrize(("method", "query"), [("Trades", {}), ("Trades", {"since": "1783465206"}), ("OHLC", {})])
def test_a_field_may_stand_beside_the_rows_of_an_answer(method: str, query: dict[str, str]) -> None:
    bench = Bench()
    bench.quirks.beside("count", "5")
    assert list(bench.ask(method, pair="XBTUSD", **query)["result"]) == ["count", "XXBTZUSD", "last"]


@pytest.mark.parametrize("method", ["Trades", "OHLC", "Ticker"])
def test_a_tokenized_asset_is_served_to_whoever_names_its_class(method: str) -> None:
    bench = Bench()
    assert bench.ask(method, pair="AAPLxUSD")["error"] == [UNKNOWN_PAIR]
    assert "AAPLxUSD" in bench.ask(method, pair="AAPLxUSD", asset_class="tokenized_asset")["result"]
    assert bench.ask(method, pair="XBTUSD", asset_class="tokenized_asset")["error"] == [UNKNOWN_PAIR]


def test_a_tokenized_asset_is_listed_apart() -> None:
    bench = Bench()
    assert list(bench.listed()) == ["XXBTZUSD", "XETHZEUR"]
    assert list(bench.listed(aclass_base="tokenized_asset")) == ["AAPLxUSD"]
    assert list(bench.ask("Ticker")["result"]) == ["XXBTZUSD", "XETHZEUR"]
    assert list(bench.ask("Ticker", asset_class="tokenized_asset")["result"]) == ["AAPLxUSD"]


def test_lists_of_the_status_without_an_event_may_be_null(clock: ManualClock) -> None:
    board = StatusBoard(clock)
    board.nulls = True
    board.declare_emergency()
    told = json.loads(board.message().answer(START_NS))
    assert (told["upcoming_maintenance"], len(told["emergency"])) == (None, 1)
    assert json.loads(board.message().frame(1))["data"][0]["upcoming_maintenance"] is None
