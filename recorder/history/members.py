"""Members: the CSV files in what a user downloaded, be it a ZIP, a folder with ZIPs and CSVs in it, or one CSV.

A ZIP is never unpacked: its members are inflated as they are read, in constant memory. What cannot be read is refused
with what to do instead.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, NamedTuple

from recorder.errors import UsageError
from recorder.history.ahead import ahead
from recorder.kraken.history_files import MemberName, member_name

BLOCK_BYTES: Final = 1 << 20
"""Bytes of lines that are read at once. Reading as columns takes 15 times as much memory, and larger blocks no less
time."""
LONGEST_LINE: Final = 1 << 20
"""A line longer than this is no row, and is cut here: memory stays bounded."""
CUT: Final = b" [cut]"
"""Ends a line that was cut, so that no number at its end is taken for a whole one."""
HEAD_BYTES: Final = 16_384
"""Bytes at the beginning of a member by which its layout and the length of its rows are determined."""
OPEN_ZIPS: Final = 4
"""ZIPs that are kept open: quarters are read one after the other, and one that is read again is opened again."""
_WRAP: Final = 1 << 32
"""The Finder writes no ZIP64: in its files above 4 GB all offsets are modulo this."""
_LOCAL: Final = b"PK\x03\x04"
_LOCAL_BYTES: Final = 30
_ENCRYPTED: Final = 1
_UNPACK: Final = "unpack it with another program, such as `unzip`, `7z x` or `ditto -x -k`, and import the folder"


class Digest(NamedTuple):
    """What identifies the content of a member, beside its size: the checksum that ZIPs have, and the SHA-256."""

    crc32: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Member:
    """A CSV file: ``path`` inside the ZIP ``file``, or the ``file`` itself where that is None.

    ``size`` is in bytes, unpacked. ``offset`` is where the member begins in a ZIP, and ``listed_crc32`` its checksum
    according to the ZIP's directory.
    """

    file: Path
    name: MemberName
    size: int
    path: str | None = None
    offset: int = 0
    listed_crc32: int | None = None

    def __str__(self) -> str:
        return f"{self.file}" if self.path is None else f"{self.file}: {self.path}"

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        # Only reads may happen inside: the caller's own errors are not those of a file.
        try:
            if self.path is None:
                with self.file.open("rb") as plain:
                    yield plain
            else:
                now = self.file.stat()
                archive = _directory(self.file, (now.st_ino, now.st_size, now.st_mtime_ns))
                info = self._info(archive, self.path)
                _move(info, self.offset)
                with archive.open(info) as inflated:
                    yield inflated
        except FAULTS as error:
            raise UsageError(_refusal(str(self), error)) from error

    def _info(self, archive: zipfile.ZipFile, path: str) -> zipfile.ZipInfo:
        """Return the entry of the directory: several may have one path, and the last of them is found by it."""
        mine = self.listed_crc32, self.size
        last = archive.getinfo(path)
        entries = [last] if (last.CRC, last.file_size) == mine else archive.infolist()
        return next(one for one in entries if one.filename == path and (one.CRC, one.file_size) == mine)

    def head(self) -> bytes:
        """Return the whole lines in the first bytes. Raises UsageError for a member that cannot be read."""
        with self._opened() as stream:
            head = stream.read(HEAD_BYTES)
        return head if len(head) < HEAD_BYTES else head[: _last_end(head)] or head

    def crc32(self) -> int:
        """Return the checksum of the content, which of a member of a ZIP is known without reading it."""
        return self.digest().crc32 if self.listed_crc32 is None else self.listed_crc32

    def digest(self, done: Callable[[int], None] = lambda _: None) -> Digest:
        """Read all of it, and return what identifies it; ``done`` is called with the bytes read as they are.

        Raises UsageError if it cannot be read, or if that of a ZIP does not match its checksum.
        """
        crc32, sha256 = 0, hashlib.sha256()
        for piece in ahead(self._pieces()):
            if self.listed_crc32 is None:
                crc32 = zlib.crc32(piece, crc32)
            sha256.update(piece)
            done(len(piece))
        return Digest(crc32 if self.listed_crc32 is None else self.listed_crc32, sha256.hexdigest())

    def _pieces(self) -> Iterator[bytes]:
        """Yield the content; at the end of a member of a ZIP its checksum is compared."""
        with self._opened() as stream:
            while piece := stream.read(BLOCK_BYTES):
                yield piece

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[bytes]:
        """Yield the content, some ``size`` bytes at a time, cut at ends of lines. Raises as :meth:`head` does.

        Whether the content is that of the checksum shows only at the end: :meth:`digest` checks it before. Of a line of
        more than LONGEST_LINE bytes only the beginning is kept, followed by CUT.
        """
        with self._opened() as stream:
            rest, is_cut = b"", False
            while piece := stream.read(size):
                whole = rest + piece
                if is_cut:  # up to where the next line begins
                    begins = min((at for at in map(whole.find, (b"\n", b"\r")) if at >= 0), default=-1)
                    if begins < 0:
                        rest = b""
                        continue
                    whole, is_cut = whole[begins:], False
                end = _last_end(whole)
                rest = whole[end:]
                if len(rest) > LONGEST_LINE:
                    rest, is_cut = b"", True
                    yield whole[: end + LONGEST_LINE] + CUT
                elif end:
                    yield whole[:end]
            if rest:
                yield rest


@functools.lru_cache(OPEN_ZIPS)
def _directory(file: Path, stamp: tuple[int, int, int]) -> zipfile.ZipFile:  # noqa: ARG001 -- a file that is replaced
    """Return an open ZIP: reading the directory of 1,500 members takes 5 ms, as long as importing a small one."""
    return zipfile.ZipFile(file)


FAULTS: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)
"""What Python raises for a ZIP that is damaged, encrypted or packed in a way that it does not know, and for files."""


@dataclass(frozen=True, slots=True)
class Found:
    """The members of some paths; files that were ``left`` out, and files that cannot be read, each with why."""

    members: list[Member] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def take(self, member: Member) -> None:
        """Add a member unless it is empty."""
        if member.size:
            self.members.append(member)
        else:
            self.left.append((str(member), "it is empty"))


def find(paths: Iterable[Path]) -> Found:
    """Return the members in ZIPs, folders and CSVs. Raises UsageError for a path that is none of these."""
    found = Found()
    for file in dict.fromkeys(file for path in paths for file in _files(path)):
        try:
            if file.suffix.lower() == ".zip":
                _in_zip(file, found)
            elif (name := member_name(file.name)) is None:
                why = "its name is not that of a history file, such as XBTUSD.csv or XBTUSD_60.csv"
                found.left.append((str(file), why))
            else:
                found.take(Member(file, name, file.stat().st_size))
        except FAULTS as error:
            found.refused.append((str(file), _refusal("it", error)))
    return found


def _files(path: Path) -> list[Path]:
    """Return the ZIPs and CSVs at a path, in nested folders too, except what macOS adds."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"there is no {path}: name the ZIP, the folder or the CSV that you downloaded")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in {".zip", ".csv"} and file.is_file())
    return [file for file in found if "__MACOSX" not in file.parts and not file.name.startswith(".")]


def _in_zip(file: Path, found: Found) -> None:
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        offsets = offsets_of(archive, file.stat().st_size)
    for info, offset in zip(infos, offsets, strict=True):
        name = member_name(info.filename)
        if info.is_dir() or "__MACOSX" in info.filename:
            continue
        if name is None:
            found.left.append((f"{file}: {info.filename}", "its name is not that of a history file"))
        elif info.flag_bits & _ENCRYPTED:
            found.refused.append((f"{file}: {info.filename}", f"it is encrypted: {_UNPACK}"))
        else:
            found.take(Member(file, name, info.file_size, info.filename, offset, info.CRC))


def offsets_of(archive: zipfile.ZipFile, size: int, wrap: int = _WRAP) -> list[int]:
    """Return where each member of a ZIP of ``size`` bytes begins, also where the offsets are stored modulo ``wrap``.

    Members lie in the order of the directory, so an offset that would lie within the member before it has wrapped. A
    member that is itself larger than ``wrap`` cannot be followed. Raises BadZipFile if a member is not at its place.
    """
    infos, stream = archive.infolist(), archive.fp
    stored = [info.header_offset for info in infos]
    if stream is None or all(_begins(stream, offset) for offset in stored):
        return stored
    found, end = list[int](), 0
    for info in infos:
        offset = info.header_offset % wrap
        offset += -(-max(0, end - offset) // wrap) * wrap
        if offset >= size or not _begins(stream, offset):
            raise zipfile.BadZipFile(f"{info.filename} is not where the directory says, as in ZIPs of the macOS Finder")
        found.append(offset)
        end = offset + _LOCAL_BYTES + len(info.filename) + info.compress_size
    return found


def _begins(stream: IO[bytes], offset: int) -> bool:
    stream.seek(offset)
    return stream.read(len(_LOCAL)) == _LOCAL


def _move(info: zipfile.ZipInfo, offset: int) -> None:
    info.header_offset = offset
    # Newer releases of Python derive from the stored offsets of all members where this one ends. If some have wrapped
    # that is wrong, also for one that has not.
    if hasattr(info, "_end_offset"):
        info._end_offset = None  # noqa: SLF001


def _refusal(what: str, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{what} cannot be read: {error.strerror or error}"
    if isinstance(error, NotImplementedError | RuntimeError):
        return f"{what} is packed in a way that cannot be read here ({error}): {_UNPACK}"
    return f"{what} is damaged or incomplete ({error}): download it again, or {_UNPACK}"


def _last_end(content: bytes) -> int:
    """Return where the last whole line ends."""
    return max(content.rfind(b"\n"), content.rfind(b"\r")) + 1
