"""Ask every engine the same of one archive, and compare the answers as exact decimals.

    python -m benchmarks.engines

The archive has holes, void ids, promises, two years, listings that change, and products of 20 decimals. The questions:
totals of each pair, volume by day, missing ids, bars of one minute, and candles of all timeframes with vwap and
``complete``. The right answers are those of ``recorder.connect()``. Each ``ask_*.py`` runs with the packages of its
engine alone (``make engines`` installs them) and prints its answers as JSON. A trap of an engine that docs/engines.md
names comes with its remedies, each of which must give the right answer. Ends with 1 if anything differs.

Here, and not among the tests, because it needs gigabytes of packages and Java, and starts a virtual machine.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from recorder.core import evidence
from recorder.core.evidence import Promise, Void
from recorder.core.model import Event
from recorder.core.trade_ids import Span
from recorder.query import catalogue, engine_views
from recorder.query.connect import connect
from tests.archives import MINUTE_US, START, START_US, Written, trade, writing

Rows = list[tuple[Decimal | str | None, ...]]
HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
LIMIT_S: Final = 400
YEAR_US: Final = 80 * 24 * 60 * MINUTE_US
"""From START into the next year."""
RIGHT: Final = {
    "totals": "SELECT pair, count(*), min(trade_id), max(trade_id), sum(qty), sum(price * qty) FROM trades GROUP BY 1",
    "days": "SELECT pair, epoch_us(time) // 86400000000, sum(qty) FROM trades GROUP BY 1, 2",
    "missing": "SELECT pair, first_id, last_id FROM unknown_ids(footer_files()) WHERE before_id IS NOT NULL",
    "rows_missing": """
        SELECT pair, 1 + before, trade_id - 1
        FROM (
            SELECT pair, trade_id, lag(trade_id, 1, 0) OVER (PARTITION BY pair ORDER BY trade_id) AS before
            FROM trades
        )
        WHERE trade_id > 1 + before
    """,
    "pairs": "SELECT DISTINCT pair FROM trades",
    "products": "SELECT pair, sum(price * qty) FROM trades GROUP BY 1",
}
CANDLES: Final = """
SELECT pair, timeframe, epoch_us(time), open, high, low, close, vwap, volume, count, complete::INTEGER
FROM candles('{pair}', '{timeframe}')
"""
TIMEFRAMES: Final = ("1m", "5m", "15m", "30m", "1h", "4h", "12h", "1d", "1w", "15d")
PAIRS: Final = {"BTC/USD": 65_000, "1INCH/EUR": 1, "ETH/BTC": 0}


@dataclass(frozen=True)
class Asked:
    """An engine: the name of its environment and of its program, and the views it is given, if any."""

    name: str
    environment: str
    views: str | None = None
    needs: str | None = None


ENGINES: Final = (
    Asked("Polars", "polars", "polars"),
    Asked("DataFusion", "datafusion"),
    Asked("ClickHouse", "clickhouse", "clickhouse"),
    Asked("Spark", "spark", "spark", needs="java"),
    Asked("PyIceberg", "iceberg"),
)


def build(data: Path) -> None:
    with writing(data) as archive:
        archive.promises["BTC/USD"] = Promise(START_US - 5 * MINUTE_US, 40)
        archive.promises["ETH/BTC"] = Promise(START_US - 7 * MINUTE_US, 0)
        for number, (pair, whole) in enumerate(PAIRS.items()):
            fill(archive, pair, whole, first=(41, 7, 1)[number])
            archive.listed(pair, 1 + number)
            archive.listed(pair, 4 + number, START + timedelta(minutes=9))
        voids = [Void("BTC/USD", Span(200, 205)), Void("1INCH/EUR", Span(1, 6)), Void("ETH/BTC", Span(398, 401))]
        archive.noted(
            *(Event(START_US, evidence.kind(one), one.pair, json.dumps(evidence.detail(one))) for one in voids)
        )


def fill(archive: Written, pair: str, whole: int, first: int) -> None:
    """Archive 600 ids of a pair in several files, of which some are left out, and which are not in order of time."""
    drawn = random.Random(pair)
    missing = {*range(200, 206), *range(300, 303), 390, *range(398, 404)}
    rows = []
    for trade_id in range(first, first + 600):
        time_us = START_US + trade_id * 4_000_000 + drawn.randrange(9_000_000) + (YEAR_US if trade_id > 500 else 0)
        price = f"{whole}.{drawn.randrange(1, 10**12):012d}"
        # Of BTC/USD, price * qty of a few is 10^12 or more: their bars have no vwap.
        qty = f"{23_456_789 if trade_id % 97 == 0 else drawn.choice((0, 0, 3, 12_345))}.{drawn.randrange(1, 10**8):08d}"
        if trade_id not in missing:
            rows.append(trade(trade_id, time_us, price, qty, pair=pair))
    for start in range(0, len(rows), 150):
        archive.append(sorted(rows[start : start + 150], key=lambda row: row.trade_id))


def right(data: Path) -> dict[str, Rows]:
    """Return the answers of ``recorder.connect()``."""
    with connect(data) as archive:

        def ask(text: str) -> Rows:
            return exact(zip(*archive.sql(text, to="arrow", decimals=True).to_pydict().values(), strict=True))

        answers = {name: ask(text) for name, text in RIGHT.items()}
        texts = (CANDLES.format(pair=pair, timeframe=timeframe) for pair in PAIRS for timeframe in TIMEFRAMES)
        answers["candles"] = sorted((row for text in texts for row in ask(text)), key=str)
    answers["bars"] = sorted(
        ((*row[:1], *row[2:7], *row[8:10]) for row in answers["candles"] if row[1] == "1m"), key=str
    )
    return answers


def exact(rows: Iterable[Sequence[object]]) -> Rows:
    """Return rows in one order, their numbers without a scale."""
    return sorted((tuple(_exact(value) for value in row) for row in rows), key=str)


def _exact(value: object) -> Decimal | str | None:
    text = {"True": "1", "true": "1", "False": "0", "false": "0"}.get(str(value), str(value))
    if text in {"None", "\\N"}:
        return None
    try:
        # Not normalize(), which rounds to the digits of the context.
        return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)
    except InvalidOperation:
        return text


def ask(python: Path, asked: Asked, data: Path, views: Path) -> dict[str, Any]:
    command = [str(python), str(HERE / f"ask_{asked.environment}.py"), str(data), str(views)]
    done = subprocess.run(command, cwd=views.parent, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2_000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def judge(name: str, found: dict[str, Any], answers: dict[str, Rows]) -> bool:
    """Print what an engine answered, and return whether all is right."""
    verdicts = {}
    for question, rows in found.get("answers", {}).items():
        given, expected = exact(rows), answers[question]
        verdicts[question] = given == expected
        if given != expected:
            odd = sorted(set(given) ^ set(expected), key=str)[:4]
            print(f"  {name}: {question}: {len(given)} rows of {len(expected)}; only on one side: {odd}")
    told = " ".join(f"{question} {'equal' if equal else 'DIFFERENT'}" for question, equal in verdicts.items())
    print(f"{name:<11} {told}")
    for trap, tried in found.get("traps", {}).items():
        expected = answers[tried["of"]]
        print(f"  trap: {trap}: {'gone' if exact(tried['naive']) == expected else 'still there'}")
        for remedy, rows in tried["remedies"].items():
            verdicts[remedy] = exact(rows) == expected
            print(f"    {remedy}: {'right' if verdicts[remedy] else 'WRONG'}")
    for check, holds in found.get("checks", {}).items():
        verdicts[check] = holds
        print(f"  {check}: {'yes' if holds else 'NO'}")
    return all(verdicts.values())


def main() -> int:
    good = True
    with tempfile.TemporaryDirectory() as folder:
        data, views = Path(folder) / "data", Path(folder) / "views"
        build(data)
        answers = right(data)
        print(", ".join(f"{question}: {len(rows)} rows" for question, rows in answers.items()))
        views.write_text(catalogue.script(data))
        good &= judge("DuckDB", ask(Path(sys.executable), Asked("DuckDB", "duckdb"), data, views), answers)
        for one in ENGINES:
            python = ROOT / ".recipes" / one.environment / "bin" / "python"
            if not (python.parents[1] / "installed").exists() or (one.needs and not shutil.which(one.needs)):
                print(f"{one.name:<11} not installed{f' (it needs {one.needs})' if one.needs else ''}")
                continue
            if one.views is not None:
                views.write_text(engine_views.text(engine_views.Engine(one.views), data))
            try:
                good &= judge(one.name, ask(python, one, data, views), answers)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"{one.name:<11} FAILED: {error}")
                good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
