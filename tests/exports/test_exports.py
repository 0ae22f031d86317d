"""The layouts, written from one small archive, and docs/exports.md, run on it.

``make engines`` loads the same files with the tools themselves.
"""

from __future__ import annotations

import csv
import doctest
import gzip
import hashlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather
from typer.testing import CliRunner

from recorder.cli import app
from recorder.core.model import BookKind
from recorder.errors import DiskError, GapError, UnsoundFile, UsageError
from recorder.exports import nautilus, request
from recorder.exports import rows as reading
from recorder.exports.export import SIDECAR, export
from recorder.exports.freqtrade import Freqtrade
from recorder.exports.hftbacktest import Hftbacktest
from recorder.exports.nautilus import Nautilus
from recorder.exports.request import Kind, Request, Target, file_names
from recorder.exports.tardis_csv import TardisCsv
from recorder.query.connect import Archive, connect
from tests.archives import START_US, at_us, book_row, minute, quote, trade, writing
from tests.end_to_end.harness import REPOSITORY
from tests.exports.sample import BEHIND_US, HOLE, LATENCY_US, MIDNIGHT, MIDNIGHT_US, PAIRS, build

DOCUMENT: Final = (REPOSITORY / "docs" / "exports.md").read_text()
NAMES: Final = re.compile(r"`((?:BTC_?USD|kraken_)[^`]+\.(?:feather|npz|csv\.gz))`")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exports") / "data"
    build(path)
    return path


@pytest.fixture(scope="module")
def archive(data: Path) -> Iterator[Archive]:
    with connect(data, frozen=True) as opened:
        yield opened


def written(
    archive: Archive, data: Path, target: Target, folder: Path, *, pairs: tuple[str, ...] = PAIRS, **how: Any
) -> dict[str, Any]:
    """Export, and return the sidecar."""
    export(archive, data, target, Request(pairs, **{"on_gap": "ignore"} | how), folder)
    told: dict[str, Any] = json.loads((folder / SIDECAR).read_text())
    assert not list(folder.parent.glob("*.part"))
    for file in told["files"]:
        content = (folder / file["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
    return told


def series(told: dict[str, Any], pair: str, kind: str) -> dict[str, Any]:
    (found,) = (one for one in told["series"] if (one["pair"], one["kind"]) == (pair, kind))
    return dict(found)


def test_freqtrade_gets_feather_files_with_doubles_and_the_sidecar_says_so(
    archive: Archive, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BATCH", 100)
    early = (MIDNIGHT - timedelta(hours=1)).isoformat()
    told = written(archive, data, Freqtrade(), tmp_path / "f", timeframes=("1m", "5m"), start=early)
    names = [f"{pair}-{what}.feather" for pair in ("BTC_USD", "ETH_EUR") for what in ("1m", "5m", "trades")]
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == [*names, SIDECAR]
    candles = feather.read_table(tmp_path / "f" / "BTC_USD-1m.feather")
    assert candles.schema.field("date").type == pa.timestamp("ms", "UTC")
    built = archive.candles("BTC/USD", "1m", on_gap="ignore")
    assert candles["date"][0].as_py() == MIDNIGHT - timedelta(minutes=2), "the bar of the first trade"
    assert candles["close"].to_pylist() == built["close"].tolist()
    assert candles["volume"].to_pylist() == built["volume"].tolist()
    trades = feather.read_table(tmp_path / "f" / "BTC_USD-trades.feather")
    assert trades.column_names == ["timestamp", "id", "type", "side", "price", "amount", "cost"]
    recorded = archive.trades("BTC/USD", on_gap="ignore")
    assert trades["id"].to_pylist() == recorded["trade_id"].astype(str).tolist()
    assert trades["price"].to_pylist() == recorded["price"].tolist()
    assert "rounded to the nearest doubles" in told["values"]
    of_trades = series(told, "BTC/USD", "trades")
    assert (of_trades["rows"], of_trades["missing"], of_trades["complete"]) == (396, len(HOLE), False)
    assert series(told, "ETH/EUR", "trades")["complete"]


def test_files_as_of_tardis_are_exact_and_each_has_one_day_of_local_time(
    archive: Archive, data: Path, tmp_path: Path
) -> None:
    told = written(archive, data, TardisCsv(), tmp_path / "t")
    names = {file["name"] for file in told["files"]}
    assert names >= {f"kraken_{kind}_2025-11-1{day}_BTC-USD.csv.gz" for kind in ("trades", "quotes") for day in (0, 1)}

    def read(name: str) -> list[dict[str, str]]:
        with gzip.open(tmp_path / "t" / name, "rt") as file:
            return list(csv.DictReader(file))

    before = read("kraken_trades_2025-11-10_BTC-USD.csv.gz")
    assert max(int(row["local_timestamp"]) for row in before) < MIDNIGHT_US
    after = read("kraken_trades_2025-11-11_BTC-USD.csv.gz")
    assert min(int(row["local_timestamp"]) for row in after) >= MIDNIGHT_US
    recorded = archive.trades("BTC/USD", on_gap="ignore", to="arrow", decimals=True)
    found = [*before, *after]
    assert [Decimal(row["price"]) for row in found] == recorded["price"].to_pylist()
    assert [Decimal(row["amount"]) for row in found] == recorded["qty"].to_pylist()
    assert found[0]["amount"] == "0.00000001"
    assert list(found[0]) == ["exchange", "symbol", "timestamp", "local_timestamp", "id", "side", "price", "amount"]
    book = read("kraken_incremental_book_L2_2025-11-11_BTC-USD.csv.gz")
    wholes = [row for row in book if row["is_snapshot"] == "true"]
    assert len(wholes) == 40, "the first of this date, and that after the gap"
    assert {row["amount"] for row in book} >= {"0", "2.25"}
    assert series(told, "BTC/USD", "book")["unknown"] == [
        ["2025-11-11T00:00:39.000000Z", "2025-11-11T00:01:10.000000Z"]
    ]
    assert read("kraken_quotes_2025-11-10_BTC-USD.csv.gz")[0]["bid_amount"] == "1.25"


def test_no_event_of_hftbacktest_is_received_before_it_was_made_and_the_shift_is_reported(
    archive: Archive, data: Path, tmp_path: Path
) -> None:
    first_us = MIDNIGHT_US - 60_000_000
    told = written(archive, data, Hftbacktest(), tmp_path / "h", pairs=("BTC/USD",))
    assert [file["name"] for file in told["files"]] == ["BTCUSD_20251110.npz", "BTCUSD_20251111.npz"]
    days = [np.load(tmp_path / "h" / file["name"])["data"] for file in told["files"]]
    events = np.concatenate(days)
    assert events.dtype.itemsize == 64
    trades = events[(events["ev"] & 0xFF == 2) & (events["ev"] & 1 << 30 != 0)]
    assert trades["exch_ts"].min() >= first_us * 1_000, "trades before there is a book are of no use"
    assert series(told, "BTC/USD", "trades")["receive_times_shifted_us"] == BEHIND_US
    latency = events["local_ts"] - events["exch_ts"]
    assert latency.min() == 0
    assert latency.max() == (LATENCY_US + 2_000 + BEHIND_US) * 1_000, "nothing is cut off"
    assert (events["ev"] & (1 << 30 | 0xFF) == 1 << 30 | 3).sum() == 3, "one before each whole book"


def test_a_hole_ends_an_export_before_it_begins_unless_told_otherwise(
    archive: Archive, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(GapError, match=r"BTC/USD lacks 4 \(ids 150 to 153"):
        written(archive, data, Freqtrade(), tmp_path / "f", on_gap="raise")
    with pytest.raises(GapError, match="not all of the book in this range was recorded"):
        written(archive, data, TardisCsv(), tmp_path / "f", on_gap="raise", kinds=(Kind.BOOK,))
    with pytest.warns(UserWarning, match="not all of the book"):
        written(archive, data, TardisCsv(), tmp_path / "w", on_gap="warn", kinds=(Kind.BOOK,))
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    whole = written(
        archive, data, TardisCsv(), tmp_path / "f", on_gap="raise", kinds=(Kind.BOOK,), stop=MIDNIGHT.isoformat(),
        start="2025-11-10T23:59:00Z",
    )  # fmt: skip
    assert series(whole, "BTC/USD", "book")["complete"]


def test_a_damaged_book_is_not_exported(tmp_path: Path) -> None:
    build(tmp_path / "data", 20)
    (path,) = (tmp_path / "data" / "book").glob("pair=BTC*/date=2025-11-10/*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with connect(tmp_path / "data", frozen=True) as archive:
        with pytest.raises(UnsoundFile, match="SHA-256"):
            written(archive, tmp_path / "data", TardisCsv(), tmp_path / "x", kinds=(Kind.BOOK,))
        later = written(archive, tmp_path / "data", TardisCsv(), tmp_path / "y", kinds=(Kind.BOOK,), start="2025-11-11")
    assert series(later, "BTC/USD", "book")["rows"], "of dates outside the range no file is compared"


def test_a_message_that_is_missing_before_the_range_does_not_end_an_export(tmp_path: Path) -> None:
    with writing(tmp_path / "data") as archive:
        archive.append([trade(1)])
        kinds: dict[int, BookKind] = {0: "snapshot", 1: "update", 3: "checkpoint", 4: "update"}
        rows = [book_row(START_US, message, at_us(message), kind=kind) for message, kind in kinds.items()]
        archive.booked(rows)
    with connect(tmp_path / "data", frozen=True) as opened:
        how: dict[str, Any] = {"pairs": ("BTC/USD",), "kinds": (Kind.BOOK,), "on_gap": "raise"}
        with pytest.raises(GapError, match="messages that are not stored: 1"):
            written(opened, tmp_path / "data", TardisCsv(), tmp_path / "x", **how)
        later = written(opened, tmp_path / "data", TardisCsv(), tmp_path / "y", start=minute(3).isoformat(), **how)
    assert series(later, "BTC/USD", "book")["complete"]


def test_of_sessions_that_overlap_one_is_exported_at_a_time(tmp_path: Path) -> None:
    """As two recorders leave them in a merged archive; the second one's book goes on at its checkpoint."""
    second_us = 1_000_000
    with writing(tmp_path / "data") as archive:
        archive.append([trade(1)])
        for first_s, count in ((0, 10), (5, 12)):
            begins_us = START_US + first_s * second_us
            times = [begins_us + number * second_us + first_s for number in range(count)]
            archive.quoted([quote(begins_us, number, at_us) for number, at_us in enumerate(times)])
            kinds: dict[int, BookKind] = {0: "snapshot", 8: "checkpoint"}
            archive.booked(
                [
                    book_row(begins_us, number, at_us, str(100 + number), kind=kinds.get(number, "update"))
                    for number, at_us in enumerate(times)
                ]
            )
    with connect(tmp_path / "data") as opened:
        told = written(opened, tmp_path / "data", TardisCsv(), tmp_path / "t", pairs=("BTC/USD",))
    quotes, book = (series(told, "BTC/USD", kind) for kind in ("quotes", "book"))
    assert (quotes["rows"], quotes["rows_of_overlapping_sessions"]) == (10 + 12 - 4, 4)
    # The first one's checkpoint repeats what is known.
    assert (book["rows"], book["rows_of_overlapping_sessions"]) == (9 + 4, 4)
    assert not {"receive_times_raised"} & (quotes.keys() | book.keys())


def test_what_cannot_be_exported_is_refused_in_one_sentence(archive: Archive, data: Path, tmp_path: Path) -> None:
    def refused(sentence: str, target: Target, folder: Path = tmp_path / "x", **how: Any) -> None:
        with pytest.raises(UsageError, match=sentence):
            written(archive, data, target, folder, **how)
        assert not list(tmp_path.iterdir())

    refused("freqtrade takes candles, trades, not book", Freqtrade(), kinds=(Kind.BOOK,))
    refused("no book of 'ETH/EUR'; it holds BTC/USD", TardisCsv(), kinds=(Kind.BOOK,), pairs=("ETH/EUR",))
    refused("no rows of BTC/USD, ETH/EUR in this range", Freqtrade(), start="2030-01-01")
    refused("lies in the archive", Freqtrade(), folder=data / "trades" / "x")
    refused("needs the book of ETH/EUR", Hftbacktest())
    refused("no 1w bars like ours", Nautilus(), timeframes=("1w",))
    refused("cannot be run", Nautilus(tmp_path / "python"))
    refused("has no nautilus_trader: make an environment", Nautilus(Path(sys.executable)))
    with pytest.raises(UsageError, match="the same name, A_B_USD"):
        file_names(("A.B/USD", "A_B/USD"), "/.", "_")


def test_a_folder_that_is_there_or_being_written_is_left_as_it_is(archive: Archive, data: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    written(archive, data, Freqtrade(), tmp_path / "x", kinds=(Kind.TRADES,))
    with pytest.raises(UsageError, match="is there already"):
        written(archive, data, Freqtrade(), tmp_path / "x")
    shutil.rmtree(tmp_path / "x")
    (tmp_path / "x.part").mkdir()
    with pytest.raises(UsageError, match="one that died did; remove it"):
        written(archive, data, Freqtrade(), tmp_path / "x")
    assert (tmp_path / "x.part").exists()


@pytest.mark.parametrize("module", [request, nautilus], ids=lambda module: module.__name__)
def test_examples_in_docstrings_are_right(module: ModuleType) -> None:
    results = doctest.testmod(module)
    assert (results.attempted > 0, results.failed) == (True, 0)


def test_each_command_of_the_document_writes_files_of_the_names_that_it_gives(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    block = re.search(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block is not None
    files: set[str] = set()
    for line in block[1].splitlines():
        given = [*shlex.split(line)[1:], "--on-gap", "ignore", "--data", str(data)]
        if "nautilus" in given:
            result = CliRunner().invoke(app, given)
            assert "cannot be run" in str(result.exception), "its package is not here"
            continue
        result = CliRunner().invoke(app, given, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        told = json.loads((tmp_path / given[given.index("-o") + 1] / SIDECAR).read_text())
        files |= {file["name"] for file in told["files"]}
    named = set(NAMES.findall(DOCUMENT))
    assert len(named) == 4
    assert named <= files


def test_a_failure_in_the_middle_leaves_nothing(
    archive: Archive, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, pair: str, *, exact: bool) -> Iterator[pa.Table]:
        yield archive.trades(pair, on_gap="ignore", to="arrow", decimals=exact)
        raise DiskError("no space left")

    monkeypatch.setattr(reading.Rows, "trades", full)
    for target in (Freqtrade(), TardisCsv(), Hftbacktest()):
        with pytest.raises(DiskError):
            written(archive, data, target, tmp_path / "x", pairs=("BTC/USD",))
        assert not list(tmp_path.iterdir())
