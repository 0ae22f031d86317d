"""What ``recorder import`` prints: what is inside before, and what became of it after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from rich import box
from rich.table import Table

from recorder.archive.event_rows import iso
from recorder.cli.screen import Screen, echo, text
from recorder.cli.status import counted
from recorder.history.contents import Contents, Entry
from recorder.history.finished import Note
from recorder.history.results import Examples, MemberResult
from recorder.kraken import rest_api
from recorder.kraken.history_files import TIMEFRAMES

ROWS_PER_S: Final = 1_000_000
"""Rows that are read and stored in a second, for the estimate of the time (measured, docs/operations.md)."""
_MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True)
class Apart:
    """Ids of a pair that are missing between imported trades and the others; gaps now, if they were ``joined``."""

    pair: str
    ids: int
    joined: bool = False

    @property
    def requests(self) -> int:
        """The requests that fetch them."""
        return -(-self.ids // rest_api.PAGE_LIMIT)


def print_inside(inside: Contents) -> None:
    """Print what is inside, before it is read."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("pair", "layout", "from", "rows, about", "file"):
        table.add_column(heading, justify="right" if heading.startswith("rows") else "left", no_wrap=True)
    for one in inside.members:
        pair = f"{one.pair} (by its name)" if one.split else one.pair
        begins = "" if one.begins_us is None else iso(one.begins_us)[: len("2025-11-10")]
        table.add_row(text(pair), one.layout, begins, f"{one.rows:,}", text(str(one.member)))
    Screen().print_table(table)
    rows = sum(one.rows for one in inside.members)
    minutes = max(1, round(rows / ROWS_PER_S / _MINUTE_S))
    echo(f"about {rows:,} rows to import: some {counted(minutes, 'minute')}")
    for name, why in inside.left:
        echo(f"{name} is left out: {why}")


def print_results(
    inside: Contents, results: Mapping[Entry, MemberResult], earlier: Mapping[Entry, Note], apart: Sequence[Apart]
) -> None:
    """Print what became of each member."""
    if results:
        _print_counts(results)
    for one, result in results.items():
        for kind, examples in (*result.problems, ("odd line", result.odd)):
            _print_examples(f"{one.member}: {kind}", examples)
    if earlier:
        echo(f"{counted(len(earlier), 'file')} skipped, since imported before and still stored whole")
    for between in apart:
        _print_apart(between)
    for name, why in inside.refused:
        Screen().print(text(f"{name} was refused: {why}", "red"), soft_wrap=True)


def _print_apart(between: Apart) -> None:
    ids, requests = counted(between.ids, "id"), counted(between.requests, "request")
    if between.joined:
        echo(
            f"{between.pair}: {ids} between imported and other trades became gaps, which a recorder fetches: {requests}"
        )
        return
    echo(
        f"{between.pair}: {ids} between imported and other trades are not stored; they are history, and only fetched "
        f"if you ask, by --join, `recorder backfill` or `trades.backfill_from`: {requests}"
    )


def _print_counts(results: Mapping[Entry, MemberResult]) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("pair", "rows", "added", "stored before", "differ", "odd lines", "file"):
        table.add_column(heading, justify="left" if heading in {"pair", "file"} else "right", no_wrap=True)
    for one, result in results.items():
        differ, odd = sum(kind.count for _, kind in result.problems), result.odd.count
        table.add_row(
            text(one.pair),
            *(f"{count:,}" for count in (result.rows, result.added, result.compared)),
            text(f"{differ:,}", "red" if differ else ""),
            text(f"{odd:,}", "yellow" if odd else ""),
            text(str(one.member)),
        )
    Screen().print_table(table)


def _print_examples(what: str, examples: Examples) -> None:
    for one in examples.first:
        Screen().print(text(f"{what}: {one}", "red"), soft_wrap=True)
    if examples.count > len(examples.first):
        echo(f"{what}: and {examples.count - len(examples.first):,} more")


def print_json(
    inside: Contents,
    results: Mapping[Entry, MemberResult],
    earlier: Mapping[Entry, Note],
    apart: Sequence[Apart],
    *,
    dry_run: bool,
) -> None:
    """Print all of it as one JSON object."""
    members = [
        {
            "file": str(one.member.file),
            "member": one.member.path,
            "pair": one.pair,
            "pair_by_name_only": one.split,
            "layout": one.detected.layout.value,
            "timeframe": None if one.member.name.minutes is None else TIMEFRAMES.get(one.member.name.minutes),
            "bytes": one.member.size,
            "rows_about": one.rows,
            "begins": None if one.begins_us is None else iso(one.begins_us),
            "result": asdict(results[one]) if one in results else None,
            "imported_before": iso(earlier[one].time_us) if one in earlier else None,
        }
        for one in inside.members
    ]
    report = {
        "dry_run": dry_run,
        "members": members,
        "left_out": [{"file": name, "reason": why} for name, why in inside.left],
        "refused": [{"file": name, "reason": why} for name, why in inside.refused],
        "not_stored_between": [
            {"pair": one.pair, "ids": one.ids, "requests": one.requests, "joined": one.joined} for one in apart
        ],
    }
    echo(json.dumps(report, indent=2, ensure_ascii=False))
