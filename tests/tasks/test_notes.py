from __future__ import annotations

import json

import pytest

from recorder.core import knowledge
from recorder.core.ids import Span
from recorder.core.knowledge import Confirmed, Void
from recorder.errors import Malformed
from recorder.journal import segment
from recorder.kraken import parse, rest
from recorder.tasks import notes
from recorder.tasks.inbox import Inbox
from recorder.tasks.notes import Notes
from tests.sandbox.conftest import NOW_NS, ManualClock
from tests.tasks.support import BTC, PAIR, journalled

ASKED = rest.ohlc(BTC, "1m")


class Bench:
    def __init__(self) -> None:
        self.inbox = Inbox()
        self.notes = Notes(self.inbox, ManualClock())

    def entries(self) -> list[segment.Entry]:
        return journalled(self.inbox)


def malformed(body: bytes | None, reason: str = "no number") -> Malformed:
    error = Malformed(reason)
    error.body = body
    return error


async def test_a_note_becomes_an_event_of_the_pair_with_its_detail() -> None:
    bench = Bench()
    await bench.notes.take("hole_opened", pair=PAIR, first_id=7, missing=3)
    (entry,) = bench.entries()
    event = parse.journalled_event(entry.source, entry.payload, entry.recv_ns)
    assert event is not None
    assert (event.time_us, event.kind, event.pair) == (NOW_NS // 1000, "hole_opened", PAIR)
    assert json.loads(event.detail) == {"first_id": 7, "missing": 3}


@pytest.mark.parametrize("body", [b'{"error":[],"result":5}', b"not\njson", b"\xff\xfe"])
async def test_an_unreadable_answer_is_kept_as_it_came_and_taken_by_nobody_for_what_was_asked_for(body: bytes) -> None:
    bench = Bench()
    await bench.notes.unreadable(ASKED, malformed(body), pair=PAIR)
    kept, note = bench.entries()
    assert (kept.source, kept.payload) == (
        "rest-unreadable:/0/public/OHLC?pair=XBTUSD&interval=1#BTC%2FUSD",
        body,
    )
    assert parse.journalled_candles(kept.source, kept.payload) == []
    event = parse.journalled_event(note.source, note.payload, note.recv_ns)
    assert event is not None
    assert (event.kind, event.pair) == ("malformed", PAIR)
    assert json.loads(event.detail) == {"source": kept.source, "reason": "no number"}


async def test_of_an_answer_of_no_pair_the_request_alone_is_named() -> None:
    bench = Bench()
    await bench.notes.unreadable(rest.system_status(), malformed(b"[]"))
    assert bench.entries()[0].source == "rest-unreadable:/0/public/SystemStatus"


async def test_without_a_body_the_note_alone_is_taken() -> None:
    bench = Bench()
    await bench.notes.unreadable(ASKED, malformed(None), pair=PAIR)
    assert [entry.source for entry in bench.entries()] == ["note"]


async def test_neither_body_nor_reason_is_kept_beyond_all_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "KEPT_BYTES", 100)
    bench = Bench()
    await bench.notes.unreadable(ASKED, malformed(b"[" * 1000, "x" * 10_000), pair=PAIR)
    kept, note = bench.entries()
    assert kept.payload == b"[" * 100
    assert len(note.payload) < 600


@pytest.mark.parametrize("known", [Void(PAIR, Span(5, 6)), Confirmed(PAIR, 7, 1_783_465_205_000_000)])
async def test_what_is_known_of_ids_is_noted_with_its_evidence(
    known: Void | Confirmed,
) -> None:
    bench = Bench()
    await bench.notes.know(known, answers=2)
    (inbound,) = bench.inbox.take()
    assert inbound.known == known
    entry = segment.decode(inbound.line.rstrip(b"\n"))
    event = parse.journalled_event(entry.source, entry.payload, entry.recv_ns)
    assert event is not None
    assert knowledge.told(event) == known
    assert json.loads(event.detail)["answers"] == 2
