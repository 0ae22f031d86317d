from __future__ import annotations

import os
import re

import pytest

from recorder.cli.terminal_line import TerminalLine
from tests.end_to_end.harness import read_until

LONG = "info  recording " + "x" * 90


def test_the_log_scrolls_above_a_line_that_is_replaced_and_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, ours = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    stream = os.fdopen(ours, "w", buffering=1)
    monkeypatch.setattr("sys.stderr", stream)
    with TerminalLine(redrawn_per_s=100) as line:
        assert line.log.isatty()
        line.show("+1 trade")
        said = read_until(terminal, "+1 trade")
        line.show("+2 trades \x1b[2J" + "y" * 90)
        said += read_until(terminal, "+2 trades")
        print(f"\x1b[1m12:00\x1b[0m {LONG}", file=line.log)
        said += read_until(terminal, LONG)
        said += read_until(terminal, "+2 trades")
    stream.close()
    said += read_until(terminal, None)
    os.close(terminal)
    assert "\x1b[1m12:00\x1b[0m" in said
    assert "\x1b[2J" not in said, "no text of others steers the terminal"
    assert "\x1b[?25l" not in said, "a killed process would leave no cursor"
    drawn = re.findall(r"\+2 trades[^\r\n]*", re.sub(r"\x1b\[[\d;]*[A-Zm]", "\r", said))
    assert {line[-1] for line in drawn} == {"…"}
    assert max(map(len, drawn)) <= 60
    assert said.rstrip("\r\n").endswith("\x1b[2K"), "the line is removed"
