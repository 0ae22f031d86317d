from __future__ import annotations

import json
from pathlib import Path

import pytest

from recorder.archive.layout import Layout
from recorder.core.absent_ids import NOTHING
from recorder.core.gaps import Gaps
from recorder.core.model import Event
from recorder.core.trade_ids import Gap, Run, Span
from recorder.errors import CorruptFile, NoSuchArchive
from recorder.journal import segment
from recorder.ops import missing_ids
from tests.archives import START_US, trade, trades, writing

PAIR = "BTC/USD"


def at_us(trade_id: int) -> int:
    return START_US + trade_id * 1_000_000


def void(first_id: int, last_id: int, *, pair: str = PAIR) -> Event:
    return Event(START_US, "void", pair, json.dumps({"first_id": first_id, "last_id": last_id}))


def test_holes_and_void_ids_are_told_apart(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.append([*trades(3, 5), *trades(9, 9), *trades(20, 21), *trades(1, 2, pair="ETH/USD")])
        archive.noted(void(1, 2), void(7, 7), void(21, 25), void(1, 1, pair="SOL/USD"))
    assert missing_ids.read(tmp_path) == {
        PAIR: [
            Gap(PAIR, Span(1, 2), None, at_us(3), "void"),
            Gap(PAIR, Span(6, 6), at_us(5), at_us(9), "open"),
            Gap(PAIR, Span(7, 7), at_us(5), at_us(9), "void"),
            Gap(PAIR, Span(8, 8), at_us(5), at_us(9), "open"),
            Gap(PAIR, Span(10, 19), at_us(9), at_us(20), "open"),
            Gap(PAIR, Span(22, 25), at_us(21), None, "void"),
        ],
        "ETH/USD": [],
    }


def test_what_is_only_in_the_journal_is_held_and_known(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.append([trade(1), trade(9)])
        archive.journalled(trades(2, 4))
        archive.journal.append([segment.encode_note(START_US * 1000, "void", pair=PAIR, first_id=6, last_id=7)])
        found = missing_ids.read(tmp_path)[PAIR]
    assert [(one.span, one.state) for one in found] == [
        (Span(5, 5), "open"),
        (Span(6, 7), "void"),
        (Span(8, 8), "open"),
    ]


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.append([trade(1)])
        archive.noted(void(1, 2))
    (events,) = (tmp_path / "events" / "year=2025").glob("*.parquet")
    events.write_bytes(events.read_bytes()[:-1])
    with pytest.raises(CorruptFile, match=str(events)):
        missing_ids.read(tmp_path)


def test_without_an_archive_there_is_nothing_to_tell(tmp_path: Path) -> None:
    with pytest.raises(NoSuchArchive):
        missing_ids.read(tmp_path / "nowhere")


def test_the_ids_that_may_still_come_are_no_hole() -> None:
    held = [Run(PAIR, Span(5, 6), 1, 2)]
    assert missing_ids.missing(PAIR, held, NOTHING) == []
    unknown = [*Gaps(PAIR, held).before(), *Gaps(PAIR, held).after()]
    assert [gap.span.first for gap in unknown] == [1, 7]
    assert Layout(Path("a")).pairs() == []
