"""Files of other schema versions than today's: older ones are read and rewritten, unknown ones refused by everyone."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recorder.archive import locks, merge_archive, read_trades, schema_versions, stored_evidence, verify_trades
from recorder.archive.compaction import compact, compact_segments
from recorder.archive.coverage import Coverage
from recorder.archive.datasets import DATASETS, INSTRUMENTS, OHLC, SCHEMA_FILE, TRADES, Branch
from recorder.archive.datasets import EVENTS as EVENTS_TABLE
from recorder.archive.footer import FOOTER_KEY
from recorder.archive.instruments import InstrumentArchive
from recorder.archive.layout import Layout
from recorder.archive.merge_archive import TradeMerge
from recorder.archive.open_archive import create
from recorder.archive.parquet import read_facts
from recorder.archive.schema import EVENTS, TIME
from recorder.archive.segment_tables import Segments, SegmentTables, highest
from recorder.archive.trades import TradeArchive
from recorder.core.model import Event
from recorder.core.trade_ids import Span, Spans
from recorder.disk import Disk
from recorder.errors import StorageError, UnknownVersion, UnsoundFile
from recorder.ops import archive_status, missing_ids
from recorder.query.connect import connect
from tests.archive.rows import plenty
from tests.archives import START_US, Written, candle, name_as_before, trades, writing
from tests.segments import named

PAIR = "BTC/USD"
VOID = Event(START_US, "void", PAIR, '{"first_id":1,"last_id":1}')


@pytest.fixture
def archive(tmp_path: Path) -> Written:
    """Return an archive of every table, one file each; of trades two that are too few to be merged by themselves."""
    with writing(tmp_path / "data") as written:
        written.append(trades(2, 4))
        written.append(trades(5, 7))
        written.listed(PAIR, 1)
        written.published([candle(0)])
        written.noted(VOID)
    name_as_before(written.data)
    return written


def without(column: str) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.drop_columns([column])


def rewrite(path: Path, version: int, change: Callable[[pa.Table], pa.Table] = lambda rows: rows) -> None:
    """Replace a file by one of another version, as the release of that version would have written it."""
    metadata = dict(pq.read_metadata(path).metadata)
    metadata[FOOTER_KEY] = json.dumps(
        {**json.loads(metadata[FOOTER_KEY]), "schema": version, "writer": f"kraken-recorder 0.0.{version}"}
    ).encode()
    rows = change(pq.ParquetFile(path).read())
    with pq.ParquetWriter(path, rows.schema, store_schema=False) as parquet:
        parquet.write_table(rows)
        parquet.add_key_value_metadata({FOOTER_KEY: metadata[FOOTER_KEY]})


def files_of(data: Path, table: str) -> list[Path]:
    return sorted(path for path in (data / table).rglob("*.parquet") if path.name != SCHEMA_FILE)


def version_of(path: Path) -> int:
    return int(json.loads(pq.read_metadata(path).metadata[FOOTER_KEY])["schema"])


def with_misc(rows: pa.Table) -> pa.Table:
    return rows.add_column(
        6, pa.field("misc", pa.string(), nullable=False), pa.array([""] * rows.num_rows, pa.string())
    )


def with_received(rows: pa.Table) -> pa.Table:
    return rows.append_column(pa.field("received", TIME), pa.nulls(rows.num_rows, TIME))


def with_detail(rows: pa.Table) -> pa.Table:
    return rows.rename_columns(EVENTS.names).cast(EVENTS)


@pytest.mark.parametrize(("column", "upgrade"), [("misc", with_misc), ("received", with_received)])
def test_a_file_of_an_older_version_is_read_by_all_and_rewritten_by_compaction(
    archive: Written,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    column: str,
    upgrade: Callable[[pa.Table], pa.Table],
) -> None:
    before = list(read_trades.trades(archive.layout, PAIR))
    monkeypatch.setitem(schema_versions.UPGRADES, 0, {"trades": upgrade})
    old, new = archive.files()
    rewrite(old, 0, without(column))

    assert list(read_trades.trades(archive.layout, PAIR)) == before
    assert Coverage(archive.layout).spans(PAIR) == Spans([Span(2, 7)])
    with ThreadPoolExecutor(1) as pool:
        found = verify_trades.read(archive.layout, PAIR, pool)
    assert (found.findings, [str(run.span) for run in found.runs]) == ((), ["2..7"])
    assert [one.rows for one in archive_status.read(archive.data)] == [6]

    with writing(tmp_path / "other") as other, locks.staging(other.layout, Disk()) as staging:
        job = TradeMerge(
            other.layout,
            TradeArchive(other.layout, Disk(), staging=staging),
            disagreed=lambda _: None,
            tidy=lambda _: None,
            room=plenty,
        )
        assert job.year(PAIR, archive.layout.years(PAIR)[0]) == []
        assert list(read_trades.trades(other.layout, PAIR)) == before
        assert job.year(PAIR, archive.layout.years(PAIR)[0]) == []
        assert (job.tally(PAIR).added, job.tally(PAIR).compared, job.tally(PAIR).disagreements) == (6, 6, 0)

    # SQL never guesses what is not in a file: it says so until the file is rewritten.
    with connect(archive.data) as opened:
        with pytest.raises(StorageError, match=rf"{old} is still of schema version 0.*`recorder run`"):
            opened.trades(PAIR)
        assert opened.scan(PAIR).collect()["trade_id"].to_list() == [2, 3, 4, 5, 6, 7]
        with opened.follow(PAIR, after=0) as follower:
            assert [next(follower).trade_id for _ in range(6)] == [2, 3, 4, 5, 6, 7]
        with pytest.raises(UnsoundFile, match=rf"{old} has an older schema version.*`recorder run`"):
            opened.scan(PAIR, to="dataset")
        with locks.staging(archive.layout, Disk()) as staging:
            writer = TradeArchive(archive.layout, Disk(), staging=staging)
            assert compact(writer, PAIR, today=date(2025, 1, 1)) is not None, "alone, and too few to be merged"
            assert compact(writer, PAIR, today=date(2025, 1, 1)) is None
        assert opened.trades(PAIR)["trade_id"].to_list() == [2, 3, 4, 5, 6, 7]
    assert not old.exists()
    assert new in archive.files()
    assert [version_of(path) for path in archive.files()] == [2, 2]
    assert list(read_trades.trades(archive.layout, PAIR)) == before


def test_a_full_file_of_an_older_version_is_rewritten_once(archive: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(schema_versions.UPGRADES, 0, {"trades": lambda rows: rows})
    monkeypatch.setattr("recorder.archive.compaction.plan", lambda *_, **__: None)  # as of full files
    for path in archive.files():
        rewrite(path, 0)
    with locks.staging(archive.layout, Disk()) as staging:
        writer = TradeArchive(archive.layout, Disk(), staging=staging)
        done = [compact(writer, PAIR, today=date(2026, 1, 1)) for _ in range(3)]
    assert [one.rows if one else None for one in done] == [3, 3, None]
    assert [version_of(path) for path in archive.files()] == [2, 2]


def test_older_files_of_tables_without_ids_are_read_and_rewritten(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {"ohlc": lambda rows: rows, "instruments": lambda rows: rows}
    monkeypatch.setitem(schema_versions.UPGRADES, 0, {"events": with_detail, **same})
    before = archive_status.everything(archive.data)
    for table in ("events", "ohlc", "instruments"):
        (path,) = files_of(archive.data, table)
        rewrite(path, 0, (lambda rows: rows.rename_columns({"detail": "text"})) if table == "events" else lambda r: r)
    assert archive_status.everything(archive.data) == before
    assert [one.state for one in missing_ids.read(archive.data)[PAIR]] == ["void"]
    assert merge_archive.rows_of(OHLC, archive.layout, None, archive.layout, room=plenty) == (0, [])
    assert merge_archive.listings(archive.layout, None, archive.layout, room=plenty) == (0, [])
    with locks.staging(archive.layout, Disk()) as staging:
        assert len(InstrumentArchive(SegmentTables(archive.layout, Disk(), staging=staging)).remembered()) == 1
        writer = Segments(archive.layout, Disk(), staging=staging)
        for branch in (Branch(EVENTS_TABLE), Branch(OHLC, "1m"), Branch(INSTRUMENTS)):
            assert compact_segments(writer, branch, today=date(2025, 1, 1)) is not None
            assert compact_segments(writer, branch, today=date(2025, 1, 1)) is None
    for table in ("events", "ohlc", "instruments"):
        assert [version_of(path) for path in files_of(archive.data, table)] == [2]
    assert archive_status.everything(archive.data) == before


READERS: dict[str, Callable[[Written, Path], object]] = {
    "append": lambda a, s: TradeArchive(a.layout, Disk(), staging=s).append(PAIR, trades(1, 9)),
    "compact": lambda a, s: compact(TradeArchive(a.layout, Disk(), staging=s), PAIR, today=date(9999, 1, 1)),
    "read": lambda a, _: list(read_trades.trades(a.layout, PAIR)),
    "live": lambda a, _: connect(a.data, live=True).sql("FROM trades"),
    "trades": lambda a, _: connect(a.data).trades(PAIR),
    "coverage": lambda a, _: connect(a.data).coverage(),
}
EVENT_READERS: dict[str, Callable[[Written, Path], object]] = {
    "compact": lambda a, s: compact_segments(
        Segments(a.layout, Disk(), staging=s), Branch(EVENTS_TABLE), today=date(9999, 1, 1)
    ),
    "frozen": lambda a, _: connect(a.data, frozen=True).events(),
}


def said_by_verify(archive: Written) -> list[str]:
    with ThreadPoolExecutor(1) as pool:
        return [f"{one.file} {one.problem}" for one in verify_trades.read(archive.layout, PAIR, pool).findings]


def said_by_merge(archive: Written) -> list[str]:
    job = TradeMerge(Layout(archive.data / "nowhere"), None, disagreed=lambda _: None, tidy=lambda _: None, room=plenty)
    return [f"{one.file} {one.problem}" for one in job.year(PAIR, archive.layout.years(PAIR)[0])]


def test_a_newer_file_of_one_pair_is_named_by_who_looks_at_all(archive: Written) -> None:
    newer = files_of(archive.data, "trades")[-1]
    rewrite(newer, schema_versions.current("trades") + 1)
    damaged: dict[str, str] = {}
    missing_ids.read(archive.data, damaged)
    (said,) = damaged.values()
    assert said.startswith(f"{newer} has schema version")
    assert "upgrade" in said
    for found in (archive_status.everything(archive.data).damaged, said_by_verify(archive), said_by_merge(archive)):
        assert any(one.startswith(f"{newer} has schema version") for one in found)


def test_a_newer_file_of_events_is_named_and_stops_nobody_who_asks_for_something_else(
    archive: Written, tmp_path: Path
) -> None:
    (newer,) = files_of(archive.data, "events")
    rewrite(newer, schema_versions.current("events") + 1)
    (finding,) = stored_evidence.read(archive.layout).findings
    assert finding.file == newer
    assert stored_evidence.EvidenceReader(archive.layout).read().findings == [finding]
    assert any(one.startswith(f"{newer} has schema version") for one in archive_status.everything(archive.data).damaged)
    with pytest.raises(StorageError, match=f"^{newer} has schema version"):
        missing_ids.read(archive.data, {})
    assert highest(archive.layout) > 0, "as the other tables tell"
    tmp_path.joinpath("staging").mkdir()
    segments = Segments(archive.layout, Disk(), staging=tmp_path / "staging")
    assert not segments.holds(EVENTS_TABLE, named(99))
    assert segments.append(Branch(EVENTS_TABLE), event_rows(), segment=named(99)) == 1, "the daemon goes on"


def event_rows() -> pa.Table:
    return EVENTS_TABLE.build([Event(START_US, "connected", None, "{}")])


@pytest.mark.parametrize(
    ("table", "reader"),
    [*(("trades", reader) for reader in READERS), *(("events", reader) for reader in EVENT_READERS)],
)
def test_a_file_of_a_newer_version_is_refused_by_all_and_stays_as_it_is(
    archive: Written, tmp_path: Path, table: str, reader: str
) -> None:
    newer = files_of(archive.data, table)[-1]
    current = schema_versions.current(table)
    rewrite(newer, current + 1)
    content = newer.read_bytes()
    ask = (READERS if table == "trades" else EVENT_READERS)[reader]
    tmp_path.joinpath("staging").mkdir()
    sentence = rf"^{newer} has schema version {current + 1}, .* reads version 1 to 2: upgrade .*r 0\.0\.{current + 1}"
    with pytest.raises(UnknownVersion, match=sentence):
        ask(archive, tmp_path / "staging")
    assert newer.read_bytes() == content


def test_the_first_file_of_a_table_keeps_older_releases_away(archive: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    born = archive.layout.schema_file(EVENTS_TABLE)
    rewrite(born, 0)
    monkeypatch.setitem(schema_versions.UPGRADES, 0, {})
    create(archive.layout, Disk())
    assert version_of(born) == 2, "brought up to date before anything is written"
    born.write_bytes(b"cut")
    create(archive.layout, Disk())
    assert version_of(born) == 2
    rewrite(born, 3)
    with pytest.raises(UnknownVersion, match="schema version 3"):
        create(archive.layout, Disk())
    with pytest.raises(UnknownVersion, match="schema version 3"):
        connect(archive.data).sql("FROM trades")


def test_a_version_that_is_read_no_more_names_the_release_that_reads_it(archive: Written) -> None:
    rewrite(archive.files()[0], 0)
    with pytest.raises(
        UnknownVersion, match=r"version 0, .* reads version 1 to 2: use the release that wrote it \(.*0\.0"
    ):
        Coverage(archive.layout).files(PAIR)


def test_files_of_trades_of_version_1_are_read_by_all_and_left_as_they_are(archive: Written) -> None:
    old, _ = archive.files()
    rewrite(old, 1)
    with locks.staging(archive.layout, Disk()) as staging:
        writer = TradeArchive(archive.layout, Disk(), staging=staging)
        assert compact(writer, PAIR, today=date(2025, 1, 1)) is None, "its rows are today's"
        assert [version_of(path) for path in archive.files()] == [1, 2]
        with connect(archive.data) as opened:
            assert opened.trades(PAIR)["trade_id"].to_list() == [2, 3, 4, 5, 6, 7]
        assert compact(writer, PAIR, today=date(2026, 1, 1)) is not None
    assert [version_of(path) for path in archive.files()] == [2]


def test_the_first_file_of_trades_tells_a_release_that_knows_no_promise_to_keep_away(archive: Written) -> None:
    born = archive.layout.schema_file(TRADES)
    rewrite(born, 1)
    create(archive.layout, Disk())
    assert version_of(born) == 2


def test_a_version_that_one_table_raises_is_of_that_table_alone(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(schema_versions.SCHEMA_VERSIONS, "events", 3)
    monkeypatch.setitem(schema_versions.UPGRADES, 2, {"events": lambda rows: rows})
    create(archive.layout, Disk())
    first_files = {dataset.name: version_of(archive.layout.schema_file(dataset)) for dataset in DATASETS}
    raised = {"trades": 2, "ohlc": 2, "events": 3, "instruments": 2}
    assert first_files == {dataset.name: raised.get(dataset.name, 1) for dataset in DATASETS}
    with locks.staging(archive.layout, Disk()) as staging:
        writer = Segments(archive.layout, Disk(), staging=staging)
        branches = (Branch(OHLC, "1m"), Branch(EVENTS_TABLE), Branch(INSTRUMENTS))
        done = [compact_segments(writer, branch, today=date(2025, 1, 1)) for branch in branches]
        assert [one is not None for one in done] == [False, True, False], "only its files are rewritten"
        assert compact(TradeArchive(archive.layout, Disk(), staging=staging), PAIR, today=date(2025, 1, 1)) is None
    assert [version_of(path) for path in files_of(archive.data, "events")] == [3]
    for dataset in DATASETS:
        current = schema_versions.current(dataset.name)
        newer = archive.layout.schema_file(dataset)
        rewrite(newer, current + 1)
        read = "version 1" if current == 1 else f"version 1 to {current}"
        with pytest.raises(UnknownVersion, match=f"has schema version {current + 1}, .* reads {read}:"):
            read_facts(newer)
