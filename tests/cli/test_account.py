"""``recorder account``: what its verbs print, where nothing has to be asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recorder.cli import app
from recorder.kraken.private_permissions import BOXES
from tests.accounts import Bench, invented


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("account"), invented(trades=3, others=12))
    asyncio.run(bench.round())
    return bench


def run(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["account", *arguments])
    return found.exit_code, found.output + (f"{found.exception}" if found.exception else "")


def test_status_says_reconciled_and_what_the_key_may_do(bench: Bench) -> None:
    code, output = run("status", "--path", str(bench.folder / "account"))
    assert code == 0
    assert "reconciled: 19 ledger entries of 8 assets explain every balance to the last digit" in output
    assert "only reads: query-funds" in output
    code, output = run("status", "--json", "--path", str(bench.folder / "account"))
    assert json.loads(output)["reconciled"] is True


def test_status_names_what_is_missing_and_repeats_a_key_that_may_trade(tmp_path: Path) -> None:
    bench = Bench(tmp_path, invented(trades=3, others=12), permissions=(*BOXES, "query-funds"))
    bench.rest.account.removed.add(gone := bench.rest.account.trades[0].ledgers[0])
    bench.allow = True
    asyncio.run(bench.round())
    code, output = run("status", "--path", str(tmp_path / "account"))
    assert code == 1
    assert f"names ledger entry {gone}, which is not there" in output
    assert "may do more than read" in output
    assert "withdraw-funds" in output


def test_questions_and_exports_go_to_a_file_or_the_screen(bench: Bench, tmp_path: Path) -> None:
    folder = str(bench.folder / "account")
    assert json.loads(run("sql", "SELECT count(*) AS n FROM account_ledger", "--json", "--path", folder)[1]) == [
        {"n": 19}
    ]
    path = tmp_path / "ledgers.csv"
    assert run("export", "ledgers", "-o", str(path), "--path", folder)[0] == 0
    assert path.read_text().startswith("txid,refid,time,type,subtype,aclass,asset,amount,fee,balance\n")
    assert "is not overwritten" in run("export", "ledgers", "-o", str(path), "--path", folder)[1]
    assert "ledgers or trades" in run("export", "taxes", "-o", "-", "--path", folder)[1]
    assert "there is no account" in run("status", "--path", str(tmp_path / "none"))[1]


def test_the_guide_names_every_box_and_the_help_every_verb() -> None:
    code, output = run("guide")
    assert code == 0
    assert all(box in output for box in BOXES.values())
    code, output = run("-h")
    assert code == 0
    assert all(f" {verb} " in output for verb in ("check", "guide", "run", "status", "sql", "export"))
