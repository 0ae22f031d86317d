"""What the verbs print through: nothing that another wrote can steer the terminal, or be taken for markup."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from recorder.core.safe_text import printable

WIDE: Final = 1_000
"""Columns of text where there is no terminal to ask: nothing is folded in a pipe."""
FOLDED: Final = 16
"""A column of sentences may be folded to so many columns of text; narrower, it is no longer read as one."""


class Screen(Console):
    """A console of rich that takes texts as they are: no markup, no names of emoji, and nothing unprintable.

    ``print(…, markup=True)`` is for sentences that are ours from end to end.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        """Print to standard output, or to standard error."""
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False)
        if width is None and not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = WIDE

    def print_table(self, table: Table) -> None:
        """Print a table; row by row, a line for each value, where there is no room for it. Nothing is ever cut."""
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
        """See rich; whatever it prints comes by here."""
        for said, style, control in super().render(renderable, options):
            yield Segment(said if control else printable(said, lines=True), style, control)


def text(said: str, style: str = "") -> Text:
    """Return a text for a table or a line: on one line, and as wide as it will be printed."""
    return Text(printable(said), style)


def echo(said: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text as it is, but for what is not printable: JSON stays the same JSON."""
    typer.echo(printable(str(said), lines=True), err=err, nl=nl)
