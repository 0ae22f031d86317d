from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.archive.schema import trades_table
from recorder.core.model import PRECISION, PRICE_SCALE, QTY_SCALE, Side, Trade, check_all_exact, check_exact, plain
from recorder.core.trade_ids import Span

DIGITS = st.text("0123456789", min_size=1, max_size=32)


@st.composite
def a_number(draw: st.DrawFn) -> str:
    sign = draw(st.sampled_from(["", "-"]))
    fraction = draw(st.just("") | st.text("0123456789", min_size=1, max_size=16).map(lambda digits: f".{digits}"))
    exponent = draw(st.just("") | st.integers(-20, 20).map(lambda power: f"e{power}"))
    return f"{sign}{draw(DIGITS)}{fraction}{exponent}"


def fits(text: str, scale: int) -> bool:
    """Decide in integers alone whether ``text`` is not below zero, and decimal128(PRECISION, scale) holds it."""
    mantissa, _, power = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    value = Fraction(int(whole + fraction), 10 ** len(fraction)) * Fraction(10) ** int(power or 0)
    units = value * 10**scale
    return bool(units.denominator == 1 and 0 <= units.numerator < 10**PRECISION)


def accepted(price: str, qty: str) -> bool:
    fine, row = priced("1", "1"), priced(price, qty)
    alone, among = refusal(check_exact, row.price, row.qty), refusal(check_all_exact, [fine, row, fine])
    assert alone == among
    return alone is None


def priced(price: str, qty: str) -> Trade:
    return Trade("BTC/USD", 1, 0, Decimal(price), Decimal(qty), "buy", "limit", "", "ws", None)


def refusal(check: Callable[..., None], *given: object) -> str | None:
    try:
        check(*given)
    except ValueError as error:
        return str(error)
    return None


@given(a_number())
def test_a_price_is_taken_exactly_if_the_archive_holds_all_its_digits(text: str) -> None:
    assert accepted(text, "1") == fits(text, PRICE_SCALE)


@given(a_number())
def test_a_quantity_is_taken_exactly_if_the_archive_holds_all_its_digits(text: str) -> None:
    assert accepted("1", text) == fits(text, QTY_SCALE)


@given(a_number(), a_number())
def test_what_is_taken_the_archive_stores_to_the_last_digit(price: str, qty: str) -> None:
    if not accepted(price, qty):
        return
    row = priced(price, qty)
    (stored,) = trades_table([row]).to_pylist()
    assert (stored["price"], stored["qty"]) == (row.price, row.qty)


@pytest.mark.parametrize("text", ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "1e999999", "1e-999999"])
def test_what_is_no_finite_number_is_refused_by_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="does not fit the archive's decimal128"):
        check_exact(Decimal(text), Decimal(1))
    with pytest.raises(ValueError, match="does not fit the archive's decimal128"):
        check_exact(Decimal(1), Decimal(text))


def test_a_number_of_any_length_is_refused_by_a_short_sentence() -> None:
    with pytest.raises(ValueError, match="does not fit") as caught:
        check_exact(Decimal("1" * 100_000), Decimal(1))
    assert len(str(caught.value)) < 300


@given(a_number())
def test_plain_text_means_the_same_number_and_is_the_only_text_for_it(text: str) -> None:
    value = Decimal(text)
    canonical = plain(value)
    assert Decimal(canonical) == value
    assert "e" not in canonical.lower()
    assert "." not in canonical or canonical[-1] not in "0."
    assert plain(Decimal(canonical)) == canonical
    assert plain(Decimal(f"{value:f}{'0' if '.' in f'{value:f}' else '.0'}")) == canonical


@pytest.mark.parametrize("text", ["0", "-0", "0.000", "-0.0", "0E-12", "0E+5"])
def test_zero_has_one_text(text: str) -> None:
    assert plain(Decimal(text)) == "0"


def test_a_span_knows_its_length_and_its_ids() -> None:
    span = Span(5, 9)
    assert len(span) == 5
    assert [i for i in range(12) if i in span] == [5, 6, 7, 8, 9]
    assert str(span) == "5..9"


def test_sides_are_two() -> None:
    assert Side.__args__ == ("buy", "sell")  # type: ignore[attr-defined]
