"""Many pairs, pieces, and what a frame says it rests on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.core.evidence import Promise
from recorder.core.model import Event
from recorder.core.trade_ids import Span
from recorder.errors import GapError, UsageError
from recorder.query import provenance
from recorder.query.connect import connect
from recorder.query.engine import Engine
from tests.archives import START, START_US, Written, candle, trade, trades

PAIRS = ["ETH/USD", "BTC/USD", "SOL/USD"]
DAY = "2025-11-10"


def second(number: int) -> Any:
    return START + timedelta(seconds=number)


@pytest.fixture
def many(archive: Written) -> Written:
    """Three pairs, the last of which was never listed; of the first some trades are only in the journal, and of the
    others the first trades are not there."""
    for n, pair in enumerate(PAIRS):
        archive.append([trade(i, price=f"{i}.{n}5", pair=pair) for i in range(1 + 3 * n, 130 + n)])
        if pair != "SOL/USD":
            archive.listed(pair, 1)
    archive.journalled([trade(130, pair="ETH/USD")])
    return archive


MODES = [{}, {"live": True}, {"frozen": True}, {"live": True, "frozen": True}]


@pytest.mark.parametrize("mode", MODES)
def test_many_pairs_are_the_pairs_one_by_one(many: Written, mode: dict[str, Any]) -> None:
    with connect(many.data, **mode) as opened:
        calls: list[Callable[..., pa.Table]] = [
            lambda pair: opened.trades(pair, second(9), second(100), to="arrow", decimals=True),
            lambda pair: opened.candles(pair, "1m", to="arrow", decimals=True),
            lambda pair: opened.candles(pair, "1m", second(60), second(120), to="arrow", decimals=True),
        ]
        for call in calls:
            alone = {pair: call(pair).to_pylist() for pair in PAIRS}
            for pairs in (PAIRS, PAIRS[:2], PAIRS[1:2], tuple(PAIRS[::-1])):
                together = call(pairs).to_pylist()
                assert together == [row for pair in pairs for row in alone[pair]]
                assert list(dict.fromkeys(row["pair"] for row in together)) == list(pairs)
        assert opened.pairs() == sorted(PAIRS)


def test_many_pairs_of_the_exchanges_candles_are_the_pairs_one_by_one(archive: Written) -> None:
    for pair in PAIRS:
        archive.published([candle(n, pair=pair) for n in range(3)])
    with connect(archive.data) as opened:
        together = opened.ohlc(PAIRS, "1m", to="arrow").to_pylist()
        assert together == [row for pair in PAIRS for row in opened.ohlc(pair, "1m", to="arrow").to_pylist()]
        with pytest.raises(UsageError, match="no candles of 'XBT/USD'; did you mean BTC/USD"):
            opened.ohlc([*PAIRS, "XBT/USD"], "1m")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ([], "no pair is requested"),
        (5, "a pair is a text such as 'BTC/USD', or a list of them, not 5"),
        (["BTC/USD", 5], "a pair is a text such as 'BTC/USD', not 5"),
        (["BTC/USD", "ETH/USX"], "no trades of 'ETH/USX'; did you mean ETH/USD"),
    ],
)
def test_what_is_no_pair_among_many_is_refused(many: Written, wrong: Any, sentence: str) -> None:
    with connect(many.data) as opened:
        for call in (opened.trades, opened.batches, lambda pair: opened.candles(pair, "1m")):
            with pytest.raises(UsageError, match=sentence):
                call(wrong)


def test_a_series_of_pairs_will_do_and_each_counts_once(many: Written) -> None:
    with connect(many.data) as opened:
        found = (
            opened.trades(pd.Series(["BTC/USD", "BTC/USD", "ETH/USD"]), stop=second(6))
            .groupby("pair", observed=True)
            .head(2)
        )
        assert found["trade_id"].tolist() == [4, 5, 1, 2]
        assert str(found["pair"].dtype) == "category"


def test_holes_of_every_pair_are_told_with_one_command(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(7, 9), *trades(1, 1, pair="ETH/USD"), *trades(3, 3, pair="ETH/USD")])
    archive.append(trades(1, 9, pair="SOL/USD"))
    with connect(archive.data) as opened:
        with pytest.raises(GapError) as caught:
            opened.trades(["BTC/USD", "SOL/USD", "ETH/USD"])
        assert "BTC/USD lacks 3 (ids 4 to 6" in str(caught.value)
        assert "ETH/USD lacks 1 (id 2 " in str(caught.value)
        assert "SOL/USD" not in str(caught.value)
        ends = "--from 2025-11-10T12:00:01Z --to 2025-11-10T12:00:08Z"
        assert f"`recorder backfill BTC/USD ETH/USD {ends} --data {archive.data}`" in str(caught.value)
        with pytest.raises(GapError):
            opened.batches("BTC/USD")
        with pytest.warns(UserWarning, match="ids 4 to 6") as warned:
            pieces = opened.batches("BTC/USD", on_gap="warn")
        assert Path(warned[0].filename).name == Path(__file__).name
        assert [len(piece) for piece in pieces] == [6]
        attrs = opened.trades(["BTC/USD", "ETH/USD"], on_gap="ignore").attrs
        assert attrs["missing"] == {"BTC/USD": 3, "ETH/USD": 1}
        assert attrs["coverage"] == {"BTC/USD": [[1, 3], [7, 9]], "ETH/USD": [[1, 1], [3, 3]]}


def test_a_range_that_begins_before_the_promise_or_the_first_trade_is_told_so(archive: Written) -> None:
    archive.promises["BTC/USD"] = Promise(START_US + 500_000, 40_000_000)
    archive.append([trade(n, START_US + (n - 40_000_000) * 1_000_000) for n in (40_000_001, 40_000_002)])
    archive.append([trade(7, START_US + 3_000_000, pair="ETH/USD"), trade(1, pair="SOL/USD")])
    begins = {"BTC/USD": "2025-11-10T12:00:00.500000Z", "ETH/USD": "2025-11-10T12:00:03.000000Z"}
    with connect(archive.data) as opened:
        pairs = ["SOL/USD", "ETH/USD", "BTC/USD"]
        said = "ETH/USD begins at 2025-11-10T12:00:03.*; BTC/USD begins .*backfill ETH/USD BTC/USD"
        with pytest.raises(GapError, match=said):
            opened.trades(pairs, "2016-01-01")
        with pytest.warns(UserWarning, match="the range begins before what is archived"):
            found = opened.candles(pairs, "1m", "2016-01-01", on_gap="warn")
        assert found.attrs["begins"] == begins
        assert found.attrs["missing"] == dict.fromkeys(pairs, 0)
        for pair, at in begins.items():
            assert opened.trades(pair, at).attrs["begins"] == {}, "from there on it is whole"
            told = opened.sql("FROM pair_begins($pair)", pair=pair)
            assert told["time"].tolist() == [pd.Timestamp(at)]
            assert told["first_id"].tolist() == [{"BTC/USD": 40_000_001, "ETH/USD": 7}[pair]]
            early = f"('{pair}', '1 minute', '2016-01-01 00:00:00+00', filled := true)"
            first = opened.sql(f"SELECT time, complete, missing_trades FROM time_bars{early} LIMIT 1").iloc[0].tolist()
            assert first == [pd.Timestamp(at).floor("min"), False, 0]
        assert len(opened.sql("FROM pair_begins('SOL/USD')")) == 0
        assert opened.trades("BTC/USD").attrs["begins"] == {}, "an open end asks for what there is"
        (piece,) = opened.batches("ETH/USD", "2016-01-01", on_gap="ignore")
        assert piece.attrs["begins"] == {"ETH/USD": begins["ETH/USD"]}


def test_ids_that_the_exchange_does_not_have_are_no_hole(archive: Written) -> None:
    archive.append([*trades(1, 3), *trades(7, 9)])
    archive.noted(Event(START_US, "void", "BTC/USD", '{"first_id":4,"last_id":5}'))
    with connect(archive.data) as opened:
        with pytest.raises(GapError, match=r"BTC/USD lacks 1 \(id 6 "):
            opened.trades("BTC/USD")
        archive.noted(Event(START_US, "void", "BTC/USD", '{"first_id":6,"last_id":6}'))
        archive.noted(Event(START_US, "void", "BTC/USD", '{"first_id":"?"}'), Event(START_US, "void", None, "{}"))
        found = opened.trades("BTC/USD")
        assert len(found) == 6
        assert found.attrs["missing"] == {"BTC/USD": 0}


def test_lost_candles_are_an_error_unless_the_caller_says_so(archive: Written) -> None:
    archive.append([trade(n + 1, START_US + n * 60_000_000) for n in range(9)])
    archive.published([candle(0), candle(1), candle(4)])
    with connect(archive.data) as opened:
        command = "recorder backfill BTC/USD --from 2025-11-10T12:02:00Z --to 2025-11-10T12:04:01Z"
        with pytest.raises(GapError, match=f"BTC/USD lacks 2 .*filled=True.*{command}"):
            opened.ohlc("BTC/USD", "1m")
        with pytest.warns(UserWarning, match="lacks 2"):
            assert len(opened.ohlc("BTC/USD", "1m", on_gap="warn")) == 3
        ignored = opened.ohlc("BTC/USD", "1m", on_gap="ignore")
        assert (len(ignored), ignored.attrs) == (3, {"missing": {"BTC/USD": 2}})
        assert len(opened.ohlc("BTC/USD", "1m", stop=second(120))) == 2
        filled = opened.ohlc("BTC/USD", "1m", filled=True)
        assert (len(filled), filled.attrs) == (5, {"missing": {"BTC/USD": 0}})


def test_equal_digests_mean_the_same_trades_whatever_came_or_was_merged_meanwhile(archive: Written) -> None:
    archive.append([*trades(1, 50), *trades(61, 100)])
    archive.append(trades(1, 100, pair="ETH/USD"))
    ask = {"start": second(20), "stop": second(80), "on_gap": "ignore"}
    with connect(archive.data) as opened:
        first = opened.trades("BTC/USD", **ask).attrs
        assert first["coverage"] == {"BTC/USD": [[20, 50], [61, 79]]}
        assert first["digest"] == provenance.digest({"BTC/USD": [Span(20, 50), Span(61, 79)]})
        assert json.loads(json.dumps(first)) == first
        archive.append(trades(101, 120))
        archive.compact()
        assert opened.trades("BTC/USD", **ask).attrs == first
        assert opened.trades("ETH/USD", **ask).attrs["digest"] != first["digest"]
        arrow = opened.trades("BTC/USD", to="arrow", **ask)
        assert json.loads(arrow.schema.metadata[b"recorder"]) == first
        archive.append(trades(51, 60))
        filled = opened.trades("BTC/USD", **ask).attrs
        assert filled["digest"] != first["digest"]
        assert filled["missing"] == {"BTC/USD": 0}


def test_candles_rest_on_the_trades_of_their_range(archive: Written) -> None:
    archive.append(trades(1, 400))
    archive.append(trades(1, 400, pair="ETH/USD"))
    with connect(archive.data) as opened:
        for pairs in ("BTC/USD", ["BTC/USD", "ETH/USD"]):
            candles = opened.candles(pairs, "1m", second(10), second(200), hashed=True).attrs
            assert candles == opened.trades(pairs, second(60), second(240), hashed=True).attrs
            assert candles["coverage"]["BTC/USD"] == [[60, 239]]
        assert opened.candles("BTC/USD", "1m").attrs["coverage"] == {"BTC/USD": [[1, 400]]}
        empty = opened.candles("BTC/USD", "1m", second(1000), second(2000), hashed=True).attrs
        assert empty["coverage"] == {"BTC/USD": []}
        assert empty["sha256"] == {"BTC/USD": hashlib.sha256(b"").hexdigest()}


def test_the_digest_of_the_rows_is_that_of_the_certificate(archive: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.query.reader.BATCH_ROWS", 30)
    archive.append([trade(n, price=f"{n}.10", qty="0.00000001") for n in range(1, 101)])
    with connect(archive.data) as opened:
        (certified,) = opened.sql(f"SELECT sha256 FROM certificates WHERE day = '{DAY}'")["sha256"]
        assert opened.trades("BTC/USD", DAY, "2025-11-11", hashed=True).attrs["sha256"] == {"BTC/USD": certified}
        assert "sha256" not in opened.trades("BTC/USD").attrs


def test_pieces_are_of_one_moment_while_rows_come_move_and_are_merged(archive: Written) -> None:
    archive.append([*trades(1, 40), *trades(61, 70)])
    archive.journalled([*trades(71, 90), *trades(1, 5, pair="ETH/USD")])
    modes: list[dict[str, Any]] = [{}, {"live": True}, {"live": True, "frozen": True}]
    for mode in modes:
        with connect(archive.data, **mode) as opened:
            expected = opened.trades(["BTC/USD", *(["ETH/USD"] if mode else [])], on_gap="ignore", to="arrow")
            pieces = []
            stream = opened.batches(["BTC/USD", *(["ETH/USD"] if mode else [])], rows=7, on_gap="ignore", to="arrow")
            next_id = 200 + 100 * len(mode)
            for piece in stream:
                pieces.append(piece)
                next_id += 2
                archive.append(trades(next_id, next_id))  # never part of it
                archive.compact()
                if len(pieces) == 5:
                    assert opened.sql("SELECT 1 AS one")["one"].tolist() == [1]
                    opened.refresh()
            assert all(piece.num_rows <= 7 and len(set(piece["pair"].to_pylist())) == 1 for piece in pieces)
            rows = [row for piece in pieces for row in piece.to_pylist()]
            assert rows == expected.to_pylist()
            assert [json.loads(piece.schema.metadata[b"recorder"])["coverage"] for piece in pieces[-1:]] == [
                {rows[-1]["pair"]: [[pieces[-1]["trade_id"][0].as_py(), rows[-1]["trade_id"]]]}
            ]


def test_a_piece_that_lost_its_file_is_read_again(archive: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.append(trades(1, 10))
    archive.append(trades(11, 20))
    original: Callable[..., Any] = Engine.fetch
    failed: list[int] = []

    def unlucky(engine: Engine, *args: Any, **options: Any) -> Any:
        if "BETWEEN $first" in args[0] and len(failed) < 3:
            archive.append(trades(21 + len(failed), 21 + len(failed)))
            archive.compact()
            failed.append(1)
        return original(engine, *args, **options)

    with connect(archive.data) as opened:
        monkeypatch.setattr(Engine, "fetch", unlucky)
        ids = [number for piece in opened.batches("BTC/USD", rows=8) for number in piece["trade_id"]]
    assert ids == list(range(1, 21))
    assert len(failed) == 3


def test_pieces_take_ranges_formats_and_exact_numbers(archive: Written) -> None:
    archive.append([trade(1, price="0.1", qty="383320500.12345678"), *trades(2, 9)])
    with connect(archive.data) as opened:
        (piece,) = opened.batches("BTC/USD", stop=second(3), decimals=True, to="polars")
        assert piece["qty"].to_list() == [Decimal("383320500.12345678"), Decimal(1)]
        assert [list(piece["trade_id"]) for piece in opened.batches("BTC/USD", second(4), rows=4)] == [
            [4, 5, 6, 7],
            [8, 9],
        ]
        assert list(opened.batches("BTC/USD", second(100))) == []
        for rows in (0, -1, 1.5, None):
            with pytest.raises(UsageError, match="a whole number of 1 or more"):
                opened.batches("BTC/USD", rows=rows)  # type: ignore[arg-type]


def test_pieces_of_a_closed_archive_are_refused(archive: Written) -> None:
    archive.append(trades(1, 9))
    opened = connect(archive.data)
    stream = opened.batches("BTC/USD", rows=3)
    next(stream)
    opened.close()
    with pytest.raises(UsageError, match="closed"):
        next(stream)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 30), start=st.integers(0, 60), length=st.integers(0, 60))
def test_pieces_joined_are_the_whole(archive: Written, rows: int, start: int, length: int) -> None:
    archive.append([*trades(1, 20), *trades(31, 33), *trades(40, 60)])
    with connect(archive.data) as opened:
        ask = {"start": second(start), "stop": second(start + length), "on_gap": "ignore"}
        whole = opened.trades("BTC/USD", **ask)
        found = [int(number) for piece in opened.batches("BTC/USD", rows=rows, **ask) for number in piece["trade_id"]]
        assert found == whole["trade_id"].tolist()


def test_a_forked_process_is_told_to_connect_by_itself(archive: Written) -> None:
    archive.append(trades(1, 3))
    with connect(archive.data) as opened:
        opened._reader._process = os.getpid() + 1  # as a child would find it
        with pytest.raises(UsageError, match=r"forked.*connect\(\) in this process"):
            opened.trades("BTC/USD")
        opened._reader._process = os.getpid()


READER = """
import sys
from pathlib import Path

written = []

def watch(event, args):
    if event == "open" and str(args[0]).startswith(sys.argv[1]):
        mode, flags = args[1], args[2]
        if (mode and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & 0o103):
            written.append((event, args))
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.utime"):
        if any(str(arg).startswith(sys.argv[1]) for arg in args):
            written.append((event, args))

sys.addaudithook(watch)
import recorder

for live, frozen in ((False, False), (True, False), (True, True)):
    with recorder.connect(sys.argv[1], live=live, frozen=frozen) as archive:
        archive.sql("SELECT count(*) FROM trades")
        archive.trades("BTC/USD", on_gap="ignore", hashed=True)
        archive.candles("BTC/USD", "1m", on_gap="ignore")
        archive.ohlc("BTC/USD", "1m")
        archive.events()
        archive.certificates(hashed=True)
        print(len(archive.coverage()), len(archive.gaps()))
        list(archive.batches("BTC/USD", on_gap="ignore", rows=10))
        archive.refresh()
assert written == [], written
"""


def described(folder: Path) -> list[tuple[str, int, int, int]]:
    """All that a write leaves behind: names, inodes, and the times of change, which nobody can set."""
    found = []
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        found.append((str(path), state.st_ino, state.st_ctime_ns, state.st_size))
    return found


def filled(archive: Written) -> None:
    archive.append([*trades(1, 30), *trades(35, 60)])
    archive.journalled(trades(61, 70))
    archive.published([candle(0)])
    archive.noted(Event(START_US, "connected", None, "{}"))


def test_reading_writes_nothing_anywhere_in_the_archive(archive: Written, tmp_path: Path) -> None:
    filled(archive)
    (tmp_path / "elsewhere").mkdir()
    before = described(archive.data)
    done = subprocess.run(
        [sys.executable, "-c", READER, str(archive.data)],
        cwd=archive.data, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert described(archive.data) == before
    assert done.stdout.split() == ["2", "1"] * 3


def test_an_archive_on_a_read_only_mount_is_read_as_any_other(archive: Written, tmp_path: Path) -> None:
    filled(archive)
    mount = f"mount --bind {archive.data} {archive.data} && mount -o remount,bind,ro {archive.data}"
    sandboxed = ["unshare", "-rm", "sh", "-ec"]
    try:
        subprocess.run([*sandboxed, f"{mount} && ! touch {archive.data}/x"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this user may not mount here: {error}")
    done = subprocess.run(
        [*sandboxed, f'{mount} && exec {sys.executable} -c "$1" {archive.data}', "sh", READER],
        check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.stdout.split() == ["2", "1"] * 3
