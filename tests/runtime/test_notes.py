from __future__ import annotations

import json
from pathlib import Path

import pytest
import structlog

from recorder.archive import quarantine
from recorder.archive.layout import Layout
from recorder.archive.quarantine import Quarantine
from recorder.core import evidence
from recorder.core.event_kinds import EventKind
from recorder.core.evidence import Confirmed, Void
from recorder.core.trade_ids import Span
from recorder.disk import Disk
from recorder.errors import Malformed
from recorder.journal import segment
from recorder.kraken import records, rest_api
from recorder.runtime import notes
from recorder.runtime.notes import QuarantineNotes
from tests.builders import BTC, PAIR, events
from tests.clocks import NOW_NS, ManualClock
from tests.fakes import Fakes

ASKED = rest_api.ohlc(BTC, "1m")


def malformed(body: bytes | None, reason: str = "no number") -> Malformed:
    error = Malformed(reason)
    error.body = body
    return error


async def test_a_note_becomes_an_event_of_the_pair_with_its_detail(fakes: Fakes) -> None:
    await fakes.notes.event(EventKind.HOLE_OPENED, pair=PAIR, first_id=7, missing=3)
    (event,) = events(fakes.journalled())
    assert (event.time_us, event.kind, event.pair) == (NOW_NS // 1000, "hole_opened", PAIR)
    assert json.loads(event.detail) == {"first_id": 7, "missing": 3}


@pytest.mark.parametrize("body", [b'{"error":[],"result":5}', b"not\njson", b"\xff\xfe"])
async def test_an_unreadable_answer_is_stored_and_never_taken_for_valid(fakes: Fakes, body: bytes) -> None:
    await fakes.notes.unreadable(ASKED, malformed(body), pair=PAIR)
    kept, note = fakes.journalled()
    assert (kept.source, kept.payload) == (
        "rest-unreadable:/0/public/OHLC?pair=XBTUSD&interval=1#BTC%2FUSD",
        body,
    )
    assert isinstance(records.read(kept), records.UnreadableRecord)
    (event,) = events([note])
    assert (event.kind, event.pair) == ("malformed", PAIR)
    assert json.loads(event.detail) == {"source": kept.source, "reason": "no number"}


async def test_of_an_answer_of_no_pair_the_request_alone_is_named(fakes: Fakes) -> None:
    await fakes.notes.unreadable(rest_api.system_status(), malformed(b"[]"))
    assert fakes.journalled()[0].source == "rest-unreadable:/0/public/SystemStatus"


async def test_without_a_body_the_note_alone_is_taken(fakes: Fakes) -> None:
    await fakes.notes.unreadable(ASKED, malformed(None), pair=PAIR)
    assert [entry.source for entry in fakes.journalled()] == ["note"]


async def test_neither_body_nor_reason_is_kept_beyond_all_measure(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "KEPT_BYTES", 100)
    await fakes.notes.unreadable(ASKED, malformed(b"[" * 1000, "x" * 10_000), pair=PAIR)
    kept, note = fakes.journalled()
    assert kept.payload == b"[" * 100
    assert len(note.payload) < 600


@pytest.mark.parametrize("known", [Void(PAIR, Span(5, 6)), Confirmed(PAIR, 7, 1_783_465_205_000_000)])
async def test_what_is_known_of_ids_is_noted_with_its_evidence(
    fakes: Fakes,
    known: Void | Confirmed,
) -> None:
    await fakes.notes.evidence(known, answers=2)
    (inbound,) = fakes.inbox.take()
    assert inbound.known == known
    entry = segment.decode(inbound.line.rstrip(b"\n"))
    (event,) = events([entry])
    assert evidence.from_event(event) == known
    assert json.loads(event.detail)["answers"] == 2


async def test_beside_a_daemon_an_unreadable_answer_is_quarantined_with_its_reason(
    tmp_path: Path,
) -> None:
    aside = QuarantineNotes(Quarantine(Layout(tmp_path), Disk(), staging=tmp_path), ManualClock())
    await aside.unreadable(ASKED, malformed(b"[5]"), pair=PAIR)
    (kept,) = quarantine.listed(Layout(tmp_path))
    assert (kept.recv_ns, kept.reason, kept.pair, kept.why) == (NOW_NS, "malformed", PAIR, "no number")
    entry = segment.decode(kept.line)
    assert (entry.recv_ns, entry.source) == (NOW_NS, "rest-unreadable:/0/public/OHLC?pair=XBTUSD&interval=1#BTC%2FUSD")
    assert entry.payload == b"[5]"


async def test_of_very_many_unreadable_answers_in_files_only_the_first_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "KEPT_ASIDE", 2)
    aside = QuarantineNotes(Quarantine(Layout(tmp_path), Disk(), staging=tmp_path), ManualClock(look_ns=1))
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            await aside.unreadable(ASKED, malformed(b"[5]"))
    assert len(list((tmp_path / "quarantine").iterdir())) == 2
    assert [line["event"] for line in said] == ["answer stored but not understood"] * 2 + [
        "answer not understood and, like earlier ones, not stored"
    ]
