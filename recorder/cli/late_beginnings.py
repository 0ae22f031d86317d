"""The report that a range begins before what is archived, so that its first rows are not taken for all there were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from recorder.cli.screen import echo
from recorder.query import id_runs
from recorder.query.connect import Archive

_BEGINS: Final = "SELECT epoch_us(time) AS time_us FROM pair_begins($pair) WHERE time > make_timestamptz($start_us)"


def report_late_beginnings(archive: Archive, pairs: Sequence[str], start_us: int | None) -> None:
    """Report on standard error when those of ``pairs`` begin that begin after ``start_us``; None is no limit."""
    if start_us is None:
        return
    found = {pair: archive.sql(_BEGINS, to="arrow", pair=pair, start_us=start_us) for pair in pairs}
    begins = {pair: rows["time_us"][0].as_py() for pair, rows in found.items() if rows.num_rows}
    if begins:
        echo(f"recorder: {id_runs.late(begins)}", err=True)
