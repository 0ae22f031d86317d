"""Change every byte of a file of the archive, one at a time, and count what is found, and by whom.

Of each changed file two children say what they make of it: ``verify``, and DuckDB, asked for all rows. A child takes
many bytes, and a new one is started only where it ended. Run by hand, for a table and the kind of name its file has
(``digest``, or ``older``, without one): python -m benchmarks.damage [trades|ohlc|events] [digest|older] [every]
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb

from recorder.archive import verify_tables, verify_trades
from recorder.archive.datasets import EVENTS, OHLC, TRADES, Branch, Dataset
from recorder.archive.layout import Layout, digest_in
from recorder.archive.open_archive import opened
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.model import Candle, Event, Trade
from recorder.core.segment_names import MAIN_JOURNAL, SegmentName
from recorder.disk import Disk

PAIR = "BTC/USD"
START_US = 1_762_776_000_000_000  # 2025-11-10
ROWS = 60
TABLES: dict[str, Dataset] = {"trades": TRADES, "ohlc": OHLC, "events": EVENTS}


def build(data: Path, dataset: Dataset, *, older: bool) -> Path:
    """Write one file of a table, and return it."""
    layout = Layout(data)
    with opened(layout, Disk()) as archive:
        if dataset == TRADES:
            _append(archive)
        else:
            tables = SegmentTables(layout, Disk(), staging=archive.staging)
            branch = Branch(dataset, "1m" if dataset == OHLC else None)
            tables.add(branch, [_row(dataset, number) for number in range(ROWS)])
            tables.write(SegmentName("", MAIN_JOURNAL, 1))
    (path,) = (path for path in layout.folder(dataset).rglob("*.parquet") if digest_in(path.name))
    return path.rename(path.with_name(f"{path.name.rpartition('-')[0]}.parquet")) if older else path


def _append(archive: TradeArchive) -> None:
    archive.append(
        PAIR,
        [
            Trade(
                PAIR,
                number,
                START_US + number * 1_000_003,
                Decimal(104_000 + number % 7) / 10,
                Decimal(number * 977 % 1000 + 1) / 1000,
                "buy" if number % 3 else "sell",
                "limit" if number % 5 else "market",
                "",
                "ws",
                START_US + number * 1_000_003 + 40_000,
            )
            for number in range(1, ROWS + 1)
        ],
    )


def _row(dataset: Dataset, number: int) -> object:
    if dataset == EVENTS:
        return Event(START_US + number * 1000, "connected", PAIR, f'{{"n":{number}}}')
    price = Decimal(104_000 + number % 7)
    candle = Candle(
        PAIR, "1m", START_US + number * 60_000_000, price, price + 1, price - 1, price, price, Decimal(number), number
    )
    return (START_US, candle)


def verified(data: Path, dataset: Dataset, _: Path) -> object:
    """Return what ``verify`` finds: whether it names a file, and what it counts else."""
    layout = Layout(data)
    if dataset != TRADES:
        return bool(list(verify_tables.findings(layout)))
    with ThreadPoolExecutor(1) as pool:
        content = verify_trades.read(layout, PAIR, pool)
    return True if content.findings else (content.runs, tuple(content.days.items()))


def answered(_: Path, __: Dataset, path: Path) -> object:
    """Return what DuckDB answers, to all rows and to questions that statistics decide."""
    with duckdb.connect() as client:
        rows = client.execute("SELECT * FROM read_parquet($path)", {"path": str(path)}).fetchall()
        late = datetime.fromtimestamp((START_US + ROWS * 500_000) / 1e6, UTC)
        part = client.execute(
            "SELECT count(*) FROM read_parquet($path) WHERE time >= $late", {"path": str(path), "late": late}
        ).fetchall()
    return rows, part


def serve(ask: Callable[[Path, Dataset, Path], object], data: Path, name: str, path: Path, pipe: Connection) -> None:
    """Answer for each file content that comes, until there is none left; an error is an answer."""
    while content := pipe.recv_bytes():
        path.write_bytes(content)
        try:
            pipe.send(("answer", ask(data, TABLES[name], path)))
        except Exception as error:  # noqa: BLE001
            pipe.send(("error", type(error).__name__))


class Child:
    """A process that answers, and is started again where it ends."""

    def __init__(self, ask: Callable[[Path, Dataset, Path], object], *where: object) -> None:
        self._ask = ask
        self._where = where
        self._start()

    def _start(self) -> None:
        here, there = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(self._ask, *self._where, there), daemon=True
        )
        self._process.start()
        there.close()
        self._pipe = here

    def ask(self, content: bytes) -> tuple[str, object]:
        """Return what the child makes of a file with this content, and whether that is an answer at all."""
        with contextlib.suppress(EOFError, ConnectionError):
            self._pipe.send_bytes(content)
            if self._pipe.poll(30):
                found: tuple[str, object] = self._pipe.recv()
                return found
            self._process.kill()
        self._process.join()
        self._start()
        return "ended", None

    def close(self) -> None:
        """Let the child go."""
        self._pipe.send_bytes(b"")
        self._process.join()


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "trades"
    older = len(sys.argv) > 2 and sys.argv[2] == "older"
    every = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as one, tempfile.TemporaryDirectory() as two:
        paths = [build(Path(data), TABLES[name], older=older) for data in (one, two)]
        ours = Child(verified, Path(one), name, paths[0])
        theirs = Child(answered, Path(two), name, paths[1])
        whole = paths[0].read_bytes()
        good, right = ours.ask(whole), theirs.ask(paths[1].read_bytes())
        counts: Counter[str] = Counter()
        silent: list[int] = []
        for at in range(0, len(whole), every):
            content = whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :]
            ourselves, duck = ours.ask(content), theirs.ask(content)
            named = ourselves == ("answer", True)
            counts["bytes"] += 1
            counts["named by verify"] += named
            counts["verify raises"] += ourselves[0] == "error"
            counts["verify ends"] += ourselves[0] == "ended"
            counts["DuckDB raises"] += duck[0] == "error"
            counts["DuckDB ends"] += duck[0] == "ended"
            counts["DuckDB answers otherwise"] += duck[0] == "answer" and duck != right
            for who, changed in (("verify", ourselves != good), ("DuckDB", duck[0] == "answer" and duck != right)):
                if not named and changed:
                    counts[f"not named, and other for {who}"] += 1
                    silent.append(at)
        ours.close()
        theirs.close()
    print(f"{name}, {'without' if older else 'with'} a digest in the name, {len(whole)} bytes")
    for what, count in counts.items():
        print(f"{count:8}  {what}")
    print("not named at", silent[:20])


if __name__ == "__main__":
    main()
