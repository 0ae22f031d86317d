"""Archives in object storage, for reading: where their files are, and how their bytes come.

An address, ``s3://bucket/prefix``, becomes an :class:`ObjectPath`, so that everything that makes paths out of an
archive's folder works on objects as well. Only what lists a folder or reads a file comes here, by its path.
s3fs, an extra, makes the requests; it finds the credentials itself, as all tools of AWS do (environment, profile, file,
role), and they are kept nowhere here.

A folder is the common beginning of keys. Listings are kept until :func:`at_once` begins the next look at an archive, so
that each look lists everything anew, once, in few requests. Objects are never changed, only added and removed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PosixPath
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from recorder.errors import UsageError

if TYPE_CHECKING:
    import pyarrow.fs

SCHEME: Final = "s3://"
_PART: Final = "s3:"
"""The first part of an address as of a path: pathlib joins its slashes."""
_BEGIN: Final = f"{_PART}/"
_TAIL_BYTES: Final = 65_536 + 4_096
"""Bytes that are read first of an object, at its end: what DuckDB reads first there, so that it need not do so again.
They hold nearly any footer, and a small file whole."""
_KEPT_BYTES: Final = 256 * 1024 * 1024
"""Bytes of ends of objects that are kept of a bucket: those of 3,700 files."""
_PIECE_BYTES: Final = 8 * 1024 * 1024
"""Bytes read at once of an object that is read from its beginning to its end."""
_KEYS: Final = 1_000
"""Keys in a page of a listing: the most that S3 returns."""
_APART: Final = 4
"""Folders in a large folder that are listed one by one before it is listed whole."""
_LIMITS: Final = {
    "max_pool_connections": 32,
    "connect_timeout": 10,
    "read_timeout": 60,
    "retries": {"mode": "standard", "max_attempts": 3},
}
"""Requests at once, seconds, and attempts; s3fs makes some more."""
_NOT_IN_ADDRESSES: Final = frozenset("?#*[]{}@\\\"'`$ \n")
"""Characters that no bucket has and that mean something else in a key: a query, a pattern, a quote, credentials."""

_Seen = TypeVar("_Seen")


class ObjectPath(PosixPath):
    """The path of an object, or of a folder of objects; as text the address itself."""

    def __str__(self) -> str:
        return SCHEME + super().__str__()[len(_PART) + 1 :]

    def absolute(self) -> ObjectPath:
        """Return the path: an address depends on no current directory."""
        return self

    def is_dir(self, **_: bool) -> bool:
        """Return whether there are objects below the path."""
        try:
            _bucket_of(str(self)).names(str(self))
        except FileNotFoundError:
            return False
        return True

    def is_file(self, **_: bool) -> bool:
        """Return whether the path is that of an object."""
        try:
            _bucket_of(str(self)).entry(str(self))
        except FileNotFoundError:
            return False
        return True

    def exists(self, **_: bool) -> bool:
        """Return whether there is an object, or a folder of some."""
        return self.is_file() or self.is_dir()

    def is_symlink(self) -> bool:
        """Return False: objects are no links."""
        return False

    def stat(self, **_: bool) -> os.stat_result:
        """Return the size and the modification time of an object. Raise FileNotFoundError."""
        entry = _bucket_of(str(self)).entry(str(self), now=False)
        time_s = entry.time_us // 1_000_000
        return os.stat_result((stat.S_IFREG | 0o444, 0, 0, 1, 0, 0, entry.size, time_s, time_s, time_s))

    def open(self, mode: str = "r", *_: object, **__: object) -> IO[Any]:  # type: ignore[override]  # of many forms
        """Open an object for reading its bytes from the beginning on. Raise FileNotFoundError."""
        if mode != "rb":
            raise UsageError(f"{self} is an object, and is only read, as bytes")
        return io.BufferedReader(opened(str(self)), _PIECE_BYTES)


def is_address(place: str | Path) -> bool:
    """Return whether this names a place in object storage.

    >>> is_address("s3://bucket/archive"), is_address(Path("s3://bucket/archive")), is_address("data")
    (True, True, False)
    """
    text = place if isinstance(place, str) else str(place)
    return text.startswith(_BEGIN) or text == _PART


def located(place: str | Path) -> Path:
    """Return the path of a folder or a file, which is an ObjectPath for an address, also for one read as a path.

    >>> located("s3://bucket/archive") / "trades", located(Path("s3://bucket/archive"))
    (ObjectPath('s3://bucket/archive/trades'), ObjectPath('s3://bucket/archive'))
    """
    if isinstance(place, ObjectPath):
        return place
    return ObjectPath(place) if is_address(place) else Path(place)


def connected(place: str | Path) -> Path:
    """Return the absolute path of an archive that is about to be read, as :func:`located`, by the settings of now.

    Raise UsageError for an address that is none, and without s3fs.
    """
    if not is_address(place):
        return Path(place).absolute()
    path = located(place)
    # The text of a wrong address is not repeated: what stands before an @ may be a secret.
    if not path.parts[1:] or any(_NOT_IN_ADDRESSES.intersection(part) for part in path.parts):
        raise UsageError(
            "an address in object storage is s3://bucket/prefix, without credentials, which come from the environment "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE), and without characters of patterns"
        )
    _bucket(path.parts[1], anew=True).add(str(path))
    return path


def at_once(data: Path, look: Callable[[], _Seen]) -> Callable[[], _Seen]:
    """Return a look at the archive at ``data`` that begins with new listings; ``look`` itself if it is in a folder."""
    if not isinstance(data, ObjectPath):
        return look
    bucket = _bucket_of(str(data))

    def anew() -> _Seen:
        bucket.forget()
        return look()

    return anew


def names(folder: str | Path) -> list[str]:
    """Return the names in a folder, sorted. Raise FileNotFoundError; OSError with a reason in ``strerror``."""
    return sorted(_bucket_of(str(folder)).names(str(folder)))


def folders(folder: str | Path) -> list[str]:
    """Return the names of the folders in a folder, sorted. Raise as :func:`names` does."""
    return sorted(name for name, entry in _bucket_of(str(folder)).names(str(folder)).items() if entry is None)


def stamp(path: str | Path) -> tuple[int, int, int]:
    """Return a hash of the entity tag, the size and the modification time (ns since 1970) of an object.

    Raise FileNotFoundError; OSError.
    """
    entry = _bucket_of(str(path)).entry(str(path))
    return hash(entry.tag), entry.size, entry.time_us * 1_000


def opened(path: str) -> ObjectFile:
    """Open an object. Raise FileNotFoundError; OSError."""
    bucket = _bucket_of(path)
    return ObjectFile(bucket, path, bucket.entry(path, now=False))


def end_of(path: str | Path) -> bytes:
    """Return the last bytes of an object, which hold nearly any footer. Raise FileNotFoundError; OSError."""
    bucket = _bucket_of(str(path))
    return bucket.end(str(path), bucket.entry(str(path), now=False).size)


def read_ahead(paths: Iterable[str]) -> None:
    """Read the ends of these objects, many at once, for :func:`end_of`. What cannot be read is left to it."""
    objects = [path for path in paths if is_address(path)]
    if len(objects) > 1:
        _bucket_of(objects[0]).read_ahead(objects)


def requests(data: str | Path) -> Counter[str]:
    """Return how many requests this process has made to the bucket of an archive so far, by operation of S3."""
    return _bucket_of(str(data)).requests.copy()


def arrow_files(paths: Sequence[str]) -> tuple[pyarrow.fs.FileSystem, list[str]]:
    """Return these files as a file system of Arrow's and paths in it: its threads must never run Python code.

    Of objects, Arrow finds the credentials itself, by the same rules. Its requests are not counted.
    """
    from pyarrow import fs  # noqa: PLC0415 -- its cloud file systems take long to load

    if not paths or not is_address(paths[0]):
        return fs.LocalFileSystem(), list(paths)
    return fs.S3FileSystem(**_bucket_of(paths[0]).place()), [path.removeprefix(SCHEME) for path in paths]


class Entry(NamedTuple):
    """What a listing says of an object: its size in bytes, its modification time (µs since 1970), its entity tag."""

    size: int
    time_us: int
    tag: str


_Names = Mapping[str, Entry | None]
"""The names in a folder; None are those of folders."""


class ObjectFile(io.RawIOBase):
    """An object, open for reading; each read is one request, unless its end is known."""

    def __init__(self, bucket: Bucket, path: str, entry: Entry) -> None:
        super().__init__()
        self._bucket = bucket
        self._path = path
        self.size = entry.size
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, and return it."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes from the position on, or all, fewer only at the end."""
        stop = self.size if size is None or size < 0 else min(self.size, self._at + size)
        found = self._bucket.read(self._path, self._at, stop, self.size) if stop > self._at else b""
        self._at += len(found)
        return found

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 -- whatever can be written to
        """Fill a buffer from the position on, and return how many bytes there were."""
        view = memoryview(buffer).cast("B")
        found = self.read(len(view))
        view[: len(found)] = found
        return len(found)


class Bucket:
    """The objects of one bucket, by the text of their paths. Thread-safe."""

    def __init__(self, name: str) -> None:
        """Raise UsageError without s3fs."""
        self.requests: Counter[str] = Counter()
        self._name = name
        self._files = _file_system(self.requests)
        self._lock = threading.RLock()
        self._tops: set[str] = set()
        self._folders: dict[str, _Names] = {}
        self._before: dict[str, _Names] = {}
        self._large: set[str] = set()
        self._apart: Counter[str] = Counter()
        self._ends: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0

    def add(self, top: str) -> None:
        """Register the top folder of an archive: below it listings are made in as few requests as possible."""
        self._tops.add(top)

    def forget(self) -> None:
        """List everything anew from now on."""
        with self._lock:
            self._before |= self._folders
            self._folders = {}
            self._apart.clear()

    def names(self, folder: str) -> _Names:
        """Return what is in a folder. Raise FileNotFoundError if there is nothing; OSError."""
        with self._lock:
            for home in self._down_to(folder):
                above, _, name = home.rpartition("/")
                if home not in self._folders and self._folders.get(above, {name: None}).get(name, home) is None:
                    self._list(home, above)
            if folder not in self._folders:
                raise FileNotFoundError(errno.ENOENT, "there is no object below it", folder)
            return self._folders[folder]

    def _down_to(self, folder: str) -> list[str]:
        """Return the folders from the top of the archive down to this one."""
        top = next((top for top in self._tops if folder.startswith(f"{top}/")), folder)
        below = folder.removeprefix(top).split("/")
        return [top + "/".join(below[: count + 1]) for count in range(len(below))]

    def entry(self, path: str, *, now: bool = True) -> Entry:
        """Return what the listing says of an object; unless it is that of ``now``, an earlier one will do.

        Raise FileNotFoundError; OSError.
        """
        folder, _, name = path.rpartition("/")
        with self._lock:
            earlier = None if now or folder in self._folders else self._before.get(folder, {}).get(name)
        found = earlier or self.names(folder).get(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such object", path)
        return found

    def _list(self, folder: str, above: str) -> None:
        """List a folder with all that is below it; but of one with more than a page, only the names in it.

        What is below those is listed when it is needed: each apart, or, once some were, all together; but never all of
        an archive, whose journals are not read.
        """
        self._apart[above] += 1
        if above in self._large - self._tops and self._apart[above] > _APART:
            self._keep(above, self._pages(above))
            return
        if folder not in self._large:
            first, more = self._page(folder)
            if more is None:
                self._keep(folder, [first])
                return
            self._large.add(folder)
        self._keep(folder, self._pages(folder, delimiter="/"))

    def _keep(self, folder: str, pages: Iterable[Mapping[str, Any]]) -> None:
        found: dict[str, dict[str, Entry | None]] = {}
        for page in pages:
            for one in page.get("CommonPrefixes", ()):
                found.setdefault(folder, {})[_last_part(one["Prefix"])] = None
            for one in page.get("Contents", ()):
                home, _, name = f"{SCHEME}{self._name}/{one['Key']}".rpartition("/")
                if name:  # others are made for folders by tools
                    time_us = int(one["LastModified"].timestamp() * 1_000_000)
                    found.setdefault(home, {})[name] = Entry(one["Size"], time_us, one["ETag"])
                while home != folder:
                    home, _, name = home.rpartition("/")
                    found.setdefault(home, {}).setdefault(name, None)
        self._folders.update(found)

    def _pages(self, folder: str, **options: str) -> Iterator[Mapping[str, Any]]:
        page, more = self._page(folder, **options)
        yield page
        while more is not None:
            page, more = self._page(folder, more, **options)
            yield page

    def _page(self, folder: str, after: str | None = None, delimiter: str = "") -> tuple[Mapping[str, Any], str | None]:
        """Return a page of what is below a folder, and the token of the next one, if there is one."""
        key = _key(folder)
        options = {"Delimiter": delimiter} if delimiter else {}
        if after is not None:
            options["ContinuationToken"] = after
        with _failing(folder):
            page: Mapping[str, Any] = self._files.call_s3(
                "list_objects_v2", Bucket=self._name, Prefix=f"{key}/" if key else "", MaxKeys=_KEYS, **options
            )
        return page, page.get("NextContinuationToken")

    def read(self, path: str, start: int, stop: int, size: int) -> bytes:
        """Return these bytes of an object. Raise FileNotFoundError if it is gone; OSError."""
        with self._lock:
            end = self._ends.get(path)
        if end is not None and start >= size - len(end):
            return end[start - size + len(end) :][: stop - start]
        if stop == size and size - start <= _TAIL_BYTES:
            return self.end(path, size)[start - stop :]
        return self._get(path, start, stop)

    def end(self, path: str, size: int) -> bytes:
        """Return the last bytes of an object, which are then known. Raise FileNotFoundError if it is gone; OSError."""
        with self._lock:
            found = self._ends.get(path)
        if found is None:
            found = self._get(path, max(0, size - _TAIL_BYTES), size) if size else b""
            self._keep_end(path, found)
        return found

    def read_ahead(self, paths: Sequence[str]) -> None:
        """Read the ends of objects that are not known yet, many at once. Errors are left to :meth:`end`."""
        with self._lock:
            wanted = [path for path in paths if path not in self._ends]
        sizes = [self.entry(path, now=False).size for path in wanted]
        starts = [max(0, size - _TAIL_BYTES) for size in sizes]
        found = self._files.cat_ranges([path.removeprefix(SCHEME) for path in wanted], starts, sizes)
        for path, end in zip(wanted, found, strict=True):
            if isinstance(end, bytes):
                self._keep_end(path, end)

    def _keep_end(self, path: str, end: bytes) -> None:
        with self._lock:
            self._kept_bytes += len(end) - len(self._ends.pop(path, b""))
            self._ends[path] = end
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= len(self._ends.popitem(last=False)[1])

    def _get(self, path: str, start: int, stop: int) -> bytes:
        with _failing(path):
            found: bytes = self._files.cat_file(path.removeprefix(SCHEME), start=start, end=stop)
        if len(found) != stop - start:
            raise FileNotFoundError(errno.ENOENT, "it was replaced by another object", path)
        return found

    def place(self) -> dict[str, str]:
        """Return where the bucket is, for Arrow: the region, and the endpoint if it is not that of AWS."""
        with _failing(self._name):
            self._files.connect()
        client = self._files.s3.meta
        found = {"region": str(client.region_name)}
        if not client.endpoint_url.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            found["endpoint_override"] = client.endpoint_url
        return found


_BUCKETS: Final[dict[str, tuple[int, Bucket]]] = {}
"""The buckets that this process reads, by name, each with a hash of the settings that it was connected with."""


def _bucket(name: str, *, anew: bool = False) -> Bucket:
    """Return a bucket; with ``anew`` another one if the settings have changed."""
    found = _BUCKETS.get(name)
    settings = hash(frozenset(item for item in os.environ.items() if item[0].startswith("AWS_"))) if anew else 0
    if found is None or (anew and found[0] != settings):
        found = _BUCKETS[name] = settings, Bucket(name)
    return found[1]


def _bucket_of(path: str) -> Bucket:
    return _bucket(path.removeprefix(SCHEME).partition("/")[0])


def _key(path: str) -> str:
    """Return the key of an object, or the prefix of a folder without its last slash."""
    return path.removeprefix(SCHEME).partition("/")[2]


def _last_part(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2]


def _file_system(counted: Counter[str]) -> Any:  # noqa: ANN401 -- s3fs has no types
    """Return s3fs, which counts each request that it sends. Raise UsageError if it is not installed."""
    try:
        import s3fs  # noqa: PLC0415 -- an extra
        from aiobotocore.session import get_session  # noqa: PLC0415 -- comes with it
    except ImportError as error:
        raise UsageError("object storage needs s3fs: pip install 'kraken-recorder[s3]'") from error

    def count(event_name: str, **_: object) -> None:
        counted[event_name.rpartition(".")[2]] += 1

    session = get_session()
    session.register("before-send.s3", count)
    return s3fs.S3FileSystem(session=session, config_kwargs=_LIMITS, use_listings_cache=False, skip_instance_cache=True)


@contextlib.contextmanager
def _failing(place: str) -> Iterator[None]:
    """Turn any failure of a request into an OSError, with the path and a reason that contains no secret."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no such object, or bucket", place) from None
    except Exception as error:  # noqa: BLE001 -- botocore's, aiohttp's and asyncio's have nothing else in common
        # The cause is left out: of botocore's errors some carry what was sent.
        raise OSError(errno.EIO, _reason(error), place) from None


def _reason(error: Exception) -> str:
    kind = type(error).__name__
    if kind in {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "CredentialRetrievalError"}:
        return "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(error, PermissionError):
        return "access is denied: the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE) must be right, and may read it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"the object store did not answer as it should ({kind})"
