"""Certify each UTC day of each pair of an archive by docs/format.md alone: nothing of the recorder is imported.

`python verify_alone.py data` prints what `recorder verify --json` says under `certificates`, resting on one rule of the
exchange: the trades of a pair are numbered 1, 2, 3, … as they are made. Times are in µs since 1970 UTC.
"""

import hashlib
import json
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from pyarrow import int64, parquet, types

DAY_US, DAY_2011, END, VERSIONS = 86_400_000_000, 14_975, sys.maxsize, {1, 2}
ABSENT, CLAIMS, IDS = ("void", "disowned"), ("disowned", "reclaimed"), ["first_id", "last_id"]
TOLD = {"void": IDS, **{kind: ["time_us", *IDS] for kind in CLAIMS}, "confirmed": ["last_id", "until_us"]}
TOLD |= {"promised": ["time_us"], "anchored": ["after_id", "assumed", "time_us"]}
WHY = {"missing": "{:,} missing", "before": "begins inside", "unjoined": "does not join the promise"}
WHY |= {"after": "not confirmed"}


def rows_of(path, columns):
    """Read a file, every page against its checksum; return what its footer says, and its rows."""
    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        footer, table = json.loads(file.metadata.metadata[b"recorder"]), file.read(columns)
    if footer["schema"] not in VERSIONS:
        sys.exit(f"{path} is of version {footer['schema']}, which this program does not know")
    parts = [part.cast(int64()) if types.is_timestamp(part.type) else part for part in table.columns]
    return footer, list(zip(*(part.to_pylist() for part in parts), strict=True))


def trades_of(folder, told):
    """Return id → (time, price, quantity, side), of all files of a pair; add what they promise of it."""
    trades = {}
    for path in sorted(folder.glob("year=*/*.parquet")):
        footer, rows = rows_of(path, ["trade_id", "time", "price", "qty", "side"])
        inside = {row[0]: row[1:] for row in rows}
        if footer.get("spans", []) != runs_of(inside) or len(inside) != len(rows):
            sys.exit(f"{path} does not hold what its footer claims")
        trades |= inside
        for kind in ("promised", "anchored") if "promise" in footer else ():
            told[kind].append([footer["promise"][key] for key in TOLD[kind]])
    return trades


def runs_of(trades):
    """Return the unbroken runs of ids, lowest first: first and last id, and when these two were made."""
    runs = []
    for trade_id, (time_us, *_) in sorted(trades.items()):
        if not runs or trade_id != runs[-1][1] + 1:
            runs.append([trade_id, trade_id, time_us, time_us])
        runs[-1][1::2] = trade_id, time_us
    return runs


def minus(first, last, spans):
    """Return the parts of first..last that lie in none of the spans."""
    parts = []
    for low, high in sorted([*map(tuple, spans), (last + 1, last)]):
        parts += [(first, min(low - 1, last))] * (first < low and first <= last)
        first = max(first, high + 1)
    return parts


def counts_of(runs, told, promise, calendar, known):
    """Return day since 1970, of the calendar → how many ids may be of it, by kind; whether any, of those in WHY."""
    counts, (promised_us, anchor) = defaultdict(lambda: defaultdict(int)), promise

    def add(kind, count, from_us, until_us, last_day=END):
        # An odd time bounds nothing, and others step back a little now and then.
        low, high = (us is not None and us // DAY_US in known and us // DAY_US for us in (from_us, until_us))
        low, high = sorted((low, high)) if low and high else (low or -END, high or END)
        for day in (one for one in calendar if low <= one <= min(high, last_day)):
            counts[day][kind] += count

    edges, (lowest, highest) = [*runs, [END, END, None, None]], (runs[0][0], runs[-1][1]) if runs else (END, 0)
    if anchor is not None and not any(first <= anchor < last for first, last, *_ in runs):
        edges.append([anchor + 1, anchor, promised_us, promised_us])  # it parts ids like a trade does
    held, below, below_us = 0, 0, None
    for first, last, first_us, last_us in sorted(edges, key=lambda edge: edge[:2]):
        history = anchor is not None and below < anchor
        inside = first <= highest and (below >= lowest or (anchor is not None and not history))
        kind = "missing" if inside else "before" if history or first <= highest else "after"
        refuted_us = min((run[2] for run in runs if run[0] > below), default=END)  # no trade came? one had by then
        for state in ABSENT:
            for low, high in minus(below + 1, first - 1, minus(below + 1, first - 1, told[state])):
                add(state, high - low + 1, below_us, first_us)
        for low, high in minus(below + 1, first - 1, told["void"] + told["disowned"]):
            known_us = [us for last_id, us in told["confirmed"] if held <= last_id < low and us <= refuted_us]
            from_us = max([*known_us, *([] if below_us is None else [below_us])], default=None)
            add(kind, high - low + 1 if inside else 1, from_us, first_us)
            if history:
                add("unjoined", 1, None, first_us, promised_us // DAY_US - 1)
        held, below, below_us = last if last >= first else held, last, last_us
    if promised_us is not None and anchor is None:
        add("unjoined", 1, None, None, promised_us // DAY_US - 1)
    return counts


def certificates(pair, trades, told, today):
    """Yield what is proven of each day, from that of the first trade or the promise to today."""
    days, epoch, runs, gone = defaultdict(list), datetime(1970, 1, 1), runs_of(trades), []  # noqa: DTZ001 -- all is UTC
    for trade_id, row in sorted(trades.items()):
        days[row[0] // DAY_US].append((trade_id, *row))
    from_us = min((one for (one,) in told["promised"]), default=None)
    anchors = (one[:2] for one in told["anchored"] if None not in one and one[2] <= (from_us or 0))
    after_id, assumed = min(anchors, default=(None, False))
    for _, again, *ids in sorted([us, kind == "reclaimed", *ids] for kind in CLAIMS for us, *ids in told[kind]):
        gone = [part for one in gone for part in minus(*one, [ids])] + [ids] * (not again)  # the latest claim counts
    told |= {"disowned": gone, "void": [part for ids in told["void"] for part in minus(*ids, gone)]}
    if from_us is None and runs and minus(1, runs[0][0] - 1, told["void"] + gone):
        from_us, after_id, assumed = runs[0][2], runs[0][0] - 1, True  # an older archive begins with its lowest trade
    seen = {*days, *([] if from_us is None else [from_us // DAY_US])}
    near = [day for day in seen if DAY_2011 <= day <= today + 366]  # odd times have days of their own, and none between
    calendar = sorted({*seen, *range(min(near, default=today), max([today, *near]) + 1)}) if seen else []
    counts = counts_of(runs, told, (from_us, after_id), calendar, range(DAY_2011, today + 367))
    for day in calendar:
        count, rows, promised = counts[day], days.get(day, []), from_us is not None and from_us // DAY_US == day
        lacking = ("missing", "unjoined", "after", *(["before"] if from_us is not None and after_id is None else []))
        proven = "partial" if promised and (after_id, assumed) != (0, True) else "complete" if rows else "empty"
        lines = (f"{one},{price.normalize():f},{qty.normalize():f},{side}\n" for one, _, price, qty, side in rows)
        ids, times = ([row[column] for row in rows] or [None] for column in (0, 1))
        moments = [min(times), max(times), from_us if promised else None]
        spelled = [us if us is None else (epoch + timedelta(0, 0, us)).isoformat("T", "microseconds") for us in moments]
        status = "pending" if day >= today else "open" if any(count[kind] for kind in lacking) else proven
        found = {"pair": pair, "day": str((epoch + timedelta(days=day)).date()), "status": status, "rows": len(rows)}
        found |= {"first_id": ids[0], "last_id": ids[-1], **{state: count[state] for state in ("missing", *ABSENT)}}
        found |= zip(("first_time", "last_time", "promised"), (us and f"{us}Z" for us in spelled), strict=True)
        found["sha256"] = hashlib.sha256("".join(lines).encode()).hexdigest() if rows else None
        yield found | {"why": [said.format(count[kind]) for kind, said in WHY.items() if count[kind]]}


if __name__ == "__main__":
    archive, found, stored, events = Path(sys.argv[1]), [], {}, defaultdict(lambda: defaultdict(list))
    for path in sorted(archive.glob("events/year=*/*.parquet")):
        for kind, pair, detail in rows_of(path, ["kind", "pair", "detail"])[1]:
            if kind in TOLD:
                events[pair][kind].append([json.loads(detail)[key] for key in TOLD[kind]])
    for home in archive.glob("trades/pair=*"):
        stored[pair] = trades_of(home, events[pair := unquote(home.name.removeprefix("pair="))])
    for pair in sorted({*events, *stored}):
        found += certificates(pair, stored.get(pair, {}), events[pair], int(datetime.now(UTC).timestamp()) // 86_400)
    print(json.dumps({"certificates": found}, indent=1))
