"""``recorder book``: the recorded order book of a pair at a moment, as a ladder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from recorder.cli.interrupts import interruptible
from recorder.cli.ladder import Rung, ladder
from recorder.cli.screen import Screen, echo, echo_warnings, text
from recorder.cli.times import FORMS, given
from recorder.core.model import plain
from recorder.errors import UsageError
from recorder.query.arguments import Clock
from recorder.query.connect import connect
from recorder.query.recorded_books import DEEPEST, nothing_known

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BPS: Final = 10_000
_Row = Mapping[str, Any]


def book(
    pair: Annotated[str, typer.Argument(help="Such as BTC/USD, by any of its names.")],
    *,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", callback=given, help=f"Which moment; now if left out: {FORMS}."),
    ] = None,
    levels: Annotated[int, typer.Option(min=1, max=DEEPEST, help="So many levels of each side.")] = 10,
    by: Annotated[
        str, typer.Option(help="Whose clock the moment is of: received, this host's, or time, the exchange's.")
    ] = "received",
    data: Annotated[Path, typer.Option(help="The archive's folder.")] = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object; numbers as exact texts.")] = False,
) -> None:
    """Show the recorded order book of a pair at a moment, and whether checksums prove it.

    Books are archived every half hour: without --at it is the last state that is archived, and its age is shown. What
    no checksum proves is as received: levels below the best ten, and a message that no later one confirms.
    """
    moment = at or datetime.now(UTC).isoformat()
    clock: Clock = "time" if by == "time" else "received"
    if by != clock:
        raise UsageError(f"there is no clock {by!r}: use received or time")
    with echo_warnings(), connect(data) as archive, interruptible(archive):
        rows = archive.book_at(pair, moment, depth=levels, by=clock, to="arrow", decimals=True).to_pylist()
    if not rows:
        raise nothing_known(pair, moment)
    if as_json:
        echo(json.dumps(_as_json(rows), indent=2))
    else:
        _show(rows)


def _show(rows: Sequence[_Row]) -> None:
    first, bids, asks = rows[0], _side(rows, "bid"), _side(rows, "ask")
    screen = Screen()
    screen.print(text(f"{first['pair']} at {_time(first['moment'])} UTC", "bold"))
    begun = _EPOCH + timedelta(microseconds=first["session"] // 1000)
    age_s = (first["moment"] - first["received"]) / timedelta(seconds=1)
    facts = (
        ("state", _state(rows)),
        ("message", f"{first['message']:,} of the session of {_time(begun)}"),
        ("age", f"{age_s:.3f} s: received at {_time(first['received'])}"),
        ("spread", _spread(bids, asks)),
    )
    for name, value in facts:
        screen.print(f"  {name:<7} {value}", highlight=False)
    screen.print_table(ladder(bids, asks))


def _state(rows: Sequence[_Row]) -> str:
    proven = [row["level"] for row in rows if row["verified"]]
    if len(proven) == len(rows):
        return "verified by checksums"
    return f"verified in the best {max(proven)} levels, deeper ones as received" if proven else "as received"


def _spread(bids: Sequence[Rung], asks: Sequence[Rung]) -> str:
    if not bids or not asks:
        return "a side is empty"
    (bid, _), (ask, _) = bids[0], asks[0]
    return f"{plain(ask - bid)} ({(ask - bid) / (ask + bid) * 2 * _BPS:.2f} bps)"


def _side(rows: Sequence[_Row], side: str) -> list[Rung]:
    return [(row["price"], row["qty"]) for row in rows if row["side"] == side]


def _as_json(rows: Sequence[_Row]) -> dict[str, object]:
    first = rows[0]
    sides = {
        f"{side}s": [
            {"price": plain(row["price"]), "qty": plain(row["qty"]), "verified": row["verified"]}
            for row in rows
            if row["side"] == side
        ]
        for side in ("bid", "ask")
    }
    place = {name: _plain(first[name]) for name in ("pair", "moment", "session", "message", "time", "received")}
    return {**place, **sides}


def _plain(value: object) -> object:
    return f"{_time(value).replace(' ', 'T')}Z" if isinstance(value, datetime) else value


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"
