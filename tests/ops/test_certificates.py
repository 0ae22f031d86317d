from __future__ import annotations

import csv
import gzip
import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from recorder.archive import stored_evidence
from recorder.archive.integrity import Days
from recorder.archive.layout import Layout
from recorder.core.certificate import DAY_US, utc_day
from recorder.core.model import Event, Trade
from recorder.core.trade_ids import Span
from recorder.ops import certificates, missing_ids
from recorder.ops.certificates import ANCHORED_WITHIN_US, PairCertificates
from tests.archives import START_US, Written, trade, trades, writing
from tests.end_to_end.harness import SHARED

PAIR = "BTC/USD"
TETHER = "BTC/USDT"
DAY = utc_day(START_US)
BULK = SHARED / "data/real/trades_bulk/BTC_USDT_2023-11_with_ids.csv.gz"
PAGE = SHARED / "data/real/rest/trades_XBTUSDT_2025-11-10.json"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data in ../shared is not here")


def certified(archive: Written, *pairs: str, now_us: int, days: Days | None = None) -> list[PairCertificates]:
    return list(
        certificates.certify(
            archive.layout, pairs, stored_evidence.read(archive.layout), now_us=now_us, days=days or Days()
        )
    )


def statuses(archive: Written, *, now_us: int) -> list[str]:
    (one,) = certified(archive, PAIR, now_us=now_us)
    assert not one.findings
    return [day.status for day in one.certificates]


def daily(*ids: int) -> list[Trade]:
    """Return trades, id ``n`` on day ``n`` of these stories at noon."""
    return [trade(trade_id, START_US + trade_id * DAY_US) for trade_id in ids]


def told(kind: str, **detail: int) -> Event:
    return Event(START_US, kind, PAIR, json.dumps(detail))


def test_a_thin_pairs_last_day_becomes_complete_by_confirmation(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.append([*daily(1, 2), trade(3, START_US + 4 * DAY_US)])
        now_us = START_US + 6 * DAY_US
        assert statuses(archive, now_us=now_us) == ["complete", "complete", "empty", "open", "open", "pending"]
        midnight_us = START_US - START_US % DAY_US + 5 * DAY_US
        archive.noted(told("confirmed", last_id=3, until_us=midnight_us - 1))
        assert statuses(archive, now_us=now_us)[3:] == ["open", "open", "pending"]
        archive.noted(told("confirmed", last_id=3, until_us=midnight_us))
        assert statuses(archive, now_us=now_us)[3:] == ["complete", "open", "pending"]
        archive.noted(told("confirmed", last_id=3, until_us=now_us))
        assert statuses(archive, now_us=now_us)[3:] == ["complete", "empty", "pending"]


def test_a_pair_whose_ids_begin_at_3_becomes_complete_once_the_lower_ones_are_void(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.append(daily(3, 4))
        now_us = START_US + 4 * DAY_US
        assert statuses(archive, now_us=now_us) == ["partial", "pending"]
        archive.noted(told("void", first_id=1, last_id=2))
        assert statuses(archive, now_us=now_us) == ["complete", "pending"]


def test_pairs_come_one_after_another_and_only_the_days_asked_for(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.append([*daily(1, 2, 3), trade(1, START_US + DAY_US, pair="ETH/USD")])
        asked = DAY + timedelta(days=2)
        found = certified(archive, "ETH/USD", PAIR, now_us=START_US + 9 * DAY_US, days=Days(asked, asked))
    assert [(one.pair, [day.day for day in one.certificates]) for one in found] == [
        ("ETH/USD", [asked]),
        (PAIR, [asked]),
    ]
    (day,) = found[1].certificates
    assert (day.status, day.held and day.held.rows) == ("complete", 1)


def test_a_damaged_file_of_events_is_no_finding_of_a_pair_but_one_of_the_other_tables(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.append([*daily(1), trade(1, pair="ETH/USD")])
        archive.noted(told("void", first_id=5, last_id=5))
        (events,) = (tmp_path / "events" / "year=2025").glob("*.parquet")
        events.write_bytes(events.read_bytes()[:-1])
        found = certified(archive, PAIR, "ETH/USD", now_us=START_US)
        others = certificates.other_findings(archive.layout, days=None)
    assert [one.findings for one in found] == [(), ()]
    assert {one.status for pair in found for one in pair.certificates} == {"unknown"}, "nobody knows what it told"
    assert [finding.file for finding in others] == [events]


def real(row: dict[str, str]) -> Trade:
    price, qty = Decimal(row["price"]), Decimal(row["amount"])
    side = "buy" if row["side"] == "buy" else "sell"
    time_us = int(row["timestamp_ms"]) * 1000
    return Trade(TETHER, int(row["id"]), time_us, price, qty, side, "limit", "", "rest", None)  # type: ignore[arg-type]


@needs_shared
def test_the_26_trades_that_a_downloader_threw_away_are_found_and_no_others(tmp_path: Path) -> None:
    with gzip.open(BULK, "rt") as file:
        rows = [real(row) for row in csv.DictReader(file)]
    ids = {row.trade_id for row in rows}
    lost = [one for one in range(min(ids), max(ids)) if one not in ids]
    assert len(lost) == 26
    with writing(tmp_path) as archive:
        archive.append(rows[:9000])
        archive.append(rows[9000:])
        (one,) = certified(archive, TETHER, now_us=rows[-1].time_us)
    assert not one.findings
    assert [(gap.span, gap.state) for gap in missing_ids.read(tmp_path)[TETHER]] == [(Span(n, n), "open") for n in lost]
    assert sum(day.missing for day in one.certificates) == 26
    by_id = {row.trade_id: row for row in rows}
    for day in one.certificates:
        # Each lost trade lies between its neighbours, which were made on the same day, all 26 times.
        inside = [n for n in lost if utc_day(by_id[n - 1].time_us) == utc_day(by_id[n + 1].time_us) == day.day]
        assert day.missing == len(inside)


@needs_shared
def test_a_real_page_certifies_its_inner_part(tmp_path: Path) -> None:
    page = json.loads(PAGE.read_text(), parse_float=str)["result"]["XBTUSDT"]
    rows = [
        Trade(
            TETHER,
            trade_id,
            int(Decimal(time) * 1_000_000),
            Decimal(price),
            Decimal(qty),
            "buy" if side == "b" else "sell",
            "limit",
            misc,
            "rest",
            None,
        )
        for price, qty, time, side, _, misc, trade_id in page
    ]
    with writing(tmp_path) as archive:
        archive.append(rows)
        (one,) = certified(archive, TETHER, now_us=rows[-1].time_us)
        first, last = one.certificates
        assert not missing_ids.read(tmp_path)[TETHER]
        assert (first.day, first.missing, first.before, first.after) == (date(2025, 11, 10), 0, True, False)
        assert (last.day, last.status, last.missing, last.before) == (date(2025, 11, 11), "pending", 0, False)
        assert sum(day.held.rows for day in one.certificates if day.held) == 1000
        # Were the trade before the page held, and made the day before, all of the first day would be proven.
        archive.append([trade(rows[0].trade_id - 1, rows[0].time_us - DAY_US, pair=TETHER)])
        (one,) = certified(archive, TETHER, now_us=rows[-1].time_us)
        assert [day.status for day in one.certificates] == ["partial", "complete", "pending"]
        assert one.certificates[1].held == first.held


def test_a_pair_is_unanchored_once_it_has_rows_or_an_hour_has_passed(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.noted(told("promised", time_us=START_US))
        early, late = START_US + ANCHORED_WITHIN_US - 1, START_US + ANCHORED_WITHIN_US
        assert [one.unanchored for now_us in (early, late) for one in certified(archive, PAIR, now_us=now_us)] == [
            False,
            True,
        ]
        archive.append(daily(3, 4))
        assert [one.unanchored for one in certified(archive, PAIR, now_us=early)] == [True]
        archive.noted(told("anchored", time_us=START_US, after_id=2, assumed=False))
        (one,) = certified(archive, PAIR, now_us=START_US + 4 * DAY_US)
        assert not one.unanchored
        assert [day.status for day in one.certificates] == ["partial", "empty", "empty", "complete", "pending"]


def test_ids_that_are_disowned_and_held_are_named_with_what_ends_it(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.append(trades(1, 5))
        claim = {"first_id": 2, "last_id": 3, "time_us": 5, "reason": "odd"}
        archive.noted(Event(START_US, "disowned", "BTC/USD", json.dumps(claim)))
        layout = Layout(tmp_path)
        ((one),) = certificates.certify(layout, ["BTC/USD"], stored_evidence.read(layout), now_us=START_US + 9 * DAY_US)
        assert [finding.problem for finding in one.findings] == ["holds ids 2..3 that are disowned"]
        told = stored_evidence.read(layout)
        archive.noted(Event(START_US, "reclaimed", "BTC/USD", json.dumps({**claim, "time_us": 6})))
        ((one),) = certificates.certify(layout, ["BTC/USD"], told, now_us=START_US + 9 * DAY_US)
        assert one.findings == ()
