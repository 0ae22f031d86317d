"""``recorder status``: per pair, what is held, how fresh it is, and what is missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recorder.clock import SystemClock
from recorder.ops import status as state
from recorder.ops.status import PairStatus


def status(
    data: Annotated[Path, typer.Option(help="The archive's folder.")] = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array of objects; times in ISO 8601 UTC.")] = False,
) -> None:
    """Show every pair's last trade and its age, rows, coverage and holes; from disk, with or without a daemon."""
    pairs = state.read(data)
    now_us = SystemClock().wall_ns() // 1000
    if as_json:
        typer.echo(json.dumps([_as_json(pair, now_us) for pair in pairs], indent=2))
        return
    table = Table(title=Text(str(data)), box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for heading in ("pair", "last trade", "age", "rows", "in journal", "ids held", "holes", "missing"):
        table.add_column(heading, justify="left" if heading in {"pair", "ids held"} else "right", no_wrap=True)
    for pair in pairs:
        missing = sum(map(len, pair.holes))
        table.add_row(
            Text(pair.pair),
            _when(pair.last_us, now_us),
            age(now_us - pair.last_us),
            f"{pair.rows:,}",
            f"{pair.journalled:,}",
            f"{pair.first_id}..{pair.last_id}",
            f"[red]{len(pair.holes)}[/]" if pair.holes else "0",
            f"[red]{missing:,}[/]" if missing else "0",
        )
    Console().print(table)
    if not pairs:
        typer.echo("Nothing is recorded yet.")


def age(us: int) -> str:
    """Return a length of time for people.

    >>> age(4_200_000), age(90_000_000), age(7_200_000_000), age(-5)
    ('4s', '1m 30s', '2h 0m', '0s')
    """
    seconds = max(0, us // 1_000_000)
    for size, unit, smaller_size, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit} {seconds % size // smaller_size}{smaller}"
    return f"{seconds}s"


def _when(us: int, now_us: int) -> str:
    """Return the UTC time of day, or the date of what is older than a day."""
    return _utc(us).strftime("%H:%M:%S" if now_us - us < 86_400_000_000 else "%Y-%m-%d")


def _utc(us: int) -> datetime:
    return datetime.fromtimestamp(us // 1_000_000, UTC)


def _as_json(pair: PairStatus, now_us: int) -> dict[str, object]:
    return {
        "pair": pair.pair,
        "last_time": _utc(pair.last_us).isoformat().replace("+00:00", "Z"),
        "age_s": max(0, now_us - pair.last_us) // 1_000_000,
        "rows": pair.rows,
        "journalled": pair.journalled,
        "first_id": pair.first_id,
        "last_id": pair.last_id,
        "holes": [{"first_id": hole.first, "last_id": hole.last, "missing": len(hole)} for hole in pair.holes],
    }
