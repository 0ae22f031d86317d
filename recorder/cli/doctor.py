"""``recorder doctor``: check everything that can go wrong, and name a remedy for each fault."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich import box
from rich.table import Table

from recorder import config
from recorder.archive.layout import Layout
from recorder.cli.screen import Screen, echo, text
from recorder.cli.status import counted
from recorder.clock import SystemClock
from recorder.config import Config
from recorder.errors import ConfigError
from recorder.ops import doctor as checks
from recorder.ops.doctor import CheckResult

_STYLES: Final = {"ok": "green", "note": "yellow", "wrong": "red"}


def doctor(
    data: Annotated[Path | None, typer.Option(help="The archive's folder, instead of archive.path.")] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="The configuration; config.yaml where there is one.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the exchange.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all findings.")] = False,
) -> None:
    """Check configuration, archive, journal, disk, clock, reachability, permissions and versions.

    Only reads, and may run beside the recorder. Exit code 1 if something needs attention; each finding has its remedy.
    """
    found = _examine(data, config_file, offline=offline)
    wrong = sum(finding.level == "wrong" for finding in found)
    if as_json:
        content = {"sound": not wrong, "findings": [asdict(finding) for finding in found]}
        echo(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        Screen().print_table(_table(found))
        echo(f"{counted(wrong, 'thing')} to fix" if wrong else "all is well")
    if wrong:
        raise typer.Exit(1)


def _examine(data: Path | None, config_file: Path | None, *, offline: bool) -> list[CheckResult]:
    clock = SystemClock()
    settings: Config | None = None
    problem: ConfigError | None = None
    try:
        settings = config.load(config_file)
    except ConfigError as error:
        problem = error
    default = Path("config.yaml")
    found = checks.configuration(problem, config_file or (default if default.exists() else None))
    chosen = data or (settings.archive.path if settings else Path("data"))
    layout = Layout(chosen.resolve())
    found += checks.readable("archive", lambda: checks.archive(layout, now_us=clock.wall_ns() // 1000))
    found += checks.readable("journal", lambda: checks.journal(layout))
    found += checks.space(layout.data)
    found += checks.permissions(layout)
    found += checks.versions()
    if settings is not None and not offline:
        found += asyncio.run(checks.exchange(settings, clock))
    return found


def _table(found: list[CheckResult]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for heading in ("area", "", "finding"):
        table.add_column(heading, no_wrap=heading != "finding", overflow="fold")
    area = ""
    for finding in found:
        says = text(finding.says)
        if finding.remedy:
            says.append(f"\n→ {finding.remedy}", "bold" if finding.level == "wrong" else "")
        table.add_row(finding.area if finding.area != area else "", text(finding.level, _STYLES[finding.level]), says)
        area = finding.area
    return table
