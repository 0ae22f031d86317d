"""What the verbs print through: nothing that another wrote can steer the terminal, or be taken for markup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from recorder.core.shown import shown

WIDE: Final = 1_000
"""Columns of text where there is no terminal to ask: nothing is folded in a pipe."""


class Screen(Console):
    """A console of rich that takes texts as they are: no markup, no names of emoji, and nothing unprintable.

    ``print(…, markup=True)`` is for sentences that are ours from end to end.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        """Print to standard output, or to standard error."""
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See rich; whatever it prints comes by here."""
        for said, style, control in super().render(renderable, options):
            yield Segment(said if control else shown(said, lines=True), style, control)


def text(said: str, style: str = "") -> Text:
    """Return a text for a table or a line: on one line, and as wide as it will be printed."""
    return Text(shown(said), style)


def echo(said: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text as it is, but for what is not printable: JSON stays the same JSON."""
    typer.echo(shown(str(said), lines=True), err=err, nl=nl)
