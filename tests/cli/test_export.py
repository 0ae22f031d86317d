from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from recorder.cli import export as module
from recorder.cli.export import export
from recorder.errors import GapError, NoSuchArchive, UsageError
from recorder.query.connect import connect
from tests.archives import START, Written, trade, trades, writing

app = typer.Typer()
app.command()(export)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Written]:
    with writing(tmp_path / "data") as written:
        yield written


def run(archive: Written, path: Path, *options: str, pair: str = "BTC/USD") -> Result:
    given = [pair, "-o", str(path), "--data", str(archive.data), *options]
    return CliRunner().invoke(app, given, catch_exceptions=False)


@pytest.mark.parametrize("batch", [1, 3, 250_000])
@pytest.mark.parametrize("name", ["parquet", "csv", "arrow"])
def test_an_export_is_all_trades_in_order_and_exact(
    archive: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, batch: int
) -> None:
    monkeypatch.setattr(module, "BATCH", batch)
    first = msgspec.structs.replace(
        trade(1, 1_762_795_433_971_744, "0.0000000001", "383320500.12345678"),
        received_us=1_762_795_434_000_001,
        misc='"',
    )
    archive.append([first, *trades(2, 9)])
    archive.append(trades(10, 20))
    path = tmp_path / f"x.{name}"
    result = run(archive, path)
    assert result.stderr == f"{path}: 20 trades of BTC/USD\n"
    if name == "csv":
        heading, row, *others = csv.reader(path.read_text().splitlines())
        assert heading[:5] == ["pair", "trade_id", "time", "price", "qty"]
        assert row == [
            "BTC/USD", "1", "2025-11-10T17:23:53.971744Z", "0.0000000001", "383320500.12345678", "buy", "limit", '"',
            "rest", "2025-11-10T17:23:54.000001Z",
        ]  # fmt: skip
        assert [int(other[1]) for other in others] == list(range(2, 21))
        assert others[0][3:] == ["100", "1", "buy", "limit", "", "rest", ""]
        return
    found = pq.read_table(path) if name == "parquet" else pa.ipc.open_file(path).read_all()
    with connect(archive.data) as opened:
        assert found.equals(opened.sql("FROM trades ORDER BY trade_id", to="arrow", decimals=True))
    assert found["price"][0].as_py() == Decimal("0.0000000001")


def test_an_export_has_the_range_asked_for(archive: Written, tmp_path: Path) -> None:
    archive.append([*trades(1, 30), *trades(1, 9, pair="BTC/USDT")])
    start, stop = ((START + timedelta(seconds=n)).isoformat() for n in (5, 9))
    run(archive, tmp_path / "x.parquet", "--from", start, "--to", stop)
    assert pq.read_table(tmp_path / "x.parquet")["trade_id"].to_pylist() == [5, 6, 7, 8]
    run(archive, tmp_path / "none.parquet", "--from", "2030-01-01")
    empty = pq.read_table(tmp_path / "none.parquet")
    assert (empty.num_rows, empty.num_columns) == (0, 10)
    run(archive, tmp_path / "none.csv", "--from", "2030-01-01")
    assert len((tmp_path / "none.csv").read_text().splitlines()) == 1


def test_a_hole_inside_is_an_error_that_names_it_unless_told_otherwise(archive: Written, tmp_path: Path) -> None:
    archive.append([*trades(1, 5), *trades(8, 9)])
    path = tmp_path / "x.csv"
    with pytest.raises(GapError, match=r"ids 6 to 7 .* or give --on-gap warn or ignore") as caught:
        run(archive, path)
    assert caught.value.exit_code == 1
    assert list(tmp_path.glob("x*")) == []
    assert "ids 6 to 7" in run(archive, path, "--on-gap", "warn").stderr
    assert len(path.read_text().splitlines()) == 8
    assert "ids" not in run(archive, tmp_path / "y.csv", "--on-gap", "ignore").stderr
    outside = (START + timedelta(seconds=8.5)).isoformat()
    assert run(archive, tmp_path / "z.csv", "--from", outside).exit_code == 0


def test_all_of_an_export_is_of_one_moment(archive: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.append(trades(1, 6))
    archive.append(trades(7, 10))
    monkeypatch.setattr(module, "BATCH", 4)
    pieces = module._pieces

    def meanwhile(*given: Any, **options: Any) -> Iterator[pa.Table]:
        for piece in pieces(*given, **options):
            yield piece
            if piece["trade_id"][0].as_py() == 1:
                archive.append(trades(11, 12))
                archive.compact()

    monkeypatch.setattr(module, "_pieces", meanwhile)
    run(archive, tmp_path / "x.parquet")
    assert pq.read_table(tmp_path / "x.parquet")["trade_id"].to_pylist() == list(range(1, 11))
    run(archive, tmp_path / "y.parquet")
    assert pq.read_table(tmp_path / "y.parquet").num_rows == 12


def test_no_more_than_a_batch_is_in_memory(archive: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.append(trades(1, 100))
    monkeypatch.setattr(module, "BATCH", 7)
    run(archive, tmp_path / "x.parquet")
    written = pq.ParquetFile(tmp_path / "x.parquet")
    assert max(written.metadata.row_group(n).num_rows for n in range(written.num_row_groups)) == 7
    assert written.metadata.num_rows == 100


def test_live_counts_in_the_journal(archive: Written, tmp_path: Path) -> None:
    archive.append(trades(1, 3))
    archive.journalled(trades(4, 5))
    run(archive, tmp_path / "x.parquet", "--live")
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 5


def test_mistakes_are_sentences(archive: Written, tmp_path: Path) -> None:
    archive.append(trades(1, 3))
    (tmp_path / "there.csv").touch()
    with pytest.raises(UsageError, match="not overwritten"):
        run(archive, tmp_path / "there.csv")
    with pytest.raises(UsageError, match="export writes parquet, csv, arrow, not json"):
        run(archive, tmp_path / "x.json")
    with pytest.raises(UsageError, match="does not say which format"):
        run(archive, tmp_path / "x")
    with pytest.raises(UsageError, match="did you mean BTC/USD"):
        run(archive, tmp_path / "x.csv", pair="BTC/USS")
    skipped = run(archive, tmp_path / "x.csv", "--on-gap", "skip")
    assert skipped.exit_code == 2
    assert "'skip'" in skipped.stderr
    with pytest.raises(UsageError, match="reversed"):
        run(archive, tmp_path / "x.csv", "--from", "2025-11-11", "--to", "2025-11-10")
    with pytest.raises(NoSuchArchive):
        CliRunner().invoke(
            app, ["BTC/USD", "-o", str(tmp_path / "x.csv"), "--data", str(tmp_path)], catch_exceptions=False
        )


def test_a_tool_gets_a_folder_for_names_and_patterns_and_what_was_written_is_printed(
    archive: Written, tmp_path: Path
) -> None:
    for pair in ("BTC/USD", "ETH/USD", "ETH/EUR"):
        archive.append([*trades(1, 5, pair=pair), *trades(8, 9, pair=pair)])
    folder = tmp_path / "out"
    given = ["btc-usd", "eth/*", "-o", str(folder), "--data", str(archive.data), "--to", "freqtrade"]

    def invoke(*more: str) -> Result:
        return CliRunner().invoke(app, [*given, *more], catch_exceptions=False)

    with pytest.raises(GapError, match=r"or give --on-gap warn or ignore$"):
        invoke()
    stop = (START + timedelta(seconds=9)).isoformat()
    result = invoke("--on-gap", "warn", "--to", stop)
    assert result.stderr.count("ids 6 to 7") == 3, "of each pair once, though both trades and candles lack them"
    assert "pass on_gap" not in result.stderr
    assert f"{folder}: 6 files for freqtrade, described in recorder-export.json\n" in result.stderr
    assert (
        "  BTC/USD: 1 candle of 1m, 6 trades\n    candles: 1 not complete\n    trades: 2 trades missing\n"
        in result.stderr
    )
    assert result.stderr.endswith("prices and quantities are rounded to the nearest doubles\n")
    for options, sentence in {
        ("--to", "nautilus"): "one time and one of freqtrade, nautilus, hftbacktest, tardis-csv, not freqtrade and",
        ("--format", "csv"): "--format is for a single file",
        ("--python", "python3"): "--python is for nautilus",
        ("XRP/*",): r"the pattern 'XRP/\*' matches none of the 3 pairs",
        ("-o", "-"): "freqtrade needs a folder",
    }.items():
        with pytest.raises(UsageError, match=sentence):
            invoke(*options)


def test_a_file_is_of_one_pair_and_lies_outside_the_archive(archive: Written, tmp_path: Path) -> None:
    archive.append(trades(1, 5))
    with pytest.raises(UsageError, match="lies in the archive"):
        run(archive, archive.data / "trades" / "x.csv")
    with pytest.raises(UsageError, match="a file has the trades of one pair"):
        run(archive, tmp_path / "x.csv", "ETH/USD")
    with pytest.raises(UsageError, match="are for a tool: give --to one of freqtrade"):
        run(archive, tmp_path / "x.csv", "--what", "trades")
    with pytest.raises(UsageError, match=r"is no time; .* or one of freqtrade"):
        run(archive, tmp_path / "x.csv", "--to", "freqtrad")
