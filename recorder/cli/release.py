"""``recorder release``: give up missing ids of a pair that have vanished, or that cannot be fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recorder import config
from recorder.archive import open_archive, stored_evidence
from recorder.archive import release as job
from recorder.archive.layout import existing
from recorder.cli.disown import HIGHEST
from recorder.cli.screen import echo
from recorder.cli.status import counted
from recorder.cli.stored_pairs import stored_pairs
from recorder.clock import SystemClock
from recorder.core.trade_ids import Span
from recorder.disk import Disk
from recorder.errors import UsageError
from recorder.journal import live_read
from recorder.kraken import records
from recorder.ops import process_setup


def release(
    pair: Annotated[str, typer.Argument(help="The pair, BTC/USD.")],
    first: Annotated[int, typer.Argument(metavar="FROM", help="The first id.", min=1, max=HIGHEST)],
    last: Annotated[int, typer.Argument(metavar="TO", help="The last id, included.", min=1, max=HIGHEST)],
    *,
    data: Annotated[Path | None, typer.Option(help="The archive's folder, instead of archive.path.")] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
) -> None:
    """Give up the missing ids of a range, as `recorder gaps` lists them: they no longer count as missing.

    They are not fetched any more either. Stored ids stay unchanged. May run beside a recorder; `recorder disown --undo`
    reverts it.
    """
    if first > last:
        raise UsageError(f"the range is reversed: {first} is after {last}; swap them")
    layout = existing((data or config.load(config_file).archive.path).resolve())
    (name,) = stored_pairs([pair], sorted({*layout.pairs(), *stored_evidence.read(layout).promised}), layout)
    process_setup.as_owner(layout.data)
    process_setup.prepare()
    now_us = SystemClock().wall_ns() // 1000
    with open_archive.opened(layout, Disk()) as archive:
        # The journal before the archive: rows that move meanwhile are seen twice, and not missed.
        claims = list(records.claims(live_read.entries(layout.journal)))
        released = job.release(archive, name, Span(first, last), claims, now_us=now_us)
    if not released:
        raise UsageError(f"no id of {name} from {first} to {last} is missing; `recorder gaps` lists those that are")
    left = last - first + 1 - released.count()
    line = f"{name}: {counted(released.count(), 'id')} released"
    echo(line + (f"; {left:,} of the range are not missing, and stay as they are" if left else ""))
