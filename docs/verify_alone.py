"""Certify each UTC day of each pair of an archive by docs/format.md alone: nothing of the recorder is imported.

`python verify_alone.py data` prints what `recorder verify --json` says under `certificates`, or ends with the file that
does not hold what its footer claims. It rests on one rule of the exchange: the trades of a pair are numbered 1, 2, 3, …
in the order in which they are made. All trades of a pair are in memory at once; times are in µs since 1970 UTC.
"""

import hashlib
import json
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

DAY_US = 86_400_000_000
END = sys.maxsize
VERSIONS = {1}
TELLING = {"void", "confirmed"}


def rows_of(path, columns):
    """Read a file, every page against its checksum; return what its footer says, and its rows."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        footer, table = json.loads(file.metadata.metadata[b"recorder"]), file.read(columns)
    if footer["schema"] not in VERSIONS:
        sys.exit(f"{path} is of version {footer['schema']}, which this program does not know")
    parts = [part.cast(pa.int64()) if pa.types.is_timestamp(part.type) else part for part in table.columns]
    return footer, list(zip(*(part.to_pylist() for part in parts), strict=True))


def trades_of(folder):
    """Return id → (time, price, quantity, side), of all files of a pair."""
    trades = {}
    for path in sorted(folder.glob("year=*/*.parquet")):
        footer, rows = rows_of(path, ["trade_id", "time", "price", "qty", "side"])
        inside = {row[0]: row[1:] for row in rows}
        if footer.get("spans", []) != runs_of(inside) or len(inside) != len(rows):
            sys.exit(f"{path} does not hold what its footer claims")
        trades |= inside
    return trades


def runs_of(trades):
    """Return the unbroken runs of ids, lowest first: first and last id, and when these two were made."""
    runs = []
    for trade_id in sorted(trades):
        time_us = trades[trade_id][0]
        if runs and trade_id == runs[-1][1] + 1:
            runs[-1][1::2] = trade_id, time_us
        else:
            runs.append([trade_id, trade_id, time_us, time_us])
    return runs


def told_of(data):
    """Return what events tell of ids: pair → kind → details."""
    told = defaultdict(lambda: defaultdict(list))
    for path in sorted(data.glob("events/year=*/*.parquet")):
        for kind, pair, detail in rows_of(path, ["kind", "pair", "detail"])[1]:
            if kind in TELLING:
                told[pair][kind].append(json.loads(detail))
    return told


def minus(first, last, spans):
    """Return the parts of first..last that lie in none of the spans."""
    parts = []
    for low, high in sorted(spans):
        if low > first and first <= last:
            parts.append((first, min(low - 1, last)))
        first = max(first, high + 1)
    return [*parts, (first, last)] if first <= last else parts


def counts_of(runs, told, begin, end):
    """Return day since 1970, of begin to end → how many ids may be of it: missing, void, or (if any) before, after."""
    counts = defaultdict(lambda: defaultdict(int))
    void = [(one["first_id"], one["last_id"]) for one in told["void"]]
    confirmed = [(one["last_id"], one["until_us"]) for one in told["confirmed"]]

    def add(kind, count, from_us, until_us):
        low, high = begin if from_us is None else from_us // DAY_US, end if until_us is None else until_us // DAY_US
        if from_us is not None and until_us is not None:
            low, high = sorted((low, high))  # times step back a little now and then
        for day in range(low, high + 1):
            counts[day][kind] += count

    # What a trade above was made before nobody can have confirmed to be without trades.
    earliest = list(accumulate((first_us for _, _, first_us, _ in reversed(runs)), min, initial=END))[::-1]
    below, below_us = 0, None
    for (first, last, first_us, last_us), earliest_us in zip([*runs, [END, END, None, None]], earliest, strict=True):
        kind = "after" if first_us is None else "before" if below_us is None else "missing"
        parts = minus(below + 1, first - 1, void)
        for low, high in minus(below + 1, first - 1, parts):
            add("void", high - low + 1, below_us, first_us)
        for low, high in parts:
            since = [us for last_id, us in confirmed if below <= last_id < low and us <= earliest_us]
            from_us = max([*since, *([] if below_us is None else [below_us])], default=None)
            add(kind, high - low + 1 if kind == "missing" else 1, from_us, first_us)
        below, below_us = last, last_us
    return counts


def certificates(pair, trades, told, today):
    """Yield what is proven of each day, from that of the first trade to today."""
    days, epoch = defaultdict(list), datetime(1970, 1, 1, tzinfo=UTC)
    for trade_id in sorted(trades):
        days[trades[trade_id][0] // DAY_US].append(trade_id)
    counts = counts_of(runs_of(trades), told, min(days), max(today, *days))
    for day in range(min(days), max(today, *days) + 1):
        count, rows = counts[day], [(trade_id, *trades[trade_id]) for trade_id in days.get(day, [])]
        why = [f"{count['missing']:,} missing"] if count["missing"] else []
        why += [said for kind, said in (("before", "begins inside"), ("after", "not confirmed")) if count[kind]]
        lines = (f"{one},{price.normalize():f},{qty.normalize():f},{side}\n" for one, _, price, qty, side in rows)
        times = [epoch + timedelta(microseconds=time_us) for _, time_us, *_ in rows]
        yield {
            "pair": pair,
            "day": f"{epoch + timedelta(days=day):%Y-%m-%d}",
            "status": "pending" if day >= today else "open" if why else "complete" if rows else "empty",
            "first_id": rows[0][0] if rows else None,
            "last_id": rows[-1][0] if rows else None,
            "rows": len(rows),
            "missing": count["missing"],
            "void": count["void"],
            "first_time": f"{min(times):%Y-%m-%dT%H:%M:%S.%fZ}" if rows else None,
            "last_time": f"{max(times):%Y-%m-%dT%H:%M:%S.%fZ}" if rows else None,
            "sha256": hashlib.sha256("".join(lines).encode()).hexdigest() if rows else None,
            "why": why,
        }


if __name__ == "__main__":
    archive, found = Path(sys.argv[1]), []
    events = told_of(archive)
    for home in sorted(archive.glob("trades/pair=*"), key=lambda path: unquote(path.name)):
        name, stored = unquote(home.name.removeprefix("pair=")), trades_of(home)
        found += certificates(name, stored, events[name], time.time_ns() // 1000 // DAY_US) if stored else []
    print(json.dumps({"certificates": found}, indent=1))
