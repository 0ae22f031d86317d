r"""One journal segment: an append-only JSON Lines file, and the encoding of its lines.

A line, in this order of keys::

    {"recv_ns":1762820035982277754,"source":"ws:trade:1","crc32":3735928559,"payload":{…}}

``payload`` is the data from the wire, byte for byte. Data that is not JSON on one line is under ``text`` (a JSON
string) or, if it is not UTF-8 either, under ``base64``. ``crc32`` is the checksum of the bytes received.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal
from zlib import crc32

import msgspec

from recorder.core.event_kinds import HEADER, NOTE
from recorder.core.segment_names import MAIN_JOURNAL, SegmentName
from recorder.disk import names_in, sync_for_reading
from recorder.errors import CorruptLine
from recorder.version import __version__

SUFFIX: Final = ".jsonl"
FORMAT: Final = 1

CHUNK: Final = 1 << 22
"""Bytes of a segment read at once: limits the memory for reading a long one."""

_HEADER_BYTES: Final = 4096
"""More than the first line of a segment has."""
SOURCE_LIMIT: Final = 65_536
"""Maximum characters of a source: the longest, of a frame of a book, lists up to 2,000 prices that it pushed out."""
_LAST_NS: Final = 2**63 - 1
"""In the year 2262: a later time is damage."""

_HEAD: Final = re.compile(rb'\{"recv_ns":(\d+),"source":"([^"\\]+)","crc32":(\d+),"payload":')
_RECEIVED: Final = re.compile(rb'\{"recv_ns":(\d+),')
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]+')


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line: when it was received (ns since 1970 by the host's clock), its source, and the bytes received."""

    recv_ns: int
    source: str
    payload: bytes


class _Header(msgspec.Struct):
    """The note at the start of a segment; one of an older release names neither archive nor journal."""

    note: Literal["segment"]
    number: int
    archive: str = ""
    journal: str = MAIN_JOURNAL


class _Line(msgspec.Struct):
    recv_ns: int
    source: str
    crc32: int
    text: str | None = None
    base64: str | None = None


_read_line = msgspec.json.Decoder(_Line).decode


def encode(recv_ns: int, source: str, payload: bytes, *, parsed: bool = False) -> bytes:
    """Return the line, with its line feed.

    ``source`` is ours: letters, digits and URL punctuation, so that it needs no escaping. ``parsed`` is whether the
    payload was already read as JSON, as every trade frame is; otherwise this function checks it.
    """
    name = _source(source)
    # Many tools end a line at a carriage return too. And a parser skips strings that it does not need, so bytes that
    # are not UTF-8 may hide in one.
    one_line = b"\n" not in payload and b"\r" not in payload
    if one_line and ((parsed and payload.isascii()) or _is_json(payload)):
        return b'{"recv_ns":%d,"source":"%b","crc32":%d,"payload":%b}\n' % (
            recv_ns,
            name,
            crc32(payload),
            payload,
        )
    try:
        field, value = "text", payload.decode()
    except UnicodeDecodeError:
        field, value = "base64", base64.b64encode(payload).decode()
    content = {"recv_ns": recv_ns, "source": source, "crc32": crc32(payload), field: value}
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def encode_note(recv_ns: int, kind: str, **detail: object) -> bytes:
    """Return the line of an event of our own. If its detail is nested too deep, only the plain fields are included."""
    try:
        payload = json.dumps({NOTE: kind, **detail}, separators=(",", ":")).encode()
    except RecursionError:
        plain = {name: value for name, value in detail.items() if not isinstance(value, list | dict)}
        payload = json.dumps({NOTE: kind, **plain}, separators=(",", ":")).encode()
    return encode(recv_ns, NOTE, payload, parsed=True)


def decode(line: bytes, *, checked: bool = False) -> Entry:
    """Read one line, without its line feed. Raises CorruptLine if it does not match its checksum.

    ``checked`` means that the checksum was compared just before.
    """
    try:
        if (head := _HEAD.match(line)) and line.endswith(b"}"):
            # Sliced, not parsed: the payload must come back byte for byte, and this is five times as fast.
            recv_ns, source = int(head[1]), head[2].decode()
            expected, payload = int(head[3]), line[head.end() : -1]
        else:
            fields = _read_line(line)
            recv_ns, source, expected = fields.recv_ns, fields.source, fields.crc32
            payload = _payload_of(fields)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors too
        raise CorruptLine(f"not a journal line ({str(error)[:80]}): {line[:80]!r}", line) from error
    if not 0 <= recv_ns <= _LAST_NS or len(source) > SOURCE_LIMIT:
        raise CorruptLine(f"a journal line of no moment, or from nowhere: {line[:80]!r}", line)
    if not checked and crc32(payload) != expected:
        raise CorruptLine(f"a journal line received at {recv_ns} ns does not match its checksum {expected}", line)
    return Entry(recv_ns, source, payload)


def received_ns(line: bytes) -> int | None:
    """Return when a line was received (ns since 1970), without reading the rest; None if it is no journal line."""
    found = _RECEIVED.match(line)
    return int(found[1]) if found else None


def path_of(directory: Path, number: int) -> Path:
    """Return the path of the segment ``number``."""
    return directory / f"{number:012d}{SUFFIX}"


def number_of(path: Path) -> int:
    """Return the number of a segment, also of a retired one."""
    return int(path.name.split(".")[0])


def encode_header(recv_ns: int, name: SegmentName) -> bytes:
    """Return the first line of a segment."""
    named = {"archive": name.archive, "journal": name.journal} if name.archive else {}
    return encode_note(
        recv_ns, HEADER, number=name.number, format=FORMAT, writer=f"kraken-recorder {__version__}", **named
    )


def name_of(path: Path, *, archive: str) -> SegmentName:
    """Return the name of a segment, which stands in its first line and is the same wherever the file is copied.

    If that line is damaged, it is a segment of the folder that it lies in, in the archive with the id ``archive``.
    """
    with path.open("rb") as file:
        line = file.readline(_HEADER_BYTES)
    try:
        header = msgspec.json.decode(decode(line.removesuffix(b"\n")).payload, type=_Header)
    except (CorruptLine, msgspec.DecodeError):
        return SegmentName(archive, path.parent.name, number_of(path))
    if not header.archive:
        return SegmentName("", MAIN_JOURNAL, number_of(path))
    return SegmentName(header.archive, header.journal, header.number)


def segments(directory: Path) -> list[Path]:
    """Return the segments in ``directory``, oldest first; the last one is open. Raises UnlistedFolder, UnsoundFile."""
    names = (name for name in names_in(directory) if name.removesuffix(SUFFIX).isdecimal() and name.endswith(SUFFIX))
    return [directory / name for name in names]


def whole_lines(path: Path, offset: int = 0, *, limit: int | None = None) -> tuple[list[bytes], int]:
    """Read whole lines from byte ``offset`` on; return them without line feeds, and the offset behind them.

    The lines are durable: a reader must not count what a power cut could undo. ``limit`` is the number of bytes read at
    once; a single longer line is still read whole.
    """
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(-1 if limit is None else limit)
        if limit is not None and len(content) == limit:
            content += file.readline()
        sync_for_reading(file)
    end = content.rfind(b"\n") + 1
    return content[:end].split(b"\n")[:-1], offset + end


def entries(path: Path, *, chunk: int = CHUNK) -> Iterator[Entry | CorruptLine]:
    """Read a whole segment in bounded memory. A line that cannot be read is yielded as its error, not raised.

    So is a last line without its line feed, which is damage in a closed segment; in the open one it is still being
    written.
    """
    return (entry for entry, _, _ in located(path, chunk=chunk))


def located(path: Path, *, chunk: int = CHUNK) -> Iterator[tuple[Entry | CorruptLine, int, int]]:
    """Read like :func:`entries`; with each entry yield the offset of its line, and its length in bytes."""
    offset = 0
    while True:
        lines, following = whole_lines(path, offset, limit=chunk)
        if following == offset:
            break
        for line in lines:
            try:
                yield decode(line), offset, len(line)
            except CorruptLine as error:
                yield error, offset, len(line)
            offset += len(line) + 1
    with path.open("rb") as file:
        file.seek(offset)
        if torn := file.read():
            yield CorruptLine(f"{path} ends in the middle of a line: {torn[:80]!r}", torn), offset, len(torn)


@lru_cache
def _source(source: str) -> bytes:
    if not _PLAIN.fullmatch(source):
        raise ValueError(f"{source!r} cannot be a source: it is empty, or JSON would have to escape it")
    return source.encode()


def _payload_of(fields: _Line) -> bytes:
    if fields.text is not None:
        return fields.text.encode()
    if fields.base64 is not None:
        return base64.b64decode(fields.base64, validate=True)
    raise ValueError("it has neither payload, text nor base64")


def _is_json(payload: bytes) -> bool:
    """Return whether every strict reader of JSON accepts it; Python's own also accepts NaN."""
    try:
        payload.decode()
        msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return False
    return True
