"""Export one archive for every tool, load the files with the tool itself, and compare counts and values.

    python -m benchmarks.exports

The archive (``tests/exports/sample.py``) has two pairs, a hole, two dates, quotes, a book with a gap, trades without a
receive time, and one that was received before it was made. Each ``load_*.py`` runs with the packages of its tool alone
(``make engines`` installs them) and prints what it has read as JSON. What it must be is read by ``recorder.connect()``:
decimals digit for digit, or the nearest doubles. Ends with 1 if anything differs.

Here, and not among the tests, because it needs gigabytes of packages.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from typer.testing import CliRunner

from recorder.cli import app
from recorder.query.connect import Archive, connect
from tests.exports.sample import BEHIND_US, MIDNIGHT_US, PAIRS, build

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
LIMIT_S: Final = 120
MINUTE_US: Final = 60_000_000
ENVIRONMENTS: Final = {
    "freqtrade": "freqtrade",
    "hftbacktest": "hftbacktest",
    "tardis-csv": "hftbacktest",
    "nautilus": "nautilus",
}
"""The environment with the package that loads what is exported for a tool."""
NO_CHECKPOINTS: Final = """
    SELECT epoch_us(coalesce(time, received)) AS made, epoch_us(received) AS received, message, kind, side, price, qty
    FROM book
    WHERE pair = 'BTC/USD'
        AND (kind <> 'checkpoint' OR (session, message) = (
            SELECT (session, min(message)) FROM book
            WHERE kind = 'checkpoint' AND date = '2025-11-11' GROUP BY session
        ))
    ORDER BY session, message, position
"""
"""The rows of the book that a replay needs: one checkpoint is the first whole book of its date."""
STATE: Final = """
    SELECT side, price, qty FROM book_at('BTC/USD', (SELECT max(received) FROM book WHERE pair = 'BTC/USD'))
    ORDER BY side DESC, level
"""

Rows = list[list[Any]]


def python(environment: str) -> Path | None:
    found = ROOT / ".recipes" / environment / "bin" / "python"
    return found if (found.parents[1] / "installed").exists() else None


def exported(tool: str, data: Path, folder: Path) -> Path:
    """Export by the command line, as a user does."""
    path = folder / tool
    pairs = ["BTC/USD"] if tool == "hftbacktest" else ["BTC/USD", "ETH/*"]
    given = ["export", "--to", tool, *pairs, "-o", str(path), "--data", str(data), "--on-gap", "ignore"]
    if tool == "nautilus":
        given += ["--python", str(python("nautilus"))]
    done = CliRunner().invoke(app, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return path


def loaded(tool: str, *folders: Path) -> dict[str, Rows]:
    """Return what the tool's own package reads of these folders."""
    command = [str(python(ENVIRONMENTS[tool])), str(HERE / f"load_{tool}.py"), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2_000:])
    found: dict[str, Rows] = json.loads(done.stdout.splitlines()[-1])
    return found


def asked(archive: Archive, text: str, *, exact: bool = False) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = archive.sql(text, to="arrow", decimals=exact).to_pylist()
    return rows


def trades(archive: Archive, pair: str, *, exact: bool = False) -> list[dict[str, Any]]:
    columns = "epoch_us(time) AS made, epoch_us(received) AS received, trade_id, side, ord_type, price, qty"
    return asked(archive, f"SELECT {columns} FROM trades WHERE pair = '{pair}' ORDER BY trade_id", exact=exact)


def candles(archive: Archive, pair: str, *, exact: bool = False) -> list[dict[str, Any]]:
    text = f"SELECT *, epoch_us(time) AS at FROM candles('{pair}', '1m') ORDER BY time"
    return asked(archive, text, exact=exact)


def of_freqtrade(archive: Archive) -> dict[str, Rows]:
    right: dict[str, Rows] = {}
    for pair in PAIRS:
        right[f"{pair} candles 1m"] = [
            [row["at"] // 1_000, *(row[name] for name in ("open", "high", "low", "close", "volume"))]
            for row in candles(archive, pair)
        ]
        right[f"{pair} trades"] = [
            [
                row["made"] // 1_000,
                str(row["trade_id"]),
                row["ord_type"],
                row["side"],
                row["price"],
                row["qty"],
                row["price"] * row["qty"],
            ]
            for row in trades(archive, pair)
        ]
    return right


def of_nautilus(archive: Archive) -> dict[str, Rows]:
    digits = {"BTC/USD": (1, 8), "ETH/EUR": (2, 8)}
    right: dict[str, Rows] = {}
    for pair, (price, qty) in digits.items():

        def fixed(*values: Decimal, price: int = price, qty: int = qty) -> list[str]:
            """Write prices, and the last value, which is a quantity."""
            return [*(f"{value:.{price}f}" for value in values[:-1]), f"{values[-1]:.{qty}f}"]

        right[f"{pair} instrument"] = [["0.1" if price == 1 else "0.10", "0.00000001"]]
        right[f"{pair} trades"] = [
            [row["made"] * 1_000, str(row["trade_id"]), row["side"] == "buy", *fixed(row["price"], row["qty"])]
            for row in trades(archive, pair, exact=True)
        ]
        right[f"{pair} candles 1m"] = [
            [
                (row["at"] + MINUTE_US) * 1_000,
                *fixed(*(row[name] for name in ("open", "high", "low", "close", "volume"))),
            ]
            for row in candles(archive, pair, exact=True)
        ]
        quotes = f"SELECT *, epoch_us(time) AS made FROM quotes WHERE pair = '{pair}' ORDER BY session, message"
        right[f"{pair} quotes"] = [
            [row["made"] * 1_000, *fixed(row["bid"], row["bid_qty"]), *fixed(row["ask"], row["ask_qty"])]
            for row in asked(archive, quotes, exact=True)
        ]
        book = asked(archive, NO_CHECKPOINTS, exact=True) if pair == "BTC/USD" else []
        right[f"{pair} book"] = [
            [row["made"] * 1_000, row["side"] == "bid", *fixed(row["price"], row["qty"])] for row in book
        ]
        state = asked(archive, STATE, exact=True) if pair == "BTC/USD" else []
        right[f"{pair} state"] = [[row["side"], *fixed(row["price"], row["qty"])] for row in state]
    return right


def events(archive: Archive, shift_us: int, *, since_us: int = 0) -> Rows:
    """Return trades since a moment, and changes of the book, as hftbacktest's listener sees them."""
    found: Rows = []
    latest = 0
    for row in (row for row in trades(archive, "BTC/USD") if row["made"] >= since_us):
        latest = max(latest, row["made"] if row["received"] is None else row["received"] + shift_us)
        found.append([2, row["side"] == "buy", row["made"] * 1_000, latest * 1_000, row["price"], row["qty"]])
    for row in asked(archive, NO_CHECKPOINTS):
        local = (row["received"] + shift_us) * 1_000
        made = local if row["kind"] == "snapshot" else row["made"] * 1_000
        kind = 1 if row["kind"] in {"update", "evicted"} else 4
        found.append([kind, row["side"] == "bid", made, local, row["price"], row["qty"]])
    return found


def _shifted(local_ns: int) -> int:
    """Return by how much hftbacktest's converter shifts local times: each file alone, and only the first needs it."""
    return BEHIND_US * 1_000 if local_ns < MIDNIGHT_US * 1_000 else 0


def of_hftbacktest(archive: Archive) -> dict[str, Rows]:
    (begins,) = asked(archive, "SELECT epoch_us(min(first_received)) AS us FROM book_sessions WHERE pair = 'BTC/USD'")
    right = events(archive, BEHIND_US, since_us=begins["us"])
    state = [[row["side"], round(row["price"] * 10), row["qty"]] for row in asked(archive, STATE)]
    return {
        "local": sorted(right, key=lambda row: row[3]),
        "exchange": sorted(right, key=lambda row: row[2]),
        "trades": [[sum(row[0] == 2 for row in right)]],
        "state": state,
    }


def judge(tool: str, found: dict[str, Rows], right: dict[str, Rows]) -> bool:
    """Print whether what a tool has read is what was recorded, and return it."""
    good = True
    for name in sorted(right.keys() | found.keys()):
        given, expected = found.get(name), right.get(name)
        equal = given == expected
        good &= equal
        count = f"{len(expected or []):>5,} rows"
        print(f"{tool:<12} {name:<20} {count} {'equal' if equal else 'DIFFERENT'}")
        if not equal:
            print(f"  read {_first(given, expected)}, recorded {_first(expected, given)}")
    return good


def _first(rows: Rows | None, others: Rows | None) -> object:
    """Return the number of rows, and the first that is not the same among the others."""
    odd = next((row for row, other in zip(rows or [], others or [], strict=False) if row != other), None)
    return len(rows or []), odd


def main() -> int:
    good = True
    with tempfile.TemporaryDirectory() as name:
        data, folder = Path(name) / "data", Path(name)
        build(data)
        with connect(data) as archive:
            right = {
                "freqtrade": of_freqtrade(archive),
                "nautilus": of_nautilus(archive),
                "hftbacktest": of_hftbacktest(archive),
            }
            converted = sorted([*row[:3], row[3] + _shifted(row[3]), *row[4:]] for row in events(archive, 0))
        for tool, expected in right.items():
            if python(tool) is None:
                print(f"{tool:<12} not installed")
                continue
            try:
                paths = [exported(tool, data, folder)]
                if tool == "hftbacktest":
                    paths.append(exported("tardis-csv", data, folder))
                found = loaded(tool, *paths)
                if tool == "hftbacktest":
                    good &= judge("tardis-csv", {"events": sorted(found.pop("tardis"))}, {"events": converted})
                good &= judge(tool, found, expected)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"{tool:<12} FAILED: {error}")
                good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
