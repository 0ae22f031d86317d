"""Ask a copy of an archive in object storage the same as the archive itself, and count the requests.

    python -m benchmarks.engines.object_storage [--trades 20000000 --files 3000]

The archive is that of ``benchmarks.build_archive``. It is copied to two servers of S3's protocol on loopback, moto and
LocalBucket (``make engines`` installs them), and every method of ``recorder.connect()`` must answer alike, digest by
digest. Ends with 1 if anything differs; a server that is not installed is listed as such. Printed for each question are
the seconds that the folder and the copy took, and the requests: what it costs grows with these.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import s3fs

from benchmarks.build_archive import PUBLISHED, build, chosen, publish
from recorder import object_store
from recorder.query.connect import Archive, connect

BIN: Final = Path(__file__).parents[2] / ".recipes" / "s3" / "bin"
SERVERS: Final[dict[str, Callable[[int, Path], list[str]]]] = {
    "moto": lambda port, _: [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
    "LocalBucket": lambda port, folder: [str(BIN / "localbucket"), "--port", str(port), str(folder)],
}
BUCKET: Final = "archives"
WEEK: Final[dict[str, Any]] = {"start": "2024-03-01", "stop": "2024-03-08"}
TOTALS: Final = "SELECT pair, count(*), min(trade_id), max(trade_id), sum(qty), sum(price * qty) FROM trades GROUP BY 1"
QUESTIONS: Final[dict[str, Callable[[Archive], Any]]] = {
    "pairs": lambda archive: archive.pairs(),
    "coverage": lambda archive: archive.coverage(to="arrow"),
    "certificates": lambda archive: archive.certificates(to="arrow"),
    "totals": lambda archive: archive.sql(f"{TOTALS} ORDER BY 1", to="arrow", decimals=True),
    "latest": lambda archive: archive.latest(archive.pairs(), to="arrow"),
    "trades": lambda archive: archive.trades(PUBLISHED, **WEEK, to="arrow", decimals=True),
    "candles": lambda archive: archive.candles(PUBLISHED, "1m", **WEEK, to="arrow", decimals=True),
    "closes": lambda archive: archive.closes(archive.pairs()[:5], "1 hour", **WEEK, to="arrow"),
    "ohlc": lambda archive: archive.ohlc(PUBLISHED, "1m", **WEEK, to="arrow", decimals=True),
    "vwap": lambda archive: archive.query("vwap", pair=PUBLISHED, width="1 hour", **WEEK, to="arrow"),
    "instruments": lambda archive: archive.instruments(to="arrow"),
    "events": lambda archive: archive.events(to="arrow"),
    "scan": lambda archive: archive.scan(PUBLISHED, **WEEK).collect().to_arrow(),
    "dataset": lambda archive: archive.scan(PUBLISHED, **WEEK, to="dataset").count_rows(),
}


def digests(archive: Archive) -> list[tuple[str, str]]:
    """Return the SHA-256 of all rows of every pair, whose files were compared with their own digests before.

    Of a frozen connection: any other lists the archive anew for each piece.
    """
    found = []
    for pair in archive.pairs():
        sha256 = hashlib.sha256()
        for piece in archive.batches(pair, to="arrow", decimals=True, check=True):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, piece.schema) as stream:
                stream.write_table(piece)
            sha256.update(sink.getvalue())
        found.append((pair, sha256.hexdigest()))
    return found


def compare(
    local: Archive, copy: Archive, address: str, questions: Mapping[str, Callable[[Archive], Any]] = QUESTIONS
) -> bool:
    good, before = True, object_store.requests(address)
    for name, ask in questions.items():
        began_s = time.perf_counter()
        expected = ask(local)
        between_s = time.perf_counter()
        found = ask(copy)
        ended_s = time.perf_counter()
        now = object_store.requests(address)
        equal = found.equals(expected) if hasattr(found, "equals") else found == expected
        good &= equal
        spent = ", ".join(f"{count} {operation}" for operation, count in sorted((now - before).items()))
        took = f"{between_s - began_s:6.2f} s {ended_s - between_s:6.2f} s"
        print(f"  {name:<12} {'equal' if equal else 'DIFFERENT':<10} {took}  {spent or 'no request'}")
        before = now
    return good


@contextlib.contextmanager
def served(name: str, folder: Path) -> Iterator[str]:
    """Run a server on a free port of loopback, and yield its endpoint once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(SERVERS[name](port, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def copied(data: Path, endpoint: str) -> str:
    """Copy an archive to a new bucket, and return its address."""
    files = s3fs.S3FileSystem(endpoint_url=endpoint, skip_instance_cache=True)
    files.mkdir(BUCKET)
    address = f"s3://{BUCKET}/btc/archive"
    # In the order of docs/operations.md, which matters only while something is recorded.
    for table in sorted(path for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files.put(f"{table}/", f"{address}/{table.name}/", recursive=True)
    return address


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trades", type=int, default=100_000)
    arguments.add_argument("--files", type=int, default=1_100)
    arguments.add_argument("--only", choices=SERVERS, help="One server instead of both.")
    arguments.add_argument("--data", type=Path, help="An archive of benchmarks.build_archive, instead of a new one.")
    given = arguments.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = given.data or folder / "data"
        if given.data is None:
            build(folder, chosen(given.trades, given.files))
            publish(data)
        for server in [given.only] if given.only else SERVERS:
            if not BIN.exists():
                print(f"{server:<11} not installed")
                continue
            (folder / server).mkdir()
            with served(server, folder / server) as endpoint:
                os.environ["AWS_ENDPOINT_URL"] = endpoint
                address = copied(data, endpoint)
                with connect(data) as local, connect(address) as copy:
                    ((count,),) = local.sql("SELECT count(*) FROM trades", to="arrow").to_pydict().values()
                    print(f"{server}: {count:,} trades, {sum(1 for _ in data.rglob('*.parquet')):,} files")
                    good &= compare(local, copy, address)
                with connect(data, frozen=True) as local, connect(address, frozen=True) as copy:
                    good &= compare(local, copy, address, {"digests": digests})
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
