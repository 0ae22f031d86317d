from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recorder.archive import verify_tables
from recorder.archive.datasets import DATASETS, SCHEMA_FILE, Branch, remedy
from recorder.archive.integrity import Days, Finding
from recorder.archive.layout import Layout
from recorder.core.model import Event
from tests.archives import START_US, candle, name_as_before, trade, writing

YEAR = 2025
PLACES = {"ohlc": f"timeframe=1m/year={YEAR}", "events": f"year={YEAR}", "instruments": "."}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("written")
    with writing(data) as archive:
        archive.append([trade(1)])
        archive.published([candle(minute, pair=pair) for pair in ("A/USD", "B/USD") for minute in range(100)])
        archive.noted(*(Event(START_US + number, "connected", None, f'{{"n":{number}}}') for number in range(100)))
        archive.listed("A/USD", 1)
    name_as_before(data)
    return data


@pytest.fixture
def data(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "data"))


def of(data: Path, table: str) -> Path:
    """Return the one file with rows of a table."""
    (path,) = (one for one in (data / table / PLACES[table]).glob("*.parquet") if one.name != SCHEMA_FILE)
    return path


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def footer_gone(path: Path) -> None:
    pq.write_table(pq.read_table(path, partitioning=None).replace_schema_metadata(None), path)


def zeroed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    end = _end_of_pages(path)
    content[end - 20 : end] = bytes(20)
    path.write_bytes(content)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[_end_of_pages(path) - 1] ^= 1
    path.write_bytes(content)


def _end_of_pages(path: Path) -> int:
    column = pq.read_metadata(path).row_group(0).column(0)
    return int(column.dictionary_page_offset or column.data_page_offset) + int(column.total_compressed_size)


@pytest.mark.parametrize("damage", [emptied, cut, footer_gone, zeroed, flipped])
@pytest.mark.parametrize("table", PLACES)
def test_a_damaged_file_of_any_table_is_a_finding_that_says_what_is_true_of_its_table(
    data: Path, table: str, damage: Callable[[Path], None]
) -> None:
    assert list(verify_tables.findings(Layout(data))) == []
    path = of(data, table)
    damage(path)
    (finding,) = verify_tables.findings(Layout(data))
    assert (finding.file, finding.remedy) == (path, next(one.remedy for one in DATASETS if one.name == table))
    assert "\n" not in finding.problem
    assert str(path) not in finding.problem
    assert verify_tables.wrong(data, path) == finding


@pytest.mark.parametrize("table", PLACES)
def test_no_flipped_bit_that_changes_a_row_goes_unnoticed(data: Path, table: str) -> None:
    path = of(data, table)
    content, rows = path.read_bytes(), pq.read_table(path, partitioning=None)
    found = 0
    for at in range(4, len(content), 17):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        if verify_tables.wrong(data, path) is not None:
            found += 1
            continue
        assert pq.read_table(path, partitioning=None).equals(rows), at
    assert found > len(range(4, len(content), 17)) / 3


def test_a_footer_that_would_make_readers_pass_over_rows_is_a_finding(data: Path) -> None:
    path = of(data, "ohlc")
    content, metadata = path.read_bytes(), pq.read_metadata(path)
    newest = metadata.row_group(0).column(metadata.schema.names.index("time")).statistics.max_raw.to_bytes(8, "little")
    pages = int.from_bytes(content[-8:-4], "little") + 8
    path.write_bytes(content[:-pages] + content[-pages:].replace(newest, b"\x01" + newest[1:]))
    assert verify_tables.wrong(data, path) == Finding(
        path, "holds other rows than its footer claims of time", remedy(path)
    )


def to_another_year(data: Path) -> Path:
    return of(data, "events").rename(folder(data / "events" / "year=2024") / "x.parquet")


def to_another_timeframe(data: Path) -> Path:
    return of(data, "ohlc").rename(folder(data / "ohlc" / "timeframe=5m" / f"year={YEAR}") / "x.parquet")


def to_another_table(data: Path) -> Path:
    return of(data, "events").rename(data / "instruments" / "x.parquet")


def to_the_folder_of_none(data: Path) -> Path:
    return of(data, "ohlc").rename(Layout(data).schema_file(DATASETS[1]).parent / "x.parquet")


def to_no_folder(data: Path) -> Path:
    return of(data, "ohlc").rename(data / "ohlc" / "timeframe=1m" / "x.parquet")


def to_no_pair(data: Path) -> Path:
    (path,) = (data / "trades").glob("pair=BTC*/*/*.parquet")
    return path.rename(data / "trades" / "x.parquet")


def with_other_columns(data: Path) -> Path:
    path = of(data, "events")
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.set_column(3, "details", table["detail"]), path)
    return path


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (to_another_year, "holds a row of 2025, and lies in year=2024"),
        (to_another_timeframe, "holds a candle that begins at 2025-11-10T12:01:00Z, and lies in timeframe=5m"),
        (to_another_table, "says it holds events, and lies among instruments"),
        (to_the_folder_of_none, "holds rows, and lies where the table has none"),
        (to_no_folder, "lies in no folder of the table ohlc"),
        (to_no_pair, "lies in no folder of the table trades"),
        (with_other_columns, "has other columns than the table of events"),
    ],
)
def test_a_file_that_is_not_what_its_place_says_is_a_finding(
    data: Path, change: Callable[[Path], Path], problem: str
) -> None:
    path = change(data)
    assert [(finding.file, finding.problem) for finding in verify_tables.findings(Layout(data))] == [(path, problem)]


def test_the_file_that_a_table_is_born_with_is_written_anew(data: Path) -> None:
    layout = Layout(data)
    for table in DATASETS:
        layout.schema_file(table).write_bytes(b"cut")
    found = list(verify_tables.findings(layout))
    assert {finding.file for finding in found} == {layout.schema_file(table) for table in DATASETS}
    for finding in found:
        assert finding.remedy.startswith("remove it; `recorder run`")
        finding.file.unlink()
    with writing(data):
        assert list(verify_tables.findings(layout)) == []


def test_days_choose_candles_and_nothing_but_events_may_be_asked_for(data: Path) -> None:
    layout = Layout(data)
    for table in PLACES:
        cut(of(data, table))

    def of_tables(days: Days | None) -> set[str]:
        told: list[int] = []
        found = {
            finding.file.relative_to(data).parts[0]
            for finding in verify_tables.findings(layout, days=days, done=told.append)
        }
        assert sum(told) == verify_tables.size(layout, days) > 0
        return found

    assert of_tables(Days(date(YEAR, 1, 1), None)) == {"ohlc", "events", "instruments"}
    assert of_tables(Days(None, date(YEAR - 1, 12, 31))) == {"events", "instruments"}
    assert of_tables(Days(date(YEAR + 1, 1, 1), None)) == {"events", "instruments"}
    assert of_tables(None) == {"events"}


def test_what_is_opened_together_is_read_whatever_becomes_of_its_names(data: Path) -> None:
    path = of(data, "instruments")
    with contextlib.ExitStack() as stack:
        held, findings = verify_tables.opened(path.parent, Branch(DATASETS[3]), stack)
        path.unlink()
        assert [pa.concat_tables(one.read(10)).num_rows for one in held] == [1]
    assert not findings
    assert verify_tables.opened(data / "nowhere", Branch(DATASETS[3]), contextlib.ExitStack()) == ([], [])
