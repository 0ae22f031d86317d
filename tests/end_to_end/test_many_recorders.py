"""Several recorders of one exchange, and the archive that merges make of theirs."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer

from recorder.archive.layout import Layout
from recorder.cli.merge import merge
from recorder.clock import SystemClock
from recorder.ops import archive_status, process_setup
from recorder.sandbox.ground_truth import compare, read_truth
from recorder.sandbox.market import Market
from recorder.sandbox.server import Sandbox
from tests.end_to_end.harness import Process, archived, caught_up, environ_for, until

SHARED, OTHERS = "*/USD", "*/EUR"


async def test_a_standby_takes_over_and_the_merged_archive_has_each_trade_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_setup, "prepare", lambda: None)
    into = tmp_path / "merged"

    def merged(*names: str) -> list[dict[str, Any]]:
        reports = []
        for name in names:
            with contextlib.suppress(typer.Exit):
                merge(tmp_path / name, into, dry_run=False, as_json=True)
            reports.append(json.loads(capsys.readouterr().out))
        return reports

    def last_of(pattern: str) -> Mapping[str, int]:
        return {pair: last for pair, last in sandbox.last_ids().items() if pair.endswith(pattern[1:])}

    def started(name: str, pairs: str) -> Process:
        environ = environ_for(sandbox, pairs, drain_every="1s")
        return Process("run", "--data", str(tmp_path / name), cwd=tmp_path, **environ)

    clock = SystemClock()
    sandbox = Sandbox(Market(start_ns=clock.wall_ns(), rate=300), clock=clock, truth=tmp_path / "truth")
    async with sandbox.serve():
        parts = {"alone": OTHERS, "primary": SHARED, "standby": SHARED}
        with contextlib.ExitStack() as closing:
            running = {}
            for name, pairs in parts.items():
                running[name] = started(name, pairs)
                closing.callback(running[name].close)
            await until(lambda: all(has_drained(tmp_path / name) for name in parts), what="all have drained")
            merged(*parts)
            running["primary"].signal(signal.SIGKILL)
            assert await running["primary"].ended() == -signal.SIGKILL
            merged(*parts)
            for pair in last_of(SHARED):
                sandbox.burst(pair, 100)
            sandbox.freeze()
            for name in ("alone", "standby"):
                missing = partial(caught_up, tmp_path / name, last_of(parts[name]))
                await until(missing, what=f"{name} has everything")
            made = sandbox.last_ids()
            merged(*parts)
    reports = merged(*parts)
    assert [report["disagreements"] for report in reports] == [0, 0, 0]
    assert [sum(pair["added"] for pair in report["pairs"]) for report in reports] == [0, 0, 0]
    assert all(report["files_merged_before"] for report in reports)
    verdict = compare(archived(into), read_truth(tmp_path / "truth"), last_ids=made)
    assert verdict.perfect, str(verdict)
    assert {one.pair for one in archive_status.read(into)} == {*last_of(SHARED), *last_of(OTHERS)}


def has_drained(data: Path) -> bool:
    """Return whether trades of some pair are archived."""
    return (data / "trades").is_dir() and bool(Layout(data).pairs())
