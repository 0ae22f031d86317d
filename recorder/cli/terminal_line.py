"""A line at the foot of a terminal that is replaced in place, with the log scrolling above it."""

from __future__ import annotations

import io
from types import TracebackType
from typing import Self, TextIO, cast

from rich.live import Live
from rich.text import Text

from recorder.cli.screen import Screen, text


class _Console(Screen):
    """Standard error, with its cursor left alone: a process that is killed cannot bring a hidden one back."""

    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002 -- the library's signature
        return False


class TerminalLine:
    """The line, from entering the context to leaving it, which removes it. Its ``log`` is the stream for log lines.

    Only rich's own thread draws the line, so that a terminal that is held by Ctrl-S holds up no caller of :meth:`show`.
    """

    def __init__(self, *, redrawn_per_s: float = 2) -> None:
        self._console = _Console(stderr=True)
        self._shown = text("")
        self._live = Live(
            console=self._console,
            get_renderable=lambda: self._shown,
            refresh_per_second=redrawn_per_s,
            transient=True,
        )
        self.log: TextIO = cast("TextIO", _Above(self._console))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def show(self, line: str) -> None:
        """Show this text from the next drawing on, on one line, cut at the edge of the terminal."""
        shown = text(line, "dim")
        shown.no_wrap, shown.overflow = True, "ellipsis"
        self._shown = shown


class _Above(io.TextIOBase):
    """A stream whose lines a console prints above what it draws, as they are: the terminal wraps them."""

    def __init__(self, console: Screen) -> None:
        self._console = console

    def isatty(self) -> bool:
        return True

    def write(self, content: str) -> int:
        if content.strip("\n"):
            self._console.print(Text.from_ansi(content.rstrip("\n")), soft_wrap=True)
        return len(content)
