"""``recorder export --to TOOL``: candles, trades, quotes and books of many pairs as the files of another tool."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from recorder.archive.layout import Layout
from recorder.cli.gap_advice import naming_the_option
from recorder.cli.in_journal import reporting_waiting_trades
from recorder.cli.interrupts import interruptible, on_interrupt
from recorder.cli.output import check_folder
from recorder.cli.screen import Screen, echo
from recorder.cli.stored_pairs import stored_pairs
from recorder.errors import UsageError
from recorder.exports.export import ROUNDED, SIDECAR, Exported, export
from recorder.exports.freqtrade import Freqtrade
from recorder.exports.hftbacktest import Hftbacktest
from recorder.exports.nautilus import Nautilus
from recorder.exports.request import Request, Series, Target
from recorder.exports.tardis_csv import TardisCsv
from recorder.kraken.pair_patterns import is_pattern, matcher
from recorder.query.connect import Archive, connect

TOOLS: Final = ("freqtrade", "nautilus", "hftbacktest", "tardis-csv")
_SHOWN: Final = 20
"""Pairs whose rows are listed one by one; the sidecar has them all."""
_NOTES: Final = {
    "rows_without_receive_time": "rows without a receive time count as received when made",
    "receive_times_raised": "receive times raised to that of the row before",
    "rows_of_overlapping_sessions": "rows left out, received while an earlier session was under way",
    "receive_times_shifted_us": "µs added to all receive times: the host's clock was behind",
    "incomplete_candles": "not complete",
    "missing": "trades missing",
    "left_out": "rows that the tool cannot hold left out",
}
"""What a person must read of the facts in the sidecar."""


def target(tool: str, python: Path | None) -> Target:
    """Return the target of a tool; ``python`` is the one that has its package."""
    if python is not None and tool != "nautilus":
        raise UsageError(f"--python is for nautilus: {tool} needs no package")
    match tool:
        case "freqtrade":
            return Freqtrade()
        case "nautilus":
            return Nautilus() if python is None else Nautilus(python)
        case "hftbacktest":
            return Hftbacktest()
        case _:
            return TardisCsv()


def export_for_tool(
    chosen: Target, names: Sequence[str], request: Request, folder: Path, data: Path, *, live: bool
) -> None:
    """Export the pairs of these names and patterns, and print what was written."""
    if folder == Path("-"):
        raise UsageError(f"{chosen.name} needs a folder for its files: name a new one with -o")
    check_folder(folder)
    with (
        on_interrupt(lambda: f"{folder} was not written: call it again, and it begins anew"),
        reporting_waiting_trades(data, live=live),
        naming_the_option(),
        connect(data, live=live, frozen=True) as archive,
        interruptible(archive),
    ):
        request = request.of(_pairs(names, archive, Layout(data)))
        screen = Screen(stderr=True)
        with screen.status("") as status:
            status.update(f"{len(request.pairs)} pairs")
            written = export(
                archive, data, chosen, request, folder, progress=lambda one: status.update(f"{one.pair} {one.kind}")
            )
    _report(chosen, written, folder)


def _pairs(names: Sequence[str], archive: Archive, layout: Layout) -> tuple[str, ...]:
    """Return the pairs with trades that names and patterns mean, each once."""
    there = archive.pairs()
    plain = [name for name in names if not is_pattern(name)]
    found = stored_pairs(plain, there, layout)
    for pattern in (name for name in names if is_pattern(name)):
        fits = [pair for pair in there if matcher(pattern)(pair)]
        if not fits:
            raise UsageError(f"the pattern {pattern!r} matches none of the {len(there)} pairs with trades")
        found += fits
    return tuple(dict.fromkeys(found))


def _report(chosen: Target, written: Exported, folder: Path) -> None:
    echo(f"{folder}: {written.files} files for {chosen.name}, described in {SIDECAR}", err=True)
    groups = [(pair, list(series)) for pair, series in groupby(written.series, lambda one: one.pair)]
    for pair, series in groups[:_SHOWN]:
        echo(f"  {pair}: {', '.join(map(_counted, series))}", err=True)
        for one in series:
            for name, note in _NOTES.items():
                if name in one.facts:
                    echo(f"    {one.kind}: {one.facts[name]:,} {note}", err=True)
    if len(groups) > _SHOWN:
        echo(f"  and {len(groups) - _SHOWN} more pairs", err=True)
    if not chosen.is_exact:
        echo(ROUNDED, err=True)


def _counted(one: Series) -> str:
    kind = one.kind.removesuffix("s") if one.rows == 1 else "book changes" if one.kind == "book" else one.kind
    return f"{one.rows:,} {kind}" + (f" of {one.timeframe}" if one.timeframe else "")
