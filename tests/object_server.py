"""A small object store on loopback that serves a folder in the protocol of S3, for reading, and counts requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class ObjectServer:
    """Keys are the paths below ``folder``, in a bucket of any name; a listing has ``page`` entries at most.

    ``listed`` are the prefixes that were listed, with their delimiter, and ``read`` the objects that were read. Objects
    in ``denied`` are refused; those in ``gone`` are listed once more and not there.
    """

    folder: Path
    endpoint: str = ""
    page: int = 1_000
    listed: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)

    def objects(self) -> list[str]:
        found = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        return sorted(key for key in found if key not in self.gone or not self.read.count(key))

    def forget(self) -> None:
        self.listed.clear()
        self.read.clear()

    def listing(self, query: dict[str, list[str]]) -> bytes:
        prefix, delimiter, after = (query.get(name, [""])[0] for name in ("prefix", "delimiter", "continuation-token"))
        self.listed.append(prefix + delimiter)
        entries: dict[str, str] = {}
        for key in self.objects():
            if key.startswith(prefix):
                rest, slash, _ = key.removeprefix(prefix).partition(delimiter or "\0")
                entries.setdefault(prefix + rest + slash, "CommonPrefixes" if slash else "Contents")
        left = [item for item in entries.items() if item[0] > after]
        shown = left[: self.page]
        text = "".join(f"<{kind}>{self._entry(key, kind)}</{kind}>" for key, kind in shown)
        if len(left) > len(shown):
            text += f"<NextContinuationToken>{escape(shown[-1][0])}</NextContinuationToken>"
        more = "true" if len(left) > len(shown) else "false"
        return (
            f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>{text}"
            "</ListBucketResult>"
        ).encode()

    def _entry(self, key: str, kind: str) -> str:
        if kind == "CommonPrefixes":
            return f"<Prefix>{quote(key)}</Prefix>"
        size = (self.folder / key).stat().st_size
        return (
            f"<Key>{quote(key)}</Key><Size>{size}</Size><ETag>&quot;{size:x}&quot;</ETag>"
            "<LastModified>2025-11-10T12:00:00.000Z</LastModified>"
        )


@contextmanager
def serving_objects(folder: Path) -> Iterator[ObjectServer]:
    """Serve a folder on a free port of loopback."""
    served = ObjectServer(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            key = unquote(url.path).lstrip("/").partition("/")[2]
            if not key:
                self._answer(200, served.listing(parse_qs(url.query)))
                return
            served.read.append(key)
            if key in served.denied:
                self._answer(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
            elif key in served.gone or not (served.folder / key).is_file():
                self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")
            else:
                first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
                self._answer(206, (served.folder / key).read_bytes()[int(first) : int(last) + 1])

        def do_HEAD(self) -> None:  # of Arrow's own client
            path = served.folder / unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        served.endpoint = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield served
        server.shutdown()
