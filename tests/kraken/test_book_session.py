"""What a session of a book is: verified from its snapshot on, ended by the first message that does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from recorder.core.model import BookRow
from recorder.journal.segment import Entry
from recorder.kraken import book_lines, records
from recorder.kraken.book import Digits
from recorder.kraken.book_lines import BookEnd
from recorder.kraken.book_session import BookLine, BooksEnded, BookSession
from recorder.kraken.channels import BOOKS
from recorder.kraken.quote_session import SessionNumbers
from recorder.kraken.websocket_session import Send, UnknownFrame, UnreadableFrame
from tests.kraken.book_captures import PAIR, captures, checksum_of, frame, framed, row
from tests.kraken.session_scripts import TIMES, ack

ETH = "ETH/USD"
DIGITS = Digits(1, 2)
T0_NS = 1_783_465_205_000_000_000
BIDS = [(f"{price}.0", "1.00") for price in range(100, 90, -1)]
ASKS = [(f"{price}.0", "1.00") for price in range(101, 111)]
SNAPSHOT = frame(BIDS, ASKS, kind="snapshot")


def better() -> bytes:
    """A better ask, which pushes out the last one."""
    return frame([], [("100.5", "2.00")], checksum=checksum_of(BIDS, [("100.5", "2.00"), *ASKS[:9]]))


class Line:
    """A connection, and the time by both clocks: each frame comes a second after the one before."""

    def __init__(self, *pairs: str, depth: int = 10, digits: Digits | None = DIGITS, second: int = 0) -> None:
        self.session = BookSession(
            pairs or (PAIR,),
            SessionNumbers(),
            channel=replace(BOOKS, params={"depth": depth}),
            depth=depth,
            digits=lambda _: digits,
        )
        self.second = second
        self.session.opened(float(second))
        for pair in pairs or (PAIR,):
            self.comes(ack(pair, channel="book").encode())

    def comes(self, content: bytes) -> list[object]:
        self.second += 1
        return list(self.session.receive(content, float(self.second), received_ns=at(self.second)))

    def ticks(self, seconds: int) -> list[object]:
        self.second += seconds
        self.session.receive(b'{"channel":"heartbeat"}', float(self.second), received_ns=at(self.second))
        return list(self.session.tick(float(self.second)))


def at(second: int) -> int:
    return T0_NS + second * 1_000_000_000


def methods(effects: list[object]) -> list[str]:
    return [json.loads(effect.text)["method"] for effect in effects if isinstance(effect, Send)]


def ends(effects: list[object]) -> list[BookEnd]:
    return [end for effect in effects if isinstance(effect, BooksEnded) for end in effect.ends]


def rows(line: BookLine) -> list[BookRow]:
    source = records.checkpoint_source(line.place) if line.is_checkpoint else records.book_source(1, line.place)
    record = records.read(Entry(line.received_ns, source, line.payload))
    assert isinstance(record, records.StreamedBook)
    (found,) = record.parts().values()
    return list(found)


def test_it_asks_for_the_depth_with_a_snapshot() -> None:
    session = BookSession(
        [PAIR], SessionNumbers(), channel=replace(BOOKS, params={"depth": 25}), depth=25, digits=lambda _: None
    )
    (asked,) = session.opened(0.0)
    assert isinstance(asked, Send)
    assert json.loads(asked.text)["params"] == {"channel": "book", "depth": 25, "symbol": [PAIR], "snapshot": True}


def test_it_is_named_by_its_snapshot_counts_from_0_and_names_what_falls_out() -> None:
    line = Line()
    assert line.comes(frame(checksum=1)) == []  # nobody knows the book that it changes
    first, second = line.comes(SNAPSHOT), line.comes(better())
    assert first == [BookLine(f"BTC%2FUSD={at(3)}.0&depth=10&digits=1.2", SNAPSHOT, at(3))]
    assert second == [BookLine(f"BTC%2FUSD={at(3)}.1&asks=110.0", better(), at(4))]
    assert isinstance(second[0], BookLine)
    assert [(row.kind, row.side, row.price, row.qty, row.position) for row in rows(second[0])] == [
        ("update", "ask", "100.5", "2.00", 0),
        ("evicted", "ask", "110.0", "0", 1),
    ]


def test_no_message_counts_as_received_before_the_one_before_it_whatever_the_clock_of_the_host_does() -> None:
    """Otherwise a message on the date before would seem to be missing, and a moment to be proven by an earlier one."""
    line = Line()
    line.comes(SNAPSHOT)
    line.second -= 30
    (back,) = line.comes(better())
    (again,) = line.session.checkpoints(at(line.second))
    line.second += 60
    (later,) = line.comes(better())
    assert [one.received_ns for one in (back, again, later) if isinstance(one, BookLine)] == [at(2), at(2), at(34)]
    line.comes(frame(checksum=1))
    line.second -= 60
    (_, _, anew) = (line.comes(ack(PAIR, channel="book").encode()), line.ticks(1), line.comes(SNAPSHOT))
    assert [one.received_ns for one in anew if isinstance(one, BookLine)] == [at(line.second)]


def test_all_of_the_real_captures_is_verified_and_line_by_line_the_last_row_of_a_price_is_the_book(
    payloads: Path,
) -> None:
    for capture in captures(payloads):
        session = BookSession(
            capture.digits,
            SessionNumbers(),
            channel=replace(BOOKS, params={"depth": capture.depth}),
            depth=capture.depth,
            digits=capture.digits.get,
        )
        session.opened(0.0)
        kept: dict[str, dict[tuple[str | None, str | None], str]] = {}
        for number, content in enumerate(capture.frames):
            (effect,) = session.receive(content, 1.0, received_ns=T0_NS + number)
            assert isinstance(effect, BookLine)
            assert "mismatch" not in effect.place
            for one in rows(effect):
                assert one.price is not None
                assert one.qty is not None
                kept.setdefault(one.pair, {})[one.side, one.price.rstrip("0")] = one.qty
        for written in session.checkpoints(T0_NS + len(capture.frames)):
            shown = {(one.side, (one.price or "").rstrip("0")): float(one.qty or 0) for one in rows(written)}
            (pair,) = {one.pair for one in rows(written)}
            assert shown == {level: float(qty) for level, qty in kept[pair].items() if float(qty)}


def test_a_checksum_that_does_not_hold_ends_it_before_that_message_and_asks_anew() -> None:
    line = Line()
    line.comes(SNAPSHOT)
    line.comes(better())
    effects = line.comes(frame([("99.0", "5.00")], checksum=7))
    assert effects[0] == BookLine(f"BTC%2FUSD={at(2)}.2&mismatch", frame([("99.0", "5.00")], checksum=7), at(4))
    assert ends(effects) == [BookEnd(PAIR, at(2), 3, at(3), "mismatch")]
    assert methods(effects) == ["unsubscribe", "subscribe"]
    assert line.comes(better()) == []  # until the next snapshot
    again = line.comes(SNAPSHOT)
    assert [type(effect) for effect in again] == [BookLine]


def test_where_that_does_not_help_it_asks_less_and_less_often() -> None:
    line, waits = Line(), []
    wrong = frame(BIDS, ASKS, kind="snapshot", checksum=7)
    for _ in range(4):
        effects = line.comes(wrong)
        assert ends(effects)[0].messages == 1
        began = line.second
        while "subscribe" not in methods(effects):
            effects = line.ticks(1)
        waits.append(line.second - began)
        line.comes(ack(PAIR, channel="book").encode())
    assert waits == [0, 5, 10, 20]


def test_one_that_ran_for_long_is_followed_at_once() -> None:
    line = Line()
    for _ in range(3):
        line.comes(SNAPSHOT)
        line.second += 60
        line.comes(better())
        assert methods(line.comes(frame(checksum=7))) == ["unsubscribe", "subscribe"]


@pytest.mark.parametrize(
    "odd",
    [
        frame([("99.05", "5.00")]),
        frame([("99.0", "5.001")]),
        frame([("null", "5.00")]),
        frame([("99.0", "5.00")], checksum=-1),
        SNAPSHOT[:80],
    ],
    ids=["a finer price", "a finer quantity", "no price", "no checksum", "half of it"],
)
def test_what_cannot_be_applied_is_stored_as_it_came_and_ends_it(odd: bytes) -> None:
    line = Line(PAIR, ETH)
    line.comes(SNAPSHOT)
    line.comes(frame(BIDS, ASKS, kind="snapshot", pair=ETH))
    effects = line.comes(odd)
    assert effects[0] == UnknownFrame("unreadable", odd, at(5))
    assert isinstance(effects[1], UnreadableFrame)
    assert ends(effects) == [BookEnd(PAIR, at(3), 1, at(3), "unreadable")]
    assert methods(effects) == ["unsubscribe", "subscribe"]


def test_where_nobody_can_tell_of_which_pair_a_frame_was_all_end() -> None:
    line = Line(PAIR, ETH)
    line.comes(SNAPSHOT)
    line.comes(frame(BIDS, ASKS, kind="snapshot", pair=ETH))
    assert [end.pair for end in ends(line.comes(SNAPSHOT[:20]))] == [PAIR, ETH]


def test_another_snapshot_replaces_it_and_the_end_of_the_connection_ends_it_at_the_last_sign_of_life() -> None:
    line = Line()
    line.comes(SNAPSHOT)
    assert ends(line.comes(SNAPSHOT)) == [BookEnd(PAIR, at(2), 1, at(2), "replaced")]
    line.comes(b'{"channel":"heartbeat"}')
    assert ends(list(line.session.closed())) == [BookEnd(PAIR, at(3), 1, at(4), "disconnected")]


def test_a_pair_that_leaves_is_recorded_until_its_end_is_acknowledged() -> None:
    line = Line()
    line.comes(SNAPSHOT)
    assert methods(list(line.session.drop([PAIR]))) == ["unsubscribe"]
    assert [type(effect) for effect in line.comes(better())] == [BookLine]
    result = {"channel": "book", "depth": 10, "symbol": PAIR}
    gone = msgspec.json.encode({"method": "unsubscribe", "result": result, "success": True, **TIMES})
    assert ends(line.comes(gone)) == [BookEnd(PAIR, at(2), 2, at(3), "unsubscribed")]
    assert ends(line.comes(frame(BIDS, ASKS, kind="snapshot", checksum=7)))[0].reason == "mismatch"
    assert line.ticks(1) == []


def test_a_snapshot_that_does_not_come_is_asked_for_again() -> None:
    line = Line()
    assert methods(line.ticks(9)) == []
    assert methods(line.ticks(1)) == ["unsubscribe", "subscribe"]


def test_digits_are_the_listed_ones_or_those_of_the_snapshot() -> None:
    short = frame([("100", "1.5")], kind="snapshot", checksum=checksum_of([("100.0", "1.50")], []))
    (padded,) = Line().comes(short)
    assert isinstance(padded, BookLine)
    assert padded.place.endswith("&digits=1.2")
    for listed in (None, Digits(3, 8), Digits(0, 1)):
        (shown,) = Line(digits=listed).comes(SNAPSHOT)
        assert isinstance(shown, BookLine)
        assert shown.place.endswith("&digits=1.2")


def test_it_is_written_down_every_ten_minutes_and_on_each_date_where_messages_come() -> None:
    line = Line()
    line.comes(SNAPSHOT)
    same = frame(checksum=checksum_of(BIDS, ASKS))
    line.second += 598
    assert len(line.comes(same)) == 1
    written = line.comes(same)[1]
    assert isinstance(written, BookLine)
    assert written.is_checkpoint
    found = rows(written)
    assert [(one.kind, one.message, one.position) for one in found] == [("checkpoint", 3, at) for at in range(20)]
    assert [one.checksum for one in found[-2:]] == [None, checksum_of(BIDS, ASKS)]
    midnight = (T0_NS // (86_400 * 10**9) + 1) * 86_400 - T0_NS // 10**9
    late = Line(second=midnight - 4)
    late.comes(SNAPSHOT)
    assert [len(late.comes(same)) for _ in range(4)] == [1, 2, 1, 1]


def test_a_message_without_levels_and_an_empty_book_have_a_row() -> None:
    line = Line()
    (began,) = line.comes(frame(kind="snapshot", checksum=0))
    (written,) = line.session.checkpoints(at(9))
    assert isinstance(began, BookLine)
    for one, kind in ((began, "snapshot"), (written, "checkpoint")):
        assert [(row.kind, row.side, row.price, row.qty, row.checksum) for row in rows(one)] == [
            (kind, None, None, None, 0)
        ]


def test_a_crossed_book_is_stored_and_reported_once() -> None:
    line = Line()
    line.comes(SNAPSHOT)
    bids, asks = [("102.0", "1.00"), *BIDS[:9]], ASKS
    crossed = frame([("102.0", "1.00")], checksum=checksum_of(bids, asks))
    stored, reported = line.comes(crossed)
    assert isinstance(stored, BookLine)
    assert isinstance(reported, UnreadableFrame)
    assert reported.pair == PAIR
    assert len(line.comes(frame(checksum=checksum_of(bids, asks)))) == 1


def test_rows_of_several_pairs_in_one_frame_are_stored_as_frames_of_their_own() -> None:
    line = Line(PAIR, ETH)
    both = framed(row(BIDS, ASKS), row(BIDS, ASKS, pair=ETH), kind="snapshot")
    stored = [effect for effect in line.comes(both) if isinstance(effect, BookLine)]
    assert [one.place.partition("=")[0] for one in stored] == ["BTC%2FUSD", "ETH%2FUSD"]
    assert [one.payload for one in stored] == [SNAPSHOT, frame(BIDS, ASKS, kind="snapshot", pair=ETH)]


def test_a_place_is_read_as_it_was_written() -> None:
    read = book_lines.place("ws:book:3?A%26B%2FUSD=17.4&depth=10&digits=1.2&bids=1.0,2&asks=3.5&mismatch")
    assert read == ("A&B/USD", 17, 4, 10, Digits(1, 2), ["1.0", "2"], ["3.5"], True)
