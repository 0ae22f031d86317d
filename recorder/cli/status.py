"""``recorder status``: what is stored, how recent it is, what is missing, and the latest events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from recorder import config
from recorder.archive.datasets import BY_NAME
from recorder.cli.screen import Screen, echo, text
from recorder.clock import SystemClock
from recorder.core.event_kinds import EventKind
from recorder.core.model import TIMEFRAMES, Event
from recorder.core.trade_ids import GapState
from recorder.errors import ConfigError, UsageError
from recorder.ops import archive_status as state
from recorder.ops import daemon_client
from recorder.ops.archive_status import ArchiveStatus, CandleStatus, PairStatus, QuarantinedPair, TableStatus
from recorder.ops.daemon_client import DaemonReply

_SHOWN: Final = 40
"""The maximum number of pairs shown, a screen or two; of more, only those with something to report are shown."""
WATCH_S: Final = 2.0
"""Seconds between two outputs of --watch: reading the footers of a thousand pairs takes a tenth of that."""
_ONLINE: Final = "online"
_ABSENT: Final[Mapping[GapState, str]] = {"unreadable": "red", "void": "", "disowned": ""}
"""The states of ids that are neither stored nor open, and their style."""


def status(
    data: Annotated[Path, typer.Option(help="The archive's folder.")] = Path("data"),
    all_pairs: Annotated[bool, typer.Option("--all", help=f"Show every pair, also of more than {_SHOWN}.")] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON object of daemon, pairs, candles, tables, events and more; times in ISO 8601 UTC.",
        ),
    ] = False,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="Where the daemon is found; config.yaml where there is one.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again every two seconds until Ctrl-C.")] = False,
) -> None:
    """Show pairs, candles, gaps, the exchange's state and the last events; from disk, with or without a daemon.

    If a daemon records into this archive, its state is requested. Exit code 1 if a file cannot be read (the others
    are still shown), or if certified trades are gone and are not being fetched again.
    """
    if watch and as_json:
        raise UsageError("--watch is for people: leave out --json, and call it as often as you like")
    fine = _show(data, config_file, all_pairs=all_pairs, as_json=as_json)
    with suppress(KeyboardInterrupt):
        while watch:
            time.sleep(WATCH_S)
            Screen().clear()
            fine = _show(data, config_file, all_pairs=all_pairs, as_json=False)
    if not fine:
        raise typer.Exit(1)


def _show(data: Path, config_file: Path | None, *, all_pairs: bool, as_json: bool) -> bool:
    """Print it once; return whether all files can be read and nothing certified is gone."""
    found = state.everything(data)
    daemon = _ask_daemon(config_file, data)
    now_us = SystemClock().wall_ns() // 1000
    if as_json:
        echo(json.dumps({"daemon": _daemon_as_json(daemon), **_as_json(found, now_us)}, indent=2))
    else:
        _print(found, daemon, now_us, title=str(data), all_pairs=all_pairs)
    return not (found.damaged or found.vanished)


def _print(found: ArchiveStatus, daemon: DaemonReply | str, now_us: int, *, title: str, all_pairs: bool) -> None:
    console = Screen()
    if found.pairs:
        _print_pairs(console, title, found, now_us, all_pairs=all_pairs)
    elif not found.damaged:
        echo("No trades are recorded yet.")
    if found.unanchored:
        console.print(_unanchored(found.unanchored, all_pairs=all_pairs))
    for line in _alarms(found):
        console.print(line, soft_wrap=True)
    console.print(Text("\n").join(_of_daemon(daemon)))
    if found.candles:
        console.print_table(_candles(found.candles, now_us))
    for line in _tables(found.tables, now_us):
        console.print(line, overflow="fold")
    if found.events:
        console.print(_lately(found, now_us))
    if found.quarantine:
        console.print(_quarantine(found.quarantine))
    for sentence in [*_quarantined(found.quarantined), *found.damaged]:
        console.print(text(f" {sentence}", "red"), soft_wrap=True)


def _alarms(found: ArchiveStatus) -> list[Text]:
    """Return what needs the owner: certified trades that vanished, and pairs whose ids begin again."""
    vanished = [_vanished(found.vanished)] if found.vanished else []
    return vanished + [
        text(f" {pair} is renumbered, its new trades are quarantined: {remedy}", "red")
        for pair, remedy in found.renumbered.items()
    ]


def _unanchored(pairs: Sequence[str], *, all_pairs: bool) -> Text:
    shown = pairs if all_pairs else pairs[:_SHOWN]
    more = f" and {len(pairs) - len(shown)} more" if len(shown) < len(pairs) else ""
    sentence = f" unanchored, so that their first promised trade is not known yet: {', '.join(shown)}{more}"
    return text(sentence, "yellow")


def _quarantined(pairs: Mapping[str, QuarantinedPair]) -> list[str]:
    """Return a message for each quarantined pair; the remedy is named with the file.

    >>> _quarantined({"BTC/USD": QuarantinedPair("a.parquet", "is damaged", "move it", 2, 1_234_567)})
    ['BTC/USD is quarantined, for a.parquet is damaged: 2 lines that came since, 1.2 MB, wait until it is put right']
    """
    return [
        f"{pair} is quarantined, for {one.file} {one.problem}: {counted(one.lines, 'line')} that came since, "
        f"{one.bytes / 1e6:,.1f} MB, wait until it is put right"
        for pair, one in pairs.items()
    ]


def _vanished(ids: Mapping[str, int]) -> Text:
    """Return the certified ids that are gone.

    >>> str(_vanished({"BTC/USD": 1_200}))[:55]
    ' vanished since they were certified: 1,200 ids of BTC/U'
    """
    named = [f"{counted(count, 'id')} of {pair}" for pair, count in list(ids.items())[:_SHOWN]]
    more = f" and of {len(ids) - _SHOWN} more pairs" if len(ids) > _SHOWN else ""
    remedy = "put their files back, fetch them with `recorder backfill`, or let them go with `recorder release`"
    return text(f" vanished since they were certified: {', '.join(named)}{more}; {remedy}", "red")


def _quarantine(sizes: Mapping[str, tuple[int, int]]) -> Text:
    """Return what is quarantined.

    >>> str(_quarantine({"malformed": (2, 1_234_567), "parked": (1, 300)}))
    ' quarantine: malformed 2 lines, 1.2 MB; parked 1 line, 0.0 MB'
    """
    reasons = (f"{reason} {counted(lines, 'line')}, {size / 1e6:,.1f} MB" for reason, (lines, size) in sizes.items())
    return text(f" quarantine: {'; '.join(reasons)}", "yellow")


def _ask_daemon(config_file: Path | None, data: Path) -> DaemonReply | str:
    try:
        reply = daemon_client.query_daemon(config.load(config_file).ops, data)
    except ConfigError as error:  # what is on the disk can be shown all the same
        reply = f"no daemon was queried: {error}"
    beside = state.recorder_beside(data) if isinstance(reply, str) else None
    return reply if beside is None else f"{reply}; {beside}"


def _of_daemon(daemon: DaemonReply | str) -> Iterator[Text]:
    """Yield what the daemon reports of itself, and a line for each process beside it that is to record something."""
    if isinstance(daemon, str):
        yield text(f" {daemon}", "yellow")
        return
    paused = ", ".join(f"{what} for another {age(round(s * 1e6))}" for what, s in daemon.paused_s.items())
    alone = f"; the exchange is left alone: {paused}" if paused else ""
    if daemon.recording:
        yield text(f" the daemon records, since {daemon.since} (release {daemon.version}){alone}")
    else:
        yield text(f" the daemon does not record: {'; '.join(daemon.reasons)}{alone}", "red")
    for line, fine in (*_of_quotes(daemon.quotes), *_of_account(daemon.account)):
        yield text(f" {line}", "" if fine else "yellow")


def _of_quotes(state: Mapping[str, Any] | None) -> list[tuple[str, bool]]:
    """Return what the daemon reports of the process that records quotes and books, and whether it is as it should be.

    >>> _of_quotes({"running": True, "held": False, "pairs": 4, "books": 1, "ends": 1})
    [('quotes of 4 pairs and books of 1 pair are recorded; that process was begun again 1 time', True)]
    >>> _of_quotes({"running": False, "held": True, "pairs": 0, "ends": 0})
    [('no quotes and no books are recorded while the disk is low', False)]
    >>> _of_quotes({"running": True, "pairs": 1, "books_held": True})
    [('quotes of 1 pair are recorded, and no books while the disk is nearly low', False)]
    >>> _of_quotes({"running": True, "pairs": 0}), _of_quotes(None)
    ([('quotes of 0 pairs are recorded', True)], [])
    """
    if state is None:
        return []
    if not state.get("running"):
        until = "while the disk is low" if state.get("held") else "at present"
        return [(f"no quotes and no books are recorded {until}{_again(state)}", False)]
    pairs, books, held = int(state.get("pairs", 0)), int(state.get("books", 0)), bool(state.get("books_held"))
    recorded = [f"quotes of {counted(pairs, 'pair')}"] if pairs or not books else []
    recorded += [f"books of {counted(books, 'pair')}"] if books else []
    waiting = ", and no books while the disk is nearly low" if held else ""
    return [(f"{' and '.join(recorded)} are recorded{waiting}{_again(state)}", not held)]


def _of_account(state: Mapping[str, Any] | None) -> list[tuple[str, bool]]:
    """Return what the daemon reports of the process that records an account, and whether it is as it should be.

    >>> _of_account({"running": True, "refused": False, "ends": 2})
    [('an account is recorded; that process was begun again 2 times', True)]
    >>> _of_account({"running": False, "refused": True, "ends": 1})
    [('no account is recorded: its key or configuration was refused, see the log; it waits for the next start', False)]
    >>> _of_account({"running": False, "refused": False, "ends": 0}), _of_account(None)
    ([('no account is recorded at present', False)], [])
    """
    if state is None:
        return []
    if state.get("running"):
        return [(f"an account is recorded{_again(state)}", True)]
    if state.get("refused"):
        why = "its key or configuration was refused, see the log; it waits for the next start"
        return [(f"no account is recorded: {why}", False)]
    return [(f"no account is recorded at present{_again(state)}", False)]


def _again(state: Mapping[str, Any]) -> str:
    ends = int(state.get("ends", 0))
    return f"; that process was begun again {counted(ends, 'time')}" if ends else ""


def _daemon_as_json(daemon: DaemonReply | str) -> dict[str, object]:
    if isinstance(daemon, str):
        return {"answers": False, "reasons": [daemon]}
    return {
        "answers": True,
        "recording": daemon.recording,
        "reasons": daemon.reasons,
        "since": daemon.since,
        "paused_s": dict(daemon.paused_s),
        "quotes": None if daemon.quotes is None else dict(daemon.quotes),
        "account": None if daemon.account is None else dict(daemon.account),
    }


def _alarming(count: int) -> Text:
    return text(f"{count:,}", "red" if count else "")


def _print_pairs(console: Screen, title: str, found: ArchiveStatus, now_us: int, *, all_pairs: bool) -> None:
    pairs = found.pairs
    offline = {
        pair.pair: found.listing[pair.pair] for pair in pairs if found.listing.get(pair.pair, _ONLINE) != _ONLINE
    }
    shown = pairs
    if len(pairs) > _SHOWN and not all_pairs:
        telling = [pair for pair in pairs if pair.holes or _unreadable(pair) or pair.pair in offline]
        shown = sorted(telling, key=lambda pair: (-_missing(pair), -_unreadable(pair), pair.pair))[:_SHOWN]
    if shown:
        console.print_table(_pairs(title, shown, now_us))
    holes, missing = sum(len(pair.holes) for pair in pairs), sum(map(_missing, pairs))
    newest = max(pair.last_us for pair in pairs)
    total = text(f" {counted(len(pairs), 'pair')}, {counted(sum(pair.rows for pair in pairs), 'trade')}, the last ")
    total.append(f"{age(now_us - newest)} ago; ")
    total.append(f"{counted(holes, 'hole')}, {missing:,} missing" if holes else "no holes", "red" if holes else "")
    for name, style in _ABSENT.items():
        if ids := sum(pair.absent.get(name, 0) for pair in pairs):
            total.append(f", {ids:,} {name}", style)
    console.print(total)
    if len(shown) < len(pairs):
        console.print(f" --all shows the other {len(pairs) - len(shown):,} too; those with most holes come first")
    if offline:
        named = [f"{pair} {word}" for pair, word in list(offline.items())[:_SHOWN]]
        more = f" and {len(offline) - _SHOWN} more" if len(offline) > _SHOWN else ""
        console.print(text(f" not online: {', '.join(named)}{more}", "yellow"))


def _pairs(title: str, pairs: Sequence[PairStatus], now_us: int) -> Table:
    table = Table(title=text(title), box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for heading in ("pair", "last trade", "age", "rows", "in journal", "ids held", "holes", "missing"):
        table.add_column(heading, justify="left" if heading in {"pair", "ids held"} else "right", no_wrap=True)
    for pair in pairs:
        missing = _missing(pair)
        table.add_row(
            text(pair.pair),
            _when(pair.last_us, now_us),
            age(now_us - pair.last_us),
            f"{pair.rows:,}",
            f"{pair.journalled:,}",
            f"{pair.first_id}..{pair.last_id}",
            _alarming(len(pair.holes)),
            _alarming(missing),
        )
    return table


def _candles(candles: Sequence[CandleStatus], now_us: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for heading in ("candles", "pairs", "newest", "ended", "lost"):
        table.add_column(heading, justify="left" if heading == "candles" else "right", no_wrap=True)
    for one in candles:
        table.add_row(
            one.timeframe,
            f"{one.series:,}",
            _when(one.last_us, now_us),
            f"{age(now_us - _end_us(one))} ago",
            _alarming(one.lost),
        )
    return table


def _tables(tables: Sequence[TableStatus], now_us: int) -> list[Text]:
    """Return a line for each table that has rows: how many, and how long ago the newest came.

    >>> tables = [TableStatus("quotes", 1_200, 5_000_000), TableStatus("ohlc", 0, None)]
    >>> [str(line) for line in _tables(tables, 8_000_000)]
    [' quotes          1,200 rows, the last 3s ago']
    """
    width = max(map(len, BY_NAME))
    return [
        text(f" {one.table:<{width}}  {counted(one.rows, 'row')}, the last {age(now_us - one.newest_us)} ago")
        for one in tables
        if one.newest_us is not None
    ]


def _lately(found: ArchiveStatus, now_us: int) -> Table:
    """Return the exchange's state and the last events, a row each; what does not fit continues in its column."""
    rows = []
    for event in found.exchange:
        detail = _detail(event)
        calm = detail.get("system") == _ONLINE and not _announced(detail)
        rows.append((event.time_us, "exchange", _exchange(detail), "" if calm else "yellow"))
    for event in found.events:
        if event not in found.exchange:
            detail = _detail(event)
            what = _exchange(detail) if event.kind == EventKind.MAINTENANCE else _short(detail)
            described = " ".join([*([event.pair] if event.pair else []), what])
            rows.append((event.time_us, event.kind, described, ""))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True, min_width=11)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for us, kind, described, style in rows:
        table.add_row(*(text(cell, style) for cell in (_when(us, now_us), kind, described)))
    return table


def _exchange(detail: dict[str, Any]) -> str:
    """Return what the exchange reports about itself in one line, and its source.

    >>> announced = {"upcoming_maintenance": [{"title": "Upgrade", "phase": "approaching_30m"}]}
    >>> _exchange({"source": "ws", "system": "online", **announced})
    'online (ws); Upgrade, approaching_30m'
    """
    announcements = (_announcement(one) for one in _announced(detail))
    return "; ".join([f"{detail.get('system', 'unknown')} ({detail.get('source', 'unknown')})", *announcements])


def _announced(detail: dict[str, Any]) -> list[Any]:
    arrays = (detail.get(name) for name in ("emergency", "upcoming_maintenance"))
    return [one for array in arrays if isinstance(array, list) for one in array]


def _announcement(one: object) -> str:
    if not isinstance(one, dict):
        return str(one)
    names = ("title", "phase", "expected_start_utc", "expected_end_utc")
    return ", ".join(str(one[name]) for name in names if one.get(name)) or _short(one)


def _short(detail: dict[str, Any]) -> str:
    """Return a readable detail.

    >>> _short({"first_id": 5, "was": {"close": "1.5"}, "reason": None})
    'first_id 5, was {"close": "1.5"}'
    """
    pairs = ((name, value if isinstance(value, str) else json.dumps(value)) for name, value in detail.items())
    return ", ".join(f"{name} {value}" for name, value in pairs if value != "null")


def _detail(event: Event) -> dict[str, Any]:
    detail = json.loads(event.detail)
    return detail if isinstance(detail, dict) else {}


def counted(number: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "pair"), counted(2000, "trade")
    ('1 pair', '2,000 trades')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _missing(pair: PairStatus) -> int:
    return sum(len(gap.span) for gap in pair.holes)


def _unreadable(pair: PairStatus) -> int:
    return pair.absent.get("unreadable", 0)


def _end_us(one: CandleStatus) -> int:
    return one.last_us + TIMEFRAMES[one.timeframe] * 60_000_000


def age(us: int) -> str:
    """Return a readable duration.

    >>> age(4_200_000), age(90_000_000), age(7_200_000_000), age(-5)
    ('4s', '1m 30s', '2h 0m', '0s')
    """
    seconds = max(0, us // 1_000_000)
    for size, unit, smaller_size, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit} {seconds % size // smaller_size}{smaller}"
    return f"{seconds}s"


def _when(us: int, now_us: int) -> str:
    """Return the UTC time of day, or the date if it is more than a day ago."""
    return _utc(us).strftime("%H:%M:%S" if now_us - us < 86_400_000_000 else "%Y-%m-%d")


def _utc(us: int) -> datetime:
    return datetime.fromtimestamp(us // 1_000_000, UTC)


def _iso(us: int) -> str:
    return _utc(us).isoformat().replace("+00:00", "Z")


def _as_json(found: ArchiveStatus, now_us: int) -> dict[str, object]:
    since_us = found.events_since_us
    return {
        "pairs": [_pair_as_json(pair, found.listing.get(pair.pair), now_us) for pair in found.pairs],
        "candles": [
            {
                "timeframe": one.timeframe,
                "series": one.series,
                "newest": _iso(one.last_us),
                "age_s": max(0, now_us - _end_us(one)) // 1_000_000,
                "lost": one.lost,
            }
            for one in found.candles
        ],
        "tables": [
            {
                "table": one.table,
                "rows": one.rows,
                "newest": None if one.newest_us is None else _iso(one.newest_us),
                "age_s": None if one.newest_us is None else max(0, now_us - one.newest_us) // 1_000_000,
            }
            for one in found.tables
        ],
        "exchange": [{"time": _iso(event.time_us), **_detail(event)} for event in found.exchange],
        "events": [
            {"time": _iso(event.time_us), "kind": event.kind, "pair": event.pair, "detail": _detail(event)}
            for event in found.events
        ],
        "unanchored": list(found.unanchored),
        "vanished": dict(found.vanished),
        "renumbered": dict(found.renumbered),
        "events_since": None if since_us is None else _iso(since_us),
        "quarantine": {reason: {"lines": lines, "bytes": size} for reason, (lines, size) in found.quarantine.items()},
        "quarantined": {pair: asdict(one) for pair, one in found.quarantined.items()},
        "damaged": found.damaged,
    }


def _pair_as_json(pair: PairStatus, listing: str | None, now_us: int) -> dict[str, object]:
    return {
        "pair": pair.pair,
        "listing": listing,
        "last_time": _iso(pair.last_us),
        "age_s": max(0, now_us - pair.last_us) // 1_000_000,
        "rows": pair.rows,
        "journalled": pair.journalled,
        "first_id": pair.first_id,
        "last_id": pair.last_id,
        "promised": None if pair.promise is None else _iso(pair.promise.time_us),
        "after_id": None if pair.promise is None else pair.promise.after_id,
        "holes": [
            {"first_id": gap.span.first, "last_id": gap.span.last, "missing": len(gap.span), "state": gap.state}
            for gap in pair.holes
        ],
        "absent": {name: pair.absent.get(name, 0) for name in _ABSENT},
    }
