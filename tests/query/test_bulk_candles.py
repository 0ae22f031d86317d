"""Candles with history files counted in: each bar of one source, equal to what was traded, and whole only if it is."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

import recorder
from recorder.archive.layout import Layout, digest_in, new_name
from recorder.archive.trades import TradeArchive
from recorder.core.model import TIMEFRAMES, Trade
from recorder.disk import Room
from recorder.errors import GapError, StorageError, UsageError
from recorder.history.bulk_import import BulkImport
from recorder.history.candle_import import CandleImport
from recorder.history.classic_import import ClassicImport
from recorder.history.contents import Entry
from recorder.history.members import Member
from recorder.kraken.history_files import Detected, member_name
from recorder.kraken.history_files import Layout as Lines
from recorder.query import candle_plot, catalogue
from recorder.query.arguments import Range
from tests.archives import writing
from tests.powercut import Unsynced

PAIR = "A/B"
DAY_S = 86_400
BEGINS_S = 1_585_267_200
"""2020-03-27 UTC, so that a quarter ends within."""
DAYS = 9
RECORDED = 320
"""The first id that is recorded: in the middle of a day."""
CLASSIC = (60, 370)
PRINTED = (30, 260)


class Made(NamedTuple):
    """A trade as it was made."""

    second: int
    price: Decimal
    qty: Decimal


def _tape() -> list[Made]:
    chance = random.Random(3)
    seconds = sorted(BEGINS_S + chance.randrange(DAYS * DAY_S) // 60 * 60 for _ in range(420))
    return [
        Made(second, Decimal(chance.randrange(9_000, 11_000)).scaleb(-2), Decimal(chance.randrange(1, 500)).scaleb(-8))
        for second in seconds
    ]


TAPE = _tape()


def bars(rows: Sequence[Made], width_s: int) -> dict[int, tuple[Decimal, ...]]:
    """Return open, high, low, close, volume and count of each bar with trades, by its number."""
    found: dict[int, list[Made]] = {}
    for row in rows:
        found.setdefault(row.second // width_s, []).append(row)
    return {
        number: (
            (prices := [row.price for row in inside])[0],
            max(prices),
            min(prices),
            prices[-1],
            sum((row.qty for row in inside), Decimal(0)),
            Decimal(len(inside)),
        )
        for number, inside in found.items()
    }


def entry(path: Path, text: str, layout: Lines) -> Entry:
    path.write_text(text)
    name = member_name(path.name)
    assert name is not None
    return Entry(Member(path, name, path.stat().st_size), PAIR, False, Detected(layout), 0, None)


def printed(minutes: int, first: int, last: int) -> str:
    """Return the candles whose intervals begin between two trades."""
    begins, ends = TAPE[first].second, TAPE[last].second
    return "".join(
        f"{number * minutes * 60},{','.join(map(str, bar[:4]))},{float(bar[4])!r},{bar[5]}\n"
        for number, bar in bars(TAPE, minutes * 60).items()
        if begins <= number * minutes * 60 < ends
    )


def build(folder: Path, members: Sequence[tuple[str, str]]) -> Path:
    """Return an archive with the last days recorded, and these members."""
    data = folder / "data"
    with writing(data) as written:
        written.append(
            [
                Trade(PAIR, at, row.second * 1_000_000, row.price, row.qty, "buy", "limit", "", "rest", None)
                for at, row in enumerate(TAPE, 1)
                if at >= RECORDED
            ]
        )
    archive = TradeArchive(Layout(data), Unsynced(), staging=data / ".staging")
    bulk = BulkImport(archive, lambda: Room(1 << 40, 1 << 40), (0, 1 << 60))
    for name, text in members:
        layout = Lines.OHLCVT if "_" in name else Lines.CLASSIC
        one = entry(folder / name, text, layout)
        importer = (CandleImport if layout is Lines.OHLCVT else ClassicImport)(bulk)
        importer.member(one, one.member.digest(), lambda _: None)
    return data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive with some days of trades without ids, and candles of others."""
    classic = "".join(f"{row.second},{row.price},{row.qty:f}\n" for row in TAPE[slice(*CLASSIC)])
    candles = [(f"AB_{minutes}.csv", printed(minutes, *PRINTED)) for minutes in (60, 720)]
    return build(tmp_path_factory.mktemp("bulk"), [("AB.csv", classic), *candles])


@pytest.fixture(scope="module")
def archive(data: Path) -> Iterator[recorder.Archive]:
    with recorder.connect(data) as opened:
        yield opened


def whole(origin: str, begin_s: int, end_s: int, width_s: int) -> bool:
    """Return whether a source has all trades of a bar."""
    if origin == "trades":
        return TAPE[RECORDED - 1].second < begin_s and end_s <= TAPE[-1].second
    if origin == "bulk_trades":
        return TAPE[CLASSIC[0]].second < begin_s and end_s <= TAPE[CLASSIC[1] - 1].second
    for width in (width for width in (3_600, 43_200) if width_s % width == 0):
        begins = [int(line.partition(",")[0]) for line in printed(width // 60, *PRINTED).splitlines()]
        if begins[0] <= begin_s and end_s <= begins[-1] + width:
            return True
    return False


@pytest.mark.parametrize("timeframe", ["30m", "1h", "12h", "1d", "1w"])
def test_each_bar_is_of_the_best_source_that_is_whole(archive: recorder.Archive, timeframe: str) -> None:
    width_s = TIMEFRAMES[timeframe] * 60
    truth = bars(TAPE, width_s)
    table = archive.candles(PAIR, timeframe, bulk=True, on_gap="ignore", to="arrow", decimals=True)
    found = {int(row["time"].timestamp()) // width_s: row for row in table.to_pylist()}
    for number, row in found.items():
        sources = [
            origin
            for origin in ("trades", "bulk_trades", "bulk_ohlc")
            if whole(origin, number * width_s, (number + 1) * width_s, width_s)
        ]
        assert row["complete"] is bool(sources)
        if sources:
            assert row["origin"] == sources[0]
            assert tuple(row[name] for name in ("open", "high", "low", "close", "volume", "count")) == truth[number]
        assert (row["vwap"] is None) == (row["origin"] == "bulk_ohlc")
    known = [
        number
        for number in truth
        if any(
            whole(o, number * width_s, (number + 1) * width_s, width_s) for o in ("trades", "bulk_trades", "bulk_ohlc")
        )
    ]
    assert set(known) <= set(found)
    assert len(set(table["time"].to_pylist())) == table.num_rows


def test_sql_has_the_same_bars_and_the_column_only_where_it_is_asked_for(archive: recorder.Archive) -> None:
    start, stop = datetime(2020, 3, 29, tzinfo=UTC), datetime(2020, 4, 2, tzinfo=UTC)
    frame = archive.candles(PAIR, "4h", start, stop, bulk=True, on_gap="ignore", to="arrow", decimals=True)
    text = "FROM candles($pair, '4h', start := $start, stop := $stop, bulk := {})"
    params: dict[str, Any] = {"pair": PAIR, "start": start, "stop": stop}
    assert archive.sql(text.format("true"), to="arrow", decimals=True, **params).to_pylist() == frame.to_pylist()
    plain = archive.sql("FROM candles($pair, '4h', $start, $stop)", to="arrow", **params)
    assert archive.sql(text.format("NULL"), to="arrow", **params).equals(plain)
    fifth = archive.sql("FROM candles($pair, '4h', $start, $stop, true)", to="arrow", **params)
    assert fifth.num_rows == frame.num_rows
    first = archive.sql(
        "SELECT min(time) FROM candles($pair, '4h', stop := $stop, bulk := true)", to="arrow", pair=PAIR, stop=stop
    )
    assert first.column(0)[0].as_py() < start


def test_bars_between_others_that_no_source_covers_are_a_gap(tmp_path: Path, archive: recorder.Archive) -> None:
    text = printed(60, 0, 150)
    with recorder.connect(build(tmp_path, [("AB_60.csv", text)])) as opened:
        with pytest.raises(GapError, match="neither stored trades nor history files cover these 1h bars whole"):
            opened.candles(PAIR, "1h", bulk=True)
        with pytest.warns(UserWarning, match="of A/B from 2020-"):
            frame = opened.candles(PAIR, "1h", bulk=True, on_gap="warn")
        ends = int(text.splitlines()[-1].partition(",")[0]) // 3_600 + 1
        assert frame.attrs["missing"] == {PAIR: TAPE[RECORDED - 1].second // 3_600 + 1 - ends}
        assert opened.candles(PAIR, "1h", stop="2020-03-29", bulk=True).attrs["missing"] == {PAIR: 0}
        before, after = opened.candles(PAIR, "1h", bulk=True, on_gap="split")
        outside = (frame["time"] <= before["time"].iloc[-1]) | (frame["time"] >= after["time"].iloc[0])
        assert list(frame["time"][outside]) == [*before["time"], *after["time"]]
        assert before["time"].iloc[-1].timestamp() == (ends - 1) * 3_600
        assert after["time"].iloc[0].timestamp() == (TAPE[RECORDED - 1].second // 3_600 + 1) * 3_600
        assert (before.attrs["missing"], before.attrs["origins"]["bulk_ohlc"]) == ({PAIR: 0}, len(before))
    table = archive.candles(PAIR, "1h", bulk=True, to="arrow")
    assert set(table["origin"].to_pylist()) == {"trades", "bulk_trades", "bulk_ohlc"}
    nulled = archive.candles(PAIR, "1h", bulk=True, on_gap="null", to="arrow").to_pylist()
    assert all((row["close"] is None) != row["complete"] for row in nulled)
    with pytest.raises(UsageError, match="candles of history files have none: leave out hashed, or bulk"):
        archive.candles(PAIR, "1h", bulk=True, hashed=True)


def test_a_frame_says_how_many_bars_are_from_where(archive: recorder.Archive) -> None:
    frame = archive.candles(PAIR, "1h", bulk=True)
    assert frame.attrs["origins"] == {
        origin: int((frame["origin"] == origin).sum()) for origin in ("trades", "bulk_trades", "bulk_ohlc")
    }
    assert list(frame["origin"].cat.categories) == ["trades", "bulk_trades", "bulk_ohlc"]
    empty = archive.candles(PAIR, "1h", "2019-01-01", "2019-01-02", bulk=True)
    assert dict(empty.dtypes) == dict(frame.dtypes)


@pytest.mark.parametrize("lacking", ["bulk_trades", "bulk_ohlc"])
def test_a_script_over_an_archive_that_lacks_one_of_the_tables_answers_from_the_other(
    lacking: str, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / lacking)
    other = {"bulk_trades": "bulk_ohlc", "bulk_ohlc": "bulk_trades"}[lacking]
    with duckdb.connect() as client:
        client.execute(catalogue.script(tmp_path / "data"))
        assert client.execute(f"SELECT count(*) FROM {lacking}").fetchone() == (0,)
        origins = client.execute(f"SELECT DISTINCT origin FROM candles('{PAIR}', '1h', bulk := true) ORDER BY ALL")
        assert origins.fetchall() == [(other,), ("trades",)]
        proofs = {"bulk_ohlc": "published", "bulk_trades": "imported"}
        for text in ("coverage", f"coverage WHERE pair = '{PAIR}'", f"pair_coverage('{PAIR}')"):
            found = {proof for (proof,) in client.execute(f"SELECT DISTINCT proof FROM {text}").fetchall()}
            assert found == {"ids", proofs[other]}
        for text in ("bulk_days", "certificates", f"bulk_audit('{PAIR}', '1h')"):
            client.execute(f"SELECT count(*) FROM {text}").fetchall()


def test_what_differs_is_classified(tmp_path: Path) -> None:
    begins = bars(TAPE, 3_600)
    quarter = 1_585_699_200 // 3_600 - 1
    lines = printed(60, *PRINTED).splitlines()
    numbers = [int(line.partition(",")[0]) // 3_600 for line in lines]
    after = [number for number in numbers if number * 3_600 > TAPE[CLASSIC[0]].second]
    altered, dropped = after[5], after[9]
    kept = {number: line for number, line in zip(numbers, lines, strict=True) if number not in {dropped, quarter}}
    kept[altered] = kept[altered].rpartition(",")[0] + ",9"
    text = "\n".join(kept.values())
    classic = "".join(f"{row.second},{row.price},{row.qty:f}\n" for row in TAPE[slice(*CLASSIC)])
    with recorder.connect(build(tmp_path, [("AB.csv", classic), ("AB_60.csv", text)])) as opened:
        found = opened.query("bulk_audit", pair=PAIR, timeframe="1h", to="arrow").to_pylist()
        proofs = opened.sql("SELECT proof, count(*) AS n FROM coverage GROUP BY proof ORDER BY proof", to="arrow")
        frame = opened.coverage()
    verdicts = {int(row["time"].timestamp()) // 3_600: (row["verdict"], row["differing"]) for row in found}
    assert verdicts[altered] == ("differs", ["count"])
    assert verdicts[dropped][0] == "missing bulk"
    assert (quarter not in begins) or verdicts[quarter][0] == "seam"
    assert {verdict for verdict, _ in verdicts.values()} <= {"equal", "incomplete", "differs", "missing bulk", "seam"}
    assert proofs.to_pylist() == [{"proof": name, "n": 1} for name in ("ids", "imported", "published")]
    assert frame["proof"].tolist() == ["ids", "imported", "published"]
    assert str(frame["first_id"].dtype) == "Int64"


def test_charts_are_shaded_by_source(archive: recorder.Archive) -> None:
    bands = candle_plot.source(archive, PAIR, "1h", Range(None, None), bulk=True).chart().bands
    assert [band.kind for band in bands] == ["published", "imported", "missing"]
    ends = [(band.from_us, band.until_us) for band in bands]
    frame = archive.candles(PAIR, "1h", bulk=True, on_gap="ignore")
    begins = [frame.loc[frame["origin"] == origin, "time"].min() for origin in ("bulk_ohlc", "bulk_trades")]
    assert [band_from for band_from, _ in ends[:2]] == [int(begin.timestamp()) * 1_000_000 for begin in begins]
    assert ends[0][1] is not None
    assert ends[0][1] < int(begins[1].timestamp()) * 1_000_000


def test_a_printed_script_answers_as_a_connection_does_also_in_tokyo(data: Path, archive: recorder.Archive) -> None:
    questions = (
        f"FROM candles('{PAIR}', '1d', '2020-03-28', bulk := true)",
        f"FROM bulk_audit('{PAIR}', '1h')",
        "FROM bulk_days ORDER BY day",
        "FROM coverage ORDER BY proof",
    )
    with duckdb.connect() as client:
        client.execute(catalogue.script(data))
        here = [client.execute(text).fetchall() for text in questions]
        client.execute("SET TimeZone = 'Asia/Tokyo'")
        assert [client.execute(text).fetchall() for text in questions] == here
    for text, rows in zip(questions, here, strict=True):
        told = archive.sql(text, to="arrow", decimals=True).to_pylist()
        assert [tuple(row.values()) for row in told] == rows
        assert rows


def test_a_second_file_in_a_folder_is_found_by_sql_and_refused_by_a_connection(tmp_path: Path) -> None:
    data = build(tmp_path, [("AB_60.csv", printed(60, 0, 50))])
    (file,) = data.glob("bulk_ohlc/pair=A*/*/*")
    shutil.copy(file, file.with_name(new_name(2020, 2020, digest_in(file.name) or "")))
    with duckdb.connect() as client:
        client.execute(catalogue.script(data))
        ((_, problem),) = client.execute("FROM unsound_files").fetchall()
    assert problem.startswith("lies beside ")
    with recorder.connect(data) as opened, pytest.raises(StorageError, match="lies beside"):
        opened.candles(PAIR, "1h", bulk=True)


def test_a_retained_snapshot_ends_with_an_import_and_says_so(tmp_path: Path) -> None:
    data = build(tmp_path, [("AB_60.csv", printed(60, 0, 50))])
    with recorder.connect(data, frozen=True) as opened:
        before = opened.candles(PAIR, "1h", stop="2020-03-27T18:00:00Z", bulk=True)
        text = printed(60, 40, 90)
        again = entry(tmp_path / "more_60.csv", text, Lines.OHLCVT)
        archive = TradeArchive(Layout(data), Unsynced(), staging=data / ".staging")
        importer = CandleImport(BulkImport(archive, lambda: Room(1 << 40, 1 << 40), (0, 1 << 60)))
        importer.member(again, again.member.digest(), lambda _: None)
        with pytest.raises(StorageError, match=r"imported into .* after this snapshot.*refresh"):
            opened.candles(PAIR, "1h", stop="2020-03-27T18:00:00Z", bulk=True)
        opened.refresh()
        assert opened.candles(PAIR, "1h", stop="2020-03-27T18:00:00Z", bulk=True).equals(before)
