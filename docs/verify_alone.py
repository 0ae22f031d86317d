"""Print the certificates of `recorder verify --json` by docs/format.md alone: nothing of the recorder is imported."""

import hashlib
import json
import sys
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from pyarrow import int64, parquet, types

DAY_US, DAY_1970, DAY_2011, END, VERSIONS = 86_400_000_000, 719_163, 14_975, sys.maxsize, {1, 2}
ABSENT, CLAIMS, IDS = ("void", "disowned", "unreadable"), ("disowned", "reclaimed"), ["first_id", "last_id"]
DATED = {"renumbered": ["time_us", "from_us"], "numbering_settled": ["time_us", "anew"]}
DATED |= {kind: ["time_us", *IDS] for kind in CLAIMS}
TOLD = {"void": IDS, "unreadable": IDS, "confirmed": ["last_id", "until_us"], "promised": ["time_us"], **DATED}
TOLD |= {"anchored": ["after_id", "assumed", "time_us"], "certified": ["day", "revision", "rows", *IDS, "sha256"]}
WHY = {"missing": "{:,} missing", "unreadable": "{:,} unreadable", "before": "begins inside"}
WHY |= {"unjoined": "does not join the promise", "after": "not confirmed"}
WHY |= {"unlike": "certified with {1:,} rows, ids {2} to {3}, SHA-256 {4:.16}"}


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
            told[kind].append([*(footer["promise"][key] for key in TOLD[kind]), END])
    return trades


def runs_of(trades):
    """Return the unbroken runs of ids, lowest first: first and last id, and when these two were made."""
    firsts, lasts = ([one for one in sorted(trades) if one + step not in trades] for step in (-1, 1))
    return [[low, high, trades[low][0], trades[high][0]] for low, high in zip(firsts, lasts, strict=True)]


def minus(first, last, spans):
    """Return the parts of first..last that lie in none of the spans."""
    parts = []
    for low, high in sorted([*map(tuple, spans), (last + 1, last)]):
        parts += [(first, min(low - 1, last))] * (first < low and first <= last)
        first = max(first, high + 1)
    return parts


def counts_of(runs, told, promise, calendar, known):
    """Return day since 1970, of the calendar → how many ids may be of it, by kind; whether any, of those in WHY."""
    counts, (promised_us, anchor), held, below, below_us = defaultdict(lambda: defaultdict(int)), promise, 0, 0, None

    def add(kind, count, from_us, until_us, last_day=END):  # an odd time bounds nothing, and others may step back
        low, high = (us is not None and us // DAY_US in known and us // DAY_US for us in (from_us, until_us))
        low, high = sorted((low, high)) if low and high else (low or -END, high or END)
        for day in (one for one in calendar if low <= one <= min(high, last_day)):
            counts[day][kind] += count

    edges, (lowest, highest) = [*runs, [END, END, None, None]], (runs[0][0], runs[-1][1]) if runs else (END, 0)
    if anchor is not None and not any(first <= anchor < last for first, last, *_ in runs):
        edges.append([anchor + 1, anchor, promised_us, promised_us])  # it parts ids like a trade does
    for first, last, first_us, last_us in sorted(edges, key=lambda edge: edge[:2]):
        history = anchor is not None and below < anchor
        inside = first <= highest and (below >= lowest or (anchor is not None and not history))
        kind = "missing" if inside else "before" if history or first <= highest else "after"
        refuted_us = min((run[2] for run in runs if run[0] > below), default=END)  # no trade came? one had by then
        unheld, exist = (below + 1, first - 1), [] if inside else told["exist"]
        for state in ABSENT:
            for low, high in minus(*unheld, minus(*unheld, told[state])):
                add(state, high - low + 1, below_us, first_us)
        for name, but in ((kind, exist), ("missing", minus(*unheld, exist))):
            for low, high in minus(*unheld, [ids for state in ABSENT for ids in told[state]] + but):
                known_us = [us for last_id, us in told["confirmed"] if held <= last_id < low and us <= refuted_us]
                from_us = max(filter(None, [*known_us, below_us]), default=None)
                add(name, high - low + 1 if name == "missing" else 1, from_us, first_us)
                add("unjoined", int(history), None, first_us, (promised_us or 0) // DAY_US - 1)
        held, below, below_us = last if last >= first else held, last, last_us
    add("unjoined", int(promised_us is not None and anchor is None), None, None, (promised_us or 0) // DAY_US - 1)
    return counts


def certificates(pair, trades, told, today):
    """Yield what is proven of each day, from that of the first trade or the promise to today."""
    days, epoch, runs, gone = defaultdict(list), datetime(1970, 1, 1), runs_of(trades), []  # noqa: DTZ001 -- all is UTC
    for trade_id, row in sorted(trades.items()):
        days[row[0] // DAY_US].append((trade_id, *row))
    begun = max((us for us, anew, _ in told["numbering_settled"] if anew), default=-END)  # what was before is no more
    told = {kind: [one[:-1] for one in told[kind] if one[-(kind not in DATED)] > begun] for kind in TOLD}
    settled_us = max((us for us, _ in told["numbering_settled"]), default=begun)
    unknown_us = min(([us, one] for us, one in told["renumbered"] if us > settled_us), default=(0, END * DAY_US))[1]
    from_us = min((one for (one,) in told["promised"]), default=None)
    anchors = (one[:2] for one in told["anchored"] if None not in one and one[2] <= (from_us or 0))
    after_id, assumed = min(anchors, default=(None, False))
    for _, again, *ids in sorted([us, kind == "reclaimed", *ids] for kind in CLAIMS for us, *ids in told[kind]):
        gone = [part for one in gone for part in minus(*one, [ids])] + [ids] * (not again)  # the latest claim counts
    told |= {"disowned": gone, "exist": [one[3:5] for one in told["certified"]]}
    for state, beaten_by in (("unreadable", gone), ("void", gone + told["unreadable"])):
        told[state] = [part for ids in told[state] for part in minus(*ids, beaten_by)]
    before = {date.fromisoformat(one[0]).toordinal() - DAY_1970: one[2:] for one in sorted(told["certified"])}
    if from_us is None and runs and minus(1, runs[0][0] - 1, [ids for one in ("exist", *ABSENT) for ids in told[one]]):
        from_us, after_id, assumed = runs[0][2], runs[0][0] - 1, True  # an older archive begins with its lowest trade
    seen = {*days, *before, *([] if from_us is None else [from_us // DAY_US])}
    near = [day for day in seen if DAY_2011 <= day <= today + 366]  # odd times have days of their own, and none between
    calendar = sorted({*seen, *range(min(near, default=today), max([today, *near]) + 1)}) if seen else []
    counts = counts_of(runs, told, (from_us, after_id), calendar, range(DAY_2011, today + 367))
    for day in calendar:
        counted, rows, promised = counts[day], days.get(day, []), from_us is not None and from_us // DAY_US == day
        lines = (f"{one},{price.normalize():f},{qty.normalize():f},{side}\n" for one, _, price, qty, side in rows)
        ids, times = ([row[column] for row in rows] or [None] for column in (0, 1))
        moments = (min(times), max(times), from_us if promised else None)
        spelled = [us if us is None else (epoch + timedelta(0, 0, us)).isoformat("T", "microseconds") for us in moments]
        was, now = before.get(day), [len(rows), ids[0], ids[-1], hashlib.sha256("".join(lines).encode()).hexdigest()]
        let_go = sum(max(0, min(high, was[2]) - max(low, was[1]) + 1) for low, high in gone) if was else 0
        counted["unlike"] = bool(was and (now[0] < was[0] - let_go or (now[0] == was[0] and now != was)))
        lacking = [] if was else ["unjoined", "after", *["before"] * (from_us is not None and after_id is None)]
        proven = "partial" if promised and (after_id, assumed) != (0, True) else "complete" if rows or was else "empty"
        proven = "open" if any(counted[kind] for kind in ["missing", "unreadable", "unlike", *lacking]) else proven
        status = "unknown" if day >= unknown_us // DAY_US else "pending" if day >= today else proven
        found = {"pair": pair, "day": str((epoch + timedelta(days=day)).date()), "status": status, "rows": len(rows)}
        found |= {"first_id": ids[0], "last_id": ids[-1], "sha256": now[3] if rows else None}
        found |= {state: counted[state] for state in ("missing", *ABSENT)}
        found |= zip(("first_time", "last_time", "promised"), (us and f"{us}Z" for us in spelled), strict=True)
        yield found | {"why": [said.format(counted[kind], *was or ()) for kind, said in WHY.items() if counted[kind]]}


if __name__ == "__main__":
    archive, found, stored, events = Path(sys.argv[1]), [], {}, defaultdict(lambda: defaultdict(list))
    for path in sorted(archive.glob("events/year=*/*.parquet")):
        for time_us, kind, pair, detail in rows_of(path, ["time", "kind", "pair", "detail"])[1]:
            events[pair][kind].append([*(json.loads(detail)[key] for key in TOLD.get(kind, ())), time_us])
    for home in archive.glob("trades/pair=*"):
        stored[pair] = trades_of(home, events[pair := unquote(home.name.removeprefix("pair="))])
    for pair in sorted({*events, *stored} - {None}):
        found += certificates(pair, stored.get(pair, {}), events[pair], int(datetime.now(UTC).timestamp()) // 86_400)
    print(json.dumps({"certificates": found}, indent=1))
