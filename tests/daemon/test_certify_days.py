"""The daemon certifies each day once, again where it lawfully changed, and never what merely took its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import msgspec
import pytest

from recorder.archive import load_ledger
from recorder.core import evidence
from recorder.core.certificate import DAY_US
from recorder.core.evidence import Anchored, Certified, Confirmed, Disowned, Promised
from recorder.core.ledger import Ledger
from recorder.core.model import Event, Trade
from recorder.core.trade_ids import Span
from recorder.daemon.certify_days import CertifyDays
from recorder.kraken import records
from tests.archives import START_US, Written, trade, writing
from tests.builders import journalled
from tests.fakes import Fakes

PAIR = "BTC/USD"
HOUR_US = DAY_US // 24
NOW_US = START_US + 9 * DAY_US
DAYS = [date(2025, 11, day) for day in range(10, 20)]


def rows(first: int, last: int, *, begins: int = 0) -> list[Trade]:
    """Trades eight hours apart: three of each day, ids 1 and 2 on the first."""
    return [trade(one, START_US - 8 * HOUR_US + (begins + one) * 8 * HOUR_US) for one in range(first, last + 1)]


@dataclass
class Bench:
    """An archive, and a recorder that remembers; ``told`` are the days that it certified."""

    archive: Written
    fakes: Fakes = field(default_factory=Fakes)
    ledger: Ledger = field(default_factory=Ledger)
    told: list[Certified] = field(default_factory=list)
    others: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew with what is on the disk."""
        self.ledger = Ledger()
        load_ledger.load(self.ledger, self.archive.layout, [])
        self.remember = CertifyDays(self.ledger, self.archive.writer, self.fakes.context, now_s=lambda: None)

    async def look(self, now_us: int = NOW_US) -> list[Certified]:
        """Let it look once; return what it certified, which is archived."""
        load_ledger.load(self.ledger, self.archive.layout, [])
        await self.remember.round(now_us)
        entries = journalled(self.fakes.context.inbox.take())
        events = [record.event() for record in map(records.read, entries) if isinstance(record, records.Note)]
        if events:
            self.archive.noted(*events)
        found = [one for one in map(evidence.from_event, events) if isinstance(one, Certified)]
        self.others += [one for one in events if one.kind != "certified"]
        for one in found:
            self.ledger.know(one)
        self.told += found
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with writing(tmp_path / "data") as archive:
        for known in (Promised(PAIR, START_US - HOUR_US), Anchored(PAIR, START_US - HOUR_US, 0)):
            archive.noted(Event(START_US, evidence.kind(known), PAIR, json.dumps(evidence.detail(known))))
        yield Bench(archive)


def short(certified: list[Certified]) -> list[tuple[int, int, int, int, int]]:
    return sorted((one.day.day, one.revision, one.rows, one.first_id, one.last_id) for one in certified)


async def test_each_day_is_certified_once_when_it_is_over_and_proven(bench: Bench) -> None:
    bench.archive.append(rows(1, 7))
    assert short(await bench.look(START_US + DAY_US)) == [(10, 1, 2, 1, 2)], (
        "that of the promise too; today is not over"
    )
    assert await bench.look(START_US + DAY_US) == []
    assert short(await bench.look()) == [(11, 1, 3, 3, 5)], "after the last trade nothing is proven"
    bench.archive.append(rows(8, 12))
    assert short(await bench.look()) == [(12, 1, 3, 6, 8), (13, 1, 3, 9, 11)]
    bench.archive.compact()
    assert await bench.look() == [], "other files, the same rows"
    bench.restart()
    assert await bench.look() == []
    assert all(len(one.sha256) == 64 for one in bench.told)


async def test_a_day_without_trades_is_certified_only_once_confirmed(bench: Bench) -> None:
    bench.archive.append(rows(1, 2))
    bench.ledger.know(Confirmed(PAIR, 2, START_US + 4 * DAY_US))
    assert short(await bench.look()) == [(10, 1, 2, 1, 2)]


async def test_a_day_with_a_hole_waits_until_it_is_filled(bench: Bench) -> None:
    bench.archive.append([*rows(1, 3), *rows(5, 9)])
    assert short(await bench.look()) == [(10, 1, 2, 1, 2), (12, 1, 3, 6, 8)]
    bench.archive.append(rows(4, 4))
    assert short(await bench.look()) == [(11, 1, 3, 3, 5)]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_day_to_which_history_comes_is_told_again(bench: Bench, *, restarts: bool) -> None:
    known = Promised(PAIR, START_US - 2 * HOUR_US)
    anchored = Anchored(PAIR, START_US - 2 * HOUR_US, 1)
    for one in (known, anchored):
        bench.archive.noted(Event(START_US, evidence.kind(one), PAIR, json.dumps(evidence.detail(one))))
    bench.restart()
    bench.archive.append([trade(one, START_US + (one - 1) * 4 * HOUR_US) for one in (2, 3, 4, 5)])
    assert short(await bench.look()) == [(10, 1, 1, 2, 2)] or short(bench.told)[0][:3] == (10, 1, 2)
    before = bench.told[0]
    bench.archive.append([trade(1, START_US - 5 * HOUR_US)])
    if restarts:
        bench.restart()
    (again,) = await bench.look()
    assert (again.day, again.revision, again.rows, again.first_id) == (before.day, 2, before.rows + 1, 1)
    assert bench.others == []


async def test_other_content_under_certified_ids_is_reported_and_uncertified(bench: Bench) -> None:
    bench.archive.append(rows(1, 7))
    await bench.look()
    was = list(bench.told)
    (path,) = bench.archive.files()
    with writing(bench.archive.data.parent / "other") as other:
        other.append([msgspec.structs.replace(row, price=row.price + 1) for row in rows(1, 7)])
        path.unlink()
        shutil.copy(other.files()[0], path)
    assert await bench.look() == []
    assert {json.loads(one.detail)["day"] for one in bench.others} == {one.day.isoformat() for one in was}
    assert {one.kind for one in bench.others} == {"unlike"}
    assert (bench.fakes.value("recorder_certificates_broken_total") or 0) == len(was)


async def test_what_vanished_and_came_back_is_no_news(bench: Bench) -> None:
    bench.archive.append(rows(1, 4))
    bench.archive.append(rows(5, 9))
    await bench.look()
    lost = [path for path in bench.archive.files() if path.name.startswith("000000000001")]
    for path in lost:
        path.unlink()
    assert await bench.look() == []
    bench.archive.append(rows(1, 4))
    assert await bench.look() == []
    assert bench.others == []


async def test_a_day_with_released_ids_is_certified_again_when_rows_arrive(bench: Bench) -> None:
    bench.archive.append(rows(1, 4))
    bench.archive.append(rows(5, 9))
    await bench.look()
    for path in bench.archive.files():
        if path.name.startswith("000000000001"):
            path.unlink()
    bench.restart()
    await bench.look()
    bench.ledger.know(Disowned(PAIR, Span(1, 3), START_US, "released"))
    bench.archive.append(rows(4, 4))
    assert short(await bench.look()) == [(11, 2, 2, 4, 5)]
    assert bench.others == []
