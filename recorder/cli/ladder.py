"""A book in the terminal: bids on the left, asks on the right, the best of each first."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import zip_longest
from typing import TypeAlias

from rich import box
from rich.table import Table
from rich.text import Text

from recorder.cli.screen import text
from recorder.core.model import plain

Rung: TypeAlias = tuple[Decimal, Decimal]
"""Price and quantity."""


def ladder(bids: Sequence[Rung], asks: Sequence[Rung]) -> Table:
    """Return the table of a book, with the same number of digits in all its prices, and in all its quantities."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for heading in ("bid qty", "bid", "ask", "ask qty"):
        table.add_column(heading, justify="left" if heading == "ask" else "right", no_wrap=True)
    digits = [max((_digits(one[place]) for one in (*bids, *asks)), default=0) for place in (0, 1)]
    for bid, ask in zip_longest(bids, asks):
        table.add_row(*_cells(bid, digits, "green")[::-1], *_cells(ask, digits, "red"))
    return table


def _digits(value: Decimal) -> int:
    return len(plain(value).partition(".")[2])


def _cells(rung: Rung | None, digits: Sequence[int], style: str) -> list[Text]:
    """Return price and quantity with ``digits`` digits each, so that decimal points align."""
    if rung is None:
        return [text(""), text("")]
    price, qty = rung
    return [text(f"{price:.{digits[0]}f}", style), text(f"{qty:.{digits[1]}f}")]
