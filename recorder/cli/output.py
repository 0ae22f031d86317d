"""Output of rows, shared by the subcommands: formats and destinations.

Exact: decimals are text, or decimals if a format has them; times are ISO 8601 UTC. Never overwrites a file, and never
sends binary rows to a terminal.
"""

from __future__ import annotations

import enum
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, BinaryIO, Final, TextIO, cast

import pyarrow as pa
import typer

from recorder.archive.parquet import exported
from recorder.cli.screen import WIDE
from recorder.core.model import plain
from recorder.core.safe_text import printable
from recorder.errors import UsageError
from recorder.query import row_text

_SHOWN: Final = 200
"""The maximum number of rows in a table, as many as people read; the other formats print them all."""
_STANDARD_OUTPUT: Final = (Path("-"), Path("/dev/stdout"))
_IMPOSSIBLE: Final = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
"""Errors of creating a file that are those of its path, and not of the disk."""


class Format(enum.StrEnum):
    """The format of the rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    ARROW = "arrow"


BINARY: Final = frozenset({Format.PARQUET, Format.ARROW})

FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="table, csv, json, ndjson, parquet or arrow; if left out, what FILE ends with, or else a table.",
    ),
]
OutputOption = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this new file instead; - is none.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="The same as --format json.")]


@dataclass(frozen=True, slots=True)
class Output:
    """The format of the rows, and their file, None for standard output."""

    format: Format
    path: Path | None


def chosen(format_: Format | None, path: Path | None, *, as_json: bool = False) -> Output:
    """Return the output that the options request. Raise UsageError if they conflict, before anything is read."""
    if as_json and format_ not in {None, Format.JSON}:
        raise UsageError(f"--json is --format json: leave out one of --json and --format {format_}")
    if path in _STANDARD_OUTPUT:
        path = None
    result = Output(Format.JSON if as_json else format_ or _by_name(path), path)
    if path is None and result.format in BINARY and sys.stdout.isatty():
        raise UsageError(
            f"{result.format} is binary, and a terminal cannot show it: write it to a file with -o FILE, or pipe it on"
        )
    if path is not None:
        check_folder(path)
        if path.exists():
            raise UsageError(f"{path} is there already, and is not overwritten: move it away, or choose another name")
    return result


def check_folder(path: Path) -> None:
    """Raise UsageError if the folder of ``path`` shows that no file can be written there."""
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: make it, or write {path.name} elsewhere")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"you may not write into {folder}: write {path.name} elsewhere")


def write(table: pa.Table, output: Output) -> None:
    """Write the rows. Raise UsageError for what the format cannot represent."""
    if output.format is Format.TABLE and output.path is None:
        _print_table(table, sys.stdout)
    else:
        with opened(output) as file:
            _write(table, output.format, file)


@contextmanager
def opened(output: Output) -> Iterator[BinaryIO]:
    """Yield standard output, or the new file to be written."""
    if output.path is None:
        yield cast("BinaryIO", sys.stdout.buffer)
        sys.stdout.flush()
    else:
        with new_file(output.path) as file:
            yield file


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file that gets its name when it is complete. Never overwrite one; leave nothing on failure."""
    aside = path.with_name(f"{path.name}.part")
    try:
        file = aside.open("xb")
    except FileExistsError:
        raise UsageError(f"{aside} is there: another process writes {path}, or one that died did; remove it") from None
    except OSError as error:
        if error.errno not in _IMPOSSIBLE:
            raise
        raise UsageError(f"{path} cannot be made ({error.strerror}): write it elsewhere") from None
    try:
        with file:
            yield file
        try:
            path.hardlink_to(aside)
        except FileExistsError:
            raise UsageError(f"{path} is there by now, and is not overwritten: choose another name") from None
    finally:
        aside.unlink()


def _by_name(path: Path | None) -> Format:
    """Return the format of a file by its suffix."""
    if path is None:
        return Format.TABLE
    with suppress(ValueError):
        return Format(path.suffix.removeprefix("."))
    raise UsageError(
        f"{path} does not say which format: end it with .csv, .json, .ndjson, .parquet or .arrow, or "
        "choose one with --format"
    )


def _write(table: pa.Table, format_: Format, file: BinaryIO) -> None:
    if format_ in BINARY:
        _write_binary(table, format_, file)
        return
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        _TEXTS[format_](table, text)
    finally:
        text.detach()


def _write_binary(table: pa.Table, format_: Format, file: BinaryIO) -> None:
    try:
        if format_ is Format.PARQUET:
            with exported(file, table.schema) as parquet:
                parquet.write_table(table)
        else:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise UsageError(f"{format_} cannot hold these rows ({error}); cast what it names to VARCHAR") from error


def _write_csv(table: pa.Table, file: TextIO) -> None:
    # A file gets texts unchanged; a terminal would interpret control characters.
    row_text.write_csv(table, file, printable if file.isatty() else str)


def _write_json(table: pa.Table, file: TextIO) -> None:
    file.write("[")
    file.writelines(("," if index else "") + "\n" + line for index, line in enumerate(row_text.objects(table)))
    file.write("\n]\n")


def _write_ndjson(table: pa.Table, file: TextIO) -> None:
    file.writelines(line + "\n" for line in row_text.objects(table))


def _print_table(table: pa.Table, file: TextIO) -> None:
    """Print a table for people: numbers aligned, and columns that do not fit below, in blocks."""
    rows = list(islice(row_text.rows(table), _SHOWN))
    columns = []
    for index, field in enumerate(table.schema):
        texts = [printable(text) for text in (field.name, *_texts([row[index] for row in rows]))]
        width = max(map(len, texts))
        columns.append([text.rjust(width) if _is_number(field.type) else text.ljust(width) for text in texts])
    room = get_terminal_size().columns if file.isatty() else WIDE
    for number, block in enumerate(blocks([len(heading) for heading, *_ in columns], room)):
        heading, *lines = zip(*(columns[index] for index in block), strict=True)
        rule = ["─" * len(text) for text in heading]
        file.writelines(["\n"] * bool(number))
        file.writelines("  ".join(line).rstrip() + "\n" for line in (heading, rule, *lines))
    if table.num_rows > _SHOWN:
        file.write(f"{_SHOWN} of {table.num_rows} rows; another --format, such as csv, has them all\n")


def blocks(widths: Sequence[int], room: int) -> list[list[int]]:
    """Group columns of these widths into blocks that fit. Each begins with the first column, which identifies the rows.

    >>> blocks([10, 10, 10, 10, 10], 40)
    [[0, 1, 2], [0, 3, 4]]
    >>> blocks([10, 99, 10], 40)
    [[0, 1], [0, 2]]
    """
    found = [[0]]
    for index in range(1, len(widths)):
        if len(found[-1]) > 1 and sum(widths[one] + len("  ") for one in found[-1]) + widths[index] > room:
            found.append([0])
        found[-1].append(index)
    return found


def _texts(values: Sequence[object]) -> list[str]:
    """Return the texts of a column: decimals as long as the longest, times as short as all allow."""
    return [
        row_text.cell(value) if text is None else text for value, text in zip(values, _aligned(values), strict=True)
    ]


def _aligned(values: Sequence[object]) -> Iterable[str | None]:
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, Decimal) for value in there):
        digits = max(len(plain(cast("Decimal", value)).partition(".")[2]) for value in there)
        return [None if value is None else f"{value:.{digits}f}" for value in values]
    if there and all(isinstance(value, float) for value in there):
        return _doubles(cast("Sequence[float | None]", values))
    if there and all(isinstance(value, datetime) and value.tzinfo is not None for value in there):
        moments = [None if value is None else cast("datetime", value).astimezone(UTC) for value in values]
        form = _form([moment for moment in moments if moment is not None])
        return [None if moment is None else moment.strftime(form) for moment in moments]
    return [None] * len(values)


def _doubles(values: Sequence[float | None]) -> list[str | None]:
    """Return doubles to six significant digits, with their points aligned. More digits would not be meaningful."""
    short = [None if value is None else f"{value:.6g}" for value in values]
    plain_ones = [text for text in short if text is not None]
    if not all(text.strip("-").replace(".", "", 1).isdigit() for text in plain_ones):  # an exponent, inf or nan
        return short
    digits = max(len(text.partition(".")[2]) for text in plain_ones)
    return [None if value is None else f"{value:.{digits}f}" for value in values]


def _form(moments: Sequence[datetime]) -> str:
    if any(moment.microsecond for moment in moments):
        return "%Y-%m-%d %H:%M:%S.%f"
    if any(moment.second for moment in moments):
        return "%Y-%m-%d %H:%M:%S"
    return "%Y-%m-%d %H:%M"


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


_TEXTS: Final[dict[Format, Callable[[pa.Table, TextIO], None]]] = {
    Format.TABLE: _print_table,
    Format.CSV: _write_csv,
    Format.JSON: _write_json,
    Format.NDJSON: _write_ndjson,
}
