"""What the command line as a whole does, whichever verb it is: by a process of its own, as a shell starts it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recorder.cli import VERBS, app, main
from tests.builders import shop

RECORDER = (sys.executable, "-m", "recorder")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("main")
    with shop(data):
        return data


def test_help_is_short_to_ask_for() -> None:
    for arguments in (["-h"], ["sql", "-h"]):
        found = CliRunner().invoke(app, arguments)
        assert found.exit_code == 0
        assert "Usage" in found.output
    assert all(f" {verb} " in CliRunner().invoke(app, ["--help"]).output for verb in VERBS)


@pytest.mark.parametrize("arguments", [["-h"], ["query", "-h"]])
def test_help_breaks_its_lines_where_the_terminal_ends(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 60)
    lines = [line.rstrip() for line in CliRunner().invoke(app, arguments).output.splitlines()]
    prose = lines[: next(number for number, line in enumerate(lines) if line.startswith("╭"))]
    for line, following in itertools.pairwise(prose[3:]):
        if line and following:
            assert len(f"{line} {following.split()[0]}") >= 60, line


def test_a_reader_that_has_enough_ends_it_quietly_with_0(data: Path) -> None:
    rows = "SELECT range FROM range(1000000)"
    process = subprocess.Popen(
        [*RECORDER, "sql", rows, "--data", str(data), "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"range\n"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_a_terminal_without_our_signs_shows_others(data: Path) -> None:
    environ = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*RECORDER, "sql", "SELECT 'é' AS sign", "--data", str(data)], env=environ, capture_output=True, check=True
    )
    assert done.stdout.splitlines()[-1] == b"?"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            "verify --ohl",
            "no such option: --ohl (possible options: --help, --ohlc, --to); try `recorder verify --help`",
        ),
        ("verify --pair", "option '--pair' requires an argument; try `recorder verify --help`"),
        ("merge", "missing argument 'other'; try `recorder merge --help`"),
        ("status extra", "got unexpected extra argument(s) (extra); try `recorder status --help`"),
        ("account check --key", "no such option: --key; try `recorder account check --help`"),
        ("account check --config", "option '--config' requires an argument; try `recorder account check --help`"),
        ("account chek", "no such command 'chek'; did you mean 'check'?; try `recorder account --help`"),
        ("veryfy", "there is no verb 'veryfy'; did you mean verify or query?; try `recorder --help`"),
        ("export-all", "there is no verb 'export-all'; did you mean export or import?; try `recorder --help`"),
        ("--nothing", "no such option: --nothing; try `recorder --help`"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_like_any_other_error(
    arguments: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recorder", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"recorder: {sentence}\n"


@pytest.mark.parametrize("arguments", [[], ["account"]])
def test_without_a_verb_the_help_is_shown(arguments: list[str]) -> None:
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 2
    assert "Show this message and exit" in shown.output
