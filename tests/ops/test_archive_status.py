from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recorder.archive.datasets import EVENTS, Branch
from recorder.archive.layout import listed
from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.archive.segment_tables import SegmentTables
from recorder.core.model import Event
from recorder.core.trade_ids import Span
from recorder.errors import CorruptFile, NoSuchArchive
from recorder.journal import segment
from recorder.ops import archive_status, missing_ids
from recorder.ops.archive_status import CandleStatus
from tests.archives import MINUTE_US, START_US, Written, candle, writing
from tests.archives import trades as made
from tests.builders import PAIR, T0_US, frame, shop, trades
from tests.segments import named


def test_archive_and_journal_are_counted_together_and_each_id_once(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        opened.archive.append(PAIR, trades(21, 30))
        opened.archive.append("ETH/USD", trades(5, 6, pair="ETH/USD"))
        opened.journal.append(
            [
                segment.encode(1, "ws:trade:1", frame(28, 34), parsed=True),
                segment.encode(1, "ws:unreadable:1", b"?"),
                segment.encode(1, "ws:trade:1", b'{"channel":"trade"}'),
            ]
        )
        btc, eth = archive_status.read(tmp_path)
    assert btc.pair == PAIR
    assert (btc.rows, btc.journalled) == (24, 4)
    assert (btc.first_id, btc.last_id) == (1, 34)
    assert (btc.first_us, btc.last_us) == (T0_US + 1000, T0_US + 34_000)
    assert [gap.span for gap in btc.holes] == [Span(11, 20)]
    assert (eth.rows, eth.journalled, eth.holes) == (2, 0, ())


def test_ids_that_do_not_exist_are_no_hole(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, [*trades(1, 3), *trades(9, 10)])
        tables = SegmentTables(opened.layout, opened.disk, staging=opened.layout.staging)
        tables.add(Branch(EVENTS), [Event(1, "void", PAIR, '{"first_id":4,"last_id":5}')])
        tables.write(named(1))
        opened.journal.append([segment.encode_note(2, "void", pair=PAIR, first_id=7, last_id=7)])
        opened.journal.append([segment.encode_note(2, "void", pair="ETH/USD", first_id=7, last_id=7)])
        (btc,) = archive_status.read(tmp_path)
    assert [gap.span for gap in btc.holes] == [Span(6, 6), Span(8, 8)]


def test_an_empty_archive_has_no_pairs_and_no_archive_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with shop(tmp_path / "data"):
        assert archive_status.read(tmp_path / "data") == []
    with pytest.raises(NoSuchArchive, match="recorder run"):
        archive_status.read(tmp_path / "nowhere")


def event(number: int, kind: str = "connected", pair: str | None = None, detail: str = "{}") -> Event:
    return Event(START_US + number, kind, pair, detail)


def told(number: int, source: str, system: str) -> Event:
    return event(number, "maintenance", detail=f'{{"source":"{source}","system":"{system}"}}')


def page(archive: Written, pair: str, *starts_us: int) -> None:
    """Journal an answer of 1m candles; its last row is the running one."""
    rows = ",".join(f'[{start // 1_000_000},"1","1","1","1","1","1",1]' for start in starts_us)
    body = f'{{"error":[],"result":{{"X":[{rows}],"last":{starts_us[-2] // 1_000_000}}}}}'.encode()
    source = f"rest:/0/public/OHLC?pair=X&interval=1#{pair.replace('/', '%2F')}"
    archive.journal.append([segment.encode(1, source, body, parsed=True)])


def test_candles_are_counted_by_timeframe_in_the_archive_and_in_the_journal(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.published([candle(0), candle(1), candle(0, pair="ETH/USD"), candle(0, timeframe="1h")])
        archive.noted(
            event(1, "ohlc_lost", "BTC/USD", '{"timeframe":"1m","count":5}'),
            event(2, "ohlc_lost", "ETH/USD", '{"timeframe":"1m","count":2}'),
        )
        page(archive, "XRP/USD", START_US + 7 * MINUTE_US, START_US + 8 * MINUTE_US)
        found = archive_status.everything(tmp_path)
    assert found.candles == [
        CandleStatus("1m", 3, START_US + 7 * MINUTE_US, 7),
        CandleStatus("1h", 1, START_US, 0),
    ]


def test_the_last_events_and_what_each_source_said_last_are_found_in_files_and_journal(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.noted(told(1, "rest", "maintenance"), told(2, "ws", "post_only"), told(3, "rest", "cancel_only"))
        archive.noted(*(event(number) for number in range(10, 14)))
        archive.journal.append([segment.encode_note((START_US + number) * 1000, "connected") for number in (13, 14)])
        archive.journal.append(
            [segment.encode_note((START_US + 9) * 1000, "maintenance", source="ws", system="online")]
        )
        found = archive_status.everything(tmp_path)
    assert [one.time_us - START_US for one in found.events] == [10, 11, 12, 13, 14]
    assert [(one.time_us - START_US, "cancel_only" in one.detail) for one in found.exchange] == [(3, True), (9, False)]
    assert found.events_since_us is None


def test_what_every_start_and_every_quiet_day_tells_of_every_pair_hides_no_other_event(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        routine = [
            Event(START_US + number, kind, "BTC/USD", "{}")
            for number in range(10, 20)
            for kind in ("subscribed", "confirmed")
        ]
        archive.noted(*(event(number) for number in range(6)), *routine)
        archive.journal.append([segment.encode_note((START_US + 30) * 1000, "subscribed", pair="BTC/USD")])
        found = archive_status.everything(tmp_path)
    assert [one.time_us - START_US for one in found.events] == [1, 2, 3, 4, 5]


def test_of_very_many_events_only_the_newest_are_looked_through_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_status, "EVENT_ROWS", 6)
    with writing(tmp_path) as archive:
        archive.noted(told(1, "rest", "online"))
        for first in (10, 20, 30):
            archive.noted(*(event(number) for number in range(first, first + 3)))
        found = archive_status.everything(tmp_path)
    assert [one.time_us - START_US for one in found.events] == [21, 22, 30, 31, 32]
    assert found.exchange == []
    assert found.events_since_us == START_US + 20


def test_of_a_large_file_the_end_is_looked_through_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_status, "EVENT_ROWS", 6)
    monkeypatch.setattr("recorder.archive.parquet.ROW_GROUP", 2)
    with writing(tmp_path) as archive:
        lost = event(13, "ohlc_lost", "BTC/USD", '{"timeframe":"1m","count":5}')
        archive.noted(told(9, "rest", "online"), *(event(number) for number in (10, 11, 12)), lost, told(14, "ws", "?"))
        archive.noted(*(event(number) for number in (20, 21)))
        found = archive_status.everything(tmp_path)
    assert [one.time_us - START_US for one in found.events] == [12, 13, 14, 20, 21]
    assert [one.time_us - START_US for one in found.exchange] == [14]
    assert found.events_since_us == START_US + 11


def test_of_each_pair_the_newest_listing_counts(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.listed("BTC/USD", 1)
        archive.listed("ETH/USD", 1)
        archive.listed("BTC/USD", 1, datetime(2026, 1, 1, tzinfo=UTC), status="delisted")
        assert archive_status.everything(tmp_path).listing == {"BTC/USD": "delisted", "ETH/USD": "online"}


@pytest.mark.parametrize("table", ["instruments", "ohlc", "events"])
@pytest.mark.parametrize("keep", [4, 300])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, table: str, keep: int) -> None:
    with writing(tmp_path) as archive:
        archive.append(made(1, 2))
        archive.listed("BTC/USD", 1)
        archive.published([candle(0)])
        archive.noted(event(1))
        (damaged,) = (path for path in (tmp_path / table).rglob("*.parquet") if path.name != "schema.parquet")
        content = damaged.read_bytes()
        # Cut short, or whole but for the pages.
        damaged.write_bytes(content[:4] if keep == 4 else content[:4] + bytes(keep) + content[4 + keep :])
        found = archive_status.everything(tmp_path)
        assert any(re.match(f"{damaged}.*move it out of the archive", said) for said in found.damaged)
        assert [one.pair for one in found.pairs] == ["BTC/USD"]


def test_one_damaged_file_of_trades_hides_its_pair_alone(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.append([*made(1, 2), *made(1, 2, pair="ETH/USD")])
        archive.journalled(made(3, 4))
        (damaged,) = archive.files()
        damaged.write_bytes(damaged.read_bytes()[:-3])
        found = archive_status.everything(tmp_path)
        assert [(one.pair, one.rows) for one in found.pairs] == [("ETH/USD", 2)]
        (said,) = found.damaged
        assert re.match(f"{damaged} is not a complete Parquet file.*move it out of the archive", said)
        with pytest.raises(CorruptFile, match=str(damaged)):
            archive_status.read(tmp_path)
        by_pair: dict[str, str] = {}
        assert missing_ids.read(tmp_path, by_pair) == {"ETH/USD": []}
        assert by_pair == {"BTC/USD": said}


@pytest.mark.parametrize("table", ["instruments", "ohlc", "events"])
def test_a_file_that_another_program_put_there_is_named_with_what_to_do(tmp_path: Path, table: str) -> None:
    with writing(tmp_path) as archive:
        archive.listed("BTC/USD", 1)
        archive.published([candle(0)])
        archive.noted(event(1))
        (foreign,) = (path for path in (tmp_path / table).rglob("*.parquet") if path.name != "schema.parquet")
        pq.write_table(pa.table({"a": [1]}), foreign)
        found = archive_status.everything(tmp_path)
        assert any(re.match(f"{foreign}.*move it out of the archive", said) for said in found.damaged)


def test_a_folder_exchanged_meanwhile_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(tmp_path) as archive:
        for number in range(3):
            archive.noted(event(number))
        original, merged = listed, list[bool]()

        def late(directory: Path) -> list[str]:
            names = original(directory)
            if directory.parent.name == "events" and not merged:
                merged.append(True)
                archive.merge("events")
            return names

        monkeypatch.setattr(archive_status, "listed", late)
        assert [one.time_us - START_US for one in archive_status.everything(tmp_path).events] == [0, 1, 2]
    assert merged


def test_what_is_set_aside_is_counted_by_reason(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        kept = QuarantinedRow(7, Reason.MALFORMED, b"{}", why="no number")
        path = Quarantine(opened.layout, opened.disk, staging=opened.layout.staging).add([kept])
    assert archive_status.everything(tmp_path).quarantine == {"malformed": (1, path.stat().st_size)}


def test_ids_in_two_files_are_reported_with_both_and_no_count_is_invented(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        opened.archive.append("ETH/USD", trades(5, 6, pair="ETH/USD"))
        (path,) = opened.layout.trade_files(PAIR)
    copy = Path(shutil.copy(path, path.with_name("copy.parquet")))
    found = archive_status.everything(tmp_path)
    assert [(pair.pair, pair.journalled) for pair in found.pairs] == [("ETH/USD", 0)]
    (said,) = found.damaged
    assert said == f"{copy} holds id 1 as {path} does: move one of the two out of the archive"
    with pytest.raises(CorruptFile, match="holds id 1 as"):
        archive_status.read(tmp_path)
    copy.unlink()
    assert [(pair.pair, pair.journalled) for pair in archive_status.read(tmp_path)] == [(PAIR, 0), ("ETH/USD", 0)]


@pytest.mark.parametrize("spelled", ["pair=BTC%2fUSD", "pair=BTC%2fusd"])
def test_a_folder_that_is_spelled_otherwise_is_told(tmp_path: Path, spelled: str) -> None:
    with shop(tmp_path) as opened:
        opened.archive.append(PAIR, trades(1, 10))
        (path,) = opened.layout.trade_files(PAIR)
    other = tmp_path / "trades" / spelled / path.parent.name
    other.mkdir(parents=True)
    shutil.copy(path, other)
    (said,) = archive_status.everything(tmp_path).damaged
    assert said.startswith(f"{other / path.name} lies in {spelled}, and the recorder spells that folder pair=BTC%2F")


def test_a_copied_file_of_events_is_told(tmp_path: Path) -> None:
    with writing(tmp_path) as archive:
        archive.noted(event(1))
        (path,) = (one for one in (tmp_path / "events" / "year=2025").iterdir())
    copy = Path(shutil.copy(path, path.with_name("zz.parquet")))
    (said,) = archive_status.everything(tmp_path).damaged
    assert said.startswith(f"{copy} holds segment {named(1)} as {path} does: move one of the two out")
