"""Ctrl-C: exit code 130, nothing half done, and a sentence about what is kept and how to go on."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from recorder import cli
from recorder.archive.merge_archive import TradeMerge
from recorder.cli.interrupts import interruptible
from recorder.ops import process_setup
from recorder.ops.certificates import certify
from recorder.query.connect import Archive, connect
from tests.archives import trades, writing

LONG = "SELECT sum(sin(range)) FROM range(2_000_000_000)"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with writing(tmp_path / "data") as archive:
        archive.append([*trades(1, 4), *trades(1, 3, pair="ETH/USD")])
    return tmp_path / "data"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, arguments)))


def after_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with Ctrl-C pressed at its second call."""
    calls: list[None] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    return interrupted


def test_an_export_leaves_no_file_and_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Archive.batches

    def batches(self: Archive, *arguments: Any, **options: Any) -> Iterator[Any]:
        yield next(iter(original(self, *arguments, **options)))
        raise KeyboardInterrupt

    monkeypatch.setattr(Archive, "batches", batches)
    path = data.parent / "x.csv"
    result = run("export", "BTC/USD", "-o", path, "--data", data)
    assert result.exit_code == 130
    assert result.stderr == (
        f"recorder: interrupted; {path} was not written: call it again, and it begins anew; --from and --to take it in "
        "parts\n"
    )
    assert [each.name for each in data.parent.iterdir()] == ["data"]
    result = run("export", "BTC/USD", "-o", "-", "--format", "csv", "--data", data)
    assert result.exit_code == 130
    assert "what was printed is not all" in result.stderr


def test_a_verification_says_how_far_it_came(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Iterator[Any]:
        yield next(iter(certify(*arguments, **options)))
        raise KeyboardInterrupt

    monkeypatch.setattr("recorder.cli.verify.certify", interrupted)
    result = run("verify", "--data", data)
    assert result.exit_code == 130
    assert "interrupted; 1 of 2 pairs read, 4 trades, every file sound. It changes nothing" in result.stderr


@pytest.mark.parametrize(("option", "kept"), [((), "4 trades added, which stay"), (("--dry-run",), "nothing was")])
def test_a_merge_says_what_it_added_and_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...], kept: str
) -> None:
    monkeypatch.setattr(process_setup, "prepare", lambda: None)  # it is for a process of its own
    ours = data.parent / "ours"
    with writing(ours):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(TradeMerge, "year", after_one(TradeMerge.year))
        result = run("merge", data, "--data", ours, *option)
    assert result.exit_code == 130
    assert f"recorder: interrupted; {kept}" in result.stderr
    assert run("merge", data, "--data", ours).exit_code == 0
    with connect(ours) as archive:
        assert archive.sql("SELECT count(*) AS n FROM trades", to="arrow")["n"].to_pylist() == [7]


def test_a_query_ends_at_once(data: Path) -> None:
    """DuckDB looks for signals only in some of its calls; without help this one would come back in minutes.

    The signal may come before DuckDB begins, and then proves nothing: try again until DuckDB has ended the query.
    """
    with connect(data) as archive, interruptible(archive):
        assert any(ended_in(archive) == "_telling" for _ in range(100))


def ended_in(archive: Archive) -> str:
    """Press Ctrl-C during a long query, and return the function in which it was raised."""
    main, ended = threading.main_thread().ident or 0, threading.Event()

    def press() -> None:
        while "fetch" not in names(sys._current_frames()[main]):
            pass
        while not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            ended.wait(0.5)  # it may have come before DuckDB began

    pressing = threading.Thread(target=press)

    def ask() -> None:
        pressing.start()
        try:
            archive.sql(LONG)
        finally:
            ended.set()
            pressing.join()

    with pytest.raises(KeyboardInterrupt) as caught:
        ask()
    ended.set()  # the first signal may have come before a second one was prevented
    pressing.join()
    return caught.traceback[-1].name


def names(frame: Any) -> list[str]:
    found = []
    while frame is not None:
        found.append(frame.f_code.co_name)
        frame = frame.f_back
    return found
