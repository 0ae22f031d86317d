from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recorder.archive import load_ledger, quarantine
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Span
from recorder.ingest.commit import Commit
from recorder.ingest.drain import Drainer
from recorder.ingest.parked_ids import ParkedIds, waiting
from recorder.journal import live_read, segment
from recorder.kraken import records, rest_api, trade_frames
from recorder.ops.metrics import Metrics
from recorder.query.journal_tail import JournalTail
from recorder.runtime.inbox import Inbound
from tests.builders import BTC, PAIR, T0_US, Shop, frame, shop
from tests.fakes import Fakes

LONE = 1 << 40
JUMPED = 10_000_100


def of_ids(*ids: int, pair: str = PAIR) -> bytes:
    """A frame of one trade for each id, all of one moment."""
    row = frame(1, 1).decode()[:-2].partition('"data":[')[2]
    rows = ",".join(row.replace('"trade_id":1,', f'"trade_id":{trade_id},') for trade_id in ids)
    return f'{{"channel":"trade","type":"update","data":[{rows}]}}'.replace(PAIR, pair).encode()


class Bench(Fakes):
    """A commit into an archive, and what is counted of it: in memory, and as others read it from the disk."""

    def __init__(self, opened: Shop) -> None:
        super().__init__()
        self.opened = opened
        self.restart()

    def restart(self) -> None:
        """Forget all that is not on the disk, as after a kill -9."""
        self.ledger = Ledger()
        self._load(self.ledger)
        self.commit = Commit(
            self.opened.journal,
            self.ledger,
            self.context,
            sync_every_s=0.1,
            hole_seen=lambda: None,
            parking=ParkedIds(self.ledger, functools.partial(waiting, self.opened.layout)),
        )

    async def streamed(self, *ids: int, pair: str = PAIR, recv_ns: int = T0_US * 1000) -> None:
        payload = of_ids(*ids, pair=pair)
        line = segment.encode(recv_ns, "ws:trade:1", payload, parsed=True)
        await self._flush(Inbound(line, trade_frames.parse_runs(payload)))

    async def shown(self, *ids: int) -> None:
        await self._flush(self.page(*ids))

    def page(self, *ids: int) -> Inbound:
        rows = ",".join(f'["63501.6","0.001",{T0_US / 1e6},"b","l","",{trade_id}]' for trade_id in ids)
        body = f'{{"error":[],"result":{{"XXBTZUSD":[{rows}],"last":"1"}}}}'.encode()
        line = segment.encode(T0_US * 1000, records.rest_source(rest_api.trades(BTC), PAIR), body)
        record = records.read(segment.decode(line.rstrip(b"\n")))
        assert isinstance(record, records.PolledTrades)
        return Inbound(line, record.runs(), source="rest")

    async def _flush(self, inbound: Inbound) -> None:
        await self.inbox.put(inbound)
        await self.commit.flush()
        self.check()

    async def drain(self) -> None:
        await self.commit.rotate()
        drainer = Drainer(
            self.opened.journal,
            self.opened.archive,
            self.opened.tables,
            keep_raw=False,
            latest_s=lambda: 1.0,
            metrics=Metrics(),
        )
        drainer.drain(*self.opened.journal.closed())
        self.check()

    def held(self, pair: str = PAIR) -> list[Span]:
        return list(self.ledger.of(pair).spans)

    def parked(self, pair: str = PAIR) -> list[Span]:
        return list(self.ledger.of(pair).parked)

    def check(self) -> None:
        """Memory and disk tell the same, at any moment."""
        found = Ledger()
        self._load(found)
        for pair in {*self.ledger, *found}:
            mine, theirs = self.ledger.of(pair), found.of(pair)
            assert (mine.spans, mine.parked) == (theirs.spans, theirs.parked)
        live = {*JournalTail(self.opened.layout.data).read()["trade_id"].to_pylist(), *self.opened.ids()}
        assert live >= {n for span in self.held() for n in range(span.first, span.last + 1)}
        assert not live & {n for span in self.parked() for n in range(span.first, span.last + 1)}

    def _load(self, ledger: Ledger) -> None:
        layout = self.opened.layout
        load_ledger.load(ledger, layout, records.claims(live_read.entries(layout.journal)))

    def archived(self, trade_id: int) -> dict[str, object]:
        """One row of the archive."""
        for path in self.opened.layout.trade_files(PAIR):
            for row in pq.read_table(path).to_pylist():
                if row["trade_id"] == trade_id:
                    return dict(row)
        raise KeyError(trade_id)

    def told(self, *kinds: str) -> list[tuple[str, Span]]:
        """The events of these kinds in the journal, with their ids."""
        found = []
        for entry in live_read.entries(self.opened.layout.journal):
            record = records.read(entry)
            if isinstance(record, records.Note) and (event := record.event()).kind in kinds:
                detail = json.loads(event.detail)
                found.append((event.kind, Span(detail["first_id"], detail["last_id"])))
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with shop(tmp_path) as opened:
        yield Bench(opened)


async def test_a_lone_far_id_is_set_aside_and_the_pair_goes_on(bench: Bench) -> None:
    await bench.streamed(100)
    await bench.streamed(101, LONE, 102)
    await bench.streamed(103)
    assert bench.held() == [Span(100, 103)]
    assert bench.parked() == [Span(LONE, LONE)]
    assert bench.told("parked", "released_ids") == [("parked", Span(LONE, LONE))]
    await bench.drain()
    assert bench.opened.ids() == [100, 101, 102, 103]
    (kept,) = quarantine.listed(bench.opened.layout)
    assert (kept.pair, kept.spans, kept.recv_ns) == (PAIR, (Span(LONE, LONE),), T0_US * 1000)
    assert segment.decode(kept.line).payload == of_ids(101, LONE, 102)
    bench.restart()
    await bench.streamed(104)
    assert bench.held() == [Span(100, 104)]
    assert bench.parked() == [Span(LONE, LONE)]


@pytest.mark.parametrize("when", ["at once", "drained", "killed", "drained and killed"])
async def test_parked_ids_that_rest_shows_are_archived_as_they_came_over_the_stream(bench: Bench, when: str) -> None:
    await bench.streamed(100)
    await bench.streamed(JUMPED)
    assert bench.parked() == [Span(JUMPED, JUMPED)]
    if "drained" in when:
        await bench.drain()
    if "killed" in when:
        bench.restart()
    await bench.shown(101, JUMPED, JUMPED + 1)
    assert bench.held() == [Span(100, 101), Span(JUMPED, JUMPED + 1)]
    assert bench.parked() == []
    assert bench.told("released_ids") == [("released_ids", Span(JUMPED, JUMPED))]
    await bench.drain()
    bench.restart()
    assert (bench.held(), bench.parked()) == ([Span(100, 101), Span(JUMPED, JUMPED + 1)], [])
    assert bench.archived(JUMPED)["source"] == "ws"
    assert bench.archived(JUMPED)["received"] is not None
    assert bench.archived(JUMPED + 1)["source"] == "rest"


@pytest.mark.parametrize("when", ["at once", "drained", "killed", "drained and killed"])
async def test_parked_ids_that_the_stream_goes_on_from_count_and_none_is_lost(bench: Bench, when: str) -> None:
    await bench.streamed(100)
    await bench.streamed(JUMPED, JUMPED + 1)
    if "drained" in when:
        await bench.drain()
    if "killed" in when:
        bench.restart()
    await bench.streamed(JUMPED + 2)
    assert bench.held() == [Span(100, 100)]
    await bench.streamed(JUMPED + 3)
    assert bench.held() == [Span(100, 100), Span(JUMPED, JUMPED + 3)]
    assert bench.parked() == []
    await bench.drain()
    assert bench.opened.ids() == [100, *range(JUMPED, JUMPED + 4)]
    assert all(bench.archived(n)["received"] is not None for n in range(JUMPED, JUMPED + 4))


async def test_all_of_it_in_one_commit_comes_to_the_same(bench: Bench) -> None:
    for ids in ([100], [101, LONE], [JUMPED], [JUMPED + 1], [JUMPED + 2], [JUMPED + 3]):
        payload = of_ids(*ids)
        line = segment.encode(T0_US * 1000, "ws:trade:1", payload, parsed=True)
        await bench.inbox.put(Inbound(line, trade_frames.parse_runs(payload)))
    await bench.commit.flush()
    bench.check()
    assert bench.held() == [Span(100, 101), Span(JUMPED, JUMPED + 3)]
    assert bench.parked() == [Span(LONE, LONE)]
    await bench.drain()
    assert bench.opened.ids() == [100, 101, *range(JUMPED, JUMPED + 4)]


async def test_a_frame_of_which_some_ids_are_believed_keeps_the_others_parked(bench: Bench) -> None:
    await bench.streamed(100)
    await bench.streamed(101, JUMPED, LONE)
    await bench.shown(JUMPED + 5)
    assert bench.held() == [Span(100, 101), Span(JUMPED, JUMPED), Span(JUMPED + 5, JUMPED + 5)]
    assert bench.parked() == [Span(LONE, LONE)]
    await bench.drain()
    bench.restart()
    assert bench.parked() == [Span(LONE, LONE)]
    assert bench.opened.ids() == [100, 101, JUMPED, JUMPED + 5]


async def test_what_a_person_took_out_of_the_quarantine_is_missing_and_stops_nothing(bench: Bench) -> None:
    await bench.streamed(100)
    await bench.streamed(JUMPED)
    await bench.drain()
    (path,) = bench.opened.layout.quarantine.iterdir()
    path.unlink()
    await bench.inbox.put(bench.page(JUMPED + 1))
    await bench.commit.flush()
    assert bench.held() == [Span(100, 100), Span(JUMPED + 1, JUMPED + 1)]


async def test_of_an_empty_pair_a_lone_high_id_is_parked_and_consecutive_ids_are_not(bench: Bench) -> None:
    await bench.streamed(LONE)
    assert (bench.held(), bench.parked()) == ([], [Span(LONE, LONE)])
    await bench.drain()
    bench.restart()
    assert bench.parked() == [Span(LONE, LONE)]
    await bench.streamed(JUMPED, JUMPED + 1)
    assert bench.held() == [Span(JUMPED, JUMPED + 1)]


async def test_a_relisting_that_begins_at_one_again_is_not_parked(bench: Bench) -> None:
    await bench.streamed(JUMPED, JUMPED + 1)
    await bench.streamed(1)
    assert bench.held() == [Span(1, 1), Span(JUMPED, JUMPED + 1)]


@pytest.mark.parametrize("recv_s", [7, T0_US // 1_000_000 + 90 * 86_400, 4_176_528_432])
async def test_after_three_months_down_no_id_stays_parked_whatever_the_clock(bench: Bench, recv_s: int) -> None:
    """Without any answer of REST: it refuses for an hour."""
    await bench.streamed(100)
    first = 90 * 86_400 * 5
    for trade_id in range(first, first + 4):
        await bench.streamed(trade_id, recv_ns=recv_s * 1_000_000_000)
    assert bench.held() == [Span(100, 100), Span(first, first + 3)]
    await bench.drain()
    assert bench.opened.ids() == [100, *range(first, first + 4)]


async def test_a_gap_that_no_outage_leaves_is_fetched_once_rest_has_shown_its_end(bench: Bench) -> None:
    for ids in ([100], [LONE], [LONE + 1], [LONE + 2]):
        await bench.streamed(*ids)
    account = bench.ledger.of(PAIR)
    (gap,) = account.gaps()
    assert gap not in account.fetchable_gaps()
    account.shown_id = LONE
    assert gap in account.fetchable_gaps()
