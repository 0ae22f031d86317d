from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from recorder.archive import parquet
from recorder.archive.compaction import compact
from recorder.archive.coverage import Coverage
from recorder.archive.datasets import Branch
from recorder.archive.footer import Footer
from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile, check_digest, read_facts
from recorder.archive.schema import trades_table
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Run, Span, Spans
from recorder.errors import CorruptFile, DiskError, UnsoundFile
from tests.archive.rows import PAIR, START_US, archive, trade, trades
from tests.powercut import Unsynced


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, [*trades(1, 3), *trades(7, 9)])
        (path,) = opened.layout.trade_files(PAIR)
    return path


def coverage(file: Path) -> Coverage:
    return Coverage(Layout(file.parents[3]))


@pytest.mark.parametrize(
    ("place", "remedy"),
    [
        ("trades/pair=A/year=2025", "fetched again"),
        ("ohlc/timeframe=1m/year=2025", "`ohlc_filled`"),
        ("events/year=2025", "back-up"),
        ("instruments", "back-up"),
    ],
)
def test_what_to_do_about_a_damaged_file_is_true_of_its_table(tmp_path: Path, place: str, remedy: str) -> None:
    path = tmp_path / "trades" / "data" / place / "x.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"junk")
    with pytest.raises(CorruptFile, match=remedy) as raised:
        read_facts(path)
    assert ("a hole" in str(raised.value)) == place.startswith("trades")


def test_coverage_is_what_footers_say_and_nothing_else(file: Path) -> None:
    renamed = file.rename(file.with_name("any name.parquet"))
    (facts,) = coverage(file).files(PAIR)
    assert facts.path == renamed
    assert facts.rows == 6
    assert facts.first_id == 1
    second = 1_000_000
    assert facts.footer.runs == (
        Run(PAIR, Span(1, 3), START_US + second, START_US + 3 * second),
        Run(PAIR, Span(7, 9), START_US + 7 * second, START_US + 9 * second),
    )


def test_a_ledger_learns_spans_with_their_times(file: Path) -> None:
    ledger = Ledger()
    assert coverage(file).observe_into(ledger, PAIR) == 6
    assert ledger.of(PAIR).spans == Spans.of_ids([1, 2, 3, 7, 8, 9])
    assert ledger.of(PAIR).time_us(7) == START_US + 7_000_000


def test_a_footer_is_read_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = coverage(file)
    known.files(PAIR)
    monkeypatch.setattr("recorder.archive.coverage.read_facts", lambda _: pytest.fail("read again"))
    assert known.spans(PAIR) == Spans.of_ids([1, 2, 3, 7, 8, 9])


def test_a_file_that_took_the_name_of_another_is_read_again(file: Path, tmp_path: Path) -> None:
    known = coverage(file)
    known.files(PAIR)
    with archive(tmp_path / "other", Unsynced()) as other:
        other.append(PAIR, trades(20, 25))
        other.layout.trade_files(PAIR)[0].rename(file)
    ledger = Ledger()
    known.observe_into(ledger, PAIR)
    assert ledger.of(PAIR).spans == known.spans(PAIR) == Spans.of_ids(range(20, 26))
    file.write_bytes(b"no Parquet")
    with pytest.raises(CorruptFile):
        known.files(PAIR, anew=True)
    assert known.spans(PAIR) == Spans.of_ids(range(20, 26)), "who only adds rows goes on"


def test_a_pair_without_files_holds_nothing(file: Path) -> None:
    assert coverage(file).files("ETH/USD") == []


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def footer_damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    size = int.from_bytes(content[-8:-4], "little")
    content[-8 - size : -8] = b"\xff" * size
    file.write_bytes(content)


def relabelled(rows: int, *spans: Run, pair: str = PAIR, table: str = "trades") -> Callable[[Path], None]:
    def write(file: Path) -> None:
        path = file.parent / "again.parquet"
        footer = Footer(table, pair, spans)
        parquet.write(trades_table(trades(1, rows)), footer, path, Unsynced(), staged_in=file.parents[3])
        file.unlink()

    return write


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (cut_off, "is not a complete Parquet file"),
        (emptied, "is not a complete Parquet file"),
        (footer_damaged, "has a damaged Parquet footer"),
        (
            relabelled(3, Run(PAIR, Span(1, 3), 0, 0), pair="ETH/USD"),
            "says it holds trades of ETH/USD, and",
        ),
        (relabelled(3, Run(PAIR, Span(1, 3), 0, 0), table="ohlc"), "says it holds ohlc"),
        (relabelled(3, Run(PAIR, Span(1, 4), 0, 0)), "holds 3 rows, but its footer claims 4 ids"),
        (relabelled(0), "holds 0 rows"),
    ],
)
def test_a_file_that_cannot_be_what_its_place_says_is_never_counted(
    file: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    damage(file)
    with pytest.raises(CorruptFile, match=sentence):
        coverage(file).files(PAIR)


def test_a_file_that_was_moved_to_another_pair_does_not_count_there(file: Path) -> None:
    shutil.copytree(file.parent, file.parent.parent.with_name("pair=ETH%2FUSD") / file.parent.name)
    with pytest.raises(CorruptFile, match="Then move it back"):
        coverage(file).files("ETH/USD")


@pytest.mark.parametrize("look", [read_facts, OpenFile, check_digest])
def test_a_pipe_is_not_waited_for(file: Path, look: Callable[[Path], object]) -> None:
    named = file.with_name("000000000001-000000000009-5f0c6d2a9b1e4c7d-9f86d081884c7d65.parquet")
    os.mkfifo(named)
    with pytest.raises(UnsoundFile, match="is no file, but a pipe"):
        look(named)


def test_a_file_that_cannot_be_opened_is_the_disks_fault(file: Path) -> None:
    file.unlink()
    file.mkdir()
    with pytest.raises(DiskError, match=f"^cannot read {file}: Is a directory; check the disk"):
        read_facts(file)


def test_a_compaction_between_listing_and_reading_is_a_clean_error_then_the_same_ids(tmp_path: Path) -> None:
    with archive(tmp_path, Unsynced()) as opened:
        for first in range(1, 31, 3):
            opened.append(PAIR, trades(first, first + 2))
        reader = Coverage(opened.layout)
        listed = opened.layout.files

        def then_compacted(branch: Branch) -> list[Path]:
            found = listed(branch)
            compact(opened, PAIR, today=date(9999, 1, 1))
            return found

        reader._layout = Layout(tmp_path)
        reader._layout.files = then_compacted  # type: ignore[method-assign]
        with pytest.raises(FileNotFoundError):
            reader.files(PAIR)
        assert reader.spans(PAIR) == Spans.of_ids(range(1, 31))


def test_a_year_that_was_exchanged_while_it_was_listed_is_not_half_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory that the reader holds open is the old one, being emptied: a listing of it would be short."""
    with archive(tmp_path, Unsynced()) as opened:
        for first in (1, 4):
            opened.append(PAIR, [trade(first), trade(first + 1)])
        reader = Coverage(Layout(tmp_path))
        listdir = os.listdir

        def compacted_meanwhile(directory: int) -> list[str]:
            monkeypatch.undo()
            assert compact(opened, PAIR, today=date(9999, 1, 1))
            return listdir(directory)

        monkeypatch.setattr(os, "listdir", compacted_meanwhile)
        with pytest.raises(FileNotFoundError, match="was exchanged while it was listed"):
            reader.files(PAIR)
        assert reader.spans(PAIR) == Spans.of_ids([1, 2, 4, 5])
