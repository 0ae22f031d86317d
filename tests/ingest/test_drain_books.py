"""A drain of books: rows from which any tool rebuilds the book, and what each segment has of a session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.dataset as pads
import pytest

from recorder.archive.datasets import BOOKS_JOURNAL
from recorder.journal import segment
from recorder.kraken import book_frames
from recorder.kraken.book import Book
from recorder.kraken.book_session import BookSession
from recorder.kraken.channels import BOOKS
from recorder.kraken.quote_session import SessionNumbers
from tests.book_journal import encoded
from tests.ingest.drained_archive import at, drain
from tests.kraken.book_captures import Capture, captures
from tests.powercut import Unsynced

BOOK_IN_SQL = """
    SELECT side, price, qty
    FROM (
        SELECT side, price, arg_max(qty, (message, position)) AS qty
        FROM read_parquet('{data}/book/*/*/*.parquet', hive_partitioning = true)
        WHERE pair = '{pair}' AND session = {session} AND message <= {message}
        GROUP BY side, price
    )
    WHERE qty > 0
    ORDER BY side, price
"""
"""Plain SQL, with nothing of ours."""


@pytest.fixture(scope="module")
def capture() -> Capture:
    payloads = Path(__file__).parents[3] / "shared" / "kraken" / "payloads"
    if not payloads.is_dir():
        pytest.skip("the recorded payloads (../shared/kraken/payloads beside the repository) are not here")
    return captures(payloads)[0]


def recorded(capture: Capture) -> tuple[BookSession, Iterator[list[bytes]]]:
    """Return a session, and the lines of each frame of a capture: one each 10 ms."""
    session = BookSession(
        capture.digits,
        SessionNumbers(),
        channel=replace(BOOKS, params={"depth": capture.depth}),
        depth=capture.depth,
        digits=capture.digits.get,
    )
    session.opened(0.0)

    def lines() -> Iterator[list[bytes]]:
        for number, frame in enumerate(capture.frames):
            yield list(encoded(list(session.receive(frame, 0.0, received_ns=at(number / 100)))))

    return session, lines()


def test_the_last_row_of_a_price_is_the_book_in_plain_sql_whatever_segment_it_is_in(
    tmp_path: Path, capture: Capture
) -> None:
    session, lines = recorded(capture)
    every = list(lines)
    heads = list(encoded(list[object](session.checkpoints(at(100)))))
    half = [line for of_frame in every[:1500] for line in of_frame]
    drain(tmp_path, Unsynced(), journalled=half, journal_name=BOOKS_JOURNAL)
    drain(
        tmp_path,
        Unsynced(),
        journalled=[
            *(line for of_frame in every[1500:] for line in of_frame),
            *heads,
            *encoded(list(session.closed())),
        ],
        journal_name=BOOKS_JOURNAL,
    )
    books: dict[str, Book] = {}
    counts: dict[str, int] = {}
    begun: dict[str, int] = {}
    with duckdb.connect() as sql:
        for number, frame in enumerate(capture.frames):
            (message,) = book_frames.messages(frame)
            pair = message.pair
            if message.begins:
                books[pair], begun[pair] = Book(capture.depth, capture.digits[pair]), at(number / 100)
            books[pair].apply(message.bids, message.asks)
            count = counts[pair] = counts.get(pair, -1) + 1
            if number % 97 and number + 1 < len(capture.frames):
                continue
            query = BOOK_IN_SQL.format(data=tmp_path, pair=pair, session=begun[pair], message=count)
            found = [(side, f"{price.normalize():f}", f"{qty:f}") for side, price, qty in sql.execute(query).fetchall()]
            book = books[pair]
            expected = [
                (side, price.rstrip("0").rstrip("."), qty)
                for side, levels in (("ask", book.asks), ("bid", book.bids[::-1]))
                for price, qty in book.printed(levels)
            ]
            assert found == expected, number
        assert counts == {"BTC/USD": 561, "ETH/USD": 2399}
        kinds = sql.execute(f"SELECT kind, count(*) FROM '{tmp_path}/book/*/*/*.parquet' GROUP BY 1").fetchall()
    assert {"evicted": 1077, "snapshot": 40, "checkpoint": 40}.items() <= dict(kinds).items()
    parts = pads.dataset(tmp_path / "book_sessions", partitioning="hive").to_table().to_pylist()
    assert sum(part["messages"] for part in parts) == sum(part["verified"] for part in parts) == 2962 + 2
    assert [part["end_reason"] for part in parts].count("disconnected") == 2
    assert {part["depth"] for part in parts} == {10}


def test_the_rows_of_a_message_lie_on_the_date_on_which_it_was_received(tmp_path: Path, capture: Capture) -> None:
    short = replace(capture, frames=capture.frames[:40])
    _, lines = recorded(short)
    shifted = [
        segment.encode(one.recv_ns + number * 10**12, one.source, one.payload)
        for number, one in enumerate(segment.decode(line[:-1]) for of_frame in lines for line in of_frame)
    ]
    drain(tmp_path, Unsynced(), journalled=shifted, journal_name=BOOKS_JOURNAL)
    for path in (tmp_path / "book").rglob("*.parquet"):
        if path.name != "schema.parquet":
            days = {one.date().isoformat() for one in pads.dataset(path).to_table()["received"].to_pylist()}
            assert [f"date={day}" for day in days] == [path.parent.name]
