"""The quarantine: lines that cannot be archived, yet or ever, stored verbatim with the reason and never removed.

The files are in ``data/quarantine/``. Each is written once, whole or not at all, and named by its content, so that
lines that are quarantined again after a crash create no second file.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import msgspec

from recorder.archive.layout import Layout
from recorder.core.model import Trade
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Disk, names_in

SUFFIX: Final = ".jsonl"


class Reason(StrEnum):
    """Why a line is quarantined, as the value of the key ``reason``. Other releases may have other reasons."""

    MALFORMED = "malformed"
    """The line cannot be parsed, and the journal belongs to another process."""
    PARKED = "parked"
    """The line has ids so far from all others that they do not count yet."""
    ODD = "odd"
    """Some rows of the line cannot be parsed. ``ids`` are the ids that these rows may have."""
    REFUSED = "refused"
    """The line can be parsed, but the archive rejected its content."""
    DIFFERS = "differs"
    """The line has ids that are stored with different content."""
    WAITING = "waiting"
    """The line is valid, but its pair is quarantined: it waits until the files of the pair can be trusted."""
    RENUMBERED = "renumbered"
    """The line came after the exchange began to renumber the pair."""
    DISOWNED = "disowned"
    """The line is a row that was archived until the owner disowned its id: see :func:`of_row`."""
    HISTORY = "history"
    """The line of a history file is no row of its layout; ``why`` names the file and the line."""


class QuarantinedRow(msgspec.Struct, frozen=True):
    """A quarantined line in the journal's format, without its line feed, and the reason it is quarantined.

    ``recv_ns`` is when it was received. ``spans`` are the ids of ``pair`` for which it is quarantined, empty if it is
    of no pair. ``why`` is a sentence for people.
    """

    recv_ns: int
    reason: str
    line: bytes
    pair: str | None = None
    spans: tuple[Span, ...] = ()
    why: str = ""


class _QuarantineLine(msgspec.Struct):
    """A line of a quarantine file. Plain journal lines, which the first archives stored, have no ``reason``."""

    recv_ns: int
    reason: str = ""
    pair: str | None = None
    ids: list[tuple[int, int]] = []
    why: str = ""
    line: msgspec.Raw = msgspec.Raw()
    base64: str = ""


_read = msgspec.json.Decoder(_QuarantineLine).decode
_row = msgspec.json.Decoder(Trade).decode


class Quarantine:
    """The quarantine of one archive, for writing. ``staging`` is on the same file system. Calls block."""

    def __init__(self, layout: Layout, disk: Disk, *, staging: Path) -> None:
        self._folder = layout.quarantine
        self._disk = disk
        self._staging = staging

    def add(self, kept: Sequence[QuarantinedRow]) -> Path:
        """Write lines to a new file and return its path; the file is durable on return. Raises DiskError."""
        content = b"".join(map(_encode, kept))
        path = self._folder / f"{hashlib.sha256(content).hexdigest()}{SUFFIX}"
        self._disk.make_dir(self._folder)
        if not path.exists():
            staged = self._staging / f"{uuid.uuid4().hex}{SUFFIX}"
            with self._disk.create(staged) as file:
                self._disk.write(file, content)
                self._disk.sync(file)
            self._disk.rename(staged, path)
        self._disk.sync_dir(self._folder)
        return path


def of_row(row: Trade, why: str) -> QuarantinedRow:
    """Return an archived row as a quarantined line: a JSON object, with exact numbers as text."""
    moment_us = row.time_us if row.received_us is None else row.received_us
    spans = (Span(row.trade_id, row.trade_id),)
    return QuarantinedRow(moment_us * 1000, Reason.DISOWNED, msgspec.json.encode(row), row.pair, spans, why)


def row_of(kept: QuarantinedRow) -> Trade:
    """Return the row from which :func:`of_row` made this line. Raises ValueError if the line was changed since."""
    return _row(kept.line)


def listed(layout: Layout) -> Iterator[QuarantinedRow]:
    """Yield all quarantined lines in the order of their receive times. Lines that cannot be parsed are left out."""
    yield from sorted((kept for _, kept in _lines(layout) if kept is not None), key=lambda kept: kept.recv_ns)


def sizes(layout: Layout) -> dict[str, tuple[int, int]]:
    """Return the number and bytes of quarantined lines by reason; unparsable ones under ``unreadable``."""
    count, size = Counter[str](), Counter[str]()
    for raw, kept in _lines(layout):
        reason = "unreadable" if kept is None else kept.reason
        count[reason] += 1
        size[reason] += len(raw) + 1
    return {reason: (count[reason], size[reason]) for reason in sorted(count)}


def parts(layout: Layout, pair: str, reason: Reason, size: int = 4 * 1024 * 1024) -> Iterator[list[QuarantinedRow]]:
    """Yield the lines of ``pair`` with this reason, about ``size`` bytes at a time, roughly in order of arrival."""
    part, held = list[QuarantinedRow](), 0
    for path in sorted(_files(layout), key=lambda path: (path.stat().st_mtime_ns, path.name)):
        for _, kept in _lines_of(path):
            if kept is not None and kept.pair == pair and kept.reason == reason:
                part.append(kept)
                held += len(kept.line)
                if held >= size:
                    yield part
                    part, held = [], 0
    if part:
        yield part


def waiting(layout: Layout, pairs: Collection[str]) -> dict[str, tuple[int, int]]:
    """Return the number and bytes of the lines that wait for quarantined ``pairs``; pairs without any are left out."""
    count, size = Counter[str](), Counter[str]()
    for raw, kept in _lines(layout) if pairs else ():
        if kept is not None and kept.reason == Reason.WAITING and kept.pair is not None and kept.pair in pairs:
            count[kept.pair] += 1
            size[kept.pair] += len(raw) + 1
    return {pair: (count[pair], size[pair]) for pair in sorted(count)}


def ids(layout: Layout, reason: Reason) -> dict[str, Spans]:
    """Return for each pair the ids of its lines with this reason."""
    found: dict[str, Spans] = {}
    for _, kept in _lines(layout):
        if kept is not None and kept.reason == reason and kept.pair is not None:
            found.setdefault(kept.pair, Spans()).update(kept.spans)
    return found


class Appender(Protocol):
    """Archives the trades of a pair whose ids are not stored, and returns the ids added."""

    def append(self, pair: str, trades: Sequence[Trade], /) -> Spans:
        """Add trades, durably."""
        ...


def replay(
    kept: Iterable[QuarantinedRow], archive: Appender, rows: Callable[[QuarantinedRow], Iterable[Trade]]
) -> dict[str, list[Span]]:
    """Archive the trades that ``rows`` parses from quarantined lines, in order; return the ids added per pair.

    They are appended like all trades, so replaying them again adds nothing. The lines stay. Raises StorageError,
    DiskError.
    """
    by_pair: dict[str, list[Trade]] = {}
    for one in kept:
        for row in rows(one):
            by_pair.setdefault(row.pair, []).append(row)
    return {pair: list(archive.append(pair, found)) for pair, found in by_pair.items()}


def _lines(layout: Layout) -> Iterator[tuple[bytes, QuarantinedRow | None]]:
    for path in _files(layout):
        yield from _lines_of(path)


def _files(layout: Layout) -> list[Path]:
    return [layout.quarantine / name for name in names_in(layout.quarantine) if name.endswith(SUFFIX)]


def _lines_of(path: Path) -> Iterator[tuple[bytes, QuarantinedRow | None]]:
    for raw in path.read_bytes().split(b"\n")[:-1]:
        yield raw, _decode(raw)


def _encode(kept: QuarantinedRow) -> bytes:
    head: dict[str, object] = {"recv_ns": kept.recv_ns, "reason": kept.reason, "pair": kept.pair}
    head |= {"ids": [(span.first, span.last) for span in kept.spans], "why": kept.why}
    if _is_line(kept.line):  # spliced in, not re-encoded: it must be restored byte for byte
        return msgspec.json.encode(head)[:-1] + b',"line":' + kept.line + b"}\n"
    return msgspec.json.encode({**head, "base64": base64.b64encode(kept.line).decode()}) + b"\n"


def _is_line(line: bytes) -> bool:
    """Return whether ``line`` is a single-line JSON object, which can be embedded in another."""
    try:
        line.decode()
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return False
    return b"\n" not in line and b"\r" not in line


def _decode(raw: bytes) -> QuarantinedRow | None:
    try:
        found = _read(raw)
        if not found.reason:
            return QuarantinedRow(found.recv_ns, Reason.MALFORMED, raw)
        line = base64.b64decode(found.base64, validate=True) if found.base64 else bytes(found.line)
        spans = tuple(Span(first, last) for first, last in found.ids)
    except ValueError:  # msgspec's errors are ValueErrors, and so is that of a descending span
        return None
    return QuarantinedRow(found.recv_ns, found.reason, line, found.pair, spans, found.why)
