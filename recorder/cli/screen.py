"""Safe terminal output: text from others cannot control the terminal or act as markup, and no value is cut."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Final

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from recorder.core.safe_text import printable

WIDE: Final = 1_000
"""The width of output that is no terminal: nothing is folded in a pipe."""
FOLDED: Final = 16
"""The minimum width of a folded column of sentences; narrower, it is unreadable."""


class Screen(Console):
    """A console of rich that prints texts unchanged: no markup, no names of emoji, and nothing unprintable.

    ``print(…, markup=True)`` is for messages entirely our own.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        """Print to standard output, or to standard error."""
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False)
        if width is None and not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = WIDE

    def print_table(self, table: Table) -> None:
        """Print a table; row by row, a line for each value, if it does not fit. Nothing is ever cut."""
        needed = len("  ")
        for column in table.columns:
            column.overflow = "fold"
            cells = [column.header, *column.cells]
            widest = max(Measurement.get(self, self.options, cell).maximum for cell in cells)
            needed += (widest if column.no_wrap else min(widest, FOLDED)) + len("  ")
        if needed <= self.width:
            self.print(table)
            return
        headings = [str(column.header) for column in table.columns]
        width = max(map(len, headings))
        if table.title:
            self.print(table.title)
        for row in zip(*(column.cells for column in table.columns), strict=True):
            lines = Table.grid(padding=(0, 1))
            lines.add_column(width=width)
            lines.add_column(overflow="fold")
            for heading, cell in zip(headings, row, strict=True):
                if str(cell):
                    lines.add_row(text(heading, "dim"), cell)
            self.print(lines, "")

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render like rich, and clean the text; all output passes through here."""
        for part, style, control in super().render(renderable, options):
            yield Segment(part if control else printable(part, lines=True), style, control)


def text(plain: str, style: str = "") -> Text:
    """Return a text for a table or a line: on one line, and as wide as it will be printed."""
    return Text(printable(plain), style)


@contextlib.contextmanager
def echo_warnings() -> Iterator[None]:
    """Print warnings about an archive on standard error after the query."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for one in caught:
        echo(f"recorder: {one.message}", err=True)


def echo(message: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text unchanged, except for unprintable characters: JSON stays the same JSON."""
    typer.echo(printable(str(message), lines=True), err=err, nl=nl)
