"""Which type ``pair`` has in pandas: what decides between a category and Arrow's dictionary, on frames as given."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from recorder.query.dataframes import frame, labelled

DICTIONARY = pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))


def given(pair: str, *prices: float) -> Any:
    """Return a frame of one pair, as connect() gives it."""
    table = labelled(pa.table({"price": pa.array(prices, pa.float64())}), pair=pair)
    return frame(table, "pandas", categories={"pair": (pair,)})


BTC, ETH = given("BTC/USD", 1, 2), given("ETH/USD", 7)
BOTH: Any = pd.concat([ETH, BTC], ignore_index=True)
"""What pandas makes of two pairs: text."""


@pytest.mark.parametrize("kind", ["category", DICTIONARY, "str"], ids=str)
def test_grouping_merging_choosing_and_pickling_behave_with_all_types(kind: object) -> None:
    made: Any = BOTH.astype({"pair": kind})
    assert made.groupby("pair", observed=True)["price"].sum().to_dict() == {"BTC/USD": 3, "ETH/USD": 7}
    names = pd.DataFrame({"pair": ["BTC/USD", "SOL/USD"], "name": ["bitcoin", "solana"]})
    assert made.merge(names, on="pair")["price"].tolist() == [1, 2]
    assert made.merge(made, on="pair")["price_x"].tolist() == [7, 1, 1, 2, 2]
    assert made.loc[made["pair"] == "ETH/USD", "price"].tolist() == [7]
    assert made.set_index("pair").loc["BTC/USD", "price"].tolist() == [1, 2]
    again = pickle.loads(pickle.dumps(made))
    assert again.equals(made)
    assert again["pair"].dtype == made["pair"].dtype


@pytest.mark.parametrize("kind", ["category", "str"])
def test_sorting_text_and_files_behave_with_a_category(kind: str, tmp_path: Path) -> None:
    made: Any = BOTH.astype({"pair": kind})
    assert made.sort_values("pair", kind="stable")["price"].tolist() == [1, 2, 7]
    assert made.set_index("pair").sort_index().loc["BTC/USD":"BTC/USD", "price"].tolist() == [1, 2]
    assert made["pair"].str.split("/").str[0].tolist() == ["ETH", "BTC", "BTC"]
    made.to_parquet(tmp_path / "made.parquet")
    assert pd.read_parquet(tmp_path / "made.parquet").equals(made)


def test_they_do_not_with_a_dictionary_which_is_why_pair_is_a_category(tmp_path: Path) -> None:
    made: Any = BOTH.astype({"pair": DICTIONARY})
    with pytest.raises(pa.ArrowNotImplementedError):
        made.sort_values("pair")
    with pytest.raises(pa.ArrowNotImplementedError):
        made.set_index("pair").sort_index()
    with pytest.raises(AttributeError, match=r"\.str accessor"):
        made["pair"].str.split("/")
    made.to_parquet(tmp_path / "made.parquet")
    with pytest.raises(TypeError, match="not understood"):
        pd.read_parquet(tmp_path / "made.parquet")


def test_dataframes_of_one_pair_and_of_several_can_be_joined() -> None:
    assert str(BTC["pair"].dtype) == "category"
    assert pd.concat([BTC, BTC])["pair"].dtype == BTC["pair"].dtype
    assert BOTH["pair"].dtype == "str"
    assert BOTH["pair"].tolist() == ["ETH/USD", "BTC/USD", "BTC/USD"]
    union = pd.api.types.union_categoricals([ETH["pair"], BTC["pair"]])
    assert union.tolist() == BOTH["pair"].tolist()
    assert list(union.categories) == ["ETH/USD", "BTC/USD"]
