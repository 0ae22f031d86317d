"""``recorder gaps``: ids between stored ones that are missing, do not exist, or are disowned."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from recorder.archive.layout import existing
from recorder.cli.screen import Screen, echo, text
from recorder.cli.status import age, counted
from recorder.cli.stored_pairs import stored_pairs
from recorder.core.trade_ids import Gap
from recorder.ops import missing_ids as state


def gaps(
    data: Annotated[Path, typer.Option(help="The archive's folder.")] = Path("data"),
    pair: Annotated[list[str] | None, typer.Option(help="Only this pair; may be given again.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of objects; times in ISO 8601 UTC.")] = False,
) -> None:
    """List every gap between the stored trades, or before the first promised one; with or without a daemon.

    Exit code 1 if one is open, or if a file of a pair cannot be read: of that pair nothing is listed.
    """
    damaged: dict[str, str] = {}
    found = state.read(data, damaged)
    there = [*found, *damaged]
    wanted = stored_pairs(pair, there, existing(data)) if pair else there
    chosen = [name for name in wanted if name in found]
    listed = [gap for name in chosen for gap in found[name]]
    missing = [gap for gap in listed if gap.state == "open"]
    unreadable = sum(len(gap.span) for gap in listed if gap.state == "unreadable")
    if as_json:
        echo(json.dumps([_as_json(gap) for gap in listed], indent=2))
    else:
        if listed:
            Screen().print_table(_table(listed))
        ids = sum(len(gap.span) for gap in missing)
        holes = f"{counted(len(missing), 'hole')}, {ids:,} missing" if missing else "no holes"
        odd = f", {unreadable:,} unreadable" if unreadable else ""
        echo(f"{counted(len(chosen), 'pair')}: {holes}{odd}")
    unread = [damaged[name] for name in wanted if name in damaged]
    for problem in unread:
        echo(f"recorder: {problem}", err=True)
    if missing or unreadable or unread:
        raise typer.Exit(1)


def _table(listed: list[Gap]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for heading in ("pair", "ids", "count", "after", "within", "state"):
        table.add_column(heading, justify="right" if heading in {"count", "within"} else "left", no_wrap=True)
    for gap in listed:
        table.add_row(
            text(gap.pair),
            str(gap.span) if len(gap.span) > 1 else str(gap.span.first),
            f"{len(gap.span):,}",
            _when(gap.after_us),
            "" if gap.after_us is None or gap.before_us is None else age(gap.before_us - gap.after_us),
            text(gap.state, "red" if gap.state in {"open", "unreadable"} else ""),
        )
    return table


def _when(us: int | None) -> str:
    return "" if us is None else str(datetime.fromtimestamp(us // 1_000_000, UTC)).removesuffix("+00:00")


def _as_json(gap: Gap) -> dict[str, object]:
    return {
        "pair": gap.pair,
        "first_id": gap.span.first,
        "last_id": gap.span.last,
        "missing": len(gap.span),
        "after_time": iso(gap.after_us),
        "before_time": iso(gap.before_us),
        "state": gap.state,
    }


def iso(us: int | None) -> str | None:
    """Return a time in µs since 1970 UTC as ISO 8601 with all digits."""
    if us is None:
        return None
    seconds, rest = divmod(us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix('+00:00')}.{rest:06d}Z"
