from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.kraken import book_frames
from recorder.kraken.book import NOTHING, Book, Digits, Evicted, Level
from tests.kraken.book_captures import captures, checksum_of

DIGITS = Digits(1, 2)
LEVELS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=8)


def texts(levels: Iterable[tuple[int, int]]) -> list[tuple[bytes, bytes]]:
    return [(b"%d.%d" % divmod(price, 10), b"%d.%02d" % divmod(qty, 100)) for price, qty in levels]


def test_every_frame_of_the_real_captures_verifies(payloads: Path) -> None:
    counts = []
    for capture in captures(payloads):
        books: dict[str, Book] = {}
        evicted = verified = 0
        for frame in capture.frames:
            (message,) = book_frames.messages(frame)
            if message.begins:
                books[message.pair] = Book(capture.depth, capture.digits[message.pair])
            book = books[message.pair]
            beyond = book.apply(message.bids, message.asks)
            evicted += len(beyond.bids) + len(beyond.asks)
            verified += book.checksum == message.checksum
            assert len(book.bids) <= capture.depth >= len(book.asks)
        counts.append((verified, len(capture.frames), evicted))
    assert counts == [(2962, 2962, 1077), (30, 30, 19), (510, 510, 125)]


def test_the_documented_checksums_follow(payloads: Path) -> None:
    vectors = json.loads((payloads / "ws_v2/book/checksum_vectors.json").read_text())
    assert len(vectors) == 7
    for vector in vectors:
        bids, asks = ([(price.encode(), qty.encode()) for price, qty in vector[side]] for side in ("bids", "asks"))
        book = Book(10, Digits.seen([*bids, *asks]))
        assert book.apply(bids, asks) == NOTHING
        assert book.checksum == vector["crc32"], vector["name"]


@given(st.lists(st.tuples(LEVELS, LEVELS), max_size=30))
def test_it_is_what_a_dictionary_cut_to_the_depth_is(changes: list[tuple[list[tuple[int, int]], ...]]) -> None:
    book, sides = Book(10, DIGITS), ({}, {})  # type: tuple[Book, tuple[dict[int, int], dict[int, int]]]
    for message in changes:
        evicted = book.apply(*map(texts, message))
        expected = []
        for side, levels, descends in zip(sides, message, (True, False), strict=True):
            for price, qty in levels:
                side[price] = qty
                if not qty:
                    del side[price]
            beyond = sorted(side, reverse=descends)[10:]
            for price in beyond:
                del side[price]
            expected.append(beyond)
        bids, asks = ([Level(price, side[price]) for price in sorted(side)] for side in sides)
        bids.reverse()
        assert (book.bids, book.asks) == (bids, asks)
        assert (list(evicted.bids), list(evicted.asks)) == tuple(expected)
        assert book.checksum == checksum_of(list(book.printed(bids)), list(book.printed(asks)))
        assert book.is_crossed == bool(bids and asks and bids[0].price >= asks[0].price)


def test_what_is_cut_off_is_returned_best_first_and_may_have_come_with_the_message() -> None:
    book = Book(10, DIGITS)
    book.apply([], texts((price, 1) for price in range(10, 20)))
    assert book.apply([], texts([(5, 1), (25, 1), (6, 1)])) == Evicted([], [18, 19, 25])
    assert [level.price for level in book.asks] == [5, 6, *range(10, 18)]


def test_fewer_digits_are_padded_and_more_are_a_change() -> None:
    padded, exact = Book(10, DIGITS), Book(10, DIGITS)
    padded.apply([(b"7", b"1.5")], [])
    exact.apply([(b"7.0", b"1.50")], [])
    assert padded.checksum == exact.checksum == checksum_of([("7.0", "1.50")], [])
    for level in ((b"7.05", b"1.00"), (b"7.0", b"1.005")):
        with pytest.raises(ValueError, match="the precision has changed"):
            padded.apply([level], [])


@pytest.mark.parametrize(
    "level",
    [
        (b"null", b"1.00"),
        (b'"7.0"', b"1.00"),
        (b"7e1", b"1.00"),
        (b"-7.0", b"1.00"),
        (b"0.0", b"1.00"),
        (b"7.0", b"-0.01"),
        (b"12345678901234567.0", b"1.00"),
        (b"7.0", b"123456789012345678901.00"),
        (b"1" * 5000, b"1.00"),
        (b"", b"1.00"),
    ],
)
def test_what_is_no_level_is_refused(level: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError):
        Book(10, DIGITS).apply([level], [])


def test_digits_that_the_archive_cannot_store_are_refused() -> None:
    Book(10, Digits(12, 8))
    for digits in (Digits(13, 8), Digits(1, 9)):
        with pytest.raises(ValueError, match="the archive stores 12 and 8"):
            Book(10, digits)
