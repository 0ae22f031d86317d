"""Rounds over an invented account: everything once, whatever is late, throttled or interrupted."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import BinaryIO

import pyarrow as pa
import pytest

from recorder.account import service
from recorder.account.poll import AccountPoll, Identity
from recorder.archive import account_certificate, account_rows
from recorder.archive.account_tables import APART, BALANCES, LEDGER, ORDERS, TRADES
from recorder.archive.datasets import SCHEMA_FILE, Branch, Dataset
from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile
from recorder.config import AccountConfig, ArchiveConfig, Config
from recorder.core.account import AccountEvent
from recorder.core.account_trail import AccountCertificate
from recorder.disk import Disk
from recorder.errors import ArchiveInUse, ConfigError, InvalidNonce, KeyRefused, UsageError
from recorder.runtime.stop import Stop
from recorder.sandbox.private_account import DECIMALS, PrivateAccount, printed
from recorder.sandbox.private_rest import Counter
from tests.accounts import DAY_NS, NAME, Bench, credentials, invented
from tests.clocks import NOW_NS


def stored(folder: Path, dataset: Dataset) -> pa.Table:
    paths = [path for path in Layout(folder / "account").files(Branch(dataset)) if path.name != SCHEMA_FILE]
    tables = []
    for path in paths:
        with OpenFile(path) as file:
            tables.append(file.table(columns=dataset.columns.names))
    return pa.concat_tables(tables) if tables else dataset.columns.empty_table()


def assert_whole(bench: Bench) -> None:
    """Nothing lost, nothing doubled, nothing altered."""
    account = bench.rest.account
    entries = stored(bench.folder, LEDGER)
    expected = {row.id: (row.asset, row.fields()["amount"], row.fields()["balance"]) for row in account.rows}
    rows = zip(*(entries[name].to_pylist() for name in ("id", "asset", "amount", "balance", "raw")), strict=True)
    found = {}
    for number, asset, amount, balance, raw in rows:
        printed_entry = json.loads(raw)
        assert (Decimal(printed_entry["amount"]), Decimal(printed_entry["balance"])) == (amount, balance)
        found[number] = (asset, printed_entry["amount"], printed_entry["balance"])
    assert found == expected
    assert entries.num_rows == len(account.rows)
    for dataset, names in (
        (TRADES, {row.id for row in account.trades}),
        (ORDERS, {row.order for row in account.trades}),
    ):
        held = stored(bench.folder, dataset)["id"].to_pylist()
        assert len(held) == len(names)
        assert set(held) == names


class Killed(BaseException):
    """The end of a process at any moment."""


class DyingDisk(Disk):
    """A disk at whose changes the process may die: just before one, or just after it."""

    def __init__(self, random: Random, share: float) -> None:
        self._random, self._share = random, share

    def rename(self, old: Path, new: Path) -> None:
        self._maybe()
        super().rename(old, new)
        self._maybe()

    def sync(self, file: BinaryIO) -> None:
        self._maybe()
        super().sync(file)

    def _maybe(self) -> None:
        if self._random.random() < self._share:
            raise Killed


async def test_lag_kills_and_throttling_end_reconciled_with_nothing_lost_and_nothing_doubled(tmp_path: Path) -> None:
    bench = Bench(tmp_path, invented(trades=70, others=150, late_ns=6 * DAY_NS), tier="starter")
    bench.rest.counter = counter = Counter(most=12.0)  # less than the tier has: another program uses the key too
    random, kills = bench.rest.account.random, 0

    def kill(_path: str) -> None:
        if random.random() < 0.1:
            raise Killed

    bench.before, bench.disk = kill, DyingDisk(random, 0.03)
    for _ in range(200):
        try:
            await bench.round()
            break
        except Killed:
            kills += 1
    bench.before, bench.disk = lambda _path: None, Disk()
    bench.clock.move(7 * 86_400)  # whatever came late is served by now
    found = await bench.round()
    assert found.is_reconciled, account_certificate.sentences(found)
    assert_whole(bench)
    assert kills > 3
    assert counter.refused > 0
    assert bench.rest.nonces == sorted(set(bench.rest.nonces))
    pages = [line for line in bench.requests if "TradesHistory" in line or "ClosedOrders" in line]
    assert all("consolidate_taker=false" in line and "end=" in line for line in pages)
    bench.requests.clear()
    await bench.round()
    assert len(bench.requests) < 12, "another round takes a page of each"


async def test_an_entry_that_the_exchange_has_removed_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path, invented(trades=5, others=12))
    trade = bench.rest.account.trades[2]
    bench.rest.account.removed.add(gone := trade.ledgers[0])
    found = await bench.round()
    assert not found.is_reconciled
    assert (trade.id, gone) in found.absent
    assert [one.asset for one in found.breaks] == ["ZUSD"]
    assert gone in " ".join(account_certificate.sentences(found))
    (event,) = account_rows.events(Layout(tmp_path / "account"), AccountEvent.BROKEN)
    assert any(gone in line for line in event["lines"])
    bench.rest.account.removed.clear()
    bench.clock.move(2 * 86_400)
    assert (await bench.round()).is_reconciled, "it is requested again"
    assert_whole(bench)


async def test_a_fill_that_history_lacks_is_asked_for_by_its_name(tmp_path: Path) -> None:
    account = invented(trades=3, others=12)
    account.trades[-1].shown_ns = 2**63  # TradesHistory never shows it
    bench = Bench(tmp_path, account)
    assert (await bench.round()).is_reconciled
    assert account.trades[-1].id in stored(tmp_path, TRADES)["id"].to_pylist()
    assert sum("QueryTrades" in line for line in bench.requests) == 1


async def test_balances_count_only_where_no_entry_came_meanwhile(tmp_path: Path) -> None:
    account = invented(trades=3, others=12)
    bench = Bench(tmp_path, account)
    times = iter(range(2))

    def move(path: str) -> None:
        if "BalanceEx" in path and next(times, None) is not None:
            account.enter("deposit", "ZUSD", 10_0000, bench.clock.wall_ns())

    bench.before = move
    assert (await bench.round()).is_reconciled
    assert sum("BalanceEx" in line for line in bench.requests) == 3
    account.balances["ZUSD"] += 1  # one unit in the last digit, of which no entry tells
    found = await bench.round()
    (broken,) = found.breaks
    assert "0.0001 are not explained" in broken.sentence


async def test_balances_of_before_an_entry_say_nothing_about_it(tmp_path: Path) -> None:
    account = invented(trades=3, others=12)
    bench = Bench(tmp_path, account)
    await bench.round()
    account.enter("deposit", "ZUSD", 10_0000, bench.clock.wall_ns())
    account.enter("withdrawal", "ZUSD", -10_0000, bench.clock.wall_ns())

    def kill(path: str) -> None:
        if "BalanceEx" in path:
            raise Killed

    bench.before = kill
    with pytest.raises(Killed):
        await bench.round()
    found = account_certificate.certificate(Layout(tmp_path / "account"))
    assert found.ends is None
    assert account_certificate.sentences(found)[0].startswith("open: ")
    bench.before = lambda _path: None
    assert (await bench.round()).is_reconciled, "though the balances are the same"


async def test_entries_without_an_id_or_a_balance_are_kept_apart_and_reported(tmp_path: Path) -> None:
    account = invented(trades=2, others=12)
    pending = account.enter("deposit", "ZEUR", 0, NOW_NS - DAY_NS)
    balance, pending.balance = pending.balance, None
    nameless = account.enter("deposit", "ZEUR", 0, NOW_NS - DAY_NS)
    nameless.id = ""
    bench = Bench(tmp_path, account)
    for _ in range(2):
        found = await bench.round()
        assert found.is_reconciled
        assert found.apart == 2
    assert stored(tmp_path, APART).num_rows == 2, "each once"
    pending.balance = balance
    found = await bench.round()
    assert found.apart == 1
    assert pending.id in stored(tmp_path, LEDGER)["id"].to_pylist()


async def test_an_entry_that_comes_again_with_other_numbers_is_reported_and_changes_nothing(tmp_path: Path) -> None:
    account = invented(trades=2, others=12)
    bench = Bench(tmp_path, account)
    await bench.round()
    account.rows[-1].amount += 1
    await bench.round()
    await bench.round()
    (event,) = account_rows.events(Layout(tmp_path / "account"), AccountEvent.DIFFERS)
    assert event["ids"] == [account.rows[-1].id]
    (raw,) = stored(tmp_path, APART)["raw"].to_pylist()
    assert json.loads(raw)["amount"] == account.rows[-1].fields()["amount"]
    held = dict(zip(*(stored(tmp_path, LEDGER)[name].to_pylist() for name in ("id", "amount")), strict=True))
    digits = DECIMALS[account.rows[-1].asset]
    assert held[account.rows[-1].id] == Decimal(printed(account.rows[-1].amount - 1, digits))


async def test_a_renamed_asset_goes_on_and_the_certificate_says_by_which_name(tmp_path: Path) -> None:
    account = invented(trades=2, others=12)
    account.rename("RNDR", "RENDER", NOW_NS - DAY_NS)
    bench = Bench(tmp_path, account)
    found = await bench.round()
    assert found.is_reconciled
    assert "RENDER goes on from RNDR, by the table of renames" in account_certificate.sentences(found)


@pytest.mark.parametrize("camel", [True, False])
@pytest.mark.parametrize("right", ["modify-trades", "withdraw-funds", "Withdraw", "new-right"])
async def test_a_key_that_may_do_more_is_refused_before_anything_is_asked(
    right: str, tmp_path: Path, *, camel: bool
) -> None:
    account = PrivateAccount()
    bench = Bench(
        tmp_path, account, camel=camel, permissions=("query-funds", "query-closed-trades", "query-ledger", right)
    )
    with pytest.raises(KeyRefused, match=right):
        await bench.round()
    assert [line.partition("?")[0] for line in bench.requests] == ["/0/private/GetApiKeyInfo"]
    bench.allow = True
    await bench.round()
    key = account_certificate.last_key(Layout(tmp_path / "account"))
    assert key["excess"] == [right]
    assert "allow_trading_key permits" in key["rights"]


async def test_a_key_is_looked_at_daily_and_one_that_got_more_rights_ends_the_recording(tmp_path: Path) -> None:
    bench = Bench(tmp_path, invented(trades=2, others=12))
    with bench.opened() as opened:
        poll = AccountPoll(bench.client(), opened, bench.clock, identity=Identity("f", "127.0.0.1"))
        running = asyncio.create_task(poll.run(28_800.0))
        bench.key.permissions = ("query-funds", "query-closed-trades", "query-ledger")
        while sum("Ledgers" in line for line in bench.requests) < 6:
            await asyncio.sleep(0)
        bench.key.permissions = (*bench.key.permissions, "withdraw-funds")
        with pytest.raises(KeyRefused, match="withdraw-funds"):
            await running
    assert sum("GetApiKeyInfo" in line for line in bench.requests) == 2


async def test_a_new_key_keeps_the_history_and_one_of_another_account_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, invented(trades=4, others=12))
    await bench.round()
    rotated = Bench(tmp_path, bench.rest.account)
    rotated.rest.keys = {"r" * 56: rotated.key}
    bench.requests.clear()
    assert (await rotated.round(credentials(name="r" * 56))).is_reconciled
    assert not any("start" not in line for line in rotated.requests if "/Ledgers" in line), "it goes on from there"
    other = Bench(tmp_path, invented(trades=4, others=12, seed=9))
    other.rest.keys = {"o" * 56: other.key}
    with pytest.raises(KeyRefused, match="of another account"):
        await other.round(credentials(name="o" * 56))
    assert_whole(bench)


async def test_rows_that_vanished_are_fetched_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, invented(trades=20, others=80))
    await bench.round()
    paths = [path for path in Layout(tmp_path / "account").files(Branch(LEDGER)) if path.name != SCHEMA_FILE]
    for path in paths:
        path.unlink()
    assert (await bench.round()).is_reconciled
    assert_whole(bench)
    bench.rest.account.removed.add(bench.rest.account.rows[0].id)
    for path in Layout(tmp_path / "account").files(Branch(LEDGER)):
        path.unlink()
    assert not (await bench.round()).is_reconciled, "one is not to be had again"
    bench.requests.clear()
    await bench.round()
    assert not any("/Ledgers" in line and "start=" not in line for line in bench.requests), "and is not waited for"


async def test_the_folder_is_private_of_its_own_and_of_one_process(tmp_path: Path) -> None:
    bench = Bench(tmp_path, invented(trades=1, others=12))
    await bench.round()
    folder = tmp_path / "account"
    assert folder.stat().st_mode & 0o777 == 0o700
    with bench.opened(), pytest.raises(ArchiveInUse, match="records the account"):
        await bench.round()
    folder.chmod(0o750)
    for open_it in (lambda: bench.opened().__enter__(), lambda: account_rows.existing(folder)):
        with pytest.raises(UsageError, match="can be read by others"):
            open_it()
    folder.chmod(0o700)
    (folder / "trades").mkdir()
    with pytest.raises(UsageError, match="is an archive"):
        await bench.round()
    with pytest.raises(UsageError, match="there is no account"):
        account_rows.existing(tmp_path / "nowhere")
    assert NAME not in str(list(tmp_path.rglob("*")))


async def test_balances_are_stored_when_they_change(tmp_path: Path) -> None:
    bench = Bench(tmp_path, account := invented(trades=1, others=12))
    with bench.opened() as opened:
        poll = AccountPoll(bench.client(), opened, bench.clock, identity=Identity("f", "127.0.0.1"))
        for _ in range(3):
            await poll.round()
        assets = len(account.balances)
        assert stored(tmp_path, BALANCES).num_rows == assets
        account.enter("deposit", "ZUSD", 5, bench.clock.wall_ns())
        await poll.round()
    assert stored(tmp_path, BALANCES).num_rows == 2 * assets


async def test_ids_that_the_exchange_does_not_know_cost_a_request_and_no_recording(tmp_path: Path) -> None:
    account = invented(trades=2, others=12)
    account.enter("trade", "ZUSD", 5, NOW_NS - DAY_NS, refid="TUNKNO-WNAAA-AAAAAA")
    bench = Bench(tmp_path, account)
    answer = bench.rest.answer

    def refusing(method: str, headers: dict[str, str], body: str, *, now_ns: int) -> str:
        content = answer(method, headers, body, now_ns=now_ns)
        return '{"error":["EQuery:Unknown trade"]}' if method == "QueryTrades" else content

    bench.rest.answer = refusing  # type: ignore[assignment,method-assign]
    assert (await bench.round()).is_reconciled
    assert sum("QueryTrades" in line for line in bench.requests) == 1
    bench.rest.answer = lambda *_, **__: '{"error":["EAPI:Invalid nonce"]}'  # type: ignore[method-assign]
    with pytest.raises(InvalidNonce):
        await bench.round()


async def test_an_answer_that_cannot_be_read_costs_its_round(tmp_path: Path) -> None:
    bench = Bench(tmp_path, invented(trades=2, others=12))
    answer, broken = bench.rest.answer, iter([True])

    def garbled(method: str, headers: dict[str, str], body: str, *, now_ns: int) -> str:
        content = answer(method, headers, body, now_ns=now_ns)
        return '{"error":[],"result":5}' if method == "BalanceEx" and next(broken, False) else content

    bench.rest.answer = garbled  # type: ignore[assignment,method-assign]
    with bench.opened() as opened:
        certificates: list[AccountCertificate] = []
        identity = Identity("f", "127.0.0.1")
        poll = AccountPoll(bench.client(), opened, bench.clock, identity=identity, certified=certificates.append)
        running = asyncio.create_task(poll.run(300.0))
        while not certificates:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
    assert certificates[0].is_reconciled


async def test_an_account_never_lies_within_the_archive(tmp_path: Path) -> None:
    for path in (tmp_path / "data", tmp_path / "data" / "account"):
        config = Config(archive=ArchiveConfig(path=tmp_path / "data"), account=AccountConfig(path=path))
        with pytest.raises(ConfigError, match="outside of it"):
            await service.record(config, Stop())
    assert Config(archive=ArchiveConfig(path=tmp_path / "data")).account_path == tmp_path / "account"
