from __future__ import annotations

import pytest

from recorder.errors import Malformed
from recorder.kraken import book_frames, timestamps
from recorder.kraken.book_frames import BookMessage
from tests.kraken.book_captures import PAIR, STAMP, frame, framed, row

UNFIT = {
    "a checksum above 32 bits": row(checksum=2**32),
    "a checksum below zero": row(checksum=-1),
    "no checksum": '{"symbol":"BTC/USD","bids":[],"asks":[]}',
    "a level without a quantity": '{"symbol":"BTC/USD","bids":[{"price":1.0}],"asks":[],"checksum":1}',
    "a side that is null": '{"symbol":"BTC/USD","bids":null,"asks":[],"checksum":1}',
    "a symbol that is too long": row(pair="A" * 65),
    "a time that is none": row(stamp="2026-13-07T23:00:03Z"),
}


def test_a_row_is_read_as_text() -> None:
    read = book_frames.messages(frame([("63501.60", "0.00000000")], [("63502.0", "1e5")], checksum=7))
    assert read == [
        BookMessage(
            PAIR,
            False,
            [(b"63501.60", b"0.00000000")],
            [(b"63502.0", b"1e5")],
            7,
            timestamps.micros(STAMP),
            STAMP,
        )
    ]
    assert book_frames.messages(frame(kind="snapshot"))[0].begins


@pytest.mark.parametrize("odd", UNFIT.values(), ids=UNFIT)
def test_a_row_that_cannot_be_read_refuses_the_frame_and_names_its_pair_where_it_can(odd: str) -> None:
    with pytest.raises(Malformed, match="a book frame that cannot be read"):
        book_frames.messages(framed(row(), odd))
    with pytest.raises(Malformed):
        book_frames.stored_message(odd.encode())
    assert book_frames.pairs_of_unread(framed(odd)) == ([] if len(odd) > 100 and "AAAA" in odd else [PAIR])


@pytest.mark.parametrize("content", [b"", b"[]", b'{"channel":"book","type":"update","data":[]}', frame(pair="\u00fc")])
def test_a_frame_without_rows_or_ascii_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        book_frames.messages(content)


def test_rows_are_parted_and_chosen_byte_for_byte() -> None:
    one, two = row([("1.0", "2.0")]), row(pair="ETH/USD")
    assert book_frames.single_rows(framed(one, two)) == [framed(one), framed(two)]
    assert book_frames.only(framed(one, two), lambda pair: pair == PAIR) == framed(one)
    assert book_frames.only(framed(two), lambda pair: pair == PAIR) is None


def test_a_frame_that_ends_too_soon_names_its_pair() -> None:
    whole = frame([("1.0", "2.0")])
    assert book_frames.pairs_of_unread(whole[:70]) == [PAIR]
    assert book_frames.pairs_of_unread(whole[:40]) == []
