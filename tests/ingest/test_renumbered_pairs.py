"""A pair that the exchange counts from 1 again: nothing of it is lost, nothing mixed, and nothing certified."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from recorder.archive import quarantine, read_trades, renumbering, stored_evidence
from recorder.archive.layout import Layout
from recorder.core import evidence
from recorder.core.certificate import DAY_US
from recorder.core.evidence import Confirmed, Knowledge, Promised, Void
from recorder.core.model import Event, Trade
from recorder.core.trade_ids import Span, Spans, runs_of
from recorder.ingest import renumbered_pairs as module
from recorder.ingest.drain import Drainer
from recorder.ingest.renumbered_pairs import RenumberedPairs
from recorder.journal import segment
from recorder.kraken import rest_api
from recorder.kraken.rest_api import Request
from recorder.net.http import HttpAnswer
from recorder.ops import archive_status, certificates, missing_ids
from recorder.repair.catch_up import CatchUp
from recorder.runtime.newest_trades import fetch_newer
from tests.builders import BTC, PAIR, T0_US, Shop, frame, shop, trades
from tests.clocks import NOW_NS, running, settle_until
from tests.fakes import FakeHttp, Fakes

OTHER = b"0.5"
"""The price of trades that are counted anew."""


def line(recv: int, first: int, last: int, *, anew: bool = True) -> bytes:
    payload = frame(first, last)
    return segment.encode(
        NOW_NS + recv * 1_000_000, "ws:trade:1", payload.replace(b"63501.6", OTHER) if anew else payload, parsed=True
    )


def drain(opened: Shop, *lines: bytes) -> int:
    """Drain lines as a recorder does that has just started."""
    opened.journal.append(list(lines))
    opened.journal.rotate(NOW_NS)
    fakes = Fakes()
    drainer = Drainer(
        opened.journal, opened.archive, opened.tables, keep_raw=False, latest_s=lambda: 1.0, metrics=fakes.metrics
    )
    return sum(drainer.drain(path) for path in opened.journal.closed())


def renumbered(data: Path) -> bool:
    return evidence.renumbered(stored_evidence.read(Layout(data)).disownings(PAIR)) is not None


def aside(data: Path) -> list[tuple[str, list[Span]]]:
    return [(one.reason, list(one.spans)) for one in quarantine.listed(Layout(data))]


def stored(data: Path) -> dict[int, Trade]:
    return {row.trade_id: row for row in read_trades.trades(Layout(data), PAIR)}


def begin_anew(opened: Shop) -> int | None:
    found = evidence.renumbered(opened.archive.claimed.claims(PAIR))
    assert found is not None
    added = renumbering.begin_anew(opened.archive, PAIR, found, module.quarantined_trades, now_us=NOW_NS // 1000)
    return None if added is None else added.count()


def certified(data: Path) -> list[tuple[str, str]]:
    layout = Layout(data)
    ((one),) = certificates.certify(layout, [PAIR], stored_evidence.read(layout), now_us=T0_US + 2 * DAY_US)
    return [(str(day.day), day.status) for day in one.certificates]


def test_from_the_first_of_two_other_trades_in_a_row_all_is_set_aside_in_order(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        assert drain(opened, line(1, 1, 5, anew=False)) == 5
        assert drain(opened, line(2, 4, 7, anew=False), line(3, 1, 2), line(4, 3, 9), line(5, 10, 12)) == 2
        assert opened.ids() == list(range(1, 8))
        assert renumbered(tmp_path)
        assert drain(opened, line(6, 13, 14)) == 0
        assert opened.ids() == list(range(1, 8))
    spans = [[Span(1, 2)], [Span(3, 9)], [Span(10, 12)], [Span(13, 14)]]
    assert aside(tmp_path) == [("renumbered", one) for one in spans]
    (told,) = [one for one in archive_status.everything(tmp_path).events if one.kind == "renumbered"]
    detail = json.loads(told.detail)
    assert (detail["first_id"], detail["last_id"], detail["from_us"]) == (1, 2, NOW_NS // 1000 + 3_000)
    assert str(Layout(tmp_path).pair_dir(PAIR)) in archive_status.everything(tmp_path).renumbered[PAIR]


def test_a_single_odd_row_that_comes_again_and_again_does_not_set_the_pair_aside(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drain(opened, line(1, 1, 5, anew=False))
        assert drain(opened, line(2, 3, 3), line(3, 3, 3), line(4, 6, 6, anew=False), line(5, 3, 3)) == 1
    assert not renumbered(tmp_path)
    assert {reason for reason, _ in aside(tmp_path)} == {"differs"}


def test_what_comes_within_one_frame_before_it_is_numbered_anew_is_archived(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drain(opened, line(1, 1, 3, anew=False))
        assert drain(opened, line(2, 4, 5, anew=False), line(3, 1, 50), line(4, 51, 60)) == 2
        assert opened.ids() == [1, 2, 3, 4, 5]


def test_days_are_unknown_from_then_on_until_it_is_settled(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drain(opened, line(1, 1, 5, anew=False))
        drain(opened, line(2, 1, 5))
        days = dict(certified(tmp_path))
        today = str(datetime.fromtimestamp(NOW_NS // 10**9, UTC).date())
        assert {day: status for day, status in days.items() if day >= today} == dict.fromkeys(
            [day for day in days if day >= today], "unknown"
        )
        renumbering.settle(opened.archive, PAIR, now_us=NOW_NS // 1000, anew=False)
        assert "unknown" not in dict(certified(tmp_path)).values()
        assert drain(opened, line(9, 6, 7, anew=False)) == 2


def test_once_the_folder_is_moved_away_what_was_set_aside_takes_its_place(tmp_path: Path) -> None:
    noted: list[Knowledge] = [Void(PAIR, Span(2, 2)), Confirmed(PAIR, 5, T0_US), Promised(PAIR, T0_US)]
    notes = [segment.encode_note(NOW_NS, evidence.kind(one), pair=PAIR, **evidence.detail(one)) for one in noted]
    with shop(tmp_path) as opened:
        drain(opened, line(1, 1, 5, anew=False), *notes)
        drain(opened, line(2, 1, 3), line(3, 4, 9), line(4, 11, 12))
        assert begin_anew(opened) is None, "the folder is still there"
        shutil.move(Layout(tmp_path).pair_dir(PAIR), tmp_path.parent / f"{tmp_path.name}-old")
        assert begin_anew(opened) == 11
        assert not renumbered(tmp_path)
        assert {row.price for row in stored(tmp_path).values()} == {Decimal("0.5")}
        assert opened.ids() == [*range(1, 10), 11, 12]
        told = stored_evidence.read(Layout(tmp_path))
        assert (told.absent(PAIR).void, told.confirmed(PAIR), told.promise(PAIR)) == (Spans(), [], None)
        assert [(gap.span, gap.state) for gap in missing_ids.read(tmp_path)[PAIR]] == [(Span(10, 10), "open")]
        assert drain(opened, line(9, 10, 13)) == 2


def test_cut_before_it_is_noted_the_beginning_anew_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shop(tmp_path) as opened:
        drain(opened, line(1, 1, 5, anew=False))
        drain(opened, line(2, 1, 9))
        shutil.rmtree(Layout(tmp_path).pair_dir(PAIR))
        with monkeypatch.context() as patch:
            patch.setattr(renumbering, "settle", _killed)
            with pytest.raises(RuntimeError):
                begin_anew(opened)
        assert renumbered(tmp_path)
        assert drain(opened, line(3, 10, 12)) == 0
        assert begin_anew(opened) == 3
        assert opened.ids() == list(range(1, 13))


def test_a_drain_that_is_repeated_after_a_crash_brings_no_old_row_into_the_new_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop(tmp_path) as opened:
        drain(opened, line(1, 1, 5, anew=False))
        lines = [line(2, 6, 20, anew=False), line(3, 1, 2), line(4, 3, 9)]
        with monkeypatch.context() as patch:
            patch.setattr(opened.journal, "retire", _killed)
            with pytest.raises(RuntimeError):
                drain(opened, *lines)
        assert renumbered(tmp_path)
        drain(opened)
        assert opened.ids() == list(range(1, 21))
        shutil.rmtree(Layout(tmp_path).pair_dir(PAIR))
        begin_anew(opened)
        assert opened.ids() == list(range(1, 10))


def _killed(*_: object, **__: object) -> None:
    raise RuntimeError("killed")


class Other(FakeHttp):
    """Serves trades that are counted anew."""

    async def get(self, request: Request) -> HttpAnswer:
        answer = await super().get(request)
        body = answer.body.replace(b"63501.60000", OTHER)
        return HttpAnswer(answer.recv_ns, body, body.partition(b'"result":')[2][:-1], answer.date_s)


class Bench(Fakes):
    def __init__(self, opened: Shop, http: FakeHttp) -> None:
        super().__init__(http)
        self.http, self.opened = http, opened
        self.settled: list[str] = []
        for one in stored_evidence.read(opened.layout).knowledge():
            self.ledger.know(one)
        self.ledger.observe_trades(trades(1, 5))
        self.numbering = RenumberedPairs(
            self.ledger, opened.archive, self.context, instruments={PAIR: BTC}, settled=self._settled
        )

    def _settled(self, pairs: Collection[str]) -> None:
        self.settled += pairs
        for claim in self.opened.archive.claimed.claims(PAIR):
            self.ledger.know(claim)


async def test_it_ends_once_rest_shows_what_is_stored(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drain(opened, line(1, 1, 5, anew=False))
        drain(opened, line(2, 2, 4))
        bench = Bench(opened, FakeHttp(9))
        assert bench.value("recorder_renumbered_pairs") == 1
        async with running(bench.numbering):
            await settle_until(lambda: bool(bench.settled))
        assert not renumbered(tmp_path)
        assert bench.value("recorder_renumbered_pairs") == 0
        assert opened.ids() == [1, 2, 3, 4, 5]
        (request,) = bench.http.asked
        assert f"since={(T0_US + 2_000) * 1000 - 1_000_000}" in request.target


async def test_while_rest_shows_other_trades_it_is_asked_more_and_more_seldom(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drain(opened, line(1, 1, 5, anew=False))
        drain(opened, line(2, 2, 4))
        bench = Bench(opened, Other(9))
        async with running(bench.numbering):
            for _ in range(60):
                await settle_until(lambda: len(bench.clock.waking_ns) == 1)
                bench.clock.move(module.ROUND_S)
        assert 3 <= len(bench.http.asked) <= 8
        assert renumbered(tmp_path)
        assert not bench.settled


async def test_nothing_is_fetched_nor_confirmed_of_a_pair_that_is_numbered_anew(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drain(opened, line(1, 1, 3, anew=False), line(2, 5, 5, anew=False))
        drain(opened, line(3, 1, 3))
        bench = Bench(opened, FakeHttp(5))
        account = bench.ledger.of(PAIR)
        account.observe(runs_of(trades(8, 9))[0])
        assert [gap.span for gap in account.gaps()] == [Span(6, 7)]
        assert account.fetchable_gaps() == ()
        assert bench.ledger.history(PAIR, 0) is None
        assert not await CatchUp(bench.ledger, bench.context, instruments={PAIR: BTC}).confirm(PAIR)


async def test_a_page_with_later_trades_under_ids_that_are_held_is_journalled_once(tmp_path: Path) -> None:
    bench = Fakes(FakeHttp(9))
    bench.ledger.observe_trades(trades(1, 9))
    for shown, journalled in ((9, 0), (9, 0)):
        await fetch_newer(bench.context, bench.ledger, rest_api.trades(BTC), PAIR)
        assert (shown, len(bench.journalled())) == (9, journalled)
    later = FakeHttp(9)
    account = bench.ledger.of(PAIR)
    account._times_us[9] -= 10_000_000  # the exchange's trades are later than all that is held
    anew = Fakes(later)
    for journalled in (1, 0):
        await fetch_newer(anew.context, bench.ledger, rest_api.trades(BTC), PAIR)
        assert len(anew.journalled()) == journalled


def test_journalled_rows_of_a_renumbered_pair_are_not_held(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        drain(opened, line(1, 1, 5, anew=False))
        drain(opened, line(2, 1, 3))
        opened.journal.append([line(3, 4, 9)])
        assert missing_ids.read(tmp_path)[PAIR] == []
        (found,) = archive_status.read(tmp_path)
        assert (found.last_id, found.journalled) == (5, 0)


def test_events_of_another_release_tell_nothing(tmp_path: Path) -> None:
    assert evidence.from_event(Event(0, "renumbered", PAIR, '{"first_id":1,"last_id":2,"time_us":1}')) is None
    assert evidence.from_event(Event(0, "numbering_settled", PAIR, '{"time_us":1}')) is None
    assert not renumbered(tmp_path)
