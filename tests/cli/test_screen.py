from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich import box
from rich.table import Table
from rich.text import Text

from recorder.cli.screen import Screen, echo, text

HARM = "X\x1b]0;title\x07\x9b31m\u202e\u2066\u2028\x7f\udc80:smile:[red][/]/USD"
SPELT = r"X\u001b]0;title\u0007\u009b31m\u202e\u2066\u2028\u007f\udc80:smile:[red][/]/USD"


def test_whatever_is_printed_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(width=300)
    table = Table("a")
    table.add_column(text(HARM))
    table.add_row("b", text(HARM, "red"))
    screen.print(table)
    screen.print(text(HARM), soft_wrap=True)
    told = capsys.readouterr().out
    assert told.count(SPELT) == 4 - 1
    table.add_row("c", HARM)
    screen.print(HARM, Text(HARM), table)
    screen.rule(HARM)
    told += capsys.readouterr().out
    assert all(line.isprintable() for line in told.split("\n"))
    echo(HARM)
    assert capsys.readouterr().out == f"{SPELT}\n"


def test_lines_stay_lines_and_json_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"pair": HARM, "more": "\U000e0001é"}
    echo(json.dumps(content, indent=1, ensure_ascii=False))
    said = capsys.readouterr().out
    assert said.count("\n") == 5 - 1
    assert json.loads(said) == content


def test_every_verb_prints_through_it() -> None:
    verbs = [path for path in Path("recorder/cli").glob("*.py") if path.name not in {"screen.py", "__init__.py"}]
    assert verbs
    for path in verbs:
        code = path.read_text(encoding="utf-8")
        for other in ("typer.echo", "rich.console", " print(", " Text("):
            assert other not in code, (path, other)
        columns = [line for line in code.splitlines() if 'TextColumn("{task.' in line and "percentage" not in line]
        assert all("markup=False" in line for line in columns), path


ROW = ("BTC/USD", "91212345678..91212445727", "99,950", "a sentence that is folded where there is little room")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_nothing_of_a_table_is_ever_cut(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, title="/where/it/lies")
    for heading in ("pair", "ids held", "missing", ""):
        table.add_column(heading, no_wrap=bool(heading))
    table.add_row(*ROW)
    Screen(width=width).print_table(table)
    said = capsys.readouterr().out
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= width
    assert all(heading in said for heading in ("pair", "ids held", "missing", "/where/it/lies"))
    if width >= 40:
        assert all(cell in said for cell in ROW[:3])
    assert set(" ".join(ROW).split()) <= set(said.split()) or width == 20
