"""``recorder export``: the trades of one pair and range as one file, exact, in constant memory.

With ``--to TOOL`` rows of many pairs as that tool's own files: :mod:`recorder.cli.export_for_tool`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import duckdb
import pyarrow as pa
import pyarrow.csv as pacsv
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recorder.archive.layout import Layout
from recorder.archive.parquet import exported
from recorder.cli import output, times
from recorder.cli.export_for_tool import TOOLS, export_for_tool, target
from recorder.cli.gap_advice import for_the_command_line
from recorder.cli.in_journal import LiveOption, reporting_waiting_trades
from recorder.cli.interrupts import interruptible, on_interrupt
from recorder.cli.output import Format
from recorder.cli.place import PlaceOption
from recorder.cli.screen import Screen, echo
from recorder.cli.stored_pairs import stored_pairs
from recorder.cli.times import FromOption
from recorder.errors import GapError, UsageError
from recorder.exports.folder import check_outside
from recorder.exports.request import Kind, Request
from recorder.query import arguments
from recorder.query.arguments import OnGap
from recorder.query.connect import Archive, connect

BATCH: Final = 250_000
"""Trades in memory at once, and in a row group: some 30 MB."""
_FORMATS: Final = (Format.PARQUET, Format.CSV, Format.ARROW)
_COUNT: Final = "SELECT count(*) FROM pair_trades($pair, make_timestamptz($start), make_timestamptz($stop))"
_NONE: Final = "FROM trades LIMIT 0"
# pyarrow would print small decimals with an exponent.
_TEXTS: Final = """
SELECT * REPLACE (
    strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ') AS time,
    rtrim(rtrim(price::VARCHAR, '0'), '.') AS price,
    rtrim(rtrim(qty::VARCHAR, '0'), '.') AS qty,
    strftime(received, '%Y-%m-%dT%H:%M:%S.%fZ') AS received
) FROM rows
"""


def export(
    pairs: Annotated[
        list[str], typer.Argument(help="The pair, BTC/USD; with --to TOOL several, and patterns as '*/USD'.")
    ],
    *,
    to_file: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FILE", help="The new file, or with --to TOOL folder; - is standard output."
        ),
    ],
    from_: FromOption = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TIME|TOOL",
            help=f"The end, not included; or the tool to write for: {', '.join(TOOLS)}; or both, if given twice.",
        ),
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option("--format", metavar="FORMAT", help="parquet, csv or arrow; what FILE ends with, if left out."),
    ] = None,
    what: Annotated[
        list[Kind] | None,
        typer.Option(help="What a tool gets; may be given again. All that it takes and is recorded, if left out."),
    ] = None,
    timeframe: Annotated[
        list[str] | None, typer.Option(help="Of its candles, 1m if left out; may be given again.")
    ] = None,
    python: Annotated[Path | None, typer.Option(help="For nautilus: the Python that has nautilus_trader.")] = None,
    on_gap: Annotated[
        OnGap, typer.Option(help="If rows of the range are missing: stop, say so and go on, or go on.")
    ] = "raise",
    data: PlaceOption = Path("data"),
    live: LiveOption = False,
) -> None:
    """Write the trades of a pair to one Parquet, CSV or Arrow file, in ascending id and with all digits.

    With --to TOOL write candles, trades, quotes and books of many pairs as the tool's own files into a new folder.

    Everything comes from one snapshot of the archive. A file is never overwritten, and gets its name only when
    complete.
    """
    tool, stop = _parted(to or [])
    arguments.time_range(from_, stop)
    if tool is not None:
        if format_ is not None:
            raise UsageError(f"--format is for a single file: the files for {tool} have a format of their own")
        timeframes = tuple(dict.fromkeys(arguments.timeframe(name) for name in timeframe or ["1m"]))
        request = Request((), from_, stop, on_gap, timeframes, tuple(what or ()))
        export_for_tool(target(tool, python), pairs, request, to_file, data, live=live)
        return
    if what or timeframe or python:
        raise UsageError(f"--what, --timeframe and --python are for a tool: give --to one of {', '.join(TOOLS)}")
    if len(pairs) != 1:
        raise UsageError(
            f"a file has the trades of one pair: export them one by one, or for a tool: {', '.join(TOOLS)}"
        )
    _to_file(pairs[0], output.chosen(format_, to_file), (from_, stop), on_gap, data, live=live)


def _parted(given: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the tool and the end of the range that --to names. Raise UsageError for two of a kind."""
    tools = [name for name in given if name in TOOLS]
    ends = [one for one in given if one not in TOOLS]
    if len(tools) > 1 or len(ends) > 1:
        raise UsageError(f"--to takes one time and one of {', '.join(TOOLS)}, not {' and '.join(given)}")
    try:
        arguments.time_range(None, stop := times.given(ends[0] if ends else None))
    except UsageError as error:
        raise UsageError(f"{error}; or one of {', '.join(TOOLS)}") from None
    return (tools[0] if tools else None), stop


def _to_file(
    name: str,
    chosen: output.Output,
    ends: tuple[str | None, str | None],
    on_gap: OnGap,
    data: Path,
    *,
    live: bool,
) -> None:
    """Write the trades of a pair to one file."""
    if chosen.format not in _FORMATS:
        raise UsageError(f"export writes {', '.join(_FORMATS)}, not {chosen.format}; `recorder sql` does the others")
    limits = arguments.time_range(*ends)
    with (
        on_interrupt(lambda: _kept(chosen)),
        reporting_waiting_trades(data, live=live),
        connect(data, live=live, frozen=True) as archive,
        interruptible(archive),
    ):
        if chosen.path is not None:
            check_outside(chosen.path, data)
        (pair,) = stored_pairs([name], archive.pairs(), Layout(data))
        pieces = _pieces(archive, pair, *ends, on_gap=on_gap)
        none = archive.sql(_NONE, to="arrow", decimals=True)
        params: dict[str, Any] = {"pair": pair, "start": limits.start_us, "stop": limits.stop_us}
        count = archive.sql(_COUNT, to="arrow", **params).column(0)[0].as_py()
        with (
            _progress(pair, count) as advance,
            output.opened(chosen) as file,
            _writer(chosen.format, file, none) as write,
        ):
            for piece in pieces:
                write(piece.cast(none.schema))
                advance(piece.num_rows)
    echo(f"{chosen.path or 'standard output'}: {count:,} trades of {pair}", err=True)


def _kept(chosen: output.Output) -> str:
    """Return what is left of an export that was interrupted."""
    if chosen.path is None:
        return "what was printed is not all: call it again, and it begins anew"
    return f"{chosen.path} was not written: call it again, and it begins anew; --from and --to take it in parts"


def _pieces(archive: Archive, pair: str, start: str | None, stop: str | None, *, on_gap: OnGap) -> Iterator[pa.Table]:
    """Return the trades in ascending id, at most BATCH at once. Raise GapError if requested, before any row is read."""
    try:
        return archive.batches(pair, start, stop, rows=BATCH, to="arrow", decimals=True, check=True)
    except GapError as error:
        sentence = for_the_command_line(str(error))
        if on_gap == "raise":
            raise GapError(sentence) from None
        if on_gap == "warn":
            echo(f"recorder: {sentence}", err=True)
        return archive.batches(pair, start, stop, rows=BATCH, on_gap="ignore", to="arrow", decimals=True, check=True)


@contextmanager
def _writer(format_: Format, file: BinaryIO, none: pa.Table) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that writes tables with the columns of ``none``, which has no rows, to ``file``."""
    match format_:
        case Format.PARQUET:
            with exported(file, none.schema) as parquet:
                yield parquet.write_table
        case Format.ARROW:
            with pa.ipc.new_file(file, none.schema) as arrow:
                yield arrow.write_table
        case _:
            options = pacsv.WriteOptions(quoting_style="needed")
            with (
                duckdb.connect() as client,
                pacsv.CSVWriter(file, _texts(client, none).schema, write_options=options) as text,
            ):
                client.execute("SET TimeZone = 'UTC'")
                yield lambda table: text.write_table(_texts(client, table))


def _texts(client: duckdb.DuckDBPyConnection, table: pa.Table) -> pa.Table:
    client.register("rows", table)
    found = client.sql(_TEXTS).to_arrow_table()
    client.unregister("rows")
    return found


@contextmanager
def _progress(pair: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error, if that is a terminal; yield the function that advances it."""
    console = Screen(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(pair, total=total)

        def advance(rows: int) -> None:
            bars.advance(task, rows)

        yield advance
