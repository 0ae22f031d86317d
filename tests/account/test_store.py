"""The folder of an account as tables: small files are merged, and ids count however they are split."""

from __future__ import annotations

from pathlib import Path

from recorder.archive import account_rows
from recorder.archive.account_tables import APART, LEDGER
from recorder.archive.datasets import SCHEMA_FILE, Branch
from recorder.core.account import AccountEvent, ApartEntry
from recorder.kraken.private_rows import ledger_page
from recorder.sandbox.private_account import PrivateAccount
from recorder.sandbox.private_rest import _json
from tests.accounts import DAY_NS, Bench, invented
from tests.clocks import NOW_NS


def files(bench: Bench) -> list[Path]:
    layout = account_rows.existing(bench.folder / "account")
    return [path for path in layout.files(Branch(LEDGER)) if path.name != SCHEMA_FILE]


def test_small_files_become_few_and_no_row_is_lost(tmp_path: Path) -> None:
    bench = Bench(tmp_path, invented(trades=0, others=40))
    rows = ledger_page(_json(bench.rest._ledgers({}, NOW_NS)).encode()).rows
    with bench.opened() as opened:
        assert [opened.add(LEDGER, [row, row]).new for row in rows] == [1] * len(rows)
        for number in range(20):
            opened.event(AccountEvent.READ, table=LEDGER.name, until_us=number + 1, rows=number)
        before = len(files(bench))
        assert opened.compact() > 0
        assert len(files(bench)) < before / 4
        assert opened.add(LEDGER, rows).new == 0
    with bench.opened() as opened:
        assert opened.ids(LEDGER).keys() == {row.id for row in rows}
        assert opened.add(LEDGER, rows) == opened.add(LEDGER, [])
        assert opened.read_until_us(LEDGER) == 20
    assert {one.id: one.balance for one in account_rows.entries(account_rows.existing(tmp_path / "account"))} == {
        row.id: row.balance for row in rows
    }


def test_what_is_apart_counts_until_it_comes_whole(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PrivateAccount())
    account = bench.rest.account
    row = account.enter("deposit", "ZUSD", 1, NOW_NS - DAY_NS)
    apart = ApartEntry(LEDGER.name, row.id, "d" * 32, "it has no balance", "{}")
    with bench.opened() as opened:
        assert opened.add(APART, [apart, apart]).new == 1
        layout = account_rows.existing(tmp_path / "account")
        assert account_rows.apart(layout) == [apart]
        opened.add(LEDGER, ledger_page(f'{{"ledger":{{"{row.id}":{_json(row.fields())}}}}}'.encode()).rows)
        assert account_rows.apart(layout) == []
