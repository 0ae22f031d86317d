"""Trades waiting in the journal while nothing is archived yet, so that "no rows" is not taken for the answer."""

from __future__ import annotations

from pathlib import Path

from recorder.archive.layout import Layout
from recorder.cli.screen import echo
from recorder.cli.status import counted
from recorder.query.journal_tail import JournalTail


def report_waiting_trades(data: Path, remedy: str) -> None:
    """Report on standard error how many trades wait, and the ``remedy``, if no trades are archived."""
    layout = Layout(data)
    if layout.pairs():
        return
    waiting = JournalTail(layout.journal).read().num_rows
    if waiting:
        echo(f"recorder: nothing is archived yet; {counted(waiting, 'trade')} in the journal: {remedy}", err=True)
