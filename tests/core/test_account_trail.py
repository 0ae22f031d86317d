"""Certificates by arithmetic: one trail for each asset, or the entry at which it breaks."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.core.account import LedgerEntry
from recorder.core.account_trail import certify, ordered


def entry(
    number: int, balance: str, amount: str, fee: str = "0", *, at: object = None, asset: str = "ZUSD"
) -> LedgerEntry:
    seconds = Decimal(str(number if at is None else at))
    return LedgerEntry(
        f"L{number:04}", "R", seconds, int(seconds * 1_000_000), "trade", "", "currency", asset,
        Decimal(amount), Decimal(fee), Decimal(balance), "",
    )  # fmt: skip


def trail(amounts: list[tuple[str, str]], **fields: object) -> list[LedgerEntry]:
    found, at = [], Decimal(0)
    for number, (amount, fee) in enumerate(amounts, start=1):
        at += Decimal(amount) - Decimal(fee)
        found.append(entry(number, str(at), amount, fee, **fields))  # type: ignore[arg-type]
    return found


GOOD = [("100", "0"), ("-30.5", "0.1"), ("0", "0.0311"), ("5", "0")]


def test_an_unbroken_trail_that_ends_with_the_balance_is_reconciled() -> None:
    found = certify(trail(GOOD), {"ZUSD": Decimal("74.3689")})
    assert found.is_reconciled
    assert [(one.asset, one.entries, one.last) for one in found.trails] == [("ZUSD", 4, Decimal("74.3689"))]
    assert not certify(trail(GOOD), None).is_reconciled, "without balances nothing is proven"


def test_a_missing_entry_is_named_by_the_one_after_it() -> None:
    rows = trail(GOOD)
    found = certify([*rows[:1], *rows[2:]], {"ZUSD": Decimal("74.3689")})
    (broken,) = found.breaks
    assert (broken.entry, broken.after) == ("L0003", "L0001")
    assert "entries of -30.6 are missing before it" in broken.sentence
    first = certify(rows[1:], {"ZUSD": Decimal("74.3689")}).breaks[0]
    assert (first.entry, first.after) == ("L0002", "")
    last = certify(rows[:3], {"ZUSD": Decimal("74.3689")}).breaks[0]
    assert (last.entry, last.after) == ("", "L0003")
    assert "5 are not explained" in last.sentence


@pytest.mark.parametrize("digit", ["0.000000000000000001", "-0.000000000000000001"])
def test_one_unit_in_the_last_digit_breaks_it_however_large_the_numbers_are(digit: str) -> None:
    large = Decimal("12345678901234567890.123456789012345678")
    rows = [entry(1, f"{large:f}", f"{large:f}")]
    assert certify(rows, {"ZUSD": large}).is_reconciled
    other = Decimal(f"{large:f}"[:-1] + ("9" if digit[0] != "-" else "7"))
    (broken,) = certify(rows, {"ZUSD": other}).breaks
    assert digit in broken.sentence


@settings(max_examples=40)
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_entries_of_one_time_are_put_in_the_order_of_their_trail(random: Random, n: int) -> None:
    rows = trail([(str(random.randint(-3, 3)), str(random.randint(0, 1))) for _ in range(n)], at=5)
    end = rows[-1].balance
    random.shuffle(rows)
    assert certify(rows, {"ZUSD": end}).is_reconciled
    at = Decimal(0)
    for one in ordered(rows):
        assert one.before == at
        at = one.balance


@settings(max_examples=40)
@given(st.randoms(use_true_random=False), st.integers(2, 40))
def test_one_entry_less_is_never_reconciled(random: Random, n: int) -> None:
    rows = trail([(str(random.randint(1, 9)), "0") for _ in range(n)], at=5 if n % 2 else None)
    end = {"ZUSD": rows[-1].balance}
    del rows[random.randrange(n)]
    assert not certify(rows, end).is_reconciled


def test_assets_and_classes_have_trails_of_their_own_and_codes_share_a_balance() -> None:
    tokens = [entry(9, "7", "7")]
    tokens[0] = LedgerEntry(
        **{**{f: getattr(tokens[0], f) for f in tokens[0].__struct_fields__}, "asset_class": "token"}
    )
    assert certify([*trail(GOOD), *tokens], {"ZUSD": Decimal("81.3689")}).is_reconciled
    assert not certify([*trail(GOOD), *tokens], {"ZUSD": Decimal("74.3689")}).is_reconciled
    (broken,) = certify([], {"XXBT": Decimal(1)}).breaks
    assert "has no entry" in broken.sentence


def test_a_renamed_asset_is_joined_only_by_the_table_and_only_where_its_balance_goes_on() -> None:
    old = [entry(1, "500", "500", asset="RNDR")]
    new = [entry(2, "501", "1", asset="RENDER")]
    found = certify([*old, *new], {"RENDER": Decimal(501)})
    assert found.is_reconciled
    assert [one.joined for one in found.trails] == [("RNDR",)]
    assert certify(old, {"RENDER": Decimal(500)}).is_reconciled, "no entry since"
    assert not certify([*old, entry(2, "502", "1", asset="RENDER")], {"RENDER": Decimal(502)}).is_reconciled
    assert not certify([entry(1, "5", "5", asset="ABC")], {"DEF": Decimal(5)}).is_reconciled


def test_a_history_that_is_cut_may_begin_with_any_balance() -> None:
    rows = trail(GOOD)[2:]
    end = {"ZUSD": rows[-1].balance}
    assert not certify(rows, end).is_reconciled
    assert certify(rows, end, is_cut=True).is_reconciled


def test_an_entry_that_a_trade_names_must_be_there() -> None:
    rows = trail(GOOD)
    found = certify(rows, {"ZUSD": rows[-1].balance}, named=[("T1", "L0002"), ("T1", "LGONE")])
    assert found.absent == (("T1", "LGONE"),)
    assert not found.is_reconciled
