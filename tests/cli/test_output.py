from __future__ import annotations

import csv
import io
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recorder.cli.output import Format, Output, blocks, chosen, new_file, write
from recorder.errors import UsageError

EXACT = pa.table(
    {
        "time": pa.array([datetime(2025, 11, 10, 12, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        "price": pa.array([Decimal("0.000000000100"), Decimal("12.5")], pa.decimal128(28, 12)),
        "note": ['a "b", c', None],
        "count": [1, 2],
        "share": [0.25, 1e-9],
        "whole": pa.array([Decimal(10) ** 30, Decimal(1)], pa.decimal128(38, 0)),
    }
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("name", ["csv", "json", "ndjson", "parquet", "arrow"])
def test_every_format_is_exact(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"rows.{name}"
    write(EXACT, chosen(None, path))
    text = ["2025-11-10T12:00:00Z", "0.0000000001", 'a "b", c']
    match name:
        case "csv":
            heading, first, second = csv.reader(io.StringIO(path.read_text()))
            assert heading == EXACT.column_names
            assert first == [*text, "1", "0.25", "1" + "0" * 30]
            assert second == ["", "12.5", "", "2", "1e-09", "1"]
        case "json" | "ndjson":
            objects = json.loads(path.read_text()) if name == "json" else map(json.loads, path.read_text().splitlines())
            first, second = (list(one.values()) for one in objects)
            assert first == [*text, 1, 0.25, 10**30]
            assert second == [None, "12.5", None, 2, 1e-9, 1]
        case "parquet":
            assert pq.read_table(path).equals(EXACT)
        case "arrow":
            assert pa.ipc.open_file(path).read_all().equals(EXACT)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_standard_output_gets_the_same_bytes_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for format_ in Format:
        if format_ is Format.TABLE:
            continue
        path = tmp_path / format_
        write(EXACT, Output(format_, path))
        sent = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sent))
        write(EXACT, Output(format_, None))
        assert sent.getvalue() == path.read_bytes()


def test_the_name_of_the_file_tells_the_format_unless_one_is_given() -> None:
    assert chosen(None, None).format is Format.TABLE
    assert chosen(None, Path("x.ndjson")).format is Format.NDJSON
    assert chosen(Format.CSV, Path("x.txt")).format is Format.CSV
    assert chosen(None, None, as_json=True).format is Format.JSON
    with pytest.raises(UsageError, match=r"x\.txt does not say which format: end it with \.csv"):
        chosen(None, Path("x.txt"))
    with pytest.raises(UsageError, match="leave out one of --json and --format csv"):
        chosen(Format.CSV, None, as_json=True)


def test_binary_rows_never_reach_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    for format_ in (Format.PARQUET, Format.ARROW):
        with pytest.raises(UsageError, match=r"is binary, and a terminal cannot show it: .* -o FILE"):
            chosen(format_, None)
    assert chosen(Format.CSV, None).path is None


def test_a_file_is_never_overwritten_and_leaves_nothing_if_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("mine")
    with pytest.raises(UsageError, match="is there already, and is not overwritten"):
        chosen(None, path)
    with pytest.raises(UsageError, match="is there by now"), new_file(path) as file:
        file.write(b"other")
    assert path.read_text() == "mine"
    with pytest.raises(UsageError, match="cannot hold these rows"):
        write(
            pa.table({"x": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}), chosen(None, tmp_path / "x.parquet")
        )
    (tmp_path / "y.csv.part").touch()
    with pytest.raises(UsageError, match="another process writes"), new_file(tmp_path / "y.csv"):
        pass
    assert {one.name for one in tmp_path.iterdir()} == {"rows.csv", "y.csv.part"}


def table(rows: pa.Table, monkeypatch: pytest.MonkeyPatch, width: int = 80) -> list[str]:
    """Return the lines that a terminal so wide shows."""
    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    write(rows, Output(Format.TABLE, None))
    return terminal.getvalue().splitlines()


def test_a_table_has_its_points_under_each_other_and_times_no_longer_than_they_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = pa.table(
        {
            "time": pa.array([datetime(2025, 11, 10, hour, tzinfo=UTC) for hour in (9, 10)], pa.timestamp("us", "UTC")),
            "price": pa.array([Decimal(100), Decimal("12.5")], pa.decimal128(28, 12)),
            "share": [1 / 3, 0.5],
            "why": ["ok", None],
        }
    )
    assert table(rows, monkeypatch) == [
        "time              price     share  why",
        "────────────────  ─────  ────────  ───",
        "2025-11-10 09:00  100.0  0.333333  ok",
        "2025-11-10 10:00   12.5  0.500000",
    ]


def test_what_has_no_room_beside_comes_below(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"id": [1, 22], "a": ["x" * 10] * 2, "b": ["y" * 10] * 2, "c": ["z" * 30] * 2})
    assert table(rows, monkeypatch, 26) == [
        "id  a           b",
        "──  ──────────  ──────────",
        " 1  xxxxxxxxxx  yyyyyyyyyy",
        "22  xxxxxxxxxx  yyyyyyyyyy",
        "",
        "id  c",
        "──  ──────────────────────────────",
        f" 1  {'z' * 30}",
        f"22  {'z' * 30}",
    ]
    assert blocks([5], 1) == [[0]]


def test_what_would_steer_a_terminal_is_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert table(pa.table({"x": ["a\x1b[31mb\nc"]}), monkeypatch)[2] == r"a\u001b[31mb\u000ac"


def test_a_table_without_rows_has_its_heading(monkeypatch: pytest.MonkeyPatch) -> None:
    assert table(pa.table({"a": pa.array([], pa.int64())}), monkeypatch) == ["a", "─"]


def test_where_no_file_can_be_written_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        chosen(None, tmp_path / "none" / "x.csv")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="there is no folder"):
        chosen(None, tmp_path / "file" / "x.csv")
    for standard in ("-", "/dev/stdout"):
        assert chosen(Format.CSV, Path(standard)) == Output(Format.CSV, None)


def test_a_file_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    longest = tmp_path / f"{'x' * 251}.csv"  # and no room for a name while it is written
    with pytest.raises(UsageError, match="cannot be made"):
        write(EXACT, chosen(None, longest))
    assert not list(tmp_path.iterdir())
