from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recorder.query.decimal_to_double import decimal_to_double

NUMBERS = st.lists(st.one_of(st.none(), st.decimals(-(10**15), 10**15, places=12, allow_nan=False)), max_size=8)
SHORT = st.integers(0, 10).flatmap(
    lambda places: st.lists(
        st.decimals(-(10 ** (15 - places)), 10 ** (15 - places), places=places, allow_nan=False), max_size=8
    )
)


def column(numbers: list[Decimal | None], scale: int = 12) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(numbers, pa.decimal128(28, scale))])


@given(SHORT)
@example([Decimal("104250.1"), Decimal("-0.3"), Decimal(0)])
@example([Decimal("9007.199254740993"), Decimal("9007.199254740992")])
def test_what_has_up_to_fifteen_digits_is_divided_and_right_to_the_last_bit(numbers: list[Decimal]) -> None:
    found = decimal_to_double(column(list(numbers)))
    if found is not None:  # 2^53 has sixteen digits, of which not every number has as few
        assert found.to_pylist() == [float(number) for number in numbers]


@given(NUMBERS)
def test_what_comes_out_is_right_or_nothing(numbers: list[Decimal | None]) -> None:
    found = decimal_to_double(column(numbers))
    if found is not None:
        assert found.to_pylist() == [None if number is None else float(number) for number in numbers]


@pytest.mark.parametrize("price", ["104250.1", "0.000000000001", "9007.199254740992", "-123456.78", "0.1"])
def test_prices_as_they_are_need_nobody_else(price: str) -> None:
    assert decimal_to_double(column([Decimal(price), None, Decimal(1)])) is not None


@pytest.mark.parametrize("price", ["123456.789012345678", "9999999999999999", "104250.100000000001"])
def test_more_digits_than_a_double_holds_are_left_to_others(price: str) -> None:
    kept = decimal_to_double(column([Decimal(price)]))
    assert kept is None or kept.to_pylist() == [float(Decimal(price))]
    assert decimal_to_double(column([Decimal("12345.678901234567")])) is None


def test_slices_empty_columns_and_other_scales_are_no_matter() -> None:
    numbers = column([Decimal(n) / 8 for n in range(10)])
    assert decimal_to_double(numbers.slice(3, 4)).to_pylist() == [0.375, 0.5, 0.625, 0.75]  # type: ignore[union-attr]
    assert decimal_to_double(numbers.slice(0, 0)).to_pylist() == []  # type: ignore[union-attr]
    assert decimal_to_double(column([Decimal(7)], scale=0)).to_pylist() == [7.0]  # type: ignore[union-attr]
    assert decimal_to_double(pa.chunked_array([pa.array([1.5])])) is None
