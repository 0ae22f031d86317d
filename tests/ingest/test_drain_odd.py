"""Odd rows and odd lines at the drain: set aside, told once, and all else is archived."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from recorder.archive import datasets, quarantine
from recorder.archive.datasets import EVENTS
from recorder.archive.footer import Footer
from recorder.archive.quarantine import QuarantinedRow
from recorder.core.evidence import Promise
from recorder.core.model import Event, Trade
from recorder.core.report_once import ReportOnce
from recorder.core.trade_ids import Span
from recorder.errors import Unstorable
from recorder.ingest.drain import Drainer
from recorder.ingest.drained_segment import REPORTED_SINGLY
from recorder.journal import segment
from recorder.kraken import records, rest_api
from recorder.ops.metrics import Metrics
from tests.archive.candles import rows
from tests.builders import BTC, PAIR, Shop, frame, shop

CAME_NS = 1_783_465_206_000_000_000


class Bench:
    def __init__(self, opened: Shop) -> None:
        self.opened = opened
        self.drainer = Drainer(
            opened.journal, opened.archive, opened.tables, keep_raw=False, latest_s=lambda: 1.0, metrics=Metrics()
        )

    def drain(self, *lines: bytes) -> None:
        self.opened.journal.append(lines)
        self.opened.journal.rotate(2)
        self.drainer.drain(*self.opened.journal.closed())

    def kept(self) -> list[QuarantinedRow]:
        return list(quarantine.listed(self.opened.layout))

    def told(self) -> list[tuple[str | None, dict[str, object]]]:
        found = rows(self.opened.layout.data, "events")
        return [(one["pair"], json.loads(one["detail"])) for one in found if one["kind"] == "malformed"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with shop(tmp_path) as opened:
        yield Bench(opened)


def line(payload: bytes, source: str = "ws:trade:1") -> bytes:
    return segment.encode(CAME_NS, source, payload)


def spoilt(first: int, last: int, odd: int, old: bytes = b'"side":"buy"', new: bytes = b'"side":"hold"') -> bytes:
    before, after = frame(first, last).split(b'"trade_id":%d,' % odd)
    at = before.rindex(old)
    return before[:at] + new + before[at + len(old) :] + b'"trade_id":%d,' % odd + after


@pytest.mark.parametrize("source", ["ws:odd:1", "ws:trade:1", "ws:parked:1?ETH%2FUSD=7"])
def test_an_odd_row_of_a_frame_is_set_aside_and_told_with_its_id(bench: Bench, source: str) -> None:
    odd = line(spoilt(1, 5, 3), source)
    bench.drain(odd, line(frame(6, 7)))
    assert bench.opened.ids() == [1, 2, 4, 5, 6, 7]
    (kept,) = bench.kept()
    assert (kept.reason, kept.pair, kept.spans, kept.line) == ("odd", PAIR, (Span(3, 3),), odd.rstrip(b"\n"))
    ((pair, detail),) = bench.told()
    assert (pair, detail["trade_id"], detail["source"]) == (PAIR, 3, source)
    assert "hold" in str(detail["reason"])


def test_what_came_before_is_told_once_also_by_another_way(bench: Bench) -> None:
    for _ in range(3):
        bench.drain(line(spoilt(1, 5, 3), "ws:odd:1"), line(spoilt(1, 5, 3), "ws:odd:2"))
    assert len(bench.kept()) == len(bench.told()) == 1


def test_of_very_many_odd_rows_all_are_kept_and_so_many_told_one_by_one(bench: Bench) -> None:
    count = REPORTED_SINGLY + 20
    bench.drain(*(line(spoilt(10 * at + 1, 10 * at + 3, 10 * at + 2), "ws:odd:1") for at in range(count)))
    assert len(bench.kept()) == count
    told = bench.told()
    assert len(told) == REPORTED_SINGLY + 1
    more = "20 more rows could not be read: they are stored as well"
    assert (PAIR, {"source": "journal", "reason": more}) in told


def test_unreadable_rows_of_a_page_are_reported_with_their_possible_ids(bench: Bench) -> None:
    source = records.odd_source(rest_api.trades(BTC), PAIR)
    bench.drain(line(b'{"ids":[[3,5],null],"rows":[null,["x"]]}', source))
    (kept,) = bench.kept()
    assert kept.spans == (Span(3, 5),)
    details = [detail for _, detail in bench.told()]
    assert sorted((detail.get("first_id", 0), detail.get("last_id", 0)) for detail in details) == [(0, 0), (3, 5)]
    assert not any("trade_id" in detail for detail in details)


def test_an_odd_candle_is_set_aside_and_the_others_are_archived(bench: Bench) -> None:
    rows = [[60 * minute, "1", "1", "1", "1", None if minute == 2 else "1", "1", 1] for minute in range(6)]
    body = json.dumps({"error": [], "result": {"XXBTZUSD": rows, "last": 240}}).encode()
    for _ in range(2):
        bench.drain(line(body, records.rest_source(rest_api.ohlc(BTC, "1m"), PAIR)))
    assert len(list((bench.opened.layout.data / "ohlc/timeframe=1m").rglob("*-*.parquet"))) == 1
    assert [(kept.reason, kept.pair) for kept in bench.kept()] == [("odd", PAIR)]
    assert len(bench.told()) == 1


def test_unusual_trades_are_stored_and_reported_once_per_pair(bench: Bench) -> None:
    zero = frame(1, 2).replace(b"63501.6", b"0").replace(b"0.00100000", b"0.00000000")
    other = frame(3, 4).replace(b'"limit"', b'"iceberg"')
    bench.drain(line(zero), line(other), line(zero), line(frame(5, 5).replace(b"63501.6", b"0.0")))
    assert bench.opened.ids() == [1, 2, 3, 4, 5]
    assert [detail["reason"] for _, detail in bench.told()] == [
        "trade 1 has the price 0: stored as it came",
        "trade 1 has the quantity 0: stored as it came",
        "trade 3 has the order type 'iceberg', neither 'limit' nor 'market': stored as it came",
    ]
    assert bench.kept() == []


# -- lines that the archive does not take ---------------------------------------------------------------------------


def test_numbers_that_nobody_looked_at_when_they_came_cost_their_row(bench: Bench) -> None:
    """A line of another release, which held other numbers for fitting."""
    bench.drain(line(frame(1, 3)), line(spoilt(4, 6, 5, b"63501.6", b"1e20")), line(frame(7, 9)))
    assert bench.opened.ids() == [1, 2, 3, 4, 6, 7, 8, 9]
    (kept,) = bench.kept()
    assert (kept.reason, kept.spans) == ("odd", (Span(5, 5),))


def test_a_line_of_trades_that_no_column_takes_is_set_aside_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = bench.opened.archive._write

    def write(pair: str, year: int, rows: Sequence[Trade], promise: Promise | None) -> Footer:
        if any(row.trade_id == 42 for row in rows):
            raise Unstorable("no column takes it")
        return append(pair, year, rows, promise)

    monkeypatch.setattr(bench.opened.archive, "_write", write)
    bench.drain(*(line(frame(first, first + 4)) for first in range(1, 100, 5)))
    assert bench.opened.ids() == [one for one in range(1, 101) if not 41 <= one <= 45]
    (kept,) = bench.kept()
    assert (kept.reason, kept.pair) == ("refused", PAIR)
    assert b'"trade_id":42' in kept.line
    assert len(bench.told()) == 1
    assert bench.drainer.touched() is None, "what was counted is not there: all is compared"


@pytest.mark.parametrize("error", [pa.ArrowInvalid("no"), OverflowError("no"), pa.ArrowTypeError("no")])
def test_a_line_of_any_other_table_that_no_column_takes_is_set_aside_alone(bench: Bench, error: Exception) -> None:
    build = EVENTS.build

    def building(rows: Sequence[Event]) -> pa.Table:
        if any("spoilt" in row.detail and row.kind == "connected" for row in rows):
            raise error
        return build(rows)

    with contextlib.ExitStack() as stack:
        object.__setattr__(datasets.EVENTS, "build", building)
        stack.callback(object.__setattr__, datasets.EVENTS, "build", build)
        notes = [segment.encode_note(CAME_NS + at, "connected", connection=at) for at in range(5)]
        bad = segment.encode_note(CAME_NS, "connected", spoilt=True)
        bench.drain(*notes[:3], bad, *notes[3:], line(frame(1, 2)))
    assert bench.opened.ids() == [1, 2]
    found = rows(bench.opened.layout.data, "events")
    assert sorted(one["kind"] for one in found) == ["connected"] * 5 + ["malformed"]
    (kept,) = bench.kept()
    assert (kept.reason, kept.line) == ("refused", bad.rstrip(b"\n"))


def test_lines_that_nobody_understands_are_kept_for_good(bench: Bench) -> None:
    unknown = line(b"{}", "who:knows")
    bench.drain(unknown, line(b'{"channel":"trade"}'), line(b"[]", "note"))
    assert sorted(kept.reason for kept in bench.kept()) == ["malformed"] * 3
    assert unknown.rstrip(b"\n") in [kept.line for kept in bench.kept()]


def test_once_forgets_what_is_oldest() -> None:
    once = ReportOnce(remembered=2)
    assert [once.is_first(one) for one in (1, 1, 2, 3, 1)] == [True, False, True, True, True]
