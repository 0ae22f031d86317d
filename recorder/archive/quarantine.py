"""What cannot be archived, yet or ever: kept in ``data/quarantine/`` as it came, with the reason, and never removed.

A file is written once, whole or not at all, and named by its content: what a crash makes come again lies there already.
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
    """Why a line is kept, as the key ``reason`` says it. Other releases may know other reasons."""

    MALFORMED = "malformed"
    """It could not be read, and the journal is another process's."""
    PARKED = "parked"
    """It has ids so far from all others that they do not count yet."""
    ODD = "odd"
    """It has rows that cannot be read, while others of it can. ``ids`` are those that these may be of."""
    REFUSED = "refused"
    """It could be read, and the archive did not take what it says."""
    DIFFERS = "differs"
    """It has ids that are held with other content."""
    WAITING = "waiting"
    """It can be read, and its pair is quarantined: it waits until the files of the pair can be trusted."""
    RENUMBERED = "renumbered"
    """It came after the exchange began to number the pair anew."""
    DISOWNED = "disowned"
    """It is a row that was archived, until the owner let its id go: see :func:`of_row`."""


class QuarantinedRow(msgspec.Struct, frozen=True):
    """One line of a journal's form, without its line feed, and why it is kept; ``recv_ns`` is when it came.

    ``spans`` are the ids of ``pair`` that it is kept for, none where it is of none; ``why`` is a sentence for people.
    """

    recv_ns: int
    reason: str
    line: bytes
    pair: str | None = None
    spans: tuple[Span, ...] = ()
    why: str = ""


class _Line(msgspec.Struct):
    """A line of a file. A plain journal line, as the first archives kept it, has no ``reason``."""

    recv_ns: int
    reason: str = ""
    pair: str | None = None
    ids: list[tuple[int, int]] = []
    why: str = ""
    line: msgspec.Raw = msgspec.Raw()
    base64: str = ""


_read = msgspec.json.Decoder(_Line).decode
_row = msgspec.json.Decoder(Trade).decode


class Quarantine:
    """The quarantine of one archive, for writing. ``staging`` lies on its file system. Calls block."""

    def __init__(self, layout: Layout, disk: Disk, *, staging: Path) -> None:
        self._folder = layout.quarantine
        self._disk = disk
        self._staging = staging

    def add(self, kept: Sequence[QuarantinedRow]) -> Path:
        """Write lines to a file of their own and return it; durable when this returns. Raises DiskError."""
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
    """Return an archived row as it is kept when its id is disowned: a JSON object, numbers exact as text."""
    moment_us = row.time_us if row.received_us is None else row.received_us
    spans = (Span(row.trade_id, row.trade_id),)
    return QuarantinedRow(moment_us * 1000, Reason.DISOWNED, msgspec.json.encode(row), row.pair, spans, why)


def row_of(kept: QuarantinedRow) -> Trade:
    """Return the row of which :func:`of_row` made this. Raises ValueError where it was changed since."""
    return _row(kept.line)


def listed(layout: Layout) -> Iterator[QuarantinedRow]:
    """Yield all that is kept, in the order in which it came. What no longer reads as a line is kept, but not listed."""
    yield from sorted((kept for _, kept in _lines(layout) if kept is not None), key=lambda kept: kept.recv_ns)


def sizes(layout: Layout) -> dict[str, tuple[int, int]]:
    """Return how many lines are kept, and their bytes, by reason; those that cannot be read under ``unreadable``."""
    count, size = Counter[str](), Counter[str]()
    for raw, kept in _lines(layout):
        reason = "unreadable" if kept is None else kept.reason
        count[reason] += 1
        size[reason] += len(raw) + 1
    return {reason: (count[reason], size[reason]) for reason in sorted(count)}


def parts(layout: Layout, pair: str, reason: Reason, size: int = 4 * 1024 * 1024) -> Iterator[list[QuarantinedRow]]:
    """Yield what is kept of ``pair`` for a reason, some ``size`` bytes at a time, about in the order it came."""
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
    """Return how many lines of quarantined ``pairs`` wait, and their bytes; nothing of those of which none does."""
    count, size = Counter[str](), Counter[str]()
    for raw, kept in _lines(layout) if pairs else ():
        if kept is not None and kept.reason == Reason.WAITING and kept.pair is not None and kept.pair in pairs:
            count[kept.pair] += 1
            size[kept.pair] += len(raw) + 1
    return {pair: (count[pair], size[pair]) for pair in sorted(count)}


def ids(layout: Layout, reason: Reason) -> dict[str, Spans]:
    """Return for which ids of each pair lines are kept for a reason."""
    found: dict[str, Spans] = {}
    for _, kept in _lines(layout):
        if kept is not None and kept.reason == reason and kept.pair is not None:
            found.setdefault(kept.pair, Spans()).update(kept.spans)
    return found


class Appender(Protocol):
    """Who archives the trades of a pair whose ids are not held, and returns the ids that it added."""

    def append(self, pair: str, trades: Sequence[Trade], /) -> Spans:
        """Add them, durably."""
        ...


def replay(
    kept: Iterable[QuarantinedRow], archive: Appender, rows: Callable[[QuarantinedRow], Iterable[Trade]]
) -> dict[str, list[Span]]:
    """Archive what ``rows`` finds in kept lines, in their order; return what ids of each pair were added.

    They go the way of all trades, so that what is held already adds nothing, however often it is replayed. The lines
    stay. Raises StorageError, DiskError.
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
    if _is_line(kept.line):  # spliced in, not built anew: it must come back byte for byte
        return msgspec.json.encode(head)[:-1] + b',"line":' + kept.line + b"}\n"
    return msgspec.json.encode({**head, "base64": base64.b64encode(kept.line).decode()}) + b"\n"


def _is_line(line: bytes) -> bool:
    """Return whether ``line`` is one JSON object, which can stand within another, on one line."""
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
    except ValueError:  # msgspec's errors are ValueErrors, and so is a span that runs downwards
        return None
    return QuarantinedRow(found.recv_ns, found.reason, line, found.pair, spans, found.why)
