"""A start over a journal of malformed lines, in little memory: ``python -m tests.ingest.malformed_input DATA``.

It ends with 0 if the first try counts and drains all that there is, and says how many trades the archive holds then.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from recorder.app import rebuild
from recorder.archive import locks
from recorder.archive.layout import Layout
from recorder.archive.open_archive import create
from recorder.archive.segment_tables import SegmentTables
from recorder.archive.trades import TradeArchive
from recorder.core.event_kinds import EventKind
from recorder.core.ledger import Ledger
from recorder.disk import Disk
from recorder.ingest.drain import Drainer
from recorder.ingest.quarantined_pairs import QuarantinedPairs
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import rest_api
from recorder.kraken.records import odd_source, rest_source
from recorder.ops import process_setup
from recorder.ops.metrics import Metrics
from tests.builders import BTC, frame

LINE = 1 << 20
"""Bytes of a line at most."""
MARGIN = 400 << 20
"""Bytes of address space over those of a start over an empty journal."""
HUGE = ("1E+900000000", "1E-900000000", "-1", "9" * 5_000, "0." + "0" * 5_000 + "1", "NaN", "1e99999999999")
WHOLE = ("0", str(2**31), str(2**63), "9" * 4_000, "1.5", "null", "[]", "true")
TEXTS = ('""', '"' + "x" * 300 + '"', '"' + "é" * 60 + '"', '"' + "/" * 60 + '"', '"\\u0000"')
DEEP = ("[" * 5_000 + "]" * 5_000, '{"a":' * 900 + "1" + "}" * 900)
BULKY = ('"' + "y" * 900_000 + '"', "[" * 900_000, "9" * 900_000, '"' + "9" * 900_000 + '"', "1," * 450_000 + "1")
"""Values of nearly all that a line may hold."""
ROW = {
    "symbol": '"BTC/USD"',
    "side": '"buy"',
    "price": "1.5",
    "qty": "1",
    "ord_type": '"limit"',
    "trade_id": "7",
    "timestamp": '"2026-07-07T23:00:05.000000Z"',
}
PAGE = ['"1.5"', '"1"', "1783465205.1", '"b"', '"l"', '""', "7"]
CANDLE = ["1783465200", '"1"', '"1"', '"1"', '"1"', '"1"', '"1"', "1"]
ENTRY = {
    "altname": '"XBTUSD"',
    "wsname": '"XBT/USD"',
    "base": '"XXBT"',
    "quote": '"ZUSD"',
    "pair_decimals": "1",
    "lot_decimals": "8",
    "cost_decimals": "5",
    "tick_size": '"0.1"',
    "ordermin": '"0.1"',
    "costmin": '"0.1"',
    "status": '"online"',
}
NOTE = {"pair": '"BTC/USD"', "first_id": "1", "last_id": "2", "time_us": "1", "until_us": "1", "after_id": "0"}
NOTE |= {"assumed": "false", "reason": '"none"'}
KINDS: tuple[EventKind, ...] = (
    EventKind.VOID,
    EventKind.UNREADABLE,
    EventKind.CONFIRMED,
    EventKind.PROMISED,
    EventKind.ANCHORED,
)
KINDS += (EventKind.PARKED, EventKind.DISOWNED, EventKind.RECLAIMED, EventKind.CONNECTED)


def _values() -> Iterator[str]:
    yield from WHOLE
    yield from TEXTS
    yield from DEEP
    yield from HUGE
    yield from (f'"{number}"' for number in HUGE)


def _objects(fields: dict[str, str]) -> Iterator[str]:
    for at, name in enumerate(fields):
        for value in (*_values(), BULKY[at % len(BULKY)]):
            spoilt = {**fields, name: value}
            yield "{" + ",".join(f'"{key}":{text}' for key, text in spoilt.items()) + "}"


def _lists(fields: list[str]) -> Iterator[str]:
    for at in range(len(fields)):
        for value in (*_values(), BULKY[at % len(BULKY)]):
            yield "[" + ",".join([*fields[:at], value, *fields[at + 1 :]]) + "]"


def _answer(rows: str) -> bytes:
    return b'{"error":[],"result":{"XXBTZUSD":[%s],"last":"1783465140"}}' % rows.encode()


def lines() -> Iterator[tuple[str, bytes]]:  # noqa: C901 -- a loop for each source
    """Yield source and payload of hostile lines."""
    page, candles = rest_source(rest_api.trades(BTC), BTC.pair), rest_source(rest_api.ohlc(BTC, "1m"), BTC.pair)
    sources = ("ws:trade:1", "ws:odd:1", "ws:parked:1?BTC%2FUSD=5")
    for source in sources:
        for row in _objects(ROW):
            yield source, b'{"channel":"trade","type":"update","data":[%s]}' % row.encode()
    for row in _lists(PAGE):
        yield page, _answer(row)
        yield odd_source(rest_api.trades(BTC), BTC.pair), f'{{"ids":[[7,7]],"rows":[{row}]}}'.encode()
    for row in _lists(CANDLE):
        yield candles, _answer(",".join([row, *(row for row in (_running(),))]))
    for entry in _objects(ENTRY):
        yield "rest:/0/public/AssetPairs", b'{"error":[],"result":{"X":%s}}' % entry.encode()
    for kind in KINDS:
        for note in _objects(NOTE):
            if len(note) > 100_000 and kind != EventKind.VOID:
                continue
            yield "note", b'{"note":"%s",%s' % (kind.encode(), note[1:].encode())
    for text in (*DEEP, *BULKY):
        for source in ("note", page, candles, "ws:trade:1", "ws:status:1", "ws:unreadable:1", "who:knows"):
            yield source, text.encode()
    good = frame(1, 1)
    for source in ("ws:parked:1?BTC%2FUSD=" + "9" * 5_000, "ws:parked:x", "ws:trade:" + "9" * 10_000, "rest:[::#"):
        yield source, good
    for name in ("", "x" * 300, "%2F" * 100, "%00", "..", "%C3%A9" * 30):
        yield f"rest:/0/public/Trades?pair=X#{name}", _answer(",".join(PAGE).join("[]"))
        yield f"rest:/0/public/OHLC?pair=X&interval=1#{name}", _answer(",".join(CANDLE).join("[]") + "," + _running())
    stamps = [f"{year:04d}-01-01T00:00:00.000000Z" for year in range(2011, 2061)]
    rows = [{**ROW, "trade_id": str(1000 + at), "timestamp": f'"{stamp}"'} for at, stamp in enumerate(stamps)]
    texts = ["{" + ",".join(f'"{key}":{value}' for key, value in row.items()) + "}" for row in rows]
    yield "ws:trade:1", b'{"channel":"trade","type":"update","data":[%s]}' % ",".join(texts).encode()
    many = [f'["1.5","1",1783465205.1,"b","l","",{2 * one}]' for one in range(1, 20_000)]
    # Of pairs of their own: one that comes with other content under ids that are held is taken for renumbered.
    yield "rest:/0/public/Trades?pair=ETHUSD#ETH%2FUSD", _answer(",".join(many))


def _running() -> str:
    return "[1783465260" + "".join(',"1"' for _ in range(6)) + ",1]"


def written(data: Path) -> int:
    """Write a journal of such lines, each for itself sound; return how many, and leave it closed."""
    with _opened(data) as (journal, _):
        encoded = [_encoded(source, payload) for source, payload in lines()]
        journal.append([line for line in encoded if len(line) <= LINE])
        count = sum(len(line) <= LINE for line in encoded)
        journal.append([b'{"recv_ns":1,"source":"x","crc32":0,"more":' + b"[" * 100_000 + b"\n"])
        journal.append([b'{"recv_ns":%s,"source":"note","crc32":0,"payload":{}}\n' % (b"9" * 100)])
        streamed = frame(101, 110).replace(b"BTC/USD", b"LTC/USD")
        journal.append([segment.encode(1_783_465_206_000_000_000, "ws:trade:1", streamed, parsed=True)])
        journal.rotate(2)
    return count


def _encoded(source: str, payload: bytes) -> bytes:
    return segment.encode(1_783_465_206_000_000_000, source, payload)


@contextlib.contextmanager
def _opened(data: Path) -> Iterator[tuple[Journal, TradeArchive]]:
    layout, disk = Layout(data), Disk()
    create(layout, disk)
    with (
        locks.staging(layout, disk) as staging,
        contextlib.closing(Journal(data, disk, staging=staging, now_ns=1)) as journal,
    ):
        yield journal, TradeArchive(layout, disk, staging=staging)


def start(data: Path) -> int:
    """Start over what is there and drain it; return how many trades the archive holds then."""
    with _opened(data) as (journal, archive):
        rebuild(Ledger(), archive, journal, QuarantinedPairs(archive.layout))
        tables = SegmentTables(archive.layout, archive.disk, staging=archive.staging)
        drainer = Drainer(journal, archive, tables, keep_raw=False, latest_s=lambda: 1_783_465_300.0, metrics=Metrics())
        drainer.drain(*journal.closed())
        rebuild(Ledger(), archive, journal, QuarantinedPairs(archive.layout))
        return sum(archive.coverage.spans(pair).count() for pair in archive.layout.pairs())


def _main() -> None:
    data = Path(sys.argv[1])
    process_setup.prepare()  # as a recorder does: without its limit, each thread reserves address space of its own
    empty = data / "empty"
    start(empty)  # all that a start needs is loaded, and its threads were there
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MARGIN, in_use + MARGIN))
    peak_before = _peak()
    held = start(data / "hostile")
    sys.stdout.write(json.dumps({"held": held, "address_space": _peak() - peak_before}))


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmPeak:")[2].split()[0]) * 1024


if __name__ == "__main__":
    _main()
