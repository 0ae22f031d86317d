from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recorder.sandbox.ground_truth import read_truth

COMMAND = [sys.executable, "-c", "import typer; from recorder.cli.sandbox import sandbox; typer.run(sandbox)"]
ROOT = Path(__file__).parents[2]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def start_one(*options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield start_one
    for process in running:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_prints_its_addresses_serves_and_stops_when_asked(
    start: Start, tmp_path: Path, by: signal.Signals, code: int
) -> None:
    truth = tmp_path / "truth.jsonl"
    process = start("--json", "--rate", "100", "--history", "20", "--truth", str(truth))
    addresses = json.loads(first_line(process))
    assert set(addresses) == {"rest_url", "ws_url"}
    with urllib.request.urlopen(f"{addresses['rest_url']}/sandbox/truth", timeout=30) as answer:
        last_ids = json.load(answer)
    assert len(last_ids) == 6
    process.send_signal(by)
    assert process.wait(timeout=30) == code
    written = read_truth(truth)
    assert all(max(written[pair]) >= last_id for pair, last_id in last_ids.items())


def test_it_prints_for_people_without_json(start: Start, tmp_path: Path) -> None:
    process = start("--history-files", str(tmp_path / "past"), "--history-defect", "crlf", "--history", "20")
    for name in ("Kraken_Trading_History_Q", "Kraken_Trading_History.zip", "Kraken_OHLCVT.zip"):
        line = first_line(process)
        assert name in line
        with zipfile.ZipFile(line.removeprefix("History").strip()) as archive:
            (member,) = (one for one in archive.namelist() if one.endswith(("XBTUSD.csv", "XBTUSD_60.csv")))
            assert archive.read(member).endswith(b"\r\n")
    assert first_line(process).startswith("REST       http://127.0.0.1:")
    assert first_line(process).startswith("WebSocket  ws://127.0.0.1:")
    assert "DOGE/USD" in first_line(process)


def test_it_replays_recordings_in_place_of_the_invented_market(start: Start, payloads: Path) -> None:
    page = payloads / "rest/Trades/XBTUSDT_1000_2025-11-11.json"
    listing = payloads / "rest/AssetPairs/XBTUSDT_2025-11.json"
    process = start("--json", "--page", str(page), "--listing", str(listing))
    url = f"{json.loads(first_line(process))['rest_url']}/0/public/Trades?pair=XBTUSDT&since=0"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read().decode() == page.read_text().strip()


def test_it_lists_a_real_listing_and_trades_what_it_is_told(start: Start, payloads: Path) -> None:
    listing = payloads / "rest/AssetPairs/full_1218pairs_2025-09-11.json"
    process = start("--json", "--listing", str(listing), "--trade", "ADA/USD", "--throttle", "--reject", "BTC/USD")
    rest_url = json.loads(first_line(process))["rest_url"]
    with urllib.request.urlopen(f"{rest_url}/sandbox/truth", timeout=30) as answer:
        assert len(json.load(answer)) == 7
    with urllib.request.urlopen(f"{rest_url}/0/public/AssetPairs", timeout=30) as answer:
        assert len(json.load(answer)["result"]) == 1218


def test_a_wrong_fault_is_refused_before_anything_is_served(start: Start) -> None:
    process = start("--fault", "8:earthquake")
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "there is no fault" in errors


@pytest.fixture
def payloads() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "kraken" / "payloads"
    if not folder.is_dir():
        pytest.skip("the recorded payloads (../shared/kraken/payloads beside the repository) are not here")
    return folder
