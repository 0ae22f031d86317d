"""Bars of all kinds, candles and closes through connect(), and what becomes of those that a gap touches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recorder.errors import GapError, UsageError
from recorder.query.connect import Archive, connect
from tests.archives import at_us, candle, minute, trade, writing

BOTH = ["BTC/USD", "ETH/USD"]
LAST = 39
"""The highest id of ETH/USD."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trades a minute of BTC/USD, of which ids 20 to 29 are missing, and somewhat fewer of ETH/USD."""
    folder = tmp_path_factory.mktemp("bars") / "data"
    with writing(folder) as archive:
        held = (*range(1, 20), *range(30, 50))
        archive.append([trade(n, at_us(n * 0.5), price=str(100 + n)) for n in held])
        archive.append([trade(n, at_us(n * 0.7), price=str(10 + n), pair="ETH/USD") for n in range(1, LAST + 1)])
        archive.listed("BTC/USD", 1)
        archive.published([candle(number) for number in (0, 1, 2, 5, 6)])
        archive.published([candle(number, pair="ETH/USD") for number in (0, 1)])
    return folder


@pytest.fixture(scope="module")
def opened(data: Path) -> Iterator[Archive]:
    with connect(data) as archive:
        yield archive


KINDS: list[tuple[str, Any]] = [
    ("time", "1 minute"),
    ("tick", 5),
    ("volume", 3),
    ("dollar", Decimal("500.5")),
]


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_bars_are_those_of_the_macro(opened: Archive, kind: Any, size: Any) -> None:
    found = opened.bars("BTC/USD", size, kind=kind, on_gap="ignore", to="arrow", decimals=True)
    asked = "INTERVAL 1 MINUTE" if kind == "time" else str(size)
    expected = opened.sql(f"FROM {kind}_bars('BTC/USD', {asked})", to="arrow", decimals=True)
    assert found.to_pylist() == expected.to_pylist()


def test_bars_of_several_pairs_are_those_of_each(opened: Archive) -> None:
    found = opened.bars(BOTH, "7 minutes", filled=True, on_gap="ignore")
    assert found["pair"].cat.categories.tolist() == BOTH
    for pair in BOTH:
        alone = opened.bars(pair, timedelta(minutes=7), filled=True, on_gap="ignore")
        of_pair = found[found["pair"] == pair].reset_index(drop=True)
        pd.testing.assert_frame_equal(of_pair.drop(columns="pair"), alone.drop(columns="pair"))
    assert found.attrs["missing"] == {"BTC/USD": 10, "ETH/USD": 0}


def test_a_width_is_text_or_a_timedelta(opened: Archive) -> None:
    found = opened.bars("ETH/USD", "180 s", minute(3), minute(9), index="time")
    assert found.index.tolist() == [minute(3), minute(6)]
    shifted = opened.bars("ETH/USD", pd.Timedelta("3min"), minute(3), minute(9), origin=minute(1))
    assert shifted["time"].tolist() == [minute(4), minute(7)]


def test_the_types_of_bars_depend_on_what_is_asked_and_not_on_what_is_there(opened: Archive) -> None:
    holed, whole, empty = (
        opened.bars(pair, "1 minute", start, filled=True, on_gap="ignore").dtypes.astype(str).to_dict()
        for pair, start in (("BTC/USD", None), ("ETH/USD", None), ("ETH/USD", "2030-01-01"))
    )
    assert holed == whole == empty
    assert {holed[name] for name in ("first_id", "last_id", "count")} == {"Int64"}
    closes = [opened.closes(BOTH, "1m", start).dtypes.to_dict() for start in (None, "2030-01-01")]
    assert closes[0] == closes[1]


def test_a_gap_in_the_range_is_an_error_and_one_outside_it_is_none(opened: Archive) -> None:
    many: list[Callable[[Any], object]] = [
        lambda on_gap: opened.bars("BTC/USD", 5, kind="tick", on_gap=on_gap),
        lambda on_gap: opened.closes(BOTH, "1 minute", on_gap=on_gap),
    ]
    for asked in many:
        with pytest.raises(GapError, match="BTC/USD lacks 10"):
            asked("raise")
        with pytest.warns(UserWarning, match="BTC/USD lacks 10") as caught:
            asked("warn")
        assert caught[0].filename == __file__
    # The gap lies from 9:30 to 15:00, and bars of the range begin at 16:00.
    assert opened.closes("BTC/USD", "2 minutes", minute(15.5), on_gap="raise")["BTC/USD"].notna().all()


def test_null_keeps_the_rows_that_a_gap_touches_and_those_in_it(opened: Archive) -> None:
    candles = opened.candles(BOTH, "1m", on_gap="null", index="time")
    held = opened.candles(BOTH, "1m", on_gap="ignore", index="time")
    assert candles.dtypes.to_dict() == held.dtypes.to_dict()
    touched = candles[candles["close"].isna()]
    assert touched.index.tolist() == [minute(n) for n in range(9, 16)]
    assert touched["count"].tolist() == [2, 0, 0, 0, 0, 0, 2]
    assert not touched["complete"].any()
    assert touched[["open", "high", "low", "vwap", "volume"]].isna().all(axis=None)
    assert len(candles) == len(held) + 5
    kept = candles[candles["close"].notna()]
    pd.testing.assert_frame_equal(kept, held[~((held["pair"] == "BTC/USD") & held.index.isin(touched.index))])
    assert candles.attrs["digest"] == held.attrs["digest"]


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_bars_that_a_gap_touches_lose_their_values_or_separate_the_runs(opened: Archive, kind: Any, size: Any) -> None:
    held = opened.bars(BOTH, size, kind=kind, on_gap="ignore")
    nulled = opened.bars(BOTH, size, kind=kind, on_gap="null")
    touched = nulled["missing_trades"] > 0
    assert touched.any()
    for column in ("close", "amount", "buy_volume"):
        assert nulled[column].isna().tolist() == touched.tolist()
    assert nulled["count"].sum() == held["count"].sum() == 39 + LAST
    whole = held[held["missing_trades"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(nulled[~touched].reset_index(drop=True), whole, check_dtype=False)
    pieces = opened.bars(BOTH, size, kind=kind, on_gap="split")
    assert [piece["pair"].unique().tolist() for piece in pieces] == [["BTC/USD"], ["BTC/USD"], ["ETH/USD"]]
    pd.testing.assert_frame_equal(pd.concat(pieces, ignore_index=True), whole)
    for piece in pieces:
        (pair,) = piece.attrs["coverage"]
        assert piece.attrs["coverage"] == {pair: [[piece["first_id"].iloc[0], piece["last_id"].iloc[-1]]]}
        assert piece.attrs["missing"] == {pair: 0}
    none = opened.bars("ETH/USD", size, "2020-01-01", "2020-01-02", kind=kind, on_gap="null")
    assert none.drop(columns="pair").dtypes.to_dict() == nulled.drop(columns="pair").dtypes.to_dict()


def test_bars_around_a_gap_that_touches_none_are_apart(opened: Archive) -> None:
    # Each of the ten missing ids is a bar of its own, so that no bar beside them misses any.
    first, second = opened.bars("BTC/USD", 1, kind="tick", on_gap="split")
    assert (first["last_id"].max(), second["first_id"].min()) == (19, 30)
    assert (len(first), len(second)) == (19, 20)


def test_split_gives_trades_and_candles_in_runs_too(opened: Archive) -> None:
    runs = opened.trades(BOTH, on_gap="split", hashed=True)
    ends = [(run["trade_id"].iloc[0], run["trade_id"].iloc[-1]) for run in runs]
    assert ends == [(1, 19), (30, 49), (1, LAST)]
    together = opened.trades(BOTH, on_gap="ignore", hashed=True)
    assert runs[2].attrs["sha256"]["ETH/USD"] == together.attrs["sha256"]["ETH/USD"]
    assert runs[0].dtypes.to_dict() == together.dtypes.to_dict()
    assert [len(one) for one in opened.candles(BOTH, "1m", on_gap="split", to="polars")] == [9, 9, 28]
    assert opened.trades(BOTH, "2030-01-01", on_gap="split") == []


def test_lost_candles_of_the_exchange_have_rows_or_separate_frames(opened: Archive) -> None:
    found = opened.ohlc(BOTH, "1m", on_gap="null", decimals=True)
    held = opened.ohlc(BOTH, "1m", on_gap="ignore", decimals=True)
    assert found.dtypes.to_dict() == held.dtypes.to_dict()
    assert found["time"].tolist() == [*(minute(n) for n in range(7)), minute(0), minute(1)]
    assert found["pair"].tolist() == ["BTC/USD"] * 7 + ["ETH/USD"] * 2
    lost = found[found["close"].isna()]
    assert lost.index.tolist() == [3, 4]
    assert lost["count"].tolist() == [0, 0]
    assert lost["timeframe"].tolist() == ["1m", "1m"]
    assert lost[["open", "vwap", "volume", "source", "seen"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(found.drop(lost.index).reset_index(drop=True), held)
    pieces = opened.ohlc(BOTH, "1m", on_gap="split")
    assert [len(piece) for piece in pieces] == [3, 2, 2]
    assert pieces[1].attrs == {"missing": {"BTC/USD": 0}}
    built = opened.ohlc("BTC/USD", "1m", filled=True, on_gap="null")
    assert built["source"].tolist() == ["rest"] * 3 + ["trades"] * 2 + ["rest"] * 2


@pytest.mark.parametrize("limits", [(None, None), (minute(4), minute(14))])
def test_closes_are_those_of_filled_bars_side_by_side(opened: Archive, limits: Any) -> None:
    found = opened.closes(BOTH, "1 minute", *limits)
    assert found.index.equals(pd.date_range(found.index[0], found.index[-1], freq="min", name="time"))
    of_pair = opened.bars("BTC/USD", "1 minute", *limits, filled=True, on_gap="null", index="time")["close"]
    pd.testing.assert_series_equal(found["BTC/USD"].dropna(), of_pair.dropna(), check_names=False, check_freq=False)
    assert set(of_pair.index) <= set(found.index)
    assert found["ETH/USD"].iloc[:2].tolist() == ([11, 12] if limits[0] is None else [17, 18])
    ignoring = opened.closes(BOTH, "1 minute", *limits, on_gap="ignore")
    shown = ignoring["BTC/USD"].notna() & found["BTC/USD"].isna()
    assert set(found.index[shown]) == {minute(9), minute(15)} & set(found.index)


def test_closes_come_in_every_form(opened: Archive) -> None:
    wide = opened.closes(BOTH, "5 minutes", to="polars")
    assert wide.columns == ["time", *BOTH]
    exact = opened.closes("ETH/USD", "5 minutes", to="arrow", decimals=True)
    assert exact["ETH/USD"][0].as_py() == Decimal(17)
    numbered = opened.closes("ETH/USD", "5 minutes", index=None)
    assert numbered.columns.tolist() == ["time", "ETH/USD"]
    assert numbered.attrs["coverage"] == {"ETH/USD": [[1, LAST]]}
    # The close before the range is used too.
    assert opened.closes("ETH/USD", "10 s", minute(1.5), minute(1.7)).attrs["coverage"] == {"ETH/USD": [[2, 2]]}


MISTAKES: list[tuple[Callable[[Archive], object], str]] = [
    (lambda a: a.trades("BTC/USD", on_gap="null"), "trades have no row to keep"),  # type: ignore[call-overload]
    (lambda a: a.closes(BOTH, "1m", on_gap="split"), "its rows share one grid"),  # type: ignore[call-overload]
    (lambda a: a.batches("BTC/USD", on_gap="split"), "come in pieces already"),  # type: ignore[call-overload]
    (lambda a: a.candles("BTC/USD", "1m", on_gap="cry"), "there is no on_gap 'cry'"),  # type: ignore[call-overload]
    (lambda a: a.bars("BTC/USD", "1 month"), "months and years have none"),
    (lambda a: a.bars("BTC/USD", "1M"), "months and years have none"),
    (lambda a: a.bars("BTC/USD", pd.Timedelta("1ns")), "fixed width above zero"),
    (lambda a: a.bars("BTC/USD", 5), "such as '7 minutes'"),
    (lambda a: a.bars("BTC/USD", 2.5, kind="tick"), "a whole number of trades above zero, not 2.5"),
    (lambda a: a.bars("BTC/USD", -1, kind="volume"), "a volume in the base currency above zero, not -1"),
    (lambda a: a.bars("BTC/USD", "much", kind="dollar"), "not 'much'"),
    (lambda a: a.bars("BTC/USD", 5, kind="tock"), "there is no kind 'tock'"),  # type: ignore[call-overload]
    (lambda a: a.bars("BTC/USD", 5, kind="tick", filled=True), "tick bars have no filled"),
    (lambda a: a.bars("BTC/USD", 5, kind="volume", origin=minute(0)), "volume bars have no origin"),
    (lambda a: a.trades("ETH/USD", to="polars", index="time"), "polars has no index"),
    (lambda a: a.sql("SELECT 1 AS x", index="time"), "no column time to be the index, only x"),
    (lambda a: a.trades("ETH/USD", index="price"), "there is no index 'price'"),  # type: ignore[call-overload]
]


@pytest.mark.parametrize(("asked", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_is_one_sentence(opened: Archive, asked: Callable[[Archive], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        asked(opened)
