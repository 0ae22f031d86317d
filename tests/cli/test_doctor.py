from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from recorder.cli.doctor import doctor
from recorder.clock import SystemClock
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.archives import trades, writing
from tests.end_to_end.harness import Process, environ_for


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(data: Path | None = None, config_file: Path | None = None, *, as_json: bool = False) -> int:
    """Run the verb without asking the exchange; return its exit code."""
    try:
        doctor(data, config_file, offline=True, as_json=as_json)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def test_an_archive_that_is_well_exits_0_and_one_that_needs_a_hand_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path / "data") as archive:
        archive.append(trades(1, 3))
        (path,) = archive.files()
    assert run(tmp_path / "data") == 0
    said = capsys.readouterr().out
    assert said.endswith("all is well\n")
    for area in ("configuration", "archive", "journal", "disk", "permissions", "versions"):
        assert area in said
    path.write_bytes(b"junk")
    assert run(tmp_path / "data", as_json=True) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["sound"] is False
    (wrong,) = [finding for finding in content["findings"] if finding["level"] == "wrong"]
    assert wrong["area"] == "archive"
    assert str(path) in wrong["says"]
    assert wrong["remedy"]
    assert run(tmp_path / "data") == 1
    assert "1 thing to fix" in capsys.readouterr().out


def test_a_configuration_that_cannot_be_used_is_a_finding_and_the_rest_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("pears: [BTC/USD]")
    assert run(None, tmp_path / "c.yaml", as_json=True) == 1
    content = json.loads(capsys.readouterr().out)["findings"]
    assert content[0]["level"] == "wrong"
    assert "did you mean pairs?" in content[0]["says"]
    assert len({finding["area"] for finding in content}) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"], "nothing is made"


async def test_it_asks_the_exchange_that_is_configured(tmp_path: Path) -> None:
    clock = SystemClock()
    sandbox = Sandbox(Market(start_ns=clock.wall_ns()), clock=clock)
    async with sandbox.serve():
        process = Process("doctor", "--data", "data", "--json", cwd=tmp_path, **environ_for(sandbox))
        try:
            assert await process.ended() == 0, process.said
            findings = json.loads(process.said)["findings"]
        finally:
            process.close()
    assert [one["level"] for one in findings if one["area"] in {"reachability", "clock"}] == ["ok"] * 3
