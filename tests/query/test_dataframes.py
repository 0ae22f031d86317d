from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from recorder.errors import UsageError
from recorder.query.dataframes import frame

TABLE = pa.table(
    {
        "pair": pa.chunked_array([["A/B", "A/B"], ["C/D"]]),
        "time": pa.array([datetime(2025, 11, 10, tzinfo=UTC)] * 3, pa.timestamp("us", "UTC")),
        "price": pa.array([Decimal("0.1"), Decimal("0.2"), Decimal("0.3")], pa.decimal128(28, 12)),
    }
)


def test_pandas_has_categories_utc_times_and_exact_decimals() -> None:
    made = frame(TABLE, "pandas", categories={"pair": ()})
    assert [str(kind) for kind in made.dtypes] == ["category", "datetime64[us, UTC]", "object"]
    assert list(made["pair"].cat.categories) == ["A/B", "C/D"]
    assert made["price"].sum() == Decimal("0.6")
    assert isinstance(made, pd.DataFrame)


def test_arrow_is_given_as_it_is() -> None:
    assert frame(TABLE, "arrow") is TABLE


def test_polars_has_categories_utc_times_and_exact_decimals() -> None:
    made = frame(TABLE, "polars", categories={"pair": ()})
    assert made.schema == {
        "pair": pl.Categorical(),
        "time": pl.Datetime("us", "UTC"),
        "price": pl.Decimal(28, 12),
    }
    assert made["pair"].to_list() == ["A/B", "A/B", "C/D"]


def test_where_polars_is_not_installed_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(UsageError, match=r"pip install 'kraken-recorder\[polars\]'"):
        frame(TABLE, "polars")


def test_a_frame_without_rows_keeps_its_columns() -> None:
    made = frame(TABLE.slice(0, 0), "pandas", categories={"pair": ()})
    assert list(made.columns) == ["pair", "time", "price"]
    assert str(made["pair"].dtype) == "category"


def test_attrs_go_where_the_format_has_a_place_for_them() -> None:
    attrs = {"missing": {"A/B": 3}}
    assert frame(TABLE, "pandas", attrs=attrs).attrs == attrs
    assert json.loads(frame(TABLE, "arrow", attrs=attrs).schema.metadata[b"recorder"]) == attrs
    assert frame(TABLE, "polars", attrs=attrs).height == 3
    assert frame(TABLE, "pandas").attrs == {}


def test_categories_are_the_same_words_in_the_same_order_whatever_the_rows_are() -> None:
    words = ("buy", "sell")
    for rows, codes in (
        (["sell", "sell"], [1, 1]),
        (["sell", "buy"], [1, 0]),
        ([], []),
        (["sell", None, "both"], [1, -1, 2]),
        ([None], [-1]),
    ):
        table = pa.table({"side": pa.chunked_array([pa.array(rows, pa.string()), pa.array([], pa.string())])})
        made = frame(table, "pandas", categories={"side": words})
        assert made["side"].cat.codes.tolist() == codes
        assert tuple(made["side"].cat.categories) == (words if "both" not in rows else (*words, "both"))
    one = frame(pa.table({"side": ["buy"]}), "pandas", categories={"side": words})
    other = frame(pa.table({"side": ["sell"]}), "pandas", categories={"side": words})
    assert pd.concat([one, other])["side"].dtype == one["side"].dtype


def test_an_id_is_never_a_double() -> None:
    large = (1 << 53) + 1
    made = frame(pa.table({"first_id": [large, None], "n": [1, 2], "last_id": [1, 2]}), "pandas", nullable=["last_id"])
    assert [str(kind) for kind in made.dtypes] == ["Int64", "int64", "Int64"]
    assert made["first_id"][0] == large
    assert made["first_id"].isna().tolist() == [False, True]


def test_a_day_is_the_midnight_utc_that_begins_it_so_that_times_compare_with_it() -> None:
    table = pa.table({"day": pa.array([date(2025, 11, 10), None]), "time": TABLE["time"][:2]})
    made = frame(table, "pandas")
    assert str(made["day"].dtype) == "datetime64[us, UTC]"
    assert (made["day"] == made["time"]).tolist() == [True, False]


def test_arrows_types_are_given_on_request() -> None:
    made = frame(TABLE, "pandas", categories={"pair": ()}, backend="pyarrow", attrs={"a": 1})
    assert [str(kind) for kind in made.dtypes] == [
        "string[pyarrow]",
        "timestamp[us, tz=UTC][pyarrow]",
        "decimal128(28, 12)[pyarrow]",
    ]
    assert made.attrs == {"a": 1}
