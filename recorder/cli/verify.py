"""``recorder verify``: read every stored row, and print what is proven for each UTC day of each pair."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated, Final

import typer
from rich import box
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from recorder import config
from recorder.archive import renumbering, stored_evidence
from recorder.archive.integrity import Days, Finding
from recorder.archive.layout import Layout, existing
from recorder.archive.stored_evidence import StoredEvidence
from recorder.archive.verify_trades import StepBack
from recorder.cli import times
from recorder.cli.gaps import iso
from recorder.cli.in_journal import report_waiting_trades
from recorder.cli.interrupts import on_interrupt
from recorder.cli.screen import Screen, echo, text
from recorder.cli.status import counted
from recorder.cli.stored_pairs import stored_pairs
from recorder.clock import SystemClock
from recorder.config import Config
from recorder.core.certificate import Certificate, utc_day
from recorder.errors import CorruptFile, UsageError
from recorder.ops.certificates import PairCertificates, certify, other_findings, total_bytes

_NAMED: Final = 10
"""The maximum number of pairs named in a message; --json names them all."""
_PROVEN: Final = frozenset({"complete", "empty"})
_STATES: Final = ("void", "disowned")
"""The states of ids that do not prevent a proof, and are reported all the same."""
_STYLES: Final = {
    "complete": "green",
    "empty": "green",
    "partial": "yellow",
    "open": "red",
    "pending": "yellow",
    "unknown": "red",
}


def verify(  # noqa: PLR0917 -- one parameter per command line option
    data: Annotated[Path, typer.Option(help="The archive's folder.")] = Path("data"),
    pair: Annotated[list[str] | None, typer.Option(help="Only this pair; may be given again.")] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", callback=times.given, help="The first UTC day: 2026-11-01, today, -7d."),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DAY", callback=times.given, help="The last UTC day, included.")
    ] = None,
    ohlc: Annotated[bool, typer.Option("--ohlc", help="Compare candles with the exchange's instead.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object with all of it; times in ISO 8601 UTC.")
    ] = False,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", help="The configuration, for trades.backfill_from; config.yaml where there is one."),
    ] = None,
) -> None:
    """Read every stored row, and certify each UTC day of each pair: complete, empty, partial, open, or pending today.

    Exit code 1 if a file is not sound, promised ids or ids between stored ones are missing, requested history is
    missing, or the beginning of a pair is not known. Trades that are only in the journal do not count. With --pair
    candles and listings are not checked, with --from and --to only candles of these years.
    """
    history_from = _history_from(config.load(config_file))
    layout = existing(data)
    days = Days(times.day("--from", first), times.day("--to", last))
    if days.first and days.last and days.first > days.last:
        raise UsageError(f"the range is reversed: --from {days.first} is after --to {days.last}; swap them")
    known = stored_evidence.read(layout)
    there = layout.pairs() if ohlc else sorted({*layout.pairs(), *known.promised})
    pairs = stored_pairs(pair, there, layout) if pair else there
    if ohlc:
        right = _reconcile(layout, pairs, days, as_json=as_json)
    else:
        right = _certify(layout, pairs, known, days, history_from, others=None if pair else days, as_json=as_json)
    report_waiting_trades(data, "they are verified once they are archived, with the next drain")
    if not right:
        raise typer.Exit(1)


def _history_from(settings: Config) -> date | None:
    """Return the day from which history is wanted: the first of all for ``listing``, None for ``nothing``."""
    from_us = settings.trades.backfill_from
    return date.min if from_us == 0 else None if from_us is None else utc_day(from_us)


def _certify(
    layout: Layout,
    pairs: Sequence[str],
    known: StoredEvidence,
    days: Days,
    history_from: date | None,
    *,
    others: Days | None,
    as_json: bool,
) -> bool:
    """Certify, print, and return whether everything wanted is stored."""
    now_us = SystemClock().wall_ns() // 1000
    console = Screen(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    seen = _Seen(history_from)
    with (
        on_interrupt(lambda: _so_far(seen, pairs)),
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("verifying", total=total_bytes(layout, pairs, days=others))

        def done(size: int) -> None:
            progress.advance(task, size)

        seen.findings += other_findings(layout, days=others, done=done)
        certified = map(seen.take, certify(layout, pairs, known, now_us=now_us, days=days, done=done))
        if as_json:
            _print_json(certified, seen)
        else:
            table = _table(certified)
    if not as_json:
        _print(table, seen, layout)
    return not (seen.findings or seen.lacking or seen.unanchored or seen.renumbered)


@dataclass(slots=True)
class _Seen:
    """Sums over all pairs; their certificates are not stored, since there may be millions."""

    history_from: date | None
    findings: list[Finding] = field(default_factory=list)
    pairs: int = 0
    trades: int = 0
    proven: int = 0
    partial: int = 0
    open: int = 0
    lacking: int = 0
    unanchored: list[str] = field(default_factory=list)
    renumbered: list[str] = field(default_factory=list)
    steps_back: dict[str, Sequence[StepBack]] = field(default_factory=dict)

    def take(self, one: PairCertificates) -> PairCertificates:
        """Add one pair."""
        self.findings += one.findings
        self.pairs += 1
        self.unanchored += [one.pair] if one.unanchored else []
        self.renumbered += [] if one.renumbered is None else [one.pair]
        self.steps_back |= {one.pair: one.steps_back} if one.steps_back else {}
        for day in one.certificates:
            self.trades += day.held.rows if day.held else 0
            self.proven += day.status in _PROVEN
            self.partial += day.status == "partial"
            self.open += day.status == "open"
            self.lacking += day.lacks(self.history_from)
        return one


def _so_far(seen: _Seen, pairs: Sequence[str]) -> str:
    """Return how far a verification came that was interrupted."""
    found = f"{counted(len(seen.findings), 'file')} not sound" if seen.findings else "every file sound"
    return (
        f"{seen.pairs:,} of {counted(len(pairs), 'pair')} read, {counted(seen.trades, 'trade')}, {found}. It changes "
        "nothing, and each call begins anew: --pair, --from and --to take it in parts"
    )


def _print_json(certified: Iterable[PairCertificates], seen: _Seen) -> None:
    echo('{"certificates": [', nl=False)
    separator = "\n"
    for one in certified:
        for certificate in one.certificates:
            echo(separator + json.dumps(_certificate(certificate)), nl=False)
            separator = ",\n"
    listed = [{"file": str(one.file), "problem": one.problem, "remedy": one.remedy} for one in seen.findings]
    back = [
        {"pair": pair, "trade_id": one.trade_id, "below_time": iso(one.below_us), "time": iso(one.time_us)}
        for pair, steps in seen.steps_back.items()
        for one in steps
    ]
    echo(f'\n],\n"unanchored": {json.dumps(seen.unanchored)},')
    echo(f'"renumbered": {json.dumps(seen.renumbered)},\n"steps_back": {json.dumps(back)},')
    echo(f'"findings": {json.dumps(listed, indent=2, ensure_ascii=False)}}}')


def _certificate(one: Certificate) -> dict[str, object]:
    rows = one.held
    return {
        "pair": one.pair,
        "day": one.day.isoformat(),
        "status": one.status,
        "first_id": rows.first_id if rows else None,
        "last_id": rows.last_id if rows else None,
        "rows": rows.rows if rows else 0,
        "promised": iso(one.promised_us),
        "missing": one.missing,
        "void": one.void,
        "disowned": one.disowned,
        "unreadable": one.unreadable,
        "first_time": iso(rows.first_us) if rows else None,
        "last_time": iso(rows.last_us) if rows else None,
        "sha256": rows.sha256 if rows else None,
        "why": _why(one),
    }


def _why(one: Certificate) -> list[str]:
    """Return the reasons that prevent a proof."""
    reasons = [f"{one.missing:,} missing"] if one.missing else []
    reasons += [f"{one.unreadable:,} unreadable"] if one.unreadable else []
    if one.before:
        reasons.append("begins inside")
    if one.unjoined:
        reasons.append("does not join the promise")
    if one.after:
        reasons.append("not confirmed")
    if one.unlike and (was := one.certified) is not None:
        ids = f"ids {was.first_id} to {was.last_id}"
        reasons.append(f"certified with {was.rows:,} rows, {ids}, SHA-256 {was.sha256:.16}")
    return reasons


@dataclass(frozen=True, slots=True)
class _DayLine:
    """Days with the same report."""

    first: date
    last: date
    status: str
    rows: int
    notes: list[str]


def _table(certified: Iterable[PairCertificates]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for heading in ("pair", "days", "status", "trades", ""):
        table.add_column(heading, justify="right" if heading == "trades" else "left", no_wrap=bool(heading))
    for one in certified:
        name = one.pair
        for line in lines(one.certificates):
            days = f"{line.first}" if line.first == line.last else f"{line.first} to {line.last}"
            status = text(line.status, _STYLES[line.status])
            table.add_row(text(name), days, status, f"{line.rows:,}", ", ".join(line.notes))
            name = ""
    return table


def _print(table: Table, seen: _Seen, layout: Layout) -> None:
    console = Screen()
    if table.row_count:
        console.print_table(table)
    for finding in seen.findings:
        sentence = Text.assemble((str(finding.file), "bold"), f" {finding.problem}: {finding.remedy}")
        console.print(sentence, soft_wrap=True)
    summary = text(f"{counted(seen.pairs, 'pair')}, {counted(seen.trades, 'trade')}: ")
    partial = f"{seen.partial:,} partial, " if seen.partial else ""
    summary.append(f"{counted(seen.proven, 'day')} proven, {partial}{seen.open:,} open")
    if seen.lacking:
        summary.append(f", {seen.lacking:,} of them with trades missing", "red")
    if seen.findings:
        summary.append(f"; {counted(len(seen.findings), 'file')} not sound", "red")
    console.print(summary)
    for pair in seen.renumbered:
        sentence = text(f"{pair} is renumbered: nothing is certified since, and new trades are quarantined; ", "red")
        console.print(sentence.append(renumbering.remedy(layout, pair)), soft_wrap=True)
    for pair, steps in seen.steps_back.items():
        ids = ", ".join(str(one.trade_id) for one in steps[:_NAMED]) + (" …" if len(steps) > _NAMED else "")
        console.print(text(f"{pair}: time goes back at {ids}, as the exchange stamped them", "yellow"), soft_wrap=True)
    if seen.unanchored:
        named = ", ".join(seen.unanchored[:_NAMED]) + (" …" if len(seen.unanchored) > _NAMED else "")
        sentence = text(f"{counted(len(seen.unanchored), 'pair')} unanchored: {named}; ", "red")
        sentence.append(
            "which trades are the first that are promised is not known yet: let `recorder run` ask for them"
        )
        console.print(sentence, soft_wrap=True)


def lines(certificates: Sequence[Certificate]) -> Iterator[_DayLine]:
    """Group consecutive days with the same report; open days with trades are reported one by one."""
    for _, group in groupby(certificates, key=_kind):
        days = list(group)
        notes = _why(days[0])
        empty = sum(day.status == "empty" for day in days)
        status = days[0].status
        if status in _PROVEN:
            status = "complete" if empty < len(days) else "empty"
            notes += [f"{empty:,} empty"] if 0 < empty < len(days) else []
        if status == "partial" and days[0].promised_us is not None:
            notes.append(f"promised from {datetime.fromtimestamp(days[0].promised_us // 1_000_000, UTC):%H:%M:%S}")
        counts = {state: getattr(days[0], state) for state in _STATES}
        notes += [f"{count:,} {state}" for state, count in counts.items() if count]
        rows = sum(day.held.rows for day in days if day.held)
        yield _DayLine(days[0].day, days[-1].day, status, rows, notes)


def _kind(one: Certificate) -> tuple[object, ...]:
    counts = tuple(getattr(one, state) for state in _STATES)
    if one.status in _PROVEN and not any(counts):
        return ("proven",)
    alone = one.day if one.held or one.unlike else None
    return one.status, alone, one.missing, one.unreadable, *counts, one.before, one.after, one.unjoined


def _reconcile(layout: Layout, pairs: Sequence[str], days: Days, *, as_json: bool) -> bool:
    """Compare candles, print, and return whether every difference is explained.

    Raise CorruptFile for a damaged file: DuckDB verifies no page, so all the other results may be wrong.
    """
    for finding in other_findings(layout, days=days):
        raise CorruptFile(f"{finding.file} {finding.problem}: {finding.remedy}")
    # DuckDB is loaded only for this.
    from recorder.query.candle_audit import WHYS, reconcile  # noqa: PLC0415
    from recorder.query.connect import connect  # noqa: PLC0415

    with connect(layout.data) as archive:
        found = list(reconcile(archive, pairs, first=days.first, last=days.last))
    unexplained = [series for series in found if series.different.get("unexplained")]
    if as_json:
        listed = [
            {
                "pair": series.pair,
                "timeframe": series.timeframe,
                "compared": series.compared,
                "equal": series.equal,
                **{why: series.different.get(why, 0) for why in WHYS},
            }
            for series in found
        ]
        echo(json.dumps(listed, indent=2))
        return not unexplained
    console = Screen()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for heading in ("pair", "candles", "compared", "equal", *WHYS):
        table.add_column(heading, justify="left" if heading in {"pair", "candles"} else "right", no_wrap=True)
    for series in found:
        table.add_row(
            text(series.pair),
            series.timeframe,
            f"{series.compared:,}",
            f"{series.equal:,}",
            *(f"{series.different.get(why, 0):,}" for why in WHYS),
        )
    if found:
        console.print_table(table)
    else:
        console.print("No candles of the exchange are archived.")
    for series in unexplained:
        console.print(
            f"{series.pair} {series.timeframe}: the first unexplained candle begins at {series.unexplained_at}, and "
            f"differs in {', '.join(series.differing) or 'that no trade is held'}; "
            f"recorder sql \"FROM candle_audit('{series.pair}', '{series.timeframe}') WHERE verdict = 'differs'\"",
            soft_wrap=True,
            markup=False,
        )
    return not unexplained
