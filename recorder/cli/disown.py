"""``recorder disown``: remove ids of a pair that should not have been archived, or undo that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from recorder import config
from recorder.archive import disown as job
from recorder.archive import open_archive
from recorder.archive.layout import existing
from recorder.cli.screen import echo
from recorder.cli.status import counted
from recorder.cli.stored_pairs import stored_pairs
from recorder.clock import SystemClock
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Disk
from recorder.errors import UsageError
from recorder.ops import process_setup

HIGHEST: Final = 2**63 - 1
"""The highest id that the archive can store."""
_IDS: Final = re.compile(r"(\d+)(?:-(\d+))?")


def disown(
    pair: Annotated[str, typer.Argument(help="The pair, BTC/USD.")],
    ids: Annotated[list[str], typer.Argument(help="Ids, or ranges with both ends: 7-12.")],
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Take them back, with the rows that were set aside.")] = False,
    reason: Annotated[str, typer.Option(help="Why: it is kept with the rows, and in the events.")] = "disowned",
    data: Annotated[Path | None, typer.Option(help="The archive's folder, instead of archive.path.")] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
) -> None:
    """Disown ids of a pair: their rows move from the archive to quarantine/, and they are neither missing nor fetched.

    They are not archived again, whatever their source, until --undo. May run beside a recorder. It can be stopped at
    any time: the next call resumes.
    """
    layout = existing((data or config.load(config_file).archive.path).resolve())
    spans = parsed(ids)
    (name,) = stored_pairs([pair], layout.pairs(), layout)
    process_setup.as_owner(layout.data)
    process_setup.prepare()
    now_us = SystemClock().wall_ns() // 1000
    with open_archive.opened(layout, Disk()) as archive:
        if undo:
            moved = job.reclaim(archive, name, spans, now_us=now_us)
        else:
            moved = job.disown(archive, name, spans, now_us=now_us, reason=reason)
    became = "disowned no more" if undo else "disowned"
    place = f"archived again, from {layout.quarantine}" if undo else f"moved to {layout.quarantine}"
    already = spans.count() - moved.claimed.count()
    line = f"{name}: {counted(moved.claimed.count(), 'id')} {became}; {counted(moved.rows, 'row')} {place}"
    echo(line + (f"; {already:,} were {'not disowned' if undo else 'disowned already'}" if already else ""))


def parsed(ids: list[str]) -> Spans:
    """Return ids as a user writes them. Raise UsageError."""
    spans = Spans()
    for text in ids:
        found = _IDS.fullmatch(text)
        first, last = (int(end) for end in (found[1], found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last <= HIGHEST:
            raise UsageError(f"{text!r} names no ids: write one, as 7, or a range that runs upwards, as 7-12")
        spans.add(Span(first, last))
    return spans
