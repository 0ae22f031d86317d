"""The demo as people run it, but for shorter times: a shorter recording, an outage sooner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from recorder.cli import demo
from recorder.sandbox.market import Market

HURRIED = """
from pathlib import Path
from recorder.cli import demo
demo.BEFORE_S, demo.OUTAGE_S, demo.AFTER_S = 1.0, 1.0, 1.0
demo.RATE, demo.HISTORY, demo.DENSER = 300.0, 200, 10
demo.demo(Path("."))
"""
LONGEST_S = 100


def test_it_ends_with_candles_certificates_and_the_path_of_a_picture(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HURRIED],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )
    assert done.returncode == 0, done.stdout
    said = done.stdout[done.stdout.index("Complete and exact:") :]
    assert " info " not in done.stdout
    assert " info " in (tmp_path / "recorder.log").read_text(encoding="utf-8")
    assert "the exchange went away" in " ".join(said.split())
    assert "0 lost, 0 duplicated, 0 altered" in said
    assert said.index("1-minute candles") < said.index("A certificate for each day") < said.index("Look at it:")
    for pair in ("BTC/USD", "MINA/GBP"):
        days = [line.split() for line in said.splitlines() if line.split()[:1] == [pair]]
        assert [day[2] for day in days] in (["complete", "pending"], ["complete", "complete", "pending"])
        assert all(len(day[-1]) == 16 for day in days)
    assert max(len(line) for line in said.splitlines()) <= 80
    page = (tmp_path / "candles.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert '"kind":"repaired"' in page
    assert "The chart of BTC/USD shows that time in green" in " ".join(said.split())


def test_history_is_spread_and_keeps_its_order() -> None:
    start_ns = 1_762_776_000_000_000_000
    market = Market(start_ns=start_ns, history=50)
    demo._age(market, start_ns)
    for tape in market.tapes.values():
        times = list(tape.times_ns)
        assert times == sorted(times)
        assert times[-1] < start_ns
        assert abs(times[0] - (start_ns - demo.HISTORY_S * 1_000_000_000)) < 1_000_000
