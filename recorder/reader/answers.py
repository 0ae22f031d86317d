"""Answers as bytes in the format that was asked for, and downloads."""

from __future__ import annotations

import enum
import io
import json
from typing import Any, Final

import pyarrow as pa
from aiohttp import web

from recorder.archive.parquet import exported
from recorder.errors import UsageError
from recorder.query import row_text
from recorder.reader.questions import Answer


class Format(enum.StrEnum):
    """How rows are sent."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


CONTENT_TYPES: Final = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.ARROW: "application/vnd.apache.arrow.stream",
}


HEADER_PAIRS: Final = 30
"""Pairs that the header of a download names; clients accept 8 kB."""


def format_of(name: str | None, accept: str = "") -> Format:
    """Return the format of this name, or the one that a header Accept names; else JSON. Raise UsageError."""
    if name is None:
        return next((one for one, kind in CONTENT_TYPES.items() if kind in accept), Format.JSON)
    try:
        return Format(name)
    except ValueError:
        raise UsageError(f"format is {name!r}: write {', '.join(Format)}") from None


def encoded(answer: Answer, chosen: Format) -> bytes:
    """Return an answer as bytes. Raise UsageError for what the format cannot hold."""
    if chosen is Format.JSON:
        return json.dumps(answer.json(), ensure_ascii=False, separators=(",", ":")).encode()
    if chosen is Format.CSV:
        text = io.StringIO()
        row_text.write_csv(answer.rows, text)
        return text.getvalue().encode()
    file = io.BytesIO()
    try:
        if chosen is Format.PARQUET:
            with exported(file, answer.rows.schema) as parquet:
                parquet.write_table(answer.rows)
        else:
            with pa.ipc.new_stream(file, answer.rows.schema) as stream:
                stream.write_table(answer.rows)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise UsageError(f"{chosen} cannot hold these rows ({error}); cast what it names to VARCHAR") from error
    return file.getvalue()


def _short(answer: Answer) -> dict[str, Any]:
    """Return the completeness for a header, which has room for some pairs: those that miss most."""
    whole = answer.completeness
    most = sorted(whole["missing"].items(), key=lambda one: -one[1])[:HEADER_PAIRS]
    begins = list(whole["begins"].items())[:HEADER_PAIRS]
    return {**whole, "missing": dict(most), "begins": dict(begins), "truncated": answer.truncated}


def response(body: bytes, chosen: Format, answer: Answer, name: str) -> web.Response:
    """Return rows as a response; all but JSON are a file to be kept, and tell of their completeness in a header."""
    headers = {"Content-Type": CONTENT_TYPES[chosen]}
    if chosen is not Format.JSON:
        headers["Content-Disposition"] = f'attachment; filename="{name}.{chosen}"'
        headers["Completeness"] = json.dumps(_short(answer))
    return web.Response(body=body, headers=headers)
