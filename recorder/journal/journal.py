"""The journal: the write-ahead log of data that cannot be requested again.

Contains the segments of one journal, their names, and their retirement: those under ``journal/`` to ``raw/``. One
process writes; a closed segment is never written again. Does not interpret payloads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from recorder.core.segment_names import MAIN_JOURNAL, SegmentName, raw_folder
from recorder.disk import Disk, names_in
from recorder.errors import DiskError, TornTail
from recorder.journal import segment

RAW_SUFFIX: Final = ".jsonl.zst"
CORRUPT_SUFFIX: Final = ".corrupt"
_ZSTD_LEVEL: Final = 3
_CHUNK: Final = 1 << 20


class Journal:
    """The open segment and the closed ones before it. Calls block.

    One thread at a time may append, rotate and close; another may quarantine and retire closed segments meanwhile. Any
    DiskError leaves the journal unusable, because it is unknown how much of a failed write or sync is on the disk: the
    process must end, and opening the journal anew recovers. Until then every call is refused.
    """

    def __init__(
        self,
        data: Path,
        disk: Disk,
        *,
        staging: Path,
        now_ns: int,
        above: int = 0,
        archive: str = "",
        journal: str = MAIN_JOURNAL,
    ) -> None:
        """Open a journal under ``data``: cut a torn last line, then begin a new segment.

        ``above`` is the highest number known to be used elsewhere: the archive refers to some. New segments are named
        by ``archive``, the archive's id, and ``journal``; without an id by their numbers alone, as in older releases.
        """
        self._archive, self._name = archive, journal
        self._directory = data / journal
        self._raw = data / raw_folder(journal)
        self._disk = disk
        self._staging = staging
        self._failed: DiskError | None = None
        disk.make_dir(self._directory)
        disk.make_dir(self._raw)
        self.recovered = self._cut_torn_tail()
        self._file: BinaryIO
        self._begin(max(self._next_number(), above + 1), now_ns)

    @property
    def number(self) -> int:
        """The number of the open segment."""
        return self._number

    def name_of(self, path: Path) -> SegmentName:
        """Return the full name of a segment, which footers use."""
        return segment.name_of(path, archive=self._archive)

    @property
    def size(self) -> int:
        """Bytes in the open segment."""
        return self._size

    @property
    def is_there(self) -> bool:
        """Whether the file of the open segment still exists; it may be missing briefly while the journal rotates."""
        return segment.path_of(self._directory, self._number).exists()

    def append(self, lines: Iterable[bytes]) -> None:
        """Write lines and return once they are on the disk: one group commit."""
        content = b"".join(lines)
        with self._unless_failed():
            self._disk.write(self._file, content)
            self._disk.sync(self._file)
        self._size += len(content)

    def rotate(self, now_ns: int) -> None:
        """Close the open segment and begin the next; does nothing while the open one is empty."""
        if self._size > self._header_size:
            with self._unless_failed():
                self._file.close()
                self._begin(self._number + 1, now_ns)

    def closed(self) -> list[Path]:
        """Return the segments that wait to be drained, oldest first."""
        return [path for path in segment.segments(self._directory) if segment.number_of(path) < self._number]

    def set_aside(self, path: Path, lines: Iterable[bytes]) -> None:
        """Store unreadable lines of the segment ``path`` separately, for manual inspection; never deleted."""
        self._place(self._raw / f"{path.stem}{CORRUPT_SUFFIX}", (line + b"\n" for line in lines))

    def preserve(self, path: Path, *, made_s: float | None = None) -> None:
        """Put a compressed copy of a closed segment into ``raw/``, replacing an earlier one.

        Its modification time, from which it expires, is ``made_s`` (seconds since 1970), or the host's clock without
        it.
        """
        self._place(self._raw / f"{path.stem}{RAW_SUFFIX}", _compressed(path), made_s=made_s)

    def retire(self, path: Path, *, keep: bool) -> None:
        """Remove a closed segment from the journal, after all of it is in the archive.

        With ``keep`` it is first compressed into ``raw/`` (zstd with checksum).
        """
        if keep:
            self.preserve(path)
        self._disk.unlink(path)
        self._disk.sync_dir(self._directory)

    def close(self) -> None:
        """Close the open segment. Its file stays, so that its number is never used again."""
        self._file.close()

    @contextlib.contextmanager
    def _unless_failed(self) -> Iterator[None]:
        if self._failed is not None:
            raise DiskError(f"the journal takes no more lines since an earlier failure: {self._failed}")
        try:
            yield
        except DiskError as error:
            self._failed = error
            raise

    def _begin(self, number: int, now_ns: int) -> None:
        self._number = number
        header = segment.encode_header(now_ns, SegmentName(self._archive, self._name, number))
        self._file = self._disk.create(segment.path_of(self._directory, number))
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._file.close)
            self._disk.write(self._file, header)
            self._disk.sync(self._file)
            self._disk.sync_dir(self._directory)
            on_failure.pop_all()
        self._size = self._header_size = len(header)

    def _next_number(self) -> int:
        suffixes = (RAW_SUFFIX, CORRUPT_SUFFIX)
        # A folder that cannot be listed is an error: a used number must never be used again.
        kept = (self._raw / name for name in names_in(self._raw) if name[:1].isdecimal() and name.endswith(suffixes))
        used = [*segment.segments(self._directory), *kept]
        return max((segment.number_of(path) for path in used), default=0) + 1

    def _cut_torn_tail(self) -> TornTail | None:
        """Cut the incomplete line that a crash left at the end of the last segment; it was never claimed."""
        last = next(reversed(segment.segments(self._directory)), None)
        if last is None:
            return None
        size = last.stat().st_size
        whole = _whole_bytes(last, size)
        if whole == size:
            return None
        with self._disk.open_append(last) as file:
            self._disk.truncate(file, whole)
            self._disk.sync(file)
        return TornTail(str(last), whole, size - whole)

    def _place(self, path: Path, content: Iterable[bytes], *, made_s: float | None = None) -> None:
        """Write a file so that it is complete and durable under its name, or absent."""
        staged = self._staging / path.name
        if staged.exists():  # left by an attempt that failed
            self._disk.unlink(staged)
        with self._disk.create(staged) as target:
            for piece in content:
                self._disk.write(target, piece)
            if made_s is not None:
                self._disk.stamp(target, made_s)
            self._disk.sync(target)
        self._disk.rename(staged, path)
        self._disk.sync_dir(path.parent)


def _compressed(path: Path) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            if packed := compressor.compress(chunk):
                yield packed
    yield compressor.flush()


def _whole_bytes(path: Path, size: int) -> int:
    """Return the number of bytes of ``path`` up to its last whole line, reading from the end."""
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - _CHUNK)
            file.seek(start)
            cut = file.read(end - start).rfind(b"\n")
            if cut >= 0:
                return start + cut + 1
            end = start
    return 0
