"""The read side of an account: views, frames, Kraken's CSV, and the tape beside own fills."""

from __future__ import annotations

import asyncio
import csv
import io
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import recorder
from recorder.cli import output
from recorder.errors import UsageError
from recorder.query.account import Account, connect_account
from recorder.sandbox.private_account import DECIMALS, MARKETS, Market, PrivateAccount, printed
from tests.accounts import DAY_NS, Bench, invented
from tests.archives import quote, trade, writing
from tests.builders import T0_US
from tests.clocks import NOW_NS
from tests.end_to_end.harness import REPOSITORY

PYTHON = REPOSITORY / ".recipes" / "bittytax" / "bin" / "python"
LOAD = """
import sys, requests
from bittytax.price.datasource import DataSourceBase
DataSourceBase.get_json = lambda self, url: {"symbols": {}}  # it would ask a service for prices
from bittytax.conv.bittytax_conv import main
sys.argv = ["bittytax_conv", "--format", "CSV", *sys.argv[1:]]
main()
"""


BTC = Market("BTC/USD", "XXBT", "ZUSD", 1, 1000)
"""As the listing of an archive of the tests names it."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """An account that was read once, with two fills of trades that an archive has, and one of before the ids."""
    account = invented(trades=20, others=60, days=90)
    for number, price, late in ((1, 101_0, 1), (2, 999_9, 1)):
        account.fill(BTC, "buy", 10**8, T0_US * 1000 + number, price=price, trade_id=number, late_ns=late)
    account.fill(MARKETS[1], "sell", 10**8, T0_US * 1000)  # of before own trades had ids
    bench = Bench(tmp_path_factory.mktemp("account"), account)
    asyncio.run(bench.round())
    return bench


@pytest.fixture
def account(bench: Bench) -> Iterator[Account]:
    with connect_account(bench.folder / "account") as opened:
        yield opened


def test_fees_are_those_of_the_ledger_by_month_and_asset(bench: Bench, account: Account) -> None:
    found = account.fees(to="arrow").to_pylist()
    by_asset: dict[str, Decimal] = defaultdict(Decimal)
    for row in found:
        by_asset[row["asset"]] += row["fee"]
    expected: dict[str, Decimal] = defaultdict(Decimal)
    for entry in bench.rest.account.rows:
        if entry.fee:
            expected[entry.asset] += Decimal(entry.fields()["fee"])
    assert by_asset == expected
    assert len({row["month"] for row in found}) > 2


def test_fills_say_what_was_really_paid(bench: Bench, account: Account) -> None:
    rows = account.fills(to="arrow").to_pylist()
    assert [row["id"] for row in rows] == [
        row.id for row in sorted(bench.rest.account.trades, key=lambda t: (t.time_ns // 1000, t.id))
    ]
    assert all(row["paid"] == row["fee"] for row in rows if row["fee"])
    assert {row["fee_asset"] for row in rows if row["fee"]} == {"ZUSD"}


def test_balances_at_the_end_of_days_are_in_the_order_of_the_trail(bench: Bench, account: Account) -> None:
    rows = account.balance_history(to="arrow").to_pylist()
    last = {row["asset"]: row["balance"] for row in rows}
    expected = {asset: Decimal(printed(units, DECIMALS[asset])) for asset, units in bench.rest.account.balances.items()}
    assert {asset: last[asset] for asset in expected} == expected
    assert len(rows) == len({(row["asset"], row["asset_class"], row["day"]) for row in rows})


def test_transfers_know_which_were_taken_back(account: Account) -> None:
    rows = account.transfers(to="arrow").to_pylist()
    back = [row for row in rows if row["is_reversed"]]
    assert back
    assert {row["type"] for row in back} == {"withdrawal"}
    assert {row["type"] for row in rows} == {"deposit", "withdrawal", "transfer"}
    assert "spotfromfutures" in {row["subtype"] for row in rows}


def test_frames_and_parameters(account: Account) -> None:
    frame = account.sql(
        "SELECT asset, sum(amount) AS total FROM account_ledger WHERE type = $type GROUP BY ALL", type="deposit"
    )
    assert set(frame["asset"]) == {"ZUSD", "XXBT", "RNDR", "ZEUR"}
    assert frame["total"].dtype == "float64"
    assert account.ledger(to="polars")["amount"].dtype.is_float()
    assert account.orders().shape[0] == account.fills(to="arrow").num_rows
    assert account.certificate().is_reconciled
    assert recorder.connect_account is connect_account


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("COPY account_ledger TO 'x.csv'", "refused"),
        ("CREATE TABLE x AS FROM account_ledger", "refused"),
        ("SELECT * FROM nothing", "DuckDB"),
        ("SELECT 1; SELECT 2", "2 SQL statements"),
        ("", "no SQL statement"),
        ("SET VARIABLE account_ledger = 'x'", "refused"),
        ("SELECT * FROM read_text('/etc/hostname')", "DuckDB: Permission Error"),
        ("SELECT * FROM read_csv('/etc/passwd')", "DuckDB: Permission Error"),
        ("SELECT getenv('HOME')", "DuckDB"),
    ],
)
def test_a_question_only_reads(text: str, reason: str, account: Account) -> None:
    with pytest.raises(UsageError, match=reason):
        account.sql(text)


def test_own_fills_stand_beside_the_tape_and_quotes(tmp_path: Path, account: Account) -> None:
    with writing(tmp_path) as archive:
        archive.append([trade(1, price="101.0", qty="1"), trade(2, price="101", qty="1")])
        archive.listed("BTC/USD", 1)
        archive.quoted([quote(1, 0, T0_US - 10, "100", "100.5"), quote(1, 1, T0_US + 10**6, "90", "91")])
    with recorder.connect(tmp_path) as opened:
        rows = account.slippage(opened, to="arrow").to_pylist()
    by_id = {row["trade_id"]: row for row in rows}
    assert (by_id[1]["tape"], by_id[2]["tape"]) == ("equal", "differs")
    assert by_id[2]["tape_price"] == Decimal(101)
    assert {row["tape"] for row in rows} == {"equal", "differs", "not recorded", "unmatched"}
    assert len(rows) == account.fills(to="arrow").num_rows
    assert (by_id[1]["bid"], by_id[1]["slippage"]) == (Decimal(100), 0.75), "101 for a middle of 100.25"
    assert all(row["slippage"] is None for row in rows if row["pair"] != "BTC/USD"), "no quotes are recorded"


def test_an_export_has_krakens_own_columns_and_numbers_as_printed(bench: Bench, account: Account) -> None:
    table = account.kraken_csv("ledgers")
    assert table.column_names == [
        "txid",
        "refid",
        "time",
        "type",
        "subtype",
        "aclass",
        "asset",
        "amount",
        "fee",
        "balance",
    ]
    rows = {row["txid"]: row for row in table.to_pylist()}
    for entry in bench.rest.account.rows:
        fields = entry.fields()
        assert {name: rows[entry.id][name] for name in ("amount", "fee", "balance", "asset", "type")} == {
            name: fields[name] for name in ("amount", "fee", "balance", "asset", "type")
        }
    assert account.kraken_csv("trades").column_names[:4] == ["txid", "ordertxid", "pair", "time"]
    with pytest.raises(UsageError, match="ledgers or trades"):
        account.kraken_csv("orders")


def test_an_accounting_tool_loads_the_export(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("`make recipes` installs BittyTax; it is not here")
    made = PrivateAccount(4)
    made.enter("deposit", "ZUSD", 10**9, NOW_NS - 9 * DAY_NS)
    made.enter("staking", "DOT.S", 10**9, NOW_NS - 8 * DAY_NS)
    for number in range(4):
        made.fill(MARKETS[number % 3], "buy", 10**6, NOW_NS - (7 - number) * DAY_NS)
    made.enter("withdrawal", "ZUSD", -(10**6), NOW_NS - DAY_NS, fee=500)
    made.enter("transfer", "USDT", 10**6, NOW_NS - DAY_NS, subtype="spotfromfutures")
    bench = Bench(tmp_path, made)
    asyncio.run(bench.round())
    with connect_account(tmp_path / "account") as account:
        output.write(account.kraken_csv("ledgers"), output.Output(output.Format.CSV, tmp_path / "ledgers.csv"))
    command = [str(PYTHON), "-c", LOAD, "ledgers.csv"]
    environ = {"HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr
    kinds = [row["Type"] for row in csv.DictReader(io.StringIO(done.stdout))]
    assert sorted(kinds) == sorted(["Deposit", "Staking", *["Trade"] * 4, "Withdrawal"])


def test_there_is_no_account_where_none_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(UsageError, match="there is no account"):
        connect_account(tmp_path)
