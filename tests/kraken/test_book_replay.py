"""A replay verifies what is there, and finds a changed digit, a missing message and a wrong checkpoint."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from recorder.journal import segment
from recorder.kraken import records
from recorder.kraken.book_replay import BookFault, DayShare, SessionFacts, StoredRow, replayed
from recorder.kraken.book_session import BookSession
from recorder.kraken.channels import BOOKS
from recorder.kraken.quote_session import SessionNumbers
from tests.book_journal import encoded
from tests.kraken.book_captures import PAIR, captures

DAY = "2026-07-07"
SESSION = 1_783_465_205_000_000_000
FACTS = {SESSION: SessionFacts(1, 8, None)}


@pytest.fixture(scope="module")
def rows(payloads: Path) -> list[StoredRow]:
    """The rows of 510 real frames, with a checkpoint after 300 of them and one at the end."""
    capture = captures(payloads)[2]
    channel = replace(BOOKS, params={"depth": 10})
    session = BookSession([PAIR], SessionNumbers(), channel=channel, depth=10, digits=capture.digits.get)
    session.opened(0.0)
    lines: list[bytes] = []
    for number, frame in enumerate(capture.frames):
        if number == 300:
            lines += encoded(list[object](session.checkpoints(SESSION + number)))
        lines += encoded(list(session.receive(frame, 0.0, received_ns=SESSION + number)))
    lines += encoded(list[object](session.checkpoints(SESSION + 510)))
    found = []
    for line in lines:
        record = records.read(segment.decode(line[:-1]))
        assert isinstance(record, records.StreamedBook)
        for row in record.parts()[PAIR]:
            price, qty = (None if text is None else Decimal(text) for text in (row.price, row.qty))
            found.append(StoredRow(DAY, row.session, row.message, row.kind, row.side, price, qty, row.checksum))
    return found


def test_all_of_a_real_session_is_verified(rows: list[StoredRow]) -> None:
    result = replayed(rows, FACTS)
    assert (result.days, result.faults) == ({DAY: DayShare(512, 512)}, [])


def test_a_missing_message_splits_the_session_until_the_next_checkpoint(rows: list[StoredRow]) -> None:
    result = replayed([row for row in rows if row.message != 200], FACTS)
    assert result.faults == [BookFault(DAY, SESSION, 201, "messages 200 to 200 are missing")]
    assert result.days == {DAY: DayShare(511, 213)}, "the snapshot, and all from the checkpoint on"


def test_a_changed_digit_is_found_at_the_next_checkpoint(rows: list[StoredRow]) -> None:
    shown = {(row.side, row.price) for row in rows if row.message == 300}
    last = max(at for at, row in enumerate(rows) if row.message < 300 and (row.side, row.price) in shown)
    changed = [*rows]
    changed[last] = rows[last]._replace(qty=(rows[last].qty or Decimal()) + Decimal("1e-8"))
    result = replayed(changed, FACTS)
    assert [(fault.message, fault.problem) for fault in result.faults] == [
        (300, "a checkpoint differs from what the messages before it lead to")
    ]
    assert result.days[DAY].verified == 213


def test_a_checkpoint_whose_levels_were_changed_does_not_have_its_checksum(rows: list[StoredRow]) -> None:
    at = next(number for number, row in enumerate(rows) if row.message == 0)
    changed = [*rows]
    changed[at] = rows[at]._replace(price=(rows[at].price or Decimal()) + Decimal("0.1"))
    (fault, *_) = replayed(changed, FACTS).faults
    assert (fault.message, fault.problem.partition("checksum")[0]) == (0, "its levels do not have the exchange's ")


def test_what_the_recorder_itself_did_not_verify_is_no_fault_and_not_verified(rows: list[StoredRow]) -> None:
    some = [row for row in rows if row.message <= 100]
    result = replayed(some, {SESSION: SessionFacts(1, 8, 100)})
    assert (result.days, result.faults) == ({DAY: DayShare(101, 100)}, [])


def test_a_session_of_which_nothing_tells_is_a_fault_and_one_without_its_beginning_is_not(
    rows: list[StoredRow],
) -> None:
    assert [fault.problem for fault in replayed(rows, {}).faults] == ["no row of book_sessions tells of its session"]
    result = replayed([row for row in rows if row.message > 50], FACTS)
    assert (result.days, result.faults) == ({DAY: DayShare(461, 212)}, [])
