"""docs/format.md is read here by what a stranger has: JSON, CRC-32, a regular expression and pyarrow."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from recorder.archive import archive_id
from recorder.archive.candles import CandleArchive
from recorder.archive.datasets import DATASETS, EVENTS, INSTRUMENTS, Branch
from recorder.archive.segment_tables import SegmentTables
from recorder.core.event_kinds import EventKind
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken import records
from recorder.kraken.records import SOURCES, Note, PublishedCandles, UnknownRecord
from recorder.version import __version__
from tests.archive.listings import BTC
from tests.archive.rows import archive
from tests.powercut import Unsynced
from tests.segments import ARCHIVE, named

DOCUMENT = (Path(__file__).parents[1] / "docs" / "format.md").read_text()
LINES = re.findall(r"```jsonl\n(.*?)```", DOCUMENT, re.DOTALL)[0].encode().splitlines()
FOOTER, CANDLES_FOOTER = (json.loads(found) for found in re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL))
PROGRAM = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)[0]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def columns(table: str) -> dict[str, str]:
    """Return name → type as the document's table of columns says."""
    section = DOCUMENT[DOCUMENT.index(f"\n**{table}**, key") :].split("\n\n")[1]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))


def came(line: bytes) -> bytes:
    """Return the bytes that came, as the document tells to find them."""
    fields = json.loads(line)
    if "text" in fields:
        return str(fields["text"]).encode()
    if "base64" in fields:
        return base64.b64decode(fields["base64"])
    return line.split(b'"payload":', 1)[1][:-1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An archive made from the document's journal."""
    data = tmp_path / "data"
    data.mkdir()
    (data / archive_id.FILE).write_text(json.dumps({"id": ARCHIVE, "inode": 1}))
    with archive(data, Unsynced()) as opened:
        entries = [segment.decode(line) for line in LINES]
        rows = [row for entry in entries for row in records.trades(entry)]
        opened.append("BTC/USD", rows)
        tables = SegmentTables(opened.layout, Unsynced(), staging=opened.staging)
        tables.add(Branch(INSTRUMENTS), [(1, BTC)])
        candles = CandleArchive(tables)
        for entry in entries:
            match records.read(entry):
                case PublishedCandles() as answer:
                    candles.take(answer.candles(), entry.recv_ns // 1000)
                case Note() as note:
                    tables.add(Branch(EVENTS), [note.event()])
        tables.write(named(7))
        Journal(data, Unsynced(), staging=opened.staging, now_ns=1762776000000000000, archive=opened.id).close()
    return data


def trade_file(data: Path) -> Path:
    (path,) = data.glob("trades/pair=BTC%2FUSD/year=2025/*.parquet")
    return path


@pytest.mark.parametrize("line", LINES, ids=[json.loads(line)["recv_ns"] for line in LINES])
def test_each_line_of_the_example_is_what_its_checksum_says(line: bytes) -> None:
    fields = json.loads(line)
    assert list(fields)[:3] == ["recv_ns", "source", "crc32"]
    assert zlib.crc32(came(line)) == fields["crc32"]


@pytest.mark.parametrize("line", LINES, ids=[json.loads(line)["recv_ns"] for line in LINES])
def test_each_line_of_the_example_is_what_the_recorder_writes_and_reads(line: bytes) -> None:
    fields = json.loads(line)
    assert segment.decode(line) == segment.Entry(fields["recv_ns"], fields["source"], came(line))
    assert segment.encode(fields["recv_ns"], fields["source"], came(line)) == line + b"\n"


def test_the_example_shows_every_way_in_which_something_is_kept() -> None:
    assert {key for line in LINES for key in json.loads(line)} == set(
        re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)[:6]
    )


def test_a_segment_begins_with_the_line_that_the_example_shows(data: Path) -> None:
    path = data / "journal" / "000000000001.jsonl"
    expected = json.loads(LINES[0])
    written = json.loads(path.read_bytes().splitlines()[0])
    expected["payload"] |= {"number": 1, "writer": f"kraken-recorder {__version__}"}
    assert list(written["payload"]) == list(expected["payload"])
    assert written | {"crc32": 0} == expected | {"crc32": 0}


def test_the_footer_of_the_example_is_that_of_the_examples_trades(data: Path) -> None:
    footer = json.loads(pq.read_metadata(trade_file(data)).metadata[b"recorder"])
    assert footer == FOOTER | {"writer": f"kraken-recorder {__version__}"}


def test_the_examples_trades_are_in_the_archive_to_the_last_digit(data: Path) -> None:
    hive = ds.partitioning(pa.schema([("pair", pa.string()), ("year", pa.int32())]), flavor="hive")
    dataset = ds.dataset(data / "trades", partitioning=hive)
    rows = dataset.to_table().sort_by("trade_id").to_pylist()
    expected: list[dict[str, Any]] = []
    for line in LINES:
        entry = json.loads(line, parse_float=Decimal)
        for trade in entry.get("payload", {}).get("data", ()):
            received = EPOCH + timedelta(microseconds=entry["recv_ns"] // 1000)
            fixed = {"pair": trade.pop("symbol"), "year": 2025, "misc": "", "source": "ws", "received": received}
            fixed["time"] = datetime.fromisoformat(trade.pop("timestamp"))
            expected.append(trade | fixed)
    assert rows == expected


def test_the_footer_of_the_examples_candles_names_their_segment(data: Path) -> None:
    (path,) = data.glob("ohlc/timeframe=1m/year=2025/*.parquet")
    footer = json.loads(pq.read_metadata(path).metadata[b"recorder"])
    assert footer == CANDLES_FOOTER | {"writer": f"kraken-recorder {__version__}"}


def test_the_examples_candles_are_in_the_archive_to_the_last_digit(data: Path) -> None:
    """All but the last, which is still running."""
    hive = ds.partitioning(pa.schema([("timeframe", pa.string()), ("year", pa.int32())]), flavor="hive")
    rows = ds.dataset(data / "ohlc", partitioning=hive).to_table().sort_by("time").to_pylist()
    (entry,) = (fields for fields in map(json.loads, LINES) if "OHLC" in fields["source"])
    ((name, (*committed, _running)), _last) = entry["payload"]["result"].items()
    assert name == "XXBTZUSD"
    seen = EPOCH + timedelta(microseconds=entry["recv_ns"] // 1000)
    words = ("open", "high", "low", "close", "vwap", "volume")
    assert rows == [
        {
            "pair": "BTC/USD",
            "time": EPOCH + timedelta(seconds=start),
            **dict(zip(words, map(Decimal, texts), strict=True)),
            "count": count,
            "source": "rest",
            "seen": seen,
            "timeframe": "1m",
            "year": 2025,
        }
        for start, *texts, count in committed
    ]


def test_the_examples_note_is_an_event(data: Path) -> None:
    (path,) = (path for path in data.glob("events/year=2025/*.parquet") if path.name != "schema.parquet")
    (entry,) = (fields for fields in map(json.loads, LINES[1:]) if fields["source"] == "note")
    kind = entry["payload"].pop("note")
    (row,) = pq.ParquetFile(path).read().to_pylist()
    assert (row["kind"], row["pair"], json.loads(row["detail"])) == (kind, None, entry["payload"])
    assert row["time"] == EPOCH + timedelta(microseconds=entry["recv_ns"] // 1000)


def test_the_sources_that_the_document_lists_are_those_there_are_and_mean_the_same() -> None:
    table = DOCUMENT[DOCUMENT.index("| source | the bytes that came are |") :].split("\n\n")[0]
    listed = [tuple(re.findall(r"^\| `(.*?)` \| (.*?) \|$", line)) for line in table.splitlines()[2:]]
    assert listed == [((source.form, source.meaning),) for source in SOURCES]


def test_each_line_of_the_example_is_of_a_source_that_there_is() -> None:
    assert not any(isinstance(records.read(segment.decode(line)), UnknownRecord) for line in LINES)


def test_the_kinds_of_events_that_the_document_lists_are_those_there_are() -> None:
    table = DOCUMENT[DOCUMENT.index("| kind | it says |") :].split("\n\n")[0]
    listed = {word for line in table.splitlines()[2:] for word in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert listed == set(EventKind)


@pytest.mark.parametrize("table", [table.name for table in DATASETS])
def test_the_columns_are_those_that_the_document_lists(data: Path, table: str) -> None:
    for path in (data / table).rglob("*.parquet"):
        schema = pq.ParquetFile(path).schema
        assert {schema.column(i).name: described(schema.column(i)) for i in range(len(schema))} == columns(table)


def described(column: Any) -> str:
    kind = json.loads(column.logical_type.to_json())
    physical = column.physical_type
    if physical == "FIXED_LEN_BYTE_ARRAY":
        physical += f"({column.length})"
    words = [physical]
    if kind["Type"] == "Decimal":
        words.append(f"decimal({kind['precision']}, {kind['scale']})")
    elif kind["Type"] == "Timestamp":
        assert kind["isAdjustedToUTC"]
        assert kind["timeUnit"] == "microseconds"
        words += ["timestamp in µs", "UTC"]
    elif kind["Type"] == "String":
        words.append("string")
    if column.max_definition_level:
        words.append("nullable")
    return ", ".join(words)


def test_every_table_has_the_empty_file_that_the_document_names(data: Path) -> None:
    for path in (
        "trades/pair=__none__/year=1970/schema.parquet",
        "ohlc/timeframe=__none__/year=1970/schema.parquet",
        "events/year=1970/schema.parquet",
        "instruments/schema.parquet",
    ):
        assert pq.read_metadata(data / path).num_rows == 0
        folder = f"{path.split('/', 1)[1].removesuffix('schema.parquet')}"
        assert f"`{folder}`" in DOCUMENT or not folder


def test_the_program_finds_the_hole_that_the_text_names(data: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=data.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "BTC/USD misses 90003 to 90004\n"
    assert "Here it is 90003 to 90004." in DOCUMENT


def test_the_folders_that_the_document_draws_are_there(data: Path) -> None:
    for name in ("journal", "raw", "trades", "ohlc", "events", "instruments", ".staging", ".locks"):
        assert f"data/{name}/" in DOCUMENT
        assert (data / name).is_dir()
    assert (data / ".locks" / "pair=BTC%2FUSD.lock").exists()
