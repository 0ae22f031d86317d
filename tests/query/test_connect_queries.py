"""Named queries, newest trades, listings, names of pairs, and what an archive says of itself, through connect()."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import recorder
from recorder.archive.parquet import OpenFile
from recorder.errors import CorruptFile, UsageError
from recorder.query import catalogue, latest_trades, named_parameters
from recorder.query.connect import Archive, connect
from recorder.query.pair_aliases import AliasWarning
from tests.archives import Written, candle, minute, trade, trades, writing

MODES = [{}, {"live": True}, {"frozen": True}, {"live": True, "frozen": True}]
GIVEN: dict[str, Any] = {
    "pair": "BTC/USD",
    "pairs": ("BTC/USD", "DOGE/USD"),
    "size": 2,
    "step": 0.5,
    "limit": 3,
    "hashed": True,
    "filled": True,
    "timeframe": "1m",
    "width": timedelta(minutes=1),
    "per": pd.Timedelta("2min"),
    "every": timedelta(minutes=1),
    "basis_points": 10,
    "tolerance": timedelta(seconds=5),
    "horizon": timedelta(minutes=5),
    "start": minute(0),
    "stop": date(2025, 11, 11),
    "origin": None,
}
"""A value of Python for each parameter that any query has."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two pairs, of one of which ids 101 to 199 are missing, and with a third one in its journal."""
    folder = tmp_path_factory.mktemp("queries") / "data"
    with writing(folder) as archive:
        archive.append([*trades(1, 100), *trades(200, 400)])
        archive.append(trades(5, 300, pair="DOGE/USD"))
        for pair in ("BTC/USD", "DOGE/USD", "ADA/USD"):
            archive.listed(pair, 1)
        archive.published([candle(number) for number in range(3)])
        archive.journalled(trades(1, 2, pair="SOL/USD"))
    return folder


@pytest.fixture(scope="module")
def opened(data: Path) -> Iterator[Archive]:
    with connect(data) as archive:
        yield archive


@pytest.mark.parametrize("asked", catalogue.questions(), ids=lambda asked: asked.name)
def test_every_query_takes_its_parameters_as_values_of_python(asked: catalogue.NamedQuery) -> None:
    given = {one.name: GIVEN[one.name] for one in asked.parameters}
    bound = asked.bound(named_parameters.written(given))
    assert list(bound) == list(given)
    assert bound.get("size", 2) == 2
    assert bound.get("step", Decimal("0.5")) == Decimal("0.5")
    assert bound.get("filled", True) is True
    assert bound.get("pairs", ["BTC/USD", "DOGE/USD"]) == ["BTC/USD", "DOGE/USD"]
    assert bound.get("width", "60000000 microseconds") == "60000000 microseconds"
    assert bound.get("stop", datetime(2025, 11, 11, tzinfo=UTC)) == datetime(2025, 11, 11, tzinfo=UTC)


@pytest.mark.parametrize("name", ["correlation", "largest_trades", "tick_bars", "certificates"])
def test_a_query_answers_as_its_sql_does_and_says_what_it_rests_on(opened: Archive, name: str) -> None:
    asked = catalogue.question(name)
    given = {one.name: GIVEN[one.name] for one in asked.parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: pd.DataFrame = opened.query(name, **given)
    expected = opened.sql(asked.text, **asked.bound(named_parameters.written(given)))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    given |= {"start": "2030-01-01", "stop": None} if "start" in given else {}
    none: pd.DataFrame = opened.query(name, **given)
    assert none.dtypes.to_dict() == found.dtypes.to_dict()
    if name == "certificates":
        assert found.attrs == {}
    else:
        assert found.attrs["coverage"]["BTC/USD"] == [[1, 100], [200, 400]]
        assert found.attrs["missing"]["BTC/USD"] == 99
        assert len(found.attrs["digest"]) == 64


def test_without_a_name_the_queries_are_listed(opened: Archive) -> None:
    listed = opened.query().set_index("query")
    assert listed.index.tolist() == [asked.name for asked in catalogue.questions()]
    assert listed.loc["volatility", "question"] == "How volatile was one pair, by four estimators, annualized?"
    assert listed.loc["volatility", "parameters"] == "pair, width = 1 hour, per = 1 day, start, stop"


def test_what_may_be_missing_is_warned_of_where_it_is_asked(opened: Archive) -> None:
    with pytest.warns(UserWarning, match="trades may be missing in it") as caught:
        opened.query("returns", pair="BTC/USD", width="1 minute")
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"DOGE/USD begins at 2025-11-10T12:00:05") as caught:
        found = opened.query("largest_trades", pair="DOGE/USD", start="2025-11-01", limit=3, to="arrow")
    assert len(caught) == 1
    assert json.loads(found.schema.metadata[b"recorder"])["begins"] == {"DOGE/USD": "2025-11-10T12:00:05.000000Z"}
    with pytest.warns(UserWarning, match=r"DOGE/USD begins at 2025-11-10T12:00:05"):
        opened.query("correlation", width="1 minute", start="2025-11-01")
    with pytest.warns(UserWarning, match="no bar of this width is complete"):  # the archive has some minutes
        (row,) = opened.query("volatility", pair="BTC/USD", to="arrow").to_pylist()
    assert (row["bars"], row["close_to_close"]) == (0, None)


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("vwpa", {}, "did you mean vwap"),
        ("vwap", {}, "vwap needs pair, VARCHAR"),
        ("vwap", {"pair": "BTC/USD", "wide": 1}, "no parameter 'wide'; did you mean width"),
        ("vwap", {"pair": ["BTC/USD"]}, "a pair is a text"),
        ("vwap", {"pair": "SOL/USD"}, "no trades of 'SOL/USD'"),
        ("certificates", {"pair": "SOL/USD"}, "no trades of 'SOL/USD'"),
        ("tick_bars", {"pair": "BTC/USD", "size": 2.5}, "size = '2.5' is no BIGINT"),
        ("vwap", {"pair": "BTC/USD", "start": pd.Timestamp("2025-11-10")}, "has no time zone"),
        ("vwap", {"pair": "BTC/USD", "start": "2025-11-11", "stop": "2025-11-10"}, "reversed"),
    ],
)
def test_a_mistake_in_a_named_query_is_one_sentence(
    opened: Archive, name: str, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        opened.query(name, **params)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_its_own_newest_trades_bars_and_closes(archive: Written, mode: dict[str, Any]) -> None:
    archive.append(trades(1, 3))
    archive.append(trades(4, 5))
    archive.journalled([trade(6, price="7"), trade(1, pair="ETH/USD")])
    with connect(archive.data, **mode) as opened:
        for change in (None, archive.drain, lambda: archive.append(trades(7, 8)), archive.compact):
            if change is not None:
                change()
            held = opened.sql("SELECT pair, max(trade_id) AS id FROM trades GROUP BY pair ORDER BY pair")
            newest = opened.latest()
            assert dict(zip(newest["pair"], newest["trade_id"], strict=True)) == dict(
                zip(held["pair"], held["id"], strict=True)
            )
            last = held["id"].iloc[0]
            assert newest["price"].iloc[0] == (7 if last == 6 else 100)
            assert newest.attrs["coverage"]["BTC/USD"] == [[last, last]]
            if change == archive.drain:
                assert opened.bars("BTC/USD", 4, kind="tick")["last_id"].tolist() == [4, last]
                assert opened.closes("BTC/USD", "1 s")["BTC/USD"].iloc[-1] == newest["price"].iloc[0]
                assert opened.query("tick_bars", pair="BTC/USD", size=4)["last_id"].tolist() == [4, last]


def test_newest_trades_come_from_one_row_group_of_a_file_once(
    archive: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pair in ("BTC/USD", "ETH/USD"):
        archive.append(trades(1, 3, pair=pair))
        archive.append(trades(4, 5, pair=pair))
    read: list[str] = []

    def reading(path: Path) -> OpenFile:
        read.append(path.parts[-3])
        return OpenFile(path)

    monkeypatch.setattr(latest_trades, "OpenFile", reading)
    with connect(archive.data) as opened:
        assert opened.latest()["trade_id"].tolist() == [5, 5]
        assert read == ["pair=BTC%2FUSD", "pair=ETH%2FUSD"]
        opened.latest()
        archive.append(trades(6, 6))
        assert opened.latest(["ETH/USD", "BTC/USD"])["trade_id"].tolist() == [5, 6]
        assert read == ["pair=BTC%2FUSD", "pair=ETH%2FUSD", "pair=BTC%2FUSD"]
        exact = opened.latest("BTC/USD", decimals=True, to="arrow")
        assert str(exact["price"].to_pylist()) == "[Decimal('100.000000000000')]"
        with pytest.raises(UsageError, match="no trades of 'SOL/USD'"):
            opened.latest("SOL/USD")
    (path,) = (path for path in archive.files("ETH/USD") if path.name.startswith("000000000004"))
    path.write_bytes(path.read_bytes().replace(b"recorder", b"recOrder"))
    with connect(archive.data) as opened, pytest.raises(CorruptFile):
        opened.latest()


def test_an_archive_without_trades_has_frames_of_the_same_types(archive: Written, opened: Archive) -> None:
    with connect(archive.data) as empty:
        assert empty.latest().drop(columns="pair").dtypes.equals(opened.latest().drop(columns="pair").dtypes)
        assert empty.instruments().dtypes.equals(opened.instruments().dtypes)
        assert len(empty.query("correlation")) == 0
        assert repr(empty) == f"<Archive {archive.data}: no trades yet>"


def test_instruments_are_those_of_the_view(opened: Archive) -> None:
    assert opened.instruments()["pair"].tolist() == ["ADA/USD", "BTC/USD", "DOGE/USD"]
    (row,) = opened.instruments("ADA/USD", to="arrow", decimals=True).to_pylist()
    assert row == opened.sql("FROM instruments WHERE pair = 'ADA/USD'", to="arrow", decimals=True).to_pylist()[0]


NAMES = ["XBT/USD", "btc/usd", "XBTUSD", "BTCUSD", "btc-usd"]


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_is_known_by_any_of_its_names(opened: Archive, name: str) -> None:
    with pytest.warns(AliasWarning, match=f"{name} is taken for BTC/USD") as caught:
        found = opened.trades(name, on_gap="ignore", to="arrow")
    assert caught[0].filename == __file__
    assert len(found) == 301
    assert json.loads(found.schema.metadata[b"recorder"])["aliases"] == {name: "BTC/USD"}
    assert opened.resolve(name) == "BTC/USD"


def test_every_method_takes_any_name(opened: Archive) -> None:
    alias = "xbt/usd"
    asked: list[Callable[[], pd.DataFrame]] = [
        lambda: opened.candles([alias, "DOGE/USD"], "1m", on_gap="ignore"),
        lambda: opened.bars(alias, 10, kind="tick", on_gap="ignore"),
        lambda: opened.closes([alias, "DOGE/USD"], "1m"),
        lambda: opened.latest([alias, "BTC/USD", alias]),
        lambda: opened.ohlc(alias, "1m"),
        lambda: opened.query("largest_trades", pair=alias),
        lambda: next(opened.batches(alias, on_gap="ignore")),
        lambda: opened.instruments(alias),
        lambda: opened.events(pair=alias),
    ]
    for ask in asked:
        with pytest.warns(AliasWarning, match=f"{alias} is taken for BTC/USD"):
            found = ask()
        assert found.attrs["aliases"] == {alias: "BTC/USD"}


def test_names_are_resolved_by_the_listing_and_several_are_asked_about(archive: Written) -> None:
    for pair in ("AAPLx/USD", "AAPLX/USD", "LUNA2/USD"):
        archive.append(trades(1, 2, pair=pair))
    archive.listed("LUNA2/USD", 1)
    archive.listed("LUNA/USD", 1)
    with connect(archive.data, frozen=True) as opened:
        assert opened.resolve("AAPLX/USD") == "AAPLX/USD"
        with pytest.raises(UsageError, match="'aaplxusd' may mean AAPLX/USD or AAPLx/USD: write the one you mean"):
            opened.trades("aaplxusd")
        with pytest.raises(UsageError, match="no trades of 'LUNA/USD'; did you mean LUNA2/USD"):
            opened.trades("LUNA/USD")  # it is listed: another pair is not taken for it
        with pytest.raises(UsageError, match="no trades of 'DOGE/USD'"):
            opened.resolve("DOGE/USD")
        with pytest.raises(UsageError, match="did you mean LUNA2/USD"):
            opened.sql("FROM candles('luna2usd', '1m')")


@pytest.mark.parametrize("mode", MODES)
def test_an_archive_says_what_it_holds(data: Path, mode: dict[str, Any]) -> None:
    with connect(data, **mode) as opened:
        named = " ".join([str(data), *mode])
        pairs = "BTC/USD, DOGE/USD, SOL/USD" if "live" in mode else "BTC/USD, DOGE/USD"
        trades = 599 if "live" in mode else 597
        said = f"{pairs}; 2025-11-10 12:00:01 to 2025-11-10 12:06:40; {trades} trades; 1 gap of 99 ids"
        assert repr(opened) == f"<Archive {named}: {said}>"
        page = opened._repr_html_()
        assert page is not None
        assert "<td>DOGE/USD</td><td>296</td><td>2025-11-10 12:00:05</td><td>2025-11-10 12:05:00</td>" in page
    assert "this archive is closed" in repr(opened)
    assert opened._repr_html_() is None


def test_a_name_cannot_become_markup_and_a_damaged_pair_is_named(archive: Written) -> None:
    for pair in ("<b>/USD", *(f"P{number:02d}/USD" for number in range(24))):
        archive.append(trades(1, 1, pair=pair))
    archive.files("P03/USD")[0].write_bytes(b"PAR1")
    with connect(archive.data) as opened:
        assert "<b>/USD, P00/USD, P01/USD and 21 more;" in repr(opened)
        assert "cannot read P03/USD" in repr(opened)
        page = opened._repr_html_()
    assert page is not None
    assert "&lt;b&gt;/USD" in page
    assert "<b>/USD" not in page
    assert "and 4 more pairs" in page


def test_the_package_shows_its_public_names() -> None:
    assert dir(recorder) == [
        "Account",
        "AliasWarning",
        "Archive",
        "__version__",
        "connect",
        "connect_account",
        "errors",
    ]
    assert recorder.Archive is Archive
    assert recorder.AliasWarning is AliasWarning
    assert issubclass(recorder.errors.GapError, recorder.errors.RecorderError)
    with pytest.raises(AttributeError, match="no attribute 'pandas'"):
        recorder.pandas  # noqa: B018 -- this is the test
    assert (Path(recorder.__file__).parent / "py.typed").is_file()


def test_type_checkers_and_editors_know_the_frames(opened: Archive) -> None:
    """Mypy checks the types that are named here; that the frames have them is checked as it runs."""
    start = minute(4)
    assert isinstance(assert_type(opened.trades("BTC/USD", start), pd.DataFrame), pd.DataFrame)
    polars = assert_type(opened.trades("BTC/USD", start, to="polars", decimals=True), pl.DataFrame)
    assert polars.height == 161
    arrow = assert_type(opened.candles("BTC/USD", "1m", start, to="arrow"), pa.Table)
    assert arrow.num_rows == 3
    runs = assert_type(opened.trades("BTC/USD", on_gap="split", dtype_backend="pyarrow"), list[pd.DataFrame])
    assert len(runs) == 2
    stretches = assert_type(opened.ohlc("BTC/USD", "1m", on_gap="split", to="polars"), list[pl.DataFrame])
    assert len(stretches) == 1
    pieces = assert_type(opened.batches("BTC/USD", start, to="polars"), Iterator[pl.DataFrame])
    assert next(pieces).width == 10
    assert assert_type(opened.coverage(to="polars"), pl.DataFrame).height == 3
    assert len(assert_type(opened.closes("BTC/USD", "1m", start), pd.DataFrame)) == 3
    assert len(assert_type(opened.sql("SELECT $n AS n", n=1), pd.DataFrame)) == 1
    assert assert_type(opened.query(to="polars"), pl.DataFrame).height > 10
    with pytest.raises(UsageError, match="there is no to 'excel'"):
        opened.latest(to="excel")  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="there is no dtype_backend 'numpy'"):
        opened.latest(dtype_backend="numpy")  # type: ignore[call-overload]
