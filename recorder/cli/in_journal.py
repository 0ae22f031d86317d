"""What waits in the journal: the option that counts it in, and the report without which "no rows" seems the answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from recorder.archive.layout import Layout
from recorder.cli.screen import echo
from recorder.cli.status import counted
from recorder.object_store import is_address
from recorder.query.journal_tail import JournalTail

LiveOption = Annotated[
    bool,
    typer.Option(
        "--live",
        help="Count in what is only in the journal yet: trades, candles, quotes and events. New listings, and the "
        "events that report revised or lost candles, come with the next drain.",
    ),
]


@contextlib.contextmanager
def reporting_waiting_trades(data: Path, *, live: bool) -> Iterator[None]:
    """Report after a query, also one that found no pair, that --live would count trades in, if none are archived."""
    try:
        yield
    finally:
        if not live:
            report_waiting_trades(data, "--live counts them in")


def report_waiting_trades(data: Path, remedy: str) -> None:
    """Report on standard error how many trades wait, and the ``remedy``, if no trades are archived."""
    if is_address(data):  # beside a copy nothing is journalled
        return
    layout = Layout(data)
    if not layout.exists or layout.pairs():
        return
    waiting = JournalTail(layout.data).read().num_rows
    if waiting:
        echo(f"recorder: nothing is archived yet; {counted(waiting, 'trade')} in the journal: {remedy}", err=True)
