from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.core.model import Trade
from recorder.core.trade_ids import Run, Spans
from recorder.errors import StorageError
from recorder.journal import segment
from recorder.query import journal_tail
from recorder.query.journal_tail import JournalTail, pending, runs_in
from tests.archives import START_US, Written, frame, trade, trades

PAIR = "BTC/USD"


def columns(rows: list[Trade]) -> pa.Table:
    return journal_tail.trade_columns(rows)


def keys(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(table["pair"].to_pylist(), table["trade_id"].to_pylist(), strict=True))


def ids(table: pa.Table) -> list[int]:
    return [trade_id for _, trade_id in keys(table)]


def test_journalled_trades_are_seen_as_soon_as_their_line_is_whole(archive: Written) -> None:
    journalled = JournalTail(archive.data)
    assert ids(journalled.read()) == []
    archive.journalled(trades(1, 2))
    assert ids(journalled.read()) == [1, 2]
    line = segment.encode(1, "ws:trade:1", frame(trades(3, 3)), parsed=True)
    archive.journal.append([line[:-10]])
    assert ids(journalled.read()) == [1, 2]
    archive.journal.append([line[-10:]])
    assert ids(journalled.read()) == [1, 2, 3]


def test_the_journal_is_read_forward_only(archive: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    original = segment.decode

    def counted(line: bytes) -> segment.Entry:
        read.append(line)
        return original(line)

    monkeypatch.setattr(segment, "decode", counted)
    journalled = JournalTail(archive.data)
    for number in range(1, 200):
        archive.journalled(trades(number, number))
        if number % 50 == 0:
            archive.journal.rotate(START_US)
        assert ids(journalled.read())[-1] == number
    lines = sum(path.read_bytes().count(b"\n") for path in segment.segments(archive.layout.journal))
    assert len(read) == lines


def test_many_small_reads_do_not_leave_many_small_pieces(archive: Written) -> None:
    journalled = JournalTail(archive.data)
    for number in range(1, 300):
        archive.journalled(trades(number, number))
        table = journalled.read()
    assert table["trade_id"].num_chunks <= journal_tail._PIECES + 1


def test_what_is_drained_is_forgotten(archive: Written) -> None:
    journalled = JournalTail(archive.data)
    archive.journalled(trades(1, 3))
    journalled.read()
    archive.drain()
    archive.journalled(trades(4, 4))
    assert ids(journalled.read()) == [4]


def test_a_segment_that_is_retired_while_it_is_read_is_no_error(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.journalled(trades(1, 3))
    archive.journal.rotate(START_US)
    archive.journalled(trades(4, 5))
    original = segment.segments

    def then_drained(directory: Path) -> list[Path]:
        found = original(directory)
        monkeypatch.undo()
        archive.drain()
        return found

    monkeypatch.setattr(segment, "segments", then_drained)
    assert ids(JournalTail(archive.data).read()) == []
    assert len(archive.files()) == 2


def test_segments_that_keep_vanishing_are_an_error_at_last(archive: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "segments", lambda directory: [directory / "000000000099.jsonl"])
    with pytest.raises(StorageError, match=r"the segments in .* keep changing faster"):
        JournalTail(archive.data).read()


def test_lines_that_cannot_be_read_are_left_to_the_drain(archive: Written) -> None:
    good = segment.encode(1, "ws:trade:1", frame(trades(1, 1)), parsed=True)
    bad_sum = good.replace(b'"crc32":', b'"crc32":1')
    no_trade = segment.encode(1, "ws:trade:1", b'{"channel":"trade"}')
    other = segment.encode(1, "rest:/0/public/AssetPairs", b"{}")
    archive.journal.append([bad_sum, no_trade, other, good])
    assert ids(JournalTail(archive.data).read()) == [1]


def test_rows_are_the_same_before_and_after_they_move(archive: Written) -> None:
    archive.journalled([trade(1, price="0.000002926001", qty="383320500.12345678")])
    before = JournalTail(archive.data).read().drop_columns("pair")
    archive.drain()
    after = pq.read_table(archive.files()[0], partitioning=None)
    assert after.cast(before.schema).equals(before)


ROWS = st.lists(st.tuples(st.sampled_from(["A/B", "C/D", "E/F"]), st.integers(1, 30)), max_size=60)


@given(ROWS, st.dictionaries(st.sampled_from(["A/B", "C/D", "X/Y"]), st.sets(st.integers(1, 30))))
def test_the_tail_is_each_journalled_id_once_unless_it_is_archived(
    rows: list[tuple[str, int]], held: dict[str, set[int]]
) -> None:
    journalled = columns([trade(trade_id, order, pair=pair) for order, (pair, trade_id) in enumerate(rows)])
    table = pending(journalled, {pair: Spans.of_ids(some) for pair, some in held.items()})
    expected = {(pair, trade_id) for pair, trade_id in rows if trade_id not in held.get(pair, ())}
    assert sorted(keys(table)) == sorted(expected)
    # Of repeats the first journalled stays, as in the archive.
    times_us = table["time"].cast(pa.int64()).to_pylist()
    assert [rows.index(key) for key in keys(table)] == times_us


@given(ROWS)
def test_the_runs_of_a_tail_are_those_of_its_ids(rows: list[tuple[str, int]]) -> None:
    table = pending(columns([trade(trade_id, 10 * trade_id, pair=pair) for pair, trade_id in rows]), {})
    expected = {
        pair: tuple(
            Run(pair, span, 10 * span.first, 10 * span.last)
            for span in Spans.of_ids(trade_id for name, trade_id in rows if name == pair)
        )
        for pair in {pair for pair, _ in rows}
    }
    assert runs_in(table) == expected
